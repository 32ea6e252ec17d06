package rpc

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/remit-authz/remit/graph"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

var cursors = []cursor{
	{kind: cursorStores, position: []byte("0123456789abcdef"), request: 1},
	{
		kind: cursorObjects, epoch: testEpoch(3), store: testEpoch(9), revision: 1 << 40,
		at: time.Date(2026, 3, 29, 1, 30, 0, 7, time.UTC), model: "01J0000000000000000000000",
		position: appendSubject(nil, graph.Subject{ID: graph.MakeID(3, 4), Relation: 5}), request: 1 << 63,
	},
	{kind: cursorTuples, at: time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC), position: []byte{}},
	{kind: cursorTuples, at: time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC), position: []byte{1}},
}

func TestCursorsRoundTrip(t *testing.T) {
	for i, want := range cursors {
		got, err := parseCursor(want.String(), want.kind, want.request)
		if err != nil {
			t.Errorf("cursor %d: %v", i, err)
			continue
		}
		if diff := cmp.Diff(want, *got, cmp.AllowUnexported(cursor{})); diff != "" {
			t.Errorf("cursor %d (-want +got):\n%s", i, diff)
		}
	}
}

func TestAnAlteredCursorIsRefused(t *testing.T) {
	for _, c := range cursors {
		text := c.String()
		if _, err := parseCursor(text, c.kind+1, c.request); !errors.Is(err, ErrCursor) {
			t.Errorf("cursor of another kind: %v, want ErrCursor", err)
		}
		if _, err := parseCursor(text, c.kind, c.request+1); !errors.Is(err, ErrCursor) {
			t.Errorf("cursor of another request: %v, want ErrCursor", err)
		}
		for i := range text {
			b := []byte(text)
			if b[i]++; b[i] == '{' {
				b[i] = 'a'
			}
			for _, a := range []string{string(b), text[:i], text[:i] + "\n" + text[i:]} {
				if _, err := parseCursor(a, c.kind, c.request); !errors.Is(err, ErrCursor) {
					t.Errorf("parseCursor(%q): %v, want ErrCursor", a, err)
				}
			}
		}
	}
}

func TestTheFingerprintKnowsEveryField(t *testing.T) {
	requests := []*remitv1.ListObjectsRequest{
		{Type: "document", Relation: "viewer", Subject: "user:anna"},
		{Type: "document", Relation: "viewer", Subject: "user:bert"},
		{Type: "document", Relation: "viewer", Subject: "user:anna", Scope: &remitv1.Scope{Store: "acme"}},
		{Type: "document", Relation: "viewer", Subject: "user:anna", Scope: &remitv1.Scope{Store: "acme", ModelId: "1"}},
	}
	seen := map[uint64]int{}
	for i, request := range requests {
		sum, err := fingerprint(request)
		if err != nil {
			t.Fatal(err)
		}
		if j, ok := seen[sum]; ok {
			t.Errorf("requests %d and %d have one fingerprint", i, j)
		}
		seen[sum] = i
	}
}

func FuzzDecodeCursor(f *testing.F) {
	for _, c := range cursors {
		f.Add(c.String())
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := decodeCursor(s)
		if err != nil {
			if !errors.Is(err, ErrCursor) {
				t.Fatalf("decodeCursor(%q): %v, want ErrCursor", s, err)
			}
			return
		}
		if got := c.String(); got != s {
			t.Fatalf("decodeCursor(%q).String() = %q", s, got)
		}
	})
}

func testEpoch(b byte) (e [16]byte) {
	for i := range e {
		e[i] = b + byte(i)
	}
	return e
}
