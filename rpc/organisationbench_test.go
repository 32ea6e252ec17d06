package rpc

import (
	"fmt"
	"testing"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// BenchmarkOrganisationChange is a change of one entity, planned, replicated by a lone node
// that syncs nothing, and applied, beside a plain write of one tuple.
func BenchmarkOrganisationChange(b *testing.B) {
	r := newWorld(b)
	plain := r.rig.store("plain")
	b.Run("tuple", func(b *testing.B) {
		i := 0
		for b.Loop() {
			r.write(plain, fmt.Sprintf("document:d%d#owner@user:ann", i))
			i++
		}
	})
	b.Run("rule", func(b *testing.B) {
		level := toView
		for b.Loop() {
			level = toView + toEdit - level
			r.change("", putOf(aRule(&remitv1.SharingRule{Id: "r1", Level: level}), "level"))
		}
	})
	b.Run("rule by a seat", func(b *testing.B) {
		level := toView
		for b.Loop() {
			level = toView + toEdit - level
			r.change("data_sharing", putOf(aRule(&remitv1.SharingRule{Id: "r1", Level: level}), "level"))
		}
	})
	b.Run("record", func(b *testing.B) {
		i := 0
		for b.Loop() {
			r.change("cid", putOf(aRecord(&remitv1.Record{Module: "deal", Id: "d1", Fields: someFields(b, map[string]any{"amount": float64(i)})}), "fields.amount"))
			i++
		}
	})
}
