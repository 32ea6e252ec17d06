package crm

import (
	"testing"
	"time"

	"github.com/remit-authz/remit/graph"
)

// Why asks the store why, at an instant.
func (s *store) Why(t testing.TB, deed Deed, at time.Time, sight Sight) *Answer {
	t.Helper()
	q := Inquiry{View: s, Plan: s.plan, Deeds: s.Deeds(t), At: at, Sight: sight}
	a, err := q.Why(t.Context(), deed)
	if err != nil {
		t.Fatalf("Why(%+v): %v", deed, err)
	}
	return a
}

// WhyOfMany is Why where one subordinate is already many.
func (s *store) WhyOfMany(t testing.TB, deed Deed, at time.Time) *Answer {
	t.Helper()
	q := s.Inquiry(t, at)
	q.gathered = 1
	a, err := q.Why(t.Context(), deed)
	if err != nil {
		t.Fatalf("Why(%+v): %v", deed, err)
	}
	return a
}

// Inquiry is one of the store, for tests that set its limits.
func (s *store) Inquiry(t testing.TB, at time.Time) *Inquiry {
	t.Helper()
	return &Inquiry{View: s, Plan: s.plan, Deeds: s.Deeds(t), At: at}
}

// Meets asks the engine whether a deed is allowed.
func (s *store) Meets(t testing.TB, deed Deed, at time.Time) bool {
	t.Helper()
	demand, err := s.Deeds(t).Find(deed.Action, deed.On, deed.Field)
	if err != nil {
		t.Fatalf("Find(%+v): %v", deed, err)
	}
	if demand.Relation == nil {
		return false
	}
	q := s.at(at)
	check := func(object graph.ObjectName, relation string) bool { return q.check(t, object, relation, deed.User) }
	return check(entity(demand.Relation.Type.Name, demand.ID), demand.Relation.Name) &&
		(demand.Also == nil || check(entity(demand.Also.Type.Name, demand.AlsoID), demand.Also.Name))
}

// Holds reports whether a fact is a tuple of the store.
func (s *store) Holds(t testing.TB, f Fact) bool {
	t.Helper()
	_, ok, err := s.Contains(f.Userset, f.Subject)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}
