package graphtest

import (
	"math/rand/v2"
	"slices"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/protobuf/proto"

	"github.com/remit-authz/remit/graph/condition"
	"github.com/remit-authz/remit/graph/model"
)

// A generator makes random scenarios. Nothing but its random numbers decides what they
// are, so a seed is enough to make one again.
type generator struct {
	*rand.Rand
	tangled  bool // few types with many usersets of each other, for cycles in the data
	rejected int  // models that did not pass validation
}

func newGenerator(seed, index uint64) *generator {
	return &generator{Rand: rand.New(rand.NewPCG(seed, index))} //nolint:gosec // not a secret: it must be repeatable
}

// chance is true with a probability of p percent.
func (g *generator) chance(p int) bool { return g.IntN(100) < p }

// between is a number from lo to hi, both included.
func (g *generator) between(lo, hi int) int { return lo + g.IntN(hi-lo+1) }

func pick[T any](g *generator, from []T) T { return from[g.IntN(len(from))] }

// shuffled is a shuffled copy.
func shuffled[T any](g *generator, from []T) []T {
	to := slices.Clone(from)
	g.Shuffle(len(to), func(i, j int) { to[i], to[j] = to[j], to[i] })
	return to
}

// model makes models until one is valid.
func (g *generator) model() *model.Model {
	for {
		if m, err := model.FromProto(g.modelProto()); err == nil {
			return m
		}
		g.rejected++
	}
}

// outline is what a model under construction has.
type outline struct {
	types      []string
	relations  map[string][]string
	tuplesets  map[string][]string // relations that can be followed
	targets    map[place][]string  // the types that a tupleset points to
	conditions []sample
	inline     bool // tuples may bring their own expressions
}

// The names are prefixes of one another where that could mislead.
var (
	typeNames     = []string{"user", "group", "doc", "folder", "use"}
	relationNames = []string{"viewer", "view", "editor", "member", "owner", "blocked", "a", "b"}
	tuplesetNames = []string{"parent", "org"}
)

func (g *generator) modelProto() *openfgav1.AuthorizationModel {
	o := &outline{
		types:     typeNames[:g.between(2, len(typeNames))],
		relations: map[string][]string{}, tuplesets: map[string][]string{}, targets: map[place][]string{},
		inline: g.chance(35),
	}
	most := 5
	if g.tangled {
		o.types, most = typeNames[:2], 2
	}
	for _, s := range shuffled(g, samples)[:g.between(0, most)] {
		if s.types == nil && !slices.ContainsFunc(o.conditions, func(other sample) bool { return other.name == s.name }) {
			o.conditions = append(o.conditions, s)
		}
	}
	for i, t := range o.types {
		if i == 0 && (g.tangled || g.chance(80)) {
			continue // users without relations
		}
		o.relations[t] = shuffled(g, relationNames)[:g.between(1, 4)]
		o.tuplesets[t] = tuplesetNames[:g.between(0, 2)]
		for _, name := range o.tuplesets[t] {
			o.targets[place{t, name}] = shuffled(g, o.types)[:g.between(1, 2)]
		}
	}
	m := &openfgav1.AuthorizationModel{SchemaVersion: "1.1"}
	for _, t := range o.types {
		m.TypeDefinitions = append(m.TypeDefinitions, g.typeDefinition(o, t))
	}
	if len(o.conditions) > 0 {
		m.Conditions = map[string]*openfgav1.Condition{}
		for _, s := range o.conditions {
			m.Conditions[s.name] = s.proto()
		}
	}
	return m
}

func (s *sample) proto() *openfgav1.Condition {
	c := &openfgav1.Condition{
		Name: s.name, Expression: s.expression,
		Parameters: map[string]*openfgav1.ConditionParamTypeRef{},
	}
	for _, p := range s.parameters {
		c.Parameters[p] = s.parameter(p)
	}
	return c
}

// parameter is the type of a parameter.
func (s *sample) parameter(name string) *openfgav1.ConditionParamTypeRef {
	if t, ok := s.types[name]; ok {
		return t
	}
	return parameterTypes[name]
}

func (g *generator) typeDefinition(o *outline, t string) *openfgav1.TypeDefinition {
	d := &openfgav1.TypeDefinition{
		Type: t, Relations: map[string]*openfgav1.Userset{},
		Metadata: &openfgav1.Metadata{Relations: map[string]*openfgav1.RelationMetadata{}},
	}
	define := func(name string, rewrite *openfgav1.Userset, allowed []*openfgav1.RelationReference) {
		d.Relations[name] = rewrite
		d.Metadata.Relations[name] = &openfgav1.RelationMetadata{DirectlyRelatedUserTypes: allowed}
	}
	for _, name := range o.tuplesets[t] {
		var allowed []*openfgav1.RelationReference
		for _, target := range o.targets[place{t, name}] {
			r := &openfgav1.RelationReference{Type: target}
			if g.chance(3) { // which a tupleset cannot follow
				r.RelationOrWildcard = &openfgav1.RelationReference_Wildcard{Wildcard: &openfgav1.Wildcard{}}
			}
			allowed = append(allowed, g.conditions(o, r)...)
		}
		define(name, this(), allowed)
	}
	for _, name := range o.relations[t] {
		// Most relations have tuples of their own: a model without is soon invalid.
		direct := g.chance(85)
		rewrite, uses := g.rewrite(o, t, name, g.between(0, 4), direct)
		if rewrite == nil {
			rewrite, uses = this(), true
		}
		var allowed []*openfgav1.RelationReference
		if uses {
			allowed = g.restrictions(o, t)
		}
		define(name, rewrite, allowed)
	}
	return d
}

func this() *openfgav1.Userset {
	return &openfgav1.Userset{Userset: &openfgav1.Userset_This{This: &openfgav1.DirectUserset{}}}
}

// rewrite makes an expression of at most this depth, nil if there is nothing to refer
// to. The direct part, if it may have one, stands leftmost, where the DSL can write it.
// It reports whether there is one.
func (g *generator) rewrite(o *outline, t, name string, depth int, direct bool) (*openfgav1.Userset, bool) {
	if depth == 0 || g.chance(15) {
		return g.leaf(o, t, name, direct)
	}
	first, uses := g.rewrite(o, t, name, depth-1, direct)
	children := []*openfgav1.Userset{first}
	operator := g.IntN(10)
	more := 1
	if operator < 7 && g.chance(25) {
		more = 2
	}
	for range more {
		child, again := g.rewrite(o, t, name, depth-1-g.IntN(depth), false)
		if child != nil {
			children, uses = append(children, child), uses || again
		}
	}
	if first == nil {
		children = children[1:]
	}
	switch {
	case len(children) == 0:
		return nil, false
	case len(children) == 1:
		return children[0], uses
	case operator < 4:
		return &openfgav1.Userset{Userset: &openfgav1.Userset_Union{Union: &openfgav1.Usersets{Child: children}}}, uses
	case operator < 7:
		return &openfgav1.Userset{Userset: &openfgav1.Userset_Intersection{Intersection: &openfgav1.Usersets{Child: children}}}, uses
	default:
		return &openfgav1.Userset{Userset: &openfgav1.Userset_Difference{Difference: &openfgav1.Difference{
			Base: children[0], Subtract: children[1],
		}}}, uses
	}
}

func (g *generator) leaf(o *outline, t, name string, direct bool) (*openfgav1.Userset, bool) {
	if direct {
		return this(), true
	}
	if len(o.tuplesets[t]) > 0 && g.chance(50) {
		tupleset := pick(g, o.tuplesets[t])
		target := pick(g, o.targets[place{t, tupleset}])
		if len(o.relations[target]) > 0 {
			return &openfgav1.Userset{Userset: &openfgav1.Userset_TupleToUserset{TupleToUserset: &openfgav1.TupleToUserset{
				Tupleset:        &openfgav1.ObjectRelation{Relation: tupleset},
				ComputedUserset: &openfgav1.ObjectRelation{Relation: pick(g, o.relations[target])},
			}}}, false
		}
	}
	// Relations defined in a circle are not valid, so most refer to later ones only.
	others := slices.Clone(o.relations[t][slices.Index(o.relations[t], name)+1:])
	if g.chance(10) {
		others = slices.DeleteFunc(slices.Clone(o.relations[t]), func(other string) bool { return other == name })
	}
	if len(others) == 0 || g.chance(15) {
		others = append(others, o.tuplesets[t]...)
	}
	if len(others) == 0 {
		if g.chance(10) {
			return this(), true // a second one, as only JSON can have
		}
		return nil, false
	}
	return &openfgav1.Userset{Userset: &openfgav1.Userset_ComputedUserset{
		ComputedUserset: &openfgav1.ObjectRelation{Relation: pick(g, others)},
	}}, false
}

func (g *generator) restrictions(o *outline, own string) []*openfgav1.RelationReference {
	var kinds []*openfgav1.RelationReference
	most := 4
	if g.tangled {
		kinds = append(kinds, &openfgav1.RelationReference{Type: o.types[0]})
		most = 3
	}
	for range g.between(1, most) {
		t := pick(g, []string{o.types[0], o.types[0], own, pick(g, o.types)})
		if g.tangled && g.chance(85) {
			t = own
		}
		r := &openfgav1.RelationReference{Type: t}
		switch relations := slices.Concat(o.relations[t], o.tuplesets[t]); {
		case g.chance(15):
			r.RelationOrWildcard = &openfgav1.RelationReference_Wildcard{Wildcard: &openfgav1.Wildcard{}}
		case len(relations) > 0 && g.chance(65):
			r.RelationOrWildcard = &openfgav1.RelationReference_Relation{Relation: pick(g, relations)}
		}
		if !slices.ContainsFunc(kinds, func(other *openfgav1.RelationReference) bool { return proto.Equal(r, other) }) {
			kinds = append(kinds, r)
		}
	}
	var all []*openfgav1.RelationReference
	for _, r := range kinds {
		all = append(all, g.conditions(o, r)...)
	}
	return all
}

// conditions makes of a restriction one without a condition, one or more with, or both.
func (g *generator) conditions(o *outline, r *openfgav1.RelationReference) []*openfgav1.RelationReference {
	var names []string
	for _, c := range o.conditions {
		names = append(names, c.name)
	}
	if o.inline {
		names = append(names, condition.InlineName)
	}
	if len(names) == 0 || g.chance(50) {
		return []*openfgav1.RelationReference{r}
	}
	var all []*openfgav1.RelationReference
	if g.chance(40) {
		all = append(all, r)
	}
	for _, name := range shuffled(g, names)[:g.between(1, min(2, len(names)))] {
		with := proto.Clone(r).(*openfgav1.RelationReference)
		with.Condition = name
		all = append(all, with)
	}
	return all
}
