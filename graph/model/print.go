package model

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
)

// ErrInexpressible occurs when a model that came as JSON or as a message cannot be
// written in the modelling language, which is a little narrower.
var ErrInexpressible = errors.New("not expressible in the modelling language")

// DSL prints the model in OpenFGA's modelling language, in the order of its source.
// Comments are lost. A model made of modules is printed as one.
func (m *Model) DSL() (string, error) {
	for _, t := range m.types {
		for _, r := range t.relations {
			if err := expressible(r); err != nil {
				return "", err
			}
		}
	}
	for _, c := range m.conditions {
		if err := c.expressible(); err != nil {
			return "", err
		}
	}
	var b strings.Builder
	b.WriteString("model\n  schema " + m.Schema() + "\n")
	for _, t := range m.types {
		b.WriteString("\n" + t.print())
	}
	for _, c := range m.conditions {
		b.WriteString("\n" + c.print())
	}
	// What is printed must read as the same model. The rules above are to say why where
	// it would not; should they miss something, this does not.
	again, err := ParseDSL("", b.String())
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrInexpressible, err)
	}
	if !again.Equal(m) {
		return "", fmt.Errorf("it would read as a different model: %w", ErrInexpressible)
	}
	return b.String(), nil
}

// print is the definition of a type, each line ended.
func (t *typeDef) print() string {
	var b strings.Builder
	b.WriteString("type " + t.name + "\n")
	if len(t.relations) > 0 {
		b.WriteString("  relations\n")
	}
	for _, r := range t.relations {
		b.WriteString("    " + r.print() + "\n")
	}
	return b.String()
}

// print is the definition of a relation in one line. It prints what the modelling
// language cannot say as if it could: people read it too.
func (r *relationDef) print() string {
	return "define " + r.name + ": " + r.expression(r.rewrite, false)
}

func (r *relationDef) expression(rewrite *openfgav1.Userset, inner bool) string {
	var parts []string
	var joint string
	switch rewrite.GetUserset().(type) {
	case *openfgav1.Userset_ComputedUserset:
		return rewrite.GetComputedUserset().GetRelation()
	case *openfgav1.Userset_TupleToUserset:
		from := rewrite.GetTupleToUserset()
		return from.GetComputedUserset().GetRelation() + " from " + from.GetTupleset().GetRelation()
	case *openfgav1.Userset_Union, *openfgav1.Userset_Intersection:
		operands, op := operands(rewrite)
		if len(operands) == 1 {
			return r.expression(operands[0], inner)
		}
		joint = " or "
		if op == OpIntersection {
			joint = " and "
		}
		for _, child := range directFirst(operands) {
			parts = append(parts, r.expression(child, true))
		}
	case *openfgav1.Userset_Difference:
		joint = " but not "
		for _, child := range children(rewrite) {
			parts = append(parts, r.expression(child, true))
		}
	default:
		for _, ref := range r.allowed {
			parts = append(parts, restrictionText(ref))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	text := strings.Join(parts, joint)
	if inner {
		return "(" + text + ")"
	}
	return text
}

// directFirst moves the operand that holds the type restrictions to the front, where
// the modelling language wants it.
func directFirst(operands []*openfgav1.Userset) []*openfgav1.Userset {
	i := slices.IndexFunc(operands, holdsDirect)
	if i <= 0 {
		return operands
	}
	moved := []*openfgav1.Userset{operands[i]}
	moved = append(moved, operands[:i]...)
	return append(moved, operands[i+1:]...)
}

func holdsDirect(rewrite *openfgav1.Userset) bool { return directs(rewrite) > 0 }

// directs counts the type restrictions in a rewrite.
func directs(rewrite *openfgav1.Userset) int {
	n := 0
	leaves(rewrite, func(leaf *openfgav1.Userset) {
		if _, ok := leaf.GetUserset().(*openfgav1.Userset_This); ok {
			n++
		}
	})
	return n
}

// expressible refuses names and definitions that the modelling language has no words for.
func expressible(r *relationDef) error {
	if !expressibleName(r.owner.name) || !expressibleName(r.name) {
		return fmt.Errorf("%s: a name of letters, digits, _ and - is needed: %w", r, ErrInexpressible)
	}
	if directs(r.rewrite) > 1 {
		return fmt.Errorf("%s accepts tuples in more than one place of its definition: %w", r, ErrInexpressible)
	}
	return subtractsDirect(r, r.rewrite)
}

func subtractsDirect(r *relationDef, rewrite *openfgav1.Userset) error {
	if subtracted := rewrite.GetDifference().GetSubtract(); subtracted != nil && holdsDirect(subtracted) {
		return fmt.Errorf("%s subtracts its own tuples: %w", r, ErrInexpressible)
	}
	for _, child := range children(rewrite) {
		if err := subtractsDirect(r, child); err != nil {
			return err
		}
	}
	return nil
}

func expressibleName(name string) bool {
	return name != "" && isWordStart(rune(name[0])) && (name[0] < '0' || name[0] > '9') && digitsOrLetters(name)
}

// print is the definition of a condition, each line ended.
func (c *conditionDef) print() string {
	var parameters []string
	for _, name := range c.parameterNames() {
		parameters = append(parameters, name+": "+typeText(c.message.GetParameters()[name]))
	}
	return fmt.Sprintf("condition %s(%s) {\n  %s\n}\n",
		c.name, strings.Join(parameters, ", "), strings.TrimSpace(c.message.GetExpression()))
}

// parameterNames are in the order of the source, then by name.
func (c *conditionDef) parameterNames() []string {
	var names []string
	for _, p := range c.parameters {
		if c.message.GetParameters()[p.text] != nil && !slices.Contains(names, p.text) {
			names = append(names, p.text)
		}
	}
	for _, name := range sortedKeys(c.message.GetParameters()) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func (c *conditionDef) expressible() error {
	if !expressibleName(c.name) || len(c.message.GetParameters()) == 0 {
		return fmt.Errorf("condition %s: a plain name and at least one parameter are needed: %w", c.name, ErrInexpressible)
	}
	for _, ref := range c.message.GetParameters() {
		for _, element := range ref.GetGenericTypes() {
			if len(element.GetGenericTypes()) > 0 || element.GetTypeName() == openfgav1.ConditionParamTypeRef_TYPE_NAME_ANY {
				return fmt.Errorf("condition %s: a list or map of any, of lists or of maps: %w", c.name, ErrInexpressible)
			}
		}
		if ref.GetTypeName() == openfgav1.ConditionParamTypeRef_TYPE_NAME_ANY {
			return fmt.Errorf("condition %s: a parameter of any type: %w", c.name, ErrInexpressible)
		}
	}
	text := c.message.GetExpression() + "\n}"
	s := newScanner("", text)
	if _, closed := s.expression(); !closed || !s.done() {
		return fmt.Errorf("condition %s: braces in its expression: %w", c.name, ErrInexpressible)
	}
	if canonicalExpression(s.text) != canonicalExpression(text) {
		return fmt.Errorf("condition %s: a # that would begin a comment in its expression: %w", c.name, ErrInexpressible)
	}
	return nil
}

// typeText is the type of a parameter in the modelling language.
func typeText(ref *openfgav1.ConditionParamTypeRef) string {
	name := strings.ToLower(strings.TrimPrefix(ref.GetTypeName().String(), "TYPE_NAME_"))
	var elements []string
	for _, element := range ref.GetGenericTypes() {
		elements = append(elements, typeText(element))
	}
	if len(elements) == 0 {
		return name
	}
	return name + "<" + strings.Join(elements, ", ") + ">"
}
