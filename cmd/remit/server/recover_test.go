package server

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/cluster/clustertest"
	"github.com/remit-authz/remit/fsm"
)

// lost is a group of three of which only one node is left: it led, and the last store that
// somebody made is in its log alone. The others stopped, and their directories are gone.
func lost(t *testing.T) (g *group, dir string) {
	t.Helper()
	g = newGroup(t)
	all := g.found()
	all[1].do(newStore("acknowledged"))
	g.same(all, "acknowledged")
	i := slices.IndexFunc(all, func(m *member) bool { return m.node.Status().Serving })
	leader := all[i]
	for _, m := range all {
		if m != leader {
			g.network.Set(leader.port.LocalAddr(), m.port.LocalAddr(), clustertest.Quality{Cut: true})
			g.network.Set(m.port.LocalAddr(), leader.port.LocalAddr(), clustertest.Quality{Cut: true})
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := leader.propose(ctx, newStore("pending")); !errors.Is(err, cluster.ErrUnknownOutcome) {
		t.Fatalf("a write on a leader that is cut off: %v", err)
	}
	for _, m := range all {
		m.stop()
	}
	g.network.Heal()
	return g, leader.dir
}

// goesOn checks that a directory holds the node that a recovery made, by having it run.
func goesOn(t *testing.T, dir string, recovered *Recovered) {
	t.Helper()
	s, stop := running(t, Config{DataDir: dir})
	root := s.state.Current()
	for _, name := range []string{"acknowledged", "pending"} {
		if len(root.StoresNamed(name)) != 1 {
			t.Errorf("%s lacks the store %s", dir, name)
		}
	}
	if s.node.ID() != recovered.NodeID || root.Epoch() != recovered.Epoch || s.node.ID() == recovered.Survivor.ID || root.Epoch() == recovered.Survivor.Epoch {
		t.Errorf("node %s with epoch %x; recovered was %+v", s.node.ID(), root.Epoch(), recovered)
	}
	if sum, err := s.state.Recount(); err != nil || sum != root.Hash().Bytes() {
		t.Errorf("recount %x, %v; the state hash is %v", sum, err, root.Hash())
	}
	stop()
	var left []string
	for _, name := range namesIn(t, dir) {
		if name != lockFile && name != stateDir && name != raftDir {
			left = append(left, name)
		}
	}
	if !slices.Equal(left, []string{filepath.Base(recovered.Kept)}) || !strings.HasPrefix(left[0], recoveredPrefix) {
		t.Errorf("beside the node there is %v, and %s was to be kept", left, recovered.Kept)
	}
	if kept := namesIn(t, recovered.Kept); !slices.Equal(kept, []string{raftDir, recoveredFile, stateDir}) {
		t.Errorf("kept is %v", kept)
	}
}

func TestRecoveryAfterTheLossOfTwo(t *testing.T) {
	g, dir := lost(t)
	survivor, err := Examine(RecoverConfig{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if survivor.Voters() != 3 || survivor.Uncertain() == 0 || survivor.Epoch == 0 || survivor.Index != survivor.Revision+survivor.Uncertain() {
		t.Errorf("the survivor is %+v", survivor)
	}
	var done, total uint64
	recovered, err := Recover(t.Context(), RecoverConfig{
		DataDir: dir, Progress: func(d, all uint64) { done, total = d, all },
		Clock: func() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(*survivor, recovered.Survivor); diff != "" {
		t.Errorf("the survivor (-examined +recovered):\n%s", diff)
	}
	if done != total || total != survivor.Uncertain() || filepath.Base(recovered.Kept) != "before-recovery-20260301T120000Z" {
		t.Errorf("told were %d of %d; kept is %s", done, total, recovered.Kept)
	}
	goesOn(t, dir, recovered)

	// With others it is a cluster again, at the same address or another.
	first := g.load(dir, "host0:1").start().ready()
	all := first.grow("host3:1", "host4:1")
	all[2].do(newStore("new"))
	g.same(all, "acknowledged", "new", "pending")
	told, err := all[1].state.GroupChanges(fsm.ChangeQuery{Kept: true})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(told.Changes, func(c *fsm.Change) bool {
		return strings.HasPrefix(c.Reason, "recovered: node "+survivor.ID+", one of 3 voters")
	})
	if i < 0 {
		t.Fatal("the group's changelog does not tell of the recovery")
	}
	if c := told.Changes[i]; c.Kind != fsm.EpochSet || c.From != survivor.Epoch || c.To != recovered.Epoch || uint64(c.Revision) != recovered.Revision ||
		!strings.Contains(c.Reason, "had been committed was not known") {
		t.Errorf("it tells %+v", c)
	}
	for _, m := range all {
		m.stop()
	}
	// Again, with nothing in doubt and the old folders there.
	again, err := Recover(t.Context(), RecoverConfig{DataDir: dir})
	if err != nil || again.Epoch == recovered.Epoch || again.Kept == recovered.Kept {
		t.Errorf("recovered again: %+v, %v", again, err)
	}
}

func TestARecoveryThatIsCutOffIsCarriedOn(t *testing.T) {
	_, dir := lost(t)
	survivor, err := Examine(RecoverConfig{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	// What a process that is killed leaves at each step.
	var steps []string
	images := t.TempDir()
	_, err = Recover(t.Context(), RecoverConfig{DataDir: dir, step: func(step string) {
		steps = append(steps, step)
		if err := os.CopyFS(filepath.Join(images, step), os.DirFS(dir)); err != nil {
			t.Error(err)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"forked", "replayed", "begun", "adopted", "prepared", "leaving state", "between state", "leaving raft", "between raft", "changed"}
	if !slices.Equal(steps, want) {
		t.Fatalf("the steps are %q", steps)
	}
	for i, step := range steps {
		image := filepath.Join(images, step)
		switch _, err := Open(t.Context(), Config{DataDir: image, Addr: "127.0.0.1:0", GRPCAddr: "127.0.0.1:0"}); {
		case i <= 4: // the old node, which cannot go on alone
			if err == nil || errors.Is(err, ErrRecoveryInterrupted) {
				t.Errorf("%s: a server of the old node: %v", step, err)
			}
			if old, err := Examine(RecoverConfig{DataDir: image}); err != nil || !cmp.Equal(old, survivor) {
				t.Errorf("%s: the old node is %+v, %v; want %+v", step, old, err, survivor)
			}
		case !errors.Is(err, ErrRecoveryInterrupted):
			t.Errorf("%s: a server: %v", step, err)
		default:
			if _, err := Examine(RecoverConfig{DataDir: image}); !errors.Is(err, ErrRecoveryInterrupted) {
				t.Errorf("%s: Examine = %v", step, err)
			}
		}
		recovered, err := Recover(t.Context(), RecoverConfig{DataDir: image})
		if err != nil {
			t.Errorf("%s: %v", step, err)
			continue
		}
		goesOn(t, image, recovered)
	}
}

func TestARecoveryThatFailsChangesNothing(t *testing.T) {
	_, dir := lost(t)
	survivor, err := Examine(RecoverConfig{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	before := namesIn(t, dir)
	for _, at := range []string{"forked", "begun"} {
		ctx, cancel := context.WithCancel(t.Context())
		_, err = Recover(ctx, RecoverConfig{DataDir: dir, step: func(step string) {
			if step == at {
				cancel()
			}
		}})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("a recovery that is interrupted when %s: %v", at, err)
		}
		if left := namesIn(t, dir); !slices.Equal(left, before) {
			t.Errorf("it leaves %v, before there was %v", left, before)
		}
		if old, err := Examine(RecoverConfig{DataDir: dir}); err != nil || !cmp.Equal(old, survivor) {
			t.Errorf("the old node is %+v, %v; want %+v", old, err, survivor)
		}
	}
}

func TestASnapshotThatWasNotRestoredIsRecovered(t *testing.T) {
	g := newGroup(t)
	dir := t.TempDir()
	m := g.load(dir, "host0:1")
	id, err := cluster.Identify(m.cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.start(cluster.Peer{ID: id, Address: "host0:1"}).ready()
	m.do(newStore("acknowledged"))
	m.stop()
	early := filepath.Join(t.TempDir(), "state")
	if err := os.CopyFS(early, os.DirFS(filepath.Join(dir, stateDir))); err != nil {
		t.Fatal(err)
	}
	m = g.load(dir, "host0:1").start().ready()
	m.do(newStore("pending"))
	m.do(newStore("last"))
	if err := m.node.Snapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.stop()
	// The state is that of before, beside the snapshot.
	err = errors.Join(os.RemoveAll(filepath.Join(early, "snapshots")),
		os.Rename(filepath.Join(dir, stateDir, "snapshots"), filepath.Join(early, "snapshots")),
		os.RemoveAll(filepath.Join(dir, stateDir)), os.Rename(early, filepath.Join(dir, stateDir)))
	if err != nil {
		t.Fatal(err)
	}
	recovered, err := Recover(t.Context(), RecoverConfig{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if s := recovered.Survivor; s.Durable >= s.Snapshot {
		t.Errorf("the state was at %d, the snapshot at %d", s.Durable, s.Snapshot)
	}
	goesOn(t, dir, recovered)
}

func TestWhatCannotBeRecoveredIsRefused(t *testing.T) {
	refused := func(dir, want string) {
		t.Helper()
		if _, err := Recover(t.Context(), RecoverConfig{DataDir: dir}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Recover = %v, want %q", err, want)
		}
		if _, err := Examine(RecoverConfig{DataDir: dir}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Examine = %v, want %q", err, want)
		}
	}
	missing := filepath.Join(t.TempDir(), "missing")
	refused(missing, "no such file")
	if _, err := os.Stat(missing); err == nil {
		t.Error("a directory was made")
	}
	refused(t.TempDir(), "holds no node")
	dir := t.TempDir()
	_, stop := running(t, Config{DataDir: dir})
	refused(dir, "data directory in use")
	stop()
	if err := os.Mkdir(filepath.Join(dir, restoringDir), 0o700); err != nil {
		t.Fatal(err)
	}
	refused(dir, "was cut off")
}
