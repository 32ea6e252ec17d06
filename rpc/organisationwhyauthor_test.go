package rpc

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// A ground says who made it so, and when: as it is now, and as it was.
func TestWhyTellsWhoAndWhen(t *testing.T) {
	t.Run("one after the other", func(t *testing.T) { whyTellsWhoAndWhen(t, time.Now) })
	t.Run("all at once", func(t *testing.T) { whyTellsWhoAndWhen(t, func() time.Time { return noon }) })
}

func whyTellsWhoAndWhen(t *testing.T, now func() time.Time) {
	a := newRigAt(t, now).organisation("acme", whyTeam(), noon)
	change := func(as string, level remitv1.Level) (token string, begun time.Time) {
		t.Helper()
		begun = now().Truncate(time.Millisecond)
		res, err := a.org.Change(t.Context(), &remitv1.ChangeRequest{Store: a.store, As: as, Edits: []*remitv1.Edit{putOf(&remitv1.Entity{
			Entity: &remitv1.Entity_Rule{Rule: &remitv1.SharingRule{
				Id: "r9", Name: "Nine", Module: "deal", Source: "role:rep", Target: "user:kim", Level: level,
			}},
		})}})
		if err != nil {
			t.Fatal(err)
		}
		return res.Token, begun
	}
	ground := func(scope *remitv1.OrganisationScope, kind remitv1.Ground_Kind, entity string) *remitv1.Ground {
		t.Helper()
		res, _, err := a.why(scope, "kim", "view", "deal:d1", "")
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(res.Grounds, func(g *remitv1.Ground) bool { return g.Kind == kind && g.Entity.GetId() == entity })
		if i < 0 {
			t.Fatalf("no ground rests on %s: %v", entity, res)
		}
		return res.Grounds[i]
	}
	check := func(what string, g *remitv1.Ground, by, level string, since time.Time) {
		t.Helper()
		if g.By != by || !strings.HasSuffix(g.Text, ": "+level) || g.Since.AsTime().Before(since) || g.Since.AsTime().After(now().Add(time.Second)) {
			t.Errorf("%s: by %q since %v: %q, want by %q since about %v: %s", what, g.By, g.Since.AsTime(), g.Text, by, since, level)
		}
	}
	const rule, profile = remitv1.Ground_KIND_RULE, remitv1.Ground_KIND_PROFILE
	before, made := change("ada", remitv1.Level_LEVEL_VIEW)
	check("made", ground(a.scope(), rule, "r9"), "user:ada", "view", made)
	_, raised := change("dan", remitv1.Level_LEVEL_EDIT)
	check("raised", ground(a.scope(), rule, "r9"), "user:dan", "edit", raised)

	past := &remitv1.OrganisationScope{Store: a.store, Consistency: &remitv1.Consistency{Requirement: &remitv1.Consistency_AtExactSnapshot{AtExactSnapshot: before}}}
	check("before it was raised", ground(past, rule, "r9"), "user:ada", "view", made)

	// Applications are named to applications.
	g := ground(a.scope(), profile, "support")
	if g.By != "" || g.Since == nil {
		t.Errorf("what was written by nobody in particular: %v", g)
	}
	if g := ground(a.as("kim"), profile, "support"); g.By != anApplication || g.Since == nil {
		t.Errorf("what was written by an application, for a seat: %v", g)
	}
	if g := ground(a.as("kim"), rule, "r9"); g.By != "user:dan" {
		t.Errorf("what was written by a seat, for another: %v", g)
	}
}

// When the changelog does not go back far enough, when is still known, and who is not.
func TestWhyOfWhatTheChangelogForgot(t *testing.T) {
	a := newRig(t).organisation("acme", salesTeam(), noon)
	rule := putOf(&remitv1.Entity{Entity: &remitv1.Entity_Rule{Rule: &remitv1.SharingRule{
		Id: "r9", Name: "Nine", Module: "deal", Source: "role:rep", Target: "user:kim", Level: remitv1.Level_LEVEL_VIEW,
	}}})
	if _, err := a.org.Change(t.Context(), &remitv1.ChangeRequest{Store: a.store, As: "ada", Edits: []*remitv1.Edit{rule}}); err != nil {
		t.Fatal(err)
	}
	ground := func() *remitv1.Ground {
		t.Helper()
		res, _, err := a.why(a.scope(), "kim", "view", "deal:d1", "")
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(res.Grounds, func(g *remitv1.Ground) bool { return g.Entity.GetId() == "r9" })
		if i < 0 {
			t.Fatalf("no ground rests on the rule: %v", res)
		}
		return res.Grounds[i]
	}
	known := ground()
	later := putOf(&remitv1.Entity{Entity: &remitv1.Entity_Group{Group: &remitv1.Group{Id: "g", Name: "G"}}})
	if _, err := a.org.Change(t.Context(), &remitv1.ChangeRequest{Store: a.store, As: "ada", Edits: []*remitv1.Edit{later}}); err != nil {
		t.Fatal(err)
	}
	head, err := backend.FindStore(t.Context(), a.config.State.Current(), "store", a.store)
	if err != nil {
		t.Fatal(err)
	}
	a.done(&fsm.Command{Store: head.ID(), Body: &fsm.AdvanceHistory{Horizon: a.config.State.Current().Revision()}})
	forgotten := ground()
	if known.By != "user:ada" || forgotten.By != "" || !known.Since.AsTime().Equal(forgotten.Since.AsTime()) {
		t.Errorf("the ground is known as %v, and later as %v", known, forgotten)
	}
}
