package graph

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/remit-authz/remit/graph/model"
)

// An Era names a state of all tuples whose objects are of some types: as long as none of
// them changes, the era stays the same, however many revisions pass.
type Era struct {
	Epoch    uint64   // of the history that revisions count
	Revision Revision // of the last change, or one behind it
}

// A Dated view can tell when tuples last changed.
type Dated interface {
	View

	// Era is that of the tuples whose objects are of the given types. Two views of one
	// store that tell the same era hold the same such tuples.
	Era(types []model.TypeID) Era
}

// A Cache remembers, from one Check to the next, who has some relations to what: those that
// many questions meet on their way and that seldom change, such as what a group or a role
// is part of. It forgets everything as soon as any tuple changes that could matter to one
// of them, so what it answers is what Check would find in the view that it is given. Only
// what depends on no condition, no expiry and no context is remembered, and only about
// entities.
//
// This serves where the indexing system Leopard does in Zanzibar (Pang et al., USENIX ATC
// 2019, 3.2.4), but holds what was asked instead of everything, and is never behind.
//
// A Cache belongs to one store and one Plan. It is safe for concurrent use.
type Cache struct {
	types []model.TypeID // whose tuples decide the relations
	slots []int32        // of the relations, by id: their places in answers; -1 if not cached
	count int            // of the relations
	limit func() int64   // bytes

	current atomic.Pointer[generation]
}

const (
	cacheShards = 16

	// maxCachedSequence bounds the objects of a type about which anything is remembered, so
	// that what is known of a subject and a relation takes 16 KiB at most.
	maxCachedSequence = 1 << 16

	// answersPerWord is how many answers of two bits an answerSet has in a word.
	answersPerWord = 32
	minAnswerWords = 8
)

// NewCache makes a cache of some relations of a plan. It takes about as many bytes as limit
// says at the time, which is safe for concurrent use: if it is full, it forgets everything.
func NewCache(p *model.Plan, relations []*model.Relation, limit func() int64) *Cache {
	c := &Cache{limit: limit}
	for _, t := range p.Types() {
		for _, r := range t.Relations {
			for int(r.ID) >= len(c.slots) {
				c.slots = append(c.slots, -1)
			}
		}
	}
	for _, r := range relations {
		if c.slots[r.ID] < 0 {
			c.slots[r.ID] = int32(c.count)
			c.count++
		}
	}
	c.types = decidingTypes(relations)
	return c
}

// decidingTypes are the types of the objects whose tuples decide some relations.
func decidingTypes(relations []*model.Relation) []model.TypeID {
	seen := map[*model.Relation]bool{}
	var types []model.TypeID
	todo := slices.Clone(relations)
	var rewrite func(r *model.Relation, w *model.Rewrite)
	rewrite = func(r *model.Relation, w *model.Rewrite) {
		switch w.Op {
		case model.OpDirect:
			for i := range r.Allowed {
				if from := r.Allowed[i].Relation; from != nil {
					todo = append(todo, from)
				}
			}
		case model.OpComputed:
			todo = append(todo, w.Relation)
		case model.OpTupleToUserset:
			todo = append(todo, w.Computed...)
		default:
			for _, child := range w.Children {
				rewrite(r, child)
			}
		}
	}
	for len(todo) > 0 {
		r := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[r] {
			continue
		}
		seen[r] = true
		if !slices.Contains(types, r.Type.ID) {
			types = append(types, r.Type.ID)
		}
		rewrite(r, r.Rewrite)
	}
	slices.Sort(types)
	return types
}

// at is what is remembered of a view's era; nil if the view belongs to an earlier one than
// is remembered.
func (c *Cache) at(v Dated) *generation {
	era := v.Era(c.types)
	for {
		g := c.current.Load()
		switch {
		case g != nil && g.era == era:
			return g
		case g != nil && g.era.Epoch == era.Epoch && g.era.Revision > era.Revision:
			return nil
		}
		fresh := &generation{cache: c, era: era}
		if c.current.CompareAndSwap(g, fresh) {
			return fresh
		}
	}
}

// A generation is what is remembered of one era.
type generation struct {
	cache  *Cache
	era    Era
	size   atomic.Int64 // bytes, about
	shards [cacheShards]cacheShard
}

type cacheShard struct {
	mu       sync.RWMutex
	subjects map[ID]*answers // guarded by mu
}

func (g *generation) shard(subject ID) *cacheShard {
	return &g.shards[subject.Sequence()%cacheShards]
}

// about is what is remembered about a subject, nil if nothing is.
func (g *generation) about(subject ID) *answers {
	s := g.shard(subject)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.subjects[subject]
}

// begin makes room for what is found out about a subject.
func (g *generation) begin(subject ID) *answers {
	s := g.shard(subject)
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.subjects[subject]; a != nil {
		return a
	}
	if s.subjects == nil {
		s.subjects = map[ID]*answers{}
	}
	a := &answers{sets: make([]atomic.Pointer[answerSet], g.cache.count)}
	s.subjects[subject] = a
	g.grow(64 + 8*g.cache.count)
	return a
}

// grow counts bytes. Those who have the full generation in hand go on with it.
func (g *generation) grow(bytes int) {
	if g.size.Add(int64(bytes)) > g.cache.limit() {
		g.cache.current.CompareAndSwap(g, nil)
	}
}

// answers are what is remembered about a subject, by the places of the relations.
type answers struct {
	sets []atomic.Pointer[answerSet]
}

// An answerSet holds two bits for each object of a type, by its sequence number: whether it
// is known that the subject has the relation to it or not, and whether it does. Both are
// set at once, and never again.
type answerSet []atomic.Uint64

func (a *answers) get(slot int32, sequence uint64) truth {
	set := a.sets[slot].Load()
	if set == nil || sequence/answersPerWord >= uint64(len(*set)) {
		return unsure
	}
	switch (*set)[sequence/answersPerWord].Load() >> (sequence % answersPerWord * 2) & 3 {
	case 1:
		return denied
	case 3:
		return allowed
	}
	return unsure
}

// put returns how many bytes it took.
func (a *answers) put(slot int32, sequence uint64, value truth) (bytes int) {
	bits := uint64(1)
	if value == allowed {
		bits = 3
	}
	for {
		set := a.sets[slot].Load()
		if set != nil && sequence/answersPerWord < uint64(len(*set)) {
			(*set)[sequence/answersPerWord].Or(bits << (sequence % answersPerWord * 2))
			return bytes
		}
		// What others put into the old set meanwhile may be lost, and is found out again.
		words := minAnswerWords
		for uint64(words)*answersPerWord <= sequence {
			words *= 2
		}
		wider := make(answerSet, words)
		if set != nil {
			for i := range *set {
				wider[i].Store((*set)[i].Load())
			}
		}
		if a.sets[slot].CompareAndSwap(set, &wider) {
			bytes += 8 * words
		}
	}
}

// remembers gives an evaluator what may help with a subject.
func (e *evaluator) remembers(s Subject) {
	e.remembered = nil
	if e.generation != nil && s.Relation == 0 && !s.ID.IsLocal() {
		e.remembered = e.generation.about(s.ID)
	}
}

// recall looks a goal up.
func (e *evaluator) recall(g goal) truth {
	if e.remembered == nil {
		return unsure
	}
	slot := e.generation.cache.slots[g.relation]
	if slot < 0 {
		return unsure
	}
	return e.remembered.get(slot, g.object.Sequence())
}

// remember keeps the value of a goal that nothing but tuples decided.
func (e *evaluator) remember(g goal, value truth) {
	if e.generation == nil || value == unsure || e.fatal != nil {
		return
	}
	slot, sequence := e.generation.cache.slots[g.relation], g.object.Sequence()
	if slot < 0 || sequence >= maxCachedSequence || g.object.IsLocal() ||
		e.subject.Relation != 0 || e.subject.ID.IsLocal() {
		return
	}
	if e.remembered == nil {
		e.remembered = e.generation.begin(e.subject.ID)
	}
	if bytes := e.remembered.put(slot, sequence, value); bytes > 0 {
		e.generation.grow(bytes)
	}
}
