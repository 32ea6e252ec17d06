package gatetest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// An Issuer is an identity provider over HTTP, with discovery.
type Issuer struct {
	*httptest.Server
	Fetches atomic.Int64 // of its keys
	Down    atomic.Bool  // it answers nothing of use

	t    testing.TB
	mu   sync.Mutex
	keys []jose.JSONWebKey // private
}

// NewIssuer makes an issuer with one key for each name: RS256, ES256 or EdDSA, which also is
// the key's id.
func NewIssuer(t testing.TB, names ...jose.SignatureAlgorithm) *Issuer {
	t.Helper()
	i := &Issuer{t: t}
	for _, name := range names {
		i.keys = append(i.keys, NewKey(t, name, string(name)))
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		if i.Down.Load() {
			http.Error(w, "the issuer is down", http.StatusServiceUnavailable)
			return
		}
		answer(w, map[string]any{"issuer": i.URL, "jwks_uri": i.URL + "/keys", "id_token_signing_alg_values_supported": []string{"RS256"}})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		i.Fetches.Add(1)
		i.mu.Lock()
		defer i.mu.Unlock()
		set := jose.JSONWebKeySet{}
		for _, k := range i.keys {
			set.Keys = append(set.Keys, k.Public())
		}
		answer(w, set)
	})
	i.Server = httptest.NewUnstartedServer(mux)
	i.Start() // not before it is known what its handlers answer with: its URL
	t.Cleanup(i.Close)
	return i
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// NewKey draws a private key for an algorithm.
func NewKey(t testing.TB, algorithm jose.SignatureAlgorithm, id string) jose.JSONWebKey {
	t.Helper()
	var key crypto.Signer
	var err error
	switch algorithm {
	case jose.RS256:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case jose.ES256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jose.EdDSA:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		t.Fatalf("no key is drawn for %s", algorithm)
	}
	if err != nil {
		t.Fatal(err)
	}
	return jose.JSONWebKey{Key: key, KeyID: id, Algorithm: string(algorithm), Use: "sig"}
}

// Rotate makes these the issuer's only keys.
func (i *Issuer) Rotate(keys ...jose.JSONWebKey) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = keys
}

// Key is the issuer's first key.
func (i *Issuer) Key() jose.JSONWebKey {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.keys[0]
}

// Claims are what a token says.
type Claims map[string]any

// Claims are those of a good token, valid for an hour from now on.
func (i *Issuer) Claims(subject, audience string, now time.Time) Claims {
	return Claims{"iss": i.URL, "sub": subject, "aud": audience, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
}

// Token signs claims with the issuer's first key.
func (i *Issuer) Token(claims Claims) string { return Sign(i.t, i.Key(), claims) }

// Sign signs claims with any key.
func Sign(t testing.TB, key jose.JSONWebKey, claims Claims) string {
	t.Helper()
	return SignTyped(t, key, "JWT", claims)
}

// SignTyped signs claims as a token of a type.
func SignTyped(t testing.TB, key jose.JSONWebKey, typ jose.ContentType, claims Claims) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(key.Algorithm), Key: key}, (&jose.SignerOptions{}).WithType(typ))
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(map[string]any(claims)).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// Keys are all of the issuer's.
func (i *Issuer) Keys() []jose.JSONWebKey {
	i.mu.Lock()
	defer i.mu.Unlock()
	return append([]jose.JSONWebKey(nil), i.keys...)
}
