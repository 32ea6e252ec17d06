package graph

import (
	"context"
	"fmt"
	"slices"

	"github.com/remit-authz/remit/graph/model"
)

// ListObjects yields the objects of the relation's type that the subject has the
// relation to, in the order of their ids and without duplicates, beginning behind
// after. It ends early when yield returns false.
//
// Walking the tuples backwards from the subject finds every object that could be an
// answer; those that only unions and tuples that surely count lead to are answers, and
// the others are checked. An object that cannot be decided is an error of the list.
func (q *Query) ListObjects(ctx context.Context, r *model.Relation, s Subject, after ID, yield func(ID) bool) error {
	if q.Plan.Relation(r.ID) != r {
		return fmt.Errorf("relation %s#%s: %w", r.Type.Name, r.Name, ErrRelationNotFound)
	}
	e := newEvaluator(ctx, q)
	defer e.release()
	e.maxDepth = unlimited
	e.about(s)
	x := expansion{evaluator: e, uses: usesOf(q.Plan), asked: r.ID, reached: map[goal]bool{}, found: map[ID]bool{}}
	if err := x.run(r); err != nil && !e.keepGoing {
		return err
	}
	if e.passed != nil && !e.keepGoing {
		return e.passed
	}
	ids := make([]ID, 0, len(x.found))
	for id := range x.found {
		if id > after {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	for _, id := range ids {
		if !x.found[id] {
			ok, err := e.check(Userset{Object: id, Relation: r.ID})
			if err := e.pass(err); err != nil {
				return err
			}
			if !ok {
				continue
			}
		}
		if !yield(id) {
			return nil
		}
	}
	return e.listed()
}

// An expansion walks from the subject to what it may have.
type expansion struct {
	*evaluator
	uses    *uses
	asked   model.RelationID
	reached map[goal]bool // whether it is certain
	found   map[ID]bool   // the same of the goals asked for, which may be all there are
	todo    []reach
	wanted  []bool // by relation: whether it leads to the one asked for
	onward  bool   // whether that one itself leads to one of those
	cursor  Cursor
}

// A reach is a goal that the subject may have, or surely has.
type reach struct {
	goal    goal
	certain bool
}

// run finds the candidates of the relation.
func (x *expansion) run(r *model.Relation) error {
	x.wanted = x.uses.leadingTo(r)
	x.onward = x.uses.leadsOn(r, x.wanted)
	if x.subject.Relation != 0 {
		if x.plan.Relation(x.subject.Relation) != nil {
			x.reach(goal{object: x.subject.ID, relation: x.subject.Relation}, true)
		}
	} else {
		x.granted(x.subject)
		if x.anyone.ID != 0 {
			x.granted(x.anyone)
		}
	}
	for len(x.todo) > 0 && x.fatal == nil {
		next := x.todo[len(x.todo)-1]
		x.todo = x.todo[:len(x.todo)-1]
		x.expand(next)
	}
	return x.fatal
}

// reach notes a goal. One that turns out certain later is walked once more.
func (x *expansion) reach(g goal, certain bool) {
	if int(g.relation) >= len(x.wanted) || !x.wanted[g.relation] {
		return
	}
	if g.relation == x.asked {
		if known, ok := x.found[g.object]; ok && (known || !certain) {
			return
		}
		x.found[g.object] = certain
		if !x.onward {
			return
		}
	} else {
		if known, ok := x.reached[g]; ok && (known || !certain) {
			return
		}
		x.reached[g] = certain
	}
	x.todo = append(x.todo, reach{goal: g, certain: certain})
}

// granted follows the tuples that name the subject itself.
func (x *expansion) granted(s Subject) {
	for _, use := range x.uses.entities[s.ID.Type()] {
		x.objects(use.relation, use.relation, s, use.plain, true)
	}
}

func (x *expansion) expand(from reach) {
	g := from.goal
	for _, use := range x.uses.computed[g.relation] {
		x.reach(goal{object: g.object, relation: use.relation.ID}, from.certain && use.plain)
	}
	for _, use := range x.uses.direct[g.relation] {
		x.objects(use.relation, use.relation, Subject{ID: g.object, Relation: g.relation}, use.plain, from.certain)
	}
	for _, use := range x.uses.arrows[g.relation] {
		x.objects(use.tupleset, use.relation, Subject{ID: g.object}, use.plain, from.certain)
	}
}

// objects reaches r of all objects whose relation via is granted to the subject.
func (x *expansion) objects(via, r *model.Relation, s Subject, plain, certain bool) {
	if !x.wanted[r.ID] {
		return
	}
	c := &x.cursor
	c.Reset(Subject{})
	for !c.Done && x.fatal == nil {
		x.charge(1)
		if err := x.view.Objects(via.ID, s, c); err != nil {
			x.fatal = err
			return
		}
		x.charge(len(c.Edges))
		for i := range c.Edges {
			edge := c.Edges[i]
			object := edge.Subject.ID
			edge.Subject = s
			value, number := x.counts(object, via, &edge)
			if value == unsure {
				x.meet(number)
			}
			if value != denied {
				x.reach(goal{object: object, relation: r.ID}, plain && certain && value == allowed)
			}
		}
	}
}
