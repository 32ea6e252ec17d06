package peer

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// answerRaft answers Raft's messages in a way that tells them apart, until the port closes.
func answerRaft(t *testing.T, n *node) {
	t.Helper()
	stop, stopped := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(stop); <-stopped })
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case rpc := <-n.Consumer():
				switch r := rpc.Command.(type) {
				case *raft.AppendEntriesRequest:
					rpc.Respond(&raft.AppendEntriesResponse{Term: r.Term, LastLog: uint64(len(r.Entries)), Success: true}, nil)
				case *raft.RequestVoteRequest:
					rpc.Respond(&raft.RequestVoteResponse{Term: r.Term, Granted: true}, nil)
				case *raft.RequestPreVoteRequest:
					rpc.Respond(&raft.RequestPreVoteResponse{Term: r.Term, Granted: true}, nil)
				case *raft.TimeoutNowRequest:
					rpc.Respond(&raft.TimeoutNowResponse{}, nil)
				case *raft.InstallSnapshotRequest:
					data, err := io.ReadAll(rpc.Reader)
					rpc.Respond(&raft.InstallSnapshotResponse{Term: uint64(len(data)), Success: err == nil}, err)
				}
			}
		}
	}()
}

func TestRaftsMessagesArrive(t *testing.T) {
	a, b := listen(t, "a", 7), listen(t, "b", 7)
	answerRaft(t, b)
	to := b.LocalAddr()
	entries := []*raft.Log{{Index: 1, Term: 3, Data: bytes.Repeat([]byte("x"), 1<<20)}, {Index: 2, Term: 3}}
	for range 3 {
		var appended raft.AppendEntriesResponse
		if err := a.AppendEntries("b", to, &raft.AppendEntriesRequest{Term: 3, Entries: entries}, &appended); err != nil || appended.LastLog != 2 {
			t.Errorf("AppendEntries: %+v, %v", appended, err)
		}
		var vote raft.RequestVoteResponse
		if err := a.RequestVote("b", to, &raft.RequestVoteRequest{Term: 4}, &vote); err != nil || vote.Term != 4 {
			t.Errorf("RequestVote: %+v, %v", vote, err)
		}
		var pre raft.RequestPreVoteResponse
		if err := a.RequestPreVote("b", to, &raft.RequestPreVoteRequest{Term: 5}, &pre); err != nil || pre.Term != 5 {
			t.Errorf("RequestPreVote: %+v, %v", pre, err)
		}
		if err := a.TimeoutNow("b", to, &raft.TimeoutNowRequest{}, &raft.TimeoutNowResponse{}); err != nil {
			t.Errorf("TimeoutNow: %v", err)
		}
	}
	const size = 20 << 20
	var installed raft.InstallSnapshotResponse
	err := a.InstallSnapshot("b", to, &raft.InstallSnapshotRequest{Size: size}, &installed, io.LimitReader(zeros{}, size))
	if err != nil || installed.Term != size {
		t.Errorf("InstallSnapshot: %+v, %v", installed, err)
	}
	if _, err := a.AppendEntriesPipeline("b", to); !errors.Is(err, raft.ErrPipelineReplicationNotSupported) {
		t.Errorf("a pipeline: %v", err)
	}
}

// zeros is an endless snapshot.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// Raft keeps connections. That the other node was started anew meanwhile costs no message.
func TestRaftMeetsANodeThatWasStartedAnew(t *testing.T) {
	a, b := listen(t, "a", 7), listen(t, "b", 7)
	answerRaft(t, b)
	vote := func() error {
		var answer raft.RequestVoteResponse
		err := a.RequestVote("b", b.LocalAddr(), &raft.RequestVoteRequest{Term: 4}, &answer)
		if err == nil && answer.Term != 4 {
			err = errors.New("a vote for another term")
		}
		return err
	}
	for range 5 {
		var voting sync.WaitGroup
		for range pooled { // so many connections are kept
			voting.Go(func() {
				if err := vote(); err != nil {
					t.Errorf("a vote: %v", err)
				}
			})
		}
		voting.Wait()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		b = listen(t, "b", 7, func(c *Config) { c.Bind = b.Addr().String() })
		answerRaft(t, b)
		if err := vote(); err != nil {
			t.Errorf("a vote of a node that was started anew: %v", err)
		}
	}
	if n := sample(t, a.metrics.connections, "raft", "out"); n > pooled {
		t.Errorf("%v connections are kept", n)
	}
}

// pipe is a stream's connection in memory, with the other end.
func pipe(t *testing.T) (*conn, net.Conn) {
	t.Helper()
	metrics, err := newMetrics(nil)
	if err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	return &conn{Conn: near, raw: near, port: &Port{metrics: metrics}, carries: carriesRaft}, far
}

func TestAMessageThatStandsStillEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, far := pipe(t)
		s := &incoming{conn: c, done: func() {}}
		start := time.Now()
		go func() {
			pass(time.Hour) // between messages there is no hurry
			_, _ = far.Write([]byte("a"))
			pass(stall - time.Second) // it goes on just in time
			_, _ = far.Write([]byte("b"))
		}()
		buf := make([]byte, 1)
		for _, want := range []string{"a", "b"} {
			if _, err := s.Read(buf); err != nil || string(buf) != want {
				t.Fatalf("read %q, %v", buf, err)
			}
		}
		if _, err := s.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("it ends with %v", err)
		}
		if took := time.Since(start); took != time.Hour+2*stall-time.Second {
			t.Errorf("it ends after %v", took)
		}
		// An answer ends the message, and the next may take its time again.
		go func() {
			_, _ = io.ReadFull(far, make([]byte, 6))
			pass(time.Hour)
			_, _ = far.Write([]byte("c"))
		}()
		if _, err := s.Write([]byte("answer")); err != nil {
			t.Error(err)
		}
		if _, err := s.Read(buf); err != nil || string(buf) != "c" {
			t.Errorf("read %q, %v", buf, err)
		}
		_ = errors.Join(s.Close(), far.Close())
	})
}

func TestAMessageMayBeSlowButNotStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, far := pipe(t)
		s := &outgoing{conn: c}
		const chunks = 20
		go func() {
			buf := make([]byte, chunk)
			for range chunks {
				pass(raftTimeout - time.Second)
				_, _ = io.ReadFull(far, buf)
			}
		}()
		if err := s.SetDeadline(time.Now().Add(raftTimeout)); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if n, err := s.Write(make([]byte, chunks*chunk)); err != nil || n != chunks*chunk {
			t.Errorf("a slow message of %d bytes: %d, %v", chunks*chunk, n, err)
		}
		if took := time.Since(start); took < chunks*(raftTimeout-time.Second) {
			t.Errorf("it took %v", took)
		}
		start = time.Now()
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != raftTimeout {
			t.Errorf("an answer that does not come: %v after %v", err, time.Since(start))
		}
		// A snapshot is given hours, but nobody waits so long for the next bytes.
		if err := s.SetDeadline(time.Now().Add(3 * time.Hour)); err != nil {
			t.Fatal(err)
		}
		start = time.Now()
		if _, err := s.Write([]byte("snapshot")); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != stall {
			t.Errorf("a snapshot that nobody takes: %v after %v", err, time.Since(start))
		}
		_ = errors.Join(s.Close(), far.Close())
	})
}

// pass lets virtual time pass. It is for bubbles only.
func pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // there is no state to wait for: time itself is what the test is about
}
