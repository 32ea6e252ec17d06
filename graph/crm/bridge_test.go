package crm

import (
	"testing"
	"time"

	"github.com/remit-authz/remit/graph"
)

// The kit of this package's tests, for those that need random organisations: package
// crmtest makes them, and it imports this one.

// A Store is an organisation as the engine sees it.
type Store = store

// Load builds the store of an organisation, with the ids of entities in another order if
// it is told to.
func Load(t testing.TB, o *Organisation, backwards bool) *Store { return load(t, o, backwards) }

// Read decodes the store.
func (s *store) Read() (*Organisation, error) { return Decode(s, s.plan) }

// Apply writes changes.
func (s *store) Apply(t testing.TB, c Changes) { s.apply(t, c) }

// Asked asks the store at an instant.
func (s *store) Asked(at time.Time) *Asker { return s.at(at) }

// An Asker asks a store at an instant.
type Asker = question

// Check reports whether a user has a relation; one that the model does not know nobody has.
func (q *question) Check(t testing.TB, typ, id, relation, user string) bool {
	return q.check(t, graph.ObjectName{Type: typ, ID: id}, relation, user)
}

// Can asks what Oracle.Can decides.
func (q *question) Can(t testing.TB, user string, a Action, r *Record, f *Field) bool {
	return q.can(t, user, a, r, f)
}

// List is the ids of a module's records that the user has the relation to, sorted.
func (q *question) List(t testing.TB, module, relation, user string) []string {
	return q.list(t, module, relation, user)
}

// Same compares organisations in their canonical order.
func Same(t testing.TB, want, got *Organisation) { same(t, want, got) }

// First shows one of the changes.
func (c Changes) First() string { return c.first() }

// Deeds are those of the store's model.
func (s *store) Deeds(t testing.TB) *Deeds {
	t.Helper()
	d, ok := DeedsOf(s.plan)
	if !ok {
		t.Fatal("the model is not that of an organisation")
	}
	return d
}

// Roster is the store's at an instant.
func (s *store) Roster(t testing.TB, at time.Time) *Roster {
	t.Helper()
	r, err := NewRoster(s, s.Deeds(t), at)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Duties are until when who is on duty, by the shift and the seat.
func (s *store) Duties(t testing.TB, at time.Time) map[[2]string]time.Time {
	t.Helper()
	r := s.Roster(t, at)
	shifts, err := r.Shifts()
	if err != nil {
		t.Fatal(err)
	}
	duties := map[[2]string]time.Time{}
	for _, shift := range shifts {
		err := r.Shift(shift, 0, func(d Duty) bool {
			var key [2]string
			for i, id := range []graph.ID{d.Shift, d.Seat} {
				if key[i], err = s.Name(id); err != nil {
					t.Fatal(err)
				}
			}
			duties[key] = d.Until
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return duties
}
