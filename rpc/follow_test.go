package rpc

import (
	"testing"
)

func TestRigOfClusters(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFleet(t, 1, 3, 1)
		store := f.leader().store("acme")
		for _, m := range f.all {
			token := m.write(store, "document:"+m.ID+"#owner@user:anna")
			if !m.check(scopeOf(store), "document:"+m.ID+"#viewer@user:anna") {
				t.Errorf("node %s does not see its own write %s", m.ID, token)
			}
		}
		f.wantSameState()
	})
}
