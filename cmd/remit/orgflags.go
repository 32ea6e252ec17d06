package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/schedule"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// How flags say the fields of an entity: what a field is tells how its value is written.

// descriptor is that of a noun's message.
func (n *noun) descriptor() protoreflect.MessageDescriptor {
	return (&remitv1.Entity{}).ProtoReflect().Descriptor().Fields().ByName(protoreflect.Name(n.message)).Message()
}

// fieldAt is the field that a path names, and whether it is one of a message in the
// entity's own.
func fieldAt(d protoreflect.MessageDescriptor, path string) (f protoreflect.FieldDescriptor, nested bool) {
	outer, inner, nested := strings.Cut(path, ".")
	f = d.Fields().ByName(protoreflect.Name(outer))
	if nested {
		f = f.Message().Fields().ByName(protoreflect.Name(inner))
	}
	return f, nested
}

// repeatable reports whether a field has elements that a flag says one by one, as
// NAME=VALUE.
func repeatable(f protoreflect.FieldDescriptor) bool {
	return f.IsMap() || f.Message() != nil && f.Message().FullName() == "google.protobuf.Struct"
}

// register adds the flags of a noun to a command.
func (n *noun) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	for _, flag := range n.flags {
		f, _ := fieldAt(n.descriptor(), flag.field)
		switch {
		case repeatable(f):
			flags.StringArray(flag.name, nil, flag.help)
		case f.IsList():
			flags.StringSlice(flag.name, nil, flag.help)
		case f.Kind() == protoreflect.BoolKind:
			flags.Bool(flag.name, false, flag.help)
		case f.Kind() == protoreflect.EnumKind:
			words := enumWords(f.Enum())
			flags.String(flag.name, "", flag.help+": "+strings.Join(words, ", "))
			complete(cmd, flag.name, words...)
		default:
			flags.String(flag.name, "", flag.help)
		}
	}
}

// fill puts what the flags say into an entity, and gives the fields that were said, as a
// mask names them. Whole is whether one of them replaces more than was said.
func (n *noun) fill(cmd *cobra.Command, into protoreflect.Message) (paths []string, whole bool, err error) {
	for _, flag := range n.flags {
		if !cmd.Flags().Changed(flag.name) {
			continue
		}
		f, nested := fieldAt(n.descriptor(), flag.field)
		outer, _, _ := strings.Cut(flag.field, ".")
		of := into
		if nested {
			of, whole = into.Mutable(n.descriptor().Fields().ByName(protoreflect.Name(outer))).Message(), true
		}
		elements, err := fillField(cmd, flag.name, of, f)
		if err != nil {
			return nil, false, fmt.Errorf("--%s: %w", flag.name, err)
		}
		if nested || elements == nil {
			elements = []string{""}
		}
		for _, e := range elements {
			path := outer
			if e != "" {
				path += "." + e
			}
			if !slices.Contains(paths, path) {
				paths = append(paths, path)
			}
		}
	}
	return paths, whole, nil
}

// fillField puts what one flag says into a field. Of a field with elements that are said
// one by one it gives those.
func fillField(cmd *cobra.Command, name string, into protoreflect.Message, f protoreflect.FieldDescriptor) (elements []string, err error) {
	flags := cmd.Flags()
	switch {
	case repeatable(f):
		texts, err := flags.GetStringArray(name)
		if err != nil {
			return nil, err
		}
		return fillElements(into, f, texts)
	case f.IsList():
		texts, err := flags.GetStringSlice(name)
		if err != nil {
			return nil, err
		}
		into.Clear(f)
		for _, text := range texts {
			if text = strings.TrimSpace(text); text == "" {
				continue
			}
			v, err := listValue(f, text)
			if err != nil {
				return nil, err
			}
			into.Mutable(f).List().Append(v)
		}
		return nil, nil
	case f.Kind() == protoreflect.BoolKind:
		on, err := flags.GetBool(name)
		into.Set(f, protoreflect.ValueOfBool(on))
		return nil, err
	}
	text, err := flags.GetString(name)
	if err != nil {
		return nil, err
	}
	if f.Kind() == protoreflect.EnumKind {
		number, err := enumNumber(f.Enum(), text)
		into.Set(f, protoreflect.ValueOfEnum(number))
		return nil, err
	}
	into.Set(f, protoreflect.ValueOfString(text))
	return nil, nil
}

// listValue reads one element of a list.
func listValue(f protoreflect.FieldDescriptor, text string) (protoreflect.Value, error) {
	if f.Kind() != protoreflect.MessageKind {
		return protoreflect.ValueOfString(text), nil
	}
	switch f.Message().Name() {
	case "ShiftAssignment":
		shift, during, _ := strings.Cut(text, "@")
		period, err := parsePeriod(during)
		return protoreflect.ValueOfMessage((&remitv1.ShiftAssignment{Shift: shift, Period: period}).ProtoReflect()), err
	default: // Period
		period, err := parsePeriod(text)
		return protoreflect.ValueOfMessage(period.ProtoReflect()), err
	}
}

// parsePeriod reads FROM/UNTIL, of which either may be missing.
func parsePeriod(text string) (*remitv1.Period, error) {
	period := &remitv1.Period{}
	from, until, two := strings.Cut(text, "/")
	if text != "" && !two {
		return period, fmt.Errorf("%q is no time from an instant until another; write FROM/UNTIL, such as 2026-12-24T00:00:00Z/2027-01-02T00:00:00Z", text)
	}
	for _, end := range []struct {
		text string
		to   **timestamppb.Timestamp
	}{{from, &period.From}, {until, &period.Until}} {
		if end.text == "" {
			continue
		}
		at, err := parseInstant(end.text)
		if err != nil {
			return period, err
		}
		*end.to = timestamppb.New(at)
	}
	return period, nil
}

// fillElements puts NAME=VALUE into a map, and takes NAME= out of it.
func fillElements(into protoreflect.Message, f protoreflect.FieldDescriptor, texts []string) ([]string, error) {
	elements := map[string]bool{}
	for _, text := range texts {
		name, v, ok := strings.Cut(text, "=")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return nil, fmt.Errorf("%q is not of the form NAME=VALUE", text)
		}
		if !f.IsMap() {
			elements[name] = true
			if err := fillAttribute(into, f, name, v); err != nil {
				return nil, err
			}
			continue
		}
		keys := []string{name}
		if f.Name() == "days" {
			days, ok := schedule.Days(name)
			if !ok {
				return nil, fmt.Errorf("%q is no day of the week; write monday or mon, or some in a row as mon-fri", name)
			}
			keys = keys[:0]
			for _, d := range days {
				keys = append(keys, crm.WeekdayText(d))
			}
		}
		for _, name := range keys {
			elements[name] = true
			key := protoreflect.ValueOfString(name).MapKey()
			switch m := into.Mutable(f).Map(); {
			case v == "":
				m.Clear(key)
			case f.MapValue().Message() != nil:
				permissions := strings.Split(v, ",")
				if v == "all" {
					permissions = crm.PermissionNames()
				}
				m.Set(key, protoreflect.ValueOfMessage((&remitv1.Permissions{Permissions: permissions}).ProtoReflect()))
			default:
				m.Set(key, protoreflect.ValueOfString(v))
			}
		}
	}
	return slices.Sorted(maps.Keys(elements)), nil
}

// fillAttribute puts an attribute into a Struct: JSON if it is that, or else a text.
func fillAttribute(into protoreflect.Message, f protoreflect.FieldDescriptor, name, text string) error {
	fields, _ := into.Mutable(f).Message().Interface().(*structpb.Struct)
	if text == "" {
		delete(fields.GetFields(), name)
		return nil
	}
	var plain any
	if err := json.Unmarshal([]byte(text), &plain); err != nil {
		plain = text
	}
	v, err := structpb.NewValue(plain)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if fields.Fields == nil {
		fields.Fields = map[string]*structpb.Value{}
	}
	fields.Fields[name] = v
	return nil
}

// enumWords are the values of an enumeration as files write them.
func enumWords(e protoreflect.EnumDescriptor) []string {
	var words []string
	for i := 1; i < e.Values().Len(); i++ {
		words = append(words, enumWord(e, e.Values().Get(i)))
	}
	return words
}

// enumWord is LEVEL_VIEW of Level as view, and HIERARCHY_BY_ROLE of Hierarchy as role.
func enumWord(e protoreflect.EnumDescriptor, v protoreflect.EnumValueDescriptor) string {
	prefix := strings.TrimSuffix(string(e.Values().Get(0).Name()), "UNSPECIFIED")
	return strings.TrimPrefix(strings.ToLower(strings.TrimPrefix(string(v.Name()), prefix)), "by_")
}

func enumNumber(e protoreflect.EnumDescriptor, word string) (protoreflect.EnumNumber, error) {
	for i := 1; i < e.Values().Len(); i++ {
		if v := e.Values().Get(i); enumWord(e, v) == word {
			return v.Number(), nil
		}
	}
	return 0, fmt.Errorf("%q is not one of %s", word, strings.Join(enumWords(e), ", "))
}

// fieldText shows a field of an entity in one cell of a table.
func fieldText(m protoreflect.Message, path string) string {
	outer, inner, nested := strings.Cut(path, ".")
	f := m.Descriptor().Fields().ByName(protoreflect.Name(outer))
	if nested {
		return fieldText(m.Get(f).Message(), inner)
	}
	var parts []string
	separator := ", "
	if f.IsMap() {
		separator = "; " // what elements hold has commas
	}
	switch v := m.Get(f); {
	case f.Name() == "days":
		for i := time.Monday; i <= time.Saturday+1; i++ {
			day := crm.WeekdayText(i % 7)
			if hours := v.Map().Get(protoreflect.ValueOfString(day).MapKey()); hours.IsValid() {
				parts = append(parts, day+"="+hours.String())
			}
		}
	case f.IsMap():
		v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
			parts = append(parts, k.String()+"="+cellText(f.MapValue(), v))
			return true
		})
		slices.Sort(parts)
	case f.IsList():
		for i := range v.List().Len() {
			parts = append(parts, cellText(f, v.List().Get(i)))
		}
	default:
		parts = append(parts, cellText(f, v))
	}
	return dash(visible(strings.Join(parts, separator)))
}

func cellText(f protoreflect.FieldDescriptor, v protoreflect.Value) string {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return yesNo(v.Bool())
	case protoreflect.EnumKind:
		if d := f.Enum().Values().ByNumber(v.Enum()); d != nil && v.Enum() != 0 {
			return enumWord(f.Enum(), d)
		}
		return ""
	case protoreflect.MessageKind:
		switch m := v.Message().Interface().(type) {
		case *remitv1.Permissions:
			if len(m.GetPermissions()) == len(crm.PermissionNames()) {
				return "all"
			}
			return strings.Join(m.GetPermissions(), ",")
		case *remitv1.Share:
			return shareText(m)
		}
	}
	return v.String()
}

// shareText is a share in some words: role:rep view until 2026-12-31T00:00:00Z.
func shareText(s *remitv1.Share) string {
	text := s.GetTo() + " " + levelText(s.GetLevel())
	if s.GetRelated() {
		text += " and related"
	}
	if s.GetExpiresAt() != nil {
		text += " until " + instantText(s.GetExpiresAt().AsTime())
	}
	return text
}

// levelText is a level in a word.
func levelText(l remitv1.Level) string {
	d := l.Descriptor()
	return enumWord(d, d.Values().ByNumber(l.Number()))
}
