package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"google.golang.org/grpc"
	grpccredentials "google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/remit-authz/remit/rpc/gate/gatetest"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// A canary is a secret that must be found nowhere.
type canary struct{ name, text string }

// A spill collects whatever a server lets out.
type spill struct {
	t      *testing.T
	client *http.Client
	over   *tls.Config
	all    bytes.Buffer
	codes  map[int]int
}

// fetch makes a request and keeps the whole answer.
func (s *spill) fetch(ctx context.Context, method, url, contentType, body string, header map[string]string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	res, err := s.client.Do(req)
	if err != nil {
		return // a stream that was not over in time; the error is the client's own
	}
	defer func() { _ = res.Body.Close() }()
	s.codes[res.StatusCode]++
	_ = res.Header.Write(&s.all)
	_, _ = io.Copy(&s.all, res.Body) // as much as came in time
	_ = res.Trailer.Write(&s.all)
}

// proceduresOf are the procedures of all faces but health, as paths.
func proceduresOf() (unary, streams []string) {
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		if !slices.Contains([]protoreflect.FullName{"remit.v1", "openfga.v1", "authzen.v1"}, file.Package()) {
			return true
		}
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				method := service.Methods().Get(j)
				path := "/" + string(service.FullName()) + "/" + string(method.Name())
				if method.IsStreamingClient() || method.IsStreamingServer() {
					streams = append(streams, path)
				} else {
					unary = append(unary, path)
				}
			}
		}
		return true
	})
	return unary, streams
}

// No secret is ever let out: neither by an answer nor by a log, a metric, a profile, a file
// of the data or the end of the process.
func TestSecretsStaySecret(t *testing.T) {
	withoutCredentials(t)
	dir, data := t.TempDir(), t.TempDir()
	issuer, ca := gatetest.NewIssuer(t, jose.EdDSA), gatetest.NewCA(t, "ours")
	rootKey := "canary-root-4f9d1c7b2a8e6035-4f9d1c7b2a8e6035"
	rootFile := gatetest.File(t, dir, "root.key", []byte(rootKey+"\n"))
	admin, grpcAddr := freeAddr(t), freeAddr(t)
	pair := ca.Server(gatetest.Certificate{})
	cert, privateKey := pair.Files(t, dir, "server")
	caFile := gatetest.File(t, dir, "ca.crt", ca.PEM())
	decisions := filepath.Join(data, "decisions.jsonl")
	flags := []string{
		"--tls-cert", cert, "--tls-key", privateKey, "--tls-client-ca", caFile, "--tls-client-auth", "optional",
		"--decision-log", decisions, "--decision-log-select", "all", "--decision-log-context", "--root-key-file", rootFile, "--oidc-issuer", issuer.URL, "--oidc-audience", "remit", "--oidc-grants-claim", "grants",
		"--log-level", "debug", "--log-requests", "all", "--admin-addr", admin, "--grpc-addr", grpcAddr,
	}
	p := serveProcess(t, data, flags...)
	base := p.addr
	t.Setenv("REMIT_CA_FILE", caFile)
	must(t, "store", "import", "testdata/stores/public.fga.yaml", "--addr", p.addr, "--token-file", rootFile)

	claims := issuer.Claims("canary-claim", "remit", time.Now())
	claims["grants"], claims["secret"] = "*:read", "canary-in-a-claim"
	token := issuer.Token(claims)
	claims["exp"] = time.Now().Add(-time.Hour).Unix()
	expired := issuer.Token(claims)
	made, err := identityOf(t, p.addr, credentials{token: rootKey, caFile: caFile}).CreateKey(t.Context(), &remitv1.CreateKeyRequest{
		Name: "app", Grants: []*remitv1.Grant{{Target: &remitv1.Grant_AllStores{AllStores: true}, Permissions: []remitv1.Permission{remitv1.Permission_PERMISSION_READ}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	key := made.GetSecret()
	altered := key[:len(key)-1] + string('0'+('1'-key[len(key)-1]%2))
	secretPart := func(token string) string { return token[strings.LastIndexAny(token, "._")+1:] }
	canaries := []canary{
		{"the root key", "4f9d1c7b2a8e6035-4f9d1c7b2a8e6035"},
		{"a key", secretPart(key)[:40]},
		{"the signature of a token", secretPart(token)},
		{"the claims of a token", strings.Split(token, ".")[1]},
		{"a claim", "canary-in-a-claim"},
		{"the signature of an expired token", secretPart(expired)},
		{"a wrong secret", "canary-wrong"},
		{"the private key of TLS", strings.Split(string(pair.Key), "\n")[1]},
	}

	bearers := map[string]string{"nothing": "", "another scheme": "Basic canary-wrong", "two words": "Bearer canary-wrong canary-wrong"}
	for name, token := range map[string]string{
		"root": rootKey, "a key": key, "a token": token, "an expired token": expired, "an altered key": altered,
		"half a key": key[:50], "a wrong word": "canary-wrong", "no token": "canary-wrong.canary-wrong.canary-wrong",
		"a token of none": strings.Replace(token, ".", ".canary-wrong", 1), "too long": "canary-wrong." + strings.Repeat("x", 20<<10) + ".x",
	} {
		bearers[name] = "Bearer " + token
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	s := &spill{t: t, client: &http.Client{Transport: transport}, over: transport.TLSClientConfig, codes: map[int]int{}}
	unary, streams := proceduresOf()
	for _, name := range slices.Sorted(maps.Keys(bearers)) {
		header := map[string]string{"X-Api-Key": "canary-wrong", "Cookie": "token=canary-wrong"}
		if bearers[name] != "" {
			header["Authorization"] = bearers[name]
		}
		for _, procedure := range unary {
			// Changes of everything stay undone, so that there is something to ask for.
			if name == "root" && (strings.Contains(procedure, "/Delete") || strings.Contains(procedure, "/Erase")) {
				continue
			}
			s.fetch(t.Context(), http.MethodPost, base+procedure+"?access_token=canary-wrong", "application/json", `{}`, header)
		}
		s.fetch(t.Context(), http.MethodPost, base+unary[0], "application/json", `{"name":`, header)
		for _, procedure := range streams {
			s.fetch(t.Context(), http.MethodPost, base+procedure, "application/connect+json", "\x00\x00\x00\x00\x02{}", header)
		}
		for _, path := range []string{"/stores", "/stores/01JD3T7H6M8Z5W1X9Y2V4B6N8Q/check?token=canary-wrong", "/.well-known/authzen-configuration", "/healthz", "/nowhere?token=canary-wrong", "//?canary-wrong"} {
			s.fetch(t.Context(), http.MethodGet, base+path, "", "", header)
			s.fetch(t.Context(), http.MethodPost, base+path, "application/json", `{}`, header)
		}
		s.overGRPC(t.Context(), grpcAddr, unary, bearers[name])
	}
	for _, code := range []int{http.StatusOK, http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound} {
		if s.codes[code] == 0 {
			t.Errorf("no request was answered with %d: %v", code, s.codes)
		}
	}
	for _, path := range []string{"/metrics", "/healthz", "/readyz", "/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2", "/debug/pprof/symbol", "/debug/pprof/threadcreate?debug=1"} {
		s.fetch(t.Context(), http.MethodGet, "http://"+admin+path, "", "", map[string]string{"Authorization": "Bearer canary-wrong"})
	}
	for _, output := range []string{"yaml", "json"} {
		s.all.WriteString(must(t, append([]string{"config", "print", "-o", output}, flags...)...))
	}
	for _, credential := range []string{rootKey, key, token, expired, key[:50], "canary-wrong"} {
		for _, args := range [][]string{{"store", "list"}, {"check", "visitor:ann", "can_visit", "hall:west"}, {"check", "nothing"}, {"watch", "--timeout", "nonsense"}} {
			out, errs, _ := remit(t, append(args, "--addr", p.addr, "--token", credential)...)
			s.all.WriteString(out + errs)
		}
	}

	// The log of decisions is written a moment later.
	for deadline := time.Now().Add(20 * time.Second); ; runtime.Gosched() {
		if logged, err := os.ReadFile(decisions); err == nil && bytes.Contains(logged, []byte("oidc:canary-claim")) {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("no decision names the caller: %v\n%.2000s", err, logged)
		}
	}
	// The process ends as by a fault of its own: with what every goroutine was doing.
	if err := p.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	p.ends(t)
	crash := p.stderr.String()
	if !strings.Contains(crash, "SIGQUIT") || !strings.Contains(crash, "msg=request") {
		t.Errorf("the log has no requests, or no end:\n%.2000s", crash)
	}
	places := map[string][]byte{"an answer": s.all.Bytes(), "the log": []byte(crash), "standard output": []byte(p.line)}
	err = filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		places[path], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for place, content := range places {
		for _, c := range canaries {
			if i := bytes.Index(content, []byte(c.text)); i >= 0 {
				t.Errorf("%s tells %s: %q", place, c.name, content[max(0, i-80):min(len(content), i+80)])
			}
		}
	}
}

// overGRPC calls procedures on the port of gRPC alone.
func (s *spill) overGRPC(ctx context.Context, addr string, procedures []string, authorization string) {
	s.t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(grpccredentials.NewTLS(s.over)))
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if authorization != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", authorization)
	}
	ctx = metadata.AppendToOutgoingContext(ctx, "x-api-key", "canary-wrong")
	for _, procedure := range procedures {
		if strings.Contains(procedure, "/Delete") || strings.Contains(procedure, "/Erase") {
			continue
		}
		var answer emptypb.Empty
		var header, trailer metadata.MD
		err := conn.Invoke(ctx, procedure, &emptypb.Empty{}, &answer, grpc.Header(&header), grpc.Trailer(&trailer))
		told, _ := json.Marshal([]any{header, trailer}) // of maps of texts
		s.all.Write(told)
		s.all.Write(answer.ProtoReflect().GetUnknown())
		if err != nil {
			s.all.WriteString(err.Error())
		}
	}
}
