package crm

import (
	"testing"

	"github.com/remit-authz/remit/graph"
)

// TestWhatPanelsRememberIsBounded: where everybody is on a panel, each crowd that it meets
// leaves a bitmap of all users behind, and there can be as many crowds as there are roles.
func TestWhatPanelsRememberIsBounded(t *testing.T) {
	const users = 64_000
	w := &previewWorld{users: make([]graph.ID, users)}
	everybody := make([]uint32, users)
	for i := range everybody {
		everybody[i] = uint32(i)
	}
	w.all = newCrowdMaker(users, 0).ofList(everybody)
	r := &previewRun{previewWorld: w, shape: &previewShape{}, spread: &previewSpread{}, bounds: PreviewBounds{}.withDefaults()}
	p := newPreviewPass(t.Context(), r, 1)
	most := 0
	for i := range uint32(3 * maxPanelBytes / (users / 8)) {
		p.crew.seat(w.all)
		row := p.crew.leaf(p.maker.ofList([]uint32{i % users, (i + 1) % users}))
		if row == nil || row[i%users>>6]&(1<<(i%64)) == 0 {
			t.Fatalf("user %d is not in the row of their crowd", i%users)
		}
		most = max(most, len(p.crew.leaves)*users/8)
		if err := p.do(ownerWork{}); err != nil {
			t.Fatal(err)
		}
	}
	if most > maxPanelBytes+users {
		t.Errorf("rows of a panel take %d MiB, at most %d are meant", most>>20, maxPanelBytes>>20)
	}
}
