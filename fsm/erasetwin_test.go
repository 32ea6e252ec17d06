package fsm

import (
	"slices"

	"github.com/remit-authz/remit/graph"
)

// An eraser erases now and then in the twin's stores, one entity at a time, in small steps
// among other commands, some of which come twice or by somebody who begins anew.
type eraser struct {
	*chance
	twin   *twin
	store  StoreID
	entity Entity
	id     ErasureID
	by     string
	made   byte
	done   map[ErasureID]bool
}

// active reports whether an erasure is going on: a store can go with its own.
func (x *eraser) active() bool {
	s := x.twin.stores[x.store]
	return s != nil && s.erasing != nil
}

// commands are the steps of the next entry.
func (x *eraser) commands(more bool) (steps []*Command) {
	if !x.active() {
		x.store = storeNumber(byte(x.IntN(2)))
		if s := x.twin.stores[x.store]; !more || x.IntN(12) > 0 || s == nil || !s.model {
			x.entity = Entity{}
			return nil
		}
		entities := []Entity{
			{typeUser, "anna"},
			{typeUser, "bert"},
			{typeGroup, "eng"},
			{typeGroup, "hr"},
			{typeDocument, "plan"},
			{typeDocument, "x"},
			{typeDocument, "a|b/c.d@e"},
			{typeUser, "nobody"},
			{0, "dora"},
		}
		x.entity = entities[x.IntN(len(entities))]
		return append(steps, x.begin())
	}
	for range x.IntN(3) {
		switch x.IntN(8) {
		case 0:
			steps = append(steps, x.begin())
		case 1:
			steps = append(steps, &Command{Store: x.store, Body: &Erase{ID: erasureNumber(255)}})
		default:
			steps = append(steps, &Command{Store: x.store, Principal: x.pick("p", "anna"), Body: &Erase{ID: x.id, Limit: uint64(1 + x.IntN(30))}})
		}
	}
	return steps
}

func (x *eraser) begin() *Command {
	x.made++
	return &Command{Store: x.store, Principal: "p", Body: &Erase{ID: erasureNumber(x.made), Entity: x.entity, Limit: uint64(1 + x.IntN(10))}}
}

// avoid takes out of a command what depends on how far an erasure is. A write that would
// name the entity is refused whole.
func (x *eraser) avoid(c *Command) *Command {
	b, ok := c.Body.(*Write)
	if !ok || x.entity == (Entity{}) || c.Store != x.store {
		return c
	}
	c.Preconditions = slices.DeleteFunc(c.Preconditions, func(p Precondition) bool {
		return p.Entity == x.entity || p.Tuple.Object == x.entity || p.Tuple.Subject == x.entity
	})
	b.Operations = slices.DeleteFunc(b.Operations, func(o Operation) bool {
		return o.Entity == x.entity || o.Tuple.Object == x.entity || o.Tuple.Subject == x.entity
	})
	if x.active() && x.IntN(10) == 0 {
		switch x.entity.Type {
		case typeUser:
			b.Operations = append(b.Operations, touch(viewer("memo", x.entity.Name)))
		case typeDocument:
			b.Operations = append(b.Operations, Operation{Kind: PutDocument, Entity: x.entity, Fields: mustFields(x.t, nil)})
		}
	}
	return c
}

// apply follows a step by its answer, since only the state knows how far it came.
func (x *eraser) apply(c *Command, r *Result, rev graph.Revision) error {
	s, b := x.twin.stores[c.Store], c.Body.(*Erase)
	switch {
	case s == nil:
		return ErrStoreNotFound
	case r.Erased == nil && b.ID == erasureNumber(255):
		return ErrErasureNotFound
	case r.Erased == nil && !s.model && b.Entity != (Entity{}): // and not one that was under way
		return ErrSymbol
	case s.erasing == nil && s.managed && s.uses(b.Entity):
		return ErrManaged
	case r.Erased == nil: // of a store that went with its erasures and came back
		return ErrErasureNotFound
	}
	x.id = r.Erased.ID
	if s.erasing == nil && !x.done[x.id] {
		e := b.Entity
		s.erasing, x.by = &e, c.Principal
		if s.managed && s.versions[e] > 0 { // it has no tuples, so the first step comes as far as this
			s.scopes[ErasedScope]++
		}
		s.eraseHead(e)
	}
	if s.erasing != nil && !r.Remaining {
		x.done[x.id] = true
		x.twin.erased(c.Store, rev, x.by)
	}
	return nil
}

func named(o *Operation, e Entity) bool {
	switch o.Kind {
	case CreateTuple, TouchTuple, EnsureTuple:
		return o.Tuple.Object == e || o.Tuple.Subject == e
	case PutDocument:
		return o.Entity == e
	}
	return false
}

func (s *twinStore) eraseHead(e Entity) {
	for k := range s.tuples {
		if k.Object == e || k.Subject == e {
			delete(s.tuples, k)
		}
	}
	delete(s.documents, e)
	delete(s.versions, e)
}

// erased takes the entity out of every revision, and out of what is told of them.
func (w *twin) erased(store StoreID, rev graph.Revision, who string) {
	s := w.stores[store]
	e := *s.erasing
	s.erasing = nil
	for _, then := range w.past {
		old := then[store]
		if old == nil {
			continue
		}
		old.eraseHead(e)
		for k, t := range old.tuples {
			if fieldsMention([]byte(t.context), e.Name) && s.tuples[k] != t {
				delete(old.tuples, k)
			}
		}
		for k, d := range old.documents {
			if fieldsMention([]byte(d.fields), e.Name) && s.documents[k] != d {
				delete(old.documents, k)
			}
		}
	}
	s.note(rev, EntityErased, 0).who = who
	for i := range s.changes {
		c := &s.changes[i]
		if slices.Contains(c.about, e) || fieldsMention([]byte(c.content), e.Name) {
			*c = twinChange{revision: c.revision, kind: ChangeErased, who: c.who, anywhere: c.anywhere}
		}
		if mentions(c.who, e.Name) {
			c.who = ""
		}
	}
}
