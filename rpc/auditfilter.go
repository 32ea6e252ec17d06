package rpc

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// auditBounds are between which changes an audit looks. A time is two bounds: the
// revisions spare the scan what lies outside, as far as it is known when they were; the
// changes' own times decide.
type auditBounds struct {
	from, to         graph.Revision // 0: none
	fromTime, toTime int64          // in milliseconds since 1970 UTC; 0: none
}

// until is the last revision to read, of a state.
func (b *auditBounds) until(newest graph.Revision) graph.Revision {
	if b.to == 0 {
		return newest
	}
	return min(b.to, newest)
}

// auditBounds reads the bounds of a filter.
func (r *reader) auditBounds(root *fsm.Root, f *remitv1.AuditFilter) (b auditBounds, err error) {
	switch from := f.GetFrom().(type) {
	case *remitv1.AuditFilter_Since:
		if b.fromTime, err = auditTime("filter.since", from.Since); err != nil {
			return b, err
		}
		if from.Since.Nanos%1e6 != 0 {
			b.fromTime++ // changes are timed to the millisecond
		}
		if now := r.Now(); b.fromTime > now.UnixMilli()+1 {
			return b, at("filter.since", fmt.Errorf("%w: it lies in the future of %s", backend.ErrRequest, now.Format(time.RFC3339Nano)))
		}
		before, err := r.revisionBefore(b.fromTime)
		if err != nil {
			return b, err
		}
		b.from = before + 1
	case *remitv1.AuditFilter_SinceRevision:
		b.from = graph.Revision(from.SinceRevision)
		if b.from > root.Revision() {
			return b, at("filter.since_revision", fmt.Errorf("%w: it lies in the future: the newest revision is %d", backend.ErrRequest, root.Revision()))
		}
	}
	switch to := f.GetTo().(type) {
	case *remitv1.AuditFilter_Until:
		if b.toTime, err = auditTime("filter.until", to.Until); err != nil {
			return b, err
		}
		if b.to, err = r.revisionBefore(b.toTime + 1); err != nil {
			return b, err
		}
	case *remitv1.AuditFilter_UntilRevision:
		b.to = graph.Revision(to.UntilRevision)
	}
	if b.fromTime != 0 && b.toTime != 0 && b.toTime < b.fromTime {
		return b, at("filter.until", fmt.Errorf("%w: it lies before filter.since", backend.ErrRequest))
	}
	return b, nil
}

// auditTime reads an instant. All changes were made after 1970.
func auditTime(field string, t *timestamppb.Timestamp) (int64, error) {
	instant, err := instantOf(field, t)
	return max(instant.UnixMilli(), 1), err
}

// revisionBefore is the last revision before an instant, in milliseconds since 1970 UTC; 0
// if it is not known.
func (r *reader) revisionBefore(ms int64) (graph.Revision, error) {
	revision, err := r.Config.State.RevisionAt(time.UnixMilli(ms - 1))
	if errors.Is(err, fsm.ErrRevisionGone) {
		return 0, nil
	}
	return revision, err
}

// auditFilter reads what every changelog can be asked.
func auditFilter(f *remitv1.AuditFilter, b *auditBounds, kinds map[remitv1.AuditChange_Kind][]fsm.ChangeKind) (filter *fsm.ChangeFilter, nothing bool) {
	filter = &fsm.ChangeFilter{
		From: b.fromTime, To: b.toTime,
		Principal: f.GetPrincipal(), Actor: f.GetActor(), RequestID: f.GetRequestId(),
	}
	for _, k := range f.GetKinds() {
		filter.Kinds = append(filter.Kinds, kinds[k]...)
	}
	return filter, len(f.GetKinds()) > 0 && len(filter.Kinds) == 0
}

// onTuples refuses what changes of the cluster cannot be asked.
func onTuples(f *remitv1.AuditFilter) error {
	for _, part := range []struct{ field, given string }{{"object", f.GetObject()}, {"relation", f.GetRelation()}, {"subject", f.GetSubject()}} {
		if part.given != "" {
			return at("filter."+part.field, fmt.Errorf("%w: changes of the cluster have no tuples; ask for the changes of a store", backend.ErrRequest))
		}
	}
	return nil
}

// storeFilter reads the filter of a store's changes. Names that its models never had are
// errors; entities that it does not know were in no change.
func storeFilter(store *fsm.Store, f *remitv1.AuditFilter, b *auditBounds) (filter *fsm.ChangeFilter, nothing bool, err error) {
	filter, nothing = auditFilter(f, b, storeKinds)
	p, err := patternOf(&remitv1.TupleFilter{Object: f.GetObject(), Relation: f.GetRelation(), Subject: f.GetSubject()})
	if err != nil {
		return nil, false, err
	}
	l := auditLookup{store: store, nothing: nothing}
	if p.ObjectType != "" {
		filter.ObjectType, filter.Object = l.entity("filter.object", p.ObjectType, p.ObjectID)
	}
	if p.SubjectType != "" {
		filter.SubjectType, filter.Subject = l.entity("filter.subject", p.SubjectType, p.SubjectID)
		if p.SubjectRelation != "" && l.err == nil {
			filter.SubjectRelation, err = backend.StoredRelation(store.Symbols(), filter.SubjectType, p.SubjectType, p.SubjectRelation)
			l.fail("filter.subject", err)
		}
	}
	if p.Relation != "" {
		filter.Relations = l.relations(filter.ObjectType, p.Relation)
	}
	return filter, l.nothing, l.err
}

// An auditLookup finds what names stand for, and keeps the first fault.
type auditLookup struct {
	store   *fsm.Store
	nothing bool // a name is one that the store does not know
	err     error
}

func (l *auditLookup) fail(field string, err error) {
	if l.err == nil && err != nil {
		l.err = at(field, err)
	}
}

// entity finds a type, and the entity if there is a name.
func (l *auditLookup) entity(field, typ, name string) (model.TypeID, graph.ID) {
	t, err := backend.StoredType(l.store.Symbols(), typ)
	if err != nil || name == "" {
		l.fail(field, err)
		return t, 0
	}
	id, known, err := l.store.Lookup(t, name)
	l.fail(field, err)
	l.nothing = l.nothing || !known
	return t, id
}

// relations finds those of a name, of one type or, if it is 0, of all.
func (l *auditLookup) relations(t model.TypeID, name string) (found []model.RelationID) {
	for _, r := range l.store.Symbols().All().Relations {
		if r.Name == name && (t == 0 || r.Type == t) {
			found = append(found, r.ID)
		}
	}
	if len(found) == 0 {
		l.fail("filter.relation", fmt.Errorf("%w: no version of the store's model has such a relation %q", graph.ErrRelationNotFound, name))
	}
	return found
}
