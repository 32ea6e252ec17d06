package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"golang.org/x/oauth2"

	"github.com/remit-authz/remit/rpc/client"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/token"
)

func TestAWriteWhoseAnswerIsLostTakesEffectOnce(t *testing.T) {
	r := newRig(t)
	addr, _ := r.serve()
	relay := newRelay(t, addr)
	store := r.store(r.client(addr), "museum")
	c := r.client(relay.addr())
	request := &remitv1.WriteRequest{Store: store, Operations: []*remitv1.Operation{create("exhibit:vase", "curator", "user:anna")}}
	relay.lose.Store(3)
	first, err := c.Tuples.Write(t.Context(), request)
	if err != nil {
		t.Fatalf("Write through a relay that loses three answers = %v", err)
	}
	if n := relay.lost.Load(); n != 3 {
		t.Fatalf("the relay lost %d answers, want 3", n)
	}
	if request.GetIdempotencyKey() != "" {
		t.Error("the caller's request was changed")
	}
	// Had it been written by a later attempt, the answer would name a later state.
	direct := r.client(addr)
	read, err := direct.Tuples.Read(t.Context(), &remitv1.ReadRequest{Store: store, Consistency: &remitv1.Consistency{
		Requirement: &remitv1.Consistency_AtExactSnapshot{AtExactSnapshot: first.GetToken()},
	}})
	if err != nil || len(read.GetTuples()) != 1 {
		t.Errorf("Read at the write's token = %v, %v", read.GetTuples(), err)
	}
	// The same request again is another write, and finds the tuple there.
	if _, err := c.Tuples.Write(t.Context(), request); client.Reason(err) != remitv1.ErrorReason_ERROR_REASON_TUPLE_EXISTS {
		t.Errorf("a second Write of the same = %v, want that the tuple exists", err)
	}
}

func TestAnotherAddressIsTakenWhenOneFails(t *testing.T) {
	r := newRig(t)
	one, stop := r.serve()
	two, _ := r.serve()
	c := newClient(t, client.Config{Addrs: []string{one, two}, Pause: time.Millisecond, Attempts: 3})
	store := r.store(c, "museum")
	stop()
	for i := range 20 {
		object := fmt.Sprintf("exhibit:%d", i)
		if _, err := c.Tuples.Write(t.Context(), &remitv1.WriteRequest{Store: store, Operations: []*remitv1.Operation{create(object, "curator", "user:anna")}}); err != nil {
			t.Fatalf("Write with one of two servers down = %v", err)
		}
		res, err := c.Access.Check(t.Context(), &remitv1.CheckRequest{
			Scope: &remitv1.Scope{Store: store}, Question: &remitv1.Question{Object: object, Relation: "visitor", Subject: "user:anna"},
		})
		if err != nil || !res.GetAllowed() {
			t.Fatalf("Check with one of two servers down = %v, %v", res.GetAllowed(), err)
		}
	}
}

func TestANodeThatHangsIsLeftForAnother(t *testing.T) {
	r := newRig(t)
	addr, _ := r.serve()
	silent, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	c := newClient(t, client.Config{Addrs: []string{silent.Addr().String(), addr}, Pause: time.Millisecond, AttemptTimeout: 200 * time.Millisecond})
	if _, err := c.Node.GetNode(t.Context(), &remitv1.GetNodeRequest{}); err != nil {
		t.Errorf("GetNode = %v", err)
	}
}

// A server learns how long an attempt may take, and may be the first to find that it took
// too long. A deadline that nobody set for an attempt is the call's own.
func TestANodeThatIsTooSlowIsLeftForAnother(t *testing.T) {
	r := newRig(t)
	addr, _ := r.serve()
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusGatewayTimeout)
		_, _ = io.WriteString(w, `{"code":"deadline_exceeded","message":"it took too long"}`)
	}))
	defer slow.Close()
	for _, timeout := range []time.Duration{time.Minute, 0} {
		c := newClient(t, client.Config{Addrs: []string{slow.URL, addr}, Pause: time.Millisecond, AttemptTimeout: timeout})
		_, err := c.Node.GetNode(t.Context(), &remitv1.GetNodeRequest{})
		if late := connect.CodeOf(err) == connect.CodeDeadlineExceeded; late != (timeout == 0) {
			t.Errorf("GetNode with attempts of at most %s = %v", timeout, err)
		}
	}
}

func TestWhereNothingListens(t *testing.T) {
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	_ = listener.Close()
	var attempts int
	counted := func(next connect.ClientFunc) connect.ClientFunc {
		return func(ctx context.Context, spec connect.Spec) (connect.ClientStream, error) {
			attempts++
			return next(ctx, spec)
		}
	}
	for _, tc := range []struct {
		name     string
		failFast bool
		want     int
	}{{"it is waited for", false, 4}, {"it is not waited for", true, 1}} {
		attempts = 0
		c := newClient(t, client.Config{Addrs: []string{addr}, Attempts: 4, Pause: time.Millisecond, FailFast: tc.failFast, Interceptors: []connect.ClientInterceptor{counted}})
		_, err := c.Node.GetNode(t.Context(), &remitv1.GetNodeRequest{})
		if err == nil || attempts != tc.want {
			t.Errorf("%s: %d attempts and %v, want %d and an error", tc.name, attempts, err, tc.want)
		}
	}
}

// Why a server refuses says more than that another is down.
func TestARefusalIsToldAlthoughOtherNodesAreDown(t *testing.T) {
	refuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, `{"code": "unavailable", "message": "no leader"}`)
	}))
	defer refuses.Close()
	nobody := httptest.NewServer(nil)
	nobody.Close()
	for attempts := 1; attempts <= 4; attempts++ {
		c := newClient(t, client.Config{Addrs: []string{refuses.Listener.Addr().String(), nobody.Listener.Addr().String()}, Attempts: attempts, Pause: time.Millisecond})
		if _, err := c.Node.GetNode(t.Context(), &remitv1.GetNodeRequest{}); err == nil || !strings.Contains(err.Error(), "no leader") {
			t.Errorf("after %d attempts: %v, want what the server says", attempts, err)
		}
	}
}

func TestAPortThatIsNotMeantForTheClientIsNamed(t *testing.T) {
	for status, want := range map[int]string{
		http.StatusBadRequest: "it takes no calls without TLS, it seems; write https", http.StatusUnsupportedMediaType: "it speaks gRPC alone, it seems",
	} {
		calls := 0
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			calls++
			w.WriteHeader(status)
		}))
		defer s.Close()
		c := newClient(t, client.Config{Addrs: []string{s.URL}, Pause: time.Millisecond})
		_, err := c.Stores.ListStores(t.Context(), &remitv1.ListStoresRequest{})
		if err == nil || !strings.Contains(err.Error(), s.URL+": ") || !strings.Contains(err.Error(), want) || calls != 1 {
			t.Errorf("of a status %d after %d calls, ListStores = %v, want one call and %s", status, calls, err, want)
		}
	}
}

func TestARefusalIsNotRepeated(t *testing.T) {
	r := newRig(t)
	addr, _ := r.serve()
	var attempts int
	c := newClient(t, client.Config{Addrs: []string{addr}, Interceptors: []connect.ClientInterceptor{func(next connect.ClientFunc) connect.ClientFunc {
		return func(ctx context.Context, spec connect.Spec) (connect.ClientStream, error) {
			attempts++
			return next(ctx, spec)
		}
	}}})
	_, err := c.Stores.GetStore(t.Context(), &remitv1.GetStoreRequest{Store: "nowhere"})
	detail := client.Detail(err)
	if detail.GetReason() != remitv1.ErrorReason_ERROR_REASON_STORE_NOT_FOUND || detail.GetField() != "store" || attempts != 1 {
		t.Errorf("GetStore = %v after %d attempts, detail %v", err, attempts, detail)
	}
}

func TestEveryCallCarriesTheNewestToken(t *testing.T) {
	r := newRig(t)
	addr, _ := r.serve()
	var sent string
	spy := func(next connect.ClientFunc) connect.ClientFunc {
		return func(ctx context.Context, spec connect.Spec) (connect.ClientStream, error) {
			info, _ := connect.CallInfoForClientContext(ctx)
			sent = info.RequestHeader().Get(token.Header)
			return next(ctx, spec)
		}
	}
	c := newClient(t, client.Config{Addrs: []string{addr}, Interceptors: []connect.ClientInterceptor{spy}})
	store := r.store(c, "museum")
	var written []string
	for i := range 3 {
		res, err := c.Tuples.Write(t.Context(), &remitv1.WriteRequest{Store: store, Operations: []*remitv1.Operation{create(fmt.Sprintf("exhibit:%d", i), "curator", "user:anna")}})
		if err != nil {
			t.Fatal(err)
		}
		written = append(written, res.GetToken())
	}
	// An answer about the past brings an older token, which must not replace the newest.
	if _, err := c.Tuples.Read(t.Context(), &remitv1.ReadRequest{Store: store, Consistency: &remitv1.Consistency{
		Requirement: &remitv1.Consistency_AtExactSnapshot{AtExactSnapshot: written[0]},
	}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Node.GetNode(t.Context(), &remitv1.GetNodeRequest{}); err != nil || sent != written[2] {
		t.Errorf("the last call carried %q, %v, want %q", sent, err, written[2])
	}
	// A context that is used again carries no token of its last call for ever.
	ctx, info := connect.NewClientContext(t.Context())
	info.RequestHeader().Set(token.Header, written[0])
	if _, err := c.Node.GetNode(ctx, &remitv1.GetNodeRequest{}); err != nil || sent != written[2] {
		t.Errorf("a call with an older token of its own carried %q, %v, want %q", sent, err, written[2])
	}
	forgetful := newClient(t, client.Config{Addrs: []string{addr}, Forgetful: true, Interceptors: []connect.ClientInterceptor{spy}})
	if _, err := forgetful.Stores.CreateStore(t.Context(), &remitv1.CreateStoreRequest{Name: "other"}); err != nil {
		t.Fatal(err)
	}
	if _, err := forgetful.Node.GetNode(t.Context(), &remitv1.GetNodeRequest{}); err != nil || sent != "" {
		t.Errorf("a forgetful client carried %q, %v", sent, err)
	}
}

func TestTheServerHonoursTheTokenOfAnyCall(t *testing.T) {
	r := newRig(t)
	addr, _ := r.serve()
	c := newClient(t, client.Config{Addrs: []string{addr}, Attempts: 1})
	store := r.store(c, "museum")
	for name, tc := range map[string]struct {
		text string
		want remitv1.ErrorReason
	}{
		"broken": {"nonsense", remitv1.ErrorReason_ERROR_REASON_INVALID_TOKEN},
		"future": {future(r), remitv1.ErrorReason_ERROR_REASON_REVISION_UNAVAILABLE},
	} {
		ctx, info := connect.NewClientContext(t.Context())
		info.RequestHeader().Set(token.Header, tc.text)
		_, err := c.Stores.GetStore(ctx, &remitv1.GetStoreRequest{Store: store})
		if client.Reason(err) != tc.want || client.Detail(err).GetField() != token.Header {
			t.Errorf("%s: GetStore = %v, want %v of the header", name, err, tc.want)
		}
	}
}

// future is a token of a state that the node will not reach.
func future(r *rig) string {
	root := r.state.Current()
	t := token.Token{Revision: uint64(root.Revision()) + 1e6}
	for i := range 8 {
		t.Epoch[15-i] = byte(root.Epoch() >> (8 * i))
	}
	return t.String()
}

func TestListsAreWhole(t *testing.T) {
	r := newRig(t)
	addr, _ := r.serve()
	relay := newRelay(t, addr)
	c := r.client(relay.addr())
	store := r.store(c, "museum")
	var want []string
	var operations []*remitv1.Operation
	for i := range 2500 {
		want = append(want, fmt.Sprintf("%04d", i))
		operations = append(operations, create("exhibit:"+want[i], "curator", "user:anna"))
	}
	if _, err := c.Tuples.Write(t.Context(), &remitv1.WriteRequest{Store: store, Operations: operations}); err != nil {
		t.Fatal(err)
	}
	request := &remitv1.ListObjectsRequest{Scope: &remitv1.Scope{Store: store}, Type: "exhibit", Relation: "visitor", Subject: "user:anna"}
	for range 2 { // a list can be gone through again
		var got []string
		for id, err := range c.Objects(t.Context(), request) {
			if err != nil {
				t.Fatal(err)
			}
			if len(got)%700 == 0 {
				relay.cut() // the connection breaks between two pages
			}
			got = append(got, id)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("Objects = %d ids, want the %d that were written", len(got), len(want))
		}
	}
	var tuples int
	for one, err := range c.StoredTuples(t.Context(), &remitv1.ReadRequest{Store: store, PageSize: 10}) {
		if err != nil || one.GetTuple() == nil {
			t.Fatal(err)
		}
		if tuples++; tuples == 25 {
			break
		}
	}
	if tuples != 25 {
		t.Errorf("StoredTuples gave %d tuples before the loop was left, want 25", tuples)
	}
	var subjects []string
	for s, err := range c.Subjects(t.Context(), &remitv1.ListSubjectsRequest{Scope: &remitv1.Scope{Store: store}, Object: "exhibit:0007", Relation: "visitor", SubjectType: "user"}) {
		if err != nil {
			t.Fatal(err)
		}
		subjects = append(subjects, s.GetSubject())
	}
	if !slices.Equal(subjects, []string{"user:anna"}) {
		t.Errorf("Subjects = %v", subjects)
	}
	var names []string
	for s, err := range c.AllStores(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, s.GetName())
	}
	if !slices.Equal(names, []string{"museum"}) {
		t.Errorf("AllStores = %v", names)
	}
	for _, err := range c.Objects(t.Context(), &remitv1.ListObjectsRequest{Scope: &remitv1.Scope{Store: store}, Type: "nothing", Relation: "visitor", Subject: "user:anna"}) {
		if client.Reason(err) != remitv1.ErrorReason_ERROR_REASON_TYPE_NOT_FOUND {
			t.Errorf("Objects of an unknown type = %v", err)
		}
	}
}

func TestAWatchMissesNothingWhenItsConnectionBreaks(t *testing.T) {
	r := newRig(t)
	addr, _ := r.serve()
	relay := newRelay(t, addr)
	writer := r.client(addr)
	store := r.store(writer, "museum")
	const writes = 200
	var writing sync.WaitGroup
	writing.Go(func() {
		for i := range writes {
			if _, err := writer.Tuples.Write(t.Context(), &remitv1.WriteRequest{Store: store, Operations: []*remitv1.Operation{create(fmt.Sprintf("exhibit:%d", i), "curator", "user:anna")}}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	defer writing.Wait()
	var got []string
	request := &remitv1.WatchRequest{Stores: []string{store}, From: &remitv1.WatchRequest_Earliest{Earliest: true}}
	for message, err := range r.client(relay.addr()).Watch(t.Context(), request) {
		if err != nil {
			t.Fatal(err)
		}
		before := len(got)
		for _, revision := range message.GetChanges().GetRevisions() {
			for _, change := range revision.GetChanges() {
				if change.GetKind() == remitv1.Change_KIND_TUPLE_PUT {
					got = append(got, change.GetTuple().GetObject())
				}
			}
		}
		if before/20 != len(got)/20 {
			relay.cut()
		}
		if len(got) >= writes {
			break
		}
	}
	for i, object := range got {
		if object != fmt.Sprintf("exhibit:%d", i) {
			t.Fatalf("change %d is of %s: something is missing or came twice", i, object)
		}
	}
}

func TestAnExportGoesOnWhereItBroke(t *testing.T) {
	r := newRig(t)
	addr, _ := r.serve()
	relay := newRelay(t, addr)
	c := r.client(relay.addr())
	store := r.store(c, "museum")
	var operations []*remitv1.Operation
	for i := range 9000 {
		operations = append(operations, create(fmt.Sprintf("exhibit:%d", i), "curator", "user:anna"))
	}
	if _, err := c.Tuples.Write(t.Context(), &remitv1.WriteRequest{Store: store, Operations: operations}); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	breaks := 0
	for message, err := range c.Export(t.Context(), &remitv1.ExportRequest{Store: store}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, tuple := range message.GetTuples() {
			if seen[tuple.GetObject()] {
				t.Fatalf("%s came twice", tuple.GetObject())
			}
			seen[tuple.GetObject()] = true
		}
		if breaks < 2 {
			breaks++
			relay.cut()
		}
	}
	if len(seen) != len(operations) {
		t.Errorf("Export = %d tuples, want %d", len(seen), len(operations))
	}
}

func TestCredentials(t *testing.T) {
	var authorization string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		authorization = r.Header.Get("Authorization")
		http.Redirect(w, r, "http://127.0.0.1:1/elsewhere", http.StatusTemporaryRedirect)
	}))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "key")
	write := func(key string, at time.Time) {
		if err := os.WriteFile(file, []byte(key), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}
	begin := time.Now()
	write("remit_first\n", begin)
	fromFile := newClient(t, client.Config{Addrs: []string{server.URL}, Credentials: client.KeyFile(file), Attempts: 1})
	for _, tc := range []struct {
		name   string
		client *client.Client
		before func()
		want   string
	}{
		{"a key", newClient(t, client.Config{Addrs: []string{server.URL}, Credentials: client.Key("remit_key"), Attempts: 1}), func() {}, "Bearer remit_key"},
		{"a file", fromFile, func() {}, "Bearer remit_first"},
		{"the file after a rotation", fromFile, func() { write("remit_second\n", begin.Add(time.Hour)) }, "Bearer remit_second"},
		{"an access token", newClient(t, client.Config{Addrs: []string{server.URL}, Attempts: 1, Credentials: client.OAuth2(oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "access"}))}), func() {}, "Bearer access"},
		{"nobody", newClient(t, client.Config{Addrs: []string{server.URL}, Attempts: 1}), func() {}, ""},
	} {
		tc.before()
		authorization = "never called"
		_, err := tc.client.Node.GetNode(t.Context(), &remitv1.GetNodeRequest{})
		if err == nil || authorization != tc.want {
			t.Errorf("%s: the server saw %q, %v, want %q and that the redirection is not followed", tc.name, authorization, err, tc.want)
		}
	}
	if _, err := newClient(t, client.Config{Addrs: []string{server.URL}, Credentials: client.KeyFile(file + ".none")}).Node.GetNode(t.Context(), &remitv1.GetNodeRequest{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a key file that is missing = %v", err)
	}
	if text := fmt.Sprintf("%v %+v %#v %s", client.Key("secret"), client.Config{Credentials: client.Key("secret")}, client.Config{Credentials: client.Key("secret")}, client.Key("secret")); strings.Contains(text, "secret") {
		t.Errorf("a key shows in %s", text)
	}
}

func TestAConfigurationIsJudgedAsAWhole(t *testing.T) {
	for _, tc := range []struct {
		name   string
		config client.Config
		want   []string
	}{
		{"no address", client.Config{Addrs: []string{"ftp://x", "http://"}}, []string{`"ftp://x"`, `"http://"`}},
		{"a secret in an address", client.Config{Addrs: []string{"http://u:p@host"}}, []string{"no address"}},
		{"credentials in the clear", client.Config{Addrs: []string{"remit.example:8080"}, Credentials: client.Key("k")}, []string{"for all to read"}},
		{"numbers", client.Config{Attempts: -1, Pause: -1}, []string{"Attempts", "Pause"}},
	} {
		_, err := client.New(tc.config)
		if err == nil {
			t.Errorf("%s: no error", tc.name)
			continue
		}
		for _, want := range tc.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v does not tell of %s", tc.name, err, want)
			}
		}
	}
	for _, config := range []client.Config{
		{},
		{Addrs: []string{"localhost:1", "[::1]:2", "127.0.0.1:3"}, Credentials: client.Key("k")},
		{Addrs: []string{"https://remit.example"}, Credentials: client.Key("k")},
		{Addrs: []string{"remit.example:1"}, Credentials: client.Key("k"), Insecure: true},
	} {
		if _, err := client.New(config); err != nil {
			t.Errorf("New(%v) = %v", config.Addrs, err)
		}
	}
}

func TestTokensOfAnIdentityProviderAreFetchedAndKept(t *testing.T) {
	var asked int
	mux := http.NewServeMux()
	provider := httptest.NewServer(mux)
	defer provider.Close()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		printTo(w, `{"issuer":%q,"token_endpoint":"%s/token","jwks_uri":"%s/keys","authorization_endpoint":"%s/auth"}`, provider.URL, provider.URL, provider.URL, provider.URL)
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		if id != "billing" || secret != "hush" || r.FormValue("grant_type") != "client_credentials" || r.FormValue("audience") != "remit" {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		asked++
		w.Header().Set("Content-Type", "application/json")
		printTo(w, `{"access_token":"token-%d","token_type":"Bearer","expires_in":3600}`, asked)
	})
	credentials, err := client.OIDC{Issuer: provider.URL, ClientID: "billing", ClientSecret: "hush", Audience: "remit"}.Discover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if bearer, err := credentials.Bearer(t.Context()); err != nil || bearer != "token-1" {
			t.Errorf("Bearer = %q, %v, want the first token until it expires", bearer, err)
		}
	}
	if _, err := (client.OIDC{Issuer: provider.URL, ClientID: "billing"}).Discover(t.Context()); err == nil {
		t.Error("incomplete settings are no error")
	}
	wrong, err := client.OIDC{Issuer: provider.URL, ClientID: "billing", ClientSecret: "loud"}.Discover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := wrong.Bearer(t.Context()); err == nil || strings.Contains(err.Error(), "loud") {
		t.Errorf("Bearer with a wrong secret = %v, want an error without it", err)
	}
}

func printTo(w http.ResponseWriter, format string, args ...any) {
	_, _ = fmt.Fprintf(w, format, args...) // a client that has gone away cannot be told
}
