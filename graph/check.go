package graph

import (
	"errors"
	"fmt"

	"github.com/remit-authz/remit/graph/condition"
	"github.com/remit-authz/remit/graph/model"
)

// Check is a depth-first search over goals (object, relation) with a stack of its own,
// so depth costs memory and never a Go stack. Goals that are met again while they are
// in progress are taken for no: the least fixpoint of a cycle without negation. As in
// Tarjan's algorithm each result knows the lowest goal in progress it depends on.
//
//   - yes is always definite: taking goals for no can only lose it.
//   - no and unsure become final when they depend on nothing in progress, together
//     with all goals of their component, or else stay provisional.
//   - If a goal that was taken for no turns out otherwise, what assumed it is
//     forgotten. This happens at most once for each goal that becomes final, so the
//     work is polynomial.
//
// Where that is not enough (a cycle through the subtracted side of an exclusion, an
// error inside a cycle, too much forgetting) the search is given up and the fixpoint is
// computed outright: see fixpoint.go. Both give the well-founded value, so the answer
// does not depend on which one ran or on the order of edges.
//
// With a limit of depth the search takes goals that it meets beyond the limit for
// unsure. They need not be as far away as the way to them was, so only an answer that is
// sure in spite of them stands; otherwise the fixpoint, which meets all goals on their
// shortest ways, decides. What is found out holds as far away from the question as it
// was found, so with a limit no question uses what an earlier one found out.

// maxForgotten is how much work the search may lose before the fixpoint, which visits
// every edge once, is the cheaper way.
const maxForgotten = 1 << 14

// A frame evaluates one node of a rewrite for one object.
type frame struct {
	rewrite  *model.Rewrite
	relation *model.Relation // the goal's
	object   ID
	acc      outcome
	depth    uint32 // the goal's, on the way it was met first
	node     uint32 // the goal's
	whole    bool   // the rewrite is the goal's whole

	step  uint8
	child uint16

	// The edges being followed: e.edges[base:], of which those before pos are done;
	// the next page begins behind after.
	base, pos uint32
	unjudged  uint32 // the error of the condition of some edge, if conditions are eager
	after     Subject
	last      bool   // no page follows
	counts    bool   // some edge does
	doubt     uint32 // the error of the condition of the edge that is being asked
}

// check evaluates a goal and turns the third value into its error.
func (e *evaluator) check(u Userset) (bool, error) {
	r := e.plan.Relation(u.Relation)
	switch {
	case e.fatal != nil:
		return false, e.fatal
	case r == nil:
		return false, fmt.Errorf("relation %d: %w", u.Relation, ErrRelationNotFound)
	case r.Type.ID != u.Object.Type() || u.Object.IsWildcard():
		return false, fmt.Errorf("object %v for relation %s#%s: %w", u.Object, r.Type.Name, r.Name, ErrInvalid)
	}
	value, number := e.solve(u.Object, r)
	switch {
	case e.fatal != nil:
		return false, e.fatal
	case value == unsure:
		err := e.errorAt(number)
		if e.undefinedIsNo && errors.Is(err, ErrUndefined) {
			return false, nil
		}
		return false, err
	}
	return value == allowed, nil
}

func (e *evaluator) solve(object ID, r *model.Relation) (truth, uint32) {
	e.frames, e.open, e.edges, e.entangled, e.shallow = e.frames[:0], e.open[:0], e.edges[:0], false, false
	if e.maxDepth != unlimited {
		e.forget()
	}
	if !e.ask(object, r, 0) {
		e.run()
	}
	if e.fatal == nil && (e.entangled || e.shallow && e.out.value == unsure) {
		for _, i := range e.open {
			e.nodes[i].state = stateForgotten
		}
		e.edges = e.edges[:0]
		return e.fixpoint(object, r)
	}
	return e.out.value, e.out.err
}

func (e *evaluator) run() {
	for len(e.frames) > 0 && e.fatal == nil && !e.entangled {
		f := &e.frames[len(e.frames)-1]
		switch f.rewrite.Op {
		case model.OpDirect:
			e.direct(f)
		case model.OpTupleToUserset:
			e.follow(f)
		case model.OpComputed:
			if f.step == 0 {
				f.step = 1
				e.ask(f.object, f.rewrite.Relation, f.depth)
			} else {
				e.finish(f, e.out)
			}
		case model.OpUnion:
			e.union(f)
		case model.OpIntersection:
			e.intersection(f)
		case model.OpExclusion:
			e.exclusion(f)
		}
	}
}

// ask evaluates a goal: either its value is known, stands in out, and the answer is
// true, or a frame for it was pushed. The depth is that of the way to it.
func (e *evaluator) ask(object ID, r *model.Relation, depth uint32) bool {
	if e.subject.Relation == r.ID && e.subject.ID == object {
		e.out = outcome{value: allowed, low: settled, reach: settled}
		return true
	}
	e.charge(1)
	g := goal{object: object, relation: r.ID}
	if value := e.recall(g); value != unsure {
		e.out = outcome{value: value, low: settled, reach: settled}
		return true
	}
	s := e.find(g)
	if s.epoch == e.epoch {
		switch n := &e.nodes[s.node]; n.state {
		case stateFinal:
			if n.fleeting {
				e.fleeting++
			}
			e.out = outcome{value: n.value, err: n.err, low: settled, reach: settled}
			return true
		case stateActive:
			n.cut = true
			e.out = outcome{value: denied, low: s.node, reach: s.node}
			return true
		case stateProvisional:
			low := e.lowest(s.node)
			e.out = outcome{value: n.value, err: n.err, low: low, reach: low}
			return true
		}
	}
	if depth == e.maxDepth {
		e.out = e.tooDeep()
		return true
	}
	i := e.add(s, node{goal: g, state: stateActive, since: e.fleeting})
	e.open = append(e.open, i)
	e.push(frame{rewrite: r.Rewrite, relation: r, object: object, depth: depth, node: i, whole: true})
	return false
}

// lowest is the active node that a provisional one depends on. Nodes in between may
// have become provisional themselves; the way past them is shortened.
func (e *evaluator) lowest(i uint32) uint32 {
	low := e.nodes[i].low
	for e.nodes[low].state == stateProvisional {
		low = e.nodes[low].low
	}
	for e.nodes[i].low != low {
		i, e.nodes[i].low = e.nodes[i].low, low
	}
	return low
}

func (e *evaluator) push(f frame) {
	f.base = uint32(len(e.edges))
	f.acc = outcome{value: denied, low: settled, reach: settled}
	if f.rewrite.Op == model.OpIntersection {
		f.acc.value = allowed
	}
	e.frames = append(e.frames, f)
}

// operand evaluates a child of the frame's rewrite. The frame must not be used
// afterwards: its place may have moved.
func (e *evaluator) operand(f *frame, child *model.Rewrite) {
	if child.Op == model.OpComputed {
		e.ask(f.object, child.Relation, f.depth)
		return
	}
	e.push(frame{rewrite: child, relation: f.relation, object: f.object, depth: f.depth, node: f.node})
}

// finish pops the frame, which must be the top one, and hands its result on.
func (e *evaluator) finish(f *frame, r outcome) {
	i, whole := f.node, f.whole
	e.edges = e.edges[:f.base]
	e.frames = e.frames[:len(e.frames)-1]
	e.out = r
	if whole {
		e.complete(i)
	}
}

// complete records the result in out as that of node i.
func (e *evaluator) complete(i uint32) {
	n := &e.nodes[i]
	n.value, n.err = e.out.value, e.out.err
	if e.out.low < i {
		if n.value == unsure && n.cut {
			// Those that took it for no may be unsure themselves. Asking them again
			// would not end: they may be forgotten again on every level.
			e.entangled = true
			return
		}
		n.state, n.low = stateProvisional, e.out.reach
		return
	}
	n.state, n.fleeting = stateFinal, e.fleeting != n.since
	if !n.fleeting {
		e.remember(n.goal, n.value)
	}
	rest := stateFinal
	if n.value != denied || e.out.reach < i {
		rest = stateForgotten
	}
	top := len(e.open) - 1
	for ; e.open[top] != i; top-- {
		inner := &e.nodes[e.open[top]]
		inner.state, inner.fleeting = rest, n.fleeting
		if rest == stateForgotten {
			e.forgot++
		}
	}
	e.open = e.open[:top]
	e.out.low, e.out.reach = settled, settled
	if e.forgot > maxForgotten {
		e.entangled = true
	}
}

func (e *evaluator) union(f *frame) {
	if f.step == 1 {
		f.step = 0
		if e.out.value == allowed {
			e.finish(f, outcome{value: allowed, low: settled, reach: min(f.acc.reach, e.out.reach)})
			return
		}
		f.acc.or(e.out)
	}
	if int(f.child) == len(f.rewrite.Children) {
		e.finish(f, f.acc)
		return
	}
	f.step, f.child = 1, f.child+1
	e.operand(f, f.rewrite.Children[f.child-1])
}

func (e *evaluator) intersection(f *frame) {
	if f.step == 1 {
		f.step = 0
		o := e.out
		f.acc.reach = min(f.acc.reach, o.reach)
		if o.value == denied {
			if o.low != settled {
				o.low = min(f.acc.low, o.low)
			}
			e.finish(f, outcome{value: denied, low: o.low, reach: f.acc.reach})
			return
		}
		f.acc.low = min(f.acc.low, o.low)
		if o.value == unsure && f.acc.value == allowed {
			f.acc.value, f.acc.err = unsure, o.err
		}
	}
	if int(f.child) == len(f.rewrite.Children) {
		e.finish(f, f.acc)
		return
	}
	f.step, f.child = 1, f.child+1
	e.operand(f, f.rewrite.Children[f.child-1])
}

func (e *evaluator) exclusion(f *frame) {
	switch f.child {
	case 0:
		f.child = 1
		e.operand(f, f.rewrite.Children[0])
	case 1:
		if e.out.value == denied {
			e.finish(f, e.out)
			return
		}
		f.acc, f.child = e.out, 2
		e.operand(f, f.rewrite.Children[1])
	case 2:
		r, sub := f.acc, e.out
		r.reach = min(r.reach, sub.reach)
		switch {
		case sub.value == allowed:
			r.value, r.err, r.low = denied, 0, settled
		case sub.low != settled:
			e.entangled = true // the goal depends on its own negation
			return
		case sub.value == unsure && r.value == allowed:
			r.value, r.err = unsure, sub.err
		}
		e.finish(f, r)
	}
}

// direct evaluates the tuples of the goal's own relation: first those that name the
// subject, then the usersets.
func (e *evaluator) direct(f *frame) {
	if f.step == 0 {
		exact, anyone, usersets := e.kinds(f.relation)
		u := Userset{Object: f.object, Relation: f.relation.ID}
		if exact && e.probe(f, u, e.subject) || anyone && e.probe(f, u, e.anyone) {
			e.finish(f, outcome{value: allowed, low: settled, reach: settled})
			return
		}
		if !usersets || e.fatal != nil {
			e.finish(f, f.acc)
			return
		}
		f.after = Subject{ID: ^ID(0)} // behind the entities
	}
	e.follow(f)
}

// kinds finds out which tuples of the relation can matter to the subject: those that
// name it, those that name its type's wildcard, and usersets.
func (e *evaluator) kinds(r *model.Relation) (exact, anyone, usersets bool) {
	t := e.subject.ID.Type()
	for i := range r.Allowed {
		a := &r.Allowed[i]
		switch {
		case a.Relation != nil:
			usersets = true
			exact = exact || a.Relation.ID == e.subject.Relation
		case e.subject.Relation != 0 || a.Type.ID != t:
		case a.Wildcard == e.subject.ID.IsWildcard():
			exact = true
		case a.Wildcard:
			anyone = true
		}
	}
	return exact, anyone, usersets
}

// probe looks for a tuple with exactly this subject, adds a doubtful one to the
// frame's result, and reports whether there is one that counts.
func (e *evaluator) probe(f *frame, u Userset, s Subject) bool {
	e.charge(1)
	edge, ok, err := e.view.Contains(u, s)
	if err != nil {
		e.fatal = err
		return false
	}
	if !ok {
		return false
	}
	value, number := e.counts(u.Object, f.relation, &edge)
	if value == unsure {
		f.acc.or(outcome{value: unsure, err: number, low: settled, reach: settled})
	}
	return value == allowed
}

// follow asks the goals behind the edges of a frame, page by page.
func (e *evaluator) follow(f *frame) {
	if f.step == 2 {
		if e.followed(f) {
			return
		}
	} else {
		f.step, f.pos = 1, f.base
	}
	for e.fatal == nil {
		if int(f.pos) == len(e.edges) {
			if f.last {
				f.judge()
				e.finish(f, f.acc)
				return
			}
			e.load(f)
			continue
		}
		edge := &e.edges[f.pos]
		f.pos++
		value, number := e.holds(edge.condition, edge.context)
		if value == denied {
			continue
		}
		if value == unsure {
			e.doubt(f, edge, number)
		} else {
			f.counts = true
		}
		target := e.target(f, edge.subject)
		if target == nil {
			continue
		}
		f.doubt, f.step = number, 2
		if !e.ask(edge.subject.ID, target, f.depth+1) || e.followed(f) {
			return
		}
	}
}

// doubt notes that an edge's condition is unsure. If conditions are eager, that may matter
// whatever is behind the edge, but not if the subject is nowhere that the model leads to.
func (e *evaluator) doubt(f *frame, edge *followed, number uint32) {
	e.blame(number, Userset{Object: f.object, Relation: f.via().ID}, edge.subject, edge.condition)
	switch {
	case !e.eager || !e.attainable(f.relation):
	case edge.condition == condition.Inline:
		f.acc.or(outcome{value: unsure, err: number, low: settled, reach: settled})
	default:
		f.unjudged = number
	}
}

// judge adds to the frame's result the doubt that remains when no edge counts.
func (f *frame) judge() {
	if f.unjudged != 0 && !f.counts {
		f.acc.or(outcome{value: unsure, err: f.unjudged, low: settled, reach: settled})
	}
}

// followed adds the result in out, of the edge asked last, and reports whether it
// finished the frame.
func (e *evaluator) followed(f *frame) bool {
	f.step = 1
	r := e.out
	if f.doubt != 0 && r.value != denied {
		// The condition is unsure, so the edge is at most that.
		if r.value == allowed {
			r.low = settled
		}
		r.value, r.err = unsure, f.doubt
	}
	if r.value == allowed {
		e.finish(f, outcome{value: allowed, low: settled, reach: min(f.acc.reach, r.reach)})
		return true
	}
	f.acc.or(r)
	return false
}

// target is the relation to ask of an edge's subject; nil if it has none such.
func (e *evaluator) target(f *frame, s Subject) *model.Relation {
	if f.rewrite.Op == model.OpDirect {
		return e.plan.Relation(s.Relation)
	}
	return computedOn(f.rewrite, s.ID.Type())
}

// computedOn is the relation that a tuple-to-userset asks of objects of a type.
func computedOn(w *model.Rewrite, t model.TypeID) *model.Relation {
	for _, r := range w.Computed {
		if r.Type.ID == t {
			return r
		}
	}
	return nil
}

// via is the relation whose tuples the frame follows.
func (f *frame) via() *model.Relation {
	if f.rewrite.Op == model.OpTupleToUserset {
		return f.rewrite.Tupleset
	}
	return f.relation
}

// load replaces the frame's edges by its next page: of the usersets of a direct
// relation, or of the entities of a tupleset. Entities that have no relation to ask are
// among them only if their conditions matter nevertheless.
func (e *evaluator) load(f *frame) {
	r, usersets := f.via(), f.rewrite.Op == model.OpDirect
	e.edges = e.edges[:f.base]
	f.pos = f.base
	edges := e.page(f, Userset{Object: f.object, Relation: r.ID})
	if e.fatal != nil {
		return
	}
	e.charge(len(edges))
	for i := range edges {
		edge := &edges[i]
		if !usersets && edge.Subject.Relation != 0 {
			f.last = true // the entities come first
			break
		}
		if usersets && edge.Subject.Relation == 0 || edge.Subject.ID.IsWildcard() || e.expired(edge) {
			continue
		}
		a := admits(r, edge)
		if a == nil || !e.eager && e.target(f, edge.Subject) == nil {
			continue
		}
		e.edges = append(e.edges, followed{subject: edge.Subject, condition: a.Condition, context: edge.Context})
	}
}

// page reads the frame's next page of a userset.
func (e *evaluator) page(f *frame, u Userset) []Edge {
	first := f.after == Subject{}
	kept := e.pages.of(u)
	if first && kept.asked == e.asked && kept.userset == u {
		f.after, f.last = Subject{}, true
		return kept.edges[:kept.count]
	}
	c := &e.cursor
	c.Reset(f.after)
	if e.fatal = e.view.Subjects(u, c); e.fatal != nil {
		return nil
	}
	f.after, f.last = c.After, c.Done
	if first && c.Done && len(c.Edges) <= len(kept.edges) {
		kept.userset, kept.asked, kept.count = u, e.asked, copy(kept.edges[:], c.Edges)
	}
	return c.Edges
}
