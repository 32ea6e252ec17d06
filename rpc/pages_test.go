package rpc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/remit-authz/remit/rpc/backend"
	"github.com/remit-authz/remit/rpc/gate"
	"github.com/remit-authz/remit/rpc/identity"
	"github.com/remit-authz/remit/rpc/openfga"
)

// A page of a stranger in a browser on this machine reaches a server that asks nobody: it
// must neither change anything nor learn anything.
func TestStrangePagesAreRefused(t *testing.T) {
	development := Config{Addr: "127.0.0.1:8080"}
	named := Config{Addr: "127.0.0.1:8080", OpenFGA: openfga.Config{CORSOrigins: []string{"https://app.example.org", "https://*.example.net"}}}
	for _, test := range []struct {
		name         string
		config       Config
		host, origin string
		passes       bool
	}{
		{"a program", development, "127.0.0.1:8080", "", true},
		{"a program by name", development, "localhost:8080", "", true},
		{"a program over IPv6", development, "[::1]:8080", "", true},
		{"a program of HTTP/1.0", development, "", "", true},
		{"a container", development, "host.docker.internal:8080", "", true},
		{"a name of /etc/hosts", development, "remit", "", true},
		{"a page of this machine", development, "localhost:8080", "http://localhost:3000", true},
		{"a page of this machine by address", development, "localhost:8080", "http://127.0.0.1:3000", true},
		{"a page of this machine by a name of its own", development, "localhost:8080", "http://app.localhost:3000", true},

		{"a form of a stranger", development, "127.0.0.1:8080", "https://evil.example", false},
		{"a page that hides whose it is", development, "127.0.0.1:8080", "null", false},
		{"a name that only looks local", development, "127.0.0.1:8080", "https://localhost.evil.example", false},
		{"a user that only looks local", development, "127.0.0.1:8080", "https://localhost@evil.example", false},
		{"a stranger's name for this machine", development, "evil.example:8080", "", false},
		{"a page of that name", development, "evil.example:8080", "http://evil.example:8080", false},
		{"that name with a dot behind", development, "evil.example.:8080", "", false},
		{"a name that begins as an address", development, "127.0.0.1.evil.example", "", false},

		{"a page permitted by name", named, "127.0.0.1:8080", "https://app.example.org", true},
		{"a page permitted by pattern", named, "127.0.0.1:8080", "https://b.example.net", true},
		{"behind a proxy that is named", named, "app.example.org", "", true},
		{"a page that is not among the named", named, "127.0.0.1:8080", "https://evil.example", false},

		{"where everybody is served", Config{Addr: "127.0.0.1:8080", Insecure: true}, "evil.example", "https://evil.example", true},
		{"where callers are asked", Config{Addr: "127.0.0.1:8080", Identity: gate.Config{Required: true}}, "evil.example", "https://evil.example", true},
	} {
		for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodOptions} {
			r := httptest.NewRequest(method, "/stores", strings.NewReader("{}"))
			r.Host = test.host
			if test.origin != "" {
				r.Header.Set("Origin", test.origin)
			}
			passed, w := false, httptest.NewRecorder()
			newPageGuard(&test.config).guard(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { passed = true })).ServeHTTP(w, r)
			if passed != test.passes || !passed && (w.Code != http.StatusForbidden || w.Header().Get("Access-Control-Allow-Origin") != "") {
				t.Errorf("%s: %s passes: %v, %d %s", test.name, method, passed, w.Code, w.Body)
			}
		}
	}
}

// shown is a gate's authenticator that takes any certificate.
type shown struct{}

func (shown) Authenticate(context.Context, []*x509.Certificate) (*identity.Caller, error) {
	return &identity.Caller{Principal: "cert:ben"}, nil
}

// A browser shows its certificate for every page that calls. It counts only if the page is
// the server's own, or permitted by name; for a program it always does.
func TestCertificatesAreNotLentToStrangePages(t *testing.T) {
	rig := newRig(t)
	identify := gate.New(gate.Config{Certificates: shown{}}, backend.NewKeyring(backend.NewReader(rig.config.backend())))
	everybody := Config{Addr: "0.0.0.0:443", Identity: gate.Config{Required: true}, OpenFGA: openfga.Config{CORSOrigins: []string{"*"}}}
	named := everybody
	named.OpenFGA.CORSOrigins = []string{"https://app.example.org"}
	for _, test := range []struct {
		name         string
		config       Config
		site, origin string
		known        bool
	}{
		{"a program", everybody, "", "", true},
		{"an address that was typed in", everybody, "none", "", true},
		{"its own page", everybody, "same-origin", "https://remit.example.org", true},
		{"its own page in an old browser", everybody, "", "https://remit.example.org", true},
		{"a page permitted by name", named, "cross-site", "https://app.example.org", true},
		{"a strange page", everybody, "cross-site", "https://evil.example", false},
		{"a strange page in an old browser", everybody, "", "https://evil.example", false},
		{"a page of a neighbour", everybody, "same-site", "https://blog.example.org", false},
		{"a page that hides whose it is", everybody, "cross-site", "null", false},
		{"an image of a strange page", everybody, "cross-site", "", false},
		{"a page that is not among the named", named, "cross-site", "https://evil.example", false},
	} {
		r := httptest.NewRequest(http.MethodPost, "https://remit.example.org/stores", strings.NewReader("{}"))
		r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{}}}}
		for name, value := range map[string]string{"Sec-Fetch-Site": test.site, "Origin": test.origin} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		err := errors.New("it was not let through")
		newPageGuard(&test.config).guard(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { err = identify.Know(r.Context(), nil) })).
			ServeHTTP(httptest.NewRecorder(), r)
		if test.known != (err == nil) || !test.known && !errors.Is(err, identity.ErrNoCredentials) {
			t.Errorf("%s: %v, want known: %v", test.name, err, test.known)
		}
	}
}
