package rpc

import (
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

const (
	// examinedChanges is how many changes a page goes through for the causes of its
	// differences, and keptChanges how many of those can matter to some of them. Beyond
	// either, the causes are unknown.
	examinedChanges = 1_000_000
	keptChanges     = 200_000

	// statesLooked is how many states between the ends are looked at one after the
	// other to find the last in which access was another. Of more, a bisection finds one.
	statesLooked = 64

	// changesShown bounds the changes of a cause.
	changesShown = 10
)

// A history is what can have made a difference between the ends of a comparison.
type history struct {
	reads   reads
	changes []pastChange
	tooMany bool
}

// A pastChange is one of a tuple, or of the model, as far as it decides whether it matters.
type pastChange struct {
	revision graph.Revision
	time     int64 // milliseconds since 1970 UTC
	model    bool
	userset  graph.Userset
	subject  graph.Subject
}

// cause finds what made an entry's access what it is at the end.
func (d *comparison) cause(ctx context.Context, entry graph.Subject, held bool) (*remitv1.AccessCause, error) {
	if err := d.recall(ctx); err != nil {
		return nil, err
	}
	cause := &remitv1.AccessCause{Kind: remitv1.AccessCause_KIND_UNKNOWN}
	if d.history.tooMany {
		return cause, nil
	}
	states := d.states(entry)
	at, certain, err := d.turn(ctx, entry, states, held)
	if err == nil {
		cause.PerhapsNotLast = !certain
		err = d.explain(ctx, cause, entry, states, at, held)
	}
	if err != nil {
		if _, foreseen := find(err); !foreseen || ctx.Err() != nil {
			return nil, err
		}
		// In between access could not be decided, which does not change that it differs.
		return &remitv1.AccessCause{Kind: remitv1.AccessCause_KIND_UNKNOWN}, nil
	}
	return cause, nil
}

// A state is a revision that may have changed an entry's access.
type state struct {
	revision graph.Revision
	time     time.Time
}

// states are the revisions whose changes can matter to an entry, oldest first.
func (d *comparison) states(entry graph.Subject) (states []state) {
	u, subject := d.asked(d.any(), entry)
	for i := range d.history.changes {
		c := &d.history.changes[i]
		if n := len(states); n > 0 && states[n-1].revision == c.revision {
			continue
		}
		if c.model || d.history.reads.matters(c.userset, c.subject, u.Object, subject) {
			states = append(states, state{c.revision, time.UnixMilli(c.time).UTC()})
		}
	}
	return states
}

// any is an end whose model knows what is asked for.
func (d *comparison) any() *point {
	if d.to.fault != nil {
		return d.from
	}
	return d.to
}

// turn finds the last of the states behind which access was not yet what it is at the
// end: -1 is the beginning. Of too many states it finds one such that behind the next
// access was what it is at the end, which is not certain to be the last.
func (d *comparison) turn(ctx context.Context, entry graph.Subject, states []state, held bool) (at int, certain bool, err error) {
	behind := func(i int) (bool, error) {
		p, err := d.point(states[i].revision, states[i].time)
		if err != nil {
			return false, err
		}
		return d.holds(ctx, p, entry)
	}
	if len(states) <= statesLooked {
		for i := range slices.Backward(states) {
			if got, err := behind(i); err != nil || got != held {
				return i, true, err
			}
		}
		return -1, true, nil
	}
	low, high := -1, len(states)
	for high-low > 1 {
		middle := low + (high-low)/2
		got, err := behind(middle)
		if err != nil {
			return 0, false, err
		}
		if got == held {
			high = middle
		} else {
			low = middle
		}
	}
	return low, false, nil
}

// explain describes what turned access between a state and the next.
func (d *comparison) explain(ctx context.Context, cause *remitv1.AccessCause, entry graph.Subject, states []state, at int, held bool) error {
	begin := state{d.from.at.Base.Revision(), d.from.at.At}
	if at >= 0 {
		begin = states[at]
	}
	end := state{d.to.at.Base.Revision(), d.to.at.At}
	if at+1 < len(states) {
		end = states[at+1]
		// The state that the change found, at the instant of the change: if access had
		// turned by then, it was not the change.
		before, err := d.point(end.revision-1, end.time)
		if err != nil {
			return err
		}
		got, err := d.holds(ctx, before, entry)
		if err != nil {
			return err
		}
		if got != held {
			after, err := d.point(end.revision, end.time)
			if err != nil {
				return err
			}
			allowing := before
			if held {
				allowing = after
			}
			return d.changed(ctx, cause, entry, end, allowing)
		}
	}
	return d.passed(ctx, cause, entry, begin, end.time, held)
}

// changed describes the changes of a revision. allowing is the point at which access was
// granted, which says which of them count.
func (d *comparison) changed(ctx context.Context, cause *remitv1.AccessCause, entry graph.Subject, s state, allowing *point) error {
	cause.Kind, cause.Revision, cause.At = remitv1.AccessCause_KIND_TUPLES, uint64(s.revision), timestamppb.New(s.time)
	changes, err := d.changesAt(s.revision, entry)
	if err != nil {
		return err
	}
	proof, err := d.proof(ctx, allowing, entry)
	if err != nil {
		return err
	}
	counts := func(c *fsm.Change) bool {
		return slices.ContainsFunc(proof, func(r graph.Row) bool {
			return r.Userset == c.Tuple.Userset && r.Edge.Subject == c.Tuple.Edge.Subject
		})
	}
	if slices.ContainsFunc(changes, counts) {
		changes = slices.DeleteFunc(changes, func(c *fsm.Change) bool { return c.Kind != fsm.ModelWritten && !counts(c) })
	}
	for i, c := range changes {
		if i == 0 {
			cause.Actor, cause.Principal, cause.RequestId, cause.Reason = c.Actor, c.Principal, c.RequestID, c.Reason
		}
		one := c.Actor == cause.Actor && c.Principal == cause.Principal && c.RequestID == cause.RequestId && c.Reason == cause.Reason
		switch {
		case !one, len(cause.Changes) == changesShown:
			cause.MoreChanges = true
		case c.Kind == fsm.ModelWritten:
			cause.Kind, cause.ModelId = remitv1.AccessCause_KIND_MODEL, c.Model.String()
		default:
			m, err := d.tupleChange(&c.Tuple, c.Kind != fsm.TuplePut)
			if err != nil {
				return err
			}
			cause.Changes = append(cause.Changes, m)
		}
	}
	return nil
}

// changesAt are the changes of a revision that can matter to an entry; one of the model
// comes first.
func (d *comparison) changesAt(revision graph.Revision, entry graph.Subject) (found []*fsm.Change, err error) {
	u, subject := d.asked(d.any(), entry)
	q := fsm.ChangeQuery{After: fsm.EndOf(revision - 1)}
	for {
		page, err := d.reader.Config.State.Changes(d.head.ID(), q)
		if err != nil {
			return nil, err
		}
		for _, c := range page.Changes {
			switch {
			case c.Revision > revision:
				return found, nil
			case c.Kind == fsm.ModelWritten && d.request.ModelId == "":
				found = slices.Insert(found, 0, c)
			case tupleWritten(c) && d.history.reads.matters(c.Tuple.Userset, c.Tuple.Edge.Subject, u.Object, subject):
				found = append(found, c)
			}
		}
		if q.After = page.Next; !page.More {
			return found, nil
		}
	}
}

// proof is the tuples that suffice for access at a point; none if there is no telling.
func (d *comparison) proof(ctx context.Context, p *point, entry graph.Subject) ([]graph.Row, error) {
	if p.fault != nil {
		return nil, nil
	}
	query := p.at.Query()
	u, subject := d.asked(p, entry)
	e, err := query.Explain(ctx, u, subject)
	if err != nil {
		return nil, ctx.Err() // the cause is known without it
	}
	return e.Proof, nil
}

// passed finds the instant at which time alone turned access, to the millisecond.
func (d *comparison) passed(ctx context.Context, cause *remitv1.AccessCause, entry graph.Subject, s state, end time.Time, held bool) error {
	at := func(ms int64) (bool, *point, error) {
		p, err := d.point(s.revision, time.UnixMilli(ms).UTC())
		if err != nil {
			return false, nil, err
		}
		// Each instant is looked at once: it is not worth keeping.
		delete(d.points, pointKey{s.revision, p.at.At.UnixNano()})
		got, err := d.holds(ctx, p, entry)
		return got, p, err
	}
	low, high := s.time.UnixMilli(), end.UnixMilli()
	if got, _, err := at(high); err != nil || got != held {
		return err // it was something that nobody foresaw: the cause stays unknown
	}
	for high-low > 1 {
		middle := low + (high-low)/2
		got, _, err := at(middle)
		if err != nil {
			return err
		}
		if got == held {
			high = middle
		} else {
			low = middle
		}
	}
	cause.Kind, cause.Revision, cause.At = remitv1.AccessCause_KIND_TIME, uint64(s.revision), timestamppb.New(time.UnixMilli(high))
	if held {
		return nil
	}
	_, p, err := at(low)
	if err != nil {
		return err
	}
	proof, err := d.proof(ctx, p, entry)
	for i := range proof {
		if err == nil && proof[i].Edge.Expires == high {
			var m *remitv1.TupleChange
			m, err = d.tupleChange(&proof[i], true)
			cause.Changes = append(cause.Changes, m)
		}
	}
	return err
}

func (d *comparison) tupleChange(row *graph.Row, removed bool) (*remitv1.TupleChange, error) {
	named, err := backend.RowTuple(d.head.Symbols(), d.head, row)
	if err != nil {
		return nil, err
	}
	m := &remitv1.TupleChange{Kind: remitv1.TupleChange_KIND_ADD}
	if removed {
		m.Kind = remitv1.TupleChange_KIND_REMOVE
	}
	m.Tuple, err = tupleMessage(named)
	return m, err
}

// tupleWritten reports whether a change is one of a tuple that can matter. That one left
// which had expired matters to nobody.
func tupleWritten(c *fsm.Change) bool { return c.Kind == fsm.TuplePut || c.Kind == fsm.TupleDeleted }

// recall goes through the changes between the ends, once.
func (d *comparison) recall(ctx context.Context) error {
	if d.history != nil {
		return nil
	}
	h := &history{reads: reads{}}
	last := d.to.at.Base.Revision()
	if err := d.readsOf(h.reads); err != nil {
		return err
	}
	q := fsm.ChangeQuery{After: fsm.EndOf(d.from.at.Base.Revision())}
	for examined, done := 0, false; !done && !h.tooMany; {
		if err := ctx.Err(); err != nil {
			return err
		}
		page, err := d.reader.Config.State.Changes(d.head.ID(), q)
		if err != nil {
			return err
		}
		for _, c := range page.Changes {
			if c.Revision > last {
				done = true
				break
			}
			switch {
			case c.Kind == fsm.ModelWritten && d.request.ModelId == "":
				h.changes = append(h.changes, pastChange{revision: c.Revision, time: c.Time, model: true})
			case tupleWritten(c) && h.reads[c.Tuple.Userset.Relation] != 0:
				h.changes = append(h.changes, pastChange{
					revision: c.Revision, time: c.Time, userset: c.Tuple.Userset, subject: c.Tuple.Edge.Subject,
				})
			}
		}
		examined += len(page.Changes)
		h.tooMany = examined > examinedChanges || len(h.changes) > keptChanges
		q.After, done = page.Next, done || !page.More
	}
	d.history = h
	return nil
}

// readsOf gathers what the models between the ends read.
func (d *comparison) readsOf(r reads) error {
	for _, p := range []*point{d.from, d.to} {
		if p.fault == nil {
			r.visit(p.relation, readsHere)
		}
	}
	if d.request.ModelId != "" {
		return nil
	}
	for _, m := range d.to.at.Models {
		if m.Revision <= d.from.at.Base.Revision() {
			continue
		}
		p, err := d.point(m.Revision, m.Created)
		if err != nil {
			return err
		}
		if p.fault == nil {
			r.visit(p.relation, readsHere)
		}
	}
	return nil
}

// reads says how the answer about a relation comes to read the tuples of others.
type reads map[model.RelationID]uint8

const (
	readsHere  = 1 << iota // of the object itself
	readsThere             // of objects that tuples lead to
	pivots                 // whatever entity its tuples name: what is read lies there
)

// visit adds what a relation reads.
func (r reads) visit(relation *model.Relation, how uint8) {
	if r[relation.ID]&how == how {
		return
	}
	r[relation.ID] |= how
	r.rewrite(relation, relation.Rewrite, how)
}

func (r reads) rewrite(relation *model.Relation, w *model.Rewrite, how uint8) {
	switch w.Op {
	case model.OpDirect:
		for i := range relation.Allowed {
			if behind := relation.Allowed[i].Relation; behind != nil {
				r.visit(behind, readsThere)
			}
		}
	case model.OpComputed:
		r.visit(w.Relation, how)
	case model.OpTupleToUserset:
		r.visit(w.Tupleset, how)
		r[w.Tupleset.ID] |= pivots
		for _, computed := range w.Computed {
			r.visit(computed, readsThere)
		}
	default:
		for _, child := range w.Children {
			r.rewrite(relation, child, how)
		}
	}
}

// matters reports whether a tuple can decide whether a subject has access to an object.
func (r reads) matters(u graph.Userset, s graph.Subject, object graph.ID, subject graph.Subject) bool {
	how := r[u.Relation]
	switch {
	case how == 0, how&readsThere == 0 && u.Object != object:
		return false
	case how&pivots != 0, s.Relation != 0, s.ID.IsWildcard():
		return true
	default:
		return s == subject
	}
}
