//go:build unix

package rpc

import (
	"math"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectinprocess"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

// BenchmarkObserved sets Checks with every metric beside Checks with none, of one state
// and in one process. An iteration is a pair of slices of calls, one after the other, in
// an order that turns from pair to pair. A slice is long enough that collections of
// garbage fall into all alike. It reports the share of the throughput that is left with
// metrics, with its 95 % interval over the pairs: by the clock, and by the time of the
// processor, which tells the same where other programs take turns with this one.
// -benchtime 40x takes 40 pairs.
func BenchmarkObserved(b *testing.B) {
	r := newRig(b)
	store := r.store("acme", acme...)
	req := &remitv1.CheckRequest{
		Scope: scopeOf(store), Question: &remitv1.Question{Object: "document:plan", Relation: "reader", Subject: "user:olga"},
	}
	type check func() (*remitv1.CheckResponse, error)
	inProcess := func(server *connect.Server) check {
		access := remitv1connect.NewAccessServiceClient(connect.NewClient(connectinprocess.New(server)))
		return func() (*remitv1.CheckResponse, error) { return access.Check(b.Context(), req) }
	}
	overGRPC := func(server *connect.Server) check {
		listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test's own port
		if err != nil {
			b.Fatal(err)
		}
		g := newGRPCServer([]face{{server: server, maxBytes: MaxMessageBytes, json: newJSONCodec()}}, 0)
		go func() { _ = g.Serve(listener) }() // ends with an error when it is stopped
		b.Cleanup(g.Stop)
		conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = conn.Close() })
		return func() (*remitv1.CheckResponse, error) {
			res := &remitv1.CheckResponse{}
			return res, conn.Invoke(b.Context(), remitv1connect.AccessServiceCheckProcedure, req, res)
		}
	}
	for _, transport := range []struct {
		name    string
		open    func(*connect.Server) check
		callers int
		calls   int // in a slice
	}{
		{"in-process", inProcess, 1, 20_000},
		{"in-process/8-callers", inProcess, 8, 20_000},
		{"grpc", overGRPC, 1, 4000},
		{"grpc/8-callers", overGRPC, 8, 4000},
	} {
		b.Run(transport.name, func(b *testing.B) {
			sides := [2]check{transport.open(r.observedServer(false)), transport.open(r.observedServer(true))}
			took := func(side int) [2]float64 {
				start, used := time.Now(), processorTime(b)
				var callers sync.WaitGroup
				for range transport.callers {
					callers.Go(func() {
						for range transport.calls / transport.callers {
							if res, err := sides[side](); err != nil || !res.Allowed {
								b.Error(res, err)
								return
							}
						}
					})
				}
				callers.Wait()
				return [2]float64{time.Since(start).Seconds(), (processorTime(b) - used).Seconds()}
			}
			took(0)
			took(1)
			var ratios [2][]float64
			for i := 0; b.Loop(); i++ {
				var pair [2][2]float64
				for _, side := range [2]int{i % 2, 1 - i%2} {
					pair[side] = took(side)
				}
				for by := range ratios {
					ratios[by] = append(ratios[by], math.Log(pair[0][by]/pair[1][by]))
				}
			}
			for by, name := range [2]string{"ratio", "cpu-ratio"} {
				mean, half := interval(ratios[by])
				b.ReportMetric(math.Exp(mean), name)
				b.ReportMetric(math.Exp(mean-half), name+"-low")
				b.ReportMetric(math.Exp(mean+half), name+"-high")
			}
		})
	}
}

// processorTime is what the process has used.
func processorTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// interval is the mean of some values and half of its 95 % interval. Of the few tens of
// pairs that there are, Student's factor is at most 2.1.
func interval(values []float64) (mean, half float64) {
	n := float64(len(values))
	for _, v := range values {
		mean += v / n
	}
	squares := 0.0
	for _, v := range values {
		squares += (v - mean) * (v - mean)
	}
	return mean, 2.1 * math.Sqrt(squares/max(n-1, 1)/n)
}
