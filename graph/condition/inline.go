package condition

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"weak"

	"github.com/remit-authz/remit/graph/value"
)

// InlineName is the condition that a type restriction names if its tuples bring their
// own expressions. No model declares it.
const InlineName = "$expression"

// The fields of the context of a tuple that brings its own expression. Parameters maps
// names to types, as text; a name that the expression uses and that is not there is a
// string. Other fields mean nothing.
const (
	inlineExpression = "expression"
	inlineParameters = "parameters"
)

// Inline is the condition InlineName. It has no expression of its own: each evaluation
// uses the one in the stored context. The values of its parameters come from the request
// alone, as in OpenFGA: what is stored is a program, and its author can write values
// into it.
var Inline = &Condition{name: InlineName, now: -1}

// CompileInline compiles what is stored with a tuple under the condition Inline. An error
// is an *InlineError or a *CompileError.
func CompileInline(fields value.Map) (*Condition, error) {
	given, ok := fields[inlineExpression]
	if !ok {
		return nil, &InlineError{Field: inlineExpression, Fault: FieldMissing}
	}
	expression, ok := given.(string)
	if !ok || expression == "" {
		return nil, &InlineError{Field: inlineExpression, Fault: FieldMistyped}
	}
	declared, late, err := declaredInline(fields)
	if err != nil {
		return nil, err
	}
	c := newCondition(InlineName, expression, nil)
	tree, err := c.parse()
	if err != nil {
		return nil, err
	}
	if late != nil {
		return nil, late
	}
	variables(tree.NativeRep().Expr(), nil, func(name string) {
		if _, ok := declared[name]; !ok {
			declared[name] = Type{Kind: KindString}
		}
	})
	for _, name := range slices.Sorted(maps.Keys(declared)) {
		c.parameters = append(c.parameters, Parameter{Name: name, Type: declared[name]})
	}
	if err := c.compile(tree); err != nil {
		return nil, err
	}
	return c, nil
}

// declaredInline reads the types of parameters. Of several faults it reports that of the
// first name. Elements of a type that has none are a fault that comes late, after those of
// the expression, as in OpenFGA.
func declaredInline(fields value.Map) (types map[string]Type, late *InlineError, err error) {
	types = map[string]Type{}
	given, ok := fields[inlineParameters]
	if !ok {
		return types, nil, nil
	}
	texts, ok := given.(value.Map)
	if !ok {
		return nil, nil, &InlineError{Field: inlineParameters, Fault: FieldMistyped}
	}
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		text, _ := texts[name].(string) // anything else is no type either
		t, err := readType(text)
		switch {
		case err == nil:
		case err.Fault != TypePlain:
			err.Parameter = name
			return nil, nil, err
		case late == nil:
			err.Parameter = name
			late = err
		}
		types[name] = t
	}
	return types, late, nil
}

// readType reads a type as Type.String writes it.
func readType(text string) (Type, *InlineError) {
	outer, inner, generic := strings.Cut(text, "<")
	inner, closed := strings.CutSuffix(inner, ">")
	kind := Kind(slices.Index(kindNames[1:], outer) + 1)
	container := kind == KindMap || kind == KindList
	fault := func(f InlineFault, text string) (Type, *InlineError) {
		return Type{}, &InlineError{Field: inlineParameters, Type: text, Fault: f}
	}
	switch {
	case generic && !closed:
		return fault(TypeUnclosed, text)
	case kind == 0:
		return fault(TypeUnknown, outer)
	case !generic && container:
		return fault(TypeBare, text)
	case !generic:
		return Type{Kind: kind}, nil
	}
	element, err := readType(inner)
	if err != nil {
		return Type{}, err
	}
	if !container {
		return fault(TypePlain, text)
	}
	return Type{Kind: kind, Element: &element}, nil
}

// maxInline bounds the cache of inline conditions in bytes of their encodings. A usual
// one takes a hundred bytes and its program some kilobytes, so there is room for some
// thousands in about fifty megabytes.
const maxInline = 1 << 20

// inlines remembers compiled inline conditions by the canonical encoding of their
// contexts.
var inlines = cache[*Condition]{most: maxInline}

// compileCached is CompileInline for fields of which the encoding is known. Faults are
// not remembered: what is stored was compiled before.
func compileCached(fields value.Map, encoded []byte) (*Condition, error) {
	if c, ok := inlines.get(encoded); ok {
		return c, nil
	}
	c, err := CompileInline(fields)
	if err != nil {
		return nil, err
	}
	inlines.put(encoded, c)
	return c, nil
}

// inline is the condition that the context holds. The context finds it again without a
// lock, but does not keep it alive: a store may hold more contexts than compiled
// expressions have room.
func (c *Context) inline() (*Condition, error) {
	if c == nil {
		return CompileInline(nil)
	}
	if known := c.own.Load(); known != nil {
		if own := known.Value(); own != nil {
			return own, nil
		}
	}
	own, err := compileCached(c.fields, c.encoded)
	if err != nil {
		return nil, err
	}
	pointer := weak.Make(own)
	c.own.Store(&pointer)
	return own, nil
}

// checkInline is CheckContext for Inline.
func checkInline(fields value.Map) error {
	encoded, err := value.Encode(fields)
	if err != nil {
		return fmt.Errorf("condition %s: %w", InlineName, err)
	}
	_, err = compileCached(fields, encoded)
	return err
}

// plainTypes are the types without elements, as an error lists them.
var plainTypes = func() string {
	var names []string
	for k := KindAny; int(k) < len(kindNames); k++ {
		if k != KindMap && k != KindList {
			names = append(names, k.String())
		}
	}
	return strings.Join(names, ", ")
}()
