package graph

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/graph/value"
)

// edges reads all pages from behind after.
func edges(t *testing.T, after Subject, read func(*Cursor) error) []Edge {
	t.Helper()
	var all []Edge
	c := Cursor{After: after}
	for !c.Done {
		if err := read(&c); err != nil {
			t.Fatal(err)
		}
		all = append(all, c.Edges...)
		if n := len(c.Edges); n > 0 && c.After != c.Edges[n-1].Subject && c.After.Compare(c.Edges[n-1].Subject) < 0 {
			t.Fatalf("After = %v before the last edge %v", c.After, c.Edges[n-1].Subject)
		}
	}
	return all
}

func rows(t *testing.T, v Scanner, from, to ID) []Row {
	t.Helper()
	var all []Row
	c := RowCursor{From: from, To: to}
	for !c.Done {
		if err := v.Rows(&c); err != nil {
			t.Fatal(err)
		}
		all = append(all, c.Rows...)
	}
	return all
}

// plainView is a set of rows, and what a View of them must answer.
type plainView map[[2]Subject]Row // userset as a subject, subject

func (p plainView) put(row Row) {
	p[[2]Subject{{ID: row.Userset.Object, Relation: row.Userset.Relation}, row.Edge.Subject}] = row
}

func (p plainView) remove(u Userset, s Subject) {
	delete(p, [2]Subject{{ID: u.Object, Relation: u.Relation}, s})
}

func (p plainView) sorted() []Row {
	var all []Row
	for _, row := range p {
		all = append(all, row)
	}
	slices.SortFunc(all, rowOrder)
	return all
}

// TestViewsReadWhatWasWritten edits a Memory and Overlays at random and compares every
// read with a plain set.
func TestViewsReadWhatWasWritten(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			// A few objects and relations collide often; many subjects fill pages.
			subjects := 4 + r.IntN(2)*600
			pick := func() (Userset, Subject) {
				u := Userset{Object: MakeID(1, 1+r.Uint64N(3)), Relation: model.RelationID(1 + r.IntN(2))}
				s := Subject{ID: MakeID(2, r.Uint64N(uint64(subjects))), Relation: model.RelationID(r.IntN(3))}
				return u, s
			}
			want := plainView{}
			m := NewMemory(7, instant)
			for range 2 * subjects {
				u, s := pick()
				row := Row{Userset: u, Edge: Edge{Subject: s, Expires: r.Int64N(3)}, Written: r.Int64N(100)}
				if r.IntN(4) == 0 {
					want.remove(u, s)
					m.RemoveRow(u, s)
				} else {
					want.put(row)
					m.PutRow(row)
				}
			}
			compareView(t, m, want)
			before := want.sorted()

			o := NewOverlay(m)
			above := NewOverlay(o)
			for _, layer := range []*Overlay{o, above} {
				for range subjects {
					u, s := pick()
					row := Row{Userset: u, Edge: Edge{Subject: s, Expires: 5 + r.Int64N(3)}, Written: r.Int64N(100)}
					if r.IntN(2) == 0 {
						want.remove(u, s)
						layer.Remove(u, s)
					} else {
						want.put(row)
						layer.Put(row)
					}
				}
				compareView(t, layer, want)
			}
			if diff := cmp.Diff(before, rows(t, m, 0, 0)); diff != "" {
				t.Errorf("the base changed (-before +after):\n%s", diff)
			}
		})
	}
}

func compareView(t *testing.T, v Scanner, want plainView) {
	t.Helper()
	all := want.sorted()
	if diff := cmp.Diff(all, rows(t, v, 0, 0)); diff != "" {
		t.Fatalf("%T: Rows (-want +got):\n%s", v, diff)
	}
	one := MakeID(1, 2)
	within := slices.DeleteFunc(slices.Clone(all), func(r Row) bool { return r.Userset.Object != one })
	if got := rows(t, v, one, one); len(got) != len(within) {
		t.Fatalf("%T: Rows of one object has %d rows, want %d", v, len(got), len(within))
	}
	forward, backward := map[Userset][]Edge{}, map[grant][]Edge{}
	for _, row := range all {
		forward[row.Userset] = append(forward[row.Userset], row.Edge)
		g := grant{relation: row.Userset.Relation, subject: row.Edge.Subject}
		edge := row.Edge
		edge.Subject = Subject{ID: row.Userset.Object}
		backward[g] = append(backward[g], edge)
		got, ok, err := v.Contains(row.Userset, row.Edge.Subject)
		if err != nil || !ok || got != row.Edge {
			t.Fatalf("%T: Contains(%v, %v) = %v, %v, %v", v, row.Userset, row.Edge.Subject, got, ok, err)
		}
	}
	for u, list := range forward {
		for _, i := range []int{-1, len(list) / 2} {
			var after Subject
			if i >= 0 {
				after = list[i].Subject
			}
			got := edges(t, after, func(c *Cursor) error { return v.Subjects(u, c) })
			if diff := cmp.Diff(list[i+1:], got, cmp.Comparer(sameEdges)); diff != "" {
				t.Fatalf("%T: Subjects(%v) behind %v (-want +got):\n%s", v, u, after, diff)
			}
		}
	}
	for g, list := range backward {
		got := edges(t, Subject{}, func(c *Cursor) error { return v.Objects(g.relation, g.subject, c) })
		if !sameEdges(list, got) {
			t.Fatalf("%T: Objects(%v) = %v, want %v", v, g, got, list)
		}
		got = edges(t, list[0].Subject, func(c *Cursor) error { return v.Objects(g.relation, g.subject, c) })
		if !sameEdges(list[1:], got) {
			t.Fatalf("%T: Objects(%v) behind the first = %v, want %v", v, g, got, list[1:])
		}
	}
	absent := Subject{ID: MakeID(3, 1)}
	if _, ok, err := v.Contains(Userset{Object: one, Relation: 1}, absent); ok || err != nil {
		t.Fatalf("%T: Contains of an absent subject = %v, %v", v, ok, err)
	}
}

func sameEdges(a, b []Edge) bool { return slices.Equal(a, b) }

func TestMemoryNamesAndDocuments(t *testing.T) {
	p := compilePlan(t, resolveModel)
	m := remember(t, p, "doc:1#viewer@user:a", "doc:1#viewer@user:*")
	user, _ := p.Type("user")
	id, ok, err := m.Lookup(user.ID, "a")
	if err != nil || !ok {
		t.Fatalf("Lookup(a) = %v, %v", ok, err)
	}
	if name, err := m.Name(id); name != "a" || err != nil {
		t.Errorf("Name = %q, %v", name, err)
	}
	if id, ok, _ := m.Lookup(user.ID, "*"); !ok || !id.IsWildcard() {
		t.Errorf("Lookup(*) = %v, %v", id, ok)
	}
	if _, err := m.Name(MakeID(user.ID, 99)); !errors.Is(err, ErrUnknownEntity) {
		t.Errorf("Name of an unknown id = %v, want ErrUnknownEntity", err)
	}
	for _, want := range []uint64{1, 2} {
		m.SetDocument(id, value.Map{"n": want})
		if d, ok, err := m.Document(id); !ok || err != nil || d.Version != want {
			t.Errorf("Document = %+v, %v, %v", d, ok, err)
		}
	}
	m.SetDocument(id, nil)
	if _, ok, _ := m.Document(id); ok {
		t.Error("a deleted document is still there")
	}
	m.SetDocument(id, value.Map{})
	if d, _, _ := m.Document(id); d.Version != 4 {
		t.Errorf("the version is %d after a deletion, want 4", d.Version)
	}
	o := NewOverlay(m)
	if d, _, _ := o.Document(id); d.Version != 4 {
		t.Errorf("the overlay shows version %d", d.Version)
	}
	if ok, err := m.Remove(p, tuple(t, "doc:1#viewer@user:a")); !ok || err != nil || m.Len() != 1 {
		t.Errorf("Remove = %v, %v; %d left", ok, err, m.Len())
	}
	if ok, err := m.Remove(p, tuple(t, "doc:1#viewer@user:zoe")); ok || err != nil {
		t.Errorf("Remove of what is not there = %v, %v", ok, err)
	}
}

func TestOverlayGivesLocalIDs(t *testing.T) {
	p := compilePlan(t, resolveModel)
	m := remember(t, p, "doc:1#viewer@user:a")
	user, _ := p.Type("user")
	o := NewOverlay(m)
	known, err := o.Entity(user.ID, "a")
	if err != nil || known.IsLocal() {
		t.Errorf("Entity(a) = %v, %v, want the base's id", known, err)
	}
	b, _ := o.Entity(user.ID, "b")
	again, _ := o.Entity(user.ID, "b")
	if !b.IsLocal() || b != again || b.Type() != user.ID {
		t.Errorf("Entity(b) = %v, then %v", b, again)
	}
	above := NewOverlay(o)
	c, _ := above.Entity(user.ID, "c")
	if seen, _ := above.Entity(user.ID, "b"); seen != b || c == b {
		t.Errorf("on top: b is %v, want %v; c is %v", seen, b, c)
	}
	for id, want := range map[ID]string{b: "b", c: "c", known: "a"} {
		if name, err := above.Name(id); name != want || err != nil {
			t.Errorf("Name(%v) = %q, %v, want %q", id, name, err, want)
		}
	}
	if _, err := o.Name(c); !errors.Is(err, ErrUnknownEntity) {
		t.Errorf("Name of another overlay's id = %v", err)
	}
	if id, _ := o.Entity(user.ID, "*"); !id.IsWildcard() {
		t.Errorf("Entity(*) = %v", id)
	}
	if _, ok, _ := m.Lookup(user.ID, "b"); ok {
		t.Error("the base knows b now")
	}
}

func TestMemoryReadsDoNotAllocate(t *testing.T) {
	p := compilePlan(t, resolveModel)
	m := NewMemory(1, instant)
	for i := range 1000 {
		put(t, m, p, fmt.Sprintf("doc:1#viewer@user:%d", i))
	}
	_, u, s := question(t, m, p, "doc:1#viewer@user:5")
	var c Cursor
	if got := testing.AllocsPerRun(100, func() {
		_, _, _ = m.Contains(u, s)
		for c.Reset(Subject{}); !c.Done; {
			_ = m.Subjects(u, &c)
		}
		for c.Reset(Subject{}); !c.Done; {
			_ = m.Objects(u.Relation, s, &c)
		}
	}); got != 0 {
		t.Errorf("reads allocate %v times, want 0", got)
	}
}
