package rpc

import (
	"testing"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/limit"
)

// sharedChecks are a Check on a server that shares its processors, and one on a server that
// does not.
func sharedChecks(t testing.TB) map[string]*directCheck {
	r := newRig(t)
	store := r.store("acme", acme...)
	checks := map[string]*directCheck{}
	for name, limits := range map[string]limit.Config{"no limits": {Concurrency: limit.Unlimited}, "shares": {}} {
		config := r.config
		config.Limits = limits
		checks[name] = &directCheck{server: NewConnectServer(config), request: &remitv1.CheckRequest{
			Scope: scopeOf(store), Question: &remitv1.Question{Object: "document:plan", Relation: "reader", Subject: "user:olga"},
		}}
	}
	return checks
}

// BenchmarkShares is what it costs a Check to have its turn when nobody else wants one.
func BenchmarkShares(b *testing.B) {
	for name, check := range sharedChecks(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				check.ask(b)
			}
		})
	}
}
