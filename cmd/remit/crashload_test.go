package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A load is several writers at once, each with tuples of its own, and what they were
// told. From that follows what a store must hold: everything acknowledged, and of each
// writer at most one batch whose outcome is unknown, whole or not at all.
//
// A batch of unknown outcome is repeated with its key before its writer goes on, and
// acknowledged ones are repeated at random, long after their tuples have changed
// again. A store that carries any of them out twice ends up with other tuples.
type load struct {
	writers []*loadWriter

	// cut is held for writing while the moment of a crash is fixed: in between, no
	// writer begins a batch or takes note of an answer.
	cut sync.RWMutex

	// acknowledged is called for each acknowledgement, with cut held for reading.
	acknowledged func()

	gone atomic.Bool // the store has been killed, so that it need not answer

	reads int // that were compared while writers wrote; guarded by cut
}

// A loadWriter writes one batch after the other.
type loadWriter struct {
	id   int
	rng  *rand.Rand
	next int64 // numbers batches, and marks what they put

	// outlived is whether the store may carry a batch out when its writer has given up long
	// ago, as a cluster may: what is to be refused must then be wrong for ever.
	outlived bool

	held map[int]int64 // tuples and their marks after all acknowledged batches
	open *loadBatch    // its outcome is unknown
	past []*loadBatch  // the last ones that were acknowledged, oldest first

	version int            // counts the states of held
	seen    map[uint64]int // digests of all of them, with the last version that had it

	tally loadTally
}

// A loadTally counts what happened to batches.
type loadTally struct{ acknowledged, refused, unknown, repeated, reads int }

func (t *loadTally) add(o loadTally) {
	t.acknowledged += o.acknowledged
	t.refused += o.refused
	t.unknown += o.unknown
	t.repeated += o.repeated
	t.reads += o.reads
}

func (t loadTally) String() string {
	return fmt.Sprintf("%d batches acknowledged, %d refused, %d of unknown outcome at first, %d repeated after their acknowledgement, %d reads meanwhile",
		t.acknowledged, t.refused, t.unknown, t.repeated, t.reads)
}

// A loadBatch is one write of several tuples.
type loadBatch struct {
	key      string
	requires int // this tuple of the writer must be there; none if it is negative
	edits    []loadEdit
	wrong    bool // it creates a tuple that exists, so it must be refused

	answer string // what came with the acknowledgement
}

type loadEdit struct {
	kind  loadKind
	tuple int
	mark  int64 // kept in the tuple's expiry, far away
}

type loadKind byte

const (
	loadCreate loadKind = iota
	loadTouch
	loadDelete
)

// loadFuture is where marks count from, in milliseconds: no test lives to see it.
var loadFuture = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()

// errLoadRefused is what a target returns if the store has judged a batch and done nothing.
var errLoadRefused = errors.New("refused")

// A loadTarget is a store under load.
type loadTarget interface {
	// write carries a batch out. The answer is the same for each repetition. An error
	// leaves the outcome unknown unless it wraps errLoadRefused.
	write(ctx context.Context, writer int, b *loadBatch) (answer string, err error)

	// read gives all tuples with their marks, at one revision that is no older than the
	// call.
	read(ctx context.Context) (map[loadTuple]int64, error)
}

const (
	loadWriters = 8
	loadTuples  = 48 // of each writer
	loadPast    = 32
)

func newLoad(seed uint64) *load {
	l := &load{acknowledged: func() {}}
	for id := range loadWriters {
		l.writers = append(l.writers, &loadWriter{
			id: id, rng: rand.New(rand.NewPCG(seed, uint64(id))), held: map[int]int64{}, seen: map[uint64]int{0: 0},
		})
	}
	return l
}

// clone is the load as it stands, for another course of events. The caller holds cut.
func (l *load) clone() *load {
	c := &load{acknowledged: l.acknowledged}
	for _, w := range l.writers {
		d := *w
		d.rng = rand.New(rand.NewPCG(uint64(w.next), uint64(w.id)))
		d.held, d.past, d.seen, d.tally = maps.Clone(w.held), slices.Clone(w.past), maps.Clone(w.seen), loadTally{}
		if w.open != nil {
			open := *w.open
			d.open = &open
		}
		c.writers = append(c.writers, &d)
	}
	return c
}

func (l *load) tally() (sum loadTally) {
	for _, w := range l.writers {
		sum.add(w.tally)
	}
	sum.reads = l.reads
	return sum
}

// run writes and reads until ctx is done or the store is gone, and returns what should
// not have happened: broken promises, and no answer for no reason of the caller's.
func (l *load) run(ctx context.Context, target loadTarget) error {
	errs := make([]error, len(l.writers))
	var writers, reader sync.WaitGroup
	for i, w := range l.writers {
		writers.Go(func() {
			for ctx.Err() == nil && errs[i] == nil {
				errs[i] = w.step(ctx, l, target)
			}
			if errors.Is(errs[i], errLoadGone) {
				errs[i] = nil
			}
		})
	}
	reading, stop := context.WithCancel(ctx)
	defer stop()
	var unread error
	reader.Go(func() { unread = l.watch(reading, target) })
	writers.Wait()
	stop()
	reader.Wait()
	return errors.Join(append(errs, unread)...)
}

// watch reads every now and then until ctx is done.
func (l *load) watch(ctx context.Context, target loadTarget) error {
	tick := time.NewTicker(3 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		l.cut.Lock()
		versions := make([]int, len(l.writers))
		for i, w := range l.writers {
			versions[i] = w.version
		}
		l.cut.Unlock()
		actual, err := target.read(ctx)
		if ctx.Err() != nil || l.gone.Load() {
			return nil
		}
		if err == nil {
			err = l.observe(actual, versions)
		}
		if err != nil {
			return fmt.Errorf("read while others write: %w", err)
		}
	}
}

// observe compares what was read at one revision with the states that each writer's
// tuples have gone through, from the versions on that were acknowledged before the read.
func (l *load) observe(actual map[loadTuple]int64, versions []int) error {
	of, err := l.byWriter(actual)
	if err != nil {
		return err
	}
	l.cut.Lock()
	defer l.cut.Unlock()
	l.reads++
	for i, w := range l.writers {
		digest := loadDigest(of[i])
		version, known := w.seen[digest]
		switch {
		case known && version >= versions[i]:
		case w.open != nil && digest == loadDigest(w.open.after(w.held)):
		case known:
			return fmt.Errorf("writer %d: version %d was read after %d was acknowledged", w.id, version, versions[i])
		default:
			return fmt.Errorf("writer %d: a state was read that no batch has left: %v; now it holds %v, open is %+v", w.id, of[i], w.held, w.open)
		}
	}
	return nil
}

// loadDigest is a sum over the tuples, 0 for none.
func loadDigest(held map[int]int64) (sum uint64) {
	for n, mark := range held {
		x := uint64(n)<<40 ^ uint64(mark)
		x = (x + 0x9e3779b97f4a7c15) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		sum += x ^ x>>31
	}
	return sum
}

// errLoadGone ends the writers of a store that was killed.
var errLoadGone = errors.New("the store is gone")

// step writes one batch and takes note of what became of it.
func (w *loadWriter) step(ctx context.Context, l *load, target loadTarget) error {
	l.cut.RLock()
	b, again := w.choose()
	// What is to be refused is waited for, unless it is wrong for ever: a request that its caller
	// has left may be carried out after the next one, when nothing is wrong with it any more.
	impatient := w.rng.IntN(12) == 0 && (!b.wrong || w.outlived)
	patience := time.Duration(w.rng.IntN(2000)) * time.Microsecond
	l.cut.RUnlock()

	request := ctx
	if impatient {
		var cancel context.CancelFunc
		request, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	answer, err := target.write(request, w.id, b)

	l.cut.RLock()
	defer l.cut.RUnlock()
	if err != nil && !errors.Is(err, errLoadRefused) {
		if w.open == b {
			w.tally.unknown++
		}
		if impatient || ctx.Err() != nil {
			return nil
		}
		if l.gone.Load() {
			return errLoadGone
		}
		return fmt.Errorf("writer %d: batch %s: no definite answer: %w", w.id, b.key, err)
	}
	if err := w.settle(b, again, answer, err); err != nil {
		return err
	}
	if !b.wrong && !again {
		l.acknowledged()
	}
	return nil
}

// choose gives the next batch to write, and whether it was acknowledged before.
func (w *loadWriter) choose() (b *loadBatch, again bool) {
	if w.open != nil {
		return w.open, false
	}
	if len(w.past) > 0 && w.rng.IntN(12) == 0 {
		return w.past[w.rng.IntN(len(w.past))], true
	}
	b = w.invent()
	if !b.wrong {
		w.open = b
	}
	return b, false
}

func (w *loadWriter) invent() *loadBatch {
	w.next++
	b := &loadBatch{key: fmt.Sprintf("%d-%d", w.id, w.next), requires: -1}
	size := 1 + w.rng.IntN(10)
	if w.rng.IntN(20) == 0 {
		size = loadTuples
	}
	for _, n := range w.rng.Perm(loadTuples)[:size] {
		_, there := w.held[n]
		e := loadEdit{tuple: n, mark: w.next}
		switch choice := w.rng.IntN(4); {
		case there && choice == 0 && !b.wrong && w.rng.IntN(8) == 0:
			e.kind, b.wrong = loadCreate, true
		case choice < 2 && !there:
			e.kind = loadCreate
		case choice < 2:
			e.kind = loadDelete
		case choice == 2:
			e.kind = loadTouch
		case there:
			e.kind = loadTouch
		default:
			e.kind = loadDelete // of what is not there
		}
		b.edits = append(b.edits, e)
	}
	for n := range w.held {
		if w.rng.IntN(4) == 0 {
			b.requires = n
		}
		break
	}
	if b.wrong && w.outlived {
		b.requires = loadTuples // which nobody ever writes
	}
	return b
}

// settle takes note of a definite outcome.
func (w *loadWriter) settle(b *loadBatch, again bool, answer string, refused error) error {
	switch {
	case b.wrong && refused == nil:
		return fmt.Errorf("writer %d: batch %s creates a tuple that exists, and was acknowledged with %s: %+v", w.id, b.key, answer, b.edits)
	case b.wrong:
		w.tally.refused++
		return nil
	case refused != nil:
		return fmt.Errorf("writer %d: batch %s: %w: %+v", w.id, b.key, refused, b.edits)
	case again && answer != b.answer:
		return fmt.Errorf("writer %d: repeated batch %s was answered %s, the first time %s", w.id, b.key, answer, b.answer)
	case again:
		w.tally.repeated++
		return nil
	}
	w.tally.acknowledged++
	b.answer = answer
	w.held = b.after(w.held)
	w.version++
	w.seen[loadDigest(w.held)] = w.version
	w.open = nil
	if w.past = append(w.past, b); len(w.past) > loadPast {
		w.past = slices.Delete(w.past, 0, 1)
	}
	return nil
}

// after is what a writer's tuples are after the batch.
func (b *loadBatch) after(held map[int]int64) map[int]int64 {
	held = maps.Clone(held)
	for _, e := range b.edits {
		if e.kind == loadDelete {
			delete(held, e.tuple)
		} else {
			held[e.tuple] = e.mark
		}
	}
	return held
}

// A loadTuple names a tuple of a writer. Eight of them share an object.
type loadTuple struct{ writer, number int }

const loadPerObject = 8

func (t loadTuple) object() string {
	return fmt.Sprintf("w%d-%d", t.writer, t.number/loadPerObject)
}

func (t loadTuple) subject() string { return fmt.Sprintf("u%d", t.number%loadPerObject) }

func parseLoadTuple(object, subject string) (t loadTuple, err error) {
	var first, rest int
	if _, err = fmt.Sscanf(object, "w%d-%d", &t.writer, &first); err == nil {
		_, err = fmt.Sscanf(subject, "u%d", &rest)
	}
	t.number = first*loadPerObject + rest
	return t, err
}

func (l *load) byWriter(actual map[loadTuple]int64) ([]map[int]int64, error) {
	of := make([]map[int]int64, len(l.writers))
	for i := range of {
		of[i] = map[int]int64{}
	}
	for t, mark := range actual {
		if t.writer >= len(of) {
			return nil, fmt.Errorf("the store holds %+v, which nobody wrote", t)
		}
		of[t.writer][t.number] = mark
	}
	return of, nil
}

// check compares what a store holds with what it must hold, and returns how many of the
// batches of unknown outcome turned out to be there.
func (l *load) check(actual map[loadTuple]int64) (applied int, err error) {
	of, err := l.byWriter(actual)
	if err != nil {
		return 0, err
	}
	var faults []error
	for i, w := range l.writers {
		switch {
		case maps.Equal(of[i], w.held):
		case w.open != nil && maps.Equal(of[i], w.open.after(w.held)):
			applied++
		default:
			text := fmt.Sprintf("writer %d: the store lost or invented something (-acknowledged +store):\n%s", w.id, cmp.Diff(w.held, of[i]))
			if w.open != nil {
				text += fmt.Sprintf("batch %s is of unknown outcome: %+v\n", w.open.key, w.open.edits)
			}
			if n := len(w.past); n > 0 {
				text += fmt.Sprintf("the last one acknowledged was %s with %s: %+v", w.past[n-1].key, w.past[n-1].answer, w.past[n-1].edits)
			}
			faults = append(faults, errors.New(text))
		}
	}
	return applied, errors.Join(faults...)
}

// settleAll repeats, after a restart, every batch of unknown outcome, which must succeed
// whether or not it was carried out, and an acknowledged one of each writer, which must
// change nothing. Afterwards no outcome is unknown.
func (l *load) settleAll(ctx context.Context, target loadTarget) error {
	for _, w := range l.writers {
		if b := w.open; b != nil {
			answer, err := target.write(ctx, w.id, b)
			if err != nil && !errors.Is(err, errLoadRefused) {
				return err
			}
			if err := w.settle(b, false, answer, err); err != nil {
				return fmt.Errorf("repetition after a restart: %w", err)
			}
		}
		if len(w.past) == 0 {
			continue
		}
		b := w.past[w.rng.IntN(len(w.past))]
		answer, err := target.write(ctx, w.id, b)
		if err != nil && !errors.Is(err, errLoadRefused) {
			return err
		}
		if err := w.settle(b, true, answer, err); err != nil {
			return fmt.Errorf("repetition after a restart: %w", err)
		}
	}
	return nil
}

// volume is small by default and the whole with REMIT_TEST_ALL=1.
func volume(small, all int) int {
	if os.Getenv("REMIT_TEST_ALL") != "" {
		return all
	}
	return small
}

// indent sets a text off in a message.
func indent(text string) string {
	return "\t" + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n\t")
}
