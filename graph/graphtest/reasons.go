package graphtest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

const (
	expandDepth  = 5
	expandBudget = 20_000
)

// expand asks for the tree of a userset, and reads off it whether the subject is in.
// What the tree leaves out is undefined.
func (a *asker) expand(ctx context.Context, query *graph.Query, u graph.Userset, s graph.Subject, out *answer) {
	bounded := graph.Query{
		View: query.View, Plan: query.Plan, At: query.At, Context: query.Context, UnboundNow: query.UnboundNow,
		Budget: expandBudget,
	}
	tree, err := bounded.Expand(ctx, u, expandDepth)
	if out.err = err; err == nil {
		out.tree = inTree(tree, s)
	}
}

// inTree is the value of a tree for an entity or a wildcard.
func inTree(tree *graph.Expansion, s graph.Subject) Truth {
	value := False
	if tree.Cut {
		value = Undefined
	}
	switch tree.Op {
	case model.OpIntersection:
		value = True
		for _, child := range tree.Children {
			value = min(value, inTree(child, s))
		}
		return value
	case model.OpExclusion:
		return min(inTree(tree.Children[0], s), not(inTree(tree.Children[1], s)))
	case model.OpDirect:
		for _, edge := range tree.Edges {
			if edge.Subject == s || edge.Subject == (graph.Subject{ID: graph.Wildcard(s.ID.Type())}) {
				return True
			}
		}
	}
	for _, child := range tree.Children {
		value = max(value, inTree(child, s))
	}
	return value
}

// explain asks for the reasons of an answer, and tries them: the proof must suffice and
// have nothing too much, and what is nearest must help.
func (a *asker) explain(ctx context.Context, query *graph.Query, u graph.Userset, s graph.Subject, out *answer) error {
	e, err := query.Explain(ctx, u, s)
	if out.err = err; err != nil {
		return nil
	}
	out.allowed = e.Allowed
	if !e.Allowed {
		return a.nearest(ctx, query, u, s, e.Nearest)
	}
	if ok, err := proves(ctx, query, e.Proof, u, s); !ok {
		return fmt.Errorf("the proof does not suffice (%s): %s", reasonText(err), a.rowsText(e.Proof))
	}
	for i, row := range e.Proof {
		if ok, _ := proves(ctx, query, slices.Delete(slices.Clone(e.Proof), i, i+1), u, s); ok {
			return fmt.Errorf("the proof does not need %s: %s", a.rowText(row), a.rowsText(e.Proof))
		}
	}
	return nil
}

// proves asks a store that has these tuples alone.
func proves(ctx context.Context, query *graph.Query, rows []graph.Row, u graph.Userset, s graph.Subject) (bool, error) {
	only := graph.NewMemory(1, time.Time{})
	for _, row := range rows {
		only.PutRow(row)
	}
	q := graph.Query{View: only, Plan: query.Plan, At: query.At, Context: query.Context, UnboundNow: query.UnboundNow}
	return q.Check(ctx, u, s)
}

func (a *asker) nearest(ctx context.Context, query *graph.Query, u graph.Userset, s graph.Subject, edits []graph.Edit) error {
	if len(edits) == 0 {
		return nil
	}
	if len(edits) > graph.MaxNearest {
		return fmt.Errorf("the nearest miss has %d changes", len(edits))
	}
	for skipped := -1; skipped < len(edits); skipped++ {
		o := graph.NewOverlay(a.view)
		text := ""
		for i, edit := range edits {
			if i == skipped {
				continue
			}
			if edit.Remove {
				o.Remove(edit.Row.Userset, edit.Row.Edge.Subject)
				text += " remove"
			} else {
				o.Put(edit.Row)
			}
			text += " " + a.rowText(edit.Row)
		}
		q := graph.Query{View: o, Plan: query.Plan, At: query.At, Context: query.Context, UnboundNow: query.UnboundNow}
		ok, err := q.Check(ctx, u, s)
		switch {
		case skipped < 0 && !ok:
			return fmt.Errorf("the nearest miss does not help (%s):%s", reasonText(err), text)
		case skipped >= 0 && ok:
			return fmt.Errorf("the nearest miss has changes too many: these are enough:%s", text)
		}
	}
	return nil
}

func reasonText(err error) string {
	if err == nil {
		return "denied"
	}
	return err.Error()
}

func (a *asker) rowsText(rows []graph.Row) string {
	text := ""
	for _, row := range rows {
		text += "\n  " + a.rowText(row)
	}
	return text
}

// rowText is a row in names, as far as they are known.
func (a *asker) rowText(row graph.Row) string {
	object, _ := a.name(row.Userset.Object)
	subject, _ := a.name(row.Edge.Subject.ID)
	relation := func(id model.RelationID) string {
		if r := a.opened.Written.Relation(id); r != nil {
			return r.Name
		}
		return ""
	}
	subject.Relation = relation(row.Edge.Subject.Relation)
	text := subjectText(object) + "#" + relation(row.Userset.Relation) + "@" + subjectText(subject)
	if row.Edge.Condition != 0 {
		text += " with a condition"
	}
	return text
}
