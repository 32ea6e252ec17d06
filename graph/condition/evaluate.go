package condition

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"

	"github.com/remit-authz/remit/graph/value"
)

// A Request is what a question brings for the conditions it meets. Its fields must not
// change once it was used. It is safe for concurrent use, and must not be copied.
type Request struct {
	// Fields are the request's context. Names that a condition does not know are for
	// other conditions.
	Fields value.Map

	// At is the instant of the question. With BindNow, it is the value of a timestamp
	// parameter named now, whatever Fields and stored contexts say.
	At      time.Time
	BindNow bool

	// Complete makes it an error that a parameter is missing, even if the result does not
	// depend on it.
	Complete bool

	// conditions are those met so far, with what Fields are for them.
	conditions atomic.Pointer[boundList]
}

// A boundList is a linked list, which grows at its head without a lock.
type boundList struct {
	bound
	next *boundList
	size int // of the list from here
}

// maxBound bounds what a request remembers. The tuples that it meets may each have an
// expression of its own, which are not worth a search through all of them.
const maxBound = 64

func (r *Request) bind(to *Condition) *bound {
	if r == nil || len(r.Fields) == 0 && !r.binds(to) {
		return &none
	}
	head := r.conditions.Load()
	for l := head; l != nil; l = l.next {
		if l.condition == to {
			return &l.bound
		}
	}
	l := &boundList{bound: bound{condition: to}, next: head, size: 1}
	if head != nil {
		l.size += head.size
	}
	l.values = to.convertAll(r.Fields)
	if r.binds(to) {
		l.values[to.now] = types.Timestamp{Time: r.At.UTC()}
	}
	if l.size <= maxBound {
		// If another goroutine was faster, its entry stays and this one is used once.
		r.conditions.CompareAndSwap(head, l)
	}
	return &l.bound
}

// binds reports whether the request gives the condition its now.
func (r *Request) binds(to *Condition) bool { return r.BindNow && to.now >= 0 }

// Evaluate reports whether the condition holds. Both contexts may be nil. Its errors are
// *TypeError, *MissingError and *EvaluationError; the last wraps ErrCost if the limit of
// costs was met.
func (c *Condition) Evaluate(stored *Context, request *Request) (bool, error) {
	return c.EvaluateContext(context.Background(), stored, request)
}

// EvaluateContext is Evaluate for expressions that may take long: it returns the error
// of ctx soon after that ends.
func (c *Condition) EvaluateContext(ctx context.Context, stored *Context, request *Request) (bool, error) {
	if c == Inline {
		own, err := stored.inline()
		if err != nil {
			return false, &EvaluationError{Condition: c.name, Err: err}
		}
		c, stored = own, nil
	}
	a := activations.Get().(*activation)
	defer a.release()
	if err := a.fill(c, stored, request); err != nil {
		return false, err
	}
	var out ref.Val
	var err error
	if c.loops && ctx.Done() != nil {
		out, _, err = c.program.ContextEval(ctx, a)
	} else {
		out, _, err = c.program.Eval(a)
	}
	if err != nil {
		return false, c.failure(ctx, err)
	}
	complete := request != nil && request.Complete
	switch out := out.(type) {
	case types.Bool:
		if complete && len(a.unknown) > 0 {
			return false, c.missing(a, nil)
		}
		return bool(out), nil
	case *types.Unknown:
		if complete {
			out = nil
		}
		return false, c.missing(a, out)
	}
	return false, &EvaluationError{Condition: c.name, Err: errors.New("the expression did not yield a bool")}
}

func (c *Condition) failure(ctx context.Context, err error) error {
	var cancelled interpreter.EvalCancelledError
	switch {
	case errors.As(err, &cancelled) && cancelled.Cause == interpreter.CostLimitExceeded:
		return &EvaluationError{Condition: c.name, Err: ErrCost}
	case errors.Is(err, interpreter.InterruptError{}) && ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return &EvaluationError{Condition: c.name, Err: err}
}

// missing names the parameters that a result depends on, or if it is nil, all that are
// missing.
func (c *Condition) missing(a *activation, u *types.Unknown) error {
	e := &MissingError{Condition: c.name}
	var ids []int64
	if u != nil {
		ids = u.IDs()
	}
	for _, id := range ids {
		trails, _ := u.GetAttributeTrails(id)
		for _, t := range trails {
			if _, ok := c.index[t.Variable()]; ok && !slices.Contains(e.Fields, t.Variable()) {
				e.Fields = append(e.Fields, t.Variable())
			}
		}
	}
	if e.Fields == nil {
		for i, v := range a.values {
			if v == nil {
				e.Fields = append(e.Fields, c.parameters[i].Name)
			}
		}
	}
	slices.Sort(e.Fields)
	return e
}

// An activation gives CEL the values of one evaluation.
type activation struct {
	condition *Condition
	values    []ref.Val // by parameter, nil where it is missing
	unknown   []*cel.AttributePatternType
}

var activations = sync.Pool{New: func() any { return new(activation) }}

func (a *activation) release() {
	clear(a.values)
	clear(a.unknown)
	a.condition, a.values, a.unknown = nil, a.values[:0], a.unknown[:0]
	activations.Put(a)
}

// fill merges the contexts: stored wins over request, and the bound instant over both.
func (a *activation) fill(c *Condition, stored *Context, request *Request) error {
	s := stored.bind(c)
	if s.err != nil {
		return s.err
	}
	r := request.bind(c)
	a.condition = c
	for i := range c.parameters {
		var v ref.Val
		switch {
		case i == c.now && request != nil && request.BindNow:
			v = r.values[i]
		case s.values != nil && s.values[i] != nil:
			v = s.values[i]
		case r.values != nil:
			if v = r.values[i]; v != nil && types.IsError(v) {
				return v.(*types.Err).Unwrap()
			}
		}
		a.values = append(a.values, v)
		if v == nil {
			a.unknown = append(a.unknown, c.patterns[i])
		}
	}
	return nil
}

// ResolveName is part of cel.Activation.
func (a *activation) ResolveName(name string) (any, bool) {
	i, ok := a.condition.index[name]
	if !ok || a.values[i] == nil {
		return nil, false
	}
	return a.values[i], true
}

// Parent is part of cel.Activation.
func (a *activation) Parent() cel.Activation { return nil }

// AsPartialActivation tells CEL that parameters are missing, and spares it the search
// for them if none is.
func (a *activation) AsPartialActivation() (cel.PartialActivation, bool) {
	return a, len(a.unknown) > 0
}

// UnknownAttributePatterns is part of cel.PartialActivation.
func (a *activation) UnknownAttributePatterns() []*cel.AttributePatternType { return a.unknown }
