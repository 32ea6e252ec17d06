package crm

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// A Managed is a store that is changed by plans, with scopes, versions and models as the
// state machine keeps them.
type Managed struct {
	*store
	table  *model.Table
	scopes map[string]uint64
	Reads  int // how often the view was asked since it was last set to 0
}

// Manage makes a store, and an organisation in it by one plan.
func Manage(t testing.TB, o *Organisation) *Managed {
	t.Helper()
	s := &Managed{
		store: &store{Memory: graph.NewMemory(1, time.Time{})},
		table: model.NewTable(), scopes: map[string]uint64{},
	}
	d := s.Draft()
	for e := range o.Entities() {
		if err := d.Put(e, nil); err != nil {
			t.Fatal(err)
		}
	}
	p, err := d.Plan()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t, p); err != nil {
		t.Fatal(err)
	}
	return s
}

// Draft begins a draft on the state of now.
func (s *Managed) Draft() *Draft { return NewDraft(s, s.plan, DefaultLimits()) }

// ScopeVersion implements State.
func (s *Managed) ScopeVersion(scope string) uint64 { return s.scopes[scope] }

// Commit carries a plan out if what it was made from is still so.
func (s *Managed) Commit(t testing.TB, p *Plan) error {
	t.Helper()
	if err := s.Conflict(p); err != nil {
		return err
	}
	if p.Model != nil {
		s.table.Define(p.Model.Declarations())
		plan, err := p.Model.Compile("", s.table)
		if err != nil {
			t.Fatal(err)
		}
		s.plan = plan
	}
	for _, scope := range p.Bumps {
		s.scopes[scope]++
	}
	s.apply(t, p.Changes)
	return nil
}

// Conflict is what is not as it was when a plan was made.
func (s *Managed) Conflict(p *Plan) error {
	for _, r := range p.Read {
		version := uint64(0)
		if id, ok, _ := NewReader(s.Memory, s.plan).id(r.Entity); ok {
			document, _, err := s.Document(id)
			if err != nil {
				return err
			}
			version = document.Version
		}
		if version != r.Version {
			return fmt.Errorf("%s is of version %d, not %d", r.Entity, version, r.Version)
		}
	}
	for _, r := range p.Requires {
		if v := s.scopes[r.Scope]; v != r.Version {
			return fmt.Errorf("scope %s is of version %d, not %d", r.Scope, v, r.Version)
		}
	}
	return nil
}

// Lookup implements graph.View.
func (s *Managed) Lookup(t model.TypeID, name string) (graph.ID, bool, error) {
	s.Reads++
	return s.Memory.Lookup(t, name)
}

// Contains implements graph.View.
func (s *Managed) Contains(u graph.Userset, to graph.Subject) (graph.Edge, bool, error) {
	s.Reads++
	return s.Memory.Contains(u, to)
}

// Subjects implements graph.View.
func (s *Managed) Subjects(u graph.Userset, c *graph.Cursor) error {
	s.Reads++
	return s.Memory.Subjects(u, c)
}

// Objects implements graph.View.
func (s *Managed) Objects(r model.RelationID, to graph.Subject, c *graph.Cursor) error {
	s.Reads++
	return s.Memory.Objects(r, to, c)
}

// Document implements graph.View.
func (s *Managed) Document(id graph.ID) (graph.Document, bool, error) {
	s.Reads++
	return s.Memory.Document(id)
}

// Become edits a draft until its organisation is another one.
func (d *Draft) Become(o *Organisation) error {
	kept := map[graph.ObjectName]bool{}
	for e := range o.Entities() {
		kept[e.Key()] = true
		if err := d.Put(e, nil); err != nil {
			return err
		}
	}
	for _, key := range d.every() {
		if kept[key] {
			continue
		}
		before, err := d.find(key)
		if err != nil {
			return err
		}
		if before != nil { // or it went with another
			d.set(key, nil) // as Delete does, but that a role needs no other one here
		}
	}
	return nil
}

// every are the keys of all entities in the state.
func (d *Draft) every() []graph.ObjectName {
	var keys []graph.ObjectName
	modules, _ := d.reader.Keys(typeModule, "", 0)
	types := []string{typeOrg, typeUser, typeRole, typeProfile, typeModule, typeField, typeGroup, typeTeam, typeRule, typeShift}
	for _, typ := range append(types, modules...) {
		ids, err := d.reader.Keys(typ, "", 0)
		if err != nil {
			panic(err)
		}
		for _, id := range ids {
			keys = append(keys, entity(typ, id))
		}
	}
	return keys
}

// Holds compares the store with the encoding of an organisation.
func (s *Managed) Holds(t testing.TB, want *Organisation) {
	t.Helper()
	got, err := Decode(s, s.plan)
	if err != nil {
		t.Fatal(err)
	}
	same(t, want, got)
}

// sameTuples compares changes but for documents.
func sameTuples(t testing.TB, want, got Changes) {
	t.Helper()
	text := func(list []graph.Tuple) []string {
		var lines []string
		for _, tuple := range list {
			lines = append(lines, fmt.Sprintf("%s %s %s %s", tuple, tuple.Condition, jsonText(t, tuple.Context), tuple.Expires))
		}
		return lines
	}
	if diff := gocmp.Diff(text(want.Delete), text(got.Delete)); diff != "" {
		t.Errorf("other tuples are deleted (-want +got):\n%s", diff)
	}
	if diff := gocmp.Diff(text(want.Put), text(got.Put)); diff != "" {
		t.Errorf("other tuples are put (-want +got):\n%s", diff)
	}
}

// SameTuples compares changes but for documents.
func SameTuples(t testing.TB, want, got Changes) { sameTuples(t, want, got) }

// Differences are what turns one organisation into another.
func Differences(from, to *Organisation) []Edited {
	before, after := map[graph.ObjectName]Entity{}, map[graph.ObjectName]Entity{}
	for e := range from.Entities() {
		before[e.Key()] = e.clone()
	}
	for e := range to.Entities() {
		after[e.Key()] = e.clone()
	}
	var list []Edited
	for key, e := range before {
		if !sameEntity(e, after[key]) {
			list = append(list, Edited{Before: e, After: after[key]})
		}
	}
	for key, e := range after {
		if before[key] == nil {
			list = append(list, Edited{After: e})
		}
	}
	slices.SortFunc(list, func(a, b Edited) int { return compareObjects(a.Key(), b.Key()) })
	return list
}

// Carry makes an edit, whatever somebody else would take over.
func (d *Draft) Carry(e Edited) error {
	if e.After != nil {
		return d.Put(e.After, nil)
	}
	if _, err := d.before(e.Key()); err != nil {
		return err
	}
	d.set(e.Key(), nil)
	if p, ok := e.Before.(*Profile); ok {
		return d.dropLevels(p.ID)
	}
	return nil
}

// With is the organisation after an edit, in plain Go.
func (o *Organisation) With(e Edited) *Organisation {
	c := o.Copy()
	key := e.Key()
	switch of := cmp.Or(e.After, e.Before).(type) {
	case *Head:
		c.Name, c.SuperAdmin, c.Settings = of.Name, of.SuperAdmin, of.Settings
	case *Seat:
		c.Seats = with(c.Seats, key, e.After)
	case *Role:
		c.Roles = with(c.Roles, key, e.After)
	case *Profile:
		c.Profiles = with(c.Profiles, key, e.After)
		for i := range c.Fields {
			if e.After == nil {
				delete(c.Fields[i].Levels, of.ID)
			}
		}
	case *Module:
		c.Modules = with(c.Modules, key, e.After)
	case *Field:
		c.Fields = with(c.Fields, key, e.After)
	case *Group:
		c.Groups = with(c.Groups, key, e.After)
	case *Team:
		c.Teams = with(c.Teams, key, e.After)
	case *Rule:
		c.Rules = with(c.Rules, key, e.After)
	case *Shift:
		c.Shifts = with(c.Shifts, key, e.After)
	case *Record:
		c.Records = with(c.Records, key, e.After)
	}
	return c
}

func with[T any, P interface {
	*T
	Entity
}](list []T, key graph.ObjectName, e Entity) []T {
	list = slices.DeleteFunc(list, func(t T) bool { return P(&t).Key() == key })
	if e != nil {
		list = append(list, *e.clone().(P))
	}
	return list
}
