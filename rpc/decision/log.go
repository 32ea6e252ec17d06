package decision

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/oklog/ulid/v2"
	"go.opentelemetry.io/otel/trace"

	"github.com/remit-authz/remit/rpc/identity"
	"github.com/remit-authz/remit/rpc/observe"
)

const (
	// gather is how long the writer waits for more when there is something to write: waking
	// it for each event would cost more than the event.
	gather = 200 * time.Millisecond
	// retry is how long the writer waits to tell of a loss while nothing else is to be
	// written, and complain how long it says nothing more of what keeps it from writing.
	retry    = time.Second
	complain = time.Minute
	// closing is how long the end of the log may take: a pipe that nobody reads must not
	// keep a server from stopping.
	closing = 5 * time.Second

	chunk   = 64 << 10  // bytes that are written at once
	maxLine = 256 << 10 // no event has as many bytes, with all that it holds escaped
)

// headerActor names whom the caller acts for. The backend's name for it is the same: it
// stands above this package.
const headerActor = "Remit-Actor"

// A Log counts decisions and logs those that are wanted. A nil Log does nothing. It is safe
// for concurrent use.
type Log struct {
	config Config
	sink   sink // nil: nothing is logged

	counts                          [outcomes]atomic.Uint64
	written, full, unwritten, bytes atomic.Uint64

	mu     sync.Mutex // guards what follows
	queue  []Event
	held   int // bytes that the queue keeps in memory
	lost   loss
	closed bool

	wake  chan struct{} // the queue is no longer empty
	half  chan struct{} // the queue is half full
	end   chan struct{} // closed by Close
	ended chan struct{} // closed by the writer
	miss  loss          // what the log was never told of; the writer's, until it has ended
}

// A loss is events that will never be written.
type loss struct {
	full, unwritten int // for want of room in the queue, and of success in writing
	from, to        time.Time
}

func (l *loss) any() bool { return l.full+l.unwritten > 0 }

func (l *loss) add(full, unwritten int, from, to time.Time) {
	if !l.any() || from.Before(l.from) {
		l.from = from
	}
	if to.After(l.to) {
		l.to = to
	}
	l.full += full
	l.unwritten += unwritten
}

// Open opens a log; nil if the configuration asks for neither events nor metrics. A file
// that cannot be written is an error. The log must be closed.
func Open(config Config) (*Log, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	config.defaults()
	if !config.logs() && config.Metrics == nil {
		return nil, nil
	}
	l := &Log{
		config: config,
		wake:   make(chan struct{}, 1), half: make(chan struct{}, 1), end: make(chan struct{}), ended: make(chan struct{}),
	}
	switch {
	case !config.logs():
	case config.Output != nil:
		l.sink = stream{config.Output}
	case config.File == Stdout:
		l.sink = stream{os.Stdout}
	default:
		f, err := openFile(&config)
		if err != nil {
			return nil, err
		}
		l.sink = f
	}
	if config.Metrics != nil {
		config.Metrics.MustRegister(l)
	}
	if l.sink == nil {
		close(l.ended)
		return l, nil
	}
	w := &writer{log: l, encoder: newEncoder(config.Node, ulid.Make().String())}
	go w.run() // until Close
	return l, nil
}

// Begin is when a decision begins, for its event.
func (l *Log) Begin() time.Duration {
	if l == nil || l.sink == nil {
		return 0
	}
	return time.Since(began)
}

// began lets Begin read the clock that costs least.
var began = time.Now()

// Wants counts a decision, and reports whether it is to be logged.
func (l *Log) Wants(o Outcome) bool { return l != nil && l.wants(o, 1) }

// WantsAll is Wants for so many decisions with one outcome, of which all are logged or none.
func (l *Log) WantsAll(o Outcome, n int) bool { return l != nil && l.wants(o, n) }

func (l *Log) wants(o Outcome, n int) bool {
	l.counts[o].Add(uint64(n))
	switch l.config.Select {
	case All:
		return true
	case Denied:
		return o == Refused || o == Undecided
	case Sampled:
		return o == Refused || o == Undecided || rand.IntN(l.config.Sample) == 0
	}
	return false
}

// Add logs a decision that is wanted. What the event says of the call is taken from the
// context. It never waits.
func (l *Log) Add(ctx context.Context, e *Event) {
	e.bound()
	e.time = time.Now()
	e.took = e.time.Sub(began) - e.Begun
	if l.config.Select == Sampled && e.Outcome != Refused && e.Outcome != Undecided {
		e.sample = l.config.Sample
	}
	e.principal = clip(identity.Principal(ctx), maxHeader)
	if info, ok := connect.CallInfoForServerContext(ctx); ok {
		e.procedure = info.Spec.Procedure
		e.actor = clip(info.RequestHeader().Get(headerActor), maxHeader)
		e.requestID = observe.RequestID(info)
	}
	e.trace = trace.SpanContextFromContext(ctx).TraceID()
	l.put(e)
}

// put hands an event to the writer, or counts it as lost.
func (l *Log) put(e *Event) {
	size := e.size()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == maxQueue || l.held+size > maxQueueBytes || l.closed {
		l.full.Add(1)
		l.lost.add(1, 0, e.time, e.time)
		return
	}
	l.queue = append(l.queue, *e)
	l.held += size
	switch {
	case len(l.queue) == 1:
		signal(l.wake)
	case len(l.queue) == maxQueue/2 || l.held > maxQueueBytes/2:
		signal(l.half)
	}
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// take empties the queue into what was handed out before, and says what was lost since.
func (l *Log) take(last []Event) (queue []Event, lost loss) {
	if cap(last) > maxQueue/8 && len(last) < cap(last)/4 {
		last = nil // a storm's is kept as long as there is one
	}
	clear(last) // what it refers to may go
	l.mu.Lock()
	defer l.mu.Unlock()
	queue, lost = l.queue, l.lost
	l.queue, l.held, l.lost = last[:0], 0, loss{}
	return queue, lost
}

// Reopen lets go of the file, so that the next event goes to the one that has its name
// then: whoever renames files from outside calls it afterwards.
func (l *Log) Reopen() error {
	if l == nil || l.sink == nil {
		return nil
	}
	return l.sink.reopen()
}

// errStuck says that the log could not be ended.
var errStuck = fmt.Errorf("close the decision log: its last events were not taken within %s", closing)

// Close writes what has been logged so far. Decisions that are made afterwards are lost.
func (l *Log) Close() error {
	if l == nil || l.sink == nil {
		return nil
	}
	l.mu.Lock()
	first := !l.closed
	l.closed = true
	l.mu.Unlock()
	if first {
		close(l.end)
	}
	bound := time.NewTimer(closing)
	defer bound.Stop()
	select {
	case <-l.ended:
		err := l.sink.Close()
		if l.miss.any() {
			err = errors.Join(fmt.Errorf("close the decision log: it does not have %d events, nor does it say so", l.miss.full+l.miss.unwritten), err)
		}
		return err
	case <-bound.C:
		return errStuck
	}
}
