package crm

import (
	"errors"
	"testing"
)

func TestPartiesHaveATextAndAreReadFromIt(t *testing.T) {
	for text, p := range map[string]Party{
		"user:ann": {Kind: User, ID: "ann"}, "role:rep": {Kind: HoldersOf, ID: "rep"},
		"role-and-subordinates:a:b": {Kind: RoleAndSubordinates, ID: "a:b"}, "group:emea": {Kind: MembersOf, ID: "emea"},
		"everyone": {Kind: Everyone},
	} {
		if got := p.Text(); got != text {
			t.Errorf("%v.Text() = %q, want %q", p, got, text)
		}
		if got, err := ParseParty(text); err != nil || got != p {
			t.Errorf("ParseParty(%q) = %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "user", "user:", "team:x", "everyone:x", "group:a b", "user:*"} {
		if p, err := ParseParty(text); !errors.Is(err, ErrInvalid) {
			t.Errorf("ParseParty(%q) = %v, %v, want ErrInvalid", text, p, err)
		}
	}
}

// FuzzParty shows that text which is read as a party is its text.
func FuzzParty(f *testing.F) {
	for _, text := range []string{"user:ann", "role-and-subordinates:a:b", "group:", "everyone", "everyone:", "role:*"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if p, err := ParseParty(text); err == nil && p.Text() != text {
			t.Errorf("ParseParty(%q).Text() = %q", text, p.Text())
		}
	})
}
