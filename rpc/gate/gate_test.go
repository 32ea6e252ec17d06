package gate

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/protobuf/proto"

	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
	"github.com/remit-authz/remit/rpc/identity"
)

// callers is a keyring that knows its callers by their tokens.
type callers map[string]*identity.Caller

func (c callers) Authenticate(token string) (*identity.Caller, error) {
	if !strings.HasPrefix(token, "key-") {
		return nil, identity.ErrNotMine
	}
	if caller := c[token]; caller != nil {
		return caller, nil
	}
	return nil, identity.ErrUnauthenticated
}

func (callers) Grants(principal string) (identity.Grants, error) {
	if principal == "oidc:anna" {
		return identity.Grants{All: identity.Write}, nil
	}
	return identity.Grants{}, nil
}

func (callers) Now() time.Time { return time.Unix(1000, 0) }

// stream carries one message, and counts what was sent.
type stream struct {
	message  proto.Message
	received int
	sent     int
}

func (s *stream) Receive(msg any) error {
	s.received++
	if s.message == nil {
		return io.EOF
	}
	proto.Merge(msg.(proto.Message), s.message)
	return nil
}
func (s *stream) SendHeaders() error { return nil }
func (s *stream) Send(any) error     { s.sent++; return nil }

func call(g *Gate, spec connect.Spec, token string, s *stream, handler connect.ServerFunc) error {
	server := connect.NewServer(g.Interceptors()...)
	server.Register(connect.Method{Spec: spec, Handler: handler})
	info := &connect.CallInfo{}
	if token != "" {
		info.RequestHeader().Set("Authorization", "Bearer "+token)
	}
	return server.Call(context.Background(), spec.Procedure, info, s)
}

func unary(procedure string) connect.Spec {
	return connect.Spec{Procedure: procedure, StreamType: connect.StreamTypeUnary}
}

// What nobody listed nobody may call, whoever they are.
func TestUnknownProcedureIsRefused(t *testing.T) {
	g := New(Config{Required: true}, callers{"key-root": {Principal: "root", Grants: identity.Grants{Cluster: true}}})
	err := call(g, unary("/remit.v1.NewService/New"), "key-root", &stream{}, func(context.Context, connect.Spec, connect.ServerStream) error {
		t.Error("the handler runs")
		return nil
	})
	if !errors.Is(err, identity.ErrForbidden) {
		t.Errorf("an unknown procedure = %v, want %v", err, identity.ErrForbidden)
	}
}

// A handler that forgets to ask whether its caller may know cannot answer.
func TestUnaskedCallsCannotAnswer(t *testing.T) {
	g := New(Config{Required: true}, callers{"key-a": {Principal: "key:a", Grants: identity.Grants{All: identity.Read}}})
	for _, kind := range []connect.StreamType{connect.StreamTypeUnary, connect.StreamTypeServer} {
		for _, asks := range []bool{false, true} {
			s := &stream{}
			spec := connect.Spec{Procedure: remitv1connect.AccessServiceStreamObjectsProcedure, StreamType: kind}
			err := call(g, spec, "key-a", s, func(ctx context.Context, _ connect.Spec, stream connect.ServerStream) error {
				if asks {
					if err := identity.Authorize(ctx, identity.Store{1}); err != nil {
						return err
					}
				}
				return stream.Send(nil)
			})
			if asks != (err == nil) || asks != (s.sent == 1) {
				t.Errorf("a call that asks: %v, ends with %v and %d answers", asks, err, s.sent)
			}
			if errors.Is(err, identity.ErrForbidden) || errors.Is(err, identity.ErrUnauthenticated) {
				t.Errorf("a fault of ours is told as the caller's: %v", err)
			}
		}
	}
}

// Nothing of a stranger's request is read.
func TestStrangersAreNotHeard(t *testing.T) {
	g := New(Config{Required: true}, callers{})
	for _, token := range []string{"", "key-x", "other"} {
		s := &stream{}
		err := call(g, unary(remitv1connect.AccessServiceCheckProcedure), token, s, func(_ context.Context, _ connect.Spec, stream connect.ServerStream) error {
			return stream.Receive(nil)
		})
		if !errors.Is(err, identity.ErrUnauthenticated) || s.received != 0 {
			t.Errorf("token %q: %v, %d messages read", token, err, s.received)
		}
	}
}

// A message that names its store is judged when it arrives.
func TestLiteralStores(t *testing.T) {
	mine, others := "01ARZ3NDEKTSV4RRFFQ69G5FAV", "01ARZ3NDEKTSV4RRFFQ69G5FAW"
	store := identity.Store{0x01, 0x56, 0x3e, 0x3a, 0xb5, 0xd3, 0xd6, 0x76, 0x4c, 0x61, 0xef, 0xb9, 0x93, 0x02, 0xbd, 0x5b}
	g := New(Config{Required: true}, callers{"key-a": {Principal: "key:a", Grants: identity.Grants{Stores: map[identity.Store]identity.Permissions{store: identity.Read}}}})
	for name, want := range map[string]bool{mine: true, others: false, "no id": false, "": false, "00000000000000000000000001": false} {
		s := &stream{message: &openfgav1.CheckRequest{StoreId: name}}
		err := call(g, unary(openfgav1.OpenFGAService_Check_FullMethodName), "key-a", s, func(_ context.Context, _ connect.Spec, stream connect.ServerStream) error {
			if err := stream.Receive(&openfgav1.CheckRequest{}); err != nil {
				return err
			}
			return stream.Send(nil)
		})
		if want != (err == nil) || !want && !errors.Is(err, identity.ErrForbidden) {
			t.Errorf("Check of store %q = %v, want permitted: %v", name, err, want)
		}
	}
}

// provider knows one token and the certificate of anybody.
type provider struct{ expires time.Time }

func (p provider) Authenticate(_ context.Context, token string) (*identity.Caller, error) {
	if token != "anna's" {
		return nil, identity.ErrNotMine
	}
	return &identity.Caller{Principal: "oidc:anna", Grants: identity.Grants{All: identity.Read}, Expires: p.expires}, nil
}

type certificate struct{}

func (certificate) Authenticate(context.Context, []*x509.Certificate) (*identity.Caller, error) {
	return &identity.Caller{Principal: "cert:ben"}, nil
}

func TestWhoCalls(t *testing.T) {
	root, err := NewRootKey("0123456789abcdef0123456789abcdef\n")
	if err != nil {
		t.Fatal(err)
	}
	chain := context.WithValue(t.Context(), certificatesKey{}, []*x509.Certificate{{}})
	full := Config{Root: root, Bearers: []BearerAuthenticator{provider{}}, Certificates: certificate{}}
	for _, tc := range []struct {
		name          string
		config        Config
		ctx           context.Context
		authorization string
		want          string
		grants        identity.Permissions
		err           error
	}{
		{"nothing", full, t.Context(), "", "", 0, identity.ErrNoCredentials},
		{"a certificate", full, chain, "", "cert:ben", 0, nil},
		{"a certificate that counts for nothing", Config{Root: root}, chain, "", "", 0, identity.ErrNoCredentials},
		{"a token before a certificate", full, chain, "Bearer anna's", "oidc:anna", identity.Read | identity.Write, nil},
		{"a bad token, whatever the certificate", full, chain, "Bearer ben's", "", 0, identity.ErrUnauthenticated},
		{"the root key", full, t.Context(), "bearer 0123456789abcdef0123456789abcdef", "root", 15, nil},
		{"the root key and more", full, t.Context(), "Bearer 0123456789abcdef0123456789abcdef0", "", 0, identity.ErrUnauthenticated},
		{"the root key of a server without", Config{Required: true}, t.Context(), "Bearer 0123456789abcdef0123456789abcdef", "", 0, identity.ErrUnauthenticated},
		{"a token that has expired", Config{Bearers: []BearerAuthenticator{provider{time.Unix(1000, 0)}}}, t.Context(), "Bearer anna's", "", 0, identity.ErrExpired},
		{"another scheme", full, chain, "Basic YTpi", "", 0, identity.ErrUnauthenticated},
		{"no token", full, chain, "Bearer ", "", 0, identity.ErrUnauthenticated},
		{"two tokens", full, chain, "Bearer anna's anna's", "", 0, identity.ErrUnauthenticated},
	} {
		caller, err := New(tc.config, callers{}).authenticate(tc.ctx, tc.authorization)
		switch {
		case tc.err != nil:
			if !errors.Is(err, tc.err) {
				t.Errorf("%s: %v, %v, want %v", tc.name, caller, err, tc.err)
			}
		case err != nil || caller.Principal != tc.want || caller.Grants.On(identity.Store{1}) != tc.grants:
			t.Errorf("%s: %+v, %v, want %s with %s", tc.name, caller, err, tc.want, tc.grants)
		}
	}
}

// Of two tokens this server would judge one, and a proxy before it perhaps the other.
func TestSeveralTokens(t *testing.T) {
	g := New(Config{Required: true}, callers{"key-a": {Principal: "key:a"}, "key-root": {Principal: "root", Grants: identity.Grants{Cluster: true}}})
	for _, test := range []struct {
		values []string
		known  bool
	}{
		{[]string{"Bearer key-a"}, true},
		{[]string{"Bearer key-a", "Bearer key-a"}, true},
		{[]string{"Bearer key-a", "Bearer key-root"}, false},
		{[]string{"", "Bearer key-root"}, false},
		{[]string{"Bearer key-root", ""}, false},
	} {
		server := connect.NewServer(g.Interceptors()...)
		server.Register(connect.Method{Spec: unary(remitv1connect.IdentityServiceWhoAmIProcedure), Handler: func(context.Context, connect.Spec, connect.ServerStream) error { return nil }})
		info := &connect.CallInfo{}
		info.RequestHeader().SetValues("Authorization", test.values)
		header := http.Header{"Authorization": test.values}
		_, admitted := g.Admit(t.Context(), header)
		for way, err := range map[string]error{
			"a call":     server.Call(t.Context(), remitv1connect.IdentityServiceWhoAmIProcedure, info, &stream{}),
			"REST":       admitted,
			"reflection": g.Know(t.Context(), test.values),
		} {
			if test.known != (err == nil) || !test.known && !errors.Is(err, identity.ErrUnauthenticated) {
				t.Errorf("%s with %q: %v, want known %v", way, test.values, err, test.known)
			}
		}
		if err := g.Administers(&http.Request{Header: header}); err == nil != (test.known && test.values[0] == "Bearer key-root") {
			t.Errorf("metrics with %q: %v", test.values, err)
		}
	}
}

func TestRootKeyMustBeHardToGuess(t *testing.T) {
	for _, text := range []string{"", "short", strings.Repeat("a", MinRootKey-1), "  " + strings.Repeat("a", MinRootKey-1) + "\n", "two words " + strings.Repeat("a", MinRootKey)} {
		if _, err := NewRootKey(text); err == nil || text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("NewRootKey(%q) = %v", text, err)
		}
	}
}
