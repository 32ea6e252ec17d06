package gate

import (
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/remit-authz/remit/rpc/gate/gatetest"
)

// What a token costs with every call, once its signature has been verified.
func BenchmarkTokenThatIsRemembered(b *testing.B) {
	issuer, clock := gatetest.NewIssuer(b, jose.RS256), newHandClock()
	key, token := issuer.Key(), issuer.Token(issuer.Claims("ann", testAudience, clock.Now()))
	o := NewOIDC(OIDCConfig{Issuer: issuer.URL, Audience: testAudience, Clock: clock.Now})
	keys := []jose.JSONWebKey{key.Public()}
	o.keys.current.Store(&keySet{keys: &keys, fetched: clock.Now(), tried: clock.Now(), next: make(chan struct{})})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := o.Authenticate(b.Context(), token); err != nil {
			b.Fatal(err)
		}
	}
}
