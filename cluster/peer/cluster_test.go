package peer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/cluster/clustertest"
)

// A list is a state machine that remembers every command, in memory alone: a node that is
// started anew gets all of them from its log.
type list struct {
	mu       sync.Mutex
	index    uint64        // guarded by mu
	commands []string      // guarded by mu
	changed  chan struct{} // guarded by mu; closed when something was applied
}

func (l *list) Apply(entry *raft.Log) any { return l.ApplyBatch([]*raft.Log{entry})[0] }

func (l *list) ApplyBatch(entries []*raft.Log) []any {
	l.mu.Lock()
	defer l.mu.Unlock()
	results := make([]any, len(entries))
	for i, e := range entries {
		l.index = e.Index
		if e.Type != raft.LogCommand {
			continue
		}
		var commands [][]byte
		if err := json.Unmarshal(e.Data, &commands); err != nil {
			panic(err)
		}
		for _, c := range commands {
			l.commands = append(l.commands, string(c))
		}
		results[i] = e.Data // every command is its own answer
	}
	close(l.changed)
	l.changed = make(chan struct{})
	return results
}

func (l *list) Snapshot() (raft.FSMSnapshot, error) { return nil, errors.New("there are none") }

func (l *list) Restore(io.ReadCloser) error { return errors.New("there are none") }

func (l *list) published(ctx context.Context, index uint64) error {
	for {
		l.mu.Lock()
		at, changed := l.index, l.changed
		l.mu.Unlock()
		if at >= index {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func sealed(commands [][]byte) []byte {
	data, err := json.Marshal(commands)
	if err != nil {
		panic(err)
	}
	return data
}

// A voter is a node of a cluster with a log on disk and a port on loopback.
type voter struct {
	cluster.Peer
	dir, bind string
	list      *list
	port      *Port
	node      *cluster.Node
	told      lines
}

// start starts a voter, again if it was there before.
func (v *voter) start(t *testing.T, all []cluster.Peer) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(&v.told, nil))
	var err error
	v.port, err = Listen(t.Context(), Config{Bind: v.bind, Advertise: v.Address, NodeID: v.ID, Cluster: func() uint64 { return 7 }, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	v.list = &list{changed: make(chan struct{})}
	node, err := cluster.Open(t.Context(), cluster.Config{
		Dir: v.dir, NodeID: v.ID, FSM: v.list, Snapshots: raft.NewInmemSnapshotStore(),
		Seal:         func(commands [][]byte, _ time.Time) []byte { return sealed(commands) },
		SplitAnswers: func(result []byte) (answers [][]byte, err error) { return answers, json.Unmarshal(result, &answers) },
		TermStart:    func(uint64) []byte { return sealed(nil) },
		DurableIndex: func() uint64 { return 0 },
		Published:    v.list.published,
		Transport:    v.port, Peers: v.port, Bootstrap: all, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	v.node = node
}

// kill cuts the voter off at once, and then ends what is left of it.
func (v *voter) kill(t *testing.T) {
	t.Helper()
	if err := errors.Join(v.port.Close(), v.node.Close()); err != nil {
		t.Errorf("end of %s: %v", v.ID, err)
	}
	v.node = nil
}

// voters starts three of them behind a proxy, under the names of their ids.
func voters(t *testing.T) ([]*voter, []cluster.Peer, *clustertest.Proxy) {
	t.Helper()
	proxy := clustertest.NewProxy(t)
	all, first := make([]*voter, 3), make([]cluster.Peer, 3)
	for i := range all {
		v := &voter{dir: t.TempDir(), Peer: cluster.Peer{ID: fmt.Sprintf("n%d", i)}}
		// The proxy must know where the node listens before the node knows where it is reached.
		listener := listen(t, "unused", 7)
		v.bind = listener.Addr().String()
		if err := listener.Close(); err != nil {
			t.Fatal(err)
		}
		v.Address = proxy.Front(v.ID, v.bind)
		all[i], first[i] = v, v.Peer
	}
	for _, v := range all {
		v.start(t, first)
	}
	t.Cleanup(func() {
		for _, v := range all {
			if v.node != nil {
				v.kill(t)
			}
			if t.Failed() {
				t.Logf("%s:\n%s", v.ID, v.told.String())
			}
		}
	})
	return all, first, proxy
}

// leaderOf waits for a node that leads and serves.
func leaderOf(t *testing.T, all []*voter) (leader *voter) {
	t.Helper()
	eventually(t, "somebody leads", func() bool {
		for _, v := range all {
			if v.node != nil && v.node.Status().Serving {
				leader = v
			}
		}
		return leader != nil
	})
	return leader
}

// propose puts a command through a node, as often as is needed: while a leader is elected
// nobody takes it.
func (v *voter) propose(t *testing.T, command string) {
	t.Helper()
	var err error
	eventually(t, "a command is taken", func() bool {
		var answer []byte
		answer, err = v.node.Propose(t.Context(), []byte(command))
		if err == nil && string(answer) != command {
			t.Fatalf("%s is answered by %s", command, answer)
		}
		if err != nil && !errors.Is(err, cluster.ErrNoLeader) {
			t.Fatalf("propose %s at %s: %v", command, v.ID, err)
		}
		return err == nil
	})
}

// sees waits until a node shows everything that was acknowledged, and compares.
func (v *voter) sees(t *testing.T, want []string) {
	t.Helper()
	eventually(t, "a consistent read", func() bool { _, err := v.node.ReadIndex(t.Context()); return err == nil })
	v.list.mu.Lock()
	defer v.list.mu.Unlock()
	if !slices.Equal(v.list.commands, want) {
		t.Errorf("%s sees %q, want %q", v.ID, v.list.commands, want)
	}
}

func TestAClusterOverPorts(t *testing.T) {
	all, first, _ := voters(t)
	var want []string
	l := leaderOf(t, all)
	for _, v := range all {
		want = append(want, "through "+v.ID)
		v.propose(t, "through "+v.ID)
		for _, w := range all {
			w.sees(t, want)
		}
	}
	// More than one frame, and more than one of Raft's buffers.
	large := string(bytes.Repeat([]byte("x"), 1<<20))
	follower := all[(slices.Index(all, l)+1)%3]
	follower.propose(t, large)
	want = append(want, large)

	l.kill(t)
	next := leaderOf(t, all)
	if next == l {
		t.Fatal("a node that was killed leads")
	}
	follower.propose(t, "after the death of the leader")
	want = append(want, "after the death of the leader")
	for _, v := range all {
		if v != l {
			v.sees(t, want)
		}
	}
	l.start(t, first)
	l.sees(t, want)
	l.propose(t, "through who came back")
	want = append(want, "through who came back")
	for _, v := range all {
		v.sees(t, want)
	}
}

func TestALeaderThatIsCutOffIsReplaced(t *testing.T) {
	for _, test := range []struct {
		name string
		cut  func(p *clustertest.Proxy, leader string)
	}{
		{"both ways", func(p *clustertest.Proxy, leader string) { p.Isolate(leader) }},
		{"nobody hears it", func(p *clustertest.Proxy, leader string) {
			p.Set(leader, clustertest.Anybody, clustertest.Fault{Cut: true})
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			all, _, proxy := voters(t)
			old := leaderOf(t, all)
			old.propose(t, "before")
			test.cut(proxy, old.ID)
			rest := slices.DeleteFunc(slices.Clone(all), func(v *voter) bool { return v == old })
			next := leaderOf(t, rest)
			next.propose(t, "meanwhile")
			if _, err := old.node.ReadIndex(t.Context()); err == nil {
				t.Error("a leader that was cut off still serves reads")
			}
			proxy.Heal()
			for _, v := range all {
				v.sees(t, []string{"before", "meanwhile"})
			}
		})
	}
}
