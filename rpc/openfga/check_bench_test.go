package openfga

import (
	"testing"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
)

// BenchmarkCheck measures what a question costs beside its evaluation: the handler
// alone, the validation of the message, and both through the dispatcher.
func BenchmarkCheck(b *testing.B) {
	r := newRig(b)
	store, _ := acme(r)
	req := &openfgav1.CheckRequest{StoreId: store, TupleKey: checkKey(b, "document:plan#viewer@user:anna")}
	b.Run("handler", func(b *testing.B) {
		s := r.handlers()
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
			if err := req.Validate(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("in-process", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if res, err := r.Check(b.Context(), req); err != nil || !res.Allowed {
				b.Fatal(res, err)
			}
		}
	})
}
