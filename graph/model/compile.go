package model

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"

	"github.com/remit-authz/remit/graph/condition"
)

// Compile turns the model into a plan over a store's ids; id is the model's own. A name
// that the symbols lack is an ErrUndefined.
func (m *Model) Compile(id string, s Symbols) (*Plan, error) {
	c := compiler{
		model: m, symbols: s,
		plan:      &Plan{id: id, byName: make(map[string]*Type, len(m.types))},
		relations: map[*relationDef]*Relation{},
		guards:    map[string]ConditionID{},
		targets:   map[target][]*Relation{},
	}
	c.declareConditions()
	c.declareTypes()
	if err := errors.Join(c.missing...); err != nil {
		return nil, fmt.Errorf("compile model %q: %w", id, err)
	}
	// In the order of the ids, so that the same model over the same symbols makes the
	// same plan, Index included.
	for _, r := range c.plan.relations {
		if r != nil {
			c.compileRelation(c.definition(r), r)
		}
	}
	return c.plan, nil
}

type compiler struct {
	model     *Model
	symbols   Symbols
	plan      *Plan
	relations map[*relationDef]*Relation
	guards    map[string]ConditionID
	targets   map[target][]*Relation // shared by all rewrites that ask the same
	missing   []error
	index     int
}

// A target is what a tuple-to-userset asks: a relation of whatever a tupleset points to.
type target struct {
	tupleset *Relation
	name     string
}

func (c *compiler) declareConditions() {
	for _, def := range c.model.conditions {
		c.declareCondition(def.compiled)
	}
	if c.model.inline {
		c.declareCondition(condition.Inline)
	}
}

func (c *compiler) declareCondition(compiled *condition.Condition) {
	name := compiled.Name()
	id, ok := c.symbols.ConditionID(name)
	if !ok || id == 0 {
		c.missing = append(c.missing, fmt.Errorf("condition %s: %w", name, ErrUndefined))
		return
	}
	c.plan.conditions = grow(c.plan.conditions, int(id))
	c.plan.conditions[id] = compiled
	c.guards[name] = id
}

func (c *compiler) declareTypes() {
	for _, def := range c.model.types {
		id, ok := c.symbols.TypeID(def.name)
		if !ok || id == 0 || id > MaxTypeID {
			c.missing = append(c.missing, fmt.Errorf("type %s: %w", def.name, ErrUndefined))
			continue
		}
		t := &Type{ID: id, Name: def.name, Relations: make([]*Relation, 0, len(def.relations))}
		for _, relation := range def.relations {
			id, ok := c.symbols.RelationID(t.ID, relation.name)
			if !ok || id == 0 {
				c.missing = append(c.missing, fmt.Errorf("relation %s: %w", relation, ErrUndefined))
				continue
			}
			r := &Relation{ID: id, Type: t, Name: relation.name}
			t.Relations = append(t.Relations, r)
			c.plan.relations = grow(c.plan.relations, int(id))
			c.plan.relations[id] = r
			c.relations[relation] = r
		}
		slices.SortFunc(t.Relations, func(a, b *Relation) int { return cmp.Compare(a.Name, b.Name) })
		c.plan.types = append(c.plan.types, t)
		c.plan.byName[t.Name] = t
	}
	slices.SortFunc(c.plan.types, func(a, b *Type) int { return cmp.Compare(a.ID, b.ID) })
}

func (c *compiler) definition(r *Relation) *relationDef {
	return c.model.byName[r.Type.Name].byName[r.Name]
}

func (c *compiler) compileRelation(def *relationDef, r *Relation) {
	seen := make(map[Restriction]bool, len(def.allowed))
	for _, ref := range def.allowed {
		allowed := Restriction{
			Type:     c.plan.byName[ref.GetType()],
			Wildcard: ref.GetWildcard() != nil,
		}
		if name := ref.GetRelation(); name != "" {
			allowed.Relation, _ = allowed.Type.Relation(name)
		}
		if name := ref.GetCondition(); name != "" {
			allowed.ConditionID = c.guards[name]
			allowed.Condition = c.plan.Condition(allowed.ConditionID)
		}
		if !seen[allowed] {
			seen[allowed] = true
			r.Allowed = append(r.Allowed, allowed)
		}
	}
	r.Rewrite = c.compile(r, def.rewrite)
}

func (c *compiler) compile(r *Relation, rewrite *openfgav1.Userset) *Rewrite {
	switch rewrite.GetUserset().(type) {
	case *openfgav1.Userset_ComputedUserset:
		other, _ := r.Type.Relation(rewrite.GetComputedUserset().GetRelation())
		return c.node(&Rewrite{Op: OpComputed, Relation: other})
	case *openfgav1.Userset_TupleToUserset:
		ttu := rewrite.GetTupleToUserset()
		tupleset, _ := r.Type.Relation(ttu.GetTupleset().GetRelation())
		name := ttu.GetComputedUserset().GetRelation()
		return c.node(&Rewrite{
			Op: OpTupleToUserset, Tupleset: tupleset, ComputedName: name,
			Computed: c.computed(target{tupleset, name}),
		})
	case *openfgav1.Userset_Union:
		return c.compileChildren(r, OpUnion, rewrite.GetUnion().GetChild())
	case *openfgav1.Userset_Intersection:
		return c.compileChildren(r, OpIntersection, rewrite.GetIntersection().GetChild())
	case *openfgav1.Userset_Difference:
		n := c.node(&Rewrite{Op: OpExclusion})
		n.Children = []*Rewrite{
			c.compile(r, rewrite.GetDifference().GetBase()),
			c.compile(r, rewrite.GetDifference().GetSubtract()),
		}
		return n
	default:
		return c.node(&Rewrite{Op: OpDirect})
	}
}

// compileChildren makes one node of a union of unions, or an intersection of
// intersections: it has the same meaning, and evaluation one level less to walk.
func (c *compiler) compileChildren(r *Relation, op Op, children []*openfgav1.Userset) *Rewrite {
	children = flatten(op, children)
	if len(children) == 1 {
		return c.compile(r, children[0])
	}
	n := c.node(&Rewrite{Op: op, Children: make([]*Rewrite, 0, len(children))})
	for _, child := range children {
		n.Children = append(n.Children, c.compile(r, child))
	}
	return n
}

// flatten replaces children that have the operator of their parent, or only one child of
// their own, by what is in them.
func flatten(op Op, children []*openfgav1.Userset) []*openfgav1.Userset {
	var flat []*openfgav1.Userset
	for _, child := range children {
		switch inner, of := operands(child); {
		case of == op || len(inner) == 1:
			flat = append(flat, flatten(op, inner)...)
		default:
			flat = append(flat, child)
		}
	}
	return flat
}

// operands are the children of a union or an intersection, and which of the two it is.
func operands(rewrite *openfgav1.Userset) ([]*openfgav1.Userset, Op) {
	switch rewrite.GetUserset().(type) {
	case *openfgav1.Userset_Union:
		return rewrite.GetUnion().GetChild(), OpUnion
	case *openfgav1.Userset_Intersection:
		return rewrite.GetIntersection().GetChild(), OpIntersection
	default:
		return nil, 0
	}
}

func (c *compiler) node(n *Rewrite) *Rewrite {
	n.Index = c.index
	c.index++
	return n
}

// computed are the relations that a tuple-to-userset may ask, one per type that has it.
func (c *compiler) computed(t target) []*Relation {
	if found, ok := c.targets[t]; ok {
		return found
	}
	var found []*Relation
	seen := map[*Relation]bool{}
	for _, ref := range c.definition(t.tupleset).allowed {
		if r, ok := c.plan.byName[ref.GetType()].Relation(t.name); ok && !seen[r] {
			seen[r] = true
			found = append(found, r)
		}
	}
	slices.SortFunc(found, func(a, b *Relation) int { return cmp.Compare(a.Type.ID, b.Type.ID) })
	c.targets[t] = found
	return found
}
