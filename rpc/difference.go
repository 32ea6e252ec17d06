package rpc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/graph/value"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// Bounds of one page of DiffAccess.
const (
	defaultDifferences = 100
	// comparedPerPage is how much of either list a page goes through.
	comparedPerPage = 10_000
	// checksPerPage is after how many checks a page ends, with a difference that is whole.
	checksPerPage = 5_000
)

// DiffAccess compares what a subject, or an object, had at two moments.
func (s *accessService) DiffAccess(ctx context.Context, req *remitv1.DiffAccessRequest) (*remitv1.DiffAccessResponse, error) {
	size, text := pageSize(req.PageSize, defaultDifferences), req.Cursor
	req.Cursor, req.PageSize = "", 0
	d, after, err := s.reader.compare(ctx, req, text)
	if err != nil {
		return nil, err
	}
	res := &remitv1.DiffAccessResponse{From: d.from.at.moment(), To: d.to.at.moment(), Token: d.to.at.Token()}
	entries, limit, more, err := d.entries(ctx, after)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if len(res.Differences) == size || d.checks >= checksPerPage {
			limit, more = after, true
			break
		}
		difference, err := d.difference(ctx, entry)
		if err != nil {
			return nil, err
		}
		if difference != nil {
			res.Differences = append(res.Differences, difference)
		}
		after = entry
	}
	if more {
		res.Cursor = d.next(limit)
	}
	return res, nil
}

// A comparison is a DiffAccess under way.
type comparison struct {
	reader  *reader
	request *remitv1.DiffAccessRequest
	sum     uint64 // of the request, for cursors
	head    *fsm.Store
	given   value.Map

	from, to *point
	points   map[pointKey]*point
	checks   int

	// What changed in between, once it is asked for; see cause.go.
	history *history
}

// A point is a state and an instant at which access is looked at.
type point struct {
	at *question

	// fault says that the model of the time does not know what is asked for, so that
	// nobody had access to anything.
	fault error

	userset  graph.Userset // of a subject's access, with the relation alone
	relation *model.Relation
	subject  graph.Subject     // of a subject's access
	kind     graph.SubjectKind // of an object's
}

type pointKey struct {
	revision graph.Revision
	at       int64 // in nanoseconds since 1970 UTC
}

// compare opens both ends of a comparison, or those of the page before.
func (r *reader) compare(ctx context.Context, req *remitv1.DiffAccessRequest, text string) (d *comparison, after graph.Subject, err error) {
	d = &comparison{reader: r, request: req, points: map[pointKey]*point{}}
	if d.sum, err = fingerprint(req); err != nil {
		return nil, after, err
	}
	if d.given, err = contextOf("context", req.Context); err != nil {
		return nil, after, err
	}
	var from, to backend.Snapshot
	var begin, end time.Time
	if text == "" {
		from, begin, to, end, err = r.ends(ctx, req)
	} else {
		from, begin, to, end, after, err = r.sameEnds(ctx, req, d.sum, text)
	}
	if err != nil {
		return nil, after, err
	}
	d.head = to.Head
	if d.from, err = d.open(from, begin); err != nil {
		return nil, after, err
	}
	if d.to, err = d.open(to, end); err != nil {
		return nil, after, err
	}
	for _, p := range []*point{d.from, d.to} {
		if p.at.Plan != nil {
			if err := p.at.checkContext("context", d.given); err != nil {
				return nil, after, err
			}
		}
	}
	if d.from.fault != nil && d.to.fault != nil {
		return nil, after, d.to.fault
	}
	return d, after, nil
}

// ends finds the two moments of a request.
func (r *reader) ends(ctx context.Context, req *remitv1.DiffAccessRequest) (from backend.Snapshot, begin time.Time, to backend.Snapshot, end time.Time, err error) {
	if !exact(req.From) {
		err = at("from", fmt.Errorf("%w: it must name a moment: at_exact_time, at_exact_revision or at_exact_snapshot", backend.ErrRequest))
		return from, begin, to, end, err
	}
	if from, err = r.snapshot(ctx, "store", req.Store, "from", req.From); err != nil {
		return from, begin, to, end, err
	}
	if to, err = r.snapshot(ctx, "store", req.Store, "to", req.To); err != nil {
		return from, begin, to, end, err
	}
	begin, end = from.AsOf, to.AsOf
	if end.IsZero() {
		end = r.Now()
	}
	if from.Base.Revision() > to.Base.Revision() || begin.After(end) {
		err = at("to", fmt.Errorf("%w: the later moment, revision %d of %s, lies before the earlier one, revision %d of %s", backend.ErrRequest,
			to.Base.Revision(), end.Format(time.RFC3339Nano), from.Base.Revision(), begin.Format(time.RFC3339Nano)))
	}
	return from, begin, to, end, err
}

// sameEnds finds the two moments of the page before, and where it ended.
func (r *reader) sameEnds(ctx context.Context, req *remitv1.DiffAccessRequest, sum uint64, text string) (from backend.Snapshot, begin time.Time, to backend.Snapshot, end time.Time, after graph.Subject, err error) {
	c, err := parseCursor(text, cursorDifferences, sum)
	if err != nil {
		return from, begin, to, end, after, at("cursor", err)
	}
	p := decoder{b: c.position}
	revision, seconds, nanos := graph.Revision(p.uint64()), int64(p.uint64()), int64(p.uint32())
	if after = p.subject(); !p.done() {
		return from, begin, to, end, after, at("cursor", ErrCursor)
	}
	if to, err = r.pinned(ctx, "store", req.Store, c); err != nil {
		return from, begin, to, end, after, err
	}
	if from, err = r.PastOf(to.Head, revision); errors.Is(err, fsm.ErrRevisionGone) {
		err = at("cursor", ErrCursorExpired)
	}
	return from, time.Unix(seconds, nanos).UTC(), to, c.at, after, err
}

// next is the cursor of the page behind an entry.
func (d *comparison) next(after graph.Subject) string {
	begin := d.from.at.At
	b := binary.BigEndian.AppendUint64(nil, uint64(d.from.at.Base.Revision()))
	b = binary.BigEndian.AppendUint64(b, uint64(begin.Unix()))
	b = binary.BigEndian.AppendUint32(b, uint32(begin.Nanosecond()))
	c := cursor{
		kind: cursorDifferences, epoch: d.reader.Epoch(), store: d.head.ID(), revision: d.to.at.Base.Revision(),
		at: d.to.at.At, position: appendSubject(b, after), request: d.sum,
	}
	return c.String()
}

// point looks at a revision at an instant.
func (d *comparison) point(revision graph.Revision, instant time.Time) (*point, error) {
	key := pointKey{revision, instant.UnixNano()}
	if p, ok := d.points[key]; ok {
		return p, nil
	}
	snapshot, err := d.reader.PastOf(d.head, revision)
	if err != nil {
		return nil, err
	}
	p, err := d.open(snapshot, instant)
	if err != nil {
		return nil, err
	}
	d.points[key] = p
	return p, nil
}

// open resolves what is asked for by the model of a state. The names are those of now:
// an entity that came later has no tuples then, but it may have been meant by everybody.
func (d *comparison) open(snapshot backend.Snapshot, instant time.Time) (*point, error) {
	q := &question{backend.Question{Snapshot: snapshot, Reader: d.reader.Reader, At: instant, Given: d.given}}
	p := &point{at: q}
	var err error
	if q.Plan, err = d.reader.Plan(&q.Snapshot, "model_id", d.request.ModelId); err != nil {
		if errors.Is(err, backend.ErrModelNotFound) {
			p.fault, err = err, nil
		}
		return p, err
	}
	switch of := d.request.Of.(type) {
	case *remitv1.DiffAccessRequest_Subject:
		err = p.subjectAccess(d.head, of.Subject)
	case *remitv1.DiffAccessRequest_Object:
		err = p.objectAccess(d.head, of.Object)
	}
	if errors.Is(err, graph.ErrTypeNotFound) || errors.Is(err, graph.ErrRelationNotFound) {
		p.fault, err = err, nil
	}
	return p, err
}

func (p *point) subjectAccess(head *fsm.Store, m *remitv1.SubjectAccess) error {
	plan := p.at.Plan.Plan
	t, err := graph.ResolveType(plan, "type", m.Type)
	if err != nil {
		return at("subject.type", err)
	}
	if p.relation, err = backend.RelationOf(plan, t, m.Relation); err != nil {
		return at("subject.relation", err)
	}
	p.userset.Relation = p.relation.ID
	if p.subject, err = p.at.Subject(m.Subject); err != nil {
		return under("subject", err)
	}
	p.subject.ID, err = known(head, m.Subject, p.subject.ID)
	return err
}

func (p *point) objectAccess(head *fsm.Store, m *remitv1.ObjectAccess) error {
	plan := p.at.Plan.Plan
	var err error
	if p.userset, err = p.at.Userset(m.Object, m.Relation); err != nil {
		return under("object", err)
	}
	if p.userset.Object, err = known(head, m.Object, p.userset.Object); err != nil {
		return err
	}
	p.relation = plan.Relation(p.userset.Relation)
	if p.kind.Type, err = graph.ResolveType(plan, "subject_type", m.SubjectType); err != nil {
		return at("object.subject_type", err)
	}
	if m.SubjectRelation != "" {
		if p.kind.Relation, err = backend.RelationOf(plan, p.kind.Type, m.SubjectRelation); err != nil {
			return at("object.subject_relation", err)
		}
	}
	return nil
}

// known is the id of an entity in the newest state, if it has one: the same at every
// point, unlike the ids that a question gives to what its state does not know.
func known(head *fsm.Store, text string, id graph.ID) (graph.ID, error) {
	if !id.IsLocal() {
		return id, nil
	}
	name, err := graph.ParseSubject(text)
	if err != nil {
		return id, err
	}
	stored, ok, err := head.Lookup(id.Type(), name.ID)
	if ok {
		return stored, nil
	}
	return id, err
}

// ofSubject reports whether it is a subject's access that is compared, and the entries
// are objects.
func (d *comparison) ofSubject() bool { return d.request.GetSubject() != nil }

// holds answers whether an entry has access at a point.
func (d *comparison) holds(ctx context.Context, p *point, entry graph.Subject) (bool, error) {
	if p.fault != nil {
		return false, nil
	}
	d.checks++
	query := p.at.Query()
	u, subject := d.asked(p, entry)
	return query.Check(ctx, u, subject)
}

// asked is the question of an entry's access.
func (d *comparison) asked(p *point, entry graph.Subject) (graph.Userset, graph.Subject) {
	if d.ofSubject() {
		return graph.Userset{Object: entry.ID, Relation: p.userset.Relation}, p.subject
	}
	return p.userset, entry
}

// entries are what may differ between the ends, in order, behind one and up to a limit;
// more says that there are others behind the limit.
func (d *comparison) entries(ctx context.Context, after graph.Subject) (entries []graph.Subject, limit graph.Subject, more bool, err error) {
	var lists [2][]graph.Subject
	for i, p := range []*point{d.from, d.to} {
		list, complete, err := d.list(ctx, p, after)
		if err != nil {
			return nil, limit, false, err
		}
		if lists[i] = list; !complete {
			if last := list[len(list)-1]; !more || last.Compare(limit) < 0 {
				limit, more = last, true
			}
		}
	}
	excluded, err := d.excluded(ctx)
	if err != nil {
		return nil, limit, false, err
	}
	entries = append(difference(lists[0], lists[1]), excluded...)
	slices.SortFunc(entries, graph.Subject.Compare)
	entries = slices.Compact(entries)
	return slices.DeleteFunc(entries, func(s graph.Subject) bool {
		return s.Compare(after) <= 0 || more && s.Compare(limit) > 0
	}), limit, more, nil
}

// list is who has access at a point, behind an entry. It is cut if it is not complete.
func (d *comparison) list(ctx context.Context, p *point, after graph.Subject) (list []graph.Subject, complete bool, err error) {
	if p.fault != nil {
		return nil, true, nil
	}
	complete = true
	add := func(s graph.Subject) bool {
		if s.ID.IsLocal() {
			return true // an entity that no tuple ever named: only itself
		}
		if len(list) == comparedPerPage {
			complete = false
			return false
		}
		list = append(list, s)
		return true
	}
	query := p.at.Query()
	if d.ofSubject() {
		err = query.ListObjects(ctx, p.relation, p.subject, after.ID, func(id graph.ID) bool { return add(graph.Subject{ID: id}) })
	} else {
		err = query.ListSubjects(ctx, p.userset, p.kind, after, func(l graph.ListedSubject) bool { return add(l.Subject) })
	}
	return list, complete, err
}

// excluded are the entities whom a wildcard grants access at one end but not at the
// other, though it stands at both: a list names them only beside the wildcard.
func (d *comparison) excluded(ctx context.Context) ([]graph.Subject, error) {
	if d.ofSubject() {
		return nil, nil
	}
	var but [2][]graph.Subject
	for i, p := range []*point{d.from, d.to} {
		if p.fault != nil || p.kind.Relation != nil {
			continue
		}
		query := p.at.Query()
		err := query.ListSubjects(ctx, p.userset, p.kind, graph.Subject{}, func(l graph.ListedSubject) bool {
			for _, id := range l.Excluded {
				if !id.IsLocal() {
					but[i] = append(but[i], graph.Subject{ID: id})
				}
			}
			return false // the wildcard comes first, if at all
		})
		if err != nil {
			return nil, err
		}
	}
	return difference(but[0], but[1]), nil
}

// difference is what stands in one of two ordered lists alone.
func difference(a, b []graph.Subject) (alone []graph.Subject) {
	for len(a) > 0 && len(b) > 0 {
		switch order := a[0].Compare(b[0]); {
		case order == 0:
			a, b = a[1:], b[1:]
		case order < 0:
			alone, a = append(alone, a[0]), a[1:]
		default:
			alone, b = append(alone, b[0]), b[1:]
		}
	}
	return append(append(alone, a...), b...)
}

// difference describes an entry, or is nil if its access is the same at both ends: a
// list does not name whom a wildcard stands for.
func (d *comparison) difference(ctx context.Context, entry graph.Subject) (*remitv1.AccessDifference, error) {
	before, err := d.holds(ctx, d.from, entry)
	if err != nil {
		return nil, err
	}
	after, err := d.holds(ctx, d.to, entry)
	if err != nil || before == after {
		return nil, err
	}
	m := &remitv1.AccessDifference{Kind: remitv1.AccessDifference_KIND_LOST}
	if after {
		m.Kind = remitv1.AccessDifference_KIND_GAINED
	}
	name, err := backend.SubjectName(d.head.Symbols(), d.head, entry)
	if err != nil {
		return nil, err
	}
	m.Name = name.String()
	m.Cause, err = d.cause(ctx, entry, after)
	return m, err
}
