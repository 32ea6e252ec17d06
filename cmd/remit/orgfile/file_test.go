package orgfile_test

import (
	"errors"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/remit-authz/remit/cmd/remit/orgfile"
	"github.com/remit-authz/remit/cmd/remit/yamlfile"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/crm/crmtest"
	"github.com/remit-authz/remit/graph/value"
)

// With -rewrite the golden files are written anew; the diff is to be reviewed.
var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

func parse(t testing.TB, text string) *orgfile.File {
	t.Helper()
	file, err := orgfile.Parse("acme.org.yaml", []byte(text))
	if err != nil {
		t.Fatalf("%v\nin\n%.5000s", err, text)
	}
	return file
}

func written(t testing.TB, o *crm.Organisation) string {
	t.Helper()
	var b strings.Builder
	if err := orgfile.Write(&b, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestEverythingThatAFileCanSay(t *testing.T) {
	file, err := orgfile.Read("testdata/all.org.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Validate(crm.DefaultLimits()); err != nil {
		t.Fatal(err)
	}
	for _, s := range orgfile.Sections() {
		if !file.Has(s) {
			t.Errorf("the file has no %s, want all there is", s)
		}
	}
	got := written(t, file.Organisation)
	const golden = "testdata/all.canonical.yaml"
	if *rewrite {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s (-want +got; -rewrite records it):\n%s", golden, diff)
	}
	if again := written(t, parse(t, got).Organisation); again != got {
		t.Errorf("what is written is read as another:\n%s", cmp.Diff(got, again))
	}
}

func TestAChangeIsOfItsTestAlone(t *testing.T) {
	file, err := orgfile.Read("testdata/all.org.yaml")
	if err != nil {
		t.Fatal(err)
	}
	before := written(t, file.Organisation)
	if len(file.Tests) != 2 {
		t.Fatalf("%d tests, want 2", len(file.Tests))
	}
	if file.OrganisationOf(&file.Tests[0]) != file.Organisation {
		t.Error("the first test has an organisation of its own")
	}
	after := written(t, file.OrganisationOf(&file.Tests[1]))
	if got := written(t, file.Organisation); got != before {
		t.Errorf("a change of a test changes the file's organisation:\n%s", cmp.Diff(before, got))
	}
	for _, line := range []string{
		`  rep: {name: Sales rep, parent: ceo, peers: edit, forecast_managers: [mia]}`,
		`  intern: {name: Intern, parent: rep}`,
		`  t1: {name: Team 1, managers: [mia]}`,
	} {
		if !strings.Contains(after, line+"\n") {
			t.Errorf("after the change there is no line %q in\n%s", line, after)
		}
	}
	for _, text := range []string{"login_hours", "James", "Trade fair"} {
		if !strings.Contains(before, text) || strings.Contains(after, text) {
			t.Errorf("%q is there before: %v, after: %v; want it before alone", text, strings.Contains(before, text), strings.Contains(after, text))
		}
	}
}

// TestWhatIsWrittenIsRead does so with random organisations of every feature, and shows
// that applying what was exported would change nothing.
func TestWhatIsWrittenIsRead(t *testing.T) {
	volume := crmtest.VolumeOf(t, "./cmd/remit/orgfile", 20, 1000)
	for n := volume.First; n < volume.First+volume.Count; n++ {
		_, o := volume.Organisation(n, 0)
		for i := range o.Seats {
			o.Seats[i].Login = o.Seats[i].ID + "@Acme.example"
		}
		text := written(t, o)
		file := parse(t, text)
		if err := file.Validate(crm.DefaultLimits()); err != nil {
			t.Fatalf("%v\n%s", err, volume.Again(n))
		}
		if c := crm.Difference(crm.Encode(o), crm.Encode(file.Organisation)); !c.Empty() {
			t.Fatalf("reading what was written changes %+v\n%s", c, volume.Again(n))
		}
		if diff := cmp.Diff(o, file.Organisation, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("it is read as another (-want +got):\n%s\n%s", diff, volume.Again(n))
		}
		if again := written(t, file.Organisation); again != text {
			t.Fatalf("it is written in another way:\n%s\n%s", cmp.Diff(text, again), volume.Again(n))
		}
	}
}

// hardTexts are ids and names that YAML would take for something else if they stood plain.
var hardTexts = []string{
	"yes", "No", "on", "y", "~", "null", "true", "1001", "0x10", "1e3", "1_0", ".5", "12:30", "2026-12-25", "-", "- a", "a: b", "a:", "a #b",
	"#a", "@a", "`a`", "!a", "&a", "*a", "%a", "{a}", "[a]", "a, b", "a]", "it's", `say "a"`, `back\slash`, "?", "? a", "|", ">", "=", "<<",
	"Zoë", "日本", "a  b", "tab\u00a0here", "\u2028", "\U0001F600", "a\u0085b", "\ufeffx", "😀 Deal desk",
	strings.Repeat("<", 300), strings.Repeat("ab ", 280) + "z",
}

func TestTextsThatLookLikeSomethingElse(t *testing.T) {
	for _, text := range hardTexts {
		o := small()
		o.Name = text
		o.Seats[0].Name = text
		o.Records[0].ID = text
		o.Records[0].Fields = value.Map{text: text, "list": value.List{text}, "map": value.Map{text: text}}
		o.Records[0].Shares = []crm.Share{{To: crm.Party{Kind: crm.User, ID: text}, Level: crm.LevelView, Reason: text}}
		o.Groups = []crm.Group{{ID: text, Name: text, Members: []crm.Party{{Kind: crm.RoleAndSubordinates, ID: text}}}}
		out := written(t, o)
		if strings.Contains(text, " #") || text == "" || strings.ContainsAny(text, "#") {
			continue // no party has such an id
		}
		if strings.ContainsAny(text, " \u00a0\u2028\u0085") || strings.TrimSpace(text) != text {
			o.Records[0].Shares, o.Groups[0].Members = nil, nil // nor such
			out = written(t, o)
		}
		got := parse(t, out).Organisation
		if diff := cmp.Diff(o, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%q is read as another (-want +got):\n%s\nin\n%s", text, diff, out)
		}
	}
}

func TestLongIDs(t *testing.T) {
	o := small()
	long := strings.Repeat("<", 1016)
	o.Records[0].ID = long
	o.Records[0].Shares = []crm.Share{{To: crm.Party{Kind: crm.RoleAndSubordinates, ID: long}, Level: crm.LevelView, Related: true}}
	o.Roles = append(o.Roles, crm.Role{ID: long, Name: "Long", Parent: "ceo"})
	if diff := cmp.Diff(o, parse(t, written(t, o)).Organisation, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("it is read as another (-want +got):\n%s", diff)
	}
}

func TestValuesOfRecords(t *testing.T) {
	o := small()
	o.Records[0].Fields = value.Map{
		"zero": int64(0), "int": int64(-12), "half": 0.5, "tiny": 1e-300, "huge": 1e300, "exact": float64(1 << 60), "unsigned": uint64(1 << 63),
		"text": "12", "date": "2026-12-25", "empty": "", "none": nil, "yes": true, "words": "two words",
		"list": value.List{int64(1), "a", nil, value.List{}, value.Map{}}, "map": value.Map{"a": value.Map{"b": int64(1)}},
	}
	if diff := cmp.Diff(o.Records[0].Fields, parse(t, written(t, o)).Organisation.Records[0].Fields); diff != "" {
		t.Errorf("they are read as others (-want +got):\n%s", diff)
	}
}

// small is an organisation that is valid but for what tests do to it.
func small() *crm.Organisation {
	return &crm.Organisation{
		ID: "acme", Name: "Acme", SuperAdmin: "ada",
		Roles:    []crm.Role{{ID: "ceo", Name: "CEO"}},
		Profiles: []crm.Profile{{ID: "all", Name: "All", Administrator: true}},
		Seats:    []crm.Seat{{ID: "ada", Name: "Ada", Role: "ceo"}},
		Modules:  []crm.Module{{ID: "deal", Name: "Deals", Kind: crm.Standard}},
		Records:  []crm.Record{{Module: "deal", ID: "d1", Owner: "ada"}},
	}
}

const smallText = `organisation: {id: acme, name: Acme, super_admin: ada}
modules: {deal: {name: Deals}}
profiles: {all: {name: All, administrator: true}}
roles: {ceo: {name: CEO}}
users: {ada: {name: Ada, role: ceo}}
records: {deal: {d1: {owner: ada}}}
`

func TestAFileMaySayAPart(t *testing.T) {
	file := parse(t, "roles:\n  ceo: {name: CEO}\ngroups: {}\n")
	for _, s := range orgfile.Sections() {
		if want := s == orgfile.Roles || s == orgfile.Groups; file.Has(s) != want {
			t.Errorf("Has(%s) = %v, want %v", s, file.Has(s), want)
		}
	}
	want := "acme.org.yaml:1:1: the file has no section organisation, and so no organisation of its own"
	if err := file.Validate(crm.DefaultLimits()); err == nil || err.Error() != want {
		t.Errorf("Validate() = %v, want %s", err, want)
	}
	if p := file.Place("role:ceo"); p.Line != 2 || p.Column != 3 {
		t.Errorf("role:ceo stands at %s, want 2:3", p)
	}
}

func TestSectionsReplaceThoseOfAnOrganisation(t *testing.T) {
	all, err := orgfile.Read("testdata/all.org.yaml")
	if err != nil {
		t.Fatal(err)
	}
	whole := written(t, all.Organisation)
	if got := written(t, all.Over(small())); got != whole {
		t.Errorf("a file with all sections is not all that there is over another:\n%s", cmp.Diff(whole, got))
	}
	if got := written(t, parse(t, "{}").Over(all.Organisation)); got != whole {
		t.Errorf("a file without sections changes something:\n%s", cmp.Diff(whole, got))
	}
	got := written(t, parse(t, "teams: {}\nroles:\n  ceo: {name: Chief}\n").Over(all.Organisation))
	want := strings.Replace(whole, "teams:\n  t1: {name: Team 1, managers: [mia], members: [\"007\", rob]}\n", "teams: {}\n", 1)
	from, to := strings.Index(want, "roles:\n"), strings.Index(want, "shifts:\n")
	want = want[:from] + "roles:\n  ceo: {name: Chief}\n" + want[to:]
	if got != want {
		t.Errorf("two sections change others, or not themselves (-want +got):\n%s", cmp.Diff(want, got))
	}
}

func TestFaultsOfAServiceHaveTheirPlaces(t *testing.T) {
	file := parse(t, smallText)
	err := file.Locate(&crm.Error{Faults: []crm.Fault{{Subject: "user:ada", Message: "no"}, {Subject: "role:other", Message: "neither"}}})
	var faults *yamlfile.Error
	if want := "acme.org.yaml:1:1: role:other: neither\nacme.org.yaml:5:9: user:ada: no"; !errors.As(err, &faults) || err.Error() != want {
		t.Errorf("Locate() = %v, want\n%s", err, want)
	}
	other := errors.New("other")
	if got := file.Locate(other); got != other { //nolint:errorlint // it is to be the same one
		t.Errorf("Locate(%v) = %v", other, got)
	}
}

func TestWriterWantsItsOrder(t *testing.T) {
	deal := func(id string) *crm.Record { return &crm.Record{Module: "deal", ID: id, Owner: "ada"} }
	for _, test := range []struct {
		name     string
		sections []orgfile.Section
		entities []crm.Entity
		want     string
	}{
		{"empty sections", []orgfile.Section{orgfile.Roles, orgfile.Modules}, nil, "modules: {}\nroles: {}\n"},
		{"a passed section", []orgfile.Section{orgfile.Groups, orgfile.Roles}, []crm.Entity{&crm.Group{ID: "g", Name: "G"}}, "roles: {}\ngroups:\n  g: {name: G}\n"},
		{"too late", orgfile.Sections(), []crm.Entity{&crm.Rule{ID: "r"}, &crm.Role{ID: "r"}}, "role:r comes too late, or its section roles is not to be written"},
		{"not wanted", []orgfile.Section{orgfile.Roles}, []crm.Entity{deal("d1")}, "deal:d1 comes too late, or its section records is not to be written"},
		{"in two parts", orgfile.Sections(), []crm.Entity{deal("d1"), &crm.Record{Module: "note"}, deal("d2")}, "records of deal come in two parts"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var b strings.Builder
			w := orgfile.NewWriter(&b, test.sections...)
			var err error
			for _, e := range test.entities {
				if err = w.Entity(e); err != nil {
					break
				}
			}
			got := ""
			if err != nil {
				got = err.Error()
			} else if err := w.Close(); err != nil {
				t.Fatal(err)
			} else {
				got = b.String()
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	all, err := os.ReadFile("testdata/all.org.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(all))
	f.Add(smallText)
	for _, bad := range badFiles {
		f.Add(bad.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		file, err := orgfile.Parse("a.org.yaml", []byte(text))
		if err != nil {
			return
		}
		if file.Validate(crm.DefaultLimits()) != nil {
			return
		}
		first := written(t, file.Organisation)
		again, err := orgfile.Parse("a.org.yaml", []byte(first))
		if err != nil {
			t.Fatalf("%v\n%s", err, first)
		}
		if second := written(t, again.Organisation); second != first {
			t.Errorf("it is written in another way:\n%s", cmp.Diff(first, second))
		}
	})
}

func TestAtIsThatOfTheTestUnlessItIsSaid(t *testing.T) {
	file := parse(t, smallText+`tests:
  - name: x
    at: 2026-11-23T10:00:00Z
    can:
      - {user: ada, record: deal:d1, may: view}
      - {user: ada, record: deal:d1, may: view, at: 2026-11-24T10:00:00+01:00}
  - name: y
    list:
      - {user: ada, module: deal, records: []}
`)
	if got := file.Tests[0].Can[0].At; !got.Equal(time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)) {
		t.Errorf("at is %s", got)
	}
	if got := file.Tests[0].Can[1].At; !got.Equal(time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)) {
		t.Errorf("at is %s", got)
	}
	if got := file.Tests[1].Lists[0]; !got.At.IsZero() || got.Action.Text != "view" {
		t.Errorf("at is %s and the action %s, want none and view", got.At, got.Action.Text)
	}
}
