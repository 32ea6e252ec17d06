package graph

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseTuple(t *testing.T) {
	long := strings.Repeat("x", MaxIDBytes)
	for _, c := range []struct {
		name, text string
		want       Tuple
	}{
		{"entity", "doc:plan#viewer@user:anna", Tuple{
			Object: ObjectName{"doc", "plan"}, Relation: "viewer", Subject: SubjectName{Type: "user", ID: "anna"},
		}},
		{"wildcard", "doc:plan#viewer@user:*", Tuple{
			Object: ObjectName{"doc", "plan"}, Relation: "viewer", Subject: SubjectName{Type: "user", ID: "*"},
		}},
		{"userset", "doc:plan#viewer@group:eng#member", Tuple{
			Object: ObjectName{"doc", "plan"}, Relation: "viewer", Subject: SubjectName{Type: "group", ID: "eng", Relation: "member"},
		}},
		{"ids with marks of their own", "doc:a@b:c|d/e.f#viewer@user:anna@example.com:x", Tuple{
			Object: ObjectName{"doc", "a@b:c|d/e.f"}, Relation: "viewer", Subject: SubjectName{Type: "user", ID: "anna@example.com:x"},
		}},
		{"userset behind an id with @", "doc:1#viewer@group:a@b#member", Tuple{
			Object: ObjectName{"doc", "1"}, Relation: "viewer", Subject: SubjectName{Type: "group", ID: "a@b", Relation: "member"},
		}},
		{"case and normal forms are kept", "doc:E\u0301#viewer@user:\u00c9", Tuple{
			Object: ObjectName{"doc", "E\u0301"}, Relation: "viewer", Subject: SubjectName{Type: "user", ID: "\u00c9"},
		}},
		{"the longest id", "doc:" + long + "#viewer@user:a", Tuple{
			Object: ObjectName{"doc", long}, Relation: "viewer", Subject: SubjectName{Type: "user", ID: "a"},
		}},
		{"white space that is not a space", "doc:a\u00a0b#viewer@user:\u3000c", Tuple{
			Object: ObjectName{"doc", "a\u00a0b"}, Relation: "viewer", Subject: SubjectName{Type: "user", ID: "\u3000c"},
		}},
		{"the longest names are counted in characters", strings.Repeat("é", MaxType) + ":1#" + strings.Repeat("ü", MaxRelation) + "@user:a", Tuple{
			Object: ObjectName{strings.Repeat("é", MaxType), "1"}, Relation: strings.Repeat("ü", MaxRelation), Subject: SubjectName{Type: "user", ID: "a"},
		}},
		{"a star within an id", "doc:a*#viewer@user:**", Tuple{
			Object: ObjectName{"doc", "a*"}, Relation: "viewer", Subject: SubjectName{Type: "user", ID: "**"},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseTuple(c.text)
			if err != nil {
				t.Fatalf("ParseTuple(%q): %v", c.text, err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("ParseTuple(%q) (-want +got):\n%s", c.text, diff)
			}
			if got.String() != c.text {
				t.Errorf("String() = %q, want %q", got, c.text)
			}
		})
	}
}

func TestParseTupleRefuses(t *testing.T) {
	for _, c := range []struct{ name, text, field, says string }{
		{"nothing", "", "tuple", "no '#'"},
		{"no relation", "doc:1", "tuple", "no '#'"},
		{"no subject", "doc:1#viewer", "tuple", "no '@'"},
		{"no type", "1#viewer@user:a", "object", "no type"},
		{"empty type", ":1#viewer@user:a", "object", "type before the ':' is empty"},
		{"empty id", "doc:#viewer@user:a", "object", "id behind the ':' is empty"},
		{"empty relation", "doc:1#@user:a", "relation", "empty"},
		{"empty subject", "doc:1#viewer@", "subject", "no type"},
		{"empty subject relation", "doc:1#viewer@group:a#", "subject", "no relation follows"},
		{"wildcard object", "doc:*#viewer@user:a", "object", "cannot be a wildcard"},
		{"wildcard userset", "doc:1#viewer@group:*#member", "subject", "wildcard has no relations"},
		{"two relations", "doc:1#viewer@group:a#b#c", "subject", "relation contains \"#\""},
		{"space", "doc:a b#viewer@user:a", "object", "a space"},
		{"end of a line", "doc:a\nb#viewer@user:a", "object", "control character"},
		{"control", "doc:1#viewer@user:a\x00", "subject", "control character"},
		{"not UTF-8", "doc:1#viewer@user:a\xff", "subject", "not valid UTF-8 at byte 1"},
		{"too long", "doc:" + strings.Repeat("x", MaxIDBytes+1) + "#viewer@user:a", "object", "1017 bytes, at most 1016"},
		{"long relation", "doc:1#" + strings.Repeat("r", MaxRelation+1) + "@user:a", "relation", "51 characters, at most 50"},
		{"long type", strings.Repeat("t", MaxType+1) + ":1#r@user:a", "object", "255 characters, at most 254"},
		{"space in a relation", "doc:1#vie wer@user:a", "relation", "contains \" \""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseTuple(c.text)
			var fault *TupleError
			if !errors.As(err, &fault) || !errors.Is(err, ErrInvalid) {
				t.Fatalf("ParseTuple(%q) = %v, want a *TupleError that is ErrInvalid", c.text, err)
			}
			if fault.Field != c.field || !strings.Contains(fault.Reason, c.says) {
				t.Errorf("ParseTuple(%q) = %s: %s, want %s: …%s…", c.text, fault.Field, fault.Reason, c.field, c.says)
			}
			if len(err.Error()) > 300 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

func TestParseObjectAndSubject(t *testing.T) {
	if o, err := ParseObject("doc:a:b"); err != nil || o != (ObjectName{"doc", "a:b"}) {
		t.Errorf("ParseObject(doc:a:b) = %v, %v", o, err)
	}
	if _, err := ParseObject("doc:a#b"); !errors.Is(err, ErrInvalid) {
		t.Errorf("ParseObject(doc:a#b) = %v, want ErrInvalid", err)
	}
	if s, err := ParseSubject("user:*"); err != nil || !s.IsWildcard() {
		t.Errorf("ParseSubject(user:*) = %v, %v", s, err)
	}
	if s, err := ParseSubject("group:a:b#member"); err != nil || s != (SubjectName{"group", "a:b", "member"}) {
		t.Errorf("ParseSubject(group:a:b#member) = %v, %v", s, err)
	}
}

// FuzzParseTuple: what is accepted is printed as it was read.
func FuzzParseTuple(f *testing.F) {
	for _, seed := range []string{"doc:1#viewer@user:a", "doc:a@b#r@group:x:y#m", "a:b#c@d:*", "doc:\xff#r@u:\u0301"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseTuple(text)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("ParseTuple(%q) = %v, want ErrInvalid", text, err)
			}
			return
		}
		if got.String() != text {
			t.Fatalf("ParseTuple(%q).String() = %q", text, got)
		}
		if err := got.Validate(); err != nil {
			t.Fatalf("Validate(%q) = %v", text, err)
		}
	})
}

func TestParsingNamesDoesNotAllocate(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() {
		if _, err := ParseObject("document:plan"); err != nil {
			t.Fatal(err)
		}
		if _, err := ParseSubject("group:eng#member"); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("parsing an object and a subject allocates %v times, want 0", n)
	}
}
