package graph

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

const listModel = `
model
  schema 1.1
type user
type group
  relations
    define member: [user, user:*, group#member]
type doc
  relations
    define reader: [user, user:*, group#member]
    define blocked: [user, group#member]
    define viewer: reader but not blocked
`

// listStore is a store in which every seventh document blocks anna, and every third
// user is blocked from document 0.
func listStore(t *testing.T, everybody bool) (*Memory, *Query) {
	t.Helper()
	p := compilePlan(t, listModel)
	m := remember(t, p, "group:all#member@user:anna", "group:banned#member@user:u6")
	for i := range 600 {
		put(t, m, p, fmt.Sprintf("doc:%d#reader@group:all#member", i))
		if i%7 == 0 {
			put(t, m, p, fmt.Sprintf("doc:%d#blocked@user:anna", i))
		}
		put(t, m, p, fmt.Sprintf("group:all#member@user:u%d", i))
		if i%3 == 0 {
			put(t, m, p, fmt.Sprintf("doc:0#blocked@user:u%d", i))
		}
	}
	put(t, m, p, "doc:0#blocked@group:banned#member")
	if everybody {
		put(t, m, p, "group:all#member@user:*")
	}
	return m, &Query{View: m, Plan: p, At: instant}
}

func TestListObjectsResumes(t *testing.T) {
	m, q := listStore(t, false)
	r := relation(t, q.Plan, "doc", "viewer")
	_, _, anna := question(t, m, q.Plan, "doc:0#viewer@user:anna")
	var want []ID
	for i := range 600 {
		_, u, _ := question(t, m, q.Plan, fmt.Sprintf("doc:%d#viewer@user:anna", i))
		ok, err := q.Check(t.Context(), u, anna)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			want = append(want, u.Object)
		}
	}
	slices.Sort(want)
	for _, page := range []int{1, 100, 1000} {
		if page == 1 && testing.Short() {
			continue
		}
		var got []ID
		for after, more := ID(0), true; more; {
			n := 0
			more = false
			if err := q.ListObjects(t.Context(), r, anna, after, func(id ID) bool {
				if n == page {
					more = true
					return false
				}
				n++
				got, after = append(got, id), id
				return true
			}); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("by pages of %d: %d objects, want %d as Check says", page, len(got), len(want))
		}
	}
}

func TestListSubjectsResumes(t *testing.T) {
	for _, everybody := range []bool{false, true} {
		m, q := listStore(t, everybody)
		_, u, anna := question(t, m, q.Plan, "doc:0#viewer@user:anna")
		kind, err := ResolveKind(q.Plan, "user", "")
		if err != nil {
			t.Fatal(err)
		}
		var want, excluded []ID
		for _, name := range append(names("u", 600), "anna") {
			id, _, _ := m.Lookup(anna.ID.Type(), name)
			ok, err := q.Check(t.Context(), u, Subject{ID: id})
			if err != nil {
				t.Fatal(err)
			}
			if ok {
				want = append(want, id)
			} else {
				excluded = append(excluded, id)
			}
		}
		if everybody {
			want = append(want, Wildcard(anna.ID.Type()))
		}
		slices.Sort(want)
		slices.Sort(excluded)
		for _, page := range []int{7, 1000} {
			var got []ID
			var after Subject
			for more := true; more; {
				n := 0
				more = false
				if err := q.ListSubjects(t.Context(), u, kind, after, func(l ListedSubject) bool {
					if n == page {
						more = true
						return false
					}
					n++
					if l.Subject.ID.IsWildcard() && !slices.Equal(l.Excluded, excluded) {
						t.Errorf("the wildcard excludes %d, want %d", len(l.Excluded), len(excluded))
					}
					got, after = append(got, l.Subject.ID), l.Subject
					return true
				}); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("by pages of %d: %d subjects, want %d as Check says", page, len(got), len(want))
			}
		}
	}
}

func names(prefix string, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("%s%d", prefix, i)
	}
	return list
}

func TestQuestionsAboutWhatCannotBe(t *testing.T) {
	m, q := listStore(t, false)
	_, u, anna := question(t, m, q.Plan, "doc:0#viewer@user:anna")
	other := compilePlan(t, listModel)
	for _, c := range []struct {
		name string
		ask  func() error
		want error
	}{
		{"relation of another type", func() error {
			_, err := q.Check(t.Context(), Userset{Object: anna.ID, Relation: u.Relation}, anna)
			return err
		}, ErrInvalid},
		{"wildcard object", func() error {
			_, err := q.Check(t.Context(), Userset{Object: Wildcard(u.Object.Type()), Relation: u.Relation}, anna)
			return err
		}, ErrInvalid},
		{"relation that the model lacks", func() error {
			_, err := q.Check(t.Context(), Userset{Object: u.Object, Relation: 999}, anna)
			return err
		}, ErrRelationNotFound},
		{"subjects of a relation that the model lacks", func() error {
			return q.ListSubjects(t.Context(), Userset{Object: u.Object, Relation: 999}, SubjectKind{}, Subject{}, nil)
		}, ErrRelationNotFound},
		{"objects by another plan's relation", func() error {
			return q.ListObjects(t.Context(), relation(t, other, "doc", "viewer"), anna, 0, nil)
		}, ErrRelationNotFound},
	} {
		if err := c.ask(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	// A userset of a relation that the model lacks has nothing.
	if ok, err := q.Check(t.Context(), u, Subject{ID: anna.ID, Relation: 999}); ok || err != nil {
		t.Errorf("Check of an unknown userset = %v, %v", ok, err)
	}
}

// A list that may keep going yields what it knows when its budget is used up.
func TestAListThatIsCutYieldsWhatIsCertain(t *testing.T) {
	p := compilePlan(t, listModel)
	m := remember(t, p)
	const most = 3000
	for i := range most {
		put(t, m, p, fmt.Sprintf("doc:%d#reader@user:anna", i))
		put(t, m, p, fmt.Sprintf("doc:0#reader@user:u%d", i))
	}
	_, u, anna := question(t, m, p, "doc:0#reader@user:anna")
	for _, keepGoing := range []bool{true, false} {
		q := &Query{View: m, Plan: p, At: instant, Budget: most / 2, KeepGoing: keepGoing}
		objects, subjects := 0, 0
		err := q.ListObjects(t.Context(), relation(t, p, "doc", "reader"), anna, 0, func(ID) bool {
			objects++
			return true
		})
		if !errors.Is(err, ErrBudget) || keepGoing != (objects > 0) || objects == most {
			t.Errorf("ListObjects, keep going %t: %d objects, %v", keepGoing, objects, err)
		}
		kind := SubjectKind{Type: p.TypeByID(anna.ID.Type())}
		err = q.ListSubjects(t.Context(), u, kind, Subject{}, func(ListedSubject) bool {
			subjects++
			return true
		})
		if !errors.Is(err, ErrBudget) || keepGoing != (subjects > 0) || subjects > most {
			t.Errorf("ListSubjects, keep going %t: %d subjects, %v", keepGoing, subjects, err)
		}
	}
}
