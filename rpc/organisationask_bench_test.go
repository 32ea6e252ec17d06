package rpc

import (
	"testing"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// canAndCheck are a question to an organisation, and what it comes to as one about a relation.
func canAndCheck(a *askedOrganisation) (*remitv1.CanRequest, *remitv1.CheckRequest) {
	can := &remitv1.CanRequest{Scope: a.scope(), Deed: &remitv1.Deed{User: "mia", Action: "edit", On: "deal:d1"}}
	check := &remitv1.CheckRequest{
		Scope:    &remitv1.Scope{Store: a.store, At: can.Scope.At},
		Question: &remitv1.Question{Object: "deal:d1", Relation: "can_edit", Subject: "user:mia"},
	}
	return can, check
}

// BenchmarkCan sets a question to an organisation beside a Check of the relation that decides
// it: the handlers alone, and through the dispatcher.
func BenchmarkCan(b *testing.B) {
	a := newRig(b).organisation("acme", salesTeam(), noon)
	can, check := canAndCheck(a)
	access, org := &accessService{reader: a.reader()}, &organisationService{streamer: streamer{reader: a.reader()}}
	b.Run("handler/can", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if res, err := org.Can(b.Context(), can); err != nil || !res.Allowed {
				b.Fatal(res, err)
			}
		}
	})
	b.Run("handler/check", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if res, err := access.Check(b.Context(), check); err != nil || !res.Allowed {
				b.Fatal(res, err)
			}
		}
	})
	b.Run("in-process/can", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if res, err := a.org.Can(b.Context(), can); err != nil || !res.Allowed {
				b.Fatal(res, err)
			}
		}
	})
	b.Run("in-process/check", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if res, err := a.access.Check(b.Context(), check); err != nil || !res.Allowed {
				b.Fatal(res, err)
			}
		}
	})
}
