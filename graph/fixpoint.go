package graph

import "github.com/remit-authz/remit/graph/model"

// fixpoint decides a goal by its well-founded value: everything the goal depends on
// is written out as a graph of and, or and but-not, and two bounds close in on it from
// below (what is surely true) and from above (what may be true) by turns, each taking
// the negations of the other. What stays between the bounds is unsure. Errors of
// conditions are false from below and true from above.
//
// All goals met become final, so one fixpoint serves all later goals of the call.
//
// With a limit of depth the goals are met in the order of their distances, and those
// that are too far away are errors.
func (e *evaluator) fixpoint(object ID, r *model.Relation) (truth, uint32) {
	g := ground{evaluator: e, goals: map[goal]uint32{}}
	if e.maxDepth != unlimited {
		e.forget() // the way through what is known may be the shortest one
	}
	g.goal(object, r)
	g.write()
	for depth := uint32(1); len(g.further) > 0 && e.fatal == nil; depth++ {
		if depth == e.maxDepth {
			g.leave()
			break
		}
		g.todo, g.further = g.further, g.todo
		g.write()
	}
	if e.fatal != nil {
		return denied, 0
	}
	lower, upper := g.solve()
	if e.fatal != nil {
		return denied, 0
	}
	causes := g.causes(lower, upper)
	for key, v := range g.goals {
		n := node{goal: key, state: stateFinal, fleeting: true}
		switch {
		case lower[v]:
			n.value = allowed
		case upper[v]:
			n.value, n.err = unsure, causes[v]
		}
		if s := e.find(key); s.epoch == e.epoch {
			e.nodes[s.node] = n
		} else {
			e.add(s, n)
		}
	}
	n := e.nodes[e.find(goal{object: object, relation: r.ID}).node]
	return n.value, n.err
}

// A ground graph is the part of the store that a goal depends on.
type ground struct {
	*evaluator
	vertices []vertex
	goals    map[goal]uint32
	todo     []pending
	further  []pending // with a limit of depth: one step further away than those in todo
}

type vertex struct {
	kind truthKind
	open bool     // a goal whose expression is not written out yet
	err  uint32   // of an unsure leaf
	kids []uint32 // of a but-not: the base and what is subtracted
}

type truthKind uint8

const (
	anyOf  truthKind = iota // no kids: false
	allOf                   // no kids: true
	butNot                  // kids[0] and not kids[1]
	doubt                   // a leaf that an error keeps open
)

type pending struct {
	vertex   uint32
	object   ID
	relation *model.Relation
}

func (g *ground) add(v vertex) uint32 {
	g.vertices = append(g.vertices, v)
	return uint32(len(g.vertices) - 1)
}

// constant is a leaf of a known value.
func (g *ground) constant(value truth, err uint32) uint32 {
	switch value {
	case allowed:
		return g.add(vertex{kind: allOf})
	case unsure:
		return g.add(vertex{kind: doubt, err: err})
	}
	return g.add(vertex{kind: anyOf})
}

// write writes out the goals that are to be done.
func (g *ground) write() {
	for len(g.todo) > 0 && g.fatal == nil {
		next := g.todo[len(g.todo)-1]
		g.todo = g.todo[:len(g.todo)-1]
		if !g.vertices[next.vertex].open {
			continue // met again on a shorter way
		}
		g.vertices[next.vertex].open = false
		if !g.attainable(next.relation) {
			continue
		}
		kid := g.expression(next.relation, next.relation.Rewrite, next.object)
		g.vertices[next.vertex].kids = append(g.vertices[next.vertex].kids, kid)
	}
}

// leave makes errors of the goals that are too far away.
func (g *ground) leave() {
	for _, p := range g.further {
		v := &g.vertices[p.vertex]
		if v.open && g.attainable(p.relation) {
			v.kind, v.err = doubt, g.tooDeep().err
		}
		v.open = false
	}
}

// step is the vertex of a goal that lies behind a tuple.
func (g *ground) step(object ID, r *model.Relation) uint32 {
	if g.maxDepth == unlimited {
		return g.goal(object, r)
	}
	if v, ok := g.goals[goal{object: object, relation: r.ID}]; ok {
		return v
	}
	nearer := len(g.todo)
	v := g.goal(object, r)
	g.further = append(g.further, g.todo[nearer:]...)
	g.todo = g.todo[:nearer]
	return v
}

// goal is the vertex of a goal, whose expression is written out later.
func (g *ground) goal(object ID, r *model.Relation) uint32 {
	key := goal{object: object, relation: r.ID}
	if v, ok := g.goals[key]; ok {
		if g.maxDepth != unlimited && g.vertices[v].open {
			g.todo = append(g.todo, pending{vertex: v, object: object, relation: r})
		}
		return v
	}
	g.charge(1)
	if g.subject.ID == object && g.subject.Relation == r.ID {
		return g.constant(allowed, 0)
	}
	if s := g.find(key); s.epoch == g.epoch && g.nodes[s.node].state == stateFinal {
		return g.constant(g.nodes[s.node].value, g.nodes[s.node].err)
	}
	v := g.add(vertex{kind: anyOf, open: true})
	g.goals[key] = v
	g.todo = append(g.todo, pending{vertex: v, object: object, relation: r})
	return v
}

// expression writes out a rewrite. It recurses as deep as the model is nested, not as
// deep as the data.
func (g *ground) expression(r *model.Relation, w *model.Rewrite, object ID) uint32 {
	v := vertex{kind: anyOf}
	switch w.Op {
	case model.OpComputed:
		return g.goal(object, w.Relation)
	case model.OpDirect, model.OpTupleToUserset:
		v.kids = g.arrows(r, w, object)
		return g.add(v)
	case model.OpIntersection:
		v.kind = allOf
	case model.OpExclusion:
		v.kind = butNot
	}
	for _, child := range w.Children {
		v.kids = append(v.kids, g.expression(r, child, object))
	}
	return g.add(v)
}

// arrows are the vertices of the tuples of a direct or tuple-to-userset rewrite.
func (g *ground) arrows(r *model.Relation, w *model.Rewrite, object ID) []uint32 {
	e := g.evaluator
	var kids []uint32
	f := frame{rewrite: w, relation: r, object: object, base: uint32(len(e.edges))}
	if w.Op == model.OpDirect {
		exact, anyone, usersets := e.kinds(r)
		u := Userset{Object: object, Relation: r.ID}
		if exact && e.probe(&f, u, e.subject) || anyone && e.probe(&f, u, e.anyone) {
			kids = append(kids, g.constant(allowed, 0))
			if e.maxDepth == unlimited {
				return kids
			}
		}
		f.after, f.last = Subject{ID: ^ID(0)}, !usersets
	}
	for !f.last && e.fatal == nil {
		e.load(&f)
		for i := range e.edges[f.base:] {
			edge := &e.edges[int(f.base)+i]
			value, number := e.holds(edge.condition, edge.context)
			switch value {
			case denied:
				continue
			case unsure:
				e.doubt(&f, edge, number)
			case allowed:
				f.counts = true
			}
			target := e.target(&f, edge.subject)
			if target == nil {
				continue
			}
			kid := g.step(edge.subject.ID, target)
			if value == unsure {
				kid = g.add(vertex{kind: allOf, kids: []uint32{g.constant(unsure, number), kid}})
			}
			kids = append(kids, kid)
		}
	}
	if f.judge(); f.acc.value == unsure {
		kids = append(kids, g.constant(unsure, f.acc.err))
	}
	e.edges = e.edges[:f.base]
	return kids
}

// solve closes in on the well-founded values: lower is what is true, and upper what
// is not false.
func (g *ground) solve() (lower, upper []bool) {
	// freePasses is how many passes the budget does not count. Each negation below
	// another one costs a pass; only cycles through negation need many.
	const freePasses = 16
	parents := g.parents()
	upper = make([]bool, len(g.vertices))
	for i := range upper {
		upper[i] = true
	}
	known := -1
	for pass := 0; ; pass++ {
		if pass >= freePasses {
			g.charge(len(g.vertices))
		}
		if g.feel(); g.fatal != nil {
			return nil, nil
		}
		var count int
		lower, count = g.least(parents, upper, false)
		if count == known {
			return lower, upper
		}
		known = count
		upper, _ = g.least(parents, lower, true)
	}
}

// parents lists for each vertex those that grow with it.
func (g *ground) parents() [][]uint32 {
	parents := make([][]uint32, len(g.vertices))
	for i := range g.vertices {
		v := &g.vertices[i]
		kids := v.kids
		if v.kind == butNot {
			kids = kids[:1]
		}
		for _, kid := range kids {
			parents[kid] = append(parents[kid], uint32(i))
		}
	}
	return parents
}

// least is the least fixpoint in which what is subtracted has the values of against,
// and open leaves the value doubtful.
func (g *ground) least(parents [][]uint32, against []bool, doubtful bool) (values []bool, count int) {
	values = make([]bool, len(g.vertices))
	missing := make([]int, len(g.vertices)) // kids that an allOf still waits for
	var grown []uint32
	grow := func(v uint32) {
		if !values[v] {
			values[v] = true
			count++
			grown = append(grown, v)
		}
	}
	for i := range g.vertices {
		v := &g.vertices[i]
		missing[i] = len(v.kids)
		if v.kind == allOf && len(v.kids) == 0 || v.kind == doubt && doubtful {
			grow(uint32(i))
		}
	}
	for len(grown) > 0 {
		kid := grown[len(grown)-1]
		grown = grown[:len(grown)-1]
		for _, p := range parents[kid] {
			switch v := &g.vertices[p]; v.kind {
			case anyOf:
				grow(p)
			case allOf:
				if missing[p]--; missing[p] == 0 {
					grow(p)
				}
			case butNot:
				if !against[v.kids[1]] {
					grow(p)
				}
			}
		}
	}
	return values, count
}

// causes finds for each vertex between the bounds the error that keeps it there: of
// those it depends on, the one met first when the graph was written out, and
// ErrUndefined if only a negation of itself does.
func (g *ground) causes(lower, upper []bool) []uint32 {
	between := func(v uint32) bool { return upper[v] && !lower[v] }
	dependents := make([][]uint32, len(g.vertices))
	var doubts []uint32
	undefined := uint32(0)
	for i := range g.vertices {
		v := uint32(i)
		if !between(v) {
			continue
		}
		if undefined == 0 {
			undefined = g.note(ErrUndefined)
		}
		if g.vertices[i].kind == doubt {
			doubts = append(doubts, v)
		}
		for _, kid := range g.vertices[i].kids {
			if between(kid) {
				dependents[kid] = append(dependents[kid], v)
			}
		}
	}
	causes := make([]uint32, len(g.vertices))
	for _, leaf := range doubts {
		for flood := []uint32{leaf}; len(flood) > 0; {
			v := flood[len(flood)-1]
			flood = flood[:len(flood)-1]
			if causes[v] == 0 {
				causes[v] = g.vertices[leaf].err
				flood = append(flood, dependents[v]...)
			}
		}
	}
	for i := range causes {
		if causes[i] == 0 {
			causes[i] = undefined
		}
	}
	return causes
}
