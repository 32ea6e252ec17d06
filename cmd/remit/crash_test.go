package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"github.com/cockroachdb/pebble/v2/vfs"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/fsm"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

// A server is killed under load, again and again, and started on what it left.

func TestKilledServerLosesNothing(t *testing.T) {
	r := newCrashRun(t, "--unsafe-keep-log")
	r.run(volume(4, 100))
	r.offline()
	r.replayWhole()
}

func TestKilledServerWithSnapshotsLosesNothing(t *testing.T) {
	r := newCrashRun(t, "--snapshot-threshold=40", "--snapshot-interval=15ms", "--trailing-logs=8")
	r.snapshots = true
	r.run(volume(4, 100))
	if r.offline(); r.first <= 1 {
		t.Error("the log was never truncated")
	}
	if r.restored == 0 {
		t.Error("the state was never restored from a snapshot")
	}
}

// A crashRun is one data directory through many lives of a server.
type crashRun struct {
	t         *testing.T
	rng       *rand.Rand
	dir       string
	flags     []string
	snapshots bool // are taken, and the log is truncated

	store string // set by the first life
	load  *load
	hash  string // of the state at the end of the log, if offline has looked

	replica  *fsm.State // the log so far, applied to an empty state; nil if the log is truncated
	replayed uint64     // the last entry of it
	first    uint64     // entry of the log, when offline looked

	kills, starts, applied, checks, restored, unfinished, looked int
}

func newCrashRun(t *testing.T, flags ...string) *crashRun {
	for _, name := range []string{"REMIT_STORE", "REMIT_TOKEN"} {
		t.Setenv(name, "")
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return &crashRun{
		t: t, rng: rand.New(rand.NewPCG(seed, 0)), dir: t.TempDir(), load: newLoad(seed),
		flags: append([]string{"--log-level=warn"}, flags...),
	}
}

// run kills a server so often; on a slow machine oftener, until a snapshot was restored.
func (r *crashRun) run(kills int) {
	r.t.Helper()
	begin := time.Now()
	for r.kills < kills || r.snapshots && r.restored == 0 && r.kills < 10*kills {
		r.life()
		switch {
		case r.snapshots && (r.kills%3 == 0 || r.kills == 2):
			r.removeState()
		case r.kills%4 == 0:
			r.offline()
		}
		if r.rng.IntN(4) == 0 {
			r.killStarting()
		}
		if r.kills%10 == 0 {
			r.t.Logf("%d kills after %s: %s", r.kills, time.Since(begin).Round(time.Second), r.load.tally())
		}
	}
	p := r.start()
	r.verify(p)
	r.kill(p)
	r.t.Logf("%d kills, %d more while starting; %s; %d unacknowledged ones found whole; %d checks; %d looks at the files, "+
		"%d restores of a snapshot, %d kills within one; %s", r.kills, r.starts, r.load.tally(), r.applied, r.checks,
		r.looked, r.restored, r.unfinished, time.Since(begin).Round(time.Millisecond))
	if r.load.tally().acknowledged == 0 {
		r.t.Error("nothing was acknowledged")
	}
}

// A crashServer is one life of a server, and a client of it.
type crashServer struct {
	*process
	*services
	store     string
	transport *http.Transport
}

func (r *crashRun) start() *crashServer {
	r.t.Helper()
	p := &crashServer{process: serveProcess(r.t, r.dir, r.flags...), store: r.store}
	p.transport = &http.Transport{MaxIdleConnsPerHost: 2 * loadWriters}
	transport := connecthttp.NewTransport(&http.Client{Transport: p.transport}, "http://"+p.addr)
	p.services = newServices(connect.NewClient(transport))
	return p
}

// kill ends a life without warning. It must have lasted until then.
func (r *crashRun) kill(p *crashServer) {
	r.t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		r.t.Fatal(err)
	}
	state := p.ends(r.t)
	p.transport.CloseIdleConnections()
	if state.Exited() || worrying(p.stderr.String()) {
		r.t.Fatalf("the server ended by itself, %s, or had something to say:\n%s", state, indent(p.stderr.String()))
	}
}

// worrying reports whether a log has errors.
func worrying(log string) bool {
	return strings.Contains(log, "DATA RACE") || strings.Contains(log, "level=ERROR")
}

// life starts the server, compares what it holds, writes, and kills it.
func (r *crashRun) life() {
	r.t.Helper()
	p := r.start()
	if r.store == "" {
		r.prepare(p)
	} else {
		r.verify(p)
	}
	ctx, stop := context.WithCancel(r.t.Context())
	defer stop()
	r.load.gone.Store(false)
	done := make(chan error, 1)
	go func() { done <- r.load.run(ctx, p) }()

	select {
	case <-time.After(time.Duration(20+r.rng.IntN(180)) * time.Millisecond):
	case err := <-done:
		r.t.Fatalf("the load ended before the server was killed: %v\n%s", err, indent(p.stderr.String()))
	}
	if r.snapshots && r.rng.IntN(2) == 0 {
		r.awaitSnapshot()
	}
	r.load.gone.Store(true)
	r.kill(p)
	r.kills++
	if err := <-done; err != nil {
		r.t.Fatal(err)
	}
	r.unfinished += r.unfinishedSnapshots()
}

const crashModel = `model
  schema 1.1
type user
type document
  relations
    define viewer: [user]
`

func (r *crashRun) prepare(p *crashServer) {
	r.t.Helper()
	made, err := p.stores.CreateStore(r.t.Context(), &remitv1.CreateStoreRequest{Name: "load"})
	if err != nil {
		r.t.Fatal(err)
	}
	r.store = made.GetStore().GetId()
	p.store = r.store
	_, err = p.models.WriteModel(r.t.Context(), &remitv1.WriteModelRequest{
		Store: r.store, Source: &remitv1.ModelSource{Source: &remitv1.ModelSource_Dsl{Dsl: crashModel}},
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// verify compares what a server that has just started holds with what it must hold.
func (r *crashRun) verify(p *crashServer) {
	r.t.Helper()
	if r.hash != "" {
		node, err := p.node.GetNode(r.t.Context(), &remitv1.GetNodeRequest{})
		if err != nil {
			r.t.Fatal(err)
		}
		if node.GetStateHash() != r.hash {
			r.t.Fatalf("the server has the state hash %s at revision %d, its files gave %s", node.GetStateHash(), node.GetRevision(), r.hash)
		}
		r.hash = ""
	}
	r.compare(p, "after a kill")
	if err := r.load.settleAll(r.t.Context(), p); err != nil {
		r.t.Fatal(err)
	}
	r.compare(p, "after repetitions")
	r.checkSome(p)
}

func (r *crashRun) compare(p *crashServer, when string) {
	r.t.Helper()
	actual, err := p.read(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	applied, err := r.load.check(actual)
	if err != nil {
		r.t.Fatalf("%s, kill %d: %v", when, r.kills, err)
	}
	r.applied += applied
}

// checkSome asks whether some subjects may view what they may and may not.
func (r *crashRun) checkSome(p *crashServer) {
	r.t.Helper()
	for range 8 {
		w := r.load.writers[r.rng.IntN(loadWriters)]
		tuple := loadTuple{w.id, r.rng.IntN(loadTuples)}
		_, want := w.held[tuple.number]
		answer, err := p.access.Check(r.t.Context(), &remitv1.CheckRequest{
			Scope:    &remitv1.Scope{Store: r.store},
			Question: &remitv1.Question{Object: "document:" + tuple.object(), Relation: "viewer", Subject: "user:" + tuple.subject()},
		})
		if err != nil || answer.GetAllowed() != want {
			r.t.Fatalf("Check(document:%s#viewer@user:%s) = %v, %v, want %v", tuple.object(), tuple.subject(), answer.GetAllowed(), err, want)
		}
		r.checks++
	}
}

// read implements loadTarget.
func (p *crashServer) read(ctx context.Context) (map[loadTuple]int64, error) {
	return readLoad(ctx, p.tuples, p.store, nil)
}

// write implements loadTarget.
func (p *crashServer) write(ctx context.Context, writer int, b *loadBatch) (string, error) {
	return writeLoad(ctx, p.tuples, p.store, writer, b)
}

// readLoad reads all that the load has written, in several pages.
func readLoad(
	ctx context.Context, tuples remitv1connect.TupleServiceClient, store string, consistency *remitv1.Consistency,
) (map[loadTuple]int64, error) {
	actual := map[loadTuple]int64{}
	for cursor := ""; ; {
		page, err := tuples.Read(ctx, &remitv1.ReadRequest{
			Store: store, Filter: &remitv1.TupleFilter{Object: "document"}, PageSize: 100, Cursor: cursor, Consistency: consistency,
		})
		if err != nil {
			return nil, err
		}
		for _, stored := range page.GetTuples() {
			m := stored.GetTuple()
			t, err := parseLoadTuple(strings.TrimPrefix(m.GetObject(), "document:"), strings.TrimPrefix(m.GetSubject(), "user:"))
			if err != nil {
				return nil, fmt.Errorf("a tuple %v: %w", m, err)
			}
			actual[t] = m.GetExpiresAt().AsTime().UnixMilli() - loadFuture
		}
		if cursor = page.GetCursor(); cursor == "" {
			return actual, nil
		}
	}
}

// writeLoad sends a batch.
func writeLoad(ctx context.Context, tuples remitv1connect.TupleServiceClient, store string, writer int, b *loadBatch) (string, error) {
	req := &remitv1.WriteRequest{Store: store, IdempotencyKey: b.key}
	for _, e := range b.edits {
		op := &remitv1.Operation{
			Kind: map[loadKind]remitv1.Operation_Kind{
				loadCreate: remitv1.Operation_KIND_CREATE, loadTouch: remitv1.Operation_KIND_TOUCH, loadDelete: remitv1.Operation_KIND_DELETE,
			}[e.kind],
			Tuple: crashTuple(loadTuple{writer, e.tuple}),
		}
		if e.kind != loadDelete {
			op.Tuple.ExpiresAt = timestamppb.New(time.UnixMilli(loadFuture + e.mark))
		}
		req.Operations = append(req.Operations, op)
	}
	if b.requires >= 0 {
		req.Preconditions = []*remitv1.Precondition{{
			Kind: remitv1.Precondition_KIND_TUPLE_PRESENT, Tuple: crashTuple(loadTuple{writer, b.requires}),
		}}
	}
	answer, err := tuples.Write(ctx, req)
	for _, reason := range []remitv1.ErrorReason{
		remitv1.ErrorReason_ERROR_REASON_TUPLE_EXISTS, remitv1.ErrorReason_ERROR_REASON_PRECONDITION_FAILED,
		remitv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_CONFLICT,
	} {
		if err != nil && hasReason(err, reason) {
			err = fmt.Errorf("%w: %w", errLoadRefused, err)
		}
	}
	return answer.GetToken(), err
}

func crashTuple(t loadTuple) *remitv1.Tuple {
	return &remitv1.Tuple{Object: "document:" + t.object(), Relation: "viewer", Subject: "user:" + t.subject()}
}

// killStarting kills a server that is still reading what the last one left.
func (r *crashRun) killStarting() {
	r.t.Helper()
	cmd := exec.Command(os.Args[0], append([]string{
		"serve", "--data-dir", r.dir, "--addr", "127.0.0.1:0", "--grpc-addr", "127.0.0.1:0",
	}, r.flags...)...)
	cmd.Env = append(os.Environ(), asRemit+"=1")
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	<-time.After(time.Duration(r.rng.IntN(150)) * time.Millisecond)
	if err := cmd.Process.Kill(); err != nil {
		r.t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	if cmd.ProcessState.Exited() {
		r.t.Fatalf("the server ended by itself: %s", cmd.ProcessState)
	}
	r.starts++
}

func (r *crashRun) stateFiles(names ...string) string {
	return filepath.Join(append([]string{r.dir, "state"}, names...)...)
}

// awaitSnapshot returns when a snapshot is being made, or soon if none is.
func (r *crashRun) awaitSnapshot() {
	tick := time.NewTicker(200 * time.Microsecond)
	defer tick.Stop()
	for range 1000 {
		<-tick.C
		if r.unfinishedSnapshots() > 0 {
			return
		}
	}
}

// unfinishedSnapshots counts directories of snapshots without a manifest.
func (r *crashRun) unfinishedSnapshots() (n int) {
	entries, err := os.ReadDir(r.stateFiles("snapshots"))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, e := range entries {
		if _, err := os.Stat(r.stateFiles("snapshots", e.Name(), "MANIFEST.remit")); errors.Is(err, fs.ErrNotExist) {
			n++
		}
	}
	return n
}

// removeState removes the state machine's own files, so that the next start needs the
// newest snapshot. First it finds out what must come of it.
func (r *crashRun) removeState() {
	r.t.Helper()
	r.offline()
	if r.first <= 1 {
		return // no snapshot is needed yet
	}
	names, err := filepath.Glob(r.stateFiles("gen-*"))
	if err != nil || len(names) != 1 {
		r.t.Fatalf("generations %v, %v, want one", names, err)
	}
	for _, name := range append(names, r.stateFiles("CURRENT")) {
		if err := os.RemoveAll(name); err != nil {
			r.t.Fatal(err)
		}
	}
	r.restored++
}

// offline opens a copy of what the server left, counts its rows, applies the rest of the
// log, counts again, and, if the log is whole, compares with a replay from empty.
func (r *crashRun) offline() {
	r.t.Helper()
	r.looked++
	dir := r.t.TempDir()
	entries, err := os.ReadDir(r.stateFiles())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, e := range entries {
		switch {
		case strings.HasPrefix(e.Name(), "gen-"):
			err = os.CopyFS(filepath.Join(dir, e.Name()), os.DirFS(r.stateFiles(e.Name())))
		case e.Name() == "CURRENT":
			var current []byte
			if current, err = os.ReadFile(r.stateFiles(e.Name())); err == nil {
				err = os.WriteFile(filepath.Join(dir, e.Name()), current, 0o600)
			}
		}
		if err != nil {
			r.t.Fatal(err)
		}
	}
	state, err := fsm.Open(fsm.Config{Dir: dir, CacheBytes: 1 << 20})
	if err != nil {
		r.t.Fatal(err)
	}
	defer r.close(state)
	revision, before := state.StateHash()
	if err := checkRecount(state); err != nil {
		r.t.Fatal(err)
	}

	logs := r.openLog()
	defer r.close(logs)
	last, err := logs.LastIndex()
	if err != nil {
		r.t.Fatal(err)
	}
	if r.first, err = logs.FirstIndex(); err != nil {
		r.t.Fatal(err)
	}
	if !r.snapshots {
		r.replay(logs, uint64(revision))
		if at, hash := r.replica.StateHash(); at == revision && hash != before {
			r.t.Fatalf("at revision %d the state hash is %x, after a replay from empty %x", revision, before, hash)
		}
		r.replay(logs, last)
	}
	if err := replayLog(state, logs, uint64(revision)+1, last); err != nil {
		r.t.Fatal(err)
	}
	if err := checkRecount(state); err != nil {
		r.t.Fatal(err)
	}
	_, hash := state.StateHash()
	if !r.snapshots {
		if err := checkRecount(r.replica); err != nil {
			r.t.Fatal(err)
		}
		if _, replayed := r.replica.StateHash(); replayed != hash {
			r.t.Fatalf("at the end of the log, %d, the state hash is %x, after a replay from empty %x", last, hash, replayed)
		}
	}
	r.hash = hex.EncodeToString(hash[:])
}

// replay carries the replica on to an entry.
func (r *crashRun) replay(logs *raftboltdb.BoltStore, last uint64) {
	r.t.Helper()
	if r.first != 1 {
		r.t.Fatalf("the log begins at %d although it is kept", r.first)
	}
	if r.replica == nil {
		r.replica = r.emptyState()
		r.t.Cleanup(func() { r.close(r.replica) })
	}
	if last > r.replayed {
		if err := replayLog(r.replica, logs, r.replayed+1, last); err != nil {
			r.t.Fatal(err)
		}
		r.replayed = last
	}
}

// replayWhole applies the whole log to an empty state once more, in one go.
func (r *crashRun) replayWhole() {
	r.t.Helper()
	state := r.emptyState()
	defer r.close(state)
	logs := r.openLog()
	defer r.close(logs)
	if err := replayLog(state, logs, 1, r.replayed); err != nil {
		r.t.Fatal(err)
	}
	if _, hash := state.StateHash(); hex.EncodeToString(hash[:]) != r.hash {
		r.t.Fatalf("a replay of all %d entries gives %x, want %s", r.replayed, hash, r.hash)
	}
	r.t.Logf("%d entries replayed from empty", r.replayed)
}

func (r *crashRun) emptyState() *fsm.State {
	r.t.Helper()
	state, err := fsm.Open(fsm.Config{Dir: "state", FS: vfs.NewMem(), CacheBytes: 1 << 20})
	if err != nil {
		r.t.Fatal(err)
	}
	return state
}

// openLog opens the log that a dead server left, to read.
func (r *crashRun) openLog() *raftboltdb.BoltStore {
	r.t.Helper()
	logs, err := raftboltdb.New(raftboltdb.Options{
		Path: filepath.Join(r.dir, "raft", "raft.db"), BoltOptions: &bbolt.Options{ReadOnly: true, Timeout: time.Second},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return logs
}

func (r *crashRun) close(c interface{ Close() error }) {
	r.t.Helper()
	if err := c.Close(); err != nil {
		r.t.Error(err)
	}
}
