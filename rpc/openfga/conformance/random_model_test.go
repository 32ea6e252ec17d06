package conformance

import (
	"fmt"
	"math/rand/v2"
	"slices"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// inline is the condition whose expression comes with the tuple.
const inline = "$expression"

var (
	leafTypes     = []string{"user", "employee"}
	objectTypes   = []string{"group", "folder", "doc"}
	relationNames = []string{"member", "viewer", "editor", "owner", "blocked", "a", "b"}
	parentNames   = []string{"parent", "org"}
)

// A condition of the library, with values of which some make it hold. A value is also
// sent as the wrong type, or not at all.
type condition struct {
	expression string
	parameters map[string]string // its parameters' types, as $expression spells them
	values     map[string][]any
}

var conditions = map[string]condition{
	"below": {
		"x < limit",
		map[string]string{"x": "int", "limit": "int"},
		map[string][]any{"x": {1.0, 5.0, "3"}, "limit": {3.0, 9.0}},
	},
	"tagged": {
		"tag == wanted",
		map[string]string{"tag": "string", "wanted": "string"},
		map[string][]any{"tag": {"red", "blue"}, "wanted": {"red", "blue"}},
	},
	"flagged":  {"flag", map[string]string{"flag": "bool"}, map[string][]any{"flag": {true, false}}},
	"listed":   {"role in roles", map[string]string{"role": "string", "roles": "list<string>"}, map[string][]any{"role": {"boss", "clerk"}, "roles": {[]any{"boss"}, []any{}, []any{"boss", "clerk"}}}},
	"fresh":    {"now < until + ttl", map[string]string{"now": "timestamp", "until": "timestamp", "ttl": "duration"}, map[string][]any{"now": {"2026-01-01T00:00:00Z", "2026-06-01T12:30:00.5Z"}, "until": {"2026-03-01T00:00:00Z"}, "ttl": {"1h", "4000h"}}},
	"near":     {"ip.in_cidr(net)", map[string]string{"ip": "ipaddress", "net": "string"}, map[string][]any{"ip": {"10.1.2.3", "192.168.0.1"}, "net": {"10.0.0.0/8", "nowhere"}}},
	"mapped":   {"table[key] > 1.5", map[string]string{"table": "map<double>", "key": "string"}, map[string][]any{"table": {map[string]any{"k": 2.0}, map[string]any{"k": 1.0}}, "key": {"k", "l"}}},
	"either":   {"p || q", map[string]string{"p": "bool", "q": "bool"}, map[string][]any{"p": {true, false}, "q": {true, false}}},
	"constant": {"true", nil, nil},
	"ratio":    {"n / m > 1u", map[string]string{"n": "uint", "m": "uint"}, map[string][]any{"n": {4.0, 1.0}, "m": {1.0, 0.0}}},
}

// expressions of $expression tuples. The parameters that none declares are texts.
var expressions = []map[string]any{
	{"expression": "tag == 'red'"},
	{"expression": "x < 3", "parameters": map[string]any{"x": "int"}},
	{"expression": "flag || tag == 'blue'", "parameters": map[string]any{"flag": "bool"}},
	{"expression": "true"},
	{"expression": "roles.exists(r, r == 'boss')", "parameters": map[string]any{"roles": "list<string>"}},
}

var typeNames = map[string]openfgav1.ConditionParamTypeRef_TypeName{
	"int": openfgav1.ConditionParamTypeRef_TYPE_NAME_INT, "uint": openfgav1.ConditionParamTypeRef_TYPE_NAME_UINT,
	"double": openfgav1.ConditionParamTypeRef_TYPE_NAME_DOUBLE, "string": openfgav1.ConditionParamTypeRef_TYPE_NAME_STRING,
	"bool": openfgav1.ConditionParamTypeRef_TYPE_NAME_BOOL, "timestamp": openfgav1.ConditionParamTypeRef_TYPE_NAME_TIMESTAMP,
	"duration": openfgav1.ConditionParamTypeRef_TYPE_NAME_DURATION, "ipaddress": openfgav1.ConditionParamTypeRef_TYPE_NAME_IPADDRESS,
}

func (c condition) message(name string) *openfgav1.Condition {
	parameters := map[string]*openfgav1.ConditionParamTypeRef{}
	for parameter, spelt := range c.parameters {
		ref := &openfgav1.ConditionParamTypeRef{TypeName: typeNames[spelt]}
		switch spelt {
		case "list<string>":
			ref.TypeName = openfgav1.ConditionParamTypeRef_TYPE_NAME_LIST
			ref.GenericTypes = []*openfgav1.ConditionParamTypeRef{{TypeName: openfgav1.ConditionParamTypeRef_TYPE_NAME_STRING}}
		case "map<double>":
			ref.TypeName = openfgav1.ConditionParamTypeRef_TYPE_NAME_MAP
			ref.GenericTypes = []*openfgav1.ConditionParamTypeRef{{TypeName: openfgav1.ConditionParamTypeRef_TYPE_NAME_DOUBLE}}
		}
		parameters[parameter] = ref
	}
	return &openfgav1.Condition{Name: name, Expression: c.expression, Parameters: parameters}
}

// A generator makes models, tuples and questions, the same ones for the same seed.
type generator struct {
	*rand.Rand

	model      *openfgav1.AuthorizationModel
	conditions []string // that the model has
	ids        []string
	written    []*openfgav1.TupleKey // tuples of the world
}

func newGenerator(seed, number uint64) *generator {
	return &generator{Rand: rand.New(rand.NewPCG(seed, number))}
}

func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

func pick[T any](g *generator, from []T) T { return from[g.IntN(len(from))] }

// some picks n different elements, or all.
func some[T any](g *generator, from []T, n int) []T {
	from = slices.Clone(from)
	g.Shuffle(len(from), func(i, j int) { from[i], from[j] = from[j], from[i] })
	return from[:min(n, len(from))]
}

// newModel makes a model, which is nearly always valid.
func (g *generator) newModel() *openfgav1.AuthorizationModel {
	g.model = &openfgav1.AuthorizationModel{SchemaVersion: "1.1"}
	g.conditions = nil
	if g.chance(60) {
		names := make([]string, 0, len(conditions))
		for name := range conditions {
			names = append(names, name)
		}
		slices.Sort(names)
		g.conditions = some(g, names, 1+g.IntN(2))
		g.model.Conditions = map[string]*openfgav1.Condition{}
		for _, name := range g.conditions {
			g.model.Conditions[name] = conditions[name].message(name)
		}
	}
	if g.chance(20) {
		g.conditions = append(g.conditions, inline)
	}

	for i, name := range leafTypes {
		if i == 0 || g.chance(40) {
			g.model.TypeDefinitions = append(g.model.TypeDefinitions, &openfgav1.TypeDefinition{Type: name})
		}
	}
	for _, name := range some(g, objectTypes, 1+g.IntN(len(objectTypes))) {
		t := &openfgav1.TypeDefinition{Type: name, Relations: map[string]*openfgav1.Userset{}, Metadata: &openfgav1.Metadata{Relations: map[string]*openfgav1.RelationMetadata{}}}
		for _, relation := range some(g, relationNames, 1+g.IntN(4)) {
			t.Relations[relation] = nil
		}
		for _, relation := range some(g, parentNames, g.IntN(3)) {
			t.Relations[relation] = this()
		}
		g.model.TypeDefinitions = append(g.model.TypeDefinitions, t)
	}
	for _, t := range g.model.GetTypeDefinitions() {
		for i, relation := range relationsOf(t) {
			if slices.Contains(parentNames, relation) {
				t.Metadata.Relations[relation] = &openfgav1.RelationMetadata{DirectlyRelatedUserTypes: g.parents()}
				continue
			}
			rewrite := g.rewrite(t, i, 2)
			t.Relations[relation] = rewrite
			if hasThis(rewrite) {
				t.Metadata.Relations[relation] = &openfgav1.RelationMetadata{DirectlyRelatedUserTypes: g.references()}
			}
		}
	}
	return g.model
}

// relationsOf lists the relations of a type in order.
func relationsOf(t *openfgav1.TypeDefinition) []string {
	names := make([]string, 0, len(t.GetRelations()))
	for name := range t.GetRelations() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func this() *openfgav1.Userset {
	return &openfgav1.Userset{Userset: &openfgav1.Userset_This{This: &openfgav1.DirectUserset{}}}
}

func computed(relation string) *openfgav1.Userset {
	return &openfgav1.Userset{Userset: &openfgav1.Userset_ComputedUserset{ComputedUserset: &openfgav1.ObjectRelation{Relation: relation}}}
}

// rewrite makes the rewrite of the type's i-th relation.
func (g *generator) rewrite(t *openfgav1.TypeDefinition, i, depth int) *openfgav1.Userset {
	names := relationsOf(t)
	switch n := g.IntN(100); {
	case n < 40 || n >= 65 && depth == 0:
		return this()
	case n < 52:
		others := names[:i]
		if g.chance(15) {
			others = names
		}
		others = slices.DeleteFunc(slices.Clone(others), func(name string) bool { return slices.Contains(parentNames, name) && g.chance(80) })
		if len(others) == 0 {
			return this()
		}
		return computed(pick(g, others))
	case n < 65:
		var tuplesets []string
		for _, name := range names {
			if slices.Contains(parentNames, name) {
				tuplesets = append(tuplesets, name)
			}
		}
		if len(tuplesets) == 0 {
			return this()
		}
		relation := pick(g, relationNames)
		if g.chance(70) {
			relation = pick(g, names)
		}
		return &openfgav1.Userset{Userset: &openfgav1.Userset_TupleToUserset{TupleToUserset: &openfgav1.TupleToUserset{
			Tupleset: &openfgav1.ObjectRelation{Relation: pick(g, tuplesets)}, ComputedUserset: &openfgav1.ObjectRelation{Relation: relation},
		}}}
	case n < 80:
		return &openfgav1.Userset{Userset: &openfgav1.Userset_Union{Union: g.children(t, i, depth)}}
	case n < 90:
		return &openfgav1.Userset{Userset: &openfgav1.Userset_Intersection{Intersection: g.children(t, i, depth)}}
	}
	return &openfgav1.Userset{Userset: &openfgav1.Userset_Difference{Difference: &openfgav1.Difference{
		Base: g.rewrite(t, i, depth-1), Subtract: g.rewrite(t, i, depth-1),
	}}}
}

func (g *generator) children(t *openfgav1.TypeDefinition, i, depth int) *openfgav1.Usersets {
	all := &openfgav1.Usersets{}
	for range 2 + g.IntN(2) {
		all.Child = append(all.Child, g.rewrite(t, i, depth-1))
	}
	return all
}

// parents are the types of a relation that others go from.
func (g *generator) parents() []*openfgav1.RelationReference {
	var refs []*openfgav1.RelationReference
	for _, t := range some(g, g.objectTypes(), 1+g.IntN(2)) {
		refs = append(refs, g.conditional(&openfgav1.RelationReference{Type: t.GetType()}))
	}
	return refs
}

func (g *generator) objectTypes() []*openfgav1.TypeDefinition {
	var types []*openfgav1.TypeDefinition
	for _, t := range g.model.GetTypeDefinitions() {
		if len(t.GetRelations()) > 0 {
			types = append(types, t)
		}
	}
	return types
}

// references are what may stand in the tuples of a relation.
func (g *generator) references() []*openfgav1.RelationReference {
	var refs []*openfgav1.RelationReference
	add := func(ref *openfgav1.RelationReference) {
		ref = g.conditional(ref)
		if !slices.ContainsFunc(refs, func(r *openfgav1.RelationReference) bool { return proto.Equal(r, ref) }) {
			refs = append(refs, ref)
		}
	}
	for _, t := range g.model.GetTypeDefinitions() {
		if len(t.GetRelations()) > 0 {
			continue
		}
		if g.chance(70) {
			add(&openfgav1.RelationReference{Type: t.GetType()})
		}
		if g.chance(15) {
			add(&openfgav1.RelationReference{Type: t.GetType(), RelationOrWildcard: &openfgav1.RelationReference_Wildcard{Wildcard: &openfgav1.Wildcard{}}})
		}
	}
	for g.chance(45) {
		t := pick(g, g.objectTypes())
		switch {
		case g.chance(75):
			add(&openfgav1.RelationReference{Type: t.GetType(), RelationOrWildcard: &openfgav1.RelationReference_Relation{Relation: pick(g, relationsOf(t))}})
		case g.chance(30):
			add(&openfgav1.RelationReference{Type: t.GetType(), RelationOrWildcard: &openfgav1.RelationReference_Wildcard{Wildcard: &openfgav1.Wildcard{}}})
		default:
			add(&openfgav1.RelationReference{Type: t.GetType()})
		}
	}
	if len(refs) == 0 {
		add(&openfgav1.RelationReference{Type: "user"})
	}
	return refs
}

func (g *generator) conditional(ref *openfgav1.RelationReference) *openfgav1.RelationReference {
	if len(g.conditions) > 0 && g.chance(30) {
		ref.Condition = pick(g, g.conditions)
	}
	return ref
}

func hasThis(u *openfgav1.Userset) bool {
	switch u := u.GetUserset().(type) {
	case *openfgav1.Userset_This:
		return true
	case *openfgav1.Userset_Union:
		return slices.ContainsFunc(u.Union.GetChild(), hasThis)
	case *openfgav1.Userset_Intersection:
		return slices.ContainsFunc(u.Intersection.GetChild(), hasThis)
	case *openfgav1.Userset_Difference:
		return hasThis(u.Difference.GetBase()) || hasThis(u.Difference.GetSubtract())
	}
	return false
}

// values makes a context of some of a condition's values.
func (g *generator) values(name string, percent int) map[string]any {
	fields := map[string]any{}
	c := conditions[name]
	parameters := make([]string, 0, len(c.values))
	for parameter := range c.values {
		parameters = append(parameters, parameter)
	}
	slices.Sort(parameters)
	for _, parameter := range parameters {
		if g.chance(percent) {
			fields[parameter] = pick(g, c.values[parameter])
		}
	}
	return fields
}

func mustStruct(fields map[string]any) *structpb.Struct {
	s, err := structpb.NewStruct(fields)
	if err != nil {
		panic(fmt.Sprintf("%v is no JSON: %v", fields, err)) // our own table
	}
	return s
}
