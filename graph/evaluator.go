package graph

import (
	"context"
	"fmt"
	"sync"

	"github.com/remit-authz/remit/graph/condition"
	"github.com/remit-authz/remit/graph/model"
)

// A truth is one of Kleene's three values, in the order that makes or the maximum and
// and the minimum.
type truth uint8

const (
	denied truth = iota
	unsure       // an error stands where the answer would be
	allowed
)

// unlimited as a depth is deeper than any data.
const unlimited = ^uint32(0)

// settled as a low or reach means that nothing in progress is depended upon.
const settled = ^uint32(0)

// A result is the value of a goal or of a part of one.
type outcome struct {
	value truth
	err   uint32 // which error made the value unsure, as errorAt wants it

	// low is the lowest node in progress that the value depends on, and reach the
	// lowest that anything found on the way depends on, even where the value does not.
	low, reach uint32
}

// or adds an operand that is not yes. The first error stays.
func (r *outcome) or(o outcome) {
	if o.value > r.value {
		r.value, r.err = o.value, o.err
	}
	r.low, r.reach = min(r.low, o.low), min(r.reach, o.reach)
}

// A goal asks whether the subject has a relation to an object.
type goal struct {
	object   ID
	relation model.RelationID
}

// A node is a goal that was met.
type node struct {
	goal  goal
	state nodeState
	value truth
	cut   bool // met again while in progress, and taken for no there
	err   uint32
	low   uint32 // if provisional: the reach of its result

	since    uint32 // evaluator.fleeting when it was met
	fleeting bool   // if final: more than tuples may have decided it
}

type nodeState uint8

const (
	stateActive      nodeState = iota + 1 // on the stack of frames
	stateProvisional                      // done, but depends on an active node
	stateFinal                            // known for good
	stateForgotten                        // was provisional, and what it assumed proved wrong
)

// An evaluator holds the working memory of one call. Evaluators are pooled: a Check
// with a warm one allocates nothing.
type evaluator struct {
	ctx     context.Context // of the call that the evaluator serves, and no longer
	view    View
	plan    *model.Plan
	at      int64 // milliseconds, for expiry
	request condition.Request
	budget  int
	left    int // of the budget
	pulse   int // when left falls below it, the context is looked at
	fatal   error

	subject Subject
	anyone  Subject // the wildcard that also matches the subject; zero if none does
	mayHave []bool  // by relation: whether the model can let the subject have it; nil until needed

	slots  []slot // open addressing from goals to nodes
	epoch  uint32
	nodes  []node
	open   []uint32 // nodes active or provisional, in the order of their creation
	frames []frame
	edges  []followed
	errs   []error
	out    outcome // of the frame finished last
	cursor Cursor
	pages  pages
	asked  uint64 // counts the calls that the evaluator has served, which pages belong to

	maxDepth      uint32 // as Query has it, or unlimited
	shallow       bool   // something was left out because of it
	depthErr      uint32 // the number of ErrDepth; 0 until it is met
	undefinedIsNo bool   // as Query has it
	keepGoing     bool   // as Query has it
	eager         bool   // as Query has EagerConditions
	passed        error  // the first that a list has gone past
	visited       func(edges int)
	pace          func(context.Context) error // as Query has it

	generation *generation // of the cache; nil if there is none to use
	remembered *answers    // about the subject; nil if nothing is
	fleeting   uint32      // conditions and expiries met so far

	entangled bool // the depth-first search met what it cannot decide
	forgot    int  // nodes forgotten so far
}

// A slot belongs to the table only if its epoch is the evaluator's, so that forgetting
// everything costs nothing.
type slot struct {
	epoch uint32
	node  uint32
}

// Pages are the usersets that a call has read last, if they were small. A question about a
// record comes back to the record's module, its owner and the owner's role a dozen times.
type pages [16]page

type page struct {
	userset Userset
	asked   uint64 // evaluator.asked when it was read
	count   int
	edges   [4]Edge
}

// of is the place of a userset.
func (p *pages) of(u Userset) *page {
	return &p[goal{u.Object, u.Relation}.hash()%uint64(len(p))]
}

// A followed edge is one that counts as far as model and expiry say, and whose
// subject is to be asked.
type followed struct {
	subject   Subject
	condition *condition.Condition
	context   *condition.Context
}

var evaluators = sync.Pool{New: func() any {
	return &evaluator{slots: make([]slot, 64)}
}}

// maxPooled keeps one huge question from holding its memory for ever.
const maxPooled = 1 << 16

func newEvaluator(ctx context.Context, q *Query) *evaluator {
	e := evaluators.Get().(*evaluator)
	at := q.At
	if at.IsZero() {
		at = q.View.Time()
	}
	e.ctx, e.view, e.plan, e.at = ctx, q.View, q.Plan, at.UnixMilli()
	e.asked++
	e.request = condition.Request{Fields: q.Context, At: at, BindNow: !q.UnboundNow, Complete: q.EagerConditions}
	e.budget = q.budget()
	e.left, e.pulse, e.fatal = e.budget, e.budget, nil
	e.maxDepth, e.depthErr = unlimited, 0
	if q.MaxDepth > 0 && uint64(q.MaxDepth) < uint64(unlimited) {
		e.maxDepth = uint32(q.MaxDepth)
	}
	e.undefinedIsNo, e.keepGoing = q.UndefinedIsNo, q.KeepGoing
	e.eager, e.visited, e.pace = q.EagerConditions, q.Visited, q.Pace
	if q.Cache != nil && e.maxDepth == unlimited && !e.eager {
		if v, ok := q.View.(Dated); ok {
			e.generation = q.Cache.at(v)
		}
	}
	return e
}

// release tells what was visited and returns the evaluator to the pool. Frames and edges
// of the past may still point at a plan or a context; maxPooled bounds that, and the
// next call overwrites it.
func (e *evaluator) release() {
	if e.visited != nil {
		e.visited(e.budget - e.left)
		e.visited = nil
	}
	e.pace = nil
	if cap(e.nodes) > maxPooled || cap(e.frames) > maxPooled || cap(e.edges) > maxPooled {
		return
	}
	clear(e.errs)
	e.errs = e.errs[:0]
	e.ctx, e.view, e.plan, e.fatal, e.passed = nil, nil, nil, nil, nil
	e.generation, e.remembered = nil, nil
	e.request = condition.Request{}
	e.cursor.Edges = nil
	evaluators.Put(e)
}

// about sets the subject and forgets what was found out about another one.
func (e *evaluator) about(s Subject) {
	e.subject, e.anyone, e.mayHave = s, Subject{}, nil
	if s.Relation == 0 && !s.ID.IsWildcard() {
		e.anyone = Subject{ID: Wildcard(s.ID.Type())}
	}
	e.forget()
	e.remembers(s)
}

// attainable reports whether the model can let the subject have the relation.
func (e *evaluator) attainable(r *model.Relation) bool {
	if e.mayHave == nil {
		e.mayHave = usesOf(e.plan).having(e.subject)
	}
	return e.mayHave[r.ID]
}

// forget forgets what was found out.
func (e *evaluator) forget() {
	e.nodes, e.forgot = e.nodes[:0], 0
	if e.epoch++; e.epoch == 0 {
		clear(e.slots)
		e.epoch = 1
	}
}

// charge takes n edges from the budget. After it, fatal may be set.
func (e *evaluator) charge(n int) {
	e.left -= n
	if e.left < e.pulse {
		e.feel()
	}
}

// pulseEdges is how often a question looks up from its work.
const pulseEdges = 1024

// feel looks at the budget and the context, about every thousand edges.
func (e *evaluator) feel() {
	switch {
	case e.fatal != nil:
	case e.left < 0:
		e.fatal = fmt.Errorf("more than %d edges: %w", e.budget, ErrBudget)
	case e.pace != nil && e.budget-e.left > pulseEdges: // most questions end before
		e.fatal = e.pace(e.ctx)
	default:
		e.fatal = e.ctx.Err()
	}
	e.pulse = max(e.left-pulseEdges, 0)
}

// pass returns the error that ends a list, or nil if the list goes on past it.
func (e *evaluator) pass(err error) error {
	if err == nil || !e.keepGoing {
		return err
	}
	if e.passed == nil {
		e.passed = err
	}
	return nil
}

// listed returns the error of a list that was gone through to its end.
func (e *evaluator) listed() error {
	if e.fatal != nil {
		return e.fatal
	}
	return e.passed
}

// meet notes that a list met an edge whose condition is unsure.
func (e *evaluator) meet(number uint32) {
	if e.eager && e.passed == nil {
		e.passed = e.errorAt(number)
	}
}

// tooDeep is the outcome of a goal beyond the limit of depth.
func (e *evaluator) tooDeep() outcome {
	e.shallow = true
	if e.depthErr == 0 {
		e.depthErr = e.note(ErrDepth)
	}
	return outcome{value: unsure, err: e.depthErr, low: settled, reach: settled}
}

// note keeps an error and returns its number.
func (e *evaluator) note(err error) uint32 {
	e.errs = append(e.errs, err)
	return uint32(len(e.errs))
}

// errorAt is the error of that number.
func (e *evaluator) errorAt(number uint32) error { return e.errs[number-1] }

// find returns the slot of a goal: the one that holds it, or the one to put it in.
func (e *evaluator) find(g goal) *slot {
	mask := uint64(len(e.slots) - 1)
	for i := g.hash() & mask; ; i = (i + 1) & mask {
		s := &e.slots[i]
		if s.epoch != e.epoch || e.nodes[s.node].goal == g {
			return s
		}
	}
}

func (g goal) hash() uint64 {
	// The multipliers are odd and irregular (from xxhash), so that neighbouring
	// sequence numbers and relations spread.
	h := uint64(g.object)*0x9E3779B185EBCA87 ^ uint64(g.relation)*0xC2B2AE3D27D4EB4F
	return h ^ h>>29
}

// add puts a new node in the slot of its goal.
func (e *evaluator) add(s *slot, n node) uint32 {
	i := uint32(len(e.nodes))
	e.nodes = append(e.nodes, n)
	*s = slot{epoch: e.epoch, node: i}
	if 2*len(e.nodes) > len(e.slots) {
		e.grow()
	}
	return i
}

func (e *evaluator) grow() {
	old := e.slots
	e.slots = make([]slot, 4*len(old))
	for _, s := range old {
		if s.epoch == e.epoch {
			*e.find(e.nodes[s.node].goal) = s
		}
	}
}

// admits finds the type restriction that lets the edge count; nil if the model in use
// forbids it.
func admits(r *model.Relation, edge *Edge) *model.Restriction {
	t, wildcard := edge.Subject.ID.Type(), edge.Subject.ID.IsWildcard()
	for i := range r.Allowed {
		a := &r.Allowed[i]
		if a.ConditionID != edge.Condition || a.Wildcard != wildcard || a.Type.ID != t {
			continue
		}
		if a.Relation == nil {
			if edge.Subject.Relation == 0 {
				return a
			}
		} else if a.Relation.ID == edge.Subject.Relation {
			return a
		}
	}
	return nil
}

// counts tells whether an edge of the relation, which is one of the object's, counts in
// this question.
func (e *evaluator) counts(object ID, r *model.Relation, edge *Edge) (truth, uint32) {
	a := admits(r, edge)
	if a == nil || e.expired(edge) {
		return denied, 0
	}
	value, number := e.holds(a.Condition, edge.Context)
	if value == unsure {
		e.blame(number, Userset{Object: object, Relation: r.ID}, edge.Subject, a.Condition)
	}
	return value, number
}

// blame adds to an error of holds which tuple it belongs to.
func (e *evaluator) blame(number uint32, u Userset, s Subject, c *condition.Condition) {
	err := &e.errs[number-1]
	*err = &ConditionError{Userset: u, Subject: s, Condition: c.Name(), Err: *err}
}

// expired reports whether an edge has ceased to count.
func (e *evaluator) expired(edge *Edge) bool {
	if edge.Expires == 0 {
		return false
	}
	e.fleeting++
	return edge.ExpiredAt(e.at)
}

// holds evaluates a condition; nil holds.
func (e *evaluator) holds(c *condition.Condition, stored *condition.Context) (truth, uint32) {
	if c == nil {
		return allowed, 0
	}
	e.fleeting++
	ok, err := c.EvaluateContext(e.ctx, stored, &e.request)
	switch {
	case err != nil:
		return unsure, e.note(err)
	case ok:
		return allowed, 0
	}
	return denied, 0
}
