package gate

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/remit-authz/remit/rpc/gate/gatetest"
	"github.com/remit-authz/remit/rpc/identity"
)

// A handClock is moved by hand.
type handClock struct {
	mu  sync.Mutex
	now time.Time
}

func newHandClock() *handClock { return &handClock{now: time.Now().Truncate(time.Second)} }

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *handClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

const testAudience = "remit"

// runOIDC recognises the tokens of an issuer, while the test runs.
func runOIDC(t *testing.T, config OIDCConfig) *OIDC {
	t.Helper()
	if config.Audience == "" {
		config.Audience = testAudience
	}
	if err := config.Validate(); err != nil {
		t.Fatal(err)
	}
	o := NewOIDC(config)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { o.Run(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	return o
}

func TestIncompleteOIDCSettings(t *testing.T) {
	for _, test := range []struct {
		config OIDCConfig
		want   string
	}{
		{OIDCConfig{Issuer: "https://id.test"}, "oidc-issuer is given without oidc-audience"},
		{OIDCConfig{Audience: "remit"}, "oidc-audience is given without oidc-issuer"},
		{OIDCConfig{GrantsClaim: "grants"}, "oidc-grants-claim is given without oidc-issuer"},
		{OIDCConfig{SubjectClaim: "email"}, "oidc-subject-claim is given without oidc-issuer"},
		{OIDCConfig{Issuer: "id.test", Audience: "remit"}, "oidc-issuer is no URL"},
		{OIDCConfig{Issuer: "http://id.test", Audience: "remit"}, "oidc-issuer http://id.test must be https"},
		{OIDCConfig{Issuer: "https://me:canary@id.test", Audience: "remit"}, "without a password"},
	} {
		if err := test.config.Validate(); err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%+v: %v, want %s", test.config, err, test.want)
		}
	}
	for _, good := range []OIDCConfig{{}, {SubjectClaim: "sub"}, {Issuer: "https://id.test/realms/a", Audience: "remit"}, {Issuer: "http://[::1]:80", Audience: "remit"}} {
		if err := good.Validate(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
}

func TestTokensOfEveryAlgorithm(t *testing.T) {
	issuer, clock := gatetest.NewIssuer(t, jose.RS256, jose.ES256, jose.EdDSA), newHandClock()
	o := runOIDC(t, OIDCConfig{Issuer: issuer.URL, Clock: clock.Now})
	for _, key := range issuer.Keys() {
		for _, id := range []string{key.KeyID, ""} {
			key.KeyID = id
			caller, err := o.Authenticate(t.Context(), gatetest.Sign(t, key, issuer.Claims("ann", testAudience, clock.Now())))
			want := &identity.Caller{Principal: "oidc:ann", Expires: clock.Now().Add(time.Hour + leeway)}
			if diff := cmp.Diff(want, caller); err != nil || diff != "" {
				t.Errorf("%s, key id %q: %v\n%s", key.Algorithm, id, err, diff)
			}
		}
	}
	if n := issuer.Fetches.Load(); n != 1 {
		t.Errorf("the keys are fetched %d times", n)
	}
}

// changed are the claims of a good token but for some; nil leaves one out.
func changed(claims gatetest.Claims, changes gatetest.Claims) gatetest.Claims {
	for name, value := range changes {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	return claims
}

// Each is refused with its own reason, and no reason holds the token or what is in it.
func TestTokensThatAreRefused(t *testing.T) {
	issuer, clock := gatetest.NewIssuer(t, jose.RS256), newHandClock()
	o := runOIDC(t, OIDCConfig{Issuer: issuer.URL, Clock: clock.Now})
	now := clock.Now()
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	stamp := func(d time.Duration) string { return now.Add(d).UTC().Format(time.RFC3339) }
	good := func() gatetest.Claims { return issuer.Claims("canary-subject", testAudience, now) }
	forged := gatetest.NewKey(t, jose.RS256, issuer.Key().KeyID)
	own := issuer.Key()
	public, err := x509.MarshalPKIXPublicKey(own.Public().Key)
	if err != nil {
		t.Fatal(err)
	}
	published := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	unsigned := func(header string) string {
		payload, err := json.Marshal(good())
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString(payload) + "."
	}
	parts := strings.Split(issuer.Token(good()), ".")
	for _, test := range []struct{ name, token, want string }{
		{"wrong audience", issuer.Token(changed(good(), gatetest.Claims{"aud": "canary-other"})), "it is for another audience than remit"},
		{"no audience", issuer.Token(changed(good(), gatetest.Claims{"aud": nil})), "it is for another audience than remit"},
		{"an empty audience", issuer.Token(changed(good(), gatetest.Claims{"aud": ""})), "it is for another audience than remit"},
		{"an audience like ours", issuer.Token(changed(good(), gatetest.Claims{"aud": "Remit"})), "it is for another audience than remit"},
		{"wrong issuer", issuer.Token(changed(good(), gatetest.Claims{"iss": "https://canary.test"})), "it is of another issuer than " + issuer.URL},
		{"an issuer with a slash", issuer.Token(changed(good(), gatetest.Claims{"iss": issuer.URL + "/"})), "it is of another issuer than " + issuer.URL},
		{"another spelling of iss", issuer.Token(changed(good(), gatetest.Claims{"iss": nil, "ISS": issuer.URL})), "it is of another issuer"},
		{"expired", issuer.Token(changed(good(), gatetest.Claims{"exp": at(-31 * time.Second)})), "the credentials have expired at " + stamp(-31*time.Second) + ": a token of the identity provider; this server's clock says " + stamp(0)},
		{"without an end", issuer.Token(changed(good(), gatetest.Claims{"exp": nil})), "it does not say when it expires"},
		{"an end that is no time", issuer.Token(changed(good(), gatetest.Claims{"exp": "soon"})), "have a wrong form"},
		{"not yet valid", issuer.Token(changed(good(), gatetest.Claims{"nbf": at(time.Minute)})), "it is valid only from " + stamp(time.Minute) + "; this server's clock says " + stamp(0)},
		{"from the future", issuer.Token(changed(good(), gatetest.Claims{"iat": at(5 * time.Minute)})), "it is valid only from " + stamp(5*time.Minute) + "; this server's clock says " + stamp(0)},
		{"without a subject", issuer.Token(changed(good(), gatetest.Claims{"sub": nil})), "its claim sub, which says whose it is, is missing or no text"},
		{"an empty subject", issuer.Token(changed(good(), gatetest.Claims{"sub": ""})), "its claim sub is empty"},
		{"a number as subject", issuer.Token(changed(good(), gatetest.Claims{"sub": 7})), "is missing or no text"},
		{"a subject with a line's end", issuer.Token(changed(good(), gatetest.Claims{"sub": "ann\nroot"})), "holds characters that cannot be seen"},
		{"a subject that is too long", issuer.Token(changed(good(), gatetest.Claims{"sub": strings.Repeat("a", 257)})), "is longer than 256 bytes"},
		{"signed by another key of that id", gatetest.Sign(t, forged, good()), "its signature is not the issuer's"},
		{"alg none", unsigned(`{"alg":"none"}`), "it is no JSON Web Token that is signed in one of the ways"},
		{"alg None", unsigned(`{"alg":"None"}`), "it is no JSON Web Token that is signed in one of the ways"},
		{"no alg", unsigned(`{}`), "it is no JSON Web Token that is signed in one of the ways"},
		{"HS256 with the public key", gatetest.Sign(t, jose.JSONWebKey{Key: published, KeyID: issuer.Key().KeyID, Algorithm: "HS256"}, good()), "it is no JSON Web Token that is signed in one of the ways"},
		{"without its signature", parts[0] + "." + parts[1] + ".", "its signature is not the issuer's"},
		{"a claim exchanged", parts[0] + "." + strings.Split(issuer.Token(changed(good(), gatetest.Claims{"sub": "root"})), ".")[1] + "." + parts[2], "its signature is not the issuer's"},
		{"a megabyte", issuer.Token(changed(good(), gatetest.Claims{"more": strings.Repeat("x", 1<<20)})), "bytes long, more than 16384 are not taken"},
		{"a megabyte of dots", strings.Repeat(".", 1<<20), ""},
		{"two dots", "..", "it is no JSON Web Token"},
		{"no token", "canary", ""},
	} {
		caller, err := o.Authenticate(t.Context(), test.token)
		wanted := identity.ErrUnauthenticated
		if test.want == "" {
			wanted = identity.ErrNotMine
		}
		if caller != nil || !errors.Is(err, wanted) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", test.name, err, test.want)
		} else if strings.Contains(err.Error(), "canary") || len(err.Error()) > 400 {
			t.Errorf("%s: the error tells too much: %s", test.name, err)
		}
	}
}

// A token that the issuer has signed for another purpose lets nobody in.
func TestTokensOfOtherTypes(t *testing.T) {
	issuer, clock := gatetest.NewIssuer(t, jose.EdDSA), newHandClock()
	o := runOIDC(t, OIDCConfig{Issuer: issuer.URL, Clock: clock.Now})
	for typ, taken := range map[jose.ContentType]bool{
		"": true, "JWT": true, "jwt": true, "Bearer": true, "at+jwt": true, "application/at+jwt": true, "AT+JWT": true,
		"logout+jwt": false, "application/logout+jwt": false, "Logout+JWT": false, "secevent+jwt": false, "+jwt": false,
	} {
		token := gatetest.SignTyped(t, issuer.Key(), typ, issuer.Claims("ann", testAudience, clock.Now()))
		if _, err := o.Authenticate(t.Context(), token); taken != (err == nil) || !taken && !strings.Contains(err.Error(), "no token of access") {
			t.Errorf("a token of the type %q: %v, want taken: %v", typ, err, taken)
		}
	}
}

// Clocks that are a little apart do not matter.
func TestTokensWithinTheLeeway(t *testing.T) {
	issuer, clock := gatetest.NewIssuer(t, jose.EdDSA), newHandClock()
	o := runOIDC(t, OIDCConfig{Issuer: issuer.URL, Clock: clock.Now})
	for name, d := range map[string]time.Duration{"exp": -29 * time.Second, "nbf": 29 * time.Second, "iat": 29 * time.Second} {
		token := issuer.Token(changed(issuer.Claims("ann", testAudience, clock.Now()), gatetest.Claims{name: clock.Now().Add(d).Unix()}))
		if _, err := o.Authenticate(t.Context(), token); err != nil {
			t.Errorf("%s %s from now: %v", name, d, err)
		}
	}
	if _, err := o.Authenticate(t.Context(), issuer.Token(changed(issuer.Claims("ann", testAudience, clock.Now()), gatetest.Claims{"aud": []string{"other", testAudience}}))); err != nil {
		t.Errorf("one of two audiences: %v", err)
	}
}

// A token is verified once, and remembered no longer than it is good.
func TestVerifiedTokensAreRememberedUntilTheyExpire(t *testing.T) {
	issuer, clock := gatetest.NewIssuer(t, jose.EdDSA), newHandClock()
	o := runOIDC(t, OIDCConfig{Issuer: issuer.URL, Clock: clock.Now})
	token := issuer.Token(issuer.Claims("ann", testAudience, clock.Now()))
	first, err := o.Authenticate(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := o.Authenticate(t.Context(), token); again != first {
		t.Errorf("it is verified again: %v", err)
	}
	clock.pass(time.Hour + leeway)
	if _, err := o.Authenticate(t.Context(), token); !errors.Is(err, identity.ErrExpired) {
		t.Errorf("after its end: %v", err)
	}
}

func TestTheCacheIsBounded(t *testing.T) {
	var c cache
	now := time.Now()
	key := func(i int) (k [32]byte) { copy(k[:], []byte{byte(i), byte(i >> 8), byte(i >> 16)}); return k }
	for i := range 3 * maxCached {
		c.add("one", key(i), &identity.Caller{Expires: now.Add(time.Hour)}, now)
		if len(c.callers) > maxCached {
			t.Fatalf("it holds %d", len(c.callers))
		}
	}
	if c.find("one", key(3*maxCached-1), now) == nil {
		t.Error("the last one is forgotten")
	}
	if c.find("two", key(3*maxCached-1), now) != nil || c.find("one", key(3*maxCached-1), now.Add(time.Hour)) != nil {
		t.Error("one is remembered by other rules, or after its end")
	}
}

// Keys that the issuer adds are found when the first token comes, and those that it
// withdraws are forgotten, with the tokens that were verified by them.
func TestRotatedKeys(t *testing.T) {
	issuer, clock := gatetest.NewIssuer(t, jose.ES256), newHandClock()
	o := runOIDC(t, OIDCConfig{Issuer: issuer.URL, Clock: clock.Now})
	old := issuer.Token(issuer.Claims("ann", testAudience, clock.Now()))
	if _, err := o.Authenticate(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	clock.pass(time.Minute)
	issuer.Rotate(gatetest.NewKey(t, jose.ES256, "second"))
	if _, err := o.Authenticate(t.Context(), issuer.Token(issuer.Claims("ben", testAudience, clock.Now()))); err != nil {
		t.Error(err)
	}
	if _, err := o.Authenticate(t.Context(), old); !errors.Is(err, identity.ErrUnauthenticated) || !strings.Contains(err.Error(), "a key that the issuer does not have") {
		t.Errorf("a token whose key was withdrawn: %v", err)
	}
	if n := issuer.Fetches.Load(); n != 2 {
		t.Errorf("the keys are fetched %d times", n)
	}
}

// A flood of tokens with keys that nobody has does not become a flood to the issuer, and
// none of them is called invalid before the issuer has said so.
func TestUnknownKeysDoNotFloodTheIssuer(t *testing.T) {
	issuer, clock := gatetest.NewIssuer(t, jose.EdDSA), newHandClock()
	o := runOIDC(t, OIDCConfig{Issuer: issuer.URL, Clock: clock.Now})
	if _, err := o.Authenticate(t.Context(), issuer.Token(issuer.Claims("ann", testAudience, clock.Now()))); err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		clock.pass(keysPause)
		var tokens []string
		for i := range 64 {
			key := gatetest.NewKey(t, jose.EdDSA, string(rune('a'+i))+string(rune('a'+round)))
			tokens = append(tokens, gatetest.Sign(t, key, issuer.Claims("eve", testAudience, clock.Now())))
		}
		var all sync.WaitGroup
		for _, token := range tokens {
			all.Go(func() {
				if _, err := o.Authenticate(t.Context(), token); !errors.Is(err, identity.ErrUnauthenticated) && !errors.Is(err, ErrIssuer) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := issuer.Fetches.Load(); n != int64(round+2) {
			t.Errorf("after %d floods the keys have been fetched %d times", round+1, n)
		}
	}
}

// While the issuer cannot be asked, nobody can say that a token is invalid.
func TestAnIssuerThatDoesNotAnswer(t *testing.T) {
	issuer, clock := gatetest.NewIssuer(t, jose.EdDSA), newHandClock()
	issuer.Down.Store(true)
	var log bytes.Buffer
	o := runOIDC(t, OIDCConfig{Issuer: issuer.URL, Clock: clock.Now, Log: slog.New(slog.NewTextHandler(&log, nil))})
	token := issuer.Token(issuer.Claims("ann", testAudience, clock.Now()))
	for range 3 {
		if _, err := o.Authenticate(t.Context(), token); !errors.Is(err, ErrIssuer) || errors.Is(err, identity.ErrUnauthenticated) {
			t.Errorf("while it is down: %v", err)
		}
	}
	issuer.Down.Store(false)
	clock.pass(keysPause)
	if _, err := o.Authenticate(t.Context(), token); err != nil {
		t.Errorf("when it is up again: %v", err)
	}
	// What is known stays in use when it goes down again.
	issuer.Down.Store(true)
	clock.pass(time.Minute)
	if _, err := o.Authenticate(t.Context(), issuer.Token(issuer.Claims("ben", testAudience, clock.Now()))); err != nil {
		t.Errorf("a known key while it is down: %v", err)
	}
	unknown := gatetest.Sign(t, gatetest.NewKey(t, jose.EdDSA, "new"), issuer.Claims("ben", testAudience, clock.Now()))
	if _, err := o.Authenticate(t.Context(), unknown); !errors.Is(err, ErrIssuer) {
		t.Errorf("an unknown key while it is down: %v", err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	clock.pass(keysPause)
	if _, err := o.Authenticate(cancelled, unknown); !errors.Is(err, context.Canceled) && !errors.Is(err, ErrIssuer) {
		t.Errorf("a caller who has gone: %v", err)
	}
}

// Whatever an issuer answers, it is bounded, and keys that may not sign are no keys.
func TestAnswersOfIssuersThatAreNoUse(t *testing.T) {
	weak := `{"keys":[{"kty":"RSA","n":"` + base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{0xff}, 128)) + `","e":"AQAB"},{"kty":"oct","k":"c2VjcmV0"},{"kty":"none"}]}`
	for _, test := range []struct{ name, discovery, keys, want string }{
		{"another issuer", `{"issuer":"https://other.test","jwks_uri":"SELF/keys"}`, weak, "did not match the issuer"},
		{"no JSON", `<html>`, weak, "discovery: "},
		{"no keys", `{"issuer":"SELF","jwks_uri":"SELF/keys"}`, `{}`, "none of the 0 keys"},
		{"weak keys", `{"issuer":"SELF","jwks_uri":"SELF/keys"}`, weak, "none of the 3 keys"},
		{"keys that are no JSON", `{"issuer":"SELF","jwks_uri":"SELF/keys"}`, `keys`, "no set of keys"},
		{"an endless answer", `{"issuer":"SELF","jwks_uri":"SELF/keys"}`, strings.Repeat(" ", maxFetched+1) + weak, "no set of keys"},
		{"nowhere", `{"issuer":"SELF","jwks_uri":"%zz"}`, weak, "jwks_uri is no URL"},
	} {
		var self string
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			body := test.keys
			if r.URL.Path != "/keys" {
				body = strings.ReplaceAll(test.discovery, "SELF", self)
			}
			_, _ = w.Write([]byte(body))
		}))
		self = server.URL
		keys := newIssuerKeys(OIDCConfig{Issuer: self, Client: boundedClient(), Clock: time.Now})
		if _, err := keys.get(t.Context()); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", test.name, err, test.want)
		}
		server.Close()
	}
}

func TestGrantsOfAToken(t *testing.T) {
	const store = "01JD3T7H6M8Z5W1X9Y2V4B6N8Q"
	issuer, clock := gatetest.NewIssuer(t, jose.EdDSA), newHandClock()
	o := runOIDC(t, OIDCConfig{Issuer: issuer.URL, Clock: clock.Now, GrantsClaim: "grants", SubjectClaim: "email"})
	some, err := parseGrants([]string{store + ":read,write", "*:read"})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		claim any
		want  identity.Grants
		fault string
	}{
		{"none", nil, identity.Grants{}, ""},
		{"a list", []string{store + ":read,write", "*:read"}, some, ""},
		{"a text", store + ":read  *:read " + store + ":write", some, ""},
		{"cluster", "cluster", identity.Grants{Cluster: true}, ""},
		{"an empty list", []string{}, identity.Grants{}, ""},
		{"a misspelled permission", store + ":raed", identity.Grants{}, `"raed" is no permission`},
		{"a store by name", "shop:read", identity.Grants{}, "does not begin with the id of a store"},
		{"an id in lower case", strings.ToLower(store) + ":read", identity.Grants{}, "does not begin with the id of a store"},
		{"something else", "openid profile", identity.Grants{}, "must be cluster, or STORE_ID:PERMISSIONS"},
		{"no permission", store + ":", identity.Grants{}, "is no permission"},
		{"a number", 7, identity.Grants{}, "neither a list of texts nor a text"},
		{"too many", strings.Repeat("cluster ", 257), identity.Grants{}, "it lists 257 grants"},
	} {
		claims := changed(issuer.Claims("7", testAudience, clock.Now()), gatetest.Claims{"email": "ann@example.org", "grants": test.claim})
		caller, err := o.Authenticate(t.Context(), issuer.Token(claims))
		switch {
		case test.fault != "":
			if !errors.Is(err, identity.ErrUnauthenticated) || !strings.Contains(err.Error(), test.fault) {
				t.Errorf("%s: %v, want %s", test.name, err, test.fault)
			}
		case err != nil:
			t.Errorf("%s: %v", test.name, err)
		default:
			if diff := cmp.Diff(test.want, caller.Grants); diff != "" || caller.Principal != "oidc:ann@example.org" {
				t.Errorf("%s: %s has\n%s", test.name, caller.Principal, diff)
			}
		}
	}
}

// Whoever can type any address into an identity provider is not the one who reads its mail.
func TestAnAddressThatNobodyChecked(t *testing.T) {
	issuer, clock := gatetest.NewIssuer(t, jose.EdDSA), newHandClock()
	for _, test := range []struct {
		claim    string
		verified any
		taken    bool
	}{
		{"email", nil, true}, {"email", true, true}, {"email", false, false}, {"email", "yes", false}, {"sub", false, true},
	} {
		o := runOIDC(t, OIDCConfig{Issuer: issuer.URL, Clock: clock.Now, SubjectClaim: test.claim})
		claims := changed(issuer.Claims("7", testAudience, clock.Now()), gatetest.Claims{"email": "ann@example.org", "email_verified": test.verified})
		if caller, err := o.Authenticate(t.Context(), issuer.Token(claims)); test.taken != (err == nil) || !test.taken && !errors.Is(err, identity.ErrUnauthenticated) {
			t.Errorf("the claim %s of a token whose email_verified is %v: %+v, %v", test.claim, test.verified, caller, err)
		}
	}
}

func FuzzTokensOfTheIdentityProvider(f *testing.F) {
	o := NewOIDC(OIDCConfig{Issuer: "https://id.test", Audience: testAudience})
	o.keys.current.Store(&keySet{tried: time.Now().Add(time.Hour), keys: &[]jose.JSONWebKey{}, fetched: time.Now()})
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add(`eyJhbGciOiJFZERTQSJ9.eyJpc3MiOiJodHRwczovL2lkLnRlc3QifQ.AA`)
	f.Fuzz(func(t *testing.T, token string) {
		if caller, err := o.Authenticate(t.Context(), token); err == nil {
			t.Errorf("%q is %v", token, caller)
		}
	})
}
