package peer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// lines is a log that tests read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// A node is a port for a test, its cluster and what it has logged.
type node struct {
	*Port
	cluster atomic.Uint64
	told    lines
}

// listen opens a port on loopback, which the test closes.
func listen(t testing.TB, id string, cluster uint64, options ...func(*Config)) *node {
	t.Helper()
	n := &node{}
	n.cluster.Store(cluster)
	c := Config{
		Bind: "127.0.0.1:0", NodeID: id, Cluster: n.cluster.Load,
		Log: slog.New(slog.NewTextHandler(&n.told, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, o := range options {
		o(&c)
	}
	port, err := Listen(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	n.Port = port
	t.Cleanup(func() {
		if err := port.Close(); err != nil {
			t.Errorf("close port of %s: %v", id, err)
		}
	})
	return n
}

// eventually waits for a state.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("not: %s", what)
		}
	}
}

// echo answers with the kind and the request.
func echo(_ context.Context, kind byte, request []byte) []byte {
	return append([]byte{kind}, request...)
}

func unsent(err error) bool {
	var e interface{ Unsent() bool }
	return errors.As(err, &e) && e.Unsent()
}

func TestCallBringsAnswers(t *testing.T) {
	a, b := listen(t, "a", 7), listen(t, "b", 0)
	b.Handle(echo)
	for _, size := range []int{0, 1, maxChunk/2 - 1, maxChunk / 2, maxChunk - 1, maxChunk, maxChunk + 1, 1 << 20, maxMessage - 1} {
		request := bytes.Repeat([]byte{byte(size), 1, 2, 3, 5, 8, 13}, size/7+1)[:size]
		answer, err := a.Call(t.Context(), b.LocalAddr(), 9, request)
		if err != nil || len(answer) != size+1 || answer[0] != 9 || !bytes.Equal(answer[1:], request) {
			t.Errorf("a request of %d bytes is answered by %d bytes, %v", size, len(answer), err)
		}
	}
}

// BenchmarkCall compares an empty call with the same bytes to and fro over a connection
// that does nothing else. The two take turns, so that whatever else the machine does meets
// both alike, and it reports medians: of what each takes, and of how many times as long a
// call takes as the bytes beside it.
func BenchmarkCall(b *testing.B) {
	from, to := listen(b, "a", 7), listen(b, "b", 7)
	to.Handle(func(context.Context, byte, []byte) []byte { return nil })
	c := echoing(b)
	buf := make([]byte, frameHeader+1)
	const turn = 100
	var calls, plains, ratios []float64
	for b.Loop() {
		began := time.Now()
		for range turn {
			if _, err := from.Call(b.Context(), to.LocalAddr(), 1, nil); err != nil {
				b.Fatal(err)
			}
		}
		between := time.Now()
		for range turn {
			if _, err := c.Write(buf); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(c, buf); err != nil {
				b.Fatal(err)
			}
		}
		call, plain := between.Sub(began), time.Since(between)
		calls, plains = append(calls, call.Seconds()*1e6/turn), append(plains, plain.Seconds()*1e6/turn)
		ratios = append(ratios, call.Seconds()/plain.Seconds())
	}
	for unit, of := range map[string][]float64{"µs/call": calls, "µs/plain": plains, "ratio": ratios} {
		slices.Sort(of)
		b.ReportMetric(of[len(of)/2], unit)
	}
}

// echoing is a connection that sends back what it gets.
func echoing(b *testing.B) net.Conn {
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test's own port
	if err != nil {
		b.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		c, err := listener.Accept()
		if err == nil {
			_, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c})
			_ = c.Close()
		}
	})
	c, err := net.Dial("tcp", listener.Addr().String()) //nolint:noctx // a test's own port
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = errors.Join(c.Close(), listener.Close())
		serving.Wait()
	})
	return c
}

// raftAddress is the address of a listener as nodes know each other's.
func raftAddress(l net.Listener) raft.ServerAddress { return raft.ServerAddress(l.Addr().String()) }
