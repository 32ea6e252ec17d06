package crm_test

import (
	"testing"

	"github.com/remit-authz/remit/graph/crm"
)

// leastLoaded gives a deal to whoever of some owns the fewest.
func leastLoaded(t *testing.T, s *crm.Managed, record int, among ...string) (*crm.Turn, *crm.Plan) {
	t.Helper()
	turn, plan, err := s.Assign(t, crm.Offer{Record: deal(record), Among: parties(t, among...), Order: crm.LeastLoaded, IgnoreShifts: true})
	if err != nil {
		t.Fatal(err)
	}
	return turn, plan
}

func owned(owners ...string) *crm.Organisation {
	o := desk(len(owners))
	for i, owner := range owners {
		o.Records[i].Owner = owner
	}
	for i := range o.Profiles { // so that records can be shared
		o.Profiles[i].Modules = map[string]crm.Permissions{"deal": crm.PermissionView}
	}
	return o
}

// The record that is given is nobody's load: whoever has it keeps it unless somebody else has
// less without it, and so it goes to and fro between nobody.
func TestARecordIsNoLoadOfWhoHasIt(t *testing.T) {
	for _, tt := range []struct {
		name   string
		owners []string // of the deals, of which the first is given
		want   string
	}{
		{"who has nothing else keeps it", []string{"a1", "a0"}, "a1"},
		{"who has more hands it over", []string{"a1", "a1", "a1", "a0"}, "a0"},
		{"of those with as much the first gets it", []string{"a1", "a1", "a0"}, "a0"},
		{"and keeps it", []string{"a0", "a1", "a0"}, "a0"},
	} {
		s := crm.Manage(t, owned(tt.owners...))
		for range 2 {
			turn, plan := leastLoaded(t, s, 0, "user:a0", "user:a1")
			if turn.Owner != tt.want {
				t.Errorf("%s: it is given to %s, want %s", tt.name, turn.Owner, tt.want)
			}
			if err := s.Commit(t, plan); err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
		}
	}
}

// A choice of the least loaded is made again if anybody of them comes to own another record or
// gives one up before it is carried out, be it that the record stays shared with them or is
// the one that is given.
func TestTheLeastLoadedAreThoseOfNow(t *testing.T) {
	share := func(to string) []crm.Share {
		return []crm.Share{{To: crm.Party{Kind: crm.User, ID: to}, Level: crm.LevelView}}
	}
	for _, tt := range []struct {
		name   string
		before crm.Record // in place of the one of this id
		after  crm.Record
	}{
		{"gives one up", crm.Record{ID: "1", Owner: "a0"}, crm.Record{ID: "1", Owner: "ada"}},
		{"gets one", crm.Record{ID: "1", Owner: "ada"}, crm.Record{ID: "1", Owner: "a0"}},
		{"gives one up that stays shared", crm.Record{ID: "1", Owner: "a0"}, crm.Record{ID: "1", Owner: "ada", Shares: share("a0")}},
		{"gets one that was shared", crm.Record{ID: "1", Owner: "ada", Shares: share("a0")}, crm.Record{ID: "1", Owner: "a0"}},
		{"changes with one who had a share", crm.Record{ID: "1", Owner: "ada", Shares: share("a0")}, crm.Record{ID: "1", Owner: "a0", Shares: share("ada")}},
		{"gives up the one that is given", crm.Record{ID: "0", Owner: "a0"}, crm.Record{ID: "0", Owner: "ada"}},
		{"gets the one that is given", crm.Record{ID: "0", Owner: "ada"}, crm.Record{ID: "0", Owner: "a0"}},
		{"gives up the one that is given, and it stays shared", crm.Record{ID: "0", Owner: "a0"}, crm.Record{ID: "0", Owner: "ada", Shares: share("a0")}},
	} {
		o := owned("ada", "ada", "a1")
		tt.before.Module, tt.after.Module = "deal", "deal"
		for i := range o.Records {
			if o.Records[i].Ref() == tt.before.Ref() {
				o.Records[i] = tt.before
			}
		}
		s := crm.Manage(t, o)
		_, plan := leastLoaded(t, s, 0, "user:a0", "user:a1")
		d := s.Draft()
		if err := d.Put(&tt.after, nil); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		change, err := d.Plan()
		if err == nil {
			err = s.Commit(t, change)
		}
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if s.Conflict(plan) == nil {
			t.Errorf("a candidate %s, and the choice is carried out all the same", tt.name)
		}
	}
}
