package conformance

import (
	"strconv"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// A world is what is asked about.
type world struct {
	model  *openfgav1.AuthorizationModel
	later  *openfgav1.AuthorizationModel // if not nil, replaces model once the tuples are written
	tuples []*openfgav1.TupleKey
}

// current is the model that questions are asked under.
func (w *world) current() *openfgav1.AuthorizationModel {
	if w.later != nil {
		return w.later
	}
	return w.model
}

func (w *world) clone() *world {
	c := &world{model: proto.CloneOf(w.model)}
	if w.later != nil {
		c.later = proto.CloneOf(w.later)
	}
	for _, t := range w.tuples {
		c.tuples = append(c.tuples, proto.CloneOf(t))
	}
	return c
}

// newWorld makes a model and tuples that it allows.
func (g *generator) newWorld() *world {
	w := &world{}
	later := g.chance(10)
	if later {
		w.model = g.newModel()
		g.ids = []string{"1", "2", "3"}
		w.tuples = g.tuples(3 + g.IntN(20))
		w.later = g.newModel()
	} else {
		w.model = g.newModel()
		g.ids = []string{"1", "2", "3"}
		if g.chance(30) {
			g.ids = []string{"1", "2", "3", "4", "5", "6"}
		}
		if g.chance(5) {
			w.tuples = unique(append(g.chain(), g.tuples(3)...))
		} else {
			w.tuples = g.tuples(3 + g.IntN(18))
		}
	}
	g.written = w.tuples
	return w
}

// unique keeps the first of tuples with the same key.
func unique(tuples []*openfgav1.TupleKey) []*openfgav1.TupleKey {
	seen := map[string]bool{}
	var all []*openfgav1.TupleKey
	for _, t := range tuples {
		key := t.GetObject() + "#" + t.GetRelation() + "@" + t.GetUser()
		if !seen[key] && t.GetUser() != t.GetObject()+"#"+t.GetRelation() {
			seen[key] = true
			all = append(all, t)
		}
	}
	return all
}

// A slot is where tuples may stand: a type's relation and what it allows.
type slot struct {
	object, relation string
	allowed          *openfgav1.RelationReference
}

func (g *generator) slots() []slot {
	var all []slot
	for _, t := range g.model.GetTypeDefinitions() {
		for _, relation := range relationsOf(t) {
			for _, ref := range t.GetMetadata().GetRelations()[relation].GetDirectlyRelatedUserTypes() {
				all = append(all, slot{t.GetType(), relation, ref})
			}
		}
	}
	return all
}

func (g *generator) tuples(n int) []*openfgav1.TupleKey {
	slots := g.slots()
	if len(slots) == 0 {
		return nil
	}
	var all []*openfgav1.TupleKey
	for range n {
		s := pick(g, slots)
		all = append(all, g.tuple(s, pick(g, g.ids), pick(g, g.ids)))
	}
	return unique(all)
}

func (g *generator) tuple(s slot, object, user string) *openfgav1.TupleKey {
	t := &openfgav1.TupleKey{Object: s.object + ":" + object, Relation: s.relation, User: s.allowed.GetType() + ":" + user}
	switch ref := s.allowed.GetRelationOrWildcard().(type) {
	case *openfgav1.RelationReference_Relation:
		t.User += "#" + ref.Relation
	case *openfgav1.RelationReference_Wildcard:
		t.User = s.allowed.GetType() + ":*"
	}
	if name := s.allowed.GetCondition(); name != "" {
		t.Condition = &openfgav1.RelationshipCondition{Name: name, Context: g.tupleContext(name)}
	}
	return t
}

func (g *generator) tupleContext(name string) *structpb.Struct {
	switch {
	case name == inline:
		return mustStruct(pick(g, expressions))
	case g.chance(20):
		return nil
	}
	return mustStruct(g.values(name, 40))
}

// chain makes a long path, about as long as OpenFGA follows one.
func (g *generator) chain() []*openfgav1.TupleKey {
	var same []slot
	for _, s := range g.slots() {
		if s.object == s.allowed.GetType() && s.allowed.GetWildcard() == nil && s.allowed.GetCondition() == "" {
			same = append(same, s)
		}
	}
	if len(same) == 0 {
		return nil
	}
	s := pick(g, same)
	var all []*openfgav1.TupleKey
	for i := range 20 + g.IntN(10) {
		all = append(all, g.tuple(s, strconv.Itoa(i+1), strconv.Itoa(i+2)))
	}
	return all
}
