package graph

import (
	"context"
	"fmt"
	"slices"

	"github.com/remit-authz/remit/graph/model"
)

// ListSubjects yields the subjects of a kind that have the relation to the object, in
// the order of Subject.Compare, beginning behind after. It ends early when yield
// returns false.
//
// If an entity that no tuple mentions would have the relation, the type's wildcard
// comes first, with the known entities that do not have the relation; then an entity
// is listed only if a tuple that mentions it grants it something on the way, for the
// wildcard speaks for all others. A subject that cannot be decided is an error of the
// list.
func (q *Query) ListSubjects(ctx context.Context, u Userset, kind SubjectKind, after Subject, yield func(ListedSubject) bool) error {
	r := q.Plan.Relation(u.Relation)
	switch {
	case r == nil:
		return fmt.Errorf("relation %d: %w", u.Relation, ErrRelationNotFound)
	case r.Type.ID != u.Object.Type() || u.Object.IsWildcard():
		return fmt.Errorf("object %v for relation %s#%s: %w", u.Object, r.Type.Name, r.Name, ErrInvalid)
	}
	e := newEvaluator(ctx, q)
	defer e.release()
	w := survey{evaluator: e, kind: kind, seen: map[goal]standing{}, found: map[ID]standing{}}
	if err := w.run(u.Object, r); err != nil && !e.keepGoing {
		return err
	}
	if e.passed != nil && !e.keepGoing {
		return e.passed
	}
	e.maxDepth = unlimited // nothing that a check will ask is as far away
	if kind.Relation != nil {
		return w.usersets(u, after, yield)
	}
	return w.entities(u, after, yield)
}

// A standing says how a goal bears on the question, or how an entity is mentioned.
type standing uint8

const (
	subtracts standing = 1 << iota // below an odd number of subtractions
	adds                           // below an even number
	grants                         // below unions only, by tuples that surely count
)

// A survey walks from the object to all that its relation depends on, subtracted
// sides too, and collects whom the tuples mention. No other subject can differ from
// one that nobody knows.
type survey struct {
	*evaluator
	kind   SubjectKind
	seen   map[goal]standing
	found  map[ID]standing
	todo   []visited // in the order of their depths, so that the first way is the shortest
	having []bool    // by relation: whether it can have any of the kind; nil until needed
	cursor Cursor
}

type visited struct {
	object   ID
	relation *model.Relation
	depth    uint32 // counting steps from relation to relation, too
	standing standing
}

func (w *survey) run(object ID, r *model.Relation) error {
	w.about(Subject{})
	w.visit(object, r, 0, adds|grants)
	for len(w.todo) > 0 && w.fatal == nil {
		next := w.todo[0]
		w.todo = w.todo[1:]
		w.rewrite(next, next.relation.Rewrite, next.standing)
	}
	return w.fatal
}

// visit notes a goal and walks it for what is new about its standing.
func (w *survey) visit(object ID, r *model.Relation, depth uint32, s standing) {
	g := goal{object: object, relation: r.ID}
	known, again := w.seen[g]
	switch {
	case again && known|s == known:
		return
	case !again && depth == w.maxDepth:
		if w.has(r) {
			w.fatal = ErrDepth
		}
		return
	}
	w.charge(1)
	w.seen[g] = known | s
	w.todo = append(w.todo, visited{object: object, relation: r, depth: depth, standing: s})
	if w.kind.Relation == r {
		w.found[object] |= s
	}
}

// has reports whether the relation can have any of the kind.
func (w *survey) has(r *model.Relation) bool {
	if w.having == nil {
		s := Subject{ID: Wildcard(w.kind.Type.ID)}
		if w.kind.Relation != nil {
			s.Relation = w.kind.Relation.ID
		}
		w.having = usesOf(w.plan).having(s)
	}
	return w.having[r.ID]
}

func (w *survey) rewrite(v visited, rw *model.Rewrite, s standing) {
	switch rw.Op {
	case model.OpDirect:
		w.tuples(v, v.relation, s, nil)
	case model.OpComputed:
		w.visit(v.object, rw.Relation, v.depth+1, s)
	case model.OpTupleToUserset:
		w.tuples(v, rw.Tupleset, s, rw)
	case model.OpUnion:
		for _, child := range rw.Children {
			w.rewrite(v, child, s)
		}
	case model.OpIntersection:
		for _, child := range rw.Children {
			w.rewrite(v, child, s&^grants)
		}
	case model.OpExclusion:
		w.rewrite(v, rw.Children[0], s&^grants)
		var turned standing
		if s&adds != 0 {
			turned |= subtracts
		}
		if s&subtracts != 0 {
			turned |= adds
		}
		w.rewrite(v, rw.Children[1], turned)
	}
}

// tuples follows the tuples of a relation; arrow is the tuple-to-userset rewrite that
// they are the tupleset of, nil for direct ones.
func (w *survey) tuples(v visited, r *model.Relation, s standing, arrow *model.Rewrite) {
	c := &w.cursor
	c.Reset(Subject{})
	for !c.Done && w.fatal == nil {
		w.charge(1)
		if err := w.view.Subjects(Userset{Object: v.object, Relation: r.ID}, c); err != nil {
			w.fatal = err
			return
		}
		w.charge(len(c.Edges))
		for i := range c.Edges {
			edge := &c.Edges[i]
			subject := edge.Subject
			if arrow != nil && subject.Relation != 0 {
				return
			}
			if subject.ID.IsWildcard() && !w.eager {
				continue // matters to all alike, so to nobody in particular
			}
			value, number := w.counts(v.object, r, edge)
			if value == unsure {
				w.meet(number)
			}
			if value == denied || subject.ID.IsWildcard() {
				continue
			}
			s := s
			if value == unsure {
				s &^= grants
			}
			switch {
			case arrow != nil:
				if next := computedOn(arrow, subject.ID.Type()); next != nil {
					w.visit(subject.ID, next, v.depth+1, s)
				}
			case subject.Relation != 0:
				w.visit(subject.ID, w.plan.Relation(subject.Relation), v.depth+1, s)
			case w.kind.Relation == nil && subject.ID.Type() == w.kind.Type.ID:
				w.found[subject.ID] |= s
			}
		}
	}
}

// granted decides one subject.
func (w *survey) granted(u Userset, s Subject, st standing) (bool, error) {
	if st&grants != 0 {
		return true, nil
	}
	w.about(s)
	return w.check(u)
}

// sorted is whom the survey found.
func (w *survey) sorted() []ID {
	ids := make([]ID, 0, len(w.found))
	for id := range w.found {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func (w *survey) usersets(u Userset, after Subject, yield func(ListedSubject) bool) error {
	for _, id := range w.sorted() {
		s := Subject{ID: id, Relation: w.kind.Relation.ID}
		if s.Compare(after) <= 0 {
			continue
		}
		ok, err := w.granted(u, s, w.found[id])
		if err := w.pass(err); err != nil {
			return err
		}
		if ok && !yield(ListedSubject{Subject: s}) {
			return nil
		}
	}
	return w.listed()
}

func (w *survey) entities(u Userset, after Subject, yield func(ListedSubject) bool) error {
	w.about(Subject{ID: MakeID(w.kind.Type.ID, freshSequence)})
	everyone, err := w.check(u)
	if err := w.pass(err); err != nil {
		return err
	}
	ids := w.sorted()
	all := Subject{ID: Wildcard(w.kind.Type.ID)}
	if everyone && all.Compare(after) > 0 {
		listed := ListedSubject{Subject: all}
		for _, id := range ids {
			ok, err := w.granted(u, Subject{ID: id}, w.found[id])
			if err := w.pass(err); err != nil {
				return err
			}
			if !ok && err == nil {
				listed.Excluded = append(listed.Excluded, id)
			}
		}
		if !yield(listed) {
			return nil
		}
	}
	for _, id := range ids {
		s, st := Subject{ID: id}, w.found[id]
		if s.Compare(after) <= 0 || everyone && st&adds == 0 {
			continue
		}
		ok, err := w.granted(u, s, st)
		if err := w.pass(err); err != nil {
			return err
		}
		if ok && !yield(ListedSubject{Subject: s}) {
			return nil
		}
	}
	return w.listed()
}
