package token

import (
	"errors"
	"flag"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write golden files anew")

var tokens = []struct {
	name  string
	token Token
}{
	{"zero", Token{}},
	{"first", Token{Epoch: testEpoch(1), Revision: 1}},
	{"middle", Token{Epoch: testEpoch(0x5a), Revision: 123_456_789}},
	{"last", Token{Epoch: testEpoch(0xff), Revision: math.MaxUint64, Counter: math.MaxUint64}},
}

func testEpoch(b byte) (e [16]byte) {
	for i := range e {
		e[i] = b + byte(i)
	}
	return e
}

// Clients store tokens: those of old releases must be understood for ever.
func TestTokensStayAsTheyWere(t *testing.T) {
	var lines []string
	for _, tc := range tokens {
		lines = append(lines, tc.name+" "+tc.token.String())
	}
	golden(t, "tokens", strings.Join(lines, "\n")+"\n")
	for line := range strings.Lines(readGolden(t, "tokens")) {
		name, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		got, err := Parse(text)
		if err != nil {
			t.Errorf("Parse(%s): %v", name, err)
		}
		for _, tc := range tokens {
			if tc.name == name && got != tc.token {
				t.Errorf("Parse(%s) = %+v, want %+v", name, got, tc.token)
			}
		}
	}
}

func TestAnAlteredTokenIsRefused(t *testing.T) {
	for _, tc := range tokens {
		text := tc.token.String()
		altered := []string{"", text[1:], text[:len(text)-1], text + "A", text + "=", text + "\n", " " + text, text[:10] + "\r\n" + text[10:]}
		for i := range text {
			c := byte('A')
			if text[i] == 'A' {
				c = 'B'
			}
			altered = append(altered, text[:i]+string(c)+text[i+1:])
		}
		for _, a := range altered {
			if got, err := Parse(a); !errors.Is(err, ErrInvalid) {
				t.Errorf("Parse(%q) = %+v, %v, want ErrInvalid (made from %q)", a, got, err, text)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, tc := range tokens {
		f.Add(tc.token.String())
	}
	f.Fuzz(func(t *testing.T, s string) {
		token, err := Parse(s)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("Parse(%q): %v, want ErrInvalid", s, err)
			}
			return
		}
		if got := token.String(); got != s {
			t.Fatalf("Parse(%q).String() = %q", s, got)
		}
	})
}

func BenchmarkToken(b *testing.B) {
	token := Token{Epoch: testEpoch(7), Revision: uint64(1 << 40)}
	b.ReportAllocs()
	for b.Loop() {
		_ = token.String()
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(filepath.Join("testdata", name), []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if want := readGolden(t, name); got != want {
		t.Errorf("testdata/%s:\n got %s\nwant %s", name, got, want)
	}
}

func readGolden(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
