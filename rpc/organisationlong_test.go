package rpc

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/crm/crmtest"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// manyDeals is the organisation of salesTeam with so many deals, of which every third is
// mia's and the others are rob's, and so many reps.
func manyDeals(deals, reps int) *crm.Organisation {
	o := salesTeam()
	for i := range reps {
		o.Seats = append(o.Seats, crm.Seat{ID: fmt.Sprintf("rep%d", i), Name: "Rep", Role: "rep", Profiles: []string{"standard"}})
	}
	o.Records = nil
	for i := range deals {
		r := crm.Record{Module: "deal", ID: fmt.Sprintf("d%d", i), Owner: "rob"}
		if i%3 == 0 {
			r.Owner = "mia"
		}
		o.Records = append(o.Records, r)
	}
	return o
}

// Where a question has not the budget to go back from the user to all records, the records
// are asked one after the other, in the same order, from the page on where it matters.
func TestListsThatTheBudgetIsTooSmallFor(t *testing.T) {
	o := manyDeals(700, 0)
	list := func(budget int) ([]string, *remitv1.ListRecordsResponse) {
		a := newRig(t, func(c *Config) { c.Budget = budget }).organisation("acme", o, noon)
		ids, pages := a.records(a.scope(), "rob", "deal", "edit", func() int32 { return 100 })
		if pages < 5 {
			t.Errorf("%d pages", pages)
		}
		first, err := a.org.ListRecords(t.Context(), &remitv1.ListRecordsRequest{Scope: a.scope(), User: "rob", Module: "deal", PageSize: 1})
		if err != nil {
			t.Fatal(err)
		}
		return ids, first
	}
	all, first := list(0)
	few, scanned := list(400)
	if len(all) != 466 || !slices.Equal(all, few) {
		t.Errorf("with a small budget there are %d records, else %d", len(few), len(all))
	}
	for name, tt := range map[string]struct {
		res  *remitv1.ListRecordsResponse
		each bool
	}{"with a large budget": {first, false}, "with a small one": {scanned, true}} {
		c, err := decodeCursor(tt.res.Cursor)
		if err != nil || (c.position[0] != 0) != tt.each {
			t.Errorf("%s the cursor is %+v, %v, want to ask each record: %v", name, c, err, tt.each)
		}
	}
}

// Random organisations are listed the same whatever the budget.
func TestSmallBudgetsChangeNoList(t *testing.T) {
	v := crmtest.VolumeOf(t, "rpc", 2, 40)
	r := newRig(t, func(c *Config) { c.Budget = 700 }) // no check needs more, and many lists do
	for n := v.First; n < v.First+v.Count; n++ {
		g, o := v.Organisation(n, 0)
		at := g.Instant()
		c := askedAll{
			askedOrganisation: r.organisation(fmt.Sprint("acme ", n), o, at), Generator: g,
			oracle: crmtest.NewOracle(o, at), again: v.Again(n),
		}
		c.lists()
	}
}

// A stream is the same list, and each of its messages can be gone on behind.
func TestStreamsOfRecordsAndUsers(t *testing.T) {
	for name, budget := range map[string]int{"found from the user": 0, "asked one by one": 1500} {
		a := newRig(t, func(c *Config) { c.Budget = budget }).organisation("acme", manyDeals(2300, 1200), noon)
		want, _ := a.records(a.scope(), "ada", "deal", "view", whole)
		if len(want) != 2300 {
			t.Fatalf("%s: %d records", name, len(want))
		}
		req := &remitv1.ListRecordsRequest{Scope: a.scope(), User: "ada", Module: "deal", Action: "view"}
		stream, err := a.org.StreamRecords(t.Context(), req)
		messages := all[*remitv1.ListRecordsResponse](t, stream, err)
		var got []string
		for i, m := range messages {
			got = append(got, m.Ids...)
			if (m.Cursor == "") != (i == len(messages)-1) {
				t.Errorf("%s: message %d of %d has the cursor %q", name, i, len(messages), m.Cursor)
			}
			if m.Cursor == "" {
				continue
			}
			rest, err := a.org.ListRecords(t.Context(), &remitv1.ListRecordsRequest{Scope: a.scope(), User: "ada", Module: "deal", Action: "view", Cursor: m.Cursor, PageSize: 3})
			if err != nil || !slices.Equal(rest.Ids, want[len(got):len(got)+3]) {
				t.Errorf("%s: behind message %d: %v, %v, want %v", name, i, rest.GetIds(), err, want[len(got):len(got)+3])
			}
		}
		if !slices.Equal(got, want) || len(messages) != 3 {
			t.Errorf("%s: %d records in %d messages, want %d", name, len(got), len(messages), len(want))
		}
		req.PageSize = 1500
		stream, err = a.org.StreamRecords(t.Context(), req)
		n := 0
		for _, m := range all[*remitv1.ListRecordsResponse](t, stream, err) {
			n += len(m.Ids)
		}
		if n != 1500 {
			t.Errorf("%s: a stream of 1500 has %d", name, n)
		}

		users, _ := a.users(a.scope(), "deal:d1", "view", func() int32 { return 700 })
		if got := sorted(t, "users", users); !slices.Equal(got, []string{"ada", "mia", "rob"}) {
			t.Errorf("%s: users %q", name, got)
		}
		access, err := a.org.StreamUsersWithAccess(t.Context(), &remitv1.ListUsersWithAccessRequest{Scope: a.scope(), Record: "deal:d1", PageSize: 2})
		two := all[*remitv1.ListUsersWithAccessResponse](t, access, err)
		if len(two) != 1 || !slices.Equal(two[0].Users, users[:2]) || two[0].Cursor == "" {
			t.Errorf("%s: two users are %v", name, two)
		}
	}
}

// A scan stops when it has worked enough for a page, and can be gone on with.
func TestAScanIsBounded(t *testing.T) {
	const n, every = scanWork*3 + 77, 40_000
	ids := make([]graph.Edge, n)
	for i := range ids {
		ids[i].Subject.ID = graph.MakeID(1, uint64(i+1))
	}
	var got []uint64
	pages := 0
	s := scan{
		edges: func(c *graph.Cursor) error {
			from := c.After.ID.Sequence()
			to := min(from+300, n)
			c.Edges, c.Done = ids[from:to], to == n
			if to > from {
				c.After = ids[to-1].Subject
			}
			return nil
		},
		asks: func(_ context.Context, id graph.ID) (bool, error) { return id.Sequence()%every == 0, nil },
		emit: func(id graph.ID) error { got = append(got, id.Sequence()); return nil },
	}
	for more := true; more; pages++ {
		var err error
		before := len(got)
		if more, err = s.take(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		if len(got) > before+1 {
			t.Fatalf("a page of one has %d", len(got)-before)
		}
	}
	if !slices.Equal(got, []uint64{every, 2 * every, 3 * every}) || pages < 3 {
		t.Errorf("the scan found %d in %d pages", got, pages)
	}
}
