package storetest

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/rpc"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// explain adds the reasons for an answer. An explanation that fails is left out: the
// assertion has failed already, and that is what must be told.
func (a *Assertion) explain(ctx context.Context, q *question, asked *remitv1.Question) {
	u, err := q.userset(asked.GetObject(), asked.GetRelation())
	if err != nil {
		return
	}
	s, err := q.subject(asked.GetSubject())
	if err != nil {
		return
	}
	e, err := q.Explain(ctx, u, s)
	if err != nil {
		return
	}
	n := &namer{view: q.View, plan: q.Plan, subject: asked.GetSubject()}
	message := n.explanation(e)
	if a.At != nil {
		message.At = timestamppb.New(*a.At)
	}
	if n.err == nil {
		a.Why = append(a.Why, Why{Question: asked, Explanation: message})
	}
}

// A namer turns an explanation's ids into names, in the shape that the API has, so that
// one printer serves both.
type namer struct {
	view    graph.View
	plan    *model.Plan
	subject string
	err     error
}

func (n *namer) explanation(e *graph.Explanation) *remitv1.ExplainResponse {
	message := &remitv1.ExplainResponse{Allowed: e.Allowed, Reason: n.reason(e.Reason)}
	for _, row := range e.Proof {
		message.Proof = append(message.Proof, &remitv1.ProofTuple{Tuple: n.tuple(row)})
	}
	for _, edit := range e.Nearest {
		kind := remitv1.TupleChange_KIND_ADD
		if edit.Remove {
			kind = remitv1.TupleChange_KIND_REMOVE
		}
		message.Nearest = append(message.Nearest, &remitv1.TupleChange{Kind: kind, Tuple: n.tuple(edit.Row)})
	}
	return message
}

func (n *namer) reason(r *graph.Reason) *remitv1.Reason {
	if r == nil {
		return nil
	}
	message := &remitv1.Reason{
		Kind: rpc.ReasonKind(r.Kind), Granted: r.Granted, Note: r.Note,
		Question: n.userset(r.Userset) + "@" + n.subject,
	}
	if r.Edge != nil {
		message.Tuple = n.tuple(*r.Edge)
	}
	for _, child := range r.Children {
		message.Children = append(message.Children, n.reason(child))
	}
	return message
}

func (n *namer) userset(u graph.Userset) string {
	object, err := objectName(n.view, n.plan, u.Object)
	if err != nil {
		n.err = err
		return ""
	}
	if r := n.plan.Relation(u.Relation); r != nil {
		return object + "#" + r.Name
	}
	return object
}

func (n *namer) tuple(row graph.Row) *remitv1.Tuple {
	object, err := objectName(n.view, n.plan, row.Userset.Object)
	if err != nil {
		n.err = err
	}
	subject, err := subjectName(n.view, n.plan, row.Edge.Subject)
	if err != nil {
		n.err = err
	}
	t := &remitv1.Tuple{Object: object, Subject: subject}
	if r := n.plan.Relation(row.Userset.Relation); r != nil {
		t.Relation = r.Name
	}
	if c := n.plan.Condition(row.Edge.Condition); c != nil {
		t.Condition = &remitv1.Condition{Name: c.Name()}
		if row.Edge.Context != nil {
			// What JSON cannot hold is not shown; it only explains.
			t.Condition.Context, _ = structpb.NewStruct(row.Edge.Context.Fields())
		}
	}
	if row.Edge.Expires != 0 {
		t.ExpiresAt = timestamppb.New(time.UnixMilli(row.Edge.Expires))
	}
	return t
}

// objectName is an entity as people write it.
func objectName(view graph.View, plan *model.Plan, id graph.ID) (string, error) {
	t := plan.TypeByID(id.Type())
	if t == nil {
		return "", fmt.Errorf("entity %s is of no type of the model", id)
	}
	if id.IsWildcard() {
		return t.Name + ":*", nil
	}
	name, err := view.Name(id)
	return t.Name + ":" + name, err
}

// subjectName is a subject as people write it.
func subjectName(view graph.View, plan *model.Plan, s graph.Subject) (string, error) {
	name, err := objectName(view, plan, s.ID)
	if err != nil || s.Relation == 0 {
		return name, err
	}
	if r := plan.Relation(s.Relation); r != nil {
		return name + "#" + r.Name, nil
	}
	return "", fmt.Errorf("relation %d is not in the model", s.Relation)
}
