package crm

import (
	"slices"
	"strings"
	"testing"

	"github.com/remit-authz/remit/graph"
)

// EncodeOne encodes one entity of an organisation, and nothing else.
func (o *Organisation) EncodeOne(e Entity) Encoding {
	w := encoder{org: entity(typeOrg, o.ID)}
	switch e := e.(type) {
	case *Head:
		w.settings(e)
	case *Seat:
		w.seat(e)
	case *Role:
		w.role(e)
	case *Profile:
		w.profile(e, o.Settings.LoginHours)
	case *Module:
		w.module(e)
	case *Field:
		var profiles []string
		for i := range o.Profiles {
			profiles = append(profiles, o.Profiles[i].ID)
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
		w.record(e, at(o.Modules, func(m *Module) bool { return m.ID == e.Module }).Kind)
	}
	w.e.sort()
	return w.e
}

// CheckLinks finds what the table of links says otherwise than the encoder and the
// references of entities do.
func CheckLinks(t testing.TB, o *Organisation) {
	t.Helper()
	for e := range o.Entities() {
		key := e.Key()
		var refers []graph.ObjectName
		for _, tuple := range o.EncodeOne(e).Tuples {
			l, back := linkOf(tuple)
			if l == nil {
				t.Errorf("%s, of %s, is of no link, or of several", tuple, key)
				continue
			}
			object, subject := tuple.Object, tuple.Subject.Object()
			if back {
				object, subject = subject, object
			}
			owner, other := object, subject
			if l.owner == ofSubject {
				owner, other = subject, object
			}
			if tuple.Subject != everyUser && owner != key || tuple.Subject == everyUser && object != key {
				t.Errorf("%s is of %s, and the links say that it is of %s", tuple, key, owner)
			}
			if !l.silent && tuple.Subject != everyUser && !back {
				refers = append(refers, other)
			}
		}
		// What no tuple says, or the name of a relation.
		switch e := e.(type) {
		case *Module:
			for _, p := range e.Parents {
				refers = append(refers, entity(typeModule, p))
			}
		case *Rule:
			refers = append(refers, entity(typeModule, e.Module))
		case *Field:
			if e.restricted() {
				refers = append(refers, everyProfile)
			}
		}
		slices.SortFunc(refers, compareObjects)
		if refers = slices.Compact(refers); !slices.Equal(refers, references(e)) {
			t.Errorf("by its links %s refers to %v, itself it says %v", key, refers, references(e))
		}
	}
}

// linkOf is the one link of a tuple, and whether it is the way back of it.
func linkOf(t graph.Tuple) (found *link, back bool) {
	n := 0
	for i := range links {
		l := &links[i]
		if l.matches(t) {
			found, back = l, false
			n++
		}
		reverse := graph.Tuple{Object: t.Subject.Object(), Relation: l.relation, Subject: subject(t.Object)}
		if l.back == t.Relation && t.Subject.Relation == "" && l.matches(reverse) {
			found, back = l, true
			n++
		}
	}
	if n != 1 {
		return nil, false
	}
	return found, back
}

func TestLinksAreWhatIsEncoded(t *testing.T) {
	CheckLinks(t, exampleOrganisation())
}

// TestUsersAreWhoRefersTo compares who refers to an entity by the index of a view with
// what all entities say themselves.
func TestUsersAreWhoRefersTo(t *testing.T) {
	CheckUsers(t, exampleOrganisation())
}

// CheckUsers compares both for every entity of an organisation, and one more.
func CheckUsers(t testing.TB, o *Organisation) {
	t.Helper()
	s := load(t, o, false)
	r := NewReader(s, s.plan)
	users := map[graph.ObjectName][]graph.ObjectName{everyProfile: nil, entity(typeRole, "nobody"): nil}
	for e := range o.Entities() {
		users[e.Key()] = nil
	}
	for e := range o.Entities() {
		for _, to := range references(e) {
			users[to] = append(users[to], e.Key())
		}
		got, version, err := r.Entity(e.Key())
		if err != nil || version != 1 || !sameEntity(got, e.clone()) {
			t.Fatalf("Entity(%s) = %+v, %d, %v, want %+v", e.Key(), got, version, err, e)
		}
	}
	for key, want := range users {
		for _, typ := range []string{"", typeUser, typeGroup, typeRule, typeModule, "deal", anyModule} {
			var some []graph.ObjectName
			for _, user := range want {
				if ofType(user, typ) {
					some = append(some, user)
				}
			}
			var got []graph.ObjectName
			err := r.users(key, typ, func(user graph.ObjectName) error {
				if !slices.Contains(got, user) {
					got = append(got, user)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			slices.SortFunc(got, compareObjects)
			slices.SortFunc(some, compareObjects)
			if key != everyProfile && !slices.Equal(got, some) || key == everyProfile && typ == "" && !slices.Equal(got, some) {
				t.Errorf("users(%s, %q) = %v, want %v", key, typ, got, some)
			}
		}
	}
}

// TestEachPermissionRefersToItsModule gives a profile one permission at a time: in other
// organisations it has View besides, which says the same.
func TestEachPermissionRefersToItsModule(t *testing.T) {
	for _, b := range permissionRelations {
		o := exampleOrganisation()
		for i := range o.Profiles {
			for module := range o.Profiles[i].Modules {
				o.Profiles[i].Modules[module] = b.bit
			}
		}
		CheckLinks(t, o)
		CheckUsers(t, o)
	}
}

// TestKeysComeInPages reads each kind in pages of every size.
func TestKeysComeInPages(t *testing.T) {
	o := exampleOrganisation()
	s := load(t, o, true)
	r := NewReader(s, s.plan)
	want := map[string][]string{}
	for e := range o.Entities() {
		want[e.Key().Type] = append(want[e.Key().Type], e.Key().ID)
	}
	for typ, ids := range want {
		all, err := r.Keys(typ, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		sorted := slices.Sorted(slices.Values(all))
		if slices.Sort(ids); !slices.Equal(sorted, ids) {
			t.Errorf("Keys(%s) = %q, want %q in some order", typ, all, ids)
		}
		for size := 1; size <= len(all)+1; size++ {
			var pages []string
			after := ""
			for {
				page, err := r.Keys(typ, after, size)
				if err != nil {
					t.Fatal(err)
				}
				pages = append(pages, page...)
				if len(page) < size {
					break
				}
				after = page[len(page)-1]
			}
			if !slices.Equal(pages, all) {
				t.Errorf("Keys(%s) in pages of %d = %q, want %q", typ, size, pages, all)
			}
		}
	}
	if _, err := r.Keys(typeRole, "nobody", 0); err == nil || !strings.Contains(err.Error(), "role:nobody") {
		t.Errorf("Keys behind an unknown one: %v", err)
	}
}
