package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/remit-authz/remit/graph"
)

var servers = raft.Configuration{Servers: []raft.Server{{Suffrage: raft.Voter, ID: "n1", Address: "n1:1"}}}

// snapshot takes one as Raft does, at an index that may lie behind the applied one:
// Raft counts entries that the state machine never sees.
func snapshot(t testing.TB, s *State, index uint64) *raft.SnapshotMeta {
	t.Helper()
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	sink, err := s.Snapshots().Create(raft.SnapshotVersionMax, index, 1, servers, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := snap.Persist(sink); err != nil {
		t.Fatal(err)
	}
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
	metas, err := s.Snapshots().List()
	if err != nil {
		t.Fatal(err)
	}
	if metas[0].ID != sink.ID() || metas[0].Index != index {
		t.Fatalf("newest snapshot is %+v, want %s at %d", metas[0], sink.ID(), index)
	}
	return metas[0]
}

// stream reads a snapshot whole, and checks its size: Raft's receiver counts bytes.
func stream(t testing.TB, s *State, id string) []byte {
	t.Helper()
	meta, r, err := s.Snapshots().Open(id)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if int64(len(b)) != meta.Size {
		t.Fatalf("stream has %d bytes, its size is given as %d", len(b), meta.Size)
	}
	return b
}

// receive writes a stream into a state's store in odd pieces, as a node that gets it
// from another.
func receive(s *State, index, term uint64, b []byte) (string, error) {
	sink, err := s.Snapshots().Create(raft.SnapshotVersionMax, index, term, servers, 1, nil)
	if err != nil {
		return "", err
	}
	for n := 1; len(b) > 0; n = n*3 + 1 {
		n = min(n, len(b))
		if _, err := sink.Write(b[:n]); err != nil {
			return "", errors.Join(err, sink.Cancel())
		}
		b = b[n:]
	}
	return sink.ID(), sink.Close()
}

func restore(t testing.TB, s *State, id string) {
	t.Helper()
	_, r, err := s.Snapshots().Open(id)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Restore(wrapped{r}); err != nil {
		t.Fatal(err)
	}
}

// wrapped is how Raft hands a reader over.
type wrapped struct{ io.ReadCloser }

func (w wrapped) WrappedReadCloser() io.ReadCloser { return w.ReadCloser }

// filled has two stores, a past and documents.
func filled(t testing.TB) (*machine, *twin) {
	t.Helper()
	m, w := newMachine(t), newTwin()
	r := &chance{rand.New(rand.NewPCG(7, 7)), t}
	for i := range 61 {
		rev, now := graph.Revision(m.index+1), m.now+1
		var commands []*Command
		for _, n := range []byte{0, 1} {
			if s := w.stores[storeNumber(n)]; s == nil || !s.model {
				commands = append(commands,
					&Command{Store: storeNumber(n), Body: &CreateStore{Name: "acme"}},
					&Command{Store: storeNumber(n), Body: &WriteModel{ID: modelNumber(1), Source: []byte("m"), Declarations: declared}})
			}
		}
		if i < 60 { // the last entry only completes the stores
			commands = append(commands, r.command(rev, now), r.command(rev, now))
		}
		results := m.apply(commands...)
		for i, c := range commands {
			if got, want := results[i].Err, w.apply(c, rev, now); !errors.Is(got, want) {
				t.Fatalf("command %T: %v, want %v", c.Body, got, want)
			}
		}
		w.record(rev, now)
	}
	return m, w
}

func TestSnapshotTravelsAndRestores(t *testing.T) {
	m, w := filled(t)
	meta := snapshot(t, m.s, m.index)
	m.do(&Command{Store: storeNumber(8), Body: &CreateStore{Name: "later"}})
	b := stream(t, m.s, meta.ID)

	other := newMachine(t)
	other.store(5)
	id, err := receive(other.s, meta.Index, meta.Term, b)
	if err != nil {
		t.Fatal(err)
	}
	if again := stream(t, other.s, id); !bytes.Equal(again, b) {
		t.Error("the stream changed on its way")
	}
	old := other.s.Current()
	restore(t, other.s, id)
	if _, ok := old.Store(storeNumber(5)); !ok {
		t.Error("a root changed under its reader")
	}
	w.compareAll(t, other.s)
	if got := other.s.DurableIndex(); got != meta.Index {
		t.Errorf("durable index %d, want %d", got, meta.Index)
	}
	for range 2 { // what came after the snapshot, then a restart
		for _, l := range m.logs {
			other.s.Apply(l)
		}
		if _, want := m.s.StateHash(); hashOf(other.s) != want {
			t.Error("the rest of the log leads elsewhere")
		}
		checkHash(t, other.s)
		other.reopen()
	}
}

func hashOf(s *State) [16]byte {
	_, h := s.StateHash()
	return h
}

func TestRestoreOfAnOwnSnapshotGoesBack(t *testing.T) {
	m, w := filled(t)
	meta := snapshot(t, m.s, m.index)
	m.do(&Command{Store: storeNumber(8), Body: &CreateStore{Name: "later"}})
	want := hashOf(m.s)
	restore(t, m.s, meta.ID)
	w.compareAll(t, m.s)
	m.s.Apply(m.logs[len(m.logs)-1])
	if hashOf(m.s) != want {
		t.Error("the log leads elsewhere after the restore")
	}
	// The snapshot must have stayed as it was while the new generation was written to.
	restore(t, m.s, meta.ID)
	w.compareAll(t, m.s)
}

func TestDamagedStreamsAreRefused(t *testing.T) {
	m, _ := filled(t)
	meta := snapshot(t, m.s, m.index)
	b := stream(t, m.s, meta.ID)
	for i := range 200 {
		bad := bytes.Clone(b)
		what := fmt.Sprintf("bit at %d", i*len(b)/200)
		bad[i*len(b)/200] ^= 4
		refuseStream(t, what, meta, bad)
	}
	for i := range 50 {
		refuseStream(t, "truncated", meta, b[:i*len(b)/50])
	}
	refuseStream(t, "a byte too many", meta, append(bytes.Clone(b), 0))
}

func refuseStream(t *testing.T, what string, meta *raft.SnapshotMeta, b []byte) {
	t.Helper()
	st, err := openSnapshots(vfs.NewMem(), "snapshots", discard)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := receive(&State{snaps: st}, meta.Index, meta.Term, b); err == nil {
		t.Fatalf("%s: the stream was accepted", what)
	}
	if metas, err := st.List(); err != nil || len(metas) != 0 {
		t.Fatalf("%s: %d snapshots, error %v", what, len(metas), err)
	}
	if names, err := st.fs.List("snapshots"); err != nil || len(names) != 0 {
		t.Fatalf("%s: left over %v, error %v", what, names, err)
	}
}

func TestADamagedSnapshotIsNotRestored(t *testing.T) {
	m, _ := filled(t)
	meta := snapshot(t, m.s, m.index)
	dir := m.s.snaps.path(meta.ID, stateDir)
	names, err := m.fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	f := m.s.snaps.all[meta.ID].files[0]
	if len(names) == 0 {
		t.Fatal("an empty checkpoint")
	}
	if err := writeFile(m.fs, dir, f.name, make([]byte, f.size)); err != nil {
		t.Fatal(err)
	}
	var fatal error
	m.s.cfg.Fatal = func(err error) { fatal = err }
	_, r, err := m.s.Snapshots().Open(meta.ID)
	if err != nil {
		t.Fatal(err)
	}
	before := hashOf(m.s)
	if err := m.s.Restore(r); !errors.Is(err, ErrCorrupt) || fatal == nil {
		t.Errorf("Restore = %v, fatal %v", err, fatal)
	}
	if hashOf(m.s) != before {
		t.Error("the failed restore changed the state")
	}
	m.reopen()
	if hashOf(m.s) != before {
		t.Error("the failed restore changed the state on disk")
	}
}

func TestAnOperatorsRestoreBeginsAnotherHistory(t *testing.T) {
	m, w := filled(t)
	m.do(&Command{Body: &SetEpoch{To: 77}})
	w.record(graph.Revision(m.index), m.now)
	meta := snapshot(t, m.s, m.index)
	b := stream(t, m.s, meta.ID)

	// Raft gives it an index beyond its log; the leader restores, a follower is sent
	// what the leader then has.
	leader, follower := newMachine(t), newMachine(t)
	index := meta.Index + 100
	id, err := receive(leader.s, index, 9, b)
	if err != nil {
		t.Fatal(err)
	}
	restore(t, leader.s, id)
	id2, err := receive(follower.s, index, 9, stream(t, leader.s, id))
	if err != nil {
		t.Fatal(err)
	}
	restore(t, follower.s, id2)
	if leader.s.Epoch() == 77 || leader.s.Epoch() != follower.s.Epoch() {
		t.Errorf("epochs %d and %d", leader.s.Epoch(), follower.s.Epoch())
	}
	if hashOf(leader.s) != hashOf(follower.s) {
		t.Error("the hashes differ")
	}
	for _, x := range []*machine{leader, follower} {
		if got := x.s.DurableIndex(); got != index {
			t.Errorf("durable index %d, want %d", got, index)
		}
		x.checkHash()
		x.reopen()
		x.checkHash()
		x.index = index
		x.do(write(storeNumber(0), touch(viewer("new", "anna"))))
		x.checkHash()
	}
	if hashOf(leader.s) != hashOf(follower.s) {
		t.Error("the hashes differ after a write")
	}
}

// The revisions of another history are other states, so a view of the old one must end
// and not go on with rows of both.
func TestAPastEndsWithItsHistory(t *testing.T) {
	m := newMachine(t)
	id := m.store(0)
	k := viewer("plan", "anna")
	m.do(write(id, create(k)))
	meta := snapshot(t, m.s, m.index)
	b := stream(t, m.s, meta.ID)
	m.do(write(id, remove(k)))
	m.do(write(id, create(viewer("plan", "bert"))))
	p, err := m.s.ViewAt(id, graph.Revision(m.index))
	if err != nil {
		t.Fatal(err)
	}
	if contains(t, p, k) {
		t.Fatal("the past has what was removed")
	}
	index := m.index + 1
	restored, err := receive(m.s, index, 9, b)
	if err != nil {
		t.Fatal(err)
	}
	restore(t, m.s, restored)
	if _, _, err := p.Lookup(typeUser, "anna"); !errors.Is(err, ErrRevisionGone) {
		t.Errorf("Lookup in the old history = %v, want %v", err, ErrRevisionGone)
	}
	if err := p.Rows(&graph.RowCursor{}); !errors.Is(err, ErrRevisionGone) {
		t.Errorf("Rows in the old history = %v, want %v", err, ErrRevisionGone)
	}
	if p, err = m.s.ViewAt(id, graph.Revision(index)); err != nil || !contains(t, p, k) {
		t.Errorf("the new history does not have what was restored, error %v", err)
	}
}

func TestTwoSnapshotsAreKeptAndStreamsKeepTheirs(t *testing.T) {
	m, _ := filled(t)
	first := snapshot(t, m.s, m.index)
	_, r, err := m.s.Snapshots().Open(first.ID)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		m.do(write(storeNumber(0), touch(viewer("plan", "anna"))))
		snapshot(t, m.s, m.index)
	}
	metas, _ := m.s.Snapshots().List()
	if len(metas) != 3 || metas[2].ID != first.ID {
		t.Fatalf("%d snapshots while one is streamed, want 3", len(metas))
	}
	if b, err := io.ReadAll(r); err != nil || int64(len(b)) != first.Size {
		t.Fatalf("stream of %d bytes, error %v", len(b), err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	metas, _ = m.s.Snapshots().List()
	if len(metas) != 2 || metas[0].Index != m.index || metas[1].Index != m.index-1 {
		t.Fatalf("snapshots %+v", metas)
	}
	m.reopen()
	if again, _ := m.s.Snapshots().List(); len(again) != 2 || again[0].ID != metas[0].ID {
		t.Errorf("snapshots after restart %+v", again)
	}
}

func TestDurableIndexCoversEntriesThatNeverArrive(t *testing.T) {
	m, _ := filled(t)
	snapshot(t, m.s, m.index+3) // Raft saw three no-ops
	m.reopen()
	if got := m.s.DurableIndex(); got != m.index+3 {
		t.Errorf("durable index %d, want %d", got, m.index+3)
	}
}

func TestSnapshotIntoAnotherStore(t *testing.T) {
	m, w := filled(t)
	snap, err := m.s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	store := raft.NewInmemSnapshotStore()
	_, transport := raft.NewInmemTransport("n1:1")
	sink, err := store.Create(raft.SnapshotVersionMax, m.index, 1, servers, 1, transport)
	if err != nil {
		t.Fatal(err)
	}
	if err := snap.Persist(sink); err != nil {
		t.Fatal(err)
	}
	snap.Release()
	if names, err := m.fs.List(m.s.snaps.dir); err != nil || len(names) != 0 {
		t.Errorf("left over %v, error %v", names, err)
	}
	_, r, err := store.Open(sink.ID())
	if err != nil {
		t.Fatal(err)
	}
	other := newMachine(t)
	if err := other.s.Restore(r); err != nil {
		t.Fatal(err)
	}
	w.compareAll(t, other.s)
}
