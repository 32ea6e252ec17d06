package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func TestConcurrentCallsShareAConnection(t *testing.T) {
	a, b := listen(t, "a", 7), listen(t, "b", 7)
	b.Handle(func(ctx context.Context, kind byte, request []byte) []byte {
		for range rand.IntN(5) { // answers overtake each other
			runtime.Gosched()
		}
		return echo(ctx, kind, request)
	})
	var callers sync.WaitGroup
	for i := range 200 {
		callers.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(i)))
			for j := range 20 {
				size := rng.IntN(100)
				if j%10 == 0 {
					size = rng.IntN(3 * maxChunk)
				}
				request := bytes.Repeat([]byte{byte(i), byte(j)}, size)
				answer, err := a.Call(t.Context(), b.LocalAddr(), byte(j), request)
				if err != nil || answer[0] != byte(j) || !bytes.Equal(answer[1:], request) {
					t.Errorf("call %d of %d: %d bytes for %d, %v", j, i, len(answer), len(request), err)
				}
			}
		})
	}
	callers.Wait()
	if n := sample(t, b.metrics.connections, "calls", "in"); n != 1 {
		t.Errorf("%v connections carry the calls", n)
	}
	if n := sample(t, a.metrics.calls, "0", outcomeAnswered); n != 200 {
		t.Errorf("%v calls of kind 0 are counted", n)
	}
}

// waiting answers when it is told to, or when its caller has left.
type waiting struct {
	begun   chan byte // the kind of each request that has begun
	left    chan byte // and of each whose caller has left
	proceed chan struct{}
	deaf    atomic.Bool // it waits on when its caller has left
}

func newWaiting(n *node) *waiting {
	w := &waiting{begun: make(chan byte, 100), left: make(chan byte, 100), proceed: make(chan struct{})}
	n.Handle(func(ctx context.Context, kind byte, request []byte) []byte {
		w.begun <- kind
		select {
		case <-w.proceed:
		case <-ctx.Done():
			w.left <- kind
			if w.deaf.Load() {
				<-w.proceed
			}
		}
		return request
	})
	return w
}

func TestACallerLeaves(t *testing.T) {
	a, b := listen(t, "a", 7), listen(t, "b", 7)
	w := newWaiting(b)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := a.Call(ctx, b.LocalAddr(), 3, []byte("x"))
		ended <- err
	}()
	<-w.begun
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) || unsent(err) {
		t.Errorf("the caller is told %v, unsent %v", err, unsent(err))
	}
	if kind := <-w.left; kind != 3 {
		t.Errorf("kind %d is told that its caller left", kind)
	}
	// The connection is as good as before.
	close(w.proceed)
	if answer, err := a.Call(t.Context(), b.LocalAddr(), 4, []byte("y")); err != nil || string(answer) != "y" {
		t.Errorf("the next call: %q, %v", answer, err)
	}
	if _, err := a.Call(ctx, b.LocalAddr(), 4, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a call without time: %v", err)
	}
}

func TestTheOtherNodeDiesDuringACall(t *testing.T) {
	a, b := listen(t, "a", 7), listen(t, "b", 7)
	w := newWaiting(b)
	w.deaf.Store(true)
	ended, closed := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := a.Call(t.Context(), b.LocalAddr(), 3, nil)
		ended <- err
	}()
	<-w.begun
	go func() { closed <- b.Close() }()
	if err := <-ended; err == nil || unsent(err) {
		t.Errorf("the caller is told %v, unsent %v", err, unsent(err))
	}
	<-w.left
	close(w.proceed)
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if _, err := a.Call(t.Context(), b.LocalAddr(), 3, nil); err == nil || !unsent(err) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("who calls now is told %v, unsent %v", err, unsent(err))
	}
}

func TestThisNodeStopsDuringACall(t *testing.T) {
	a, b := listen(t, "a", 7), listen(t, "b", 7)
	w := newWaiting(b)
	ended := make(chan error, 1)
	go func() {
		_, err := a.Call(t.Context(), b.LocalAddr(), 3, nil)
		ended <- err
	}()
	<-w.begun
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil || unsent(err) {
		t.Errorf("the caller is told %v, unsent %v", err, unsent(err))
	}
	<-w.left
	if _, err := a.Call(t.Context(), b.LocalAddr(), 3, nil); !errors.Is(err, ErrClosed) || !unsent(err) {
		t.Errorf("who calls now is told %v, unsent %v", err, unsent(err))
	}
}

func TestRequestsThatSurelyDoNotArrive(t *testing.T) {
	a, b := listen(t, "a", 7), listen(t, "b", 7)
	var served atomic.Int64
	b.Handle(func(context.Context, byte, []byte) []byte {
		served.Add(1)
		return make([]byte, maxMessage+1)
	})
	nobody, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test's own port
	if err != nil {
		t.Fatal(err)
	}
	if err := nobody.Close(); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		to      raft.ServerAddress
		request []byte
		want    string
	}{
		{"nobody listens", raftAddress(nobody), nil, "refused"},
		{"no address", "b", nil, "missing port"},
		{"a long address", raft.ServerAddress(strings.Repeat("b", maxAddress) + ":1"), nil, "an address of 302 bytes"},
		{"too large", b.LocalAddr(), make([]byte, maxMessage+1), ErrTooLarge.Error()},
	} {
		if _, err := a.Call(t.Context(), test.to, 1, test.request); err == nil || !unsent(err) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, unsent %v; want %s", test.name, err, unsent(err), test.want)
		}
	}
	if served.Load() != 0 {
		t.Errorf("%d requests arrived", served.Load())
	}
	if _, err := a.Call(t.Context(), b.LocalAddr(), 1, nil); err == nil || unsent(err) || !strings.Contains(err.Error(), "8388609 bytes") {
		t.Errorf("an answer that is too large: %v, unsent %v", err, unsent(err))
	}
	b.Handle(nil)
	if _, err := a.Call(t.Context(), b.LocalAddr(), 1, nil); err == nil || !unsent(err) || !strings.Contains(err.Error(), "serves no requests") {
		t.Errorf("nobody serves: %v, unsent %v", err, unsent(err))
	}
	if served.Load() != 1 {
		t.Errorf("%d requests were served", served.Load())
	}
}

// A node that was started anew is called over a new connection, without an error in between.
func TestANodeIsStartedAnew(t *testing.T) {
	a, b := listen(t, "a", 7), listen(t, "b", 7)
	b.Handle(echo)
	for i := range 5 {
		if _, err := a.Call(t.Context(), b.LocalAddr(), 1, nil); err != nil {
			t.Fatalf("run %d: %v", i, err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		eventually(t, "the end has been noticed", func() bool { return sample(t, a.metrics.connections, "calls", "out") == 0 })
		b = listen(t, "b", 7, func(c *Config) { c.Bind = b.Addr().String() })
		b.Handle(echo)
	}
}

func TestConcurrentCallsShareADial(t *testing.T) {
	a := listen(t, "a", 7)
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test's own port
	if err != nil {
		t.Fatal(err)
	}
	var dialled atomic.Int64
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			dialled.Add(1)
			defer func() { _ = c.Close() }() // until then it is silent
		}
	})
	var callers sync.WaitGroup
	for range 50 {
		callers.Go(func() {
			if _, err := a.Call(t.Context(), raftAddress(listener), 1, nil); err == nil || !unsent(err) {
				t.Errorf("a call to who says nothing: %v, unsent %v", err, unsent(err))
			}
		})
	}
	takes(t, 2*dialTimeout, callers.Wait)
	if n := dialled.Load(); n == 0 || n > 2 {
		t.Errorf("%d connections for 50 calls at once", n)
	}
	_ = listener.Close()
	accepting.Wait()
}

func TestOtherCluster(t *testing.T) {
	a, b := listen(t, "a", 7), listen(t, "b", 8)
	b.Handle(echo)
	answerRaft(t, b)
	_, err := a.Call(t.Context(), b.LocalAddr(), 1, nil)
	if !errors.Is(err, ErrOtherCluster) || !unsent(err) {
		t.Fatalf("a call to another cluster: %v, unsent %v", err, unsent(err))
	}
	for _, part := range []string{
		"0000000000000007", "0000000000000008", string(a.LocalAddr()), string(b.LocalAddr()), "address in a list of nodes is wrong", "data directory of another cluster",
	} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not say %s: %v", part, err)
		}
	}
	if err := a.RequestVote("b", b.LocalAddr(), &raft.RequestVoteRequest{}, &raft.RequestVoteResponse{}); !errors.Is(err, ErrOtherCluster) {
		t.Errorf("Raft's message to another cluster: %v", err)
	}
	eventually(t, "both connections are counted", func() bool { return b.refused(t, reasonOtherCluster) == 2 })
	// The dialler learns its cluster while the other answers for another one.
	a.cluster.Store(0)
	if _, err := a.Call(t.Context(), b.LocalAddr(), 1, nil); err != nil {
		t.Errorf("a call of who knows no cluster: %v", err)
	}
	if err := a.RequestVote("b", b.LocalAddr(), &raft.RequestVoteRequest{}, &raft.RequestVoteResponse{}); err != nil {
		t.Errorf("Raft's message of who knows no cluster: %v", err)
	}
	a.cluster.Store(7)
	eventually(t, "no connection is left", func() bool {
		return sample(t, a.metrics.connections, "calls", "out")+sample(t, a.metrics.connections, "raft", "out") == 0
	})
	if _, err := a.Call(t.Context(), b.LocalAddr(), 1, nil); !errors.Is(err, ErrOtherCluster) {
		t.Errorf("a call to another cluster: %v", err)
	}
}

// Two nodes that knew no cluster when they met learn different ones.
func TestClustersComeApart(t *testing.T) {
	for _, later := range []bool{false, true} {
		t.Run(fmt.Sprint("later ", later), func(t *testing.T) {
			t.Parallel()
			a, b := listen(t, "a", 0), listen(t, "b", 0)
			b.Handle(echo)
			answerRaft(t, b)
			if _, err := a.Call(t.Context(), b.LocalAddr(), 1, nil); err != nil {
				t.Fatal(err)
			}
			if err := a.RequestVote("b", b.LocalAddr(), &raft.RequestVoteRequest{}, &raft.RequestVoteResponse{}); err != nil {
				t.Fatal(err)
			}
			first, second := a, b
			if later {
				first, second = b, a
			}
			first.cluster.Store(7)
			eventually(t, "calls go over a connection on which the cluster was told", func() bool {
				_, err := a.Call(t.Context(), b.LocalAddr(), 1, nil)
				a.mu.Lock()
				defer a.mu.Unlock()
				settled := err == nil
				for c := range a.conns {
					settled = settled && (c.carries == carriesRaft || c.told == 7 || c.peer.cluster == 7)
				}
				return settled
			})
			second.cluster.Store(8)
			eventually(t, "they do not talk any more", func() bool {
				_, err := a.Call(t.Context(), b.LocalAddr(), 1, nil)
				return errors.Is(err, ErrOtherCluster)
			})
			eventually(t, "Raft does not, either", func() bool {
				err := a.RequestVote("b", b.LocalAddr(), &raft.RequestVoteRequest{}, &raft.RequestVoteResponse{})
				return errors.Is(err, ErrOtherCluster)
			})
		})
	}
}

// No call is lost when all learn to which cluster they belong.
func TestLearningTheClusterLosesNoCall(t *testing.T) {
	a, b := listen(t, "a", 0), listen(t, "b", 0)
	b.Handle(echo)
	w, stop := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(w)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := a.Call(t.Context(), b.LocalAddr(), 1, make([]byte, 2*maxChunk)); err != nil {
				t.Errorf("a call: %v", err)
				return
			}
		}
	}()
	b.cluster.Store(7)
	eventually(t, "the other side was told", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		for c := range a.conns {
			if c.peer.cluster == 7 {
				return true
			}
		}
		return false
	})
	a.cluster.Store(7)
	ticks := time.NewTimer(2 * beat)
	defer ticks.Stop()
	<-ticks.C
	close(stop)
	<-w
}

func TestAnIdleConnectionIsClosed(t *testing.T) {
	a, b := listen(t, "a", 7), listen(t, "b", 7)
	b.Handle(echo)
	if _, err := a.Call(t.Context(), b.LocalAddr(), 1, nil); err != nil {
		t.Fatal(err)
	}
	l := a.way(string(b.LocalAddr())).now
	for range idle + 1 {
		l.heard.Store(true)
		l.tick()
	}
	eventually(t, "neither side keeps it", func() bool {
		return sample(t, a.metrics.connections, "calls", "out")+sample(t, b.metrics.connections, "calls", "in") == 0
	})
	if _, err := a.Call(t.Context(), b.LocalAddr(), 1, nil); err != nil {
		t.Error(err)
	}
}

// More than a node takes at once is sent back, and nothing breaks.
func TestTooManyCalls(t *testing.T) {
	a, b := listen(t, "a", 7), listen(t, "b", 7)
	w := newWaiting(b)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var callers sync.WaitGroup
	const large = maxCallBytes / maxMessage
	for range large {
		callers.Go(func() {
			if _, err := a.Call(ctx, b.LocalAddr(), 1, make([]byte, maxMessage)); !errors.Is(err, context.Canceled) {
				t.Errorf("a call that waits: %v", err)
			}
		})
	}
	for range large {
		<-w.begun
	}
	if _, err := a.Call(ctx, b.LocalAddr(), 1, []byte("one more")); !errors.Is(err, errBusy) || !unsent(err) {
		t.Errorf("one more: %v, unsent %v", err, unsent(err))
	}
	cancel()
	callers.Wait()
	close(w.proceed)
	if _, err := a.Call(t.Context(), b.LocalAddr(), 1, []byte("one more")); err != nil {
		t.Errorf("later: %v", err)
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	a, b, c := listen(t, "a", 7), listen(t, "b", 7), listen(t, "c", 7)
	nodes := []*node{a, b, c}
	w := newWaiting(b)
	meet(t, a, nil)
	meet(t, a, []byte(magic))
	var calling sync.WaitGroup
	for _, from := range nodes {
		calling.Go(func() { _, _ = from.Call(t.Context(), b.LocalAddr(), 1, nil) })
		calling.Go(func() {
			// Nobody takes Raft's messages from the transport.
			_ = from.RequestVote("c", c.LocalAddr(), &raft.RequestVoteRequest{}, &raft.RequestVoteResponse{})
		})
	}
	for range nodes {
		<-w.begun
	}
	var closing sync.WaitGroup
	for _, n := range append(nodes, nodes...) {
		closing.Go(func() {
			if err := n.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	takes(t, 10*time.Second, closing.Wait)
	calling.Wait()
	var left string
	eventually(t, "all goroutines have ended", func() bool {
		left = stacks()
		return !strings.Contains(left, "cluster/peer.(*") && !strings.Contains(left, "raft.(*NetworkTransport)")
	})
	for _, n := range nodes {
		if len(n.conns) > 0 || len(n.greetings) > 0 {
			t.Errorf("%d connections and %d beginnings are left", len(n.conns), len(n.greetings))
		}
	}
}

// stacks are those of all goroutines.
func stacks() string {
	buf := make([]byte, 1<<20)
	return string(buf[:runtime.Stack(buf, true)])
}
