package main

import (
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/remit-authz/remit/rpc/gate/gatetest"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

// withoutCredentials makes sure that the environment gives the program none.
func withoutCredentials(t *testing.T) {
	t.Helper()
	withoutSettings(t)
	for _, name := range []string{"REMIT_ADDR", "REMIT_STORE", "REMIT_TOKEN", "REMIT_TOKEN_FILE", "REMIT_CA_FILE", "REMIT_CLIENT_CERT", "REMIT_CLIENT_KEY"} {
		t.Setenv(name, "")
	}
}

// tlsFlags are serve's for a certificate of a CA, in a folder.
func tlsFlags(t *testing.T, dir string, ca *gatetest.CA) []string {
	t.Helper()
	cert, key := ca.Server(gatetest.Certificate{DNS: []string{"remit.test"}}).Files(t, dir, "server")
	return []string{"--tls-cert", cert, "--tls-key", key}
}

// clientFlags are a command's for a client certificate.
func clientFlags(t *testing.T, dir, name string, pair gatetest.Pair) []string {
	t.Helper()
	cert, key := pair.Files(t, dir, name)
	return []string{"--client-cert", cert, "--client-key", key}
}

// identityOf is a server's identity service, called with credentials.
func identityOf(t *testing.T, addr string, c credentials) remitv1connect.IdentityServiceClient {
	t.Helper()
	connection, err := (&app{addrs: []string{addr}, credentials: c}).connection()
	if err != nil {
		t.Fatal(err)
	}
	return remitv1connect.NewIdentityServiceClient(connection)
}

// A client and a server that do not know each other say so, each in its place.
func TestCertificatesThatAreRefused(t *testing.T) {
	withoutCredentials(t)
	ca, theirs, dir := gatetest.NewCA(t, "ours"), gatetest.NewCA(t, "theirs"), t.TempDir()
	root := gatetest.File(t, dir, "root.key", []byte(strings.Repeat("r", 40)+"\n"))
	caFile := gatetest.File(t, dir, "ca.crt", ca.PEM())
	p := serveProcess(t, t.TempDir(), append(tlsFlags(t, dir, ca), "--tls-client-ca", caFile, "--tls-client-auth", "required", "--root-key-file", root)...)
	if !strings.HasPrefix(p.addr, "https://127.0.0.1:") {
		t.Fatalf("it serves %s", p.addr)
	}
	_, port, _ := strings.Cut(strings.TrimPrefix(p.addr, "https://"), ":")
	list := func(addr string, flags ...string) []string {
		return append([]string{"store", "list", "--addr", addr, "--timeout", "10s"}, flags...)
	}
	known := []string{"--ca-file", caFile}
	app := append(known, clientFlags(t, dir, "app", ca.Client(gatetest.Certificate{URIs: []string{"spiffe://shop/app"}}))...)
	ago := time.Now().Add(-time.Minute)

	refused(t, "the certificate of the server at "+p.addr+" is signed by a CA that is not known here", list(p.addr)...)
	refused(t, "is for remit.test, 127.0.0.1, ::1, not for localhost", list("https://localhost:"+port, app...)...)
	refused(t, "the server at "+p.addr+" wants a client certificate; give one with --client-cert", list(p.addr, known...)...)
	refused(t, "refuses the client certificate: it has expired, or is not valid yet",
		list(p.addr, append(known, clientFlags(t, dir, "late", ca.Client(gatetest.Certificate{CommonName: "late", NotAfter: ago}))...)...)...)
	refused(t, "refuses the client certificate: it does not know the CA that has signed it",
		list(p.addr, append(known, clientFlags(t, dir, "foreign", theirs.Client(gatetest.Certificate{CommonName: "foreign"}))...)...)...)
	refused(t, "refuses the client certificate; its log says why",
		list(p.addr, append(known, clientFlags(t, dir, "other", ca.Server(gatetest.Certificate{CommonName: "a server"}))...)...)...)
	refused(t, "takes no calls without TLS, it seems; write https://127.0.0.1:"+port, list("http://127.0.0.1:"+port)...)

	// One that is known may do what is stored for it, and the changelog names it.
	refused(t, "cert:spiffe://shop/app needs the grant cluster", append([]string{"store", "create", "shop"}, list(p.addr, app...)[2:]...)...)
	operator := identityOf(t, p.addr, credentials{caFile: caFile, clientCert: app[3], clientKey: app[5], token: strings.Repeat("r", 40)})
	if _, err := operator.SetGrants(t.Context(), &remitv1.SetGrantsRequest{
		Principal: "cert:spiffe://shop/app", Grants: []*remitv1.Grant{{Target: &remitv1.Grant_Cluster{Cluster: true}}},
	}); err != nil {
		t.Fatal(err)
	}
	must(t, append([]string{"store", "create", "shop"}, list(p.addr, app...)[2:]...)...)
	// HOST:PORT alone means https to whoever has files of TLS.
	if out := must(t, list("127.0.0.1:"+port, app...)...); !strings.Contains(out, "shop") {
		t.Errorf("the list is %q", out)
	}

	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.ends(t)
	log := p.stderr.String()
	for _, want := range []string{"the client has shown none", "certificate has expired or is not yet valid", "CN=late", "signed by unknown authority", "CN=foreign", "incompatible key usage"} {
		if !strings.Contains(log, want) {
			t.Errorf("the server's log has no %q:\n%s", want, log)
		}
	}
}

// A server without TLS is told from one with another certificate.
func TestTLSToAServerWithoutTLS(t *testing.T) {
	withoutCredentials(t)
	startServer(t)
	addr := os.Getenv("REMIT_ADDR")
	ca := gatetest.File(t, t.TempDir(), "ca.crt", gatetest.NewCA(t, "ours").PEM())
	refused(t, "the server at https://"+addr+" does not speak TLS; write http://", "store", "list", "--ca-file", ca)
}

func TestCredentialsThatCannotBeUsed(t *testing.T) {
	withoutCredentials(t)
	dir := t.TempDir()
	cert, key := gatetest.NewCA(t, "ours").Client(gatetest.Certificate{CommonName: "a"}).Files(t, dir, "a")
	_, other := gatetest.NewCA(t, "ours").Client(gatetest.Certificate{CommonName: "b"}).Files(t, dir, "b")
	empty, two := gatetest.File(t, dir, "empty", nil), gatetest.File(t, dir, "two", []byte("canary-one\ncanary-two\n"))
	for want, flags := range map[string][]string{
		"--token and --token-file are both given":                  {"--token", "canary", "--token-file", two},
		"needs its private key; name it with --client-key":         {"--client-cert", cert},
		"needs its client certificate; name it with --client-cert": {"--client-key", key},
		"private key does not match public key":                    {"--client-cert", cert, "--client-key", other},
		"the CAs of the server: " + two + " holds no certificate":  {"--ca-file", two},
		"the CAs of the server: " + dir + "/none: no such file":    {"--ca-file", dir + "/none"},
		"the token: " + empty + " must hold one token on one line": {"--token-file", empty},
		"the token: " + two + " must hold one token on one line":   {"--token-file", two},
		"the token: " + dir + "/none: no such file or directory":   {"--token-file", dir + "/none"},
	} {
		refused(t, want, append([]string{"store", "list", "--addr", "127.0.0.1:1"}, flags...)...)
		if _, errs, _ := remit(t, append([]string{"store", "list", "--addr", "127.0.0.1:1"}, flags...)...); strings.Contains(errs, "canary") {
			t.Errorf("the error tells the token: %s", errs)
		}
	}
}

// Settings that leave a door open, or half of one, start nothing.
func TestIncompleteSettingsOfSecurity(t *testing.T) {
	withoutCredentials(t)
	ca, dir := gatetest.NewCA(t, "ours"), t.TempDir()
	root := gatetest.File(t, dir, "root.key", []byte(strings.Repeat("r", 40)))
	short := gatetest.File(t, dir, "short.key", []byte("canary"))
	words := gatetest.File(t, dir, "words.key", []byte(strings.Repeat("canary ", 10)))
	open := gatetest.File(t, dir, "open.key", []byte(strings.Repeat("canary", 10)))
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	secured := tlsFlags(t, dir, ca)
	tests := []struct {
		want  string
		flags []string
	}{
		{"oidc-issuer is given without oidc-audience", []string{"--oidc-issuer", "https://id.example"}},
		{"oidc-audience is given without oidc-issuer", []string{"--oidc-audience", "remit"}},
		{"oidc-issuer is given without oidc-audience", []string{"--oidc-issuer", "https://id.example", "--oidc-audience="}},
		{"must be https: over http", []string{"--oidc-issuer", "http://id.example", "--oidc-audience", "remit"}},
		{"tls-cert is given without tls-key", secured[:2]},
		{"tls-client-auth is required without tls-client-ca", append(secured, "--tls-client-auth", "required")},
		{"tls-client-ca is given, but tls-client-auth is off", append(secured, "--tls-client-ca", "ca")},
		{"private key does not match public key", []string{"--tls-cert", secured[1], "--tls-key", clientFlags(t, dir, "x", ca.Client(gatetest.Certificate{}))[3]}},
		{"there is no such file; make one with: (umask 077; openssl rand -hex 32 > " + dir + "/none)", []string{"--root-key-file", dir + "/none"}},
		{"it is a folder", []string{"--root-key-file", dir}},
		{"the root key has 6 characters, must have 32 at least", []string{"--root-key-file", short}},
		{"the root key must be one word", []string{"--root-key-file", words}},
		{`addr "0.0.0.0:0" can be reached from outside, and the service has no TLS and asks nobody`, []string{"--addr", "0.0.0.0:0"}},
		{`addr "0.0.0.0:0" can be reached from outside, and the service has no TLS, so that keys`, []string{"--addr", "0.0.0.0:0", "--root-key-file", root}},
		{`grpc-addr ":0" can be reached from outside, and the service asks nobody who they are`, append(secured, "--grpc-addr", ":0")},
		{`admin-addr ":0" can be reached from outside`, append(secured, "--admin-addr", ":0")},
	}
	if runtime.GOOS != "windows" {
		tests = append(tests, struct {
			want  string
			flags []string
		}{"others may read or change it (mode 0644): chmod 600 " + open, []string{"--root-key-file", open}})
	}
	for _, test := range tests {
		data := filepath.Join(t.TempDir(), "data")
		_, errs, status := remit(t, append([]string{"serve", "--data-dir", data, "--addr", "127.0.0.1:0", "--grpc-addr", "127.0.0.1:0"}, test.flags...)...)
		if status != exitError || !strings.Contains(errs, test.want) || strings.Contains(errs, "canary") {
			t.Errorf("serve %s: status %d, %swant %s", strings.Join(test.flags, " "), status, errs, test.want)
		}
		if _, err := os.Stat(data); !os.IsNotExist(err) {
			t.Errorf("serve %s has opened its data", strings.Join(test.flags, " "))
		}
	}
}

// Tokens of an identity provider, whole: who brings a good one may do what it grants, and
// everybody else learns what is wrong.
func TestTokensOfAnIdentityProvider(t *testing.T) {
	withoutCredentials(t)
	issuer, dir := gatetest.NewIssuer(t, jose.RS256), t.TempDir()
	p := serveProcess(t, t.TempDir(), "--oidc-issuer", issuer.URL, "--oidc-audience", "remit", "--oidc-grants-claim", "grants")
	now := time.Now()
	list := func(change func(c gatetest.Claims)) []string {
		claims := issuer.Claims("ann", "remit", now)
		claims["grants"] = "cluster"
		change(claims)
		return []string{"store", "list", "--addr", p.addr, "--token-file", gatetest.File(t, dir, "token", []byte(issuer.Token(claims)+"\n"))}
	}
	stamp := func(d time.Duration) string { return now.Add(d).UTC().Format(time.RFC3339) }
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	must(t, list(func(gatetest.Claims) {})...)
	refused(t, "oidc:ann needs the grant cluster", append([]string{"store", "create", "shop"}, list(func(c gatetest.Claims) { delete(c, "grants") })[2:]...)...)
	must(t, append([]string{"store", "create", "shop"}, list(func(gatetest.Claims) {})[2:]...)...)
	refused(t, "the credentials have expired at "+stamp(-time.Hour), list(func(c gatetest.Claims) { c["exp"] = at(-time.Hour) })...)
	refused(t, "it is valid only from "+stamp(10*time.Minute)+"; this server's clock says "+stamp(0)[:15], list(func(c gatetest.Claims) { c["iat"] = at(10 * time.Minute) })...)
	refused(t, "it is for another audience than remit", list(func(c gatetest.Claims) { c["aud"] = "shop" })...)
	refused(t, "it is of another issuer than "+issuer.URL, list(func(c gatetest.Claims) { c["iss"] = "https://id.example" })...)
	refused(t, "asks who calls; give a key with --token-file", "store", "list", "--addr", p.addr)
	refused(t, "the token is none that this server knows", "store", "list", "--addr", p.addr, "--token", "canary")

	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if state := p.ends(t); state.ExitCode() != 0 {
		t.Errorf("serve ended with %s\n%s", state, p.stderr.String())
	}
}

// A hangup makes a server use the certificate that has taken the place of its own, and
// does not end it.
func TestAHangupReadsCertificatesAgain(t *testing.T) {
	withoutCredentials(t)
	ca, dir := gatetest.NewCA(t, "ours"), t.TempDir()
	caFile := gatetest.File(t, dir, "ca.crt", ca.PEM())
	p := serveProcess(t, t.TempDir(), tlsFlags(t, dir, ca)...)
	serial := func() string {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(p.addr, "https://"), &tls.Config{RootCAs: ca.Pool()}) //nolint:noctx // loopback
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	first := serial()
	tlsFlags(t, dir, ca)
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); serial() == first; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("the old certificate is still in use")
		}
	}
	must(t, "store", "list", "--addr", p.addr, "--ca-file", caFile)
}

// freeAddr is an address of loopback that nobody listens on.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it is closed at once
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// A token is sent in the clear to this machine alone, unless somebody wrote http://.
func TestTokensCrossTheNetworkSecured(t *testing.T) {
	t.Setenv("REMIT_ADDR", "")
	bare, token, file := credentials{}, credentials{token: "t"}, credentials{tokenFile: "f"}
	for _, test := range []struct {
		addr string
		by   credentials
		want string
	}{
		{"", token, "http://127.0.0.1:8080"},
		{"localhost:8080", token, "http://localhost:8080"},
		{"[::1]:8080", token, "http://[::1]:8080"},
		{"remit.example:8080", bare, "http://remit.example:8080"},
		{"remit.example:8080", token, "https://remit.example:8080"},
		{"remit.example", file, "https://remit.example"},
		{"192.0.2.1:8080", file, "https://192.0.2.1:8080"},
		{"localhost.example:8080", token, "https://localhost.example:8080"},
		{"http://remit.example:8080", token, "http://remit.example:8080"},
		{"https://localhost:8080", token, "https://localhost:8080"},
	} {
		if got, err := baseOf(&app{addrs: []string{test.addr}, credentials: test.by}); err != nil || got != test.want {
			t.Errorf("%q with %+v: %s, %v, want %s", test.addr, test.by, got, err, test.want)
		}
	}
}

// baseOf is the one address that a command asks, as a URL.
func baseOf(a *app) (string, error) {
	bases, err := a.baseURLs()
	return strings.Join(bases, " "), err
}
