//go:build !race

package rpc

import "testing"

// A question to an organisation costs no memory beyond what a Check of its relation does.
// The race detector's sync.Pool drops what it is given at random, hence the build tag.
func TestCanAllocatesNoMoreThanCheck(t *testing.T) {
	a := newRig(t).organisation("acme", salesTeam(), noon)
	can, check := canAndCheck(a)
	access, org := &accessService{reader: a.reader()}, &organisationService{streamer: streamer{reader: a.reader()}}
	asked := testing.AllocsPerRun(500, func() {
		if res, err := org.Can(t.Context(), can); err != nil || !res.Allowed {
			t.Fatal(res, err)
		}
	})
	checked := testing.AllocsPerRun(500, func() {
		if res, err := access.Check(t.Context(), check); err != nil || !res.Allowed {
			t.Fatal(res, err)
		}
	})
	if asked > checked {
		t.Errorf("Can allocates %v times, Check %v times", asked, checked)
	}
}
