package rpc

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/remit-authz/remit/rpc/gate/gatetest"
)

// A lines is a log that tests read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// securedBy is a configuration whose files a CA has signed.
func securedBy(t *testing.T, dir string, ca *gatetest.CA, auth ClientAuth) TLSConfig {
	t.Helper()
	config := TLSConfig{ClientAuth: auth}
	config.CertFile, config.KeyFile = ca.Server(gatetest.Certificate{DNS: []string{"remit.test"}}).Files(t, dir, "server")
	if auth != ClientAuthOff {
		config.ClientCAFile = gatetest.File(t, dir, "clients.crt", ca.PEM())
	}
	return config
}

// pageOver serves one page over TLS and gives its address.
func pageOver(t *testing.T, certs *Certificates) string {
	t.Helper()
	port, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test's own port
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto)
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(certs.Listen(port, false, "h2", "http/1.1")) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return port.Addr().String()
}

// fetch is a page, asked for over a connection of its own.
func fetch(t *testing.T, url string, config *tls.Config) (string, error) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: config != nil && config.NextProtos == nil}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	return res.Status + " " + string(body), err
}

func TestIncompleteTLSSettings(t *testing.T) {
	for _, test := range []struct {
		config TLSConfig
		want   string
	}{
		{TLSConfig{CertFile: "a"}, "tls-cert is given without tls-key"},
		{TLSConfig{KeyFile: "a"}, "tls-key is given without tls-cert"},
		{TLSConfig{CertFile: "a", KeyFile: "b", ClientAuth: ClientAuthRequired}, "tls-client-auth is required without tls-client-ca"},
		{TLSConfig{CertFile: "a", KeyFile: "b", ClientCAFile: "c"}, "tls-client-ca is given, but tls-client-auth is off"},
		{TLSConfig{ClientAuth: ClientAuthOptional, ClientCAFile: "c"}, "tls-client-ca is given without tls-cert and tls-key"},
		{TLSConfig{CertFile: "a", KeyFile: "b", ClientAuth: "maybe"}, `tls-client-auth is "maybe", must be one of off, optional, required`},
	} {
		if err := test.config.Validate(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %s", test.config, err, test.want)
		}
	}
	for _, good := range []TLSConfig{
		{}, {CertFile: "a", KeyFile: "b"}, {CertFile: "a", KeyFile: "b", ClientCAFile: "c", ClientAuth: ClientAuthOptional},
	} {
		if err := good.Validate(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
}

func TestTLSFilesThatCannotBeUsed(t *testing.T) {
	ca, dir := gatetest.NewCA(t, "ours"), t.TempDir()
	good := securedBy(t, dir, ca, ClientAuthRequired)
	_, foreign := ca.Server(gatetest.Certificate{}).Files(t, dir, "foreign")
	damaged := gatetest.File(t, dir, "damaged", []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	canary := gatetest.File(t, dir, "canary", []byte("canary-of-a-key"))
	for _, test := range []struct {
		change func(c *TLSConfig)
		want   string
	}{
		{func(c *TLSConfig) { c.CertFile = dir + "/none" }, "tls-cert: " + dir + "/none: no such file"},
		{func(c *TLSConfig) { c.KeyFile = dir }, "tls-key: " + dir + ": is a directory"},
		{func(c *TLSConfig) { c.KeyFile = foreign }, "private key does not match public key"},
		{func(c *TLSConfig) { c.KeyFile = canary }, "tls-key " + canary},
		{func(c *TLSConfig) { c.ClientCAFile = canary }, "tls-client-ca " + canary + ": there is no certificate in it"},
		{func(c *TLSConfig) { c.ClientCAFile = damaged }, "tls-client-ca " + damaged + ": certificate 1: "},
	} {
		config := good
		test.change(&config)
		_, err := LoadCertificates(config, time.Now, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "canary-of") {
			t.Errorf("%v, want %s", err, test.want)
		}
	}
}

func TestTLSSpeaksBothVersionsOfHTTP(t *testing.T) {
	ca := gatetest.NewCA(t, "ours")
	certs, err := LoadCertificates(securedBy(t, t.TempDir(), ca, ClientAuthOff), time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	addr := pageOver(t, certs)
	for _, test := range []struct {
		name   string
		config *tls.Config
		want   string // of the page, or of the error
	}{
		{"HTTP/2", &tls.Config{RootCAs: ca.Pool()}, "200 OK HTTP/2.0"},
		{"HTTP/1.1", &tls.Config{RootCAs: ca.Pool(), NextProtos: []string{"http/1.1"}}, "200 OK HTTP/1.1"},
		{"TLS 1.2", &tls.Config{RootCAs: ca.Pool(), MaxVersion: tls.VersionTLS12}, "200 OK HTTP/2.0"},
		{"TLS 1.1", &tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, "protocol version not supported"},
		{"another name", &tls.Config{RootCAs: ca.Pool(), ServerName: "other.test"}, "valid for remit.test, not other.test"},
		{"a CA that is not known", &tls.Config{RootCAs: gatetest.NewCA(t, "theirs").Pool()}, "signed by unknown authority"},
	} {
		page, err := fetch(t, "https://"+addr, test.config)
		if err != nil {
			page = err.Error()
		}
		if !strings.Contains(page, test.want) {
			t.Errorf("%s: %s, want %s", test.name, page, test.want)
		}
	}
}

// Whoever comes without TLS is told so.
func TestWithoutTLSTheAnswerSaysSo(t *testing.T) {
	certs, err := LoadCertificates(securedBy(t, t.TempDir(), gatetest.NewCA(t, "ours"), ClientAuthOff), time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	addr := pageOver(t, certs)
	if page, err := fetch(t, "http://"+addr, nil); page != "400 Bad Request "+plainText+"\n" {
		t.Errorf("HTTP/1.1 is told %q, %v", page, err)
	}
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{}); err == nil || !strings.Contains(err.Error(), "looked like an HTTP/1.1 header") {
		t.Errorf("gRPC is told %v", err)
	}
	eventually(t, "both connections are counted", func() bool { return sample(t, certs, refusedPlain) >= 2 })
}

func TestClientCertificatesThatAreRefused(t *testing.T) {
	ca, theirs := gatetest.NewCA(t, "ours"), gatetest.NewCA(t, "theirs")
	told := &lines{}
	certs, err := LoadCertificates(securedBy(t, t.TempDir(), ca, ClientAuthRequired), time.Now, slog.New(slog.NewTextHandler(told, nil)))
	if err != nil {
		t.Fatal(err)
	}
	addr := pageOver(t, certs)
	ago := time.Now().Add(-time.Minute)
	for _, test := range []struct {
		name       string
		pair       *gatetest.Pair
		told, logs string
	}{
		{"good", ref(ca.Client(gatetest.Certificate{CommonName: "good"})), "200 OK", ""},
		{"none", nil, "certificate required", "the client has shown none"},
		{"expired", ref(ca.Client(gatetest.Certificate{CommonName: "late", NotAfter: ago})), "expired certificate", "certificate has expired or is not yet valid: current time"},
		{"not yet valid", ref(ca.Client(gatetest.Certificate{CommonName: "early", NotBefore: time.Now().Add(time.Hour)})), "expired certificate", "is before"},
		{"of another CA", ref(theirs.Client(gatetest.Certificate{CommonName: "foreign"})), "unknown certificate authority", "signed by unknown authority"},
		{"of a server", ref(ca.Server(gatetest.Certificate{CommonName: "server"})), "bad certificate", "incompatible key usage"},
	} {
		config := &tls.Config{RootCAs: ca.Pool(), NextProtos: []string{"http/1.1"}}
		if test.pair != nil {
			// Whatever CAs the server asks for, this is what it gets.
			pair := test.pair.TLS(t)
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		}
		page, err := fetch(t, "https://"+addr, config)
		if err != nil {
			page = err.Error()
		}
		if !strings.Contains(page, test.told) {
			t.Errorf("%s: told %s, want %s", test.name, page, test.told)
		}
		eventually(t, "the log tells of the certificate "+test.name, func() bool { return strings.Contains(told.String(), test.logs) })
	}
	if n := sample(t, certs, refusedCertificate); n != 5 {
		t.Errorf("%v connections are counted\n%s", n, told)
	}
}

// eventually waits for a state.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("not: %s", what)
		}
	}
}

func ref[T any](v T) *T { return &v }

// leafOf is the common name of the certificate that new connections get.
func leafOf(certs *Certificates) string {
	config, err := certs.Server(false).GetConfigForClient(nil)
	if err != nil {
		return err.Error()
	}
	return config.Certificates[0].Leaf.Subject.CommonName
}

func TestTLSFilesThatChangeAreReadAgain(t *testing.T) {
	ca, dir, told := gatetest.NewCA(t, "ours"), t.TempDir(), &lines{}
	config := securedBy(t, dir, ca, ClientAuthOptional)
	replace := func(name string) { ca.Server(gatetest.Certificate{CommonName: name}).Files(t, dir, "server") }
	replace("first")
	synctest.Test(t, func(t *testing.T) {
		certs, err := LoadCertificates(config, time.Now, slog.New(slog.NewTextHandler(told, nil)))
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { certs.Run(ctx) })
		passes := func(polls int) {
			time.Sleep(time.Duration(polls)*certificatePoll + time.Millisecond) //nolint:forbidigo // virtual time
			synctest.Wait()
		}
		want := func(name string) {
			t.Helper()
			if got := leafOf(certs); got != name {
				t.Errorf("new connections get %s, want %s\n%s", got, name, told)
			}
		}
		want("first")
		replace("second")
		passes(1)
		want("second")

		// Files are replaced one after the other: nobody is told of the moment between.
		third := ca.Server(gatetest.Certificate{CommonName: "third"})
		gatetest.File(t, dir, "server.crt", third.Cert)
		passes(1)
		want("second")
		gatetest.File(t, dir, "server.key", third.Key)
		passes(1)
		want("third")
		if strings.Contains(told.String(), "cannot be used") {
			t.Errorf("a replacement is told as a fault:\n%s", told)
		}

		// What stays wrong is told once, and what was read before stays in use.
		gatetest.File(t, dir, "server.key", []byte("canary-of-a-key"))
		passes(4)
		want("third")
		if strings.Count(told.String(), "level=ERROR") != 1 || strings.Contains(told.String(), "canary") {
			t.Errorf("a broken key is told so:\n%s", told)
		}
		if err := os.Remove(config.CertFile); err != nil {
			t.Fatal(err)
		}
		passes(4)
		if strings.Count(told.String(), "level=ERROR") != 2 || !strings.Contains(told.String(), "server.crt: no such file") {
			t.Errorf("a file that has gone is told so:\n%s", told)
		}
		certs.Reload() // asked for, and so told at once
		if strings.Count(told.String(), "level=ERROR") != 3 {
			t.Errorf("a reload that was asked for is told so:\n%s", told)
		}
		replace("fourth")
		certs.Reload()
		want("fourth")
		stop()
		running.Wait()
	})
}

// A CA that is removed from the list is unknown to connections that were there before.
func TestClientCAsChange(t *testing.T) {
	ca, theirs, dir := gatetest.NewCA(t, "ours"), gatetest.NewCA(t, "theirs"), t.TempDir()
	certs, err := LoadCertificates(securedBy(t, dir, ca, ClientAuthOptional), time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	of := func(ca *gatetest.CA) []*x509.Certificate {
		return []*x509.Certificate{ca.Client(gatetest.Certificate{CommonName: "one"}).TLS(t).Leaf}
	}
	before := certs.Generation()
	if err := certs.Known(of(ca)); err != nil {
		t.Error(err)
	}
	if err := certs.Known(of(theirs)); err == nil {
		t.Error("a foreign certificate is known")
	}
	gatetest.File(t, dir, "clients.crt", append(theirs.PEM(), "a comment\n"...))
	certs.Reload()
	if certs.Generation() == before {
		t.Error("the list has changed, and its generation has not")
	}
	if err := certs.Known(of(ca)); err == nil {
		t.Error("a certificate is known whose CA was removed")
	}
	if err := certs.Known(of(theirs)); err != nil {
		t.Error(err)
	}
}

func TestTheExpiryOfTheCertificateIsAMetric(t *testing.T) {
	ca, dir := gatetest.NewCA(t, "ours"), t.TempDir()
	config := securedBy(t, dir, ca, ClientAuthOff)
	ca.Server(gatetest.Certificate{NotAfter: time.Unix(4102444800, 0)}).Files(t, dir, "server")
	certs, err := LoadCertificates(config, time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if end := sample(t, certs, ""); end != 4102444800 {
		t.Errorf("it expires at %v", end)
	}
}

// sample is the value of the metric with a kind, or of the one without.
func sample(t *testing.T, certs *Certificates, kind string) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(certs)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			switch labels := m.GetLabel(); {
			case len(labels) == 0 && kind == "":
				return m.GetGauge().GetValue()
			case len(labels) == 1 && labels[0].GetValue() == kind:
				return m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("there is no metric of the kind %q", kind)
	return 0
}

// grpc-go, on its own port, gets what grpc-go's own credentials would give it.
func TestGRPCOverTLS(t *testing.T) {
	ca := gatetest.NewCA(t, "ours")
	certs, err := LoadCertificates(securedBy(t, t.TempDir(), ca, ClientAuthOptional), time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	port, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test's own port
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(newShakenHands()))
	healthpb.RegisterHealthServer(server, healthpb.UnimplementedHealthServer{})
	served := make(chan error, 1)
	go func() { served <- server.Serve(certs.Listen(port, false, "h2")) }()
	conn, err := grpc.NewClient(port.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: ca.Pool()})))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{}); err == nil || !strings.Contains(err.Error(), "not implemented") {
		t.Error(err)
	}
	_ = conn.Close()
	server.Stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
