package rpc

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// readWork bounds the tuples that one page looks at. A filter that matches few of very
// many gives short pages, even empty ones, rather than one that takes for ever.
const readWork = 100_000

// Read pages through the tuples that match a filter, all at one revision.
func (s *tupleService) Read(ctx context.Context, req *remitv1.ReadRequest) (*remitv1.ReadResponse, error) {
	size, text := pageSize(req.PageSize, defaultTuples), req.Cursor
	req.Cursor, req.PageSize = "", 0
	sum, err := fingerprint(req)
	if err != nil {
		return nil, err
	}
	var state snapshot
	var after graph.Row
	if text == "" {
		state, err = s.reader.snapshot(ctx, "store", req.Store, "consistency", req.Consistency)
	} else {
		var c *cursor
		if c, err = parseCursor(text, cursorTuples, sum); err == nil {
			after, err = rowPosition(c.position)
		}
		if err != nil {
			return nil, at("cursor", err)
		}
		state, err = s.reader.pinned(ctx, "store", req.Store, c)
	}
	if err != nil {
		return nil, err
	}
	f, err := newFilter(&state, req.Filter)
	if err != nil {
		return nil, err
	}
	rows, more, err := f.page(ctx, after, size)
	if err != nil {
		return nil, err
	}
	res := &remitv1.ReadResponse{Token: s.reader.token(state.base.Revision()), Tuples: make([]*remitv1.StoredTuple, len(rows))}
	for i := range rows {
		tuple, err := rowMessage(state.symbols, state.base, &rows[i])
		if err != nil {
			return nil, err
		}
		res.Tuples[i] = &remitv1.StoredTuple{Tuple: tuple, WrittenAt: timestamppb.New(time.UnixMilli(rows[i].Written))}
	}
	if more {
		c := cursor{
			kind: cursorTuples, epoch: s.reader.epoch(), store: state.head.ID(), revision: state.base.Revision(),
			position: appendRow(nil, &f.after), request: sum,
		}
		res.Cursor = c.String()
	}
	return res, nil
}

func appendRow(b []byte, row *graph.Row) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(row.Userset.Object))
	b = binary.BigEndian.AppendUint32(b, uint32(row.Userset.Relation))
	return appendSubject(b, row.Edge.Subject)
}

func rowPosition(b []byte) (row graph.Row, err error) {
	d := decoder{b: b}
	row.Userset.Object = graph.ID(d.uint64())
	row.Userset.Relation = model.RelationID(d.uint32())
	row.Edge.Subject = d.subject()
	if !d.done() {
		err = ErrCursor
	}
	return row, err
}

// A filter is a TupleFilter in ids.
type filter struct {
	view graph.Scanner

	from, to  graph.ID                      // objects, as in graph.RowCursor
	relations map[model.RelationID]struct{} // nil: all
	subject   graph.Subject                 // exactly this one, unless its ID is 0
	kind      model.TypeID                  // subjects of this type, unless it is 0
	nothing   bool                          // it names an entity that the store does not know

	// byRelation are the relations to look up one after the other when the subject is
	// known and the object is not; in the order of their ids.
	byRelation []model.RelationID

	after graph.Row // the last row that was looked at
}

func newFilter(s *snapshot, m *remitv1.TupleFilter) (*filter, error) {
	p, err := patternOf(m)
	if err != nil {
		return nil, err
	}
	f := &filter{view: s.base}
	var objectType model.TypeID
	if p.objectType != "" {
		if objectType, err = storedType(s.symbols, p.objectType); err != nil {
			return nil, at("filter.object", err)
		}
		f.from, f.to = graph.MakeID(objectType, 0), graph.MakeID(objectType+1, 0)-1
		if p.hasObjectID {
			if f.from, err = f.lookup(objectType, p.objectID); err != nil {
				return nil, err
			}
			f.to = f.from
		}
	}
	if p.relation != "" {
		if f.relations, err = relationsNamed(s.symbols, objectType, p.objectType, p.relation); err != nil {
			return nil, at("filter.relation", err)
		}
	}
	if p.subjectType != "" {
		if err := f.setSubject(s.symbols, p); err != nil {
			return nil, at("filter.subject", err)
		}
	}
	if f.subject.ID != 0 && f.from != f.to || f.subject.ID != 0 && f.from == 0 {
		for _, r := range s.symbols.All().Relations {
			_, wanted := f.relations[r.ID]
			if (f.relations == nil || wanted) && (objectType == 0 || r.Type == objectType) {
				f.byRelation = append(f.byRelation, r.ID)
			}
		}
	}
	return f, nil
}

func (f *filter) setSubject(symbols *model.Table, p pattern) (err error) {
	if f.kind, err = storedType(symbols, p.subjectType); err != nil {
		return err
	}
	if !p.hasSubjectID {
		return nil
	}
	if p.subjectRelation != "" {
		if f.subject.Relation, err = storedRelation(symbols, f.kind, p.subjectType, p.subjectRelation); err != nil {
			return err
		}
	}
	f.subject.ID, err = f.lookup(f.kind, p.subjectID)
	return err
}

// lookup finds an entity; if the store does not know it, nothing matches.
func (f *filter) lookup(t model.TypeID, name string) (graph.ID, error) {
	id, ok, err := f.view.Lookup(t, name)
	if !ok {
		f.nothing = true
	}
	return id, err
}

// relationsNamed finds the relations of a name, of one type or, if it is 0, of all.
func relationsNamed(symbols *model.Table, t model.TypeID, typeName, name string) (map[model.RelationID]struct{}, error) {
	found := map[model.RelationID]struct{}{}
	if t != 0 {
		id, err := storedRelation(symbols, t, typeName, name)
		found[id] = struct{}{}
		return found, err
	}
	for _, r := range symbols.All().Relations {
		if r.Name == name {
			found[r.ID] = struct{}{}
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%w: no version of the store's model has a relation %q", graph.ErrRelationNotFound, name)
	}
	return found, nil
}

// page returns the next rows behind one, at most size, and whether there may be more.
func (f *filter) page(ctx context.Context, after graph.Row, size int) (rows []graph.Row, more bool, err error) {
	f.after = after
	if f.nothing {
		return nil, false, nil
	}
	work := 0
	visit := func(row *graph.Row) bool {
		if len(rows) == size || work == readWork {
			more = true
			return false
		}
		work++
		f.after = *row
		if f.matches(row) {
			rows = append(rows, *row)
		}
		return true
	}
	if f.byRelation != nil {
		err = f.eachOfSubject(ctx, visit)
	} else {
		err = f.eachRow(ctx, visit)
	}
	return rows, more, err
}

func (f *filter) matches(row *graph.Row) bool {
	if f.relations != nil {
		if _, ok := f.relations[row.Userset.Relation]; !ok {
			return false
		}
	}
	s := row.Edge.Subject
	return (f.kind == 0 || s.ID.Type() == f.kind) && (f.subject.ID == 0 || s == f.subject)
}

// eachRow goes through the rows of the objects in question.
func (f *filter) eachRow(ctx context.Context, visit func(*graph.Row) bool) error {
	c := graph.RowCursor{From: f.from, To: f.to, After: f.after}
	for !c.Done {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.view.Rows(&c); err != nil {
			return err
		}
		for i := range c.Rows {
			if !visit(&c.Rows[i]) {
				return nil
			}
		}
	}
	return nil
}

// eachOfSubject goes through the rows of one subject: by relation, then by object.
func (f *filter) eachOfSubject(ctx context.Context, visit func(*graph.Row) bool) error {
	begin := f.after
	var c graph.Cursor
	for _, relation := range f.byRelation {
		if relation < begin.Userset.Relation {
			continue
		}
		c.Reset(graph.Subject{})
		if relation == begin.Userset.Relation {
			c.After.ID = begin.Userset.Object
		}
		for !c.Done {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := f.view.Objects(relation, f.subject, &c); err != nil {
				return err
			}
			for i := range c.Edges {
				row, err := f.row(graph.Userset{Object: c.Edges[i].Subject.ID, Relation: relation})
				if err != nil {
					return err
				}
				if !visit(&row) {
					return nil
				}
			}
		}
	}
	return nil
}

// row finds the row of a userset and the filter's subject: an edge alone does not say
// when it was written.
func (f *filter) row(u graph.Userset) (graph.Row, error) {
	before := graph.Row{Userset: u, Edge: graph.Edge{Subject: f.subject}}
	before.Edge.Subject.ID--
	c := graph.RowCursor{From: u.Object, To: u.Object, After: before}
	if err := f.view.Rows(&c); err != nil {
		return graph.Row{}, err
	}
	if len(c.Rows) == 0 || c.Rows[0].Userset != u || c.Rows[0].Edge.Subject != f.subject {
		return graph.Row{}, fmt.Errorf("the index of subjects names a tuple of %v that does not exist", u)
	}
	return c.Rows[0], nil
}
