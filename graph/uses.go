package graph

import (
	"runtime"
	"sync"
	"weak"

	"github.com/remit-authz/remit/graph/model"
)

// The uses of a plan are its rewrites seen from the other end: where a relation, or a
// type, can grant something.
type uses struct {
	entities map[model.TypeID][]use // direct tuples to entities or the wildcard

	// By relation id:
	direct   [][]use // direct tuples to its usersets
	computed [][]use
	arrows   [][]use // tuple-to-userset, by the relation computed
}

// A use is one place in the rewrite of a relation.
type use struct {
	relation *model.Relation
	tupleset *model.Relation // of an arrow
	plain    bool            // only unions lie between the place and the relation
}

// usesByPlan remembers the uses of each plan as long as the plan lives.
var usesByPlan sync.Map // of weak.Pointer[model.Plan] to *uses

func usesOf(p *model.Plan) *uses {
	key := weak.Make(p)
	if u, ok := usesByPlan.Load(key); ok {
		return u.(*uses)
	}
	u, loaded := usesByPlan.LoadOrStore(key, newUses(p))
	if !loaded {
		runtime.AddCleanup(p, func(key weak.Pointer[model.Plan]) { usesByPlan.Delete(key) }, key)
	}
	return u.(*uses)
}

func newUses(p *model.Plan) *uses {
	size := 0
	for _, t := range p.Types() {
		for _, r := range t.Relations {
			size = max(size, int(r.ID)+1)
		}
	}
	u := &uses{
		entities: map[model.TypeID][]use{},
		direct:   make([][]use, size),
		computed: make([][]use, size),
		arrows:   make([][]use, size),
	}
	for _, t := range p.Types() {
		for _, r := range t.Relations {
			u.add(r, r.Rewrite, true)
		}
	}
	return u
}

func (u *uses) add(r *model.Relation, w *model.Rewrite, plain bool) {
	switch w.Op {
	case model.OpDirect:
		seenType := map[model.TypeID]bool{}
		seenRelation := map[model.RelationID]bool{}
		for i := range r.Allowed {
			a := &r.Allowed[i]
			switch {
			case a.Relation != nil && !seenRelation[a.Relation.ID]:
				seenRelation[a.Relation.ID] = true
				u.direct[a.Relation.ID] = append(u.direct[a.Relation.ID], use{relation: r, plain: plain})
			case a.Relation == nil && !seenType[a.Type.ID]:
				seenType[a.Type.ID] = true
				u.entities[a.Type.ID] = append(u.entities[a.Type.ID], use{relation: r, plain: plain})
			}
		}
	case model.OpComputed:
		u.computed[w.Relation.ID] = append(u.computed[w.Relation.ID], use{relation: r, plain: plain})
	case model.OpTupleToUserset:
		for _, c := range w.Computed {
			u.arrows[c.ID] = append(u.arrows[c.ID], use{relation: r, tupleset: w.Tupleset, plain: plain})
		}
	case model.OpExclusion:
		// What is subtracted never grants.
		u.add(r, w.Children[0], false)
	default:
		for _, child := range w.Children {
			u.add(r, child, plain && w.Op == model.OpUnion)
		}
	}
}

// leadingTo marks the relations, by id, that can grant r.
func (u *uses) leadingTo(r *model.Relation) []bool {
	marks := make([]bool, len(u.direct))
	marks[r.ID] = true
	todo := []*model.Relation{r}
	for len(todo) > 0 {
		next := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		visit(next, next.Rewrite, func(from *model.Relation) {
			if !marks[from.ID] {
				marks[from.ID] = true
				todo = append(todo, from)
			}
		})
	}
	return marks
}

// having marks the relations, by id, that the model can let the subject have.
func (u *uses) having(s Subject) []bool {
	marks := make([]bool, len(u.direct))
	var todo []model.RelationID
	mark := func(uses []use) {
		for i := range uses {
			if id := uses[i].relation.ID; !marks[id] {
				marks[id] = true
				todo = append(todo, id)
			}
		}
	}
	if s.Relation == 0 {
		mark(u.entities[s.ID.Type()])
	} else if int(s.Relation) < len(marks) {
		marks[s.Relation] = true
		todo = append(todo, s.Relation)
	}
	for len(todo) > 0 {
		next := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		mark(u.direct[next])
		mark(u.computed[next])
		mark(u.arrows[next])
	}
	return marks
}

// leadsOn reports whether r can grant one of the marked relations, itself included.
func (u *uses) leadsOn(r *model.Relation, marks []bool) bool {
	for _, list := range [][]use{u.direct[r.ID], u.computed[r.ID], u.arrows[r.ID]} {
		for i := range list {
			if marks[list[i].relation.ID] {
				return true
			}
		}
	}
	return false
}

// visit calls f for each relation whose holders the rewrite may grant to.
func visit(r *model.Relation, w *model.Rewrite, f func(*model.Relation)) {
	switch w.Op {
	case model.OpDirect:
		for i := range r.Allowed {
			if from := r.Allowed[i].Relation; from != nil {
				f(from)
			}
		}
	case model.OpComputed:
		f(w.Relation)
	case model.OpTupleToUserset:
		for _, c := range w.Computed {
			f(c)
		}
	case model.OpExclusion:
		visit(r, w.Children[0], f)
	default:
		for _, child := range w.Children {
			visit(r, child, f)
		}
	}
}
