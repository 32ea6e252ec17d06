package server

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// get is the status and the body of a page.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
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

func testConfig(t *testing.T) Config {
	return Config{DataDir: t.TempDir(), Addr: "127.0.0.1:0", GRPCAddr: "127.0.0.1:0", AdminAddr: "127.0.0.1:0", Version: "v0"}
}

func TestAdminShowsANodeFromItsStartToItsEnd(t *testing.T) {
	s, err := Open(t.Context(), testConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	admin, addr := "http://"+s.AdminAddr(), s.Addr()
	if status, body := get(t, admin+"/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "NOT_SERVING") {
		t.Errorf("before it serves, it is ready: %d %s", status, body)
	}
	if status, _ := get(t, admin+"/healthz"); status != http.StatusOK {
		t.Errorf("before it serves, its health is %d", status)
	}
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	for status := 0; status != http.StatusOK; status, _ = get(t, admin+"/readyz") {
		select {
		case err := <-ran:
			t.Fatalf("it has stopped: %v", err)
		default:
		}
	}
	// It leads, so it is behind nobody.
	for query, want := range map[string]int{
		"?max_lag=0s": http.StatusOK, "?max_lag=1m": http.StatusOK, "?max_lag=soon": http.StatusBadRequest, "?max_lag=-1s": http.StatusBadRequest,
	} {
		if status, body := get(t, admin+"/readyz"+query); status != want {
			t.Errorf("/readyz%s is %d %s, want %d", query, status, body, want)
		}
	}
	status, body := get(t, admin+"/metrics")
	if status != http.StatusOK {
		t.Fatalf("/metrics is %d: %s", status, body)
	}
	for _, want := range []string{
		`remit_build_info{go_version="go`, `version="v0"} 1`, "remit_revision ", "remit_raft_leader 1", "remit_pebble_l0_sublevels ",
		`remit_rpc_requests_total{code="ok",face="remit",rpc="AccessService/Check"} 0`, "go_goroutines ", "process_open_fds ",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("/metrics has no %s", want)
		}
	}
	if status, body := get(t, admin+"/debug/pprof/goroutine?debug=1"); status != http.StatusOK || !strings.Contains(body, "goroutine profile") {
		t.Errorf("a profile is %d: %.80s", status, body)
	}
	for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/pprof/goroutine"} {
		if status, _ := get(t, "http://"+addr+path); status != http.StatusNotFound {
			t.Errorf("%s on the API's port is %d", path, status)
		}
	}
	stop()
	if err := <-ran; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", strings.TrimPrefix(admin, "http://")); err == nil { //nolint:noctx // it is refused at once
		t.Error("after the end, the admin address still answers")
	}
}

func TestNothingIsAdministeredUnasked(t *testing.T) {
	config := testConfig(t)
	config.AdminAddr = ""
	s, err := Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if s.AdminAddr() != "" {
		t.Errorf("admin listens on %s", s.AdminAddr())
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestAdminAddressesThatAreRefused(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test's own port
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	for _, test := range []struct{ addr, want string }{
		{"0.0.0.0:0", "admin-addr \"0.0.0.0:0\" can be reached from outside"},
		{":0", "permit it with --insecure"},
		{"2112", "admin-addr \"2112\" is not host:port"},
		{taken.Addr().String(), "listen on " + taken.Addr().String()},
	} {
		config := testConfig(t)
		config.AdminAddr = test.addr
		s, err := Open(t.Context(), config)
		if err == nil {
			_ = s.Close()
			t.Errorf("admin-addr %s is taken", test.addr)
		} else if !strings.Contains(err.Error(), test.want) {
			t.Errorf("admin-addr %s: %v, want %s", test.addr, err, test.want)
		}
	}
}
