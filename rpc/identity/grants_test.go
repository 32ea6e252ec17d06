package identity

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestPermissionsRoundTrip(t *testing.T) {
	for p := Permissions(1); p <= everything; p++ {
		got, err := ParsePermissions(p.String())
		if err != nil || got != p {
			t.Errorf("ParsePermissions(%s) = %v, %v, want %v", p, got, err, p)
		}
	}
	for _, text := range []string{"", "reed", "read,", "Read", "read, write"} {
		if p, err := ParsePermissions(text); !errors.Is(err, ErrGrant) {
			t.Errorf("ParsePermissions(%q) = %v, %v, want %v", text, p, err, ErrGrant)
		}
	}
}

// A fact is one permission on one store, or on the cluster: the plain way to say what
// grants permit is to list them all.
type fact struct {
	store Store
	what  Permissions // 0: the grant cluster
}

var testStores = []Store{{1}, {2}, {3}}

// unmade stands for every store that grants do not name.
var unmade = Store{9}

// facts lists all that grants permit.
func facts(g *Grants) map[fact]bool {
	all := map[fact]bool{}
	permit := func(store Store, p Permissions) {
		for _, what := range []Permissions{Read, Write, Model, Admin} {
			if p&what != 0 {
				all[fact{store, what}] = true
				if what == Admin {
					all[fact{store, Read}], all[fact{store, Write}], all[fact{store, Model}] = true, true, true
				}
			}
		}
	}
	for _, store := range append(slices.Clone(testStores), unmade) {
		permit(store, g.All)
		if g.Cluster {
			permit(store, Admin)
		}
	}
	for store, p := range g.Stores {
		permit(store, p)
	}
	if g.Cluster {
		all[fact{}] = true
	}
	return all
}

func randomGrants(r *rand.Rand) Grants {
	var g Grants
	g.Cluster = r.IntN(8) == 0
	if r.IntN(3) == 0 {
		g.All = Permissions(r.IntN(16))
	}
	for _, store := range testStores {
		if r.IntN(2) == 0 {
			if g.Stores == nil {
				g.Stores = map[Store]Permissions{}
			}
			g.Stores[store] = Permissions(r.IntN(16))
		}
	}
	return g
}

// What grants permit, give away and lose is what the list of facts says.
func TestGrantsAgainstPlainFacts(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 0))
	for range 5_000 {
		a, b := randomGrants(r), randomGrants(r)
		mine, others := facts(&a), facts(&b)
		for _, store := range append(slices.Clone(testStores), unmade) {
			for need := Permissions(1); need <= everything; need++ {
				want := true
				for _, what := range []Permissions{Read, Write, Model, Admin} {
					want = want && (need&what == 0 || mine[fact{store, what}])
				}
				if got := a.On(store).Has(need); got != want {
					t.Fatalf("seed %d: %+v permits %s on %x = %v, want %v", seed, a, need, store[0], got, want)
				}
			}
		}

		// One may give what lies where one administers; on stores to come, one must
		// administer those too.
		want := true
		for f := range others {
			want = want && (f.what == 0 && mine[fact{}] || f.what != 0 && mine[fact{f.store, Admin}])
		}
		if got := a.Includes(&b); got != want {
			t.Fatalf("seed %d: %+v includes %+v = %v, want %v", seed, a, b, got, want)
		}

		u := a.Union(b)
		both := maps.Clone(mine)
		maps.Copy(both, others)
		if !maps.Equal(facts(&u), both) {
			t.Fatalf("seed %d: the union of %+v and %+v is %+v", seed, a, b, u)
		}
		if got, want := a.None(), len(mine) == 0; got != want {
			t.Fatalf("seed %d: %+v is none = %v, want %v", seed, a, got, want)
		}

		// A lasting call loses what it was permitted and the new grants do not have.
		call := &Call{Caller: &Caller{Principal: "key:x", Grants: a}, Need: []Permissions{Read, Write, Model, Admin}[r.IntN(4)], Lasting: true}
		ctx := WithCall(context.Background(), call)
		lost := false
		for _, store := range testStores {
			if err := Authorize(ctx, store); (err == nil) != mine[fact{store, call.Need}] {
				t.Fatalf("seed %d: Authorize = %v", seed, err)
			} else if err == nil && !others[fact{store, call.Need}] {
				lost = true
			}
		}
		if err := call.Lost(&b); (err != nil) != lost {
			t.Fatalf("seed %d: from %+v to %+v, %s: lost = %v, want %v", seed, a, b, call.Need, err, lost)
		}
	}
}

func TestWithoutCallEverythingIsPermitted(t *testing.T) {
	ctx := t.Context()
	if err := Authorize(ctx, Store{1}); err != nil || !Permitted(ctx, Store{1}) || !Visible(ctx, Store{1}) || Principal(ctx) != "" {
		t.Errorf("a context without a call: %v", err)
	}
}

func TestCallThatNeedsNothingOpensNothing(t *testing.T) {
	call := &Call{Caller: &Caller{Principal: "root", Grants: Grants{Cluster: true}}}
	ctx := WithCall(t.Context(), call)
	if err := Authorize(ctx, Store{1}); !errors.Is(err, ErrForbidden) {
		t.Errorf("Authorize = %v, want %v", err, ErrForbidden)
	}
	if !call.Asked() {
		t.Error("the call was judged, and does not say so")
	}
}
