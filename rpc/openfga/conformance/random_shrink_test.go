package conformance

import (
	"context"
	"fmt"
	"slices"
	"strings"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"github.com/openfga/language/pkg/go/transformer"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A difference is a question that the two servers answer differently.
type difference struct {
	world     *world          // nil if there is more to it than can be repeated
	before    []proto.Message // writes since the world was made, answered alike
	question  proto.Message
	got, want string
}

// attempts bounds the work on one difference.
const attempts = 400

// shrink leaves out what the difference does not need, for as long as differs finds one
// in what is left.
func (d *difference) shrink(ctx context.Context, differs func(context.Context, *world, []proto.Message, proto.Message) *difference) *difference {
	left := attempts
	try := func(w *world, question proto.Message) bool {
		if left == 0 {
			return false
		}
		left--
		smaller := differs(ctx, w, d.before, question)
		if smaller != nil {
			d = smaller
		}
		return smaller != nil
	}
	for i := len(d.before) - 1; i >= 0; i-- {
		fewer := slices.Delete(slices.Clone(d.before), i, i+1)
		if smaller := differs(ctx, d.world, fewer, d.question); smaller != nil {
			d = smaller
		}
	}
	for shrunk := true; shrunk && left > 0; {
		shrunk = false
		for _, step := range []func(*difference, func(*world, proto.Message) bool) bool{dropModel, dropTuples, dropFromQuestion, simplifyModel} {
			if step(d, try) {
				shrunk = true
			}
		}
	}
	return d
}

func dropModel(d *difference, try func(*world, proto.Message) bool) bool {
	if d.world.later == nil {
		return false
	}
	w := d.world.clone()
	w.model, w.later = w.later, nil
	return try(w, d.question)
}

func dropTuples(d *difference, try func(*world, proto.Message) bool) bool {
	shrunk := false
	w := d.world
	for size := max(1, len(w.tuples)/2); ; size /= 2 {
		for i := 0; i < len(w.tuples); {
			c := w.clone()
			c.tuples = slices.Delete(c.tuples, i, min(i+size, len(c.tuples)))
			if try(c, d.question) {
				w, shrunk = c, true
			} else {
				i += size
			}
		}
		if size <= 1 {
			return shrunk
		}
	}
}

// dropFromQuestion leaves out contextual tuples, context and checks of a batch.
func dropFromQuestion(d *difference, try func(*world, proto.Message) bool) bool {
	shrunk := false
	question := d.question
	attempt := func(change func(proto.Message) bool) bool {
		c := proto.Clone(question)
		if !change(c) || !try(d.world, c) {
			return false
		}
		question, shrunk = c, true
		return true
	}
	type contextual interface {
		GetContextualTuples() *openfgav1.ContextualTupleKeys
	}
	for i := 0; i < 10; i++ {
		if attempt(func(m proto.Message) bool {
			switch q := m.(type) {
			case contextual:
				keys := q.GetContextualTuples()
				if i >= len(keys.GetTupleKeys()) {
					return false
				}
				keys.TupleKeys = slices.Delete(keys.TupleKeys, i, i+1)
			case *openfgav1.ListUsersRequest:
				if i >= len(q.GetContextualTuples()) {
					return false
				}
				q.ContextualTuples = slices.Delete(q.ContextualTuples, i, i+1)
			case *openfgav1.BatchCheckRequest:
				if i >= len(q.GetChecks()) || len(q.GetChecks()) == 1 {
					return false
				}
				q.Checks = slices.Delete(q.Checks, i, i+1)
			default:
				return false
			}
			return true
		}) {
			i--
		}
	}
	for _, name := range []string{"context", "contextual_tuples", "authorization_model_id", "consistency", "page_size"} {
		attempt(func(m proto.Message) bool {
			r := m.ProtoReflect()
			field := r.Descriptor().Fields().ByName(protoreflect.Name(name))
			if field == nil || !r.Has(field) {
				return false
			}
			r.Clear(field)
			return true
		})
	}
	return shrunk
}

// simplifyModel leaves out relations, user types, branches and conditions.
func simplifyModel(d *difference, try func(*world, proto.Message) bool) bool {
	shrunk := false
	w := d.world
	attempt := func(change func(*openfgav1.AuthorizationModel) bool) bool {
		c := w.clone()
		if !change(c.current()) || !try(c, d.question) {
			return false
		}
		w, shrunk = c, true
		return true
	}
	for i := 0; i < len(w.current().GetTypeDefinitions()); {
		if !attempt(func(m *openfgav1.AuthorizationModel) bool {
			m.TypeDefinitions = slices.Delete(m.TypeDefinitions, i, i+1)
			return true
		}) {
			i++
		}
	}
	for name := range w.current().GetConditions() {
		attempt(func(m *openfgav1.AuthorizationModel) bool { delete(m.Conditions, name); return true })
	}
	for i, t := range w.current().GetTypeDefinitions() {
		for _, relation := range relationsOf(t) {
			if attempt(func(m *openfgav1.AuthorizationModel) bool {
				delete(m.TypeDefinitions[i].Relations, relation)
				if m.TypeDefinitions[i].GetMetadata() != nil {
					delete(m.TypeDefinitions[i].Metadata.Relations, relation)
				}
				return true
			}) {
				continue
			}
			for n := 0; n < 12; n++ {
				if attempt(func(m *openfgav1.AuthorizationModel) bool {
					refs := m.TypeDefinitions[i].GetMetadata().GetRelations()[relation]
					if n >= len(refs.GetDirectlyRelatedUserTypes()) {
						return false
					}
					refs.DirectlyRelatedUserTypes = slices.Delete(refs.DirectlyRelatedUserTypes, n, n+1)
					return true
				}) {
					n--
				}
			}
			for n := 0; n < 6; n++ {
				if attempt(func(m *openfgav1.AuthorizationModel) bool {
					t := m.TypeDefinitions[i]
					parts := simpler(t.Relations[relation])
					if n >= len(parts) {
						return false
					}
					t.Relations[relation] = parts[n]
					if !hasThis(parts[n]) && t.GetMetadata() != nil {
						delete(t.Metadata.Relations, relation)
					}
					return true
				}) {
					n = -1
				}
			}
		}
	}
	return shrunk
}

// simpler lists rewrites with one branch less.
func simpler(u *openfgav1.Userset) []*openfgav1.Userset {
	var all []*openfgav1.Userset
	lists := func(children []*openfgav1.Userset, wrap func([]*openfgav1.Userset) *openfgav1.Userset) {
		all = append(all, children...)
		for i := range children {
			if len(children) > 2 {
				all = append(all, wrap(slices.Delete(slices.Clone(children), i, i+1)))
			}
			for _, part := range simpler(children[i]) {
				replaced := slices.Clone(children)
				replaced[i] = part
				all = append(all, wrap(replaced))
			}
		}
	}
	switch v := u.GetUserset().(type) {
	case *openfgav1.Userset_Union:
		lists(v.Union.GetChild(), func(children []*openfgav1.Userset) *openfgav1.Userset {
			return &openfgav1.Userset{Userset: &openfgav1.Userset_Union{Union: &openfgav1.Usersets{Child: children}}}
		})
	case *openfgav1.Userset_Intersection:
		lists(v.Intersection.GetChild(), func(children []*openfgav1.Userset) *openfgav1.Userset {
			return &openfgav1.Userset{Userset: &openfgav1.Userset_Intersection{Intersection: &openfgav1.Usersets{Child: children}}}
		})
	case *openfgav1.Userset_Difference:
		lists([]*openfgav1.Userset{v.Difference.GetBase(), v.Difference.GetSubtract()}, func(children []*openfgav1.Userset) *openfgav1.Userset {
			return &openfgav1.Userset{Userset: &openfgav1.Userset_Difference{Difference: &openfgav1.Difference{Base: children[0], Subtract: children[1]}}}
		})
	}
	return all
}

// String prints what reproduces the difference.
func (d *difference) String() string {
	var b strings.Builder
	if d.world == nil {
		d.world = &world{model: &openfgav1.AuthorizationModel{}}
	}
	models := []*openfgav1.AuthorizationModel{d.world.model}
	if d.world.later != nil {
		models = append(models, d.world.later)
	}
	for i, m := range models {
		dsl, err := transformer.TransformJSONProtoToDSL(m)
		if err != nil {
			dsl = canonical(m)
		}
		b.WriteString(strings.TrimSpace(dsl) + "\n")
		if i == 0 {
			b.WriteString("--- tuples\n")
			for _, t := range d.world.tuples {
				b.WriteString(keyText(t) + "\n")
			}
		}
		if i < len(models)-1 {
			b.WriteString("--- then the model\n")
		}
	}
	for _, m := range d.before {
		fmt.Fprintf(&b, "--- after %s\n%s\n", m.ProtoReflect().Descriptor().Name(), canonical(m))
	}
	fmt.Fprintf(&b, "--- %s\n%s\n", d.question.ProtoReflect().Descriptor().Name(), canonical(d.question))
	fmt.Fprintf(&b, "--- %s answers\n%s\n--- OpenFGA answers\n%s\n", subject.Name, d.got, d.want)
	return b.String()
}
