package backend

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/rpc/identity"
)

// The form of keys is in people's files and in the patterns of scanners: it never changes.
func TestKeyForm(t *testing.T) {
	const text = "remit_01ARZ3NDEKTSV4RRFFQ69G5FAV_00000000000000000000000000000000000000000000000000013XJHRV2"
	form := regexp.MustCompile(`^remit_[0-9A-HJKMNP-TV-Z]{26}_[0-9A-HJKMNP-TV-Z]{59}$`)
	id, err := fsm.ParseStoreID("01ARZ3NDEKTSV4RRFFQ69G5FAV")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for range 1000 {
		key, hash := newSecret(id)
		if !form.MatchString(key) || seen[key] {
			t.Fatalf("a new key is %s", key)
		}
		seen[key] = true
		if got, err := parseKey(key); err != nil || got != id.String() || hashSecret(key) != hash {
			t.Fatalf("parseKey(%s) = %s, %v", key, got, err)
		}
	}
	if got, err := parseKey(text); err != nil || got != id.String() {
		check := checksum(text[:keyLength-checkBits])
		t.Errorf("parseKey(%s) = %s, %v; it ends with %s", text, got, err, check[:])
	}
}

// Numbers are written as ids are: a key's id and its secret look alike.
func TestBase32IsThatOfIDs(t *testing.T) {
	id, err := fsm.ParseStoreID("01ARZ3NDEKTSV4RRFFQ69G5FAV")
	if err != nil {
		t.Fatal(err)
	}
	if got := string(appendBase32(nil, id[:], keyIDLength)); got != id.String() {
		t.Errorf("appendBase32(%s) = %s", id, got)
	}
}

// Every slip of one character is told from a key of others.
func TestSlipsOfKeys(t *testing.T) {
	id, err := fsm.ParseStoreID("01ARZ3NDEKTSV4RRFFQ69G5FAV")
	if err != nil {
		t.Fatal(err)
	}
	key, _ := newSecret(id)
	for i := len(keyPrefix); i < len(key); i++ {
		for _, c := range keyAlphabet + "iloua_ " {
			slip := key[:i] + string(c) + key[i+1:]
			if slip == key {
				continue
			}
			if _, err := parseKey(slip); !errors.Is(err, identity.ErrUnauthenticated) || strings.Contains(err.Error(), slip[40:]) {
				t.Errorf("parseKey(%s) = %v", slip, err)
			}
		}
		if i > 0 && key[i-1] != key[i] {
			swapped := key[:i-1] + key[i:i+1] + key[i-1:i] + key[i+1:]
			if _, err := parseKey(swapped); err == nil {
				t.Errorf("parseKey(%s), with two characters swapped, is a key", swapped)
			}
		}
	}
	for _, other := range []string{"", "remit", "eyJhbGciOiJSUzI1NiJ9.e30.c2ln", "fga_abc"} {
		if _, err := parseKey(other); !errors.Is(err, identity.ErrNotMine) {
			t.Errorf("parseKey(%q) = %v, want %v", other, err, identity.ErrNotMine)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	id, err := fsm.ParseStoreID("01ARZ3NDEKTSV4RRFFQ69G5FAV")
	if err != nil {
		f.Fatal(err)
	}
	key, _ := newSecret(id)
	f.Add(key)
	f.Add(key[:50])
	f.Add("remit_")
	f.Fuzz(func(t *testing.T, text string) {
		id, err := parseKey(text)
		switch {
		case err == nil && (len(text) != keyLength || !strings.Contains(text, id)):
			t.Errorf("parseKey(%q) = %q", text, id)
		case err != nil && !errors.Is(err, identity.ErrNotMine) && !errors.Is(err, identity.ErrUnauthenticated):
			t.Errorf("parseKey(%q): %v", text, err)
		}
	})
}

// Nobody has the key that is compared when there is none.
func TestAbsentKeyOpensNothing(t *testing.T) {
	if absentKey.caller != nil {
		t.Error("the absent key has a caller")
	}
}
