package condition

import (
	"errors"
	"fmt"

	"cel.dev/cel-go/cel"
)

// A Kind is the kind of a parameter's type.
type Kind uint8

// The kinds of types, as OpenFGA has them.
const (
	KindAny       Kind = iota + 1 // whatever the context holds; its numbers are doubles
	KindBool                      // a bool
	KindString                    // a string
	KindInt                       // int64, from a whole number or a string of one
	KindUint                      // uint64, likewise
	KindDouble                    // float64, from a number or a string of one
	KindDuration                  // from a string such as "1h30m"
	KindTimestamp                 // from an RFC 3339 string
	KindMap                       // strings to Element
	KindList                      // of Element
	KindIPAddress                 // from a string, IPv4 or IPv6
)

var kindNames = [...]string{
	KindAny: "any", KindBool: "bool", KindString: "string", KindInt: "int", KindUint: "uint", KindDouble: "double",
	KindDuration: "duration", KindTimestamp: "timestamp", KindMap: "map", KindList: "list", KindIPAddress: "ipaddress",
}

// String is the kind as models write it.
func (k Kind) String() string {
	if k == 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("kind %d", uint8(k))
	}
	return kindNames[k]
}

// A Type is a parameter's type.
type Type struct {
	Kind    Kind
	Element *Type // of a map or a list
}

// String is the type as models write it: map<string>.
func (t Type) String() string {
	if t.Element == nil {
		return t.Kind.String()
	}
	return t.Kind.String() + "<" + t.Element.String() + ">"
}

// A Parameter is a value that a condition takes.
type Parameter struct {
	Name string
	Type Type
}

// maxTypeDepth bounds list<list<…>>.
const maxTypeDepth = 8

func (t Type) check(depth int) error {
	switch t.Kind {
	case KindMap, KindList:
		if t.Element == nil {
			return fmt.Errorf("%s without the type of its elements", t.Kind)
		}
		if depth >= maxTypeDepth {
			return fmt.Errorf("type nests deeper than %d", maxTypeDepth)
		}
		return t.Element.check(depth + 1)
	case KindAny, KindBool, KindString, KindInt, KindUint, KindDouble, KindDuration, KindTimestamp, KindIPAddress:
		if t.Element != nil {
			return fmt.Errorf("%s does not have elements", t.Kind)
		}
		return nil
	}
	return errors.New("unknown type")
}

// cel is the type as CEL knows it.
func (t Type) cel() *cel.Type {
	switch t.Kind {
	case KindBool:
		return cel.BoolType
	case KindString:
		return cel.StringType
	case KindInt:
		return cel.IntType
	case KindUint:
		return cel.UintType
	case KindDouble:
		return cel.DoubleType
	case KindDuration:
		return cel.DurationType
	case KindTimestamp:
		return cel.TimestampType
	case KindMap:
		return cel.MapType(cel.StringType, t.Element.cel())
	case KindList:
		return cel.ListType(t.Element.cel())
	case KindIPAddress:
		return ipAddressType
	default:
		return cel.AnyType
	}
}
