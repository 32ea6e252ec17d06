package crm_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/condition"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/crm/crmtest"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/graph/schedule"
	"github.com/remit-authz/remit/graph/value"
)

func TestExportedIDsComeBack(t *testing.T) {
	for _, id := range []string{"ann", "a:b", "100%", "%3A", "*", "a*b", "é:ß", "deal.iban", strings.Repeat(":", 66)} {
		text := crm.ExportID(id)
		if strings.ContainsAny(text, ":*") || len(text) > 200 {
			t.Errorf("ExportID(%q) = %q, which OpenFGA does not take", id, text)
		}
		if got, err := crm.ImportID(text); err != nil || got != id {
			t.Errorf("ImportID(ExportID(%q)) = %q, %v", id, got, err)
		}
	}
}

func TestLongIDsAreReplacedByDigests(t *testing.T) {
	a, b := crm.ExportID(strings.Repeat("a", 201)), crm.ExportID(strings.Repeat(":", 67))
	if a == b || len(a) > 200 || len(b) > 200 {
		t.Errorf("long ids are exported as %q and %q", a, b)
	}
	for _, text := range []string{a, "%", "a%2", "a%zz", "a%61", "a:b", "%3a"} {
		if id, err := crm.ImportID(text); err == nil {
			t.Errorf("ImportID(%q) = %q, want an error", text, id)
		}
	}
}

// An exported store is an export as the engine sees any other store.
type exportedStore struct {
	*graph.Memory
	plan *model.Plan
}

func loadExport(t *testing.T, text string, tuples []graph.Tuple) *exportedStore {
	t.Helper()
	m, err := model.ParseDSL("", text)
	if err != nil {
		t.Fatal(err)
	}
	table := model.NewTable()
	table.Define(m.Declarations())
	plan, err := m.Compile("", table)
	if err != nil {
		t.Fatal(err)
	}
	s := &exportedStore{Memory: graph.NewMemory(1, time.Time{}), plan: plan}
	for _, tuple := range tuples {
		if err := s.Put(plan, tuple); err != nil {
			t.Fatalf("Put(%s): %v", tuple, err)
		}
	}
	return s
}

func (s *exportedStore) check(t *testing.T, now time.Time, c crmtest.Check, user string) bool {
	t.Helper()
	r, err := graph.ResolveRelation(s.plan, c.Object.Type, c.Relation)
	if err != nil {
		t.Fatal(err)
	}
	objects, _ := s.plan.Type(c.Object.Type)
	users, _ := s.plan.Type("user")
	q := graph.Query{View: s, Plan: s.plan, At: now}
	allowed, err := q.Check(t.Context(),
		graph.Userset{Object: s.Entity(objects.ID, crm.ExportID(c.Object.ID)), Relation: r.ID},
		graph.Subject{ID: s.Entity(users.ID, crm.ExportID(user))})
	if err != nil {
		t.Fatalf("Check(%s#%s@user:%s) at %s: %v", c.Object, c.Relation, user, now.Format(time.RFC3339Nano), err)
	}
	return allowed
}

// TestAnExportDecidesAsTheProcedureSays asks a store that was made of an export, without
// anything that only organisations have, everything there is to ask.
func TestAnExportDecidesAsTheProcedureSays(t *testing.T) {
	v := crmtest.VolumeOf(t, "graph/crm", 10, 300)
	decisions, allowed := 0, 0
	for n := v.First; n < v.First+v.Count && !t.Failed(); n++ {
		g, o := v.Organisation(n, 0)
		now := g.Instant()
		x, err := crm.Export(o, crm.Period{From: now.AddDate(0, 0, -n%3), Until: now.AddDate(0, 0, 1+n%100)})
		if err != nil {
			t.Fatalf("%v\n%s", err, v.Again(n))
		}
		if len(x.Notes) > 0 {
			t.Errorf("%v\n%s", x.Notes, v.Again(n))
		}
		s := loadExport(t, x.Model, x.Tuples)
		crmtest.NewOracle(o, now).Decisions(func(d crmtest.Decision) bool {
			decisions++
			if d.Allowed {
				allowed++
			}
			got := !slices.ContainsFunc(d.Checks, func(c crmtest.Check) bool { return !s.check(t, now, c, d.User) })
			if got != d.Allowed {
				t.Errorf("%s at %s = %v, want %v\n%s", d.Text, now.Format(time.RFC3339Nano), got, d.Allowed, v.Again(n))
			}
			return true
		})
	}
	t.Logf("%d decisions, %d of them allowed", decisions, allowed)
}

const day = 24 * time.Hour

// hours is a tuple of working hours, as an organisation's store has it.
func hours(fields value.Map) graph.Tuple {
	return graph.Tuple{
		Object: graph.ObjectName{Type: "shift", ID: "s"}, Relation: "open", Subject: graph.SubjectName{Type: "user", ID: "*"},
		Condition: "on_schedule", Context: value.Map{"schedule": fields},
	}
}

// exported is the export of one tuple alone.
func exported(t *testing.T, tuple graph.Tuple, horizon crm.Period) (*crm.Exporter, *exportedStore) {
	t.Helper()
	x, err := crm.NewExporter(nil, horizon)
	if err != nil {
		t.Fatal(err)
	}
	got, ok, err := x.Tuple(tuple)
	if err != nil {
		t.Fatal(err)
	}
	var tuples []graph.Tuple
	if ok {
		tuples = append(tuples, got)
		if _, err := condition.NewContext(got.Context); err != nil {
			t.Fatal(err)
		}
	}
	return x, loadExport(t, x.Model(), tuples)
}

// TestExportedHoursAreExact compares random hours around every change of clocks with what
// they were made of, at each turn and at random instants.
func TestExportedHoursAreExact(t *testing.T) {
	open := crmtest.Check{Object: graph.ObjectName{Type: "shift", ID: "s"}, Relation: "open"}
	r := rand.New(rand.NewPCG(1, 2))
	for _, tc := range []struct {
		zone string
		from string
		days int
	}{
		{"Europe/Paris", "2026-03-01", 365},
		{"America/New_York", "2026-10-20", 200},
		{"Australia/Lord_Howe", "2026-03-20", 30},
		{"Pacific/Apia", "2011-12-20", 30}, // a date is left out
		{"Asia/Kathmandu", "1985-12-20", 30},
		{"UTC", "1971-01-01", 10},
	} {
		for _, step := range []int{30, 10, 1} {
			fields := value.Map{"zone": tc.zone}
			for _, d := range []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"} {
				start := step * r.IntN(24*60/step)
				end := start + step*(1+r.IntN(20*60/step))
				fields[d] = fmt.Sprintf("%02d:%02d-%02d:%02d", start/60, start%60, end/60%24, end%60)
			}
			from, err := time.Parse(time.DateOnly, tc.from)
			if err != nil {
				t.Fatal(err)
			}
			horizon := crm.Period{From: from.Add(5 * time.Hour), Until: from.AddDate(0, 0, tc.days).Add(-5 * time.Hour)}
			x, s := exported(t, hours(fields), horizon)
			if len(x.Notes()) > 0 {
				t.Errorf("%v: %v", fields, x.Notes())
			}
			want, err := schedule.Parse(fields)
			if err != nil {
				t.Fatal(err)
			}
			horizon = x.Horizon()
			instants := []time.Time{horizon.From, horizon.Until.Add(-1)}
			for at, ok := want.Next(horizon.From); ok && at.Before(horizon.Until); at, ok = want.Next(at) {
				instants = append(instants, at.Add(-1), at)
			}
			for range 300 {
				instants = append(instants, horizon.From.Add(time.Duration(r.Int64N(int64(horizon.Until.Sub(horizon.From))))))
			}
			for _, at := range instants {
				if got := s.check(t, at, open, "ann"); got != want.Open(at) {
					t.Fatalf("%v at %s = %v, want %v", fields, at.Format(time.RFC3339Nano), got, want.Open(at))
				}
			}
			for _, at := range []time.Time{horizon.From.Add(-1), horizon.Until} {
				if s.check(t, at, open, "ann") {
					t.Errorf("%v at %s, outside the horizon: open, want closed", fields, at.Format(time.RFC3339Nano))
				}
			}
		}
	}
}

// TestExportedPeriodsAreExact compares random periods with their export, at and around
// every turn.
func TestExportedPeriodsAreExact(t *testing.T) {
	assigned := crmtest.Check{Object: graph.ObjectName{Type: "shift", ID: "s"}, Relation: "assigned"}
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	horizon := crm.Period{From: from, Until: from.AddDate(1, 0, 0)}
	r := rand.New(rand.NewPCG(3, 4))
	for n := range 60 {
		var turns []time.Time
		count, reach := 1+r.IntN(12), 500*day
		if n%10 == 9 { // as many as a seat may have
			count = 400 - r.IntN(2)
		}
		for range count {
			turns = append(turns, from.Add(time.Duration(r.Int64N(int64(reach)))-60*day))
		}
		slices.SortFunc(turns, time.Time.Compare)
		var texts value.List
		for _, at := range turns {
			texts = append(texts, at.Format(time.RFC3339Nano))
		}
		x, s := exported(t, graph.Tuple{
			Object: assigned.Object, Relation: "assigned", Subject: graph.SubjectName{Type: "user", ID: "ann"},
			Condition: "in_effect", Context: value.Map{"turns": texts},
		}, horizon)
		if len(x.Notes()) > 0 {
			t.Errorf("%v: %v", texts, x.Notes())
		}
		instants := []time.Time{horizon.From, horizon.Until.Add(-1)}
		for _, at := range turns {
			instants = append(instants, at.Add(-1), at, at.Add(1))
		}
		for _, at := range instants {
			if at.Before(horizon.From) || !at.Before(horizon.Until) {
				continue
			}
			passed := 0
			for passed < len(turns) && !turns[passed].After(at) {
				passed++
			}
			if got, want := s.check(t, at, assigned, "ann"), passed%2 == 1; got != want {
				t.Fatalf("%v at %s = %v, want %v", texts, at.Format(time.RFC3339Nano), got, want)
			}
		}
	}
}

// TestExportsSayWhatTheyCouldNotKeep also shows that what is kept is right up to the
// instant that the note names.
func TestExportsSayWhatTheyCouldNotKeep(t *testing.T) {
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	horizon := crm.Period{From: from, Until: from.AddDate(1, 0, 0)}

	irregular := value.Map{"zone": "UTC"}
	for d := range 200 {
		irregular[from.AddDate(0, 0, d).Format(time.DateOnly)] = fmt.Sprintf("%02d:%02d-%02d:%02d", d%11, d%60, 12+d%11, (7*d)%60)
	}
	x, s := exported(t, hours(irregular), horizon)
	wantNote(t, x.Notes(), "shift:s: its hours are too irregular")
	want, err := schedule.Parse(irregular)
	if err != nil {
		t.Fatal(err)
	}
	var end time.Time
	for d := range 200 {
		at := from.AddDate(0, 0, d).Add(11*time.Hour + 30*time.Minute) // within the hours of every day
		open := s.check(t, at, crmtest.Check{Object: graph.ObjectName{Type: "shift", ID: "s"}, Relation: "open"}, "ann")
		if !want.Open(at) || open && !end.IsZero() {
			t.Fatalf("open at %s = %v", at, open)
		}
		if !open && end.IsZero() {
			end = from.AddDate(0, 0, d)
			wantNote(t, x.Notes(), "from "+end.Format(time.DateOnly)+" on it is closed")
		}
	}
	if end.IsZero() {
		t.Error("irregular hours are kept whole, though there is a note")
	}

	var turns value.List
	for i := range 6 { // three periods within microseconds
		turns = append(turns, from.Add(30*day).Add(time.Duration(i)*time.Microsecond).Format(time.RFC3339Nano))
	}
	x, s = exported(t, graph.Tuple{
		Object: graph.ObjectName{Type: "org", ID: "acme"}, Relation: "on_leave", Subject: graph.SubjectName{Type: "user", ID: "ann"},
		Condition: "in_effect", Context: value.Map{"turns": turns},
	}, horizon)
	wantNote(t, x.Notes(), "user:ann: org:acme#on_leave has too many periods")
	leave := crmtest.Check{Object: graph.ObjectName{Type: "org", ID: "acme"}, Relation: "on_leave"}
	for i, want := range []bool{true, false, true, false, false} {
		if got := s.check(t, from.Add(30*day).Add(time.Duration(i)*time.Microsecond), leave, "ann"); got != want {
			t.Errorf("on leave after %d µs = %v, want %v", i, got, want)
		}
	}

	x, _ = exported(t, graph.Tuple{
		Object: graph.ObjectName{Type: "user", ID: strings.Repeat("u", 300)}, Relation: "org", Subject: graph.SubjectName{Type: "org", ID: "acme"},
	}, horizon)
	wantNote(t, x.Notes(), "the id is too long for OpenFGA")

	var modules []crm.Module
	for i := range 90 {
		modules = append(modules, crm.Module{ID: fmt.Sprintf("m%d", i), Kind: crm.Standard})
	}
	if x, err = crm.NewExporter(modules, horizon); err != nil {
		t.Fatal(err)
	}
	wantNote(t, x.Notes(), "the model has 103 types")
	wantNote(t, x.Notes(), "the model takes about")
}

func wantNote(t *testing.T, notes []crm.Note, text string) {
	t.Helper()
	if !slices.ContainsFunc(notes, func(n crm.Note) bool { return strings.Contains(n.String(), text) }) {
		t.Errorf("the notes are %v, want %q", notes, text)
	}
}

func TestHorizonsMustBeSomeTime(t *testing.T) {
	at := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for _, p := range []crm.Period{
		{},
		{From: at},
		{From: at, Until: at},
		{From: at, Until: at.AddDate(-1, 0, 0)},
		{From: time.Unix(0, 0), Until: at},
		{From: at, Until: at.AddDate(9000, 0, 0)},
	} {
		if x, err := crm.NewExporter(nil, p); err == nil {
			t.Errorf("the horizon %v is taken for %v", p, x.Horizon())
		}
	}
	x, err := crm.NewExporter(nil, crm.Period{From: at, Until: at.Add(1)})
	if err != nil {
		t.Fatal(err)
	}
	if want := (crm.Period{From: at.Add(-12 * time.Hour), Until: at.Add(12 * time.Hour)}); x.Horizon() != want {
		t.Errorf("the horizon of noon is %v, want %v", x.Horizon(), want)
	}
}
