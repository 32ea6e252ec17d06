package rpc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/limit"
)

var (
	// ErrSlowReader says that a stream ended because its reader did not take a message in
	// time. Nothing is lost: what it has not seen it gets when it resumes.
	ErrSlowReader = errors.New("the reader took too long for a message")

	// ErrDraining says that a stream ended because the node is about to stop. It goes on
	// with another node, or with this one when it is back.
	ErrDraining = errors.New("the node is shutting down")
)

const (
	// messageTuples and messageBytes are the size that a message of a stream has in the
	// end: enough that framing costs little, few enough that the first arrive early and
	// that a reader which is cut off has little to read twice.
	messageTuples = 1000
	messageBytes  = 256 << 10

	// rootHold is how long a stream reads a state from memory. Longer would keep alive what
	// others have replaced since; what remains is read from the history on disk.
	rootHold = 30 * time.Second
)

// A streamError ends a stream. Resume is where a new one goes on; empty if none can.
type streamError struct {
	err    error
	resume string
}

func (e *streamError) Error() string { return e.err.Error() }
func (e *streamError) Unwrap() error { return e.err }

// A streamer is what the streams that send have in common.
type streamer struct {
	reader   *reader
	slow     time.Duration   // Config.SlowReader
	draining context.Context //nolint:containedctx // the server's life, not a call's
}

// An outlet is one stream that sends. It knows from where a new one would go on.
type outlet struct {
	slow   time.Duration
	cut    cutter
	resume string
}

// outlet begins a stream. Its context ends with the call's, and when the node is to stop;
// the cause tells which.
func (s *streamer) outlet(ctx context.Context) (context.Context, *outlet, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.draining, func() { cancel(ErrDraining) })
	cut, _ := ctx.Value(cutterKey{}).(cutter)
	return ctx, &outlet{slow: s.slow, cut: cut}, func() {
		stop()
		cancel(nil)
	}
}

// send sends a message, behind which a new stream begins at resume. A reader that dawdles
// is told so once it has taken the message, and cut off if it never does: a stream holds
// nothing but a goroutine and a page, but it shall not hold these for ever.
func (o *outlet) send(resume string, send func() error) error {
	if o.cut != nil {
		o.cut.arm(2*o.slow, &streamError{ErrSlowReader, o.resume})
	}
	begun := time.Now()
	err := send()
	if o.cut != nil {
		o.cut.disarm()
	}
	if err != nil {
		return err
	}
	o.resume = resume
	if took := time.Since(begun); took > o.slow {
		return fmt.Errorf("%w: %s, at most %s are allowed", ErrSlowReader, took.Round(time.Millisecond), o.slow)
	}
	return nil
}

// end completes the error that ends the stream.
func (o *outlet) end(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, ErrDraining) && errors.Is(err, context.Canceled) {
		err = ErrDraining
	}
	if o.resume == "" || errors.Is(err, fsm.ErrRevisionGone) || errors.Is(err, backend.ErrOtherEpoch) || errors.Is(err, fsm.ErrStoreNotFound) {
		return err
	}
	return &streamError{err, o.resume}
}

// A cutter ends a call whose reader does not take what is sent to it, which the call by
// itself cannot: it waits for the transport.
type cutter interface {
	arm(after time.Duration, err error)
	disarm()
}

// cutterKey is under which a transport leaves its cutter in a call's context.
type cutterKey struct{}

// A pin shows a store at one revision for as long as a stream takes: from memory at
// first, from the history later.
type pin struct {
	reader   *reader
	store    fsm.StoreID
	epoch    uint64
	revision graph.Revision
	head     *fsm.Store // at the revision; nil: it has been held for long enough
	until    time.Time
	past     *fsm.Past
}

// pin pins a store at the revision of a root.
func (r *reader) pin(root *fsm.Root, store fsm.StoreID) pin {
	p := pin{reader: r, store: store, epoch: root.Epoch(), revision: root.Revision(), until: time.Now().Add(rootHold)}
	p.head, _ = root.Store(store)
	return p
}

// page gives the view to read the next page from, and the store that knows its names.
func (p *pin) page() (graph.Scanner, *fsm.Store, error) {
	if p.head != nil && time.Now().Before(p.until) {
		return p.head, p.head, nil
	}
	p.head = nil
	root := p.reader.Config.State.Current()
	head, ok := root.Store(p.store)
	switch {
	case root.Epoch() != p.epoch:
		return nil, nil, backend.ErrOtherEpoch
	case !ok:
		return nil, nil, fmt.Errorf("%w: store %s has been deleted meanwhile", fsm.ErrStoreNotFound, p.store)
	}
	if p.past == nil {
		var err error
		if p.past, err = p.reader.Config.State.ViewAt(p.store, p.revision); err != nil {
			return nil, nil, err
		}
	}
	return p.past, head, nil
}

// rows yields the store's tuples behind a row, with a store that knows their names.
func (p *pin) rows(ctx context.Context, after graph.Row, yield func(row *graph.Row, names *fsm.Store) error) error {
	defer limit.Leave(ctx)
	c := graph.RowCursor{After: after}
	for !c.Done {
		if err := limit.Pace(ctx); err != nil {
			return err
		}
		view, names, err := p.page()
		if err != nil {
			return err
		}
		if err := view.Rows(&c); err != nil {
			return err
		}
		for i := range c.Rows {
			if err := yield(&c.Rows[i], names); err != nil {
				return err
			}
		}
	}
	return nil
}

// A batch is tuples of a message under way.
type batch struct {
	tuples []*remitv1.Tuple
	bytes  int
}

func (b *batch) add(t *remitv1.Tuple) {
	b.tuples = append(b.tuples, t)
	b.bytes += tupleSize(t)
}

func (b *batch) full() bool { return len(b.tuples) >= messageTuples || b.bytes >= messageBytes }

// take hands the tuples out.
func (b *batch) take() []*remitv1.Tuple {
	taken := b.tuples
	*b = batch{}
	return taken
}

// tupleSize is about what a tuple takes on the wire.
func tupleSize(t *remitv1.Tuple) int {
	const framing = 16
	size := framing + len(t.GetObject()) + len(t.GetRelation()) + len(t.GetSubject())
	if t.GetCondition() != nil {
		size += proto.Size(t.GetCondition())
	}
	return size
}

// A matcher is a filter of tuples by name: unlike one by id it holds for stores and types
// that are yet to come.
type matcher struct{ patterns []backend.Pattern }

func matcherOf(filters []*remitv1.TupleFilter) (*matcher, error) {
	m := &matcher{}
	for i, f := range filters {
		p, err := patternOf(f)
		if fe := (*backend.FieldError)(nil); errors.As(err, &fe) {
			return nil, at(indexed("filters", i)+fe.Field[len("filter"):], fe.Err)
		}
		if err != nil {
			return nil, err
		}
		m.patterns = append(m.patterns, p)
	}
	return m, nil
}

// tuple names a row if one of the patterns matches it; otherwise it is nil.
func (m *matcher) tuple(symbols *model.Table, names graph.View, row *graph.Row) (*remitv1.Tuple, error) {
	if !m.mayMatch(symbols, row) {
		return nil, nil //nolint:nilnil // no tuple is an answer
	}
	t, err := backend.RowTuple(symbols, names, row)
	if err != nil || !m.matches(&t) {
		return nil, err
	}
	return tupleMessage(t)
}

// mayMatch judges what is known without looking entities up.
func (m *matcher) mayMatch(symbols *model.Table, row *graph.Row) bool {
	if len(m.patterns) == 0 {
		return true
	}
	object, subject := symbols.TypeName(row.Userset.Object.Type()), symbols.TypeName(row.Edge.Subject.ID.Type())
	_, relation := symbols.RelationName(row.Userset.Relation)
	for i := range m.patterns {
		p := &m.patterns[i]
		if agrees(p.ObjectType, object) && agrees(p.Relation, relation) && agrees(p.SubjectType, subject) {
			return true
		}
	}
	return false
}

func (m *matcher) matches(t *graph.Tuple) bool {
	for i := range m.patterns {
		p := &m.patterns[i]
		if agrees(p.ObjectType, t.Object.Type) && agrees(p.Relation, t.Relation) && agrees(p.SubjectType, t.Subject.Type) &&
			(!p.HasObjectID || p.ObjectID == t.Object.ID) &&
			(!p.HasSubjectID || p.SubjectID == t.Subject.ID && p.SubjectRelation == t.Subject.Relation) {
			return true
		}
	}
	return len(m.patterns) == 0
}

// agrees reports whether a part of a pattern, where empty is any, matches a name.
func agrees(pattern, name string) bool { return pattern == "" || pattern == name }
