//go:build unix

package rpc

import (
	"math"
	"net"
	"os"
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

// sideBySide sets Checks with every metric and the log of what is denied beside Checks
// with neither, of one state and in one process. One Check of five is denied. It goes pair
// by pair: a slice of calls of each side, one after the other, in an order that turns from
// pair to pair. A slice is long enough that collections of garbage, and what the log writes
// behind the calls, fall into all alike.
type sideBySide struct {
	name    string
	callers int
	calls   int     // in a slice
	least   float64 // of the throughput that must be left
	sides   [2]func(*remitv1.CheckRequest) (*remitv1.CheckResponse, error)

	requests [2]*remitv1.CheckRequest // allowed, denied
	ratios   [2][]float64             // logarithms, by the clock and by the time of the processor
}

// comparisons are those of every transport.
func comparisons(t testing.TB) []*sideBySide {
	r := newRig(t)
	store := r.store("acme", acme...)
	request := func(subject string) *remitv1.CheckRequest {
		return &remitv1.CheckRequest{
			Scope: scopeOf(store), Question: &remitv1.Question{Object: "document:plan", Relation: "reader", Subject: subject},
		}
	}
	requests := [2]*remitv1.CheckRequest{request("user:olga"), request("user:bert")}
	type check = func(*remitv1.CheckRequest) (*remitv1.CheckResponse, error)
	inProcess := func(server *connect.Server) check {
		access := remitv1connect.NewAccessServiceClient(connect.NewClient(connectinprocess.New(server)))
		return func(req *remitv1.CheckRequest) (*remitv1.CheckResponse, error) { return access.Check(t.Context(), req) }
	}
	overGRPC := func(server *connect.Server) check {
		listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test's own port
		if err != nil {
			t.Fatal(err)
		}
		g := newGRPCServer([]face{{server: server, maxBytes: MaxMessageBytes, json: newJSONCodec()}}, 0)
		go func() { _ = g.Serve(listener) }() // ends with an error when it is stopped
		t.Cleanup(g.Stop)
		conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return func(req *remitv1.CheckRequest) (*remitv1.CheckResponse, error) {
			res := &remitv1.CheckResponse{}
			return res, conn.Invoke(t.Context(), remitv1connect.AccessServiceCheckProcedure, req, res)
		}
	}
	var all []*sideBySide
	for _, transport := range []struct {
		name    string
		open    func(*connect.Server) check
		callers int
		calls   int
		least   float64
	}{
		// Without a transport there is little beside the log for the log to be measured by, and of 8
		// callers it takes more than is wanted: see bench/README.md.
		{"in-process", inProcess, 1, 20_000, 0.95},
		{"in-process/8-callers", inProcess, 8, 20_000, 0.9},
		{"grpc", overGRPC, 1, 4000, 0.95},
		{"grpc/8-callers", overGRPC, 8, 4000, 0.95},
	} {
		all = append(all, &sideBySide{
			name: transport.name, callers: transport.callers, calls: transport.calls, least: transport.least, requests: requests,
			sides: [2]check{transport.open(r.observedServer(false)), transport.open(r.observedServer(true))},
		})
	}
	return all
}

// slice makes the calls of one side, and says how long it took by each way of measuring.
func (c *sideBySide) slice(t testing.TB, side int) [2]float64 {
	start, used := time.Now(), processorTime(t)
	var callers sync.WaitGroup
	for range c.callers {
		callers.Go(func() {
			for i := range c.calls / c.callers {
				allowed := i%5 != 0
				req := c.requests[0]
				if !allowed {
					req = c.requests[1]
				}
				if res, err := c.sides[side](req); err != nil || res.Allowed != allowed {
					t.Error(res, err)
					return
				}
			}
		})
	}
	callers.Wait()
	return [2]float64{time.Since(start).Seconds(), (processorTime(t) - used).Seconds()}
}

// pair measures both sides once.
func (c *sideBySide) pair(t testing.TB) {
	first := len(c.ratios[0]) % 2
	var took [2][2]float64
	for _, side := range [2]int{first, 1 - first} {
		took[side] = c.slice(t, side)
	}
	for by := range c.ratios {
		c.ratios[by] = append(c.ratios[by], math.Log(took[0][by]/took[1][by]))
	}
}

// ratio is the share of the throughput that is left, with its 95 % interval over the pairs.
func (c *sideBySide) ratio(by int) (ratio, low, high float64) {
	mean, half := interval(c.ratios[by])
	return math.Exp(mean), math.Exp(mean - half), math.Exp(mean + half)
}

// BenchmarkObserved reports what sideBySide finds: by the clock, and by the time of the
// processor, which tells the same where other programs take turns with this one.
// -benchtime 120x takes 120 pairs.
func BenchmarkObserved(b *testing.B) {
	for _, c := range comparisons(b) {
		b.Run(c.name, func(b *testing.B) {
			c.slice(b, 0)
			c.slice(b, 1)
			c.ratios = [2][]float64{}
			for b.Loop() {
				c.pair(b)
			}
			for by, name := range [2]string{"ratio", "cpu-ratio"} {
				ratio, low, high := c.ratio(by)
				b.ReportMetric(ratio, name)
				b.ReportMetric(low, name+"-low")
				b.ReportMetric(high, name+"-high")
			}
		})
	}
}

// Metrics and the log of what is denied are to leave Checks at least 95 % of their
// throughput. A few short slices, which are all that there is time for without REMIT_TEST_ALL, show no
// more than that nothing is very wrong.
func TestObservingCostsLittle(t *testing.T) {
	pairs, shorter := 4, 20
	if os.Getenv("REMIT_TEST_ALL") != "" {
		pairs, shorter = 240, 1 // fewer leave the interval wider than what is to be shown
	}
	for _, c := range comparisons(t) {
		t.Run(c.name, func(t *testing.T) {
			c.calls /= shorter
			c.slice(t, 0)
			c.slice(t, 1)
			for range pairs {
				c.pair(t)
			}
			const byProcessor = 1
			ratio, low, high := c.ratio(byProcessor)
			t.Logf("%.3f of the throughput is left, between %.3f and %.3f", ratio, low, high)
			least := c.least
			if pairs < 20 {
				low, least = ratio, 0.6
			}
			if low <= least {
				t.Errorf("it is %.3f that is left for certain, want above %.2f", low, least)
			}
		})
	}
}

// processorTime is what the process has used.
func processorTime(b testing.TB) time.Duration {
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
