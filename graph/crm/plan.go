package crm

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// A Plan is a change of an organisation, ready to be written in one command: if all that
// was read is as it was, the result is a valid organisation. A plan without Edits changes
// nothing, and nothing is written.
type Plan struct {
	// Model is the model that the store must have before the rest is written, nil if its
	// newest will do. It allows what there is and what there is going to be.
	Model *model.Model

	// Changes are tuples and documents. A tuple to delete may be gone when it comes to that,
	// for shares expire; one to put replaces the one with the same ends.
	Changes Changes

	// Read are the documents that the plan rests on, claims of names among them, and
	// Requires the scopes, both in order.
	Read     []DocumentVersion
	Requires []ScopeVersion

	// Bumps are the scopes that the change raises by one, in order.
	Bumps []string

	// Edits are what was made, changed and deleted, each entity once, in the order in which
	// they were edited first.
	Edits []Edited

	// Needs are the rights that a seat must have before the change, all of them.
	Needs []Need

	// Dropped are the shares that end because their record gets another owner.
	Dropped []DroppedShare
}

// A DocumentVersion is the version that a document must have, 0 if it must not be there.
type DocumentVersion struct {
	Entity  graph.ObjectName
	Version uint64
}

// A ScopeVersion is the version that a scope must have.
type ScopeVersion struct {
	Scope   string
	Version uint64
}

// An Edited is an entity before and after a change. Before is nil if it is made, After if
// it is deleted.
type Edited struct{ Before, After Entity }

// A DroppedShare is a share that ends.
type DroppedShare struct {
	Record Ref
	Share  Share
}

// Key names the entity.
func (e Edited) Key() graph.ObjectName {
	if e.After != nil {
		return e.After.Key()
	}
	return e.Before.Key()
}

// maxOperations is how many tuples and documents one command may hold, and how many
// preconditions, and how many scopes.
const maxOperations = 10_000

// Plan is the change that the edits add up to. Errors are an *Error with everything that
// is wrong with the result, ErrTooLarge, and those of the state. A plan comes with
// ErrTooLarge as well if it is this that is too large: it can be shown, and not be carried
// out. The draft can be edited further, and planned again.
func (d *Draft) Plan() (*Plan, error) {
	p := &Plan{}
	for _, key := range d.order {
		before, err := d.before(key)
		if err != nil {
			return nil, err
		}
		if after := d.now[key]; !sameEntity(before, after) {
			p.Edits = append(p.Edits, Edited{Before: before, After: after})
		}
	}
	if len(p.Edits) == 0 {
		return p, nil
	}
	if err := d.check(p.Edits); err != nil {
		return nil, err
	}
	touched, err := d.touched(p.Edits)
	if err != nil {
		return nil, err
	}
	if p.Changes, err = d.changes(append(touched, p.Edits...)); err != nil {
		return nil, err
	}
	if p.Model, err = d.model(p.Edits); err != nil {
		return nil, err
	}
	p.Bumps = bumps(p)
	p.Needs, p.Dropped = d.Needs(), d.dropped
	if err := d.requireRights(p.Needs); err != nil {
		return nil, err
	}
	for key, seen := range d.reads {
		p.Read = append(p.Read, DocumentVersion{Entity: key, Version: seen.version})
	}
	for key, seen := range d.claims {
		p.Read = append(p.Read, DocumentVersion{Entity: key, Version: seen.version})
	}
	slices.SortFunc(p.Read, func(a, b DocumentVersion) int { return compareObjects(a.Entity, b.Entity) })
	for _, scope := range slices.Sorted(maps.Keys(d.requires)) {
		p.Requires = append(p.Requires, ScopeVersion{Scope: scope, Version: d.requires[scope]})
	}
	return p, p.bounded()
}

// bounded checks that the plan fits into one command.
func (p *Plan) bounded() error {
	for _, part := range []struct {
		n    int
		what string
	}{
		{p.Changes.Tuples() + len(p.Changes.PutDocuments) + len(p.Changes.DeleteDocuments), "tuples and documents change"},
		{len(p.Read), "entities and names are read"},
		{len(p.Requires), "references are read"},
		{len(p.Bumps), "references change"},
	} {
		if part.n > maxOperations {
			return fmt.Errorf("%w: %d %s, at most %d are possible: make it in steps", ErrTooLarge, part.n, part.what, maxOperations)
		}
	}
	return nil
}

// check checks all that was edited.
func (d *Draft) check(edits []Edited) error {
	var faults []Fault
	for _, e := range edits {
		more, err := checkChange(d, e.Before, e.After, d.limits)
		if err != nil {
			return err
		}
		faults = append(faults, more...)
	}
	more, err := d.checkLevels(edits)
	if err != nil {
		return err
	}
	if faults = append(faults, more...); len(faults) > 0 {
		return &Error{Faults: faults}
	}
	return nil
}

// checkLevels finds fields that say what a profile may do which is deleted: what a field
// said of profiles before is otherwise taken to be good.
func (d *Draft) checkLevels(edits []Edited) ([]Fault, error) {
	gone := func(e Edited) bool { return e.Key().Type == typeProfile && e.After == nil }
	if !slices.ContainsFunc(edits, gone) {
		return nil, nil
	}
	fields, err := d.everyUser(everyProfile, "")
	if err != nil {
		return nil, err
	}
	var faults []Fault
	for _, key := range fields {
		f, err := d.find(key)
		if err != nil {
			return nil, err
		}
		for _, id := range slices.Sorted(maps.Keys(was[Field](f).Levels)) {
			if p, edited := d.now[entity(typeProfile, id)]; edited && p == nil {
				faults = append(faults, Fault{Subject: key.String(), Message: fmt.Sprintf("profile %q is deleted", id)})
			}
		}
	}
	return faults, nil
}

// touched are entities that are not edited and yet encoded otherwise than before: those
// that were edited have their own documents put anyway.
func (d *Draft) touched(edits []Edited) ([]Edited, error) {
	var keys []graph.ObjectName
	profiles := false
	for _, e := range edits {
		if e.Key().Type == typeProfile && (e.Before == nil || e.After == nil) {
			profiles = true
		}
		before, _ := e.Before.(*Head)
		after, _ := e.After.(*Head)
		if before != nil && after != nil && before.Settings.LoginHours != after.Settings.LoginHours {
			ids, err := d.all(typeProfile)
			if err != nil {
				return nil, err
			}
			for _, id := range ids {
				keys = append(keys, entity(typeProfile, id))
			}
		}
	}
	if profiles {
		fields, err := d.everyUser(everyProfile, "")
		if err != nil {
			return nil, err
		}
		keys = append(keys, fields...)
	}
	var touched []Edited
	for _, key := range keys {
		if e, edited := d.now[key]; edited {
			if before, err := d.before(key); err != nil {
				return nil, err
			} else if !sameEntity(before, e) {
				continue
			}
		}
		e, err := d.before(key)
		if err != nil {
			return nil, err
		}
		if p, ok := e.(*Profile); ok && !p.Gated {
			continue
		}
		if e != nil {
			touched = append(touched, Edited{Before: e, After: e})
		}
	}
	return touched, nil
}

// changes encodes the entities before and after. The document of each that remains is put,
// for its version counts the changes.
func (d *Draft) changes(edits []Edited) (Changes, error) {
	from, err := d.encode(edits, false)
	if err != nil {
		return Changes{}, err
	}
	to, err := d.encode(edits, true)
	if err != nil {
		return Changes{}, err
	}
	remain := map[graph.ObjectName]bool{}
	for _, e := range edits {
		if e.After != nil {
			remain[e.Key()] = true
		}
	}
	from.Documents = slices.DeleteFunc(from.Documents, func(doc Document) bool { return remain[doc.Entity] })
	return Difference(from, to), nil
}

// encode encodes the entities as they are in the state or as they are going to be.
func (d *Draft) encode(edits []Edited, after bool) (Encoding, error) {
	org, _, err := d.organisation()
	if err != nil {
		return Encoding{}, err
	}
	s := oneSide{encoder: encoder{org: org}, find: d.before, profiles: sync.OnceValues(func() ([]string, error) {
		return d.idsBefore(typeProfile)
	})}
	if after {
		s.find, s.profiles = d.find, sync.OnceValues(func() ([]string, error) { return d.all(typeProfile) })
	}
	for _, edit := range edits {
		e := edit.Before
		if after {
			e = edit.After
		}
		if err := s.encode(e); err != nil {
			return Encoding{}, err
		}
	}
	s.e.sort()
	return s.e, nil
}

// oneSide is an encoder of single entities, and what it must know of others.
type oneSide struct {
	encoder
	find     func(graph.ObjectName) (Entity, error)
	profiles func() ([]string, error)
}

func (w *oneSide) encode(e Entity) error {
	switch e := e.(type) {
	case nil:
	case *Head:
		w.settings(e)
	case *Seat:
		w.seat(e)
	case *Role:
		w.role(e)
	case *Profile:
		loginHours := false
		if e.Gated {
			head, err := w.find(w.org)
			if err != nil {
				return err
			}
			loginHours = was[Head](head).Settings.LoginHours
		}
		w.profile(e, loginHours)
	case *Module:
		w.module(e)
	case *Field:
		var profiles []string
		if e.restricted() {
			var err error
			if profiles, err = w.profiles(); err != nil {
				return err
			}
		}
		w.field(e, profiles)
	case *Group:
		w.group(e)
	case *Team:
		w.team(e)
	case *Rule:
		w.rule(e)
	case *Shift:
		w.shift(e)
	case *Record:
		module, err := w.find(entity(typeModule, e.Module))
		if err != nil {
			return err
		}
		w.record(e, was[Module](module).Kind)
	}
	return nil
}

// model is that of the modules before and after together, if they are others in what the
// model says of them.
func (d *Draft) model(edits []Edited) (*model.Model, error) {
	changed := false
	for _, e := range edits {
		before, after := was[Module](e.Before), was[Module](e.After)
		if e.Key().Type == typeModule && e.After != nil {
			changed = changed || before.Kind != after.Kind || !slices.Equal(before.Parents, after.Parents)
		}
		if e.Key().Type == typeOrg && e.Before == nil {
			changed = true
		}
	}
	if !changed {
		return nil, nil
	}
	all := map[string]*Module{}
	for _, list := range []func(string) ([]string, error){d.idsBefore, d.all} {
		ids, err := list(typeModule)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			key := entity(typeModule, id)
			for _, side := range []func(graph.ObjectName) (Entity, error){d.before, d.find} {
				e, err := side(key)
				if err != nil {
					return nil, err
				}
				all[id] = joined(all[id], was[Module](e))
			}
		}
	}
	var modules []Module
	for _, id := range slices.Sorted(maps.Keys(all)) {
		modules = append(modules, *all[id])
	}
	return Model(modules)
}

// joined is a module below all that either of two is below. Either may be none.
func joined(a, b *Module) *Module {
	switch {
	case b.ID == "":
		return a
	case a == nil:
		return b
	}
	m := *b
	m.Parents = slices.Concat(a.Parents, b.Parents)
	slices.Sort(m.Parents)
	m.Parents = slices.Compact(m.Parents)
	return &m
}

// bumps are the scopes of what could be read and is not so any more.
func bumps(p *Plan) []string {
	set := map[string]bool{}
	if p.decides() {
		set[scopeAccess] = true
	}
	for _, e := range p.Edits {
		if key := e.Key(); scoped(key.Type) && (e.Before == nil || e.After == nil) {
			set[scopeAll+key.Type] = true
		}
		// Who owns how many is counted, and a share may refer to either owner all along.
		if from, to := was[Record](e.Before).Owner, was[Record](e.After).Owner; from != to {
			visitSome(func(seat graph.ObjectName) { set[usesScope(seat)] = true }, typeUser, from, to)
		}
		before, after := references(e.Before), references(e.After)
		merge(before, after, compareObjects, func(a, b graph.ObjectName) bool { return a == b },
			func(gone graph.ObjectName) { set[usesScope(gone)] = true },
			func(put graph.ObjectName) { set[usesScope(put)] = true })
	}
	return slices.Sorted(maps.Keys(set))
}

// decides reports whether the plan can change anybody's rights, but for those to the
// records that it edits: by a tuple of anything else, or because another person sits on a
// seat. A name or a reason changes none.
func (p *Plan) decides() bool {
	ofOthers := func(t graph.Tuple) bool { return !isRecord(t.Object) }
	return slices.ContainsFunc(p.Changes.Delete, ofOthers) || slices.ContainsFunc(p.Changes.Put, ofOthers) ||
		slices.ContainsFunc(p.Edits, func(e Edited) bool { return was[Seat](e.Before).Login != was[Seat](e.After).Login })
}

// distinct are the needs, each once, in their order.
func distinct(needs []Need) []Need {
	var list []Need
	seen := map[string]bool{}
	for _, n := range needs {
		var text strings.Builder
		for _, q := range n.Any {
			fmt.Fprintf(&text, "%s#%s@%s\n", q.Object, q.Relation, q.User)
		}
		if len(n.Any) == 0 {
			text.WriteString(n.Message)
		}
		if !seen[text.String()] {
			seen[text.String()] = true
			list = append(list, n)
		}
	}
	return list
}
