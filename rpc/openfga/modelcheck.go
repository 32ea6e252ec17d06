package openfga

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/protobuf/proto"
)

// schemaDefault is the version of a model that does not say its own.
const schemaDefault = "1.1"

// modelOf is the model that a request holds, without an id. Its error says what
// OpenFGA would say.
func modelOf(req *openfgav1.WriteAuthorizationModelRequest, limits *Config) (*openfgav1.AuthorizationModel, error) {
	if len(req.GetTypeDefinitions()) > limits.MaxTypesPerModel {
		return nil, entityLimit("type definitions in an authorization model", limits.MaxTypesPerModel)
	}
	m := &openfgav1.AuthorizationModel{
		Id:              "00000000000000000000000000", // stored models have one, so it counts
		SchemaVersion:   req.GetSchemaVersion(),
		TypeDefinitions: req.GetTypeDefinitions(),
		Conditions:      req.GetConditions(),
	}
	if m.SchemaVersion == "" {
		m.SchemaVersion = schemaDefault
	}
	if size := proto.Size(m); size > limits.MaxModelBytes {
		return nil, errorf(openfgav1.ErrorCode_exceeded_entity_limit, "model exceeds size limit: %d bytes vs %d bytes", size, limits.MaxModelBytes)
	}
	m.Id = ""
	return m, checkModel(m)
}

// checkModel looks for the fault that OpenFGA would report of a model, which is the
// first one in the order of the names of its types and relations. Where OpenFGA's order
// is that of a map, it is the order of the text or of the names here.
//
// It finds all that OpenFGA refuses, save where OpenFGA itself would not come to an end:
// see entryWalk.
func checkModel(m *openfgav1.AuthorizationModel) error {
	c := modelCheck{types: make(map[string]*checkedType, len(m.GetTypeDefinitions())), conditions: m.GetConditions()}
	if err := c.check(m); err != nil {
		return invalidModel(err.Error())
	}
	return nil
}

// A modelCheck is what the checks of one model need to know of it.
type modelCheck struct {
	types      map[string]*checkedType
	sorted     []*checkedType // by name
	conditions map[string]*openfgav1.Condition
	walk       entryWalk
}

// A checkedType is a type with its relations.
type checkedType struct {
	name      string
	index     int // in modelCheck.sorted
	relations []*checkedRelation
	byName    map[string]*checkedRelation
	tuplesets map[string]bool // the relations that others of the type follow
}

// A checkedRelation is a relation with its type restrictions.
type checkedRelation struct {
	owner   *checkedType
	name    string
	index   int // in checkedType.relations, which are sorted by name
	rewrite *openfgav1.Userset
	allowed []*openfgav1.RelationReference
	circle  searchState
}

func (r *checkedRelation) String() string { return r.owner.name + "#" + r.name }

// relation finds a relation by name; nil if there is none.
func (c *modelCheck) relation(typ, name string) *checkedRelation {
	t := c.types[typ]
	if t == nil {
		return nil
	}
	return t.byName[name]
}

func (c *modelCheck) check(m *openfgav1.AuthorizationModel) error {
	if v := m.GetSchemaVersion(); v != "1.1" && v != "1.2" {
		return errors.New("invalid schema version")
	}
	for _, def := range m.GetTypeDefinitions() {
		if _, twice := c.types[def.GetType()]; twice {
			return errors.New("an authorization model cannot contain duplicate types")
		}
		c.types[def.GetType()] = newCheckedType(def)
	}
	for _, def := range m.GetTypeDefinitions() {
		if err := c.types[def.GetType()].checkNames(); err != nil {
			return err
		}
	}
	for i, name := range slices.Sorted(maps.Keys(c.types)) {
		c.types[name].index = i
		c.sorted = append(c.sorted, c.types[name])
	}
	c.walk = entryWalk{check: c, left: maxEntrySteps}
	for _, t := range c.sorted {
		for _, r := range t.relations {
			if err := c.checkRelation(r); err != nil {
				return err
			}
		}
	}
	return c.checkConditions()
}

func newCheckedType(def *openfgav1.TypeDefinition) *checkedType {
	t := &checkedType{
		name: def.GetType(), byName: make(map[string]*checkedRelation, len(def.GetRelations())), tuplesets: map[string]bool{},
	}
	for i, name := range slices.Sorted(maps.Keys(def.GetRelations())) {
		r := &checkedRelation{
			owner: t, name: name, index: i,
			rewrite: def.GetRelations()[name],
			allowed: def.GetMetadata().GetRelations()[name].GetDirectlyRelatedUserTypes(),
		}
		t.relations = append(t.relations, r)
		t.byName[name] = r
		leavesOf(r.rewrite, func(leaf *openfgav1.Userset) {
			if from := leaf.GetTupleToUserset(); from != nil {
				t.tuplesets[from.GetTupleset().GetRelation()] = true
			}
		})
	}
	return t
}

// leavesOf calls visit for each leaf of a rewrite, in the order of the text.
func leavesOf(rewrite *openfgav1.Userset, visit func(leaf *openfgav1.Userset)) {
	operands, is := operandsOf(rewrite)
	if !is {
		visit(rewrite)
	}
	for _, operand := range operands {
		leavesOf(operand, visit)
	}
}

// operandsOf are the operands of a rewrite that is an operator.
func operandsOf(rewrite *openfgav1.Userset) ([]*openfgav1.Userset, bool) {
	switch rewrite.GetUserset().(type) {
	case *openfgav1.Userset_Union:
		return rewrite.GetUnion().GetChild(), true
	case *openfgav1.Userset_Intersection:
		return rewrite.GetIntersection().GetChild(), true
	case *openfgav1.Userset_Difference:
		return []*openfgav1.Userset{rewrite.GetDifference().GetBase(), rewrite.GetDifference().GetSubtract()}, true
	}
	return nil, false
}

// checkNames looks for names that no model may use.
func (t *checkedType) checkNames() error {
	switch t.name {
	case "":
		return errors.New("the type name of a type definition cannot be an empty string")
	case "self", "this":
		return fmt.Errorf("the definition of type '%s' is invalid", t.name)
	}
	for _, r := range t.relations {
		switch r.name {
		case "":
			return fmt.Errorf("type '%s' defines a relation with an empty string for a name", t.name)
		case "self", "this":
			return r.fault("self and this are reserved keywords")
		}
	}
	return nil
}

func (r *checkedRelation) fault(why string) error {
	return fmt.Errorf("the definition of relation '%s' in object type '%s' is invalid: %s", r.name, r.owner.name, why)
}

func (c *modelCheck) checkRelation(r *checkedRelation) error {
	if err := c.checkRewrite(r, r.rewrite); err != nil {
		return err
	}
	if err := c.checkRestrictions(r); err != nil {
		return err
	}
	if err := c.walk.checkEntry(r); err != nil {
		return err
	}
	switch circle, err := c.inCircle(r); {
	case err != nil:
		return err
	case circle:
		return r.fault("an authorization model cannot contain a cycle")
	}
	return nil
}

// undefined says that a definition mentions a relation that its type does not have.
func undefined(t *checkedType, relation string) error {
	return fmt.Errorf("'%s#%s' relation is undefined", t.name, relation)
}

// checkRewrite looks for what a definition mentions and should not.
func (c *modelCheck) checkRewrite(r *checkedRelation, rewrite *openfgav1.Userset) error {
	switch rewrite.GetUserset().(type) {
	case nil:
		return r.fault("invalid userset rewrite definition")
	case *openfgav1.Userset_ComputedUserset:
		name := rewrite.GetComputedUserset().GetRelation()
		switch {
		case name == r.name:
			return r.fault("invalid userset rewrite definition")
		case r.owner.byName[name] == nil:
			return undefined(r.owner, name)
		}
	case *openfgav1.Userset_TupleToUserset:
		return c.checkFrom(r, rewrite.GetTupleToUserset())
	}
	operands, _ := operandsOf(rewrite)
	for _, operand := range operands {
		if err := c.checkRewrite(r, operand); err != nil {
			return err
		}
	}
	return nil
}

// checkFrom is checkRewrite for `computed from tupleset`.
func (c *modelCheck) checkFrom(r *checkedRelation, from *openfgav1.TupleToUserset) error {
	name := from.GetTupleset().GetRelation()
	tupleset := r.owner.byName[name]
	if tupleset == nil {
		return undefined(r.owner, name)
	}
	if _, direct := tupleset.rewrite.GetUserset().(*openfgav1.Userset_This); !direct {
		return fmt.Errorf("the '%s' relation is referenced in at least one tupleset and thus must be a direct relation", tupleset)
	}
	computed := from.GetComputedUserset().GetRelation()
	for _, ref := range tupleset.allowed {
		if c.relation(ref.GetType(), computed) != nil {
			return nil
		}
	}
	return fmt.Errorf("undefined relation: %s does not appear as a relation in any of the directly related user types %s", computed, tupleset.allowed)
}

// checkRestrictions looks for faults in the types that a relation accepts.
func (c *modelCheck) checkRestrictions(r *checkedRelation) error {
	assignable := false
	leavesOf(r.rewrite, func(leaf *openfgav1.Userset) {
		_, direct := leaf.GetUserset().(*openfgav1.Userset_This)
		assignable = assignable || direct
	})
	switch {
	case assignable && len(r.allowed) == 0:
		return fmt.Errorf("the assignable relation '%s' in object type '%s' must contain at least one relation type", r.name, r.owner.name)
	case !assignable && len(r.allowed) != 0:
		return fmt.Errorf("the non-assignable relation '%s' in object type '%s' should not contain a relation type", r.name, r.owner.name)
	}
	for _, ref := range r.allowed {
		if err := c.checkRestriction(r, ref); err != nil {
			return err
		}
	}
	return nil
}

func (c *modelCheck) checkRestriction(r *checkedRelation, ref *openfgav1.RelationReference) error {
	kind := ref.GetType()
	if ref.GetRelation() != "" {
		kind += "#" + ref.GetRelation()
	}
	refused := func() error {
		return fmt.Errorf("the relation type '%s' on '%s' in object type '%s' is not valid", kind, r.name, r.owner.name)
	}
	if c.types[ref.GetType()] == nil {
		return refused()
	}
	if ref.GetRelationOrWildcard() != nil {
		switch {
		case r.owner.tuplesets[r.name]:
			return refused()
		case ref.GetWildcard() != nil:
		case ref.GetRelation() == "":
			return fmt.Errorf("the relation type '%s' on '%s' in object type '%s' has an empty relation reference: empty relation reference", ref.GetType(), r.name, r.owner.name)
		case c.relation(ref.GetType(), ref.GetRelation()) == nil:
			return refused()
		}
	}
	if name := ref.GetCondition(); name != "" && name != inlineCondition {
		if _, ok := c.conditions[name]; !ok {
			return fmt.Errorf("condition %s is undefined for relation %s", name, r.name)
		}
	}
	return nil
}

// A searchState is how far the search for circles has come with a relation.
type searchState uint8

const (
	unsearched searchState = iota
	searching
	searched // and there is no circle
)

// inCircle reports whether a relation needs, through relations of the same object alone,
// one that needs itself.
func (c *modelCheck) inCircle(r *checkedRelation) (bool, error) {
	switch r.circle {
	case searching:
		return true, nil
	case searched:
		return false, nil
	}
	r.circle = searching
	circle, err := c.rewriteInCircle(r, r.rewrite)
	if err == nil && !circle {
		r.circle = searched
	}
	return circle, err
}

func (c *modelCheck) rewriteInCircle(r *checkedRelation, rewrite *openfgav1.Userset) (bool, error) {
	if computed := rewrite.GetComputedUserset(); computed != nil {
		other := r.owner.byName[computed.GetRelation()]
		if other == nil {
			return false, undefined(r.owner, computed.GetRelation())
		}
		return c.inCircle(other)
	}
	operands, _ := operandsOf(rewrite)
	for _, operand := range operands {
		if circle, err := c.rewriteInCircle(r, operand); err != nil || circle {
			return circle, err
		}
	}
	return false, nil
}
