package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
)

// longText is a text of so many bytes, of letters of two bytes, that ends in a number.
func longText(bytes, i int) string {
	end := fmt.Sprintf("%04d", i)
	return strings.Repeat("x", bytes%2) + strings.Repeat("ü", (bytes-len(end))/2) + end
}

// longID and longName are of the greatest length.
func longID(i int) string   { return longText(graph.MaxIDBytes, i) }
func longName(i int) string { return longText(crm.MaxName, i) }

// longField is the longest id of a field of deals.
func longField() string { return longText(graph.MaxIDBytes-len("deal."), 0) }

const (
	deepRoles  = 1000
	deepGroups = 100
	manyShifts = 30
)

// everyLimit is an organisation in which everything goes as far as it may: 1,000 roles one
// above the other, 100 groups one inside the other, of which the innermost has all users as
// members, a seat with 100 profiles, 100 modules, 30 shifts, and the longest ids and names.
func everyLimit(users int) *crm.Organisation {
	o := crm.New("full", "Full", "ada", "Ada")
	for i := range crm.MaxModules {
		m := crm.Module{ID: fmt.Sprintf("module_%02d", i), Name: fmt.Sprint("Module ", i), Kind: crm.Standard}
		if i == 0 {
			m.ID, m.Name = "deal", longName(0)
		}
		o.Modules = append(o.Modules, m)
	}
	o.Fields = []crm.Field{{Module: "deal", ID: longField(), Name: longName(0), Levels: map[string]crm.FieldLevel{"standard": crm.FieldRead}}}
	standard := &o.Profiles[slices.IndexFunc(o.Profiles, func(p crm.Profile) bool { return p.ID == "standard" })]
	standard.Modules = map[string]crm.Permissions{}
	for _, m := range o.Modules {
		standard.Modules[m.ID] = crm.PermissionView | crm.PermissionCreate
	}
	administrator := &o.Profiles[slices.IndexFunc(o.Profiles, func(p crm.Profile) bool { return p.Administrator })]
	administrator.Modules = map[string]crm.Permissions{"deal": crm.AllPermissions()}
	role := firstRole
	for i := range deepRoles - 1 {
		r := crm.Role{ID: fmt.Sprintf("r%03d", i), Name: fmt.Sprint("Role ", i), Parent: role}
		if i == deepRoles-2 {
			r.ID, r.Name = longID(1), longName(1)
		}
		o.Roles = append(o.Roles, r)
		role = r.ID
	}
	all := crm.Seat{ID: longID(2), Name: longName(2), Role: role, Login: longName(2)}
	for i := range 100 {
		p := crm.Profile{ID: fmt.Sprint("p", i), Name: fmt.Sprint("Profile ", i)}
		if i == 99 {
			p.ID, p.Name, p.Modules = longID(3), longName(3), map[string]crm.Permissions{"deal": crm.AllPermissions()}
		}
		o.Profiles = append(o.Profiles, p)
		all.Profiles = append(all.Profiles, p.ID)
	}
	for i := range manyShifts {
		s := crm.Shift{ID: fmt.Sprint("s", i), Name: fmt.Sprint("Shift ", i), Hours: crm.Hours{Zone: "Europe/Paris"}}
		for day := range s.Hours.Week {
			s.Hours.Week[day] = []crm.Window{{Span: crm.Span{Start: 9 * 60, End: 17 * 60}}}
		}
		o.Shifts = append(o.Shifts, s)
		from := time.Date(2026, 1, 1+i, 0, 0, 0, 0, time.UTC)
		all.Shifts = append(all.Shifts, crm.Assignment{Shift: s.ID, Period: crm.Period{From: from, Until: from.AddDate(0, 0, 1)}})
	}
	o.Seats = append(o.Seats, all)
	inner := crm.Group{ID: longID(4), Name: longName(4), Members: []crm.Party{{Kind: crm.User, ID: all.ID}}}
	for i := range users {
		s := crm.Seat{ID: fmt.Sprintf("u%05d", i), Name: fmt.Sprint("User ", i), Role: "manager", Profiles: []string{"standard"}}
		o.Seats = append(o.Seats, s)
		inner.Members = append(inner.Members, crm.Party{Kind: crm.User, ID: s.ID})
	}
	o.Groups = append(o.Groups, inner)
	for i := range deepGroups - 1 {
		in := o.Groups[len(o.Groups)-1].ID
		o.Groups = append(o.Groups, crm.Group{ID: fmt.Sprintf("g%02d", i), Name: fmt.Sprint("Group ", i), Members: []crm.Party{{Kind: crm.MembersOf, ID: in}}})
	}
	o.Rules = []crm.Rule{{
		ID: longID(5), Name: longName(5), Module: "deal", Level: crm.LevelView,
		Source: crm.Party{Kind: crm.HoldersOf, ID: role}, Target: crm.Party{Kind: crm.MembersOf, ID: o.Groups[len(o.Groups)-1].ID},
	}}
	o.Records = []crm.Record{{Module: "deal", ID: longID(6), Owner: all.ID, Shares: []crm.Share{{
		To: crm.Party{Kind: crm.RoleAndSubordinates, ID: "r000"}, Level: crm.LevelEdit, Reason: longName(6),
	}}}}
	return o
}

// An organisation that goes to the limits is made, answers, and is exported and applied again;
// a step further is refused with its place, and changes nothing.
func TestAnOrganisationAtItsLimits(t *testing.T) {
	users := 200
	if os.Getenv("REMIT_TEST_ALL") != "" {
		users = 10_000
	}
	startServer(t)
	o := everyLimit(users)
	file := organisationFile(t, o)
	begin := time.Now()
	t.Log(must(t, "org", "apply", file, "--create", "--yes"), time.Since(begin))
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	begin = time.Now()
	if got := must(t, "org", "export"); got != string(want) {
		t.Error("the export is another organisation")
	}
	if out := must(t, "org", "apply", file, "--yes"); out != "nothing to change\n" {
		t.Errorf("the export applied again: %s", out)
	}
	t.Log("exported and applied again", time.Since(begin))

	record, owner := "deal:"+longID(6), longID(2)
	begin = time.Now()
	for _, ask := range []struct{ user, action, want string }{
		{"ada", "view", "stands above role"},
		{"u00000", "view", "is in it by"},
		{owner, "delete", "owns deal"},
		{"u00001", "edit", "lacks edit"},
	} {
		can := must(t, "org", "can", ask.user, ask.action, record)
		why := must(t, "org", "why", ask.user, ask.action, record)
		if allowed := !strings.Contains(ask.want, "lacks"); can != allowedWord(allowed)+"\n" || !strings.Contains(why, ask.want) {
			t.Errorf("%s %s: %s\n%s", ask.user, ask.action, can, why)
		}
	}
	if out := must(t, "org", "who", record); strings.Count(out, "\n") != users+2 {
		t.Errorf("%d see the record", strings.Count(out, "\n"))
	}
	if out := must(t, "org", "fields", owner, record); !strings.HasSuffix(out, " write\n") {
		t.Errorf("the fields are %s", out)
	}
	if out := must(t, "org", "on-duty", "--at", "2026-01-30T12:00:00Z"); !strings.Contains(out, owner) {
		t.Errorf("on duty is %s", out)
	}
	t.Log("asked", time.Since(begin))

	for _, test := range []struct {
		name   string
		beyond func(o *crm.Organisation)
		place  string // what stands there last
		says   string
	}{
		{"modules", func(o *crm.Organisation) {
			o.Modules = append(o.Modules, crm.Module{ID: "too_many", Name: "Too Many", Kind: crm.Standard})
		}, "  id: full", "it has 101 modules, at most 100 are allowed"},
		{"shifts", func(o *crm.Organisation) {
			s := o.Shifts[0]
			s.ID, s.Name = "s99", "Shift 99"
			o.Shifts = append(o.Shifts, s)
		}, "  id: full", "it has 31 shifts, at most 30 are allowed"},
		{"a name", func(o *crm.Organisation) { o.Roles[5].Name = strings.Repeat("n", 1000) }, "  " + o.Roles[5].ID + ":", "its name has 1000 bytes, at most 900 are allowed"},
		{"an id", func(o *crm.Organisation) { o.Groups[0].ID += "x" }, longID(4) + "x", "the id has 1017 bytes, at most 1016 are allowed"},
		{"a field's id", func(o *crm.Organisation) { o.Fields[0].ID += "x" }, longField() + "x", "at most 1016 are allowed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := everyLimit(10)
			test.beyond(o)
			file := organisationFile(t, o)
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			out, errs, status := remit(t, "org", "apply", file, "--yes")
			if status != exitError || out != "" || !strings.Contains(errs, test.says) {
				t.Fatalf("status %d: %s%.2000s\nwant %s", status, out, errs, test.says)
			}
			begin := strings.LastIndex(string(text), test.place)
			if place := fmt.Sprintf("%s:%d:", file, 1+strings.Count(string(text[:begin]), "\n")); !strings.Contains(errs, place) {
				t.Errorf("the error is %.2000s\nwant it at %s", errs, place)
			}
		})
	}
	for _, args := range [][]string{
		{"org", "module", "set", "too_many", "--name", "Too Many"},
		{"org", "shift", "set", "s99", "--name", "Shift 99", "--zone", "UTC", "--hours", "monday=09:00-10:00"},
		{"org", "role", "set", "r005", "--name", strings.Repeat("n", 1000)},
		{"org", "group", "set", longID(4) + "x", "--name", "Longer"},
		{"org", "field", "set", "deal." + longField() + "x", "--name", "Longer"},
	} {
		out, errs, status := remit(t, args...)
		if status != exitError || out != "" || !strings.Contains(errs, "at most") && !strings.Contains(errs, "maximum") {
			t.Errorf("%.100q: status %d: %s%s", args, status, out, errs)
		}
	}
	if got := must(t, "org", "export"); got != string(want) {
		t.Error("what was refused has changed the organisation")
	}

	// The large group shrinks and goes as it came.
	begin = time.Now()
	inner := slices.IndexFunc(o.Groups, func(g crm.Group) bool { return g.ID == longID(4) })
	o.Groups[inner].Members = []crm.Party{{Kind: crm.User, ID: owner}}
	must(t, "org", "apply", organisationFile(t, o), "--yes")
	if out := must(t, "org", "can", "u00000", "view", record); out != "denied\n" {
		t.Errorf("who has left the group is %s", out)
	}
	t.Log("shrunk", time.Since(begin))
}

// manyUsers is an organisation of so many users in a tree of roles, who are all in one group.
func manyUsers(n int) *crm.Organisation {
	o := crm.New("many", "Many", "ada", "Ada")
	o.Modules = []crm.Module{{ID: "deal", Name: "Deals", Kind: crm.Standard}}
	for i := range o.Profiles {
		o.Profiles[i].Modules = map[string]crm.Permissions{"deal": crm.AllPermissions()}
	}
	role := func(i int) string {
		if i == 0 {
			return firstRole
		}
		return fmt.Sprintf("r%04d", i)
	}
	o.Groups = []crm.Group{{ID: "all", Name: "All"}}
	roles := n/20 + 1
	for i := 1; i < roles; i++ {
		o.Roles = append(o.Roles, crm.Role{ID: role(i), Name: fmt.Sprint("Role ", i), Parent: role((i - 1) / 4)})
	}
	for i := range n {
		s := crm.Seat{ID: fmt.Sprintf("u%05d", i), Name: fmt.Sprint("User ", i), Role: role(i % roles), Profiles: []string{"standard"}, Login: fmt.Sprintf("u%d@many.example", i)}
		if above := (i%roles - 1) / 4; i%roles > 0 && above < i && above > 0 {
			s.Manager = fmt.Sprintf("u%05d", above)
		}
		o.Seats = append(o.Seats, s)
		o.Groups[0].Members = append(o.Groups[0].Members, crm.Party{Kind: crm.User, ID: s.ID})
	}
	return o
}

// A file of very many users is applied in steps. If that is killed in the middle, the same
// command does the rest; and the export applied again changes nothing.
func TestAFileOfManyUsersIsAppliedAcrossAKill(t *testing.T) {
	users := 5200 // more members than one change can hold
	if os.Getenv("REMIT_TEST_ALL") != "" {
		users = 20_000
	}
	for _, name := range []string{"REMIT_STORE", "REMIT_TOKEN", "REMIT_DATA_DIR"} {
		t.Setenv(name, "")
	}
	p := serveProcess(t, t.TempDir())
	t.Setenv("REMIT_ADDR", p.addr)
	file := organisationFile(t, manyUsers(users))
	begin := time.Now()
	apply := exec.Command(os.Args[0], "org", "apply", file, "--create", "--yes")
	apply.Env = append(os.Environ(), asRemit+"=1")
	if err := apply.Start(); err != nil {
		t.Fatal(err)
	}
	made := func() int {
		out, _, status := remit(t, "org", "user", "list")
		if status != exitYes {
			return 0 // there is no organisation yet
		}
		return strings.Count(out, "\n") - 1
	}
	ended := make(chan error, 1)
	go func() { ended <- apply.Wait() }()
	for made() <= users/10 {
		select {
		case err := <-ended:
			t.Fatalf("it ended before it could be killed: %v", err)
		default:
		}
	}
	_ = apply.Process.Kill()
	if err := <-ended; err == nil {
		t.Fatal("it ended before it was killed")
	}
	there := made()
	t.Logf("killed after %v with %d users", time.Since(begin).Round(time.Millisecond), there)
	if there > users {
		t.Fatal("it was not killed in the middle")
	}
	begin = time.Now()
	t.Log(must(t, "org", "apply", file, "--create", "--yes"), time.Since(begin).Round(time.Millisecond))
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	begin = time.Now()
	export := must(t, "org", "export")
	if export != string(want) {
		t.Error("the export is not what was applied")
	}
	if out := must(t, "org", "apply", textFile(t, "again.org.yaml", export), "--yes"); out != "nothing to change\n" {
		t.Errorf("the export applied again: %s", out)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("exported and applied again in %v; this process has had %d MiB", time.Since(begin).Round(time.Millisecond), m.Sys>>20)
}
