package graph

import (
	"context"
	"time"

	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/graph/value"
)

// DefaultBudget is how many edges a question may visit if it does not say. It lets
// a list of some hundred thousand entries pass and ends a hostile question within
// about a second.
const DefaultBudget = 1_000_000

// A Query is the circumstances of a question: what is read, by which model, at which
// instant. Its methods may be called one after the other but not concurrently. Each
// call has the whole budget.
type Query struct {
	View View
	Plan *model.Plan

	// At judges expiry and conditions. Zero is the view's time.
	At time.Time

	// Context is the request's own context for conditions; what is stored with a tuple
	// comes before it. It may be nil.
	Context value.Map

	// Budget is how many edges may be visited; 0 is DefaultBudget.
	Budget int

	// UnboundNow makes a condition's timestamp parameter now an ordinary one. By
	// default it is bound to At.
	UnboundNow bool

	// MaxDepth is how far from the question answers are looked for; 0 is without
	// limit. A step leads from a userset along a tuple to another userset: to one that
	// it contains, or to that of an object which a tuple-to-userset names; from one
	// relation of an object to another is no step. A userset to which even the shortest
	// way takes MaxDepth steps counts as an error, ErrDepth, and like any other that
	// shows only if the answer depends on it. A userset that the model cannot let the
	// subject be in counts as what it is, empty, however far away it is.
	//
	// ListSubjects counts one step also from relation to relation, and is as a whole an
	// error if it meets such a userset, for anybody might be in it. ListObjects finds
	// its way from the other end and is not limited.
	MaxDepth int

	// UndefinedIsNo makes an answer that depends on its own negation no. By default it
	// is ErrUndefined.
	UndefinedIsNo bool

	// KeepGoing makes ListObjects and ListSubjects pass over what cannot be decided:
	// they yield all that can be, and the first such error ends the list. What ends a
	// question as a whole, such as its budget or its context, goes before: all that is
	// certain by then is yielded. By default the list ends where the error occurs.
	KeepGoing bool

	// EagerConditions makes a condition that cannot be evaluated an error even where
	// the subject is not in the userset behind its tuple, so that by default the
	// condition would not matter. It does so if none of the tuples to usersets of the
	// same object and relation counts, or if the tuple brought the condition itself,
	// as condition.Inline lets it; but not for a relation that the model cannot let the
	// subject have. Lists become errors if they meet such a condition anywhere on their
	// way. A condition that lacks a parameter cannot be evaluated then, even if the
	// others decide it.
	EagerConditions bool

	// Cache, if not nil, is of the view's store and of Plan, and saves Check, ListActions and
	// ListObjects what it remembers. It is not used together with MaxDepth or
	// EagerConditions, nor with a view that is not Dated.
	Cache *Cache

	// Pace, if not nil, is called each time that a question has visited another thousand
	// edges or so, so that it can wait while others go on, and ends the question if it
	// returns an error. It stands in for asking whether the context has ended.
	Pace func(ctx context.Context) error

	// Visited, if not nil, is told how many edges a question visited, when it is done.
	// Explain tells of its Check alone, and Expand of nothing. It must not hold the
	// question up.
	Visited func(edges int)
}

// budget is how many edges one question may visit.
func (q *Query) budget() int {
	if q.Budget <= 0 {
		return DefaultBudget
	}
	return q.Budget
}

// A SubjectKind is what ListSubjects looks for: the entities of a type, or its usersets
// of one relation.
type SubjectKind struct {
	Type     *model.Type
	Relation *model.Relation // nil: entities
}

// A ListedSubject is one answer of ListSubjects. If the subject is a wildcard, Excluded
// are the entities of its type that do not have the relation, in the order of their
// ids.
type ListedSubject struct {
	Subject  Subject
	Excluded []ID
}

// Check reports whether the subject has the relation to the object.
//
// An error is never an answer: it means that a condition could not be evaluated and
// the answer depends on it (*ConditionError), that the answer depends on its own
// negation (ErrUndefined) or on what lies too deep (ErrDepth), or that the question
// ended early (ErrBudget, the context, a fault of the view).
func (q *Query) Check(ctx context.Context, u Userset, s Subject) (bool, error) {
	e := newEvaluator(ctx, q)
	defer e.release()
	e.about(s)
	return e.check(u)
}

// ListActions finds those of the relations that the subject has to the object, in the
// order given. Relations of another type than the object's are never among them.
func (q *Query) ListActions(ctx context.Context, object ID, s Subject, relations []*model.Relation) ([]*model.Relation, error) {
	e := newEvaluator(ctx, q)
	defer e.release()
	e.about(s)
	var held []*model.Relation
	for _, r := range relations {
		if r.Type.ID != object.Type() {
			continue
		}
		ok, err := e.check(Userset{Object: object, Relation: r.ID})
		if err != nil {
			return nil, err
		}
		if ok {
			held = append(held, r)
		}
	}
	return held, nil
}
