package crm

import (
	"context"
	"fmt"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// A census finds out who is in a userset: all of them at once, by the model's own
// rewrites. It remembers what it found, so that the members of a group or the superiors
// of a role are collected once, whoever asks. One goroutine uses it at a time.
//
// An organisation's hierarchies have no cycles on either side, so no userset depends on
// itself; one that does is an error.
type census struct {
	*previewWorld
	ctx   context.Context // of the preview that the census serves, and no longer
	maker *crowdMaker

	frozen [2]map[graph.Userset]*crowd // shared by all workers, and not written
	known  [2]map[graph.Userset]*crowd
	made   map[crowdKey]*crowd // what operators gave

	cursor graph.Cursor
	stack  []graph.Subject // of tuples being followed
	pulse  int
}

// A crowdKey is an operator and what it was applied to.
type crowdKey struct {
	op   crowdOp
	a, b uint64
}

// Bounds of what a census remembers, besides what is frozen. Where they are met it
// forgets everything, for no answer depends on memory.
const (
	maxCensusEntries = 1 << 20
	maxCensusBytes   = 128 << 20

	// maxPanelBytes bounds the rows of a worker's panels: where everybody is on one, each crowd
	// of a few has a bitmap of all users there.
	maxPanelBytes = 64 << 20
)

// busyCrowd stands for one that is being collected.
var busyCrowd = &crowd{}

func newCensus(ctx context.Context, w *previewWorld, number uint64) *census {
	c := &census{previewWorld: w, ctx: ctx, maker: newCrowdMaker(len(w.users), number<<48)}
	c.maker.all = w.all
	c.forget()
	return c
}

func (c *census) forget() {
	for i := range c.known {
		c.known[i] = map[graph.Userset]*crowd{}
	}
	c.made = map[crowdKey]*crowd{}
	c.maker.made = 0
}

// full reports whether it is time to forget.
func (c *census) full() bool {
	return c.maker.made > maxCensusBytes ||
		len(c.made)+len(c.known[sideBefore])+len(c.known[sideAfter]) > maxCensusEntries
}

// beat is called at least at every tuple's page.
func (c *census) beat() error {
	if c.pulse++; c.pulse&0xff == 0 {
		return c.ctx.Err()
	}
	return nil
}

// of is who is in the userset. Crowds of both sides that are equal are the same.
func (c *census) of(side previewSide, u graph.Userset) (*crowd, error) {
	if found, ok := c.frozen[side][u]; ok {
		return found, nil
	}
	if found, ok := c.known[side][u]; ok {
		if found == busyCrowd {
			return nil, fmt.Errorf("%w: %v#%d depends on itself", ErrForeign, u.Object, u.Relation)
		}
		return found, nil
	}
	r := c.plans[side].Relation(u.Relation)
	if r == nil {
		return nil, nil
	}
	c.known[side][u] = busyCrowd
	found, err := c.collect(side, u.Object, r, r.Rewrite)
	if err == nil && side == sideAfter {
		var before *crowd
		if before, err = c.of(sideBefore, u); err == nil && before.equal(found) {
			found = before
		}
	}
	if err != nil {
		delete(c.known[side], u)
		return nil, err
	}
	c.known[side][u] = found
	return found, nil
}

// changes is who is in the userset on one side alone.
func (c *census) changes(u graph.Userset) (*crowd, error) {
	before, err := c.of(sideBefore, u)
	if err != nil {
		return nil, err
	}
	after, err := c.of(sideAfter, u)
	if err != nil {
		return nil, err
	}
	return c.combine(crowdDifference, before, after), nil
}

func (c *census) collect(side previewSide, object graph.ID, r *model.Relation, w *model.Rewrite) (*crowd, error) {
	switch w.Op {
	case model.OpDirect:
		return c.direct(side, object, r)
	case model.OpComputed:
		return c.of(side, graph.Userset{Object: object, Relation: w.Relation.ID})
	case model.OpTupleToUserset:
		return c.arrow(side, object, w)
	}
	op := crowdUnion
	switch w.Op {
	case model.OpIntersection:
		op = crowdIntersection
	case model.OpExclusion:
		op = crowdExclusion
	}
	var result *crowd
	for i, child := range w.Children {
		part, err := c.collect(side, object, r, child)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			result = part
		} else {
			result = c.combine(op, result, part)
		}
		if result == nil && op != crowdUnion || result == c.all && op == crowdUnion {
			break
		}
	}
	return result, nil
}

func (c *census) direct(side previewSide, object graph.ID, r *model.Relation) (*crowd, error) {
	base := len(c.stack)
	defer func() { c.stack = c.stack[:base] }()
	if err := c.follow(side, object, r); err != nil {
		return nil, err
	}
	top := len(c.stack)
	var parts []*crowd
	var numbers []uint32
	for i := base; i < top; i++ {
		switch s := c.stack[i]; {
		case s.Relation != 0:
			part, err := c.of(side, graph.Userset{Object: s.ID, Relation: s.Relation})
			if err != nil {
				return nil, err
			}
			parts = append(parts, part)
		case s.ID.Type() != c.userID:
		case s.ID.IsWildcard():
			return c.all, nil
		default:
			if number, ok := c.userOf[s.ID]; ok {
				numbers = append(numbers, number)
			}
		}
	}
	return c.union(append(parts, c.maker.ofList(numbers))), nil
}

func (c *census) arrow(side previewSide, object graph.ID, w *model.Rewrite) (*crowd, error) {
	base := len(c.stack)
	defer func() { c.stack = c.stack[:base] }()
	if err := c.follow(side, object, c.plans[side].Relation(w.Tupleset.ID)); err != nil {
		return nil, err
	}
	top := len(c.stack)
	var parts []*crowd
	for i := base; i < top; i++ {
		s := c.stack[i]
		asked := askedOf(w, s)
		if asked == nil {
			continue
		}
		part, err := c.of(side, graph.Userset{Object: s.ID, Relation: asked.ID})
		if err != nil {
			return nil, err
		}
		if part != nil {
			parts = append(parts, part)
		}
	}
	return c.union(parts), nil
}

// askedOf is the relation that a tuple-to-userset asks of a tuple's subject; nil if it
// has none such.
func askedOf(w *model.Rewrite, s graph.Subject) *model.Relation {
	if s.Relation != 0 || s.ID.IsWildcard() {
		return nil
	}
	for _, r := range w.Computed {
		if r.Type.ID == s.ID.Type() {
			return r
		}
	}
	return nil
}

// follow pushes the subjects of those tuples of a relation that count.
func (c *census) follow(side previewSide, object graph.ID, r *model.Relation) error {
	u := graph.Userset{Object: object, Relation: r.ID}
	view := c.view(side, u)
	cursor := &c.cursor
	cursor.Reset(graph.Subject{})
	for !cursor.Done {
		if err := c.beat(); err != nil {
			return err
		}
		if err := view.Subjects(u, cursor); err != nil {
			return err
		}
		for i := range cursor.Edges {
			e := &cursor.Edges[i]
			ok, err := c.counts(c.ctx, r, e)
			if err != nil {
				return err
			}
			if ok {
				c.stack = append(c.stack, e.Subject)
			}
		}
	}
	return nil
}

// manyCrowds is how many crowds are better added up at once than two by two, which
// can be remembered.
const manyCrowds = 8

func (c *census) union(parts []*crowd) *crowd {
	if len(parts) > manyCrowds {
		return c.maker.union(parts)
	}
	var result *crowd
	for _, part := range parts {
		result = c.combine(crowdUnion, result, part)
	}
	return result
}

// combine applies an operator, or remembers what it gave.
func (c *census) combine(op crowdOp, a, b *crowd) *crowd {
	if a == nil || b == nil || a == b || a == c.all || b == c.all {
		return c.maker.apply(op, a, b)
	}
	key := crowdKey{op: op, a: a.id, b: b.id}
	if op != crowdExclusion && a.id > b.id {
		key.a, key.b = b.id, a.id
	}
	if found, ok := c.made[key]; ok {
		return found
	}
	result := c.maker.apply(op, a, b)
	c.made[key] = result
	return result
}
