package crm

import (
	"fmt"
	"slices"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// A previewShape is what a preview needs to know about the models of both sides: how
// access to a record hangs together, and what uses what.
type previewShape struct {
	kinds  []*recordKind
	byType map[model.TypeID]*recordKind

	// slots number the relations of each kind of record, by relation id; -1 for others.
	slots []int

	// wanted are the relations, by id, that access to a record depends on. What uses a
	// wanted relation and is wanted itself:
	wanted   []bool
	readers  map[model.RelationID][]model.RelationID // by the relation whose tuples they read
	computed map[model.RelationID][]model.RelationID // of the same object
	direct   map[model.RelationID][]model.RelationID // whose tuples name its usersets
	arrows   map[model.RelationID][]previewArrow

	relations map[model.RelationID]*model.Relation // of either side

	// tuples are the relations of people whose tuples access depends on.
	tuples []model.RelationID
	whole  bool // a rewrite outside records is another one
}

// A previewArrow is a relation that asks another one of the objects that its tupleset
// names.
type previewArrow struct{ tupleset, relation model.RelationID }

// A recordKind is a module's type. Access to one of its records depends on the owner's
// relations, the module's, those of the records above, and the record's own tuples.
type recordKind struct {
	index  int
	id     model.TypeID
	name   string
	module graph.ID // the module's entity

	actions [2][]*model.Relation // by the side and the place among Actions; nil if nobody may

	moduleRelation, owner, author, parent model.RelationID // 0 if it has none

	ownerAsked  []model.RelationID // of the owner
	moduleAsked []model.RelationID // of the module
	parentAsked map[model.TypeID][]model.RelationID
	own         []model.RelationID // further relations with tuples of the record itself

	below   []*recordKind // child modules, whose records follow those of this kind
	related []*recordKind // whose records have related shares of this kind's

	changed bool // the models differ about it
	size    int  // slots
}

// previewActions are the columns of a preview.
var previewActions = Actions()

func newPreviewShape(w *previewWorld) (*previewShape, error) {
	s := &previewShape{
		byType:  map[model.TypeID]*recordKind{},
		readers: map[model.RelationID][]model.RelationID{}, computed: map[model.RelationID][]model.RelationID{},
		direct: map[model.RelationID][]model.RelationID{}, arrows: map[model.RelationID][]previewArrow{},
		relations: map[model.RelationID]*model.Relation{},
	}
	for _, side := range bothSides {
		for _, t := range w.plans[side].Types() {
			if _, ok := t.Relation(ActionView.Relation()); ok {
				s.kind(t)
			}
		}
	}
	slices.SortFunc(s.kinds, func(a, b *recordKind) int { return int(a.id) - int(b.id) })
	for i, k := range s.kinds {
		k.index = i
		if err := s.survey(w, k); err != nil {
			return nil, err
		}
	}
	s.use(w)
	for _, k := range s.kinds {
		for above := range k.parentAsked {
			if p := s.byType[above]; p != nil && k.author != 0 {
				p.below = append(p.below, k)
			} else if p != nil {
				p.related = append(p.related, k)
			}
		}
	}
	return s, nil
}

func (s *previewShape) kind(t *model.Type) {
	if s.byType[t.ID] == nil {
		k := &recordKind{id: t.ID, name: t.Name, parentAsked: map[model.TypeID][]model.RelationID{}}
		s.byType[t.ID], s.kinds = k, append(s.kinds, k)
	}
}

// survey goes through the rewrites of a kind, from its actions on.
func (s *previewShape) survey(w *previewWorld, k *recordKind) error {
	module, ok := w.plans[sideBefore].Type(typeModule)
	if !ok {
		return fmt.Errorf("%w: the model has no type %s", ErrForeign, typeModule)
	}
	var err error
	if k.module, _, err = w.overlay.Lookup(module.ID, k.name); err != nil {
		return err
	}
	var seen [2]map[model.RelationID]*model.Relation
	for _, side := range bothSides {
		seen[side] = map[model.RelationID]*model.Relation{}
		k.actions[side] = make([]*model.Relation, len(previewActions))
		t := w.plans[side].TypeByID(k.id)
		if t == nil {
			continue
		}
		for name, id := range map[string]*model.RelationID{
			relModule: &k.moduleRelation, relOwner: &k.owner, relAuthor: &k.author, relParent: &k.parent,
		} {
			if r, ok := t.Relation(name); ok {
				*id = r.ID
			}
		}
		for i, a := range previewActions {
			if r, ok := t.Relation(a.Relation()); ok {
				k.actions[side][i] = r
				k.walk(r, seen[side])
			}
		}
	}
	for id, r := range seen[sideBefore] {
		k.changed = k.changed || !sameRelation(r, seen[sideAfter][id])
	}
	k.changed = k.changed || len(seen[sideBefore]) != len(seen[sideAfter])
	slices.Sort(k.own)
	return nil
}

func (k *recordKind) walk(r *model.Relation, seen map[model.RelationID]*model.Relation) {
	if seen[r.ID] != nil {
		return
	}
	seen[r.ID] = r
	k.walkRewrite(r, r.Rewrite, seen)
}

func (k *recordKind) walkRewrite(r *model.Relation, w *model.Rewrite, seen map[model.RelationID]*model.Relation) {
	switch w.Op {
	case model.OpDirect:
		switch r.ID {
		case k.moduleRelation, k.owner, k.author, k.parent:
		default:
			k.own = addNew(k.own, r.ID)
		}
	case model.OpComputed:
		k.walk(w.Relation, seen)
	case model.OpTupleToUserset:
		for _, asked := range w.Computed {
			switch w.Tupleset.ID {
			case k.owner:
				k.ownerAsked = addNew(k.ownerAsked, asked.ID)
			case k.moduleRelation:
				k.moduleAsked = addNew(k.moduleAsked, asked.ID)
			default:
				k.parentAsked[asked.Type.ID] = addNew(k.parentAsked[asked.Type.ID], asked.ID)
			}
		}
	default:
		for _, child := range w.Children {
			k.walkRewrite(r, child, seen)
		}
	}
}

func addNew[T comparable](list []T, e T) []T {
	if slices.Contains(list, e) {
		return list
	}
	return append(list, e)
}

// use finds out what uses what, of either side.
func (s *previewShape) use(w *previewWorld) {
	size := 0
	for _, side := range bothSides {
		for _, t := range w.plans[side].Types() {
			for _, r := range t.Relations {
				size = max(size, int(r.ID)+1)
			}
		}
	}
	s.wanted, s.slots = make([]bool, size), make([]int, size)
	for i := range s.slots {
		s.slots[i] = -1
	}
	var seen [2]map[model.RelationID]*model.Relation
	for _, side := range bothSides {
		seen[side] = map[model.RelationID]*model.Relation{}
		for _, k := range s.kinds {
			for _, r := range k.actions[side] {
				if r != nil {
					s.want(r, seen[side])
				}
			}
		}
	}
	for id, r := range seen[sideAfter] {
		s.relations[id] = r
	}
	for id, r := range seen[sideBefore] {
		s.relations[id] = r
		if o := seen[sideAfter][id]; s.byType[r.Type.ID] == nil && o != nil && !sameRelation(r, o) {
			s.whole = true
		}
	}
	for id, r := range s.relations {
		if k := s.byType[r.Type.ID]; k != nil {
			s.slots[id] = k.size
			k.size++
		}
	}
}

// want marks a relation and all that it depends on, and notes it as their user.
func (s *previewShape) want(r *model.Relation, seen map[model.RelationID]*model.Relation) {
	if seen[r.ID] != nil {
		return
	}
	seen[r.ID] = r
	s.wanted[r.ID] = true
	s.wantRewrite(r, r.Rewrite, seen)
}

func (s *previewShape) wantRewrite(r *model.Relation, w *model.Rewrite, seen map[model.RelationID]*model.Relation) {
	switch w.Op {
	case model.OpDirect:
		s.read(r, r)
		for i := range r.Allowed {
			if named := r.Allowed[i].Relation; named != nil {
				s.direct[named.ID] = addNew(s.direct[named.ID], r.ID)
				s.want(named, seen)
			}
		}
	case model.OpComputed:
		s.computed[w.Relation.ID] = addNew(s.computed[w.Relation.ID], r.ID)
		s.want(w.Relation, seen)
	case model.OpTupleToUserset:
		s.read(w.Tupleset, r)
		for _, asked := range w.Computed {
			s.arrows[asked.ID] = addNew(s.arrows[asked.ID], previewArrow{w.Tupleset.ID, r.ID})
			s.want(asked, seen)
		}
	default:
		for _, child := range w.Children {
			s.wantRewrite(r, child, seen)
		}
	}
}

// read notes that a relation reads the tuples of one.
func (s *previewShape) read(tuples, by *model.Relation) {
	s.readers[tuples.ID] = addNew(s.readers[tuples.ID], by.ID)
	if tuples.Type.Name == typeUser {
		s.tuples = addNew(s.tuples, tuples.ID)
	}
}

// sameRelation reports whether two models define a relation alike.
func sameRelation(a, b *model.Relation) bool {
	if a == b {
		return true
	}
	if a == nil || b == nil || len(a.Allowed) != len(b.Allowed) {
		return false
	}
	for i := range a.Allowed {
		x, y := &a.Allowed[i], &b.Allowed[i]
		if x.Type.ID != y.Type.ID || x.Wildcard != y.Wildcard || x.ConditionID != y.ConditionID ||
			relationID(x.Relation) != relationID(y.Relation) {
			return false
		}
	}
	return sameRewrite(a.Rewrite, b.Rewrite)
}

func sameRewrite(a, b *model.Rewrite) bool {
	return a.Op == b.Op && relationID(a.Relation) == relationID(b.Relation) && relationID(a.Tupleset) == relationID(b.Tupleset) &&
		slices.EqualFunc(a.Computed, b.Computed, func(x, y *model.Relation) bool { return x.ID == y.ID }) &&
		slices.EqualFunc(a.Children, b.Children, sameRewrite)
}

func relationID(r *model.Relation) model.RelationID {
	if r == nil {
		return 0
	}
	return r.ID
}
