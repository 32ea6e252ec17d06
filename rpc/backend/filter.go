package backend

import (
	"context"
	"errors"
	"fmt"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// A Pattern is a filter of tuples, by name. Empty parts match everything.
type Pattern struct {
	ObjectType, ObjectID                    string
	Relation                                string
	SubjectType, SubjectID, SubjectRelation string
	HasObjectID, HasSubjectID               bool
}

// A Filter is a Pattern in ids: it pages through the tuples that match.
type Filter struct {
	view graph.Scanner

	from, to  graph.ID                      // objects, as in graph.RowCursor
	relations map[model.RelationID]struct{} // nil: all
	subject   graph.Subject                 // exactly this one, unless its ID is 0
	kind      model.TypeID                  // subjects of this type, unless it is 0
	nothing   bool                          // it names an entity that the store does not know

	// byRelation are the relations to look up one after the other when the subject is
	// known and the object is not; in the order of their ids.
	byRelation []model.RelationID

	after graph.Row   // the last row that was looked at
	page  []graph.Row // for row, which would else take one from the heap for every tuple
}

// NewFilter looks the pattern's names up. Faults name the fields filter.object,
// filter.relation and filter.subject. Names that the models of the store never had are
// errors, entities that it does not know match nothing.
func NewFilter(s *Snapshot, p Pattern) (*Filter, error) {
	f := &Filter{view: s.Base}
	var objectType model.TypeID
	var err error
	if p.ObjectType != "" {
		if objectType, err = StoredType(s.Symbols, p.ObjectType); err != nil {
			return nil, At("filter.object", err)
		}
		f.from, f.to = graph.MakeID(objectType, 0), graph.MakeID(objectType+1, 0)-1
		if p.HasObjectID {
			if f.from, err = f.lookup(objectType, p.ObjectID); err != nil {
				return nil, err
			}
			f.to = f.from
		}
	}
	if p.Relation != "" {
		if f.relations, err = relationsNamed(s.Symbols, objectType, p.ObjectType, p.Relation); err != nil {
			return nil, At("filter.relation", err)
		}
	}
	if p.SubjectType != "" {
		if err := f.setSubject(s.Symbols, p); err != nil {
			return nil, At("filter.subject", err)
		}
	}
	if f.subject.ID != 0 && f.from != f.to || f.subject.ID != 0 && f.from == 0 {
		for _, r := range s.Symbols.All().Relations {
			_, wanted := f.relations[r.ID]
			if (f.relations == nil || wanted) && (objectType == 0 || r.Type == objectType) {
				f.byRelation = append(f.byRelation, r.ID)
			}
		}
	}
	return f, nil
}

func (f *Filter) setSubject(symbols *model.Table, p Pattern) (err error) {
	if f.kind, err = StoredType(symbols, p.SubjectType); err != nil {
		return err
	}
	if !p.HasSubjectID {
		return nil
	}
	if p.SubjectRelation != "" {
		if f.subject.Relation, err = StoredRelation(symbols, f.kind, p.SubjectType, p.SubjectRelation); err != nil {
			return err
		}
	}
	f.subject.ID, err = f.lookup(f.kind, p.SubjectID)
	return err
}

// lookup finds an entity; if the store does not know it, nothing matches.
func (f *Filter) lookup(t model.TypeID, name string) (graph.ID, error) {
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
		id, err := StoredRelation(symbols, t, typeName, name)
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

// After is the last row that a page looked at: where the next one begins.
func (f *Filter) After() graph.Row { return f.after }

// Page returns the next rows behind one, at most size, and whether there may be more.
// It may return fewer, even none, although there are more.
func (f *Filter) Page(ctx context.Context, after graph.Row, size int) (rows []graph.Row, more bool, err error) {
	f.after = after
	if f.nothing {
		return nil, false, nil
	}
	work := 0
	visit := func(row *graph.Row) bool {
		if len(rows) == size || work == pageWork {
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
	err = f.visit(ctx, visit)
	return rows, more, err
}

// Each yields all rows that match, until yield returns an error.
func (f *Filter) Each(ctx context.Context, yield func(*graph.Row) error) error {
	f.after = graph.Row{}
	if f.nothing {
		return nil
	}
	var fault error
	err := f.visit(ctx, func(row *graph.Row) bool {
		if f.matches(row) {
			fault = yield(row)
		}
		return fault == nil
	})
	return errors.Join(fault, err)
}

// visit goes through the rows in question behind f.after, by the shortest way.
func (f *Filter) visit(ctx context.Context, visit func(*graph.Row) bool) error {
	if f.byRelation != nil {
		return f.eachOfSubject(ctx, visit)
	}
	return f.eachRow(ctx, visit)
}

func (f *Filter) matches(row *graph.Row) bool {
	if f.relations != nil {
		if _, ok := f.relations[row.Userset.Relation]; !ok {
			return false
		}
	}
	s := row.Edge.Subject
	return (f.kind == 0 || s.ID.Type() == f.kind) && (f.subject.ID == 0 || s == f.subject)
}

// eachRow goes through the rows of the objects in question.
func (f *Filter) eachRow(ctx context.Context, visit func(*graph.Row) bool) error {
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
func (f *Filter) eachOfSubject(ctx context.Context, visit func(*graph.Row) bool) error {
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
func (f *Filter) row(u graph.Userset) (graph.Row, error) {
	before := graph.Row{Userset: u, Edge: graph.Edge{Subject: f.subject}}
	before.Edge.Subject.ID--
	c := graph.RowCursor{From: u.Object, To: u.Object, After: before, Rows: f.page}
	if err := f.view.Rows(&c); err != nil {
		return graph.Row{}, err
	}
	f.page = c.Rows
	if len(c.Rows) == 0 || c.Rows[0].Userset != u || c.Rows[0].Edge.Subject != f.subject {
		return graph.Row{}, fmt.Errorf("the index of subjects names a tuple of %v that does not exist", u)
	}
	return c.Rows[0], nil
}
