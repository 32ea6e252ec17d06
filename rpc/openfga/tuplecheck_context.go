package openfga

import (
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/remit-authz/remit/graph/condition"
)

// forbiddenFault looks for control characters in the names and texts of a context.
// Which of several it reports does not depend on the order of the map.
func forbiddenFault(fields map[string]*structpb.Value) string {
	first, at := "", ""
	for key, v := range fields {
		fault := ""
		if hasControl(key) {
			fault = fmt.Sprintf("context key %q contains forbidden characters", key)
		} else {
			fault = forbiddenInValue(v)
		}
		if fault != "" && (first == "" || key < at) {
			first, at = fault, key
		}
	}
	return first
}

func forbiddenInValue(v *structpb.Value) string {
	switch kind := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		if hasControl(kind.StringValue) {
			return fmt.Sprintf("context value %q contains forbidden characters", kind.StringValue)
		}
	case *structpb.Value_ListValue:
		for _, element := range kind.ListValue.GetValues() {
			if fault := forbiddenInValue(element); fault != "" {
				return fault
			}
		}
	case *structpb.Value_StructValue:
		return forbiddenFault(kind.StructValue.GetFields())
	}
	return ""
}

// contextFault looks for fields that may not be stored with a tuple under a condition:
// those of the wrong type, then those that the condition does not have.
func contextFault(c *condition.Condition, fields map[string]*structpb.Value) string {
	if len(fields) == 0 {
		return ""
	}
	if len(c.Parameters()) == 0 {
		return typeFault(c.Name(), "no parameters defined for the condition")
	}
	known := 0
	for _, p := range c.Parameters() {
		v, ok := fields[p.Name]
		if !ok {
			continue
		}
		known++
		if fault := convertFault(p.Type, v.AsInterface()); fault != "" {
			return typeFault(c.Name(), parameterFault(p.Name, fault))
		}
	}
	if known == len(fields) {
		return ""
	}
	unknown := ""
	for name := range fields {
		if !hasParameter(c, name) && (unknown == "" || name < unknown) {
			unknown = name
		}
	}
	return "found invalid context parameter: " + unknown
}

func hasParameter(c *condition.Condition, name string) bool {
	return slices.ContainsFunc(c.Parameters(), func(p condition.Parameter) bool { return p.Name == name })
}

func typeFault(conditionName, fault string) string {
	return fmt.Sprintf("parameter type error on condition '%s' - %s", conditionName, fault)
}

func parameterFault(name, fault string) string {
	return fmt.Sprintf("failed to convert context parameter '%s': %s", name, fault)
}

// convertFault says in OpenFGA's words why a value of a context has not the type of its
// parameter; empty if it has. It is stricter than OpenFGA with numbers in one respect:
// what does not fit into 64 bits is refused rather than bent to what does.
func convertFault(t condition.Type, v any) string {
	switch n := v.(type) { // a struct has no other numbers than float64
	case int64:
		v = float64(n)
	case uint64:
		v = float64(n)
	}
	switch t.Kind {
	case condition.KindBool:
		if _, ok := v.(bool); !ok {
			return mistyped("bool", v)
		}
	case condition.KindString:
		if _, ok := v.(string); !ok {
			return mistyped("string", v)
		}
	case condition.KindInt, condition.KindUint, condition.KindDouble:
		return numberFault(t.Kind, v)
	case condition.KindDuration:
		return textFault(v, "a duration string", "a valid duration string, but found: '%s'", func(s string) error {
			_, err := time.ParseDuration(s)
			return err
		})
	case condition.KindTimestamp:
		const want = "RFC 3339 formatted timestamp string"
		return textFault(v, want, want+", but found '%s'", func(s string) error {
			_, err := time.Parse(time.RFC3339, s)
			return err
		})
	case condition.KindIPAddress:
		return textFault(v, "an ipaddress string", "a well-formed IP address, but found: '%s'", func(s string) error {
			_, err := netip.ParseAddr(s)
			return err
		})
	case condition.KindList:
		return listFault(t, v)
	case condition.KindMap:
		return mapFault(t, v)
	}
	return ""
}

// mistyped says that a value is of another type, by the names that Go has for both.
func mistyped(want string, v any) string {
	have := "%!s(<nil>)" // how OpenFGA comes to print a null
	if v != nil {
		have = fmt.Sprintf("%T", v)
	}
	return fmt.Sprintf("expected type value '%s', but found '%s'", want, have)
}

// textFault is for types that are written as text and read by parse.
func textFault(v any, want, wellFormed string, parse func(string) error) string {
	s, ok := v.(string)
	if !ok {
		return fmt.Sprintf("expected %s, but found: %T '%v'", want, v, v)
	}
	if parse(s) != nil {
		return "expected " + fmt.Sprintf(wellFormed, s)
	}
	return ""
}

// numberNames are what Go calls the numbers, and what OpenFGA does.
var numberNames = map[condition.Kind][2]string{
	condition.KindInt:    {"int64", "an int"},
	condition.KindUint:   {"uint64", "a uint"},
	condition.KindDouble: {"float64", ""},
}

// maxNumberText bounds the text of a number: a longer one is none that graph/condition
// would read.
const maxNumberText = 64

func numberFault(kind condition.Kind, v any) string {
	name := numberNames[kind][0]
	var f *big.Float
	switch v := v.(type) {
	case float64:
		if kind == condition.KindDouble {
			return ""
		}
		if v != v { //nolint:gocritic,staticcheck // NaN, which big.Float does not have
			return fmt.Sprintf("expected %s value, but found numeric value 'NaN'", numberNames[kind][1])
		}
		f = big.NewFloat(v)
	case string:
		parsed, _, err := big.ParseFloat(v, 10, 64, big.ToNearestEven)
		if err != nil || len(v) > maxNumberText {
			return fmt.Sprintf("expected a %s value, but found invalid string value '%s'", name, v)
		}
		f = parsed
	default:
		return mistyped(name, v)
	}
	if kind == condition.KindDouble {
		if _, accuracy := f.Float64(); accuracy != big.Exact || f.IsInf() {
			return "number cannot be represented as a float64: " + f.String()
		}
		return ""
	}
	fits := f.IsInt()
	if fits && kind == condition.KindInt {
		_, accuracy := f.Int64()
		fits = accuracy == big.Exact
	}
	if fits && kind == condition.KindUint {
		if f.Sign() < 0 {
			return fmt.Sprintf("expected a uint value, but found int64 value '%s'", f.String())
		}
		_, accuracy := f.Uint64()
		fits = accuracy == big.Exact
	}
	if !fits {
		return fmt.Sprintf("expected %s value, but found numeric value '%s'", numberNames[kind][1], f.String())
	}
	return ""
}

func listFault(t condition.Type, v any) string {
	list, ok := v.([]any)
	if !ok {
		return fmt.Sprintf("list requires a list, found: %T", v)
	}
	for i, element := range list {
		if fault := convertFault(*t.Element, element); fault != "" {
			return inList(i, fault)
		}
	}
	return ""
}

func mapFault(t condition.Type, v any) string {
	fields, ok := v.(map[string]any)
	if !ok {
		return fmt.Sprintf("map requires a map, found: %T", v)
	}
	first, at := "", ""
	for key, element := range fields {
		if first != "" && key > at {
			continue
		}
		if fault := convertFault(*t.Element, element); fault != "" {
			first, at = fault, key
		}
	}
	if first != "" {
		return inMap(at, first)
	}
	return ""
}

func inList(i int, fault string) string {
	return fmt.Sprintf("found an invalid list item at index `%d`: %s", i, fault)
}

func inMap(key, fault string) string {
	return fmt.Sprintf("found an invalid value for key '%s': %s", key, fault)
}

// inlineFault says in OpenFGA's words why a context holds no expression that compiles.
func inlineFault(fields map[string]*structpb.Value) string {
	given := (&structpb.Struct{Fields: fields}).AsMap()
	if _, err := condition.CompileInline(given); err != nil {
		return inlineText(err)
	}
	return ""
}

// inlineText is what OpenFGA says of a fault of condition.CompileInline.
func inlineText(err error) string {
	switch err := err.(type) { //nolint:errorlint // these errors are not wrapped
	case *condition.InlineError:
		at := fmt.Sprintf("%s: invalid parameter type for parameter %q: ", inlineCondition, err.Parameter)
		switch err.Fault {
		case condition.FieldMissing:
			return fmt.Sprintf("%s: missing required context field %q", inlineCondition, err.Field)
		case condition.FieldMistyped:
			want := "a non-empty string"
			if err.Field != "expression" {
				want = "a struct"
			}
			return fmt.Sprintf("%s: context field %q must be %s", inlineCondition, err.Field, want)
		case condition.TypeUnclosed:
			return fmt.Sprintf("%smalformed generic type %q: missing closing >", at, err.Type)
		case condition.TypeBare:
			return fmt.Sprintf("%sparameter type %q requires a generic element type, e.g. %q", at, err.Type, err.Type+"<any>")
		case condition.TypePlain:
			outer, _, _ := strings.Cut(err.Type, "<")
			return notCompiled(inlineCondition, fmt.Sprintf("failed to decode parameter type for parameter '%s': condition parameter type `TYPE_NAME_%s` requires 0 generic types; found 1",
				err.Parameter, strings.ToUpper(outer))).Error()
		default:
			return fmt.Sprintf("%sunknown parameter type %q", at, err.Type)
		}
	case *condition.CompileError:
		if err.Syntax {
			// OpenFGA reads an expression before it has a name.
			const source = "ERROR: "
			return inlineCondition + ": invalid CEL expression: " + strings.ReplaceAll(compileText(err), source+inlineCondition+":", source+"<input>:")
		}
	}
	return notCompiled(inlineCondition, compileText(err)).Error()
}
