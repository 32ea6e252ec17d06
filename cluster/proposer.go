package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// proposer turns commands into entries. One goroutine collects and seals, a
// second waits for the entries' results, which come in order, and answers.
//
// A command that finds the log idle goes at once. While entries are outstanding,
// what arrives forms a batch, which goes when it is full, when it has lingered,
// or when the log falls idle: so batches grow exactly as far as the disk is slow.
type proposer struct {
	cfg     *Config
	count   *counters
	metrics *metrics // set before the first proposal

	// apply hands an entry to Raft; leading says whether it may be.
	apply   func(entry []byte) raft.ApplyFuture
	leading func() bool

	// stamp returns the time of an entry, or why there must be none. It may be set before
	// the first proposal.
	stamp func() (time.Time, error)

	mu     sync.RWMutex // held for reading around a send to queue
	closed bool         // guarded by mu: nothing is sent to queue any more
	queue  chan *proposal
	queued atomic.Int64 // bytes in queue

	stop  chan struct{}  // closed by close
	slots chan struct{}  // holds one token for each outstanding entry
	freed chan struct{}  // tells the collector that a slot was freed
	sent  chan sentEntry // outstanding entries, oldest first
	idle  *time.Timer    // fires when no entry has been outstanding for hintDelay
	done  sync.WaitGroup // both goroutines
}

// A proposal is one command on its way.
type proposal struct {
	command []byte
	state   atomic.Int32 // proposalWaiting and so on
	answer  chan outcome // takes one outcome, so that nobody blocks on a caller who left
}

// A proposal waits until its caller abandons it or the collector seals it,
// whichever is first.
const (
	proposalWaiting int32 = iota
	proposalSealed
	proposalAbandoned
)

type outcome struct {
	answer []byte
	err    error
}

type sentEntry struct {
	proposals []*proposal
	future    raft.ApplyFuture
}

func newProposer(cfg *Config, count *counters, apply func([]byte) raft.ApplyFuture, leading func() bool) *proposer {
	p := &proposer{
		cfg:     cfg,
		count:   count,
		apply:   apply,
		leading: leading,
		stamp:   func() (time.Time, error) { return cfg.Clock(), nil },
		queue:   make(chan *proposal, cfg.QueueCommands),
		stop:    make(chan struct{}),
		slots:   make(chan struct{}, cfg.MaxOutstanding),
		freed:   make(chan struct{}, 1),
		sent:    make(chan sentEntry, cfg.MaxOutstanding),
		idle:    time.NewTimer(hintDelay),
	}
	p.done.Go(p.collect)
	p.done.Go(p.finish)
	return p
}

// propose commits command and returns its answer.
func (p *proposer) propose(ctx context.Context, command []byte) ([]byte, error) {
	q := &proposal{command: command, answer: make(chan outcome, 1)}
	if err := p.enqueue(q); err != nil {
		return nil, err
	}
	select {
	case o := <-q.answer:
		return o.answer, o.err
	case <-ctx.Done():
	}
	if q.state.CompareAndSwap(proposalWaiting, proposalAbandoned) {
		return nil, ctx.Err()
	}
	select {
	case o := <-q.answer:
		return o.answer, o.err
	default:
		return nil, unknown(ctx.Err())
	}
}

func (p *proposer) enqueue(q *proposal) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.closed {
		return ErrShuttingDown
	}
	size := int64(len(q.command))
	if p.queued.Add(size) > int64(p.cfg.QueueBytes) {
		p.queued.Add(-size)
		p.count.overloaded.Add(1)
		return fmt.Errorf("%w: more than %d bytes", ErrOverloaded, p.cfg.QueueBytes)
	}
	select {
	case p.queue <- q:
		return nil
	default:
		p.queued.Add(-size)
		p.count.overloaded.Add(1)
		return fmt.Errorf("%w: more than %d", ErrOverloaded, p.cfg.QueueCommands)
	}
}

// close refuses what waits in the queue, waits for the outstanding entries, and
// returns when both goroutines have ended. Raft must still be running: stopped,
// it would leave some entries without an answer.
func (p *proposer) close() {
	p.mu.Lock()
	closed := p.closed
	p.closed = true
	p.mu.Unlock()
	if !closed {
		close(p.stop)
	}
	p.done.Wait()
}

// collect is the goroutine that makes entries.
func (p *proposer) collect() {
	defer close(p.sent)
	var held *proposal // what did not fit into the batch before
	for {
		b := batch{}
		if held != nil {
			b.add(held)
		} else {
			select {
			case q := <-p.queue:
				b.add(q)
			case <-p.stop:
				p.refuse(b.proposals)
				return
			}
		}
		var ok bool
		if held, ok = p.fill(&b); !ok {
			p.refuse(b.proposals)
			return
		}
		p.send(b.proposals)
	}
}

// A batch is what goes into the next entry.
type batch struct {
	proposals []*proposal
	bytes     int
}

func (b *batch) add(q *proposal) {
	b.proposals = append(b.proposals, q)
	b.bytes += len(q.command)
}

// fill adds to b what arrives until it should go, and takes a slot for it. It
// returns the command that would have made b too large, if it met one, and false
// when the proposer stops.
func (p *proposer) fill(b *batch) (held *proposal, ok bool) {
	var linger *time.Timer
	var lingered <-chan time.Time
	ripe := false
	for {
		if held != nil || len(b.proposals) >= p.cfg.MaxEntryCommands || b.bytes >= p.cfg.MaxEntryBytes {
			select {
			case p.slots <- struct{}{}:
				return held, true
			case <-p.stop:
				if held != nil {
					b.add(held)
				}
				return nil, false
			}
		}
		// Everything that is here already comes along, at no cost in time.
		select {
		case q := <-p.queue:
			held = p.fit(b, q)
			continue
		default:
		}
		if ripe || len(p.slots) == 0 {
			select {
			case p.slots <- struct{}{}:
				return nil, true
			default:
			}
		}
		if linger == nil {
			linger = time.NewTimer(p.cfg.Linger)
			lingered = linger.C
			defer linger.Stop()
		}
		select {
		case q := <-p.queue:
			held = p.fit(b, q)
		case <-p.freed:
		case <-lingered:
			ripe = true
		case <-p.stop:
			return nil, false
		}
	}
}

// fit adds q to b, or returns it when b would become too large.
func (p *proposer) fit(b *batch, q *proposal) (held *proposal) {
	if b.bytes+len(q.command) > p.cfg.MaxEntryBytes {
		return q
	}
	b.add(q)
	return nil
}

// send seals the proposals that are still wanted and hands them to Raft, using
// the slot that fill took.
func (p *proposer) send(proposals []*proposal) {
	wanted := proposals[:0]
	commands := make([][]byte, 0, len(proposals))
	now, refused := p.stamp()
	if !p.leading() {
		refused = ErrNoLeader
	}
	size := 0
	for _, q := range proposals {
		p.queued.Add(-int64(len(q.command)))
		switch {
		case !q.state.CompareAndSwap(proposalWaiting, proposalSealed):
		case refused != nil:
			q.answer <- outcome{err: refused}
		default:
			wanted = append(wanted, q)
			commands = append(commands, q.command)
			size += len(q.command)
		}
	}
	if len(wanted) == 0 {
		<-p.slots
		return
	}
	entry := p.cfg.Seal(commands, now)
	p.count.commands.Add(uint64(len(wanted)))
	p.count.entries.Add(1)
	p.metrics.sealed(len(wanted))
	p.count.bytes.Add(uint64(len(entry)))
	p.idle.Stop()
	p.sent <- sentEntry{wanted, p.apply(entry)}
}

// refuse answers all that was never handed to Raft.
func (p *proposer) refuse(proposals []*proposal) {
	for {
		for _, q := range proposals {
			p.queued.Add(-int64(len(q.command)))
			if q.state.CompareAndSwap(proposalWaiting, proposalSealed) {
				q.answer <- outcome{err: ErrShuttingDown}
			}
		}
		select {
		case q := <-p.queue:
			proposals = []*proposal{q}
		default:
			return
		}
	}
}

// finish is the goroutine that answers.
func (p *proposer) finish() {
	for e := range p.sent {
		answers, err := p.result(e)
		// The slot is free before the callers hear of it, so that one who comes
		// right back finds the log as idle as it is.
		<-p.slots
		signal(p.freed)
		if !p.busy() {
			p.idle.Reset(hintDelay)
		}
		for i, q := range e.proposals {
			o := outcome{err: err}
			if err == nil {
				o.answer = answers[i]
			}
			q.answer <- o
		}
	}
}

// busy says whether entries are outstanding.
func (p *proposer) busy() bool { return len(p.slots) > 0 }

// signal leaves a message in a channel that holds one, unless there is one already.
func signal(to chan<- struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}

// result waits for an entry and returns one answer for each of its commands.
func (p *proposer) result(e sentEntry) ([][]byte, error) {
	switch err := e.future.Error(); {
	case err == nil:
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		// Raft refused the entry before it put it into the log.
		return nil, fmt.Errorf("%w: %w", ErrNoLeader, err)
	default:
		return nil, unknown(err)
	}
	// The entry is applied. Should its result be unreadable, a retry with the
	// same key still finds the answer.
	result, ok := e.future.Response().([]byte)
	if !ok {
		return nil, unknown(fmt.Errorf("the state machine answered %T, want bytes", e.future.Response()))
	}
	answers, err := p.cfg.SplitAnswers(result)
	if err != nil {
		return nil, unknown(fmt.Errorf("split answers: %w", err))
	}
	if len(answers) != len(e.proposals) {
		return nil, unknown(fmt.Errorf("%d answers to %d commands", len(answers), len(e.proposals)))
	}
	return answers, nil
}
