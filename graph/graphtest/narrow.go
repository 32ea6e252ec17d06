package graphtest

import (
	"maps"
	"slices"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/protobuf/proto"

	"github.com/remit-authz/remit/graph/condition"
	"github.com/remit-authz/remit/graph/model"
)

// narrowed makes a later version of a model, in which some of what could be written
// under the first is no longer allowed, or means something else. Names it has none
// that the first has not.
func (g *generator) narrowed(m *model.Model) *model.Model {
	for range 20 {
		changed := proto.Clone(m.Proto()).(*openfgav1.AuthorizationModel)
		for range g.between(1, 4) {
			g.narrow(changed)
		}
		if later, err := model.FromProto(changed); err == nil {
			return later
		}
		g.rejected++
	}
	return m
}

func (g *generator) narrow(m *openfgav1.AuthorizationModel) {
	d := pick(g, m.GetTypeDefinitions())
	names := slices.Sorted(maps.Keys(d.GetRelations()))
	if len(names) == 0 {
		return
	}
	name := pick(g, names)
	metadata := d.GetMetadata().GetRelations()[name]
	allowed := metadata.GetDirectlyRelatedUserTypes()
	switch choice := g.IntN(10); {
	case choice < 5 && len(allowed) > 1: // forbid one kind of subject
		at := g.IntN(len(allowed))
		metadata.DirectlyRelatedUserTypes = slices.Delete(allowed, at, at+1)
	case choice < 7 && len(allowed) > 0: // demand another condition, or none
		r := pick(g, allowed)
		names := append(slices.Sorted(maps.Keys(m.GetConditions())), "")
		if usesInline(m) {
			names = append(names, condition.InlineName)
		}
		r.Condition = pick(g, names)
	case choice < 8: // drop a relation
		delete(d.Relations, name)
		delete(d.Metadata.Relations, name)
	case choice < 9: // turn wildcards into entities
		for _, r := range allowed {
			if r.GetWildcard() != nil {
				r.RelationOrWildcard = nil
			}
		}
	default: // give a condition another meaning, perhaps with parameters of another type
		for _, s := range shuffled(g, samples) {
			if c, ok := m.GetConditions()[s.name]; ok && c.GetExpression() != s.expression {
				m.Conditions[s.name] = s.proto()
				return
			}
		}
	}
}
