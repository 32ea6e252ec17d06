package server

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/remit-authz/remit/rpc"
	"github.com/remit-authz/remit/rpc/gate/gatetest"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

const testRootKey = "0123456789abcdef0123456789abcdef"

// secured is a configuration that serves TLS, and asks callers who they are.
func secured(t *testing.T, ca *gatetest.CA) Config {
	t.Helper()
	config, dir := testConfig(t), t.TempDir()
	config.TLS = rpc.TLSConfig{ClientCAFile: gatetest.File(t, dir, "ca.crt", ca.PEM()), ClientAuth: rpc.ClientAuthOptional}
	config.TLS.CertFile, config.TLS.KeyFile = ca.Server(gatetest.Certificate{}).Files(t, dir, "server")
	config.Identity.RootKeyFile = gatetest.File(t, dir, "root.key", []byte(testRootKey+"\n"))
	return config
}

// run serves until the test ends, and waits until it does.
func run(t *testing.T, s *Server) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
}

// invoke calls a procedure on the port of gRPC alone.
func invoke(t *testing.T, s *Server, procedure string, over *tls.Config, token string, request, answer proto.Message) error {
	t.Helper()
	conn, err := grpc.NewClient(s.GRPCAddr(), grpc.WithTransportCredentials(credentials.NewTLS(over)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx := t.Context()
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	return conn.Invoke(ctx, procedure, request, answer)
}

// Who shows a certificate is known by it on both ports, in HTTP/1.1 and in HTTP/2.
func TestClientCertificatesOnBothPorts(t *testing.T) {
	ca := gatetest.NewCA(t, "ours")
	s, err := Open(t.Context(), secured(t, ca))
	if err != nil {
		t.Fatal(err)
	}
	run(t, s)
	pair := ca.Client(gatetest.Certificate{URIs: []string{"spiffe://shop/app"}}).TLS(t)
	shown := &tls.Config{RootCAs: ca.Pool(), Certificates: []tls.Certificate{pair}}
	var answer remitv1.WhoAmIResponse
	if err := invoke(t, s, remitv1connect.IdentityServiceWhoAmIProcedure, shown, "", &remitv1.WhoAmIRequest{}, &answer); err != nil || answer.GetPrincipal() != "cert:spiffe://shop/app" {
		t.Errorf("the port of gRPC knows %v, %v", &answer, err)
	}
	if err := invoke(t, s, remitv1connect.IdentityServiceWhoAmIProcedure, shown, testRootKey, &remitv1.WhoAmIRequest{}, &answer); err != nil || answer.GetPrincipal() != "root" {
		t.Errorf("a token goes before a certificate: %v, %v", &answer, err)
	}
	if err := invoke(t, s, remitv1connect.IdentityServiceWhoAmIProcedure, &tls.Config{RootCAs: ca.Pool()}, "", &remitv1.WhoAmIRequest{}, &answer); status.Code(err) != codes.Unauthenticated {
		t.Errorf("without either: %v", err)
	}
	for _, http2 := range []bool{false, true} {
		transport := &http.Transport{TLSClientConfig: shown.Clone(), ForceAttemptHTTP2: http2}
		for _, path := range []string{remitv1connect.IdentityServiceWhoAmIProcedure, "/openfga.v1.OpenFGAService/ListStores", "/stores"} {
			method, want := http.MethodPost, "{"
			switch path {
			case "/stores":
				method = http.MethodGet
			case remitv1connect.IdentityServiceWhoAmIProcedure:
				want = `"cert:spiffe://shop/app"`
			}
			req, err := http.NewRequestWithContext(t.Context(), method, "https://"+s.Addr()+path, strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			res, err := (&http.Client{Transport: transport}).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
				t.Errorf("%s %s is %s: %s, %v", res.Proto, path, res.Status, body, err)
			}
			_ = res.Body.Close()
		}
		transport.CloseIdleConnections()
	}
}

// On an address that others can reach, metrics and profiles are for those with the grant
// cluster, and health is for everybody.
func TestAdminOfOthersAsksWhoTheyAre(t *testing.T) {
	ca := gatetest.NewCA(t, "ours")
	config := secured(t, ca)
	config.AdminAddr = "0.0.0.0:0"
	s, err := Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(s.AdminAddr())
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	page := func(scheme, path, authorization string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, scheme+"://127.0.0.1:"+port+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if authorization != "" {
			req.Header.Set("Authorization", authorization)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(body)
	}
	run(t, s)
	for status := 0; status != http.StatusOK; status, _ = page("https", "/readyz", "") {
	}
	var made remitv1.CreateKeyResponse
	if err := invoke(t, s, remitv1connect.IdentityServiceCreateKeyProcedure, &tls.Config{RootCAs: ca.Pool()}, testRootKey, &remitv1.CreateKeyRequest{
		Name: "app", Grants: []*remitv1.Grant{{Target: &remitv1.Grant_AllStores{AllStores: true}, Permissions: []remitv1.Permission{remitv1.Permission_PERMISSION_ADMIN}}},
	}, &made); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/heap"} {
		for _, test := range []struct {
			authorization string
			status        int
			want          string
		}{
			{"", http.StatusUnauthorized, "the call brings no credentials"},
			{"Bearer canary", http.StatusUnauthorized, "the token is none that this server knows"},
			{"Bearer " + made.GetSecret(), http.StatusForbidden, "key:app needs the grant cluster"},
			{"Bearer " + testRootKey, http.StatusOK, ""},
		} {
			if status, body := page("https", path, test.authorization); status != test.status || !strings.Contains(body, test.want) || strings.Contains(body, "canary") {
				t.Errorf("%s is %d: %.100s; want %d, %s", path, status, body, test.status, test.want)
			}
		}
	}
	if status, _ := page("https", "/healthz", ""); status != http.StatusOK {
		t.Errorf("/healthz is %d", status)
	}
	if status, _ := page("http", "/metrics", "Bearer "+testRootKey); status != http.StatusBadRequest {
		t.Errorf("without TLS, /metrics is %d", status)
	}
}
