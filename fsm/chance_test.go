package fsm

import (
	"math/rand/v2"
	"testing"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/value"
)

// A chance makes random commands over few names, so that they meet.
type chance struct {
	*rand.Rand
	t testing.TB
}

func (r *chance) pick(names ...string) string { return names[r.IntN(len(names))] }

func (r *chance) tuple() TupleKey {
	k := TupleKey{Object: Entity{typeDocument, r.pick("plan", "Plan", "a|b/c.d@e", "ü")}, Relation: relViewer}
	if r.IntN(3) == 0 {
		k = TupleKey{Object: Entity{typeGroup, r.pick("eng", "ops")}, Relation: relMember}
	}
	switch r.IntN(5) {
	case 0:
		k.Subject = Entity{typeUser, "*"}
	case 1:
		k.Subject, k.SubjectRelation = Entity{typeGroup, r.pick("eng", "ops", "hr")}, relMember
	default:
		k.Subject = Entity{typeUser, r.pick("anna", "bert", "cleo", "dora")}
	}
	return k
}

func (r *chance) operation(now int64) Operation {
	o := Operation{Tuple: r.tuple()}
	switch r.IntN(14) {
	case 0, 1, 2:
		o.Kind = CreateTuple
	case 3, 4:
		o.Kind = TouchTuple
	case 5, 6:
		return Operation{Kind: DeleteTuple, Tuple: o.Tuple}
	case 7, 8:
		o.Kind = EnsureTuple
	case 9, 10:
		return Operation{Kind: RemoveTuple, Tuple: o.Tuple}
	case 11, 12:
		return Operation{
			Kind: PutDocument, Entity: Entity{typeDocument, r.pick("plan", "x")},
			Fields: mustFields(r.t, value.Map{"n": int64(r.IntN(3)), "by": r.pick("", "", "anna", "user:bert", "annabel")}),
		}
	default:
		return Operation{Kind: DeleteDocument, Entity: Entity{typeDocument, r.pick("plan", "x")}}
	}
	if r.IntN(3) == 0 {
		o.Condition = conditionOne
		if r.IntN(2) == 0 {
			o.Context = mustFields(r.t, value.Map{"c": r.pick("x", "y", "anna", "not bert")})
		}
	}
	if r.IntN(3) == 0 {
		o.Expires = now + int64(r.IntN(20)) - 3
	}
	return o
}

func (r *chance) command(rev graph.Revision, now int64) *Command {
	c := &Command{Store: storeNumber(byte(r.IntN(2))), Principal: r.pick("p", "p", "anna", "dora"), Reason: "random"}
	switch r.IntN(40) {
	case 0:
		c.Body = &DeleteStore{}
		return c
	case 1, 2:
		c.Body = &AdvanceHistory{Horizon: max(rev-graph.Revision(r.IntN(40)), 1)}
		return c
	case 3, 4:
		c.Body = &AdvanceExpiry{Horizon: now - int64(r.IntN(4))}
		return c
	case 5:
		c.Body = &CreateStore{Name: "acme"}
		return c
	}
	if r.IntN(40) == 0 {
		c.Body = &SetRetention{Retention: []int64{0, 1, DefaultRetention, Forever}[r.IntN(4)]}
		return c
	}
	if r.IntN(12) == 0 {
		c.Body = &WriteAssertions{Model: modelNumber(byte(1 + r.IntN(6)/5)), Content: []byte(r.pick("", "a", "bb", "a"))}
		return c
	}
	w := &Write{}
	for range 1 + r.IntN(4) {
		w.Operations = append(w.Operations, r.operation(now))
	}
	c.Body = w
	if r.IntN(4) == 0 {
		c.Bumps = []string{r.pick("a", "b")}
	}
	if r.IntN(8) == 0 {
		c.Requires = []ScopeVersion{{r.pick("a", "b"), uint64(r.IntN(4))}}
	}
	if r.IntN(6) == 0 {
		c.Preconditions = []Precondition{{Kind: TuplePresent + PreconditionKind(r.IntN(2)), Tuple: r.tuple()}}
	}
	if r.IntN(12) == 0 {
		c.Preconditions = append(c.Preconditions, Precondition{
			Kind: TupleRevision, Tuple: r.tuple(), Version: uint64(rev-min(rev, graph.Revision(r.IntN(6)))) * uint64(r.IntN(2)),
		})
	}
	return c
}
