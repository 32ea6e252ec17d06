package rpc

import (
	"testing"

	"buf.build/go/protovalidate"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// BenchmarkCheck measures what a question costs beside its evaluation: the handler
// alone, the validation of the message, and both through the dispatcher.
func BenchmarkCheck(b *testing.B) {
	r := newRig(b)
	store := r.store("acme", acme...)
	req := &remitv1.CheckRequest{
		Scope: scopeOf(store), Question: &remitv1.Question{Object: "document:plan", Relation: "reader", Subject: "user:olga"},
	}
	b.Run("handler", func(b *testing.B) {
		s := &accessService{reader: r.reader()}
		b.ReportAllocs()
		for b.Loop() {
			if res, err := s.Check(b.Context(), req); err != nil || !res.Allowed {
				b.Fatal(res, err)
			}
		}
	})
	b.Run("validation", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := protovalidate.Validate(req); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("in-process", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if res, err := r.access.Check(b.Context(), req); err != nil || !res.Allowed {
				b.Fatal(res, err)
			}
		}
	})
}
