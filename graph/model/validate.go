package model

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"

	"github.com/remit-authz/remit/graph/condition"
)

// checkSize refuses a model that is too large to look at closely.
func (m *Model) checkSize(text *outline, found *faults) {
	if n := len(m.message.GetTypeDefinitions()); n > MaxTypes {
		found.add(text.header, "", "", "the model defines %d types, and at most %d are allowed", n, MaxTypes)
	}
	if n := len(m.message.GetConditions()); n > MaxConditions {
		found.add(text.header, "", "", "the model defines %d conditions, and at most %d are allowed", n, MaxConditions)
	}
	for _, def := range m.message.GetTypeDefinitions() {
		at := place{}
		if outlines := text.typesNamed(def.GetType()); len(outlines) > 0 {
			at = outlines[0].at
		}
		if n := len(def.GetRelations()); n > MaxRelations {
			found.add(at, def.GetType(), "", "type %s defines %d relations, and at most %d are allowed", def.GetType(), n, MaxRelations)
		}
		for _, name := range sortedKeys(def.GetRelations()) {
			if depth(def.GetRelations()[name], 0) > MaxDepth {
				found.add(at, def.GetType(), name, "the definition of %s#%s nests more than %d operators deep: move a part of it into a relation of its own",
					def.GetType(), name, MaxDepth)
			}
		}
	}
}

// depth is how deep operators nest, counted to just past MaxDepth.
func depth(rewrite *openfgav1.Userset, above int) int {
	if above > MaxDepth {
		return above
	}
	deepest := above
	for _, child := range children(rewrite) {
		deepest = max(deepest, depth(child, above+1))
	}
	return deepest
}

// children are the operands of a rewrite, none if it is a leaf.
func children(rewrite *openfgav1.Userset) []*openfgav1.Userset {
	if _, ok := rewrite.GetUserset().(*openfgav1.Userset_Difference); ok {
		return []*openfgav1.Userset{rewrite.GetDifference().GetBase(), rewrite.GetDifference().GetSubtract()}
	}
	inner, _ := operands(rewrite)
	return inner
}

// leaves calls visit for every leaf of a rewrite.
func leaves(rewrite *openfgav1.Userset, visit func(leaf *openfgav1.Userset)) {
	inner := children(rewrite)
	for _, child := range inner {
		leaves(child, visit)
	}
	if len(inner) == 0 {
		visit(rewrite)
	}
}

// validate finds everything that is wrong with the meaning of the model.
func (m *Model) validate(text *outline, found *faults) {
	m.validateSchema(text, found)
	for _, c := range m.conditions {
		if found.full() {
			return
		}
		m.validateCondition(c, found)
	}
	before := len(found.list)
	for _, t := range m.types {
		validateName(t.at, t.name, "", "type", t.name, MaxTypeName, found)
		tuplesets := tuplesetsOf(t)
		for _, r := range t.relations {
			if found.full() {
				return
			}
			validateName(r.at, t.name, r.name, "relation", r.name, MaxName, found)
			m.validateRewrite(r, found)
			m.validateRestrictions(r, tuplesets[r.name], found)
		}
	}
	if len(found.list) > before {
		// What follows walks from relation to relation, and would report the
		// consequences of the faults above.
		return
	}
	for _, t := range m.types {
		findCycles(t, found)
	}
	if len(found.list) == before {
		m.findUnreachable(found)
	}
}

func (m *Model) validateSchema(text *outline, found *faults) {
	switch version := m.message.GetSchemaVersion(); version {
	case "1.1", "1.2":
	case "":
		found.add(text.header, "", "", "the model has no schema version: it should be 1.1 or 1.2")
	case "1.0":
		found.add(text.schema, "", "", "schema 1.0 is no longer supported: write schema 1.1, and list with each relation the types it accepts, as in `define viewer: [user]`")
	default:
		found.add(text.schema, "", "", "schema %q is not known: it should be 1.1 or 1.2", version)
	}
	if len(m.message.GetTypeDefinitions()) == 0 {
		found.add(text.header, "", "", "the model defines no types: add at least one, such as `type user`")
	}
}

// validateName checks a name against OpenFGA's pattern for its kind.
func validateName(at place, typeName, relation, kind, name string, most int, found *faults) {
	switch {
	case name == "":
		found.add(at, typeName, relation, "a %s has an empty name: give it one", kind)
	case utf8.RuneCountInString(name) > most:
		found.add(at, typeName, relation, "the name of %s %.20s... has %d characters, and at most %d are allowed", kind, name, utf8.RuneCountInString(name), most)
	case strings.ContainsAny(name, ":#@ \t\n\f\r"):
		found.add(at, typeName, relation, "%s %q has a name that cannot be written in a tuple: leave out spaces, colon, # and @", kind, name)
	case kind != "condition" && (name == "self" || name == "this"):
		found.add(at, typeName, relation, "a %s cannot be named %s, which is reserved: choose another name", kind, name)
	case kind == "condition" && name == condition.InlineName:
		found.add(at, typeName, relation, "a condition cannot be named %s, which stands for the expressions that tuples bring themselves: choose another name", name)
	}
}

func (m *Model) validateRewrite(r *relationDef, found *faults) {
	if r.rewrite.GetUserset() == nil {
		found.add(r.at, r.owner.name, r.name, "%s has no definition: add one such as `define %s: [user]`", r, r.name)
		return
	}
	reported := map[string]bool{}
	once := func(at place, format string, args ...any) {
		message := fmt.Sprintf(format, args...)
		if !reported[message] {
			reported[message] = true
			found.add(at, r.owner.name, r.name, "%s", message)
		}
	}
	leaves(r.rewrite, func(leaf *openfgav1.Userset) {
		switch leaf.GetUserset().(type) {
		case *openfgav1.Userset_This:
		case *openfgav1.Userset_ComputedUserset:
			name := leaf.GetComputedUserset().GetRelation()
			if name == r.name {
				once(r.find(name), "%s is defined by itself: name another relation, or list types in [ ]", r)
			} else if r.owner.byName[name] == nil {
				once(r.find(name), "%s refers to %s, but type %s has no relation %s%s; it has %s",
					r, name, r.owner.name, name, suggest(name, r.owner.names()), listed(r.owner.names()))
			}
		case *openfgav1.Userset_TupleToUserset:
			m.validateFrom(r, leaf.GetTupleToUserset(), once)
		default:
			once(r.at, "the definition of %s has an operator without operands: give it two", r)
		}
	})
}

// validateFrom checks `computed from tupleset`.
func (m *Model) validateFrom(r *relationDef, from *openfgav1.TupleToUserset, once func(place, string, ...any)) {
	name := from.GetTupleset().GetRelation()
	computed := from.GetComputedUserset().GetRelation()
	tupleset := r.owner.byName[name]
	if tupleset == nil {
		once(r.find("from "+name), "%s says `%s from %s`, but type %s has no relation %s%s; it has %s",
			r, computed, name, r.owner.name, name, suggest(name, r.owner.names()), listed(r.owner.names()))
		return
	}
	if _, direct := tupleset.rewrite.GetUserset().(*openfgav1.Userset_This); !direct {
		once(r.find("from "+name), "%s says `%s from %s`, so %s must list types in [ ] and nothing else, as in `define %s: [folder]`",
			r, computed, name, tupleset, name)
		return
	}
	var types []string
	for _, ref := range tupleset.allowed {
		t := m.byName[ref.GetType()]
		if t == nil {
			return // a fault of its own
		}
		if t.byName[computed] != nil {
			return
		}
		if !slices.Contains(types, t.name) {
			types = append(types, t.name)
		}
	}
	if len(types) > 0 {
		var known []string
		for _, name := range types {
			known = append(known, m.byName[name].names()...)
		}
		once(r.find(computed), "%s says `%s from %s`, but no type that %s points to (%s) has a relation %s%s",
			r, computed, name, tupleset, listed(types), computed, suggest(computed, known))
	}
}

// names are the names of a type's relations, in order.
func (t *typeDef) names() []string { return sortedKeys(t.byName) }

// tuplesetsOf are the relations of a type that others follow, with the expression that
// does.
func tuplesetsOf(t *typeDef) map[string]string {
	uses := map[string]string{}
	for _, r := range t.relations {
		leaves(r.rewrite, func(leaf *openfgav1.Userset) {
			if from := leaf.GetTupleToUserset(); from != nil {
				name := from.GetTupleset().GetRelation()
				if uses[name] == "" {
					uses[name] = fmt.Sprintf("`%s from %s` in %s", from.GetComputedUserset().GetRelation(), name, r)
				}
			}
		})
	}
	return uses
}

// validateRestrictions checks the types in brackets. Tupleset is the expression that
// follows the relation, if one does.
func (m *Model) validateRestrictions(r *relationDef, tupleset string, found *faults) {
	direct := false
	leaves(r.rewrite, func(leaf *openfgav1.Userset) {
		if _, ok := leaf.GetUserset().(*openfgav1.Userset_This); ok {
			direct = true
		}
	})
	switch {
	case direct && len(r.allowed) == 0:
		found.add(r.at, r.owner.name, r.name, "%s accepts tuples but lists no types that they may have as subject: list at least one, such as [user]", r)
	case !direct && len(r.allowed) > 0:
		found.add(r.at, r.owner.name, r.name, "%s lists types but its definition has no place for them: drop the types, or make direct tuples part of the definition", r)
	}
	for _, ref := range r.allowed {
		if found.full() {
			return
		}
		m.validateRestriction(r, ref, tupleset, found)
	}
}

func (m *Model) validateRestriction(r *relationDef, ref *openfgav1.RelationReference, tupleset string, found *faults) {
	text := restrictionText(ref)
	fault := func(format string, args ...any) {
		found.add(r.find("["+text), r.owner.name, r.name, format, args...)
	}
	t := m.byName[ref.GetType()]
	if t == nil {
		name := ref.GetType()
		fault("%s accepts %s, but the model has no type %s%s", r, text, name,
			suggestOr(name, sortedKeys(m.byName), fmt.Sprintf(": define it with `type %s`", name)))
		return
	}
	if relation := ref.GetRelation(); relation != "" && t.byName[relation] == nil {
		fault("%s accepts %s, but type %s has no relation %s%s; it has %s",
			r, text, t.name, relation, suggest(relation, t.names()), listed(t.names()))
	}
	if tupleset != "" && ref.GetRelationOrWildcard() != nil {
		fault("%s accepts %s, but %s follows it, so it can only accept single objects: write [%s]", r, text, tupleset, t.name)
	}
	if name := ref.GetCondition(); name != "" && name != condition.InlineName && m.guards[name] == nil {
		fault("%s accepts %s, but the model has no condition %s%s", r, text, name,
			suggestOr(name, sortedKeys(m.guards), fmt.Sprintf(": define it with `condition %s(...) { ... }`", name)))
	}
}

// restrictionText is a type restriction in the modelling language.
func restrictionText(ref *openfgav1.RelationReference) string {
	text := ref.GetType()
	if ref.GetWildcard() != nil {
		text += ":*"
	}
	if ref.GetRelation() != "" {
		text += "#" + ref.GetRelation()
	}
	if ref.GetCondition() != "" {
		text += " with " + ref.GetCondition()
	}
	return text
}
