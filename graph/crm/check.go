package crm

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/remit-authz/remit/graph"
)

// A lookup is the organisation around an entity that is checked: the whole of it in
// memory, or what it is going to be after the edits of a draft. Its errors are those of
// the view behind it. Nobody changes what it gives.
type lookup interface {
	// head is the organisation itself, nil if there is none.
	head() (*Head, error)

	// find is the entity of a key, nil if there is none.
	find(key graph.ObjectName) (Entity, error)

	// users are the entities that refer to a key, of one type unless that is empty, in
	// any order and at most limit of them.
	users(key graph.ObjectName, typ string, limit int) ([]graph.ObjectName, error)

	// all are the ids of the entities of a type, each once. It is not asked for records.
	all(typ string) ([]string, error)

	// bearers are the entities that bear the name of a claim. If there are several, whose
	// the name was before comes first.
	bearers(claim graph.ObjectName) ([]graph.ObjectName, error)
}

// checkChange checks one edited entity of a draft whose edits are all in the lookup:
// the entity itself, what it newly refers to, and what its change can break elsewhere.
// Before is nil for what is made, after for what is deleted. If the organisation was
// valid, and every entity that changed is checked, then it still is.
//
// It costs what changed, not what there is: what an entity referred to before is not
// looked at again, for nothing that is referred to can be deleted.
func checkChange(l lookup, before, after Entity, limits Limits) ([]Fault, error) {
	c := checker{lookup: l, limits: limits}
	if after == nil {
		c.deletion(before)
	} else {
		c.entity(before, after)
		c.change(before, after)
	}
	if c.err != nil {
		return nil, c.err
	}
	return c.faults, nil
}

// A checker gathers faults. After an error of the lookup everything seems absent, and
// the faults mean nothing.
type checker struct {
	lookup
	limits Limits
	faults []Fault
	err    error
}

func (c *checker) fault(of graph.ObjectName, format string, args ...any) {
	c.faults = append(c.faults, Fault{Subject: of.String(), Message: fmt.Sprintf(format, args...)})
}

// entity checks what holds of an entity at all times: its own shape, and that there is
// what it refers to. References that it had before are taken to be good.
func (c *checker) entity(before, after Entity) {
	if err := after.Key().Validate(); err != nil {
		c.fault(after.Key(), "%v", err)
	}
	switch e := after.(type) {
	case *Head:
		c.headItself(e)
	case *Seat:
		c.seatItself(was[Seat](before), e)
	case *Role:
		c.roleItself(was[Role](before), e)
	case *Profile:
		c.profileItself(was[Profile](before), e)
	case *Module:
		c.moduleItself(was[Module](before), e)
	case *Field:
		c.fieldItself(was[Field](before), e)
	case *Group:
		c.groupItself(was[Group](before), e)
	case *Team:
		c.teamItself(was[Team](before), e)
	case *Rule:
		c.ruleItself(was[Rule](before), e)
	case *Shift:
		c.shiftItself(was[Shift](before), e)
	case *Record:
		c.recordItself(was[Record](before), e)
	}
}

// change checks what a change can break elsewhere, and what is refused when it is done
// though it may be so.
func (c *checker) change(before, after Entity) {
	made := before == nil
	switch e := after.(type) {
	case *Head:
		c.headChange(made, was[Head](before), e)
	case *Seat:
		c.seatChange(was[Seat](before), e)
	case *Role:
		c.roleChange(made, was[Role](before), e)
	case *Profile:
		c.profileChange(was[Profile](before), e)
	case *Module:
		c.moduleChange(made, was[Module](before), e)
	case *Group:
		c.groupChange(was[Group](before), e)
	case *Shift:
		c.shiftChange(made, e)
	case *Record:
		c.recordChange(made, was[Record](before), e)
	}
}

// was is what an entity was before, empty if it was not.
func was[T any](before Entity) *T {
	if e, ok := any(before).(*T); ok {
		return e
	}
	return new(T)
}

// get is an entity, nil if there is none of that id and type.
func get[T Entity](c *checker, typ, id string) T {
	var none T
	if c.err != nil || id == "" {
		return none
	}
	e, err := c.find(entity(typ, id))
	if err != nil {
		c.err = err
		return none
	}
	if t, ok := e.(T); ok {
		return t
	}
	return none
}

func (c *checker) seat(id string) *Seat       { return get[*Seat](c, typeUser, id) }
func (c *checker) role(id string) *Role       { return get[*Role](c, typeRole, id) }
func (c *checker) profile(id string) *Profile { return get[*Profile](c, typeProfile, id) }
func (c *checker) module(id string) *Module   { return get[*Module](c, typeModule, id) }
func (c *checker) group(id string) *Group     { return get[*Group](c, typeGroup, id) }
func (c *checker) shift(id string) *Shift     { return get[*Shift](c, typeShift, id) }
func (c *checker) record(r Ref) *Record       { return get[*Record](c, r.Module, r.ID) }

func (c *checker) exists(typ, id string) bool { return get[Entity](c, typ, id) != nil }

// ids are those of a type.
func (c *checker) ids(typ string) []string {
	if c.err != nil {
		return nil
	}
	ids, err := c.all(typ)
	if err != nil {
		c.err = err
	}
	return ids
}

// organisation is the organisation itself, empty if there is none.
func (c *checker) organisation() *Head {
	if c.err == nil {
		h, err := c.head()
		if c.err = err; h != nil {
			return h
		}
	}
	return &Head{}
}

// label checks a text that is only shown, such as a name.
func (c *checker) label(of graph.ObjectName, what, text string) bool {
	switch {
	case strings.TrimSpace(text) == "":
		c.fault(of, "it has no %s", what)
	case len(text) > MaxName:
		c.fault(of, "its %s has %d bytes, at most %d are allowed", what, len(text), MaxName)
	case text != strings.TrimSpace(text):
		c.fault(of, "its %s %q begins or ends with white space", what, text)
	case !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl):
		c.fault(of, "its %s %q contains control characters or is not UTF-8", what, text)
	default:
		return true
	}
	return false
}

// name checks a name that is unique in its kind; before is what the name was.
func (c *checker) name(of graph.ObjectName, kind, before, name string) {
	c.unique(of, kind, "name", before, name)
}

// unique checks a text that no other has claimed in its kind.
func (c *checker) unique(of graph.ObjectName, kind, what, before, name string) {
	if !c.label(of, what, name) {
		return
	}
	claim := Claim(kind, name)
	if len(claim.ID) > MaxName+len(kind)+1 {
		c.fault(of, "its %s is too long when its case is folded: shorten it", what)
		return
	}
	if c.err != nil || before != "" && Claim(kind, before) == claim {
		return
	}
	bearers, err := c.bearers(claim)
	if c.err = err; len(bearers) > 0 && bearers[0] != of {
		c.fault(of, "the %s %q is that of %s already; case does not matter: choose another", what, name, bearers[0])
	}
}

// claims are the claims of the names that an entity bears.
func claims(e Entity) []graph.ObjectName {
	kind, name := e.Key().Type, ""
	switch e := e.(type) {
	case *Seat:
		kind, name = attrLogin, e.Login
	case *Role:
		name = e.Name
	case *Profile:
		name = e.Name
	case *Module:
		name = e.Name
	case *Field:
		kind, name = fieldKind(e.Module), e.Name
	case *Group:
		name = e.Name
	case *Team:
		name = e.Name
	case *Rule:
		name = e.Name
	case *Shift:
		name = e.Name
	}
	if name == "" {
		return nil
	}
	return []graph.ObjectName{Claim(kind, name)}
}

// references checks references of one type: what is referred to newly exists, and
// nothing is referred to twice.
func (c *checker) references(of graph.ObjectName, what, typ string, before, after []string) {
	c.once(of, what, after)
	for _, id := range added(before, after) {
		if !c.exists(typ, id) {
			c.fault(of, "%s %q does not exist", what, id)
		}
	}
}

func (c *checker) once(of graph.ObjectName, what string, list []string) {
	seen := make(map[string]bool, len(list))
	for _, id := range list {
		if seen[id] {
			c.fault(of, "%s %q occurs twice", what, id)
		}
		seen[id] = true
	}
}

// added are the elements that were not there before, each once.
func added[T comparable](before, after []T) []T {
	seen := make(map[T]bool, len(before)+len(after))
	for _, t := range before {
		seen[t] = true
	}
	var list []T
	for _, t := range after {
		if !seen[t] {
			list = append(list, t)
		}
		seen[t] = true
	}
	return list
}

const (
	// maxNamed is how many a message names of those that are in the way.
	maxNamed = 10

	// maxCounted is how far they are counted.
	maxCounted = 1000
)

// enumerate names the first of a list, and says how many more there are. Of a list that
// was cut at maxCounted+1 it says so.
func enumerate(list []string) string {
	text := strings.Join(list[:min(len(list), maxNamed)], ", ")
	switch more := len(list) - maxNamed; {
	case len(list) > maxCounted:
		return fmt.Sprintf("%s and more than %d more", text, more-1)
	case more > 0:
		return fmt.Sprintf("%s and %d more", text, more)
	default:
		return text
	}
}
