package graphtest

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/condition"
	"github.com/remit-authz/remit/graph/model"
)

// Opened is a store as a backend shows it, with both models compiled to its ids.
type Opened struct {
	View           graph.View
	Written, Asked *model.Plan

	// Cache, if not nil, is used by all questions.
	Cache *graph.Cache
}

// WithCache makes all questions use a cache of every relation.
func (o Opened) WithCache() Opened {
	o.Cache = graph.NewCache(o.Asked, Relations(o.Asked), func() int64 { return 1 << 20 })
	return o
}

// Relations are all those of a plan.
func Relations(p *model.Plan) []*model.Relation {
	var all []*model.Relation
	for _, t := range p.Types() {
		all = append(all, t.Relations...)
	}
	return all
}

// An answer is what the evaluator said, in names.
type answer struct {
	allowed  bool
	subjects []graph.SubjectName // listed, objects as their entities
	excluded []graph.SubjectName
	order    []graph.Subject // of what was listed
	actions  []string
	tree     Truth // read off an expansion
	err      error
}

// An asker puts a scenario's questions to the evaluator.
type asker struct {
	opened  Opened
	view    graph.View
	overlay *graph.Overlay
	queries []*asked
}

type asked struct {
	circumstances *Circumstances
	query         *graph.Query
}

// newAsker lays what the request brings over the store. Ids for names that the store
// does not know are given out before the first question, as a server does.
func newAsker(o Opened, s *scenario) (*asker, error) {
	a := &asker{opened: o, view: o.View}
	for _, t := range s.hidden {
		u, subject, err := a.resolve(t)
		if err != nil {
			return nil, err
		}
		a.over().Remove(u, subject)
	}
	for _, t := range s.contextual {
		if err := a.put(t); err != nil {
			return nil, err
		}
	}
	for i := range s.questions {
		q := &s.questions[i]
		if q.object.ID != "" {
			if _, err := a.entity(q.object.Type, q.object.ID); err != nil {
				return nil, err
			}
		}
		if q.subject.ID != "" {
			if _, err := a.entity(q.subject.Type, q.subject.ID); err != nil {
				return nil, err
			}
		}
	}
	return a, nil
}

func (a *asker) over() *graph.Overlay {
	if a.overlay == nil {
		a.overlay = graph.NewOverlay(a.opened.View)
		a.view = a.overlay
	}
	return a.overlay
}

// put adds a contextual tuple without asking whether the model allows it: what is
// forbidden must be ignored by the evaluator.
func (a *asker) put(t graph.Tuple) error {
	row, err := a.row(t)
	if err != nil {
		return err
	}
	a.over().Put(row)
	return nil
}

func (a *asker) row(t graph.Tuple) (graph.Row, error) {
	u, subject, err := a.resolve(t)
	if err != nil {
		return graph.Row{}, err
	}
	row := graph.Row{Userset: u, Edge: graph.Edge{Subject: subject}}
	if t.Condition != "" {
		if row.Edge.Condition = conditionID(a.opened.Written, t.Condition); row.Edge.Condition == 0 {
			return graph.Row{}, fmt.Errorf("no condition %s", t.Condition)
		}
		if row.Edge.Context, err = condition.NewContext(t.Context); err != nil {
			return graph.Row{}, err
		}
	}
	if !t.Expires.IsZero() {
		row.Edge.Expires = t.Expires.UnixMilli()
	}
	return row, nil
}

func (a *asker) resolve(t graph.Tuple) (graph.Userset, graph.Subject, error) {
	object, err := a.entity(t.Object.Type, t.Object.ID)
	if err != nil {
		return graph.Userset{}, graph.Subject{}, err
	}
	relation, err := relationID(a.opened.Written, t.Object.Type, t.Relation)
	if err != nil {
		return graph.Userset{}, graph.Subject{}, err
	}
	subject, err := a.subject(t.Subject)
	return graph.Userset{Object: object, Relation: relation}, subject, err
}

func (a *asker) subject(s graph.SubjectName) (graph.Subject, error) {
	id, err := a.entity(s.Type, s.ID)
	if err != nil || s.Relation == "" {
		return graph.Subject{ID: id}, err
	}
	relation, err := relationID(a.opened.Written, s.Type, s.Relation)
	return graph.Subject{ID: id, Relation: relation}, err
}

func (a *asker) entity(typ, name string) (graph.ID, error) {
	t, ok := a.opened.Written.Type(typ)
	if !ok {
		return 0, fmt.Errorf("no type %s", typ)
	}
	if id, ok, err := a.view.Lookup(t.ID, name); ok || err != nil {
		return id, err
	}
	return a.over().Entity(t.ID, name)
}

func relationID(p *model.Plan, typ, name string) (model.RelationID, error) {
	if t, ok := p.Type(typ); ok {
		if r, ok := t.Relation(name); ok {
			return r.ID, nil
		}
	}
	return 0, fmt.Errorf("no relation %s#%s", typ, name)
}

// conditionID finds a condition by name, 0 if the plan has none of the name. A plan
// does not say how many ids there are; generated models have few.
func conditionID(p *model.Plan, name string) model.ConditionID {
	for id := model.ConditionID(1); id < 64; id++ {
		if c := p.Condition(id); c != nil && c.Name() == name {
			return id
		}
	}
	return 0
}

// query is the one Query for all questions under the same circumstances, so that
// nothing of one answer may leak into the next.
func (a *asker) query(c *Circumstances) *graph.Query {
	for _, q := range a.queries {
		if q.circumstances == c {
			return q.query
		}
	}
	q := a.fresh(c)
	a.queries = append(a.queries, &asked{c, q})
	return q
}

func (a *asker) fresh(c *Circumstances) *graph.Query {
	return &graph.Query{View: a.view, Plan: a.opened.Asked, At: c.At, Context: c.Context, UnboundNow: c.UnboundNow, Cache: a.opened.Cache}
}

// ask puts one question. A panic is an answer like any other, and a wrong one.
func (a *asker) ask(ctx context.Context, query *graph.Query, q *question) (out answer, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("panic: %v\n%s", fault, debug.Stack())
		}
	}()
	var (
		object  graph.ID
		subject graph.Subject
	)
	if q.object.ID != "" {
		if object, err = a.entity(q.object.Type, q.object.ID); err != nil {
			return out, err
		}
	}
	if q.subject.ID != "" {
		if subject, err = a.subject(q.subject); err != nil {
			return out, err
		}
	}
	typ, ok := a.opened.Asked.Type(q.object.Type)
	if !ok {
		return out, fmt.Errorf("no type %s", q.object.Type)
	}
	if q.kind == askActions {
		var actions []*model.Relation
		actions, out.err = query.ListActions(ctx, object, subject, typ.Relations)
		for _, r := range actions {
			out.actions = append(out.actions, r.Name)
		}
		slices.Sort(out.actions)
		return out, nil
	}
	relation, ok := typ.Relation(q.relation)
	if !ok {
		return out, fmt.Errorf("no relation %s#%s", q.object.Type, q.relation)
	}
	userset := graph.Userset{Object: object, Relation: relation.ID}
	switch q.kind {
	case askCheck:
		out.allowed, out.err = query.Check(ctx, userset, subject)
		return out, nil
	case askExpand:
		a.expand(ctx, query, userset, subject, &out)
	case askExplain:
		err = a.explain(ctx, query, userset, subject, &out)
	case askObjects:
		err = a.listObjects(ctx, query, relation, subject, &out)
	default:
		err = a.listSubjects(ctx, query, userset, q.subject, &out)
	}
	return out, err
}

func (a *asker) listObjects(ctx context.Context, query *graph.Query, r *model.Relation, s graph.Subject, out *answer) error {
	var failed error
	out.err = query.ListObjects(ctx, r, s, 0, func(id graph.ID) bool {
		name, err := a.name(id)
		if err != nil {
			failed = err
			return false
		}
		out.subjects = append(out.subjects, name)
		out.order = append(out.order, graph.Subject{ID: id})
		return true
	})
	if failed != nil || out.err != nil || len(out.order) == 0 {
		return failed
	}
	// Behind any of them, the list goes on as it would have.
	at := len(out.order) / 2
	var rest []graph.Subject
	err := query.ListObjects(ctx, r, s, out.order[at].ID, func(id graph.ID) bool {
		rest = append(rest, graph.Subject{ID: id})
		return true
	})
	if err == nil && !slices.Equal(rest, out.order[at+1:]) {
		err = fmt.Errorf("behind %v the list goes on with %v, want %v", out.order[at], rest, out.order[at+1:])
	}
	return err
}

func (a *asker) listSubjects(ctx context.Context, query *graph.Query, u graph.Userset, of graph.SubjectName, out *answer) error {
	typ, ok := a.opened.Asked.Type(of.Type)
	if !ok {
		return fmt.Errorf("no type %s", of.Type)
	}
	kind := graph.SubjectKind{Type: typ}
	if of.Relation != "" {
		if kind.Relation, ok = typ.Relation(of.Relation); !ok {
			return fmt.Errorf("no relation %s#%s", of.Type, of.Relation)
		}
	}
	var failed error
	out.err = query.ListSubjects(ctx, u, kind, graph.Subject{}, func(l graph.ListedSubject) bool {
		name, err := a.name(l.Subject.ID)
		failed = err
		name.Relation = of.Relation
		if kind.Relation != nil && l.Subject.Relation != kind.Relation.ID || kind.Relation == nil && l.Subject.Relation != 0 {
			failed = fmt.Errorf("listed %v#%d, which is not of the kind", name, l.Subject.Relation)
		}
		out.subjects = append(out.subjects, name)
		out.order = append(out.order, l.Subject)
		for _, id := range l.Excluded {
			name, err := a.name(id)
			if err != nil {
				failed = err
			}
			out.excluded = append(out.excluded, name)
		}
		return failed == nil
	})
	if failed != nil || out.err != nil || len(out.order) == 0 {
		return failed
	}
	at := len(out.order) / 2
	var rest []graph.Subject
	err := query.ListSubjects(ctx, u, kind, out.order[at], func(l graph.ListedSubject) bool {
		rest = append(rest, l.Subject)
		return true
	})
	if err == nil && !slices.Equal(rest, out.order[at+1:]) {
		err = fmt.Errorf("behind %v the list goes on with %v, want %v", out.order[at], rest, out.order[at+1:])
	}
	return err
}

func (a *asker) name(id graph.ID) (graph.SubjectName, error) {
	typ := a.opened.Written.TypeByID(id.Type())
	if typ == nil {
		return graph.SubjectName{}, fmt.Errorf("%v is of no type", id)
	}
	if id.IsWildcard() {
		return graph.SubjectName{Type: typ.Name, ID: "*"}, nil
	}
	name, err := a.view.Name(id)
	return graph.SubjectName{Type: typ.Name, ID: name}, err
}
