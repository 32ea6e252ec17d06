package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// hangingLogs is a log on a disk that can hang: writes wait until it goes on.
type hangingLogs struct {
	raft.LogStore
	raft.StableStore
	mu      sync.Mutex
	hanging chan struct{} // guarded by mu; nil while the disk writes
}

func (h *hangingLogs) hang() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.hanging == nil {
		h.hanging = make(chan struct{})
	}
}

func (h *hangingLogs) goOn() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.hanging != nil {
		close(h.hanging)
		h.hanging = nil
	}
}

func (h *hangingLogs) wait() {
	h.mu.Lock()
	hanging := h.hanging
	h.mu.Unlock()
	if hanging != nil {
		<-hanging
	}
}

func (h *hangingLogs) StoreLogs(entries []*raft.Log) error {
	h.wait()
	return h.LogStore.StoreLogs(entries)
}

func (h *hangingLogs) Set(key, value []byte) error {
	h.wait()
	return h.StableStore.Set(key, value)
}

func (h *hangingLogs) SetUint64(key []byte, value uint64) error {
	h.wait()
	return h.StableStore.SetUint64(key, value)
}

// stalling gives each node such a log, and collects why nodes end.
type stalling struct {
	mu     sync.Mutex
	disks  map[string]*hangingLogs
	causes map[string]error
}

func (s *stalling) option(c *Config) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.disks == nil {
		s.disks, s.causes = map[string]*hangingLogs{}, map[string]error{}
	}
	id := c.NodeID
	disk := &hangingLogs{LogStore: c.Logs, StableStore: c.Stable}
	s.disks[id] = disk
	c.Logs, c.Stable = disk, disk
	c.StallTransfer, c.StallFatal = 2*time.Second, 8*time.Second
	c.Fatal = func(err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.causes[id] = err
	}
}

// of returns the disk of a node's present run.
func (s *stalling) of(p *peer) *hangingLogs {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.disks[p.ID]
}

func (s *stalling) cause(p *peer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.causes[p.ID]
}

// writable proposes at a node until it is answered, and returns how long that took.
func writable(t *testing.T, p *peer, command string) time.Duration {
	t.Helper()
	start := time.Now()
	for i := 0; time.Since(start) < time.Minute; i++ {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err := p.node.Propose(ctx, fmt.Appendf(nil, "%s/%d", command, i))
		cancel()
		if err == nil {
			return time.Since(start)
		}
		pass(10 * time.Millisecond)
	}
	t.Fatalf("no write in %s", time.Since(start))
	return 0
}

func TestLeaderWhoseDiskHangsIsReplaced(t *testing.T) {
	for _, tt := range []struct {
		name  string
		never bool // the control: the leader does not fall silent
	}{{"it falls silent", false}, {"control: it does not", true}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var s stalling
				transfer := 2 * time.Second
				c := newPeers(t, 1, 3, s.option, func(c *Config) {
					if tt.never {
						c.StallTransfer = 7 * time.Second
					}
				})
				l := c.leader()
				writable(t, l, "before")
				disk := s.disks[l.ID]
				disk.hang()
				defer disk.goOn()
				took := writable(t, c.others(l)[0], "during")
				if inTime := took <= transfer+3*time.Second; inTime == tt.never {
					t.Errorf("no write was possible for %s, want less than %s: %t", took, transfer+3*time.Second, !tt.never)
				}
				if tt.never {
					return
				}
				// It does not know yet that it is not the leader, and must not pass for one that
				// shows the newest state.
				pass(time.Second)
				if age := l.node.Staleness(); age < time.Second {
					t.Errorf("Staleness() = %s on a leader that was replaced, want a second at least", age)
				}
				if l.node.serves() != 0 {
					t.Error("its metric says that it serves")
				}
				if _, err := l.node.ReadIndex(t.Context()); !errors.Is(err, ErrNoLeader) {
					t.Errorf("ReadIndex on a leader that was replaced: %v, want %v", err, ErrNoLeader)
				}
				if now := c.others(l)[0].node.Leader(); now == l.ID || now == "" {
					t.Errorf("node %q leads, and it was node %s whose disk hangs", now, l.ID)
				}
				if err := s.cause(l); err != nil {
					t.Errorf("it has ended already: %v", err)
				}
				pass(8 * time.Second)
				if err := s.cause(l); err == nil || !strings.Contains(err.Error(), "the disk hangs") {
					t.Errorf("its end has the cause %v, want that the disk hangs", err)
				}
				for _, p := range c.others(l) {
					if err := s.cause(p); err != nil {
						t.Errorf("node %s has ended, too: %v", p.ID, err)
					}
				}
				if _, err := l.node.Propose(t.Context(), []byte("x")); !errors.Is(err, ErrShuttingDown) {
					t.Errorf("Propose there: %v, want %v", err, ErrShuttingDown)
				}
			})
		})
	}
}

func TestLeaderWhoseDiskHungForAWhileTakesPartAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s stalling
		c := newPeers(t, 1, 3, s.option)
		l := c.leader()
		disk := s.disks[l.ID]
		disk.hang()
		hung := make(chan error, 1)
		go func() { _, err := l.node.Propose(t.Context(), []byte("hung")); hung <- err }()
		writable(t, c.others(l)[0], "during")
		if _, err := l.node.Propose(t.Context(), []byte("meanwhile")); !errors.Is(err, ErrNoLeader) {
			t.Errorf("Propose at the leader whose disk hangs: %v, want %v", err, ErrNoLeader)
		}
		disk.goOn()
		if err := <-hung; !errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("the write that hung ended with %v, want %v", err, ErrUnknownOutcome)
		}
		c.ready()
		pass(time.Second)
		writable(t, l, "after")
		c.same()
		if err := s.cause(l); err != nil || l.node.outbox.silent.Load() {
			t.Errorf("it ended with %v; it is silent: %t", err, l.node.outbox.silent.Load())
		}
	})
}

// Nobody else can lead, so the leader leads on when its disk does.
func TestOnlyOneThatCanLeadLeadsOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s stalling
		c := newPeers(t, 1, 1, s.option)
		l := c.leader()
		s.disks[l.ID].hang()
		hung := make(chan error, 1)
		go func() { _, err := l.node.Propose(t.Context(), []byte("hung")); hung <- err }()
		pass(4 * time.Second)
		s.disks[l.ID].goOn()
		if err := <-hung; err != nil {
			t.Errorf("the write that hung: %v", err)
		}
		pass(time.Second)
		writable(t, l, "after")
	})
}

func TestFollowerWhoseDiskHangsEndsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s stalling
		c := newPeers(t, 1, 3, s.option)
		l := c.leader()
		f := c.others(l)[0]
		s.disks[f.ID].hang()
		defer s.disks[f.ID].goOn()
		for i := range 20 {
			if took := writable(t, l, fmt.Sprint("command ", i)); took > 100*time.Millisecond {
				t.Errorf("write %d took %s", i, took)
			}
			pass(500 * time.Millisecond)
		}
		if now := c.others(f)[0].node.Leader(); now != l.ID {
			t.Errorf("node %s leads now, it was node %s", now, l.ID)
		}
		if err := s.cause(f); err == nil || !strings.Contains(err.Error(), "the disk hangs") {
			t.Errorf("its end has the cause %v, want that the disk hangs", err)
		}
	})
}

func TestStallClockCountsOnlyWhatItSees(t *testing.T) {
	const look = 100 * time.Millisecond
	start := time.Now()
	var w writeWatch
	c := stallClock{last: start}
	at := start
	after := func(d time.Duration) time.Duration {
		at = at.Add(d)
		return c.look(&w, at, look)
	}
	w.begin()
	for i, want := range []time.Duration{0, look, 2 * look} {
		if got := after(look); got != want {
			t.Errorf("look %d: %s, want %s", i, got, want)
		}
	}
	if got := after(time.Hour); got != 4*look {
		t.Errorf("after a pause: %s, want %s", got, 4*look)
	}
	w.begin()
	w.end()
	if got := after(look); got != 0 {
		t.Errorf("after another write has ended: %s, want 0", got)
	}
	w.end()
	after(look)
	for range 3 {
		w.begin()
		w.end()
		if got := after(look); got != 0 {
			t.Errorf("with nothing under way: %s, want 0", got)
		}
	}
}
