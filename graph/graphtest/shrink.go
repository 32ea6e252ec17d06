package graphtest

import (
	"maps"
	"slices"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/protobuf/proto"

	"github.com/remit-authz/remit/graph/model"
)

// shrink drops what it can of a failing scenario, one thing after the other, as long
// as its one question still fails.
func shrink(s *scenario, fails func(*scenario) bool) *scenario {
	for {
		smaller := shrinkOnce(s, fails)
		if smaller == nil {
			return s
		}
		s = smaller
	}
}

func shrinkOnce(s *scenario, fails func(*scenario) bool) *scenario {
	for candidate := range candidates(s) {
		if fails(candidate) {
			return candidate
		}
	}
	return nil
}

// candidates are all scenarios that are smaller by one thing.
func candidates(s *scenario) func(yield func(*scenario) bool) {
	return func(yield func(*scenario) bool) {
		try := func(change func(c *scenario)) bool {
			c := *s
			change(&c)
			return yield(&c)
		}
		if s.Written != s.Asked && !try(func(c *scenario) { c.Written = c.Asked }) {
			return
		}
		// Halves first, so that long lists become short soon.
		for size := len(s.Steps); size > 0; size /= 2 {
			for i := 0; i+size <= len(s.Steps); i += size {
				if !try(func(c *scenario) { c.Steps = slices.Delete(slices.Clone(c.Steps), i, i+size) }) {
					return
				}
			}
		}
		for i := range s.contextual {
			if !try(func(c *scenario) { c.contextual = slices.Delete(slices.Clone(c.contextual), i, i+1) }) {
				return
			}
		}
		for i := range s.hidden {
			if !try(func(c *scenario) { c.hidden = slices.Delete(slices.Clone(c.hidden), i, i+1) }) {
				return
			}
		}
		for _, key := range slices.Sorted(maps.Keys(s.questions[0].circumstances.Context)) {
			if !try(func(c *scenario) {
				c.questions = slices.Clone(c.questions)
				without := *c.questions[0].circumstances
				without.Context = maps.Clone(without.Context)
				delete(without.Context, key)
				c.questions[0].circumstances = &without
			}) {
				return
			}
		}
		for m := range smallerModels(s.Asked) {
			if !try(func(c *scenario) {
				if c.Written == c.Asked {
					c.Written = m
				}
				c.Asked = m
			}) {
				return
			}
		}
		if s.Written != s.Asked {
			for m := range smallerModels(s.Written) {
				if !try(func(c *scenario) { c.Written = m }) {
					return
				}
			}
		}
	}
}

// smallerModels are all valid models with one thing less.
func smallerModels(m *model.Model) func(yield func(*model.Model) bool) {
	return func(yield func(*model.Model) bool) {
		try := func(change func(*openfgav1.AuthorizationModel)) bool {
			smaller := proto.Clone(m.Proto()).(*openfgav1.AuthorizationModel)
			change(smaller)
			valid, err := model.FromProto(smaller)
			return err != nil || yield(valid)
		}
		for i, d := range m.Proto().GetTypeDefinitions() {
			if !try(func(m *openfgav1.AuthorizationModel) {
				m.TypeDefinitions = slices.Delete(m.GetTypeDefinitions(), i, i+1)
			}) {
				return
			}
			for _, name := range slices.Sorted(maps.Keys(d.GetRelations())) {
				if !try(func(m *openfgav1.AuthorizationModel) {
					delete(m.GetTypeDefinitions()[i].Relations, name)
					delete(m.GetTypeDefinitions()[i].Metadata.Relations, name)
				}) {
					return
				}
				for n := range d.GetMetadata().GetRelations()[name].GetDirectlyRelatedUserTypes() {
					if !try(func(m *openfgav1.AuthorizationModel) {
						metadata := m.GetTypeDefinitions()[i].GetMetadata().GetRelations()[name]
						metadata.DirectlyRelatedUserTypes = slices.Delete(metadata.GetDirectlyRelatedUserTypes(), n, n+1)
					}) {
						return
					}
				}
				for smaller := range smallerRewrites(d.GetRelations()[name]) {
					if !try(func(m *openfgav1.AuthorizationModel) {
						m.GetTypeDefinitions()[i].Relations[name] = smaller
						if !hasThis(smaller) {
							m.GetTypeDefinitions()[i].GetMetadata().GetRelations()[name].DirectlyRelatedUserTypes = nil
						}
					}) {
						return
					}
				}
			}
		}
		for _, name := range slices.Sorted(maps.Keys(m.Proto().GetConditions())) {
			if !try(func(m *openfgav1.AuthorizationModel) { delete(m.Conditions, name) }) {
				return
			}
		}
	}
}

// smallerRewrites are the rewrite with one operator replaced by one of its operands.
func smallerRewrites(rewrite *openfgav1.Userset) func(yield func(*openfgav1.Userset) bool) {
	return func(yield func(*openfgav1.Userset) bool) {
		children := operands(rewrite)
		for _, child := range children {
			if !yield(child) {
				return
			}
		}
		for i, child := range children {
			for smaller := range smallerRewrites(child) {
				whole := proto.Clone(rewrite).(*openfgav1.Userset)
				setOperand(whole, i, smaller)
				if !yield(whole) {
					return
				}
			}
		}
	}
}

func operands(rewrite *openfgav1.Userset) []*openfgav1.Userset {
	switch rewrite := rewrite.GetUserset().(type) {
	case *openfgav1.Userset_Union:
		return rewrite.Union.GetChild()
	case *openfgav1.Userset_Intersection:
		return rewrite.Intersection.GetChild()
	case *openfgav1.Userset_Difference:
		return []*openfgav1.Userset{rewrite.Difference.GetBase(), rewrite.Difference.GetSubtract()}
	default:
		return nil
	}
}

func setOperand(rewrite *openfgav1.Userset, i int, operand *openfgav1.Userset) {
	switch rewrite := rewrite.GetUserset().(type) {
	case *openfgav1.Userset_Union:
		rewrite.Union.Child[i] = operand
	case *openfgav1.Userset_Intersection:
		rewrite.Intersection.Child[i] = operand
	case *openfgav1.Userset_Difference:
		if i == 0 {
			rewrite.Difference.Base = operand
		} else {
			rewrite.Difference.Subtract = operand
		}
	}
}

func hasThis(rewrite *openfgav1.Userset) bool {
	if _, ok := rewrite.GetUserset().(*openfgav1.Userset_This); ok {
		return true
	}
	return slices.ContainsFunc(operands(rewrite), hasThis)
}
