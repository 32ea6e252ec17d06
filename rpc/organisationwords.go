package rpc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/remit-authz/remit/graph/crm"
)

// entityDifferences says in words what differs between two states of an entity, field by
// field.
func entityDifferences(before, after crm.Entity) ([]string, error) {
	b, err := entityMessage(before, 0)
	if err != nil {
		return nil, err
	}
	a, err := entityMessage(after, 0)
	if err != nil {
		return nil, err
	}
	from, to := inner(b), inner(a)
	var differences []string
	fields := from.Descriptor().Fields()
	for i := range fields.Len() {
		differences = append(differences, fieldDifferences(fields.Get(i), from, to)...)
	}
	return differences, nil
}

// fieldDifferences are those of one field: of lists and maps, element by element.
func fieldDifferences(f protoreflect.FieldDescriptor, from, to protoreflect.Message) []string {
	name := strings.ReplaceAll(string(f.Name()), "_", " ")
	switch {
	case isStruct(f):
		return elementDifferences(name, structTexts(from.Get(f)), structTexts(to.Get(f)))
	case f.IsMap():
		return elementDifferences(name, mapTexts(f, from), mapTexts(f, to))
	case f.IsList():
		return listDifferences(name, listTexts(f, from), listTexts(f, to))
	}
	was, is := valueText(f, from.Get(f)), valueText(f, to.Get(f))
	if !from.Has(f) {
		was = "nothing"
	}
	if !to.Has(f) {
		is = "nothing"
	}
	if f.Kind() == protoreflect.BoolKind {
		was, is = valueText(f, from.Get(f)), valueText(f, to.Get(f))
	}
	if was == is {
		return nil
	}
	return []string{fmt.Sprintf("%s from %s to %s", name, was, is)}
}

func elementDifferences(name string, from, to map[string]string) []string {
	var differences []string
	keys := slices.Collect(maps.Keys(from))
	for key := range to {
		if _, ok := from[key]; !ok {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		was, had := from[key]
		is, has := to[key]
		switch {
		case !had:
			differences = append(differences, fmt.Sprintf("%s: %s added: %s", name, key, is))
		case !has:
			differences = append(differences, fmt.Sprintf("%s: %s removed, was %s", name, key, was))
		case was != is:
			differences = append(differences, fmt.Sprintf("%s: %s from %s to %s", name, key, was, is))
		}
	}
	return differences
}

func listDifferences(name string, from, to []string) []string {
	var differences []string
	without := func(list, others []string, done string) {
		known := make(map[string]bool, len(others))
		for _, text := range others {
			known[text] = true
		}
		for _, text := range list {
			if !known[text] {
				differences = append(differences, fmt.Sprintf("%s: %s %s", name, text, done))
			}
		}
	}
	without(from, to, "removed")
	without(to, from, "added")
	return differences
}

func listTexts(f protoreflect.FieldDescriptor, m protoreflect.Message) []string {
	list := m.Get(f).List()
	texts := make([]string, list.Len())
	for i := range texts {
		texts[i] = valueText(f, list.Get(i))
	}
	return texts
}

func mapTexts(f protoreflect.FieldDescriptor, m protoreflect.Message) map[string]string {
	texts := map[string]string{}
	m.Get(f).Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		texts[k.String()] = valueText(f.MapValue(), v)
		return true
	})
	return texts
}

func structTexts(v protoreflect.Value) map[string]string {
	texts := map[string]string{}
	s, _ := v.Message().Interface().(*structpb.Struct)
	for name, v := range s.GetFields() {
		texts[name] = messageText(v)
	}
	return texts
}

// valueText shows one value: texts in quotation marks, enumerations in their last word or
// words, messages as JSON.
func valueText(f protoreflect.FieldDescriptor, v protoreflect.Value) string {
	switch f.Kind() {
	case protoreflect.StringKind:
		return fmt.Sprintf("%q", v.String())
	case protoreflect.BoolKind:
		if v.Bool() {
			return "yes"
		}
		return "no"
	case protoreflect.EnumKind:
		return enumText(f.Enum(), v.Enum())
	case protoreflect.MessageKind:
		return messageText(v.Message().Interface())
	}
	return v.String()
}

func enumText(e protoreflect.EnumDescriptor, n protoreflect.EnumNumber) string {
	d := e.Values().ByNumber(n)
	if d == nil {
		return fmt.Sprint(n)
	}
	// LEVEL_VIEW of Level is view.
	words := strings.Split(string(d.Name()), "_")
	first, _, _ := strings.Cut(string(e.Values().Get(0).Name()), "_UNSPECIFIED")
	words = words[min(len(words)-1, strings.Count(first, "_")+1):]
	return strings.ToLower(strings.Join(words, " "))
}

func messageText(m proto.Message) string {
	if p, ok := m.(interface{ GetPermissions() []string }); ok {
		return strings.Join(p.GetPermissions(), ", ")
	}
	text, err := protojson.Marshal(m)
	if err != nil {
		return err.Error()
	}
	// The encoder puts spaces where it likes, so that nobody relies on its bytes.
	var plain bytes.Buffer
	if err := json.Compact(&plain, text); err != nil {
		return string(text)
	}
	return plain.String()
}
