package conformance

import (
	"fmt"
	"slices"
	"strings"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// currentModel stands in a question for the id of the model, which each server chooses.
const currentModel = "current"

// malformed are users and objects that break a rule each.
var malformed = []string{
	"", "anna", "user:", ":1", ":", "user:1:2", "user:1#", "group:1#member#member", "group:*#member",
	"user:a b", "*", "robot:1", "robot:*", "robot:1#member", "group:1#nothing", "doc:*", "#member", "user:1 ",
	"doc:1#viewer", "user", "user:*#member", strings.Repeat("x", 300) + ":1", "user:" + strings.Repeat("x", 600),
}

func (g *generator) newQuestion() proto.Message {
	question := g.wellFormed()
	if g.chance(8) {
		g.spoil(question)
	}
	return question
}

func (g *generator) wellFormed() proto.Message {
	object, kind := g.object(), g.objectType()
	switch n := g.IntN(100); {
	case n < 46:
		return &openfgav1.CheckRequest{
			AuthorizationModelId: g.modelID(),
			TupleKey:             &openfgav1.CheckRequestTupleKey{Object: object, Relation: g.relationOf(object), User: g.user()},
			ContextualTuples:     g.contextual(),
			Context:              g.context(),
			Consistency:          g.consistency(),
		}
	case n < 60:
		return &openfgav1.ListObjectsRequest{
			AuthorizationModelId: g.modelID(), Type: kind, Relation: g.relationOf(kind), User: g.user(),
			ContextualTuples: g.contextual(), Context: g.context(), Consistency: g.consistency(),
		}
	case n < 66:
		return &openfgav1.StreamedListObjectsRequest{
			AuthorizationModelId: g.modelID(), Type: kind, Relation: g.relationOf(kind), User: g.user(),
			ContextualTuples: g.contextual(), Context: g.context(), Consistency: g.consistency(),
		}
	case n < 80:
		return g.listUsers()
	case n < 86:
		return &openfgav1.ExpandRequest{
			AuthorizationModelId: g.modelID(),
			TupleKey:             &openfgav1.ExpandRequestTupleKey{Object: object, Relation: g.relationOf(object)},
			ContextualTuples:     g.contextual(), Consistency: g.consistency(),
		}
	case n < 91:
		return g.batch()
	case n < 96:
		return g.read()
	}
	r := &openfgav1.ReadChangesRequest{PageSize: g.pageSize()}
	if g.chance(50) {
		r.Type = g.objectType()
	}
	return r
}

func (g *generator) listUsers() *openfgav1.ListUsersRequest {
	object := g.object()
	kind, id, _ := strings.Cut(object, ":")
	filter := &openfgav1.UserTypeFilter{Type: pick(g, g.model.GetTypeDefinitions()).GetType()}
	if g.chance(30) {
		t := pick(g, g.objectTypes())
		filter = &openfgav1.UserTypeFilter{Type: t.GetType(), Relation: pick(g, relationsOf(t))}
	} else if g.chance(50) {
		filter.Type = "user"
	}
	return &openfgav1.ListUsersRequest{
		AuthorizationModelId: g.modelID(), Object: &openfgav1.Object{Type: kind, Id: id}, Relation: g.relationOf(object),
		UserFilters: []*openfgav1.UserTypeFilter{filter}, ContextualTuples: g.contextual().GetTupleKeys(),
		Context: g.context(), Consistency: g.consistency(),
	}
}

func (g *generator) batch() *openfgav1.BatchCheckRequest {
	r := &openfgav1.BatchCheckRequest{AuthorizationModelId: g.modelID(), Consistency: g.consistency()}
	for i := range 1 + g.IntN(8) {
		object := g.object()
		item := &openfgav1.BatchCheckItem{
			CorrelationId:    fmt.Sprintf("item-%d", i),
			TupleKey:         &openfgav1.CheckRequestTupleKey{Object: object, Relation: g.relationOf(object), User: g.user()},
			ContextualTuples: g.contextual(), Context: g.context(),
		}
		if g.chance(5) {
			g.spoilKey(item.TupleKey)
		}
		r.Checks = append(r.Checks, item)
	}
	return r
}

func (g *generator) read() *openfgav1.ReadRequest {
	r := &openfgav1.ReadRequest{PageSize: g.pageSize(), Consistency: g.consistency()}
	if g.chance(15) {
		return r
	}
	r.TupleKey = &openfgav1.ReadRequestTupleKey{Object: g.object()}
	if g.chance(30) {
		r.TupleKey.Object = g.objectType() + ":"
	}
	if g.chance(50) {
		r.TupleKey.Relation = g.relationOf(r.TupleKey.Object)
	}
	if g.chance(50) || strings.HasSuffix(r.TupleKey.Object, ":") {
		r.TupleKey.User = g.user()
	}
	return r
}

// pageSize is small, so that there are pages.
func (g *generator) pageSize() *wrapperspb.Int32Value {
	if g.chance(30) {
		return nil
	}
	return wrapperspb.Int32(int32(1 + g.IntN(9)))
}

func (g *generator) consistency() openfgav1.ConsistencyPreference {
	return openfgav1.ConsistencyPreference(100 * g.IntN(3))
}

func (g *generator) modelID() string {
	if g.chance(30) {
		return ""
	}
	return currentModel
}

func (g *generator) objectType() string { return pick(g, g.objectTypes()).GetType() }

// object is often one that a tuple names.
func (g *generator) object() string {
	if len(g.written) > 0 && g.chance(40) {
		if object := pick(g, g.written).GetObject(); slices.ContainsFunc(g.objectTypes(), func(t *openfgav1.TypeDefinition) bool {
			return strings.HasPrefix(object, t.GetType()+":")
		}) {
			return object
		}
	}
	return g.objectType() + ":" + g.id()
}

// id is mostly one that tuples have.
func (g *generator) id() string {
	if g.chance(3) {
		return "nobody"
	}
	return pick(g, g.ids)
}

// relationOf is a relation of a type or of "type:id", seldom of another one.
func (g *generator) relationOf(object string) string {
	kind, _, _ := strings.Cut(object, ":")
	t := pick(g, g.objectTypes())
	for _, other := range g.objectTypes() {
		if other.GetType() == kind && g.chance(96) {
			t = other
		}
	}
	return pick(g, relationsOf(t))
}

func (g *generator) user() string {
	if len(g.written) > 0 && g.chance(40) {
		return pick(g, g.written).GetUser()
	}
	switch n := g.IntN(100); {
	case n < 60:
		return "user:" + g.id()
	case n < 75:
		t := pick(g, g.objectTypes())
		return t.GetType() + ":" + g.id() + "#" + pick(g, relationsOf(t))
	case n < 85:
		return pick(g, g.model.GetTypeDefinitions()).GetType() + ":" + g.id()
	case n < 90:
		return pick(g, g.model.GetTypeDefinitions()).GetType() + ":*"
	}
	return pick(g, g.model.GetTypeDefinitions()).GetType() + ":" + g.id()
}

func (g *generator) contextual() *openfgav1.ContextualTupleKeys {
	if g.chance(70) {
		return nil
	}
	keys := g.tuples(1 + g.IntN(4))
	if len(keys) > 0 && g.chance(3) {
		keys = append(keys, keys[0])
	}
	if len(keys) > 0 && g.chance(4) {
		switch spoiled := keys[0]; g.IntN(4) {
		case 0:
			spoiled.User = pick(g, malformed)
		case 1:
			spoiled.Object = pick(g, malformed)
		case 2:
			spoiled.Relation = pick(g, []string{"", "nothing", "a b", "a#b"})
		case 3:
			spoiled.Condition = &openfgav1.RelationshipCondition{Name: pick(g, []string{"nothing", "below", "", inline})}
		}
	}
	return &openfgav1.ContextualTupleKeys{TupleKeys: keys}
}

// context has values for the model's conditions, seldom one of the wrong type.
func (g *generator) context() *structpb.Struct {
	if len(g.conditions) == 0 && g.chance(90) || g.chance(10) {
		return nil
	}
	percent := 95
	if g.chance(15) {
		percent = 50
	}
	fields := map[string]any{}
	for _, name := range g.conditions {
		names := []string{name}
		if name == inline {
			names = []string{"tagged", "below", "flagged", "listed"}
		}
		for _, name := range names {
			for parameter, value := range g.values(name, percent) {
				fields[parameter] = value
			}
		}
	}
	if g.chance(5) {
		fields["surplus"] = true
	}
	if g.chance(4) {
		for _, name := range []string{"x", "tag", "flag", "role", "roles", "now", "ip", "table", "p", "n"} {
			if _, ok := fields[name]; ok {
				fields[name] = pick(g, []any{nil, "abc", 1.5, []any{1.0}, map[string]any{}, -1.0, true})
				break
			}
		}
	}
	return mustStruct(fields)
}

// spoil breaks one rule.
func (g *generator) spoil(question proto.Message) {
	set := func(field *string) { *field = pick(g, malformed) }
	relation := func(field *string) {
		*field = pick(g, []string{"", "nothing", "a b", "a#b", strings.Repeat("r", 51)})
	}
	model := func(field *string) {
		*field = pick(g, []string{"01HVMMBCMGZNTGTTYYYYYYYYYY", "latest", strings.Repeat("A", 30)})
	}
	switch q := question.(type) {
	case *openfgav1.CheckRequest:
		if g.chance(10) {
			model(&q.AuthorizationModelId)
		} else {
			g.spoilKey(q.TupleKey)
		}
	case *openfgav1.ListObjectsRequest:
		pick(g, []func(){func() { set(&q.User) }, func() { relation(&q.Relation) }, func() { set(&q.Type) }, func() { model(&q.AuthorizationModelId) }})()
	case *openfgav1.StreamedListObjectsRequest:
		pick(g, []func(){func() { set(&q.User) }, func() { relation(&q.Relation) }, func() { set(&q.Type) }, func() { model(&q.AuthorizationModelId) }})()
	case *openfgav1.ListUsersRequest:
		pick(g, []func(){
			func() { set(&q.Object.Id) }, func() { set(&q.Object.Type) }, func() { relation(&q.Relation) }, func() { set(&q.UserFilters[0].Type) },
			func() { relation(&q.UserFilters[0].Relation) }, func() { q.UserFilters = append(q.UserFilters, q.UserFilters[0]) }, func() { q.Object = nil },
			func() { model(&q.AuthorizationModelId) },
		})()
	case *openfgav1.ExpandRequest:
		pick(g, []func(){func() { set(&q.TupleKey.Object) }, func() { relation(&q.TupleKey.Relation) }, func() { q.TupleKey = nil }, func() { model(&q.AuthorizationModelId) }})()
	case *openfgav1.BatchCheckRequest:
		pick(g, []func(){
			func() { q.Checks[0].CorrelationId = pick(g, []string{"", "a b", strings.Repeat("x", 37)}) },
			func() { q.Checks = append(q.Checks, q.Checks[0]) }, func() { q.Checks = nil }, func() { q.Checks[0].TupleKey = nil },
			func() { model(&q.AuthorizationModelId) },
		})()
	case *openfgav1.ReadRequest:
		if q.TupleKey == nil {
			q.ContinuationToken = pick(g, []string{"bad", "!", "YWJj"})
			return
		}
		pick(g, []func(){func() { set(&q.TupleKey.Object) }, func() { set(&q.TupleKey.User) }, func() { relation(&q.TupleKey.Relation) }, func() { q.ContinuationToken = "!" }})()
	case *openfgav1.ReadChangesRequest:
		pick(g, []func(){func() { q.Type = pick(g, []string{"robot", "a b", strings.Repeat("x", 300)}) }, func() { q.ContinuationToken = pick(g, []string{"bad", "!", "YWJj"}) }})()
	}
}

func (g *generator) spoilKey(key *openfgav1.CheckRequestTupleKey) {
	switch g.IntN(3) {
	case 0:
		key.User = pick(g, malformed)
	case 1:
		key.Object = pick(g, malformed)
	case 2:
		key.Relation = pick(g, []string{"", "nothing", "a b", "a#b", strings.Repeat("r", 51)})
	}
}

// newWrite changes the store, or should not.
func (g *generator) newWrite() *openfgav1.WriteRequest {
	r := &openfgav1.WriteRequest{AuthorizationModelId: g.modelID()}
	if keys := g.tuples(g.IntN(4)); len(keys) > 0 {
		if g.chance(10) {
			keys = append(keys, keys[0])
		}
		r.Writes = &openfgav1.WriteRequestWrites{TupleKeys: keys, OnDuplicate: pick(g, []string{"", "error", "ignore", "ignore"})}
		if g.chance(10) {
			pick(g, []func(){
				func() { keys[0].User = pick(g, malformed) }, func() { keys[0].Object = pick(g, malformed) },
				func() { keys[0].Relation = pick(g, []string{"", "nothing", "a b"}) },
				func() {
					keys[0].Condition = &openfgav1.RelationshipCondition{Name: pick(g, []string{"nothing", "", "below", inline})}
				},
				func() { keys[0].User = keys[0].Object + "#" + keys[0].Relation },
				func() { r.Writes.OnDuplicate = "maybe" },
			})()
		}
	}
	if keys := g.tuples(g.IntN(3)); len(keys) > 0 {
		r.Deletes = &openfgav1.WriteRequestDeletes{OnMissing: pick(g, []string{"", "error", "ignore", "ignore"})}
		for _, key := range keys {
			r.Deletes.TupleKeys = append(r.Deletes.TupleKeys, &openfgav1.TupleKeyWithoutCondition{Object: key.GetObject(), Relation: key.GetRelation(), User: key.GetUser()})
		}
		if g.chance(5) {
			r.Deletes.TupleKeys[0].User = pick(g, malformed)
		}
	}
	return r
}
