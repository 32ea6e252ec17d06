package crm

import (
	"context"
	"fmt"
	"slices"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/condition"
	"github.com/remit-authz/remit/graph/model"
)

// A previewSide is one of the two states that a preview compares.
type previewSide uint8

const (
	sideBefore previewSide = iota
	sideAfter
)

var bothSides = [...]previewSide{sideBefore, sideAfter}

// A previewWorld is the two states. It does not change once it is open.
type previewWorld struct {
	base    graph.View
	overlay *graph.Overlay
	plans   [2]*model.Plan
	at      int64 // milliseconds, for expiry
	request *condition.Request

	edits   []graph.Userset        // of which tuples are written or deleted
	edited  map[graph.Userset]bool // the same
	touched map[graph.ID]bool      // their objects
	userOf  map[graph.ID]uint32    // the number of each seat, before or after
	users   []graph.ID             // by number
	all     *crowd
	userID  model.TypeID
}

// openWorld lays the changes on the view.
func openWorld(p *Preview, c Changes) (*previewWorld, error) {
	at := p.At
	if at.IsZero() {
		at = p.View.Time()
	}
	after := p.After
	if after == nil {
		after = p.Plan
	}
	w := &previewWorld{
		base: p.View, overlay: graph.NewOverlay(p.View), plans: [2]*model.Plan{p.Plan, after},
		at: at.UnixMilli(), request: &condition.Request{At: at, BindNow: true},
		edited: map[graph.Userset]bool{}, touched: map[graph.ID]bool{}, userOf: map[graph.ID]uint32{},
	}
	for _, t := range c.Delete {
		if err := w.remove(t); err != nil {
			return nil, err
		}
	}
	for _, t := range c.Put {
		if err := w.overlay.PutTuple(after, t); err != nil {
			return nil, fmt.Errorf("preview putting %s: %w", t, err)
		}
		if err := w.edit(after, t); err != nil {
			return nil, err
		}
	}
	return w, w.people()
}

// remove hides a tuple, which the model before knows.
func (w *previewWorld) remove(t graph.Tuple) error {
	kind, err := graph.ResolveKind(w.plans[sideBefore], t.Subject.Type, t.Subject.Relation)
	if err != nil {
		return fmt.Errorf("preview deleting %s: %w", t, err)
	}
	if err := w.edit(w.plans[sideBefore], t); err != nil {
		return err
	}
	s := graph.Subject{}
	if kind.Relation != nil {
		s.Relation = kind.Relation.ID
	}
	if s.ID, err = w.overlay.Entity(kind.Type.ID, t.Subject.ID); err != nil {
		return err
	}
	w.overlay.Remove(w.edits[len(w.edits)-1], s)
	return nil
}

// edit notes that a tuple's userset has other tuples afterwards.
func (w *previewWorld) edit(p *model.Plan, t graph.Tuple) error {
	r, err := graph.ResolveRelation(p, t.Object.Type, t.Relation)
	if err != nil {
		return fmt.Errorf("preview %s: %w", t, err)
	}
	object, err := w.overlay.Entity(r.Type.ID, t.Object.ID)
	if err != nil {
		return err
	}
	u := graph.Userset{Object: object, Relation: r.ID}
	w.edits = append(w.edits, u)
	w.edited[u], w.touched[object] = true, true
	return nil
}

// people numbers those who have a seat on either side: nobody else may do anything.
func (w *previewWorld) people() error {
	for _, side := range bothSides {
		org, ok, err := w.organisation(side)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		seat, err := graph.ResolveRelation(w.plans[side], typeOrg, relSeat)
		if err != nil {
			return err
		}
		var c graph.Cursor
		u := graph.Userset{Object: org, Relation: seat.ID}
		for view := w.view(side, u); !c.Done; {
			if err := view.Subjects(u, &c); err != nil {
				return err
			}
			for i := range c.Edges {
				w.users = append(w.users, c.Edges[i].Subject.ID)
			}
		}
	}
	slices.Sort(w.users)
	w.users = slices.Compact(w.users)
	for i, id := range w.users {
		w.userOf[id] = uint32(i)
	}
	if len(w.users) > 0 {
		w.userID = w.users[0].Type()
		everybody := make([]uint32, len(w.users))
		for i := range everybody {
			everybody[i] = uint32(i)
		}
		w.all = newCrowdMaker(len(w.users), 0).ofList(everybody)
	}
	return nil
}

// organisation finds the one organisation, to which each tool points.
func (w *previewWorld) organisation(side previewSide) (graph.ID, bool, error) {
	r, err := graph.ResolveRelation(w.plans[side], typeTool, relOrg)
	if err != nil {
		return 0, false, err
	}
	tool, ok, err := w.overlay.Lookup(r.Type.ID, string(ToolExport))
	if !ok || err != nil {
		return 0, false, err
	}
	var c graph.Cursor
	u := graph.Userset{Object: tool, Relation: r.ID}
	if err := w.view(side, u).Subjects(u, &c); err != nil || len(c.Edges) == 0 {
		return 0, false, err
	}
	return c.Edges[0].Subject.ID, true, nil
}

// view is where the tuples of a userset stand.
func (w *previewWorld) view(side previewSide, u graph.Userset) graph.View {
	if u.Object.IsLocal() && side == sideAfter || len(w.edited) > 0 && side == sideAfter && w.edited[u] {
		return w.overlay
	}
	return w.base
}

// counts reports whether a tuple counts at the instant, by the model of its side.
func (w *previewWorld) counts(ctx context.Context, r *model.Relation, e *graph.Edge) (bool, error) {
	if e.ExpiredAt(w.at) {
		return false, nil
	}
	for i := range r.Allowed {
		a := &r.Allowed[i]
		if a.ConditionID != e.Condition || a.Wildcard != e.Subject.ID.IsWildcard() || a.Type.ID != e.Subject.ID.Type() {
			continue
		}
		if a.Relation == nil && e.Subject.Relation == 0 || a.Relation != nil && a.Relation.ID == e.Subject.Relation {
			if a.Condition == nil {
				return true, nil
			}
			return a.Condition.EvaluateContext(ctx, e.Context, w.request)
		}
	}
	return false, nil
}
