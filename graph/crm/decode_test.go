package crm

import (
	"errors"
	"strings"
	"testing"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/value"
)

func TestDecodeYieldsTheExample(t *testing.T) {
	o := exampleOrganisation()
	s := load(t, o, false)
	got, err := Decode(s, s.plan)
	if err != nil {
		t.Fatal(err)
	}
	same(t, o, got)
}

// TestDecodeRefusesWhatEncodeDoesNotWrite puts one thing into a store, or takes one out.
func TestDecodeRefusesWhatEncodeDoesNotWrite(t *testing.T) {
	put := func(text string) func(t *testing.T, s *store) {
		return func(t *testing.T, s *store) { s.put(t, mustTuple(t, text)) }
	}
	remove := func(text string) func(t *testing.T, s *store) {
		return func(t *testing.T, s *store) { s.apply(t, Changes{Delete: []graph.Tuple{mustTuple(t, text)}}) }
	}
	document := func(object string, fields value.Map) func(t *testing.T, s *store) {
		return func(t *testing.T, s *store) {
			o, err := graph.ParseObject(object)
			if err != nil {
				t.Fatal(err)
			}
			s.SetDocument(s.entity(t, o), fields)
		}
	}
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, s *store)
		want   string
	}{
		{"a holder without a role", put("role:agent#holder@user:rob"), "tuple role:agent#holder@user:rob does not belong there"},
		{"a pair without its other half", remove("user:kim#in_team@team:tiger"), "tuple user:kim#in_team@team:tiger is missing or another"},
		{"a second role", put("user:rob#role@role:agent"), `user:rob: role "" does not exist`},
		{"a child of nobody", remove("role:rep#parent@role:emea"), "exactly one role has none above it"},
		{"a share with a kind of people that no share has", put("deal:d1#share_r@role:ghost#holder"), "role ghost does not exist"},
		{"related lists without the share", put("deal:d1#rel_w@user:mia"), "tuple deal:d1#rel_w@user:mia does not belong there"},
		{"secret but not restricted", remove("deal:d2#restricted@user:*"), "tuple deal:d2#restricted@user:* is missing or another"},
		{"both hierarchies", put("org:acme#report_mode@user:*"), "tuple org:acme#role_mode@user:* does not belong there"},
		{"a second source of a rule", put("user:rob#deal_src@rule:emea_desk"), "tuple user:rob#deal_src@rule:emea_desk does not belong there"},
		{"a second organisation", document("org:other", value.Map{"name": "Other"}), ""},
		{"no organisation", document("org:acme", nil), "there are 0 organisations in the store, not one"},
		{"an attribute that nobody knows", document("team:tiger", value.Map{"name": "Tiger", "colour": "red"}), "the document of team:tiger is missing or another"},
		{"a claim of somebody else", document("name:team/tiger", value.Map{"holder": "team:lion"}), "the document of name:team/tiger is missing or another"},
		{"a claim that is missing", document("name:team/tiger", nil), "the document of name:team/tiger is missing or another"},
		{"names that are the same", document("role:rep", value.Map{"name": "emea"}), `the name "emea" is that of role:emea already`},
		{"a wrong type of attribute", document("role:rep", value.Map{"name": int64(1)}), "role:rep: it has no name"},
		{"turns that are no instants", func(t *testing.T, s *store) {
			tuple := mustTuple(t, "shift:day#assigned@user:rob")
			tuple.Condition, tuple.Context = "in_effect", value.Map{"turns": value.List{}}
			s.put(t, tuple)
		}, "tuple shift:day#assigned@user:rob does not belong there"},
		{"hours that are none", func(t *testing.T, s *store) {
			tuple := mustTuple(t, "shift:day#open@user:*")
			tuple.Condition, tuple.Context = "on_schedule", value.Map{"schedule": value.Map{"zone": "UTC", "monday": "always"}}
			s.put(t, tuple)
		}, `shift:day#open@user:*: monday: "always" is no span of time such as 09:00-17:30`},
		{"a share that expires apart from its related lists", func(t *testing.T, s *store) {
			tuple := mustTuple(t, "deal:d1#rel_r@role:agent#holder")
			tuple.Expires = noon.AddDate(0, 0, 1)
			s.put(t, tuple)
		}, "tuple deal:d1#rel_r@role:agent#holder is missing or another"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := load(t, exampleOrganisation(), false)
			tt.change(t, s)
			o, err := Decode(s, s.plan)
			if tt.want == "" {
				if err != nil {
					t.Fatalf("Decode() = %v; an entity that no tuple names cannot be seen", err)
				}
				return
			}
			if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("Decode() = %v, %v, want ErrForeign with %q", o, err, tt.want)
			}
		})
	}
}

func mustTuple(t testing.TB, text string) graph.Tuple {
	t.Helper()
	tuple, err := graph.ParseTuple(text)
	if err != nil {
		t.Fatal(err)
	}
	return tuple
}

// TestFoldedNames shows which names are the same.
func TestFoldedNames(t *testing.T) {
	for _, names := range [][]string{
		{"Straße", "STRASSE", "strasse"},
		{"Rép", "Re\u0301p", "RÉP", "RE\u0301P"},
		{"Σίσυφος", "ΣΊΣΥΦΟΣ"},
		{"K", "k", "\u212a"}, // the sign of kelvin
	} {
		for _, name := range names {
			if got, want := Fold(name), Fold(names[0]); got != want {
				t.Errorf("Fold(%q) = %q, want %q", name, got, want)
			}
			if got := Fold(Fold(name)); got != Fold(name) {
				t.Errorf("Fold(Fold(%q)) = %q, want %q", name, got, Fold(name))
			}
		}
	}
	if Fold("a b") == Fold("ab") || Fold("a") == Fold("á") {
		t.Error("names that people tell apart fold to one")
	}
	for name, want := range map[string]string{
		"EMEA Sales": "name:role/emea%20sales", "100%": "name:role/100%25", "#1/2": "name:role/%231/2", "a\u00a0b": "name:role/a%C2%A0b",
	} {
		claim := Claim(typeRole, name)
		if claim.String() != want {
			t.Errorf("Claim(role, %q) = %s, want %s", name, claim, want)
		}
		if err := claim.Validate(); err != nil {
			t.Error(err)
		}
	}
}

// FuzzHours shows that text which is read as windows is written as the same windows.
func FuzzHours(f *testing.F) {
	for _, text := range []string{"closed", "09:00-17:30", "09:00-17:30 except 12:00-13:00 15:00-15:10, 22:00-06:00", "0:0-0:0", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		windows, err := ParseWindows(text)
		if err != nil {
			return
		}
		sortWindows(windows)
		written := WindowsText(windows)
		again, err := ParseWindows(written)
		if err != nil || WindowsText(again) != written {
			t.Errorf("ParseWindows(%q) = %v, %v, want %v", written, again, err, windows)
		}
	})
}
