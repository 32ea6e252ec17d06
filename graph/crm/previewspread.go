package crm

import (
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// A previewSpread finds out how far changes reach: from the tuples that are written and
// deleted, along what uses what, to the owners and the records that they can matter to.
// It goes on from a userset outside people and records only if its members really differ,
// so what cancels out on the way ends there. People are gone past without asking, for
// their relations are asked again when their records are looked at.
type previewSpread struct {
	*census
	shape *previewShape

	owners  map[graph.ID]bool        // whose relations may differ
	records map[graph.ID]*recordKind // of whose own tuples, or those of the one above, some do
	edited  map[graph.ID]*recordKind // the tuples of which are written or deleted
	drift   []*crowd                 // by kind: for whom its module differs, or a module below
	seen    map[graph.Userset]bool
	holders map[previewStep]bool
	todo    []graph.Userset
	onward  map[model.RelationID]bool // of people: whether something other than records asks it
}

// A previewStep is to go from an object to those whose tuples of a relation name it.
type previewStep struct {
	tupleset model.RelationID
	object   graph.ID
}

func newPreviewSpread(c *census, shape *previewShape) *previewSpread {
	return &previewSpread{
		census: c, shape: shape,
		owners: map[graph.ID]bool{}, records: map[graph.ID]*recordKind{}, edited: map[graph.ID]*recordKind{},
		seen: map[graph.Userset]bool{}, holders: map[previewStep]bool{}, onward: map[model.RelationID]bool{},
	}
}

func (s *previewSpread) run() error {
	for _, u := range s.edits {
		if k := s.shape.byType[u.Object.Type()]; k != nil {
			s.edited[u.Object] = k
			if err := s.relatives(u.Object, u.Relation); err != nil {
				return err
			}
			continue
		}
		for _, r := range s.shape.readers[u.Relation] {
			s.push(graph.Userset{Object: u.Object, Relation: r})
		}
	}
	for len(s.todo) > 0 {
		u := s.todo[len(s.todo)-1]
		s.todo = s.todo[:len(s.todo)-1]
		if err := s.step(u); err != nil {
			return err
		}
	}
	return s.modules()
}

// push notes a userset whose members may differ.
func (s *previewSpread) push(u graph.Userset) {
	if u.Object.Type() == s.userID {
		s.owners[u.Object] = true
		if !s.leadsOn(u.Relation) {
			return
		}
	}
	if !s.seen[u] {
		s.seen[u] = true
		s.todo = append(s.todo, u)
	}
}

// leadsOn reports whether a relation of people matters to more than their own records.
func (s *previewSpread) leadsOn(r model.RelationID) bool {
	if known, ok := s.onward[r]; ok {
		return known
	}
	s.onward[r] = false // until it is known; relations of people that use each other end here
	leads := len(s.shape.direct[r]) > 0
	for _, a := range s.shape.arrows[r] {
		leads = leads || s.shape.kindOf(a.relation) == nil
	}
	for _, next := range s.shape.computed[r] {
		leads = leads || s.leadsOn(next)
	}
	s.onward[r] = leads
	return leads
}

// kindOf is the kind of records that a relation belongs to, or nil.
func (s *previewShape) kindOf(r model.RelationID) *recordKind {
	return s.byType[s.relations[r].Type.ID]
}

func (s *previewSpread) step(u graph.Userset) error {
	if u.Object.Type() != s.userID {
		differ, err := s.changes(u)
		if differ == nil || err != nil {
			return err
		}
	}
	for _, r := range s.shape.computed[u.Relation] {
		s.push(graph.Userset{Object: u.Object, Relation: r})
	}
	for _, r := range s.shape.direct[u.Relation] {
		k := s.shape.kindOf(r)
		err := s.objects(r, graph.Subject{ID: u.Object, Relation: u.Relation}, func(object graph.ID) error {
			if k == nil {
				s.push(graph.Userset{Object: object, Relation: r})
				return nil
			}
			s.records[object] = k
			return s.relatives(object, r)
		})
		if err != nil {
			return err
		}
	}
	for _, a := range s.shape.arrows[u.Relation] {
		if s.shape.kindOf(a.relation) != nil {
			continue // its owners or its module
		}
		if r := s.shape.relations[a.relation]; r.Type.ID == s.userID && !s.leadsOn(r.ID) {
			step := previewStep{a.tupleset, u.Object}
			if s.holders[step] {
				continue
			}
			s.holders[step] = true
		}
		err := s.objects(a.tupleset, graph.Subject{ID: u.Object}, func(object graph.ID) error {
			s.push(graph.Userset{Object: object, Relation: a.relation})
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// objects goes through the objects whose relation is granted to the subject before the
// changes: those that the changes themselves point to it are found anyway.
func (s *census) objects(r model.RelationID, subject graph.Subject, f func(graph.ID) error) error {
	var c graph.Cursor
	for !c.Done {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		if err := s.base.Objects(r, subject, &c); err != nil {
			return err
		}
		for i := range c.Edges {
			if err := f(c.Edges[i].Subject.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// relatives notes the records below one whose related shares may differ.
func (s *previewSpread) relatives(record graph.ID, r model.RelationID) error {
	for _, k := range s.shape.byType[record.Type()].related {
		asked := false
		for _, q := range k.parentAsked[record.Type()] {
			asked = asked || q == r
		}
		if !asked {
			continue
		}
		err := s.objects(k.parent, graph.Subject{ID: record}, func(object graph.ID) error {
			s.records[object] = k
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// modules finds out for whom what each module says differs.
func (s *previewSpread) modules() error {
	s.drift = make([]*crowd, len(s.shape.kinds))
	for i, k := range s.shape.kinds {
		if s.plans[sideBefore].TypeByID(k.id) == nil {
			continue // all its records are new
		}
		if k.changed || s.shape.whole {
			s.drift[i] = s.all
			continue
		}
		for _, r := range k.moduleAsked {
			differ, err := s.changes(graph.Userset{Object: k.module, Relation: r})
			if err != nil {
				return err
			}
			s.drift[i] = s.combine(crowdUnion, s.drift[i], differ)
		}
	}
	return nil
}
