package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/fsm"
)

// The power goes while writers write and snapshots are taken: whatever was not synced is
// dropped, all of it or a random part. What was acknowledged must be there afterwards.
func TestPowerLossLosesNothing(t *testing.T) {
	first := rand.Uint64()
	t.Logf("first seed %d", first)
	var sum powerTally
	begin := time.Now()
	for i := range volume(12, 1000) {
		seed := first + uint64(i)
		r := &powerRun{seed: seed, rng: rand.New(rand.NewPCG(seed, 0)), sync: true, keepLog: i%2 == 0, lives: 2, acks: 60}
		if i%12 == 11 { // long enough for Pebble to flush its memtables
			r.lives, r.acks = 1, volume(400, 1200)
		}
		if err := r.run(t.Context()); err != nil {
			t.Fatalf("seed %d, number %d: %v", seed, i, err)
		}
		sum.add(r.tally)
		if i%100 == 99 {
			t.Logf("%d seeds after %s: %s", i+1, time.Since(begin).Round(time.Millisecond), sum)
		}
	}
	t.Logf("%s; %s", sum, time.Since(begin).Round(time.Millisecond))
	if sum.load.acknowledged == 0 || sum.applied == 0 || sum.snapshots == 0 || sum.rewritten == 0 || sum.replays == 0 || sum.truncated == 0 {
		t.Error("something that must be tried was not")
	}
}

// Without the syncs of the log the test above must fail, or it proves nothing.
func TestPowerLossIsNoticedWithoutSync(t *testing.T) {
	first := rand.Uint64()
	runs := volume(8, 100)
	lost, refused := 0, 0
	var said error
	for i := range runs {
		seed := first + uint64(i)
		r := &powerRun{seed: seed, rng: rand.New(rand.NewPCG(seed, 0)), keepLog: i%2 == 0, lives: 1, acks: 60}
		err := r.run(t.Context())
		var start *cluster.StartError
		switch {
		case errors.As(err, &start):
			refused++
		case err != nil:
			lost++
			said = err
		}
	}
	if lost+refused == 0 {
		t.Errorf("none of %d runs from seed %d on lost anything although the log was not synced", runs, first)
	}
	t.Logf("of %d runs from seed %d on, %d lost acknowledged writes, %d refused to start", runs, first, lost, refused)
	if said != nil {
		t.Logf("one of the losses: %.800s", said)
	}
}

// A powerRun is one node on one disk, through several losses of power.
type powerRun struct {
	seed    uint64
	rng     *rand.Rand
	sync    bool // of the log
	keepLog bool
	lives   int
	acks    int // at most so many acknowledgements until a cut

	tally powerTally
}

type powerTally struct {
	seeds, cuts        int
	inside             int // cuts between two steps of a file operation
	snapshots          int
	rewritten          int
	replays, truncated int
	restored           int
	applied            int // batches of unknown outcome that were there
	load               loadTally
}

func (t *powerTally) add(o powerTally) {
	t.seeds += o.seeds
	t.cuts += o.cuts
	t.inside += o.inside
	t.snapshots += o.snapshots
	t.rewritten += o.rewritten
	t.replays += o.replays
	t.truncated += o.truncated
	t.restored += o.restored
	t.applied += o.applied
	t.load.add(o.load)
}

func (t powerTally) String() string {
	return fmt.Sprintf("%d seeds, %d losses of power (%d between two steps on directories), %s, %d unacknowledged ones found whole, %d snapshots, %d rewritings, "+
		"%d replays from empty, %d recoveries with a truncated log, %d without the state machine's own files",
		t.seeds, t.cuts, t.inside, t.load, t.applied, t.snapshots, t.rewritten, t.replays, t.truncated, t.restored)
}

// run lets the node live and die.
func (r *powerRun) run(ctx context.Context) error {
	r.tally.seeds = 1
	disk, l := vfs.NewCrashableMem(), newLoad(r.seed)
	for life := range r.lives {
		cuts, err := r.live(ctx, disk, l, life == 0)
		if err != nil {
			return fmt.Errorf("life %d: %w", life, err)
		}
		r.tally.load.add(l.tally())
		for i, cut := range cuts {
			r.tally.cuts++
			if cut.inside {
				r.tally.inside++
			}
			if err := r.recover(ctx, cut); err != nil {
				return fmt.Errorf("life %d, cut %d of %d (%s): %w", life, i, len(cuts), cut.kind(), err)
			}
		}
		next := cuts[r.rng.IntN(len(cuts))]
		disk, l = next.disk, next.load
	}
	return nil
}

// A cut is a disk after a loss of power, and what the writers knew at that moment.
type cut struct {
	disk   *vfs.MemFS
	load   *load
	inside bool
}

func (c *cut) kind() string {
	if c.inside {
		return "inside a file operation"
	}
	return "under load"
}

// live runs a node under load until the power was cut a few times. The node itself does
// not notice: each cut is a disk of its own.
func (r *powerRun) live(ctx context.Context, disk *vfs.MemFS, l *load, first bool) (cuts []*cut, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	p := &powerSwitch{rng: rand.New(rand.NewPCG(r.rng.Uint64(), 1)), disk: disk, load: l, stop: stop, due: make(chan struct{}, 1), limit: r.acks}
	fs := &steppedFS{MemFS: disk, step: p.step, linking: &p.linking}
	if !first {
		p.arm()
	}
	n, err := r.open(ctx, fs)
	if err != nil {
		if ctx.Err() != nil { // all cuts were made while it started
			return p.cuts, nil
		}
		return nil, err
	}
	if first {
		if err := n.prepare(ctx); err != nil {
			return nil, errors.Join(err, n.close())
		}
		p.arm()
	}
	due := make(chan struct{}, 1)
	var acknowledged atomic.Int64
	l.acknowledged = func() {
		if acknowledged.Add(1)%12 == 0 {
			select {
			case due <- struct{}{}:
			default:
			}
		}
		p.written()
	}
	var background sync.WaitGroup
	background.Go(func() {
		for turn := r.seed; ; turn++ {
			select {
			case <-due:
				if turn%3 == 0 {
					if r.rewrite(ctx, n) == nil {
						r.tally.rewritten++
					}
				} else if n.node.Snapshot(ctx) == nil {
					r.tally.snapshots++
				}
			case <-ctx.Done():
				return
			}
		}
	})
	background.Go(func() { p.run(ctx) })
	err = l.run(ctx, n)
	stop()
	background.Wait()
	err = errors.Join(err, n.close())
	return p.cuts, err
}

// rewrite rewrites the node's files as a server does, but for a log that is to be kept.
func (r *powerRun) rewrite(ctx context.Context, n *powerNode) error {
	if err := n.state.Rewrite(ctx, nil); err != nil {
		return err
	}
	if r.keepLog {
		if err := n.node.Snapshot(ctx); err != nil {
			return err
		}
	} else if _, err := n.node.Rewrite(ctx); err != nil {
		return err
	}
	return n.state.Sweep(ctx)
}

// A powerSwitch cuts the power some times in a life, once it is armed: after a number of
// acknowledgements, or between two steps that change a directory.
type powerSwitch struct {
	disk *vfs.MemFS
	load *load
	stop func()
	due  chan struct{} // tells run to cut

	limit int // of acks

	linking sync.RWMutex // see steppedFS

	mu          sync.Mutex
	rng         *rand.Rand
	cuts        []*cut
	acks, steps int // to go until the next cut, one of them; the other is below zero
}

// cutsPerLife is how often the power goes in one life.
const cutsPerLife = 3

func (p *powerSwitch) arm() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.acks, p.steps = -1, -1
	if p.rng.IntN(2) == 0 {
		p.acks = 1 + p.rng.IntN(p.limit)
	} else {
		p.steps = 1 + p.rng.IntN(60)
	}
}

// written counts an acknowledgement. The caller holds the load's cut for reading, so the
// switch is thrown by another goroutine.
func (p *powerSwitch) written() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.acks--; p.acks == 0 {
		select {
		case p.due <- struct{}{}:
		default:
		}
	}
}

func (p *powerSwitch) run(ctx context.Context) {
	for {
		select {
		case <-p.due:
			p.throw(false)
		case <-ctx.Done():
			return
		}
	}
}

// step counts a step on a directory and cuts the power before it, if its turn has come.
func (p *powerSwitch) step() {
	p.mu.Lock()
	p.steps--
	now := p.steps == 0
	p.mu.Unlock()
	if now {
		p.throw(true)
	}
}

func (p *powerSwitch) throw(inside bool) {
	p.load.cut.Lock()
	p.mu.Lock()
	if len(p.cuts) < cutsPerLife {
		percent := 0
		if p.rng.IntN(3) > 0 {
			percent = p.rng.IntN(101)
		}
		p.linking.Lock()
		disk := p.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: p.rng})
		p.linking.Unlock()
		p.cuts = append(p.cuts, &cut{disk: disk, load: p.load.clone(), inside: inside})
	}
	done := len(p.cuts) == cutsPerLife
	p.mu.Unlock()
	p.load.cut.Unlock()
	if done {
		p.stop()
		return
	}
	p.arm()
}

// A steppedFS calls step before each of its operations that changes a directory.
type steppedFS struct {
	*vfs.MemFS
	step func()

	// linking keeps CrashClone out of Link, which in Pebble v2.1.7 locks for reading a
	// second time what it has locked already: with a writer waiting in between, both
	// wait for ever.
	linking *sync.RWMutex
}

func (f *steppedFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f.step()
	return f.MemFS.Create(name, c)
}

func (f *steppedFS) Rename(from, to string) error {
	f.step()
	return f.MemFS.Rename(from, to)
}

func (f *steppedFS) Link(from, to string) error {
	f.step()
	f.linking.RLock()
	defer f.linking.RUnlock()
	return f.MemFS.Link(from, to)
}

func (f *steppedFS) OpenDir(name string) (vfs.File, error) {
	f.step()
	return f.MemFS.OpenDir(name)
}

func (f *steppedFS) Remove(name string) error {
	f.step()
	return f.MemFS.Remove(name)
}

func (f *steppedFS) RemoveAll(name string) error {
	f.step()
	return f.MemFS.RemoveAll(name)
}

// recover starts a node on what a cut left, compares, repeats what must be repeated, and
// compares again.
func (r *powerRun) recover(ctx context.Context, c *cut) (err error) {
	if r.rng.IntN(4) == 0 {
		if err := removeState(c.disk); err != nil {
			return err
		}
		r.tally.restored++
	}
	n, err := r.open(ctx, c.disk)
	if err != nil {
		return fmt.Errorf("start after a loss of power: %w", err)
	}
	defer func() { err = errors.Join(err, n.close()) }()
	applied, err := n.check(c.load)
	if err != nil {
		return err
	}
	r.tally.applied += applied
	if err := r.replay(n); err != nil {
		return err
	}
	if err := c.load.settleAll(ctx, n); err != nil {
		return err
	}
	if _, err := n.check(c.load); err != nil {
		return fmt.Errorf("after repetitions: %w", err)
	}
	return nil
}

// removeState removes the state machine's own files and leaves snapshots and log.
func removeState(fs vfs.FS) error {
	names, err := fs.List("state")
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == "CURRENT" || strings.HasPrefix(name, "gen-") {
			err = errors.Join(err, fs.RemoveAll(fs.PathJoin("state", name)))
		}
	}
	return err
}

// replay applies the log to an empty state machine, if it is whole, and compares.
func (r *powerRun) replay(n *powerNode) error {
	revision, want := n.state.StateHash()
	first, err := n.logs.FirstIndex()
	if err != nil {
		return err
	}
	if first > 1 {
		if r.keepLog {
			return fmt.Errorf("the log begins at %d although it is to be kept", first)
		}
		r.tally.truncated++
		return nil
	}
	empty, err := fsm.Open(fsm.Config{Dir: "state", FS: vfs.NewMem(), CacheBytes: 1 << 20, MemTableBytes: 1 << 20})
	if err != nil {
		return err
	}
	if err := replayLog(empty, n.logs, 1, uint64(revision)); err != nil {
		if first, e := n.logs.FirstIndex(); e == nil && first > 1 && !r.keepLog {
			r.tally.truncated++ // by a snapshot that Raft took meanwhile
			err = nil
		}
		return errors.Join(err, empty.Close())
	}
	r.tally.replays++
	if got, hash := empty.StateHash(); got != revision || hash != want {
		err = fmt.Errorf("the state is at %d with hash %x, a replay from empty at %d with %x", revision, want, got, hash)
	}
	return errors.Join(err, empty.Close())
}
