package rpc

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// A verdict is how a call ended, whatever the transport calls it.
type verdict string

const (
	wasAnswered  verdict = "answered"
	wasStranger  verdict = "unauthenticated"
	wasForbidden verdict = "forbidden"
	refusedElse  verdict = "refused for another reason"
)

func verdictOf(code int) verdict {
	switch {
	case code == 0:
		return wasAnswered
	case code == int(codes.Unauthenticated), code >= 1000 && code < 1600:
		return wasStranger
	case code == int(codes.PermissionDenied), code == 1600:
		return wasForbidden
	}
	return refusedElse
}

// A way is how a procedure can be called.
type way struct {
	name string
	call func(t *testing.T, spec connect.Spec, msg proto.Message, authorization string) verdict
}

// ways are all there are to a server.
func ways(t *testing.T, s *Server) []way {
	web := "http://" + s.Addr().String()
	post := func(t *testing.T, method, url, contentType string, body []byte, authorization string) (*http.Response, []byte) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if contentType != "" {
			req.Header.Set("Content-Type", contentType)
		}
		if authorization != "" {
			req.Header.Set("Authorization", authorization)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		data, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode == http.StatusUnauthorized && res.Header.Get("Www-Authenticate") == "" {
			t.Errorf("%s: 401 without WWW-Authenticate", url)
		}
		return res, data
	}
	named := func(body []byte) verdict {
		var m struct{ Code string }
		if err := json.Unmarshal(body, &m); err != nil {
			return refusedElse
		}
		switch m.Code {
		case "unauthenticated", "bearer_token_missing", "auth_failed_invalid_bearer_token":
			return wasStranger
		case "permission_denied", "forbidden":
			return wasForbidden
		}
		return refusedElse
	}
	frame := func(data []byte) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(data))), data...)
	}
	gRPC := func(conn *grpc.ClientConn) func(*testing.T, connect.Spec, proto.Message, string) verdict {
		return func(t *testing.T, spec connect.Spec, msg proto.Message, authorization string) verdict {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			if authorization != "" {
				ctx = metadata.AppendToOutgoingContext(ctx, "authorization", authorization)
			}
			stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, spec.Procedure)
			if err == nil {
				if err = stream.SendMsg(msg); err == nil || errors.Is(err, io.EOF) {
					_ = stream.CloseSend()
					err = stream.RecvMsg(dynamicpb.NewMessage(spec.Schema.(protoreflect.MethodDescriptor).Output()))
				}
			}
			if errors.Is(err, io.EOF) {
				return wasAnswered
			}
			return verdictOf(int(status.Code(err)))
		}
	}
	return []way{
		{"gRPC on grpc-go", gRPC(dial(t, s.GRPCAddr()))},
		{"gRPC over HTTP", gRPC(dial(t, s.Addr()))},
		{"Connect", func(t *testing.T, spec connect.Spec, msg proto.Message, authorization string) verdict {
			data, err := protojson.Marshal(msg)
			if err != nil {
				t.Fatal(err)
			}
			if spec.StreamType == connect.StreamTypeUnary {
				res, body := post(t, http.MethodPost, web+spec.Procedure, "application/json", data, authorization)
				if res.StatusCode == http.StatusOK {
					return wasAnswered
				}
				return named(body)
			}
			_, body := post(t, http.MethodPost, web+spec.Procedure, "application/connect+json", frame(data), authorization)
			if len(body) < 5 || body[0] != 2 {
				return wasAnswered // a message before the end
			}
			var end struct{ Error json.RawMessage }
			if err := json.Unmarshal(body[5:], &end); err != nil || end.Error == nil {
				return wasAnswered
			}
			return named(end.Error)
		}},
		{"Connect by GET", func(t *testing.T, spec connect.Spec, msg proto.Message, authorization string) verdict {
			if spec.StreamType != connect.StreamTypeUnary || spec.IdempotencyLevel != connect.IdempotencyNoSideEffects {
				return "" // there is no such call
			}
			data, err := proto.Marshal(msg)
			if err != nil {
				t.Fatal(err)
			}
			query := url.Values{"connect": {"v1"}, "encoding": {"proto"}, "base64": {"1"}, "message": {base64.RawURLEncoding.EncodeToString(data)}}
			res, body := post(t, http.MethodGet, web+spec.Procedure+"?"+query.Encode(), "", nil, authorization)
			if res.StatusCode == http.StatusOK {
				return wasAnswered
			}
			return named(body)
		}},
		{"gRPC-Web", func(t *testing.T, spec connect.Spec, msg proto.Message, authorization string) verdict {
			data, err := proto.Marshal(msg)
			if err != nil {
				t.Fatal(err)
			}
			res, body := post(t, http.MethodPost, web+spec.Procedure, "application/grpc-web+proto", frame(data), authorization)
			text := res.Header.Get("Grpc-Status")
			if m := regexp.MustCompile(`(?i)grpc-status: *(\d+)`).FindSubmatch(body); m != nil {
				text = string(m[1])
			}
			code, err := strconv.Atoi(text)
			if err != nil {
				t.Fatalf("%s: no status in %q", spec.Procedure, body)
			}
			return verdictOf(code)
		}},
		{"REST", func(t *testing.T, spec connect.Spec, msg proto.Message, authorization string) verdict {
			result := verdict("")
			for _, route := range routes(spec) {
				data, err := protojson.Marshal(msg)
				if err != nil {
					t.Fatal(err)
				}
				if route.method == http.MethodGet || route.method == http.MethodDelete {
					data = nil
				}
				res, body := post(t, route.method, web+route.path, "application/json", data, authorization)
				v := wasAnswered
				switch {
				case res.StatusCode == http.StatusUnauthorized:
					v = wasStranger
				case res.StatusCode == http.StatusForbidden:
					v = wasForbidden
				case res.StatusCode >= 300:
					v = named(body)
				}
				if result != "" && result != v {
					t.Errorf("%s: its routes differ: %s and %s", spec.Procedure, result, v)
				}
				result = v
			}
			return result
		}},
	}
}

// A route is a path of the JSON interface.
type route struct{ method, path string }

// routes are those that a procedure's annotations give it.
func routes(spec connect.Spec) []route {
	options := spec.Schema.(protoreflect.MethodDescriptor).Options()
	rule, _ := proto.GetExtension(options, annotations.E_Http).(*annotations.HttpRule)
	var found []route
	for _, r := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
		for method, path := range map[string]string{
			http.MethodGet: r.GetGet(), http.MethodPost: r.GetPost(), http.MethodPut: r.GetPut(),
			http.MethodDelete: r.GetDelete(), http.MethodPatch: r.GetPatch(),
		} {
			if path != "" {
				found = append(found, route{method, regexp.MustCompile(`{[^}]*}`).ReplaceAllString(path, otherStore)})
			}
		}
	}
	return found
}

// otherStore is the id of a store that no key of the test is for.
const otherStore = "01ARZ3NDEKTSV4RRFFQ69G5FAV"

// requestAbout is a request of a procedure that names a store wherever it can.
func requestAbout(spec connect.Spec, store string) proto.Message {
	msg := dynamicpb.NewMessage(spec.Schema.(protoreflect.MethodDescriptor).Input())
	var fill func(m protoreflect.Message, depth int)
	fill = func(m protoreflect.Message, depth int) {
		fields := m.Descriptor().Fields()
		for i := range fields.Len() {
			f := fields.Get(i)
			switch {
			case f.Kind() == protoreflect.StringKind && !f.IsList() && slices.Contains([]string{"store", "store_id"}, string(f.Name())):
				m.Set(f, protoreflect.ValueOfString(store))
			case f.Kind() == protoreflect.StringKind && f.IsList() && f.Name() == "stores":
				m.Mutable(f).List().Append(protoreflect.ValueOfString(store))
			case f.Message() != nil && !f.IsList() && !f.IsMap() && slices.Contains([]string{"scope", "store", "start", "begin"}, string(f.Name())) && depth < 3:
				fill(m.Mutable(f).Message(), depth+1)
			}
		}
	}
	fill(msg, 0)
	return msg
}

// openToAll is what anybody with an identity may call: none of it reads a store.
var openToAll = []string{
	"/remit.v1.StoreService/ListStores", "/remit.v1.ModelService/ValidateModel", "/remit.v1.NodeService/GetNode",
	"/remit.v1.IdentityService/CreateKey", "/remit.v1.IdentityService/RotateKey", "/remit.v1.IdentityService/ListKeys",
	"/remit.v1.IdentityService/RevokeKey", "/remit.v1.IdentityService/SetGrants", "/remit.v1.IdentityService/ListGrants",
	"/remit.v1.IdentityService/WhoAmI", "/remit.v1.OrganisationService/ListSeats",
	"/openfga.v1.OpenFGAService/ListStores", "/authzen.v1.AuthZenService/GetConfiguration",
}

// Every procedure of every face refuses strangers on every transport, streams included,
// and those who are known, but not for the store.
func TestStrangersAreKeptOut(t *testing.T) {
	c := &clock{now: time.Now()}
	g := newGuarded(t, c.Now)
	g.store("shop")
	s := g.serve()

	foreign := newGuarded(t, c.Now).key("web", onCluster())
	revoked := g.key("revoked", onCluster())
	if _, err := g.root.keys.RevokeKey(t.Context(), &remitv1.RevokeKeyRequest{Which: &remitv1.RevokeKeyRequest_Name{Name: "revoked"}}); err != nil {
		t.Fatal(err)
	}
	expired, err := g.root.keys.CreateKey(t.Context(), &remitv1.CreateKeyRequest{
		Name: "expired", Grants: []*remitv1.Grant{onCluster()}, ExpiresAt: timestamppb.New(c.Now().Add(time.Minute)),
	})
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := g.key("elsewhere", onStore("shop", toRead, toWrite, toModel, toAdminister))
	c.Advance(time.Minute)

	refused, judged := 0, 0
	for _, f := range s.faces {
		for spec := range f.server.Specs() {
			for _, way := range ways(t, s) {
				if strings.HasPrefix(spec.Procedure, "/grpc.health.") {
					continue
				}
				msg := requestAbout(spec, otherStore)
				for name, authorization := range map[string]string{
					"no key":          "",
					"another scheme":  "Basic cm9vdDpyb290",
					"nothing behind":  "Bearer ",
					"a foreign key":   "Bearer " + foreign,
					"a revoked key":   "Bearer " + revoked,
					"an expired key":  "Bearer " + expired.Secret,
					"a made up token": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0.",
				} {
					switch got := way.call(t, spec, msg, authorization); got {
					case "":
					case wasStranger:
						refused++
					default:
						t.Errorf("%s of %s with %s: %s, want %s", way.name, spec.Procedure, name, got, wasStranger)
					}
				}
				switch got := way.call(t, spec, msg, "Bearer "+elsewhere); {
				case got == wasForbidden:
					judged++
				case got == wasStranger, got == wasAnswered && !slices.Contains(openToAll, spec.Procedure):
					t.Errorf("%s of %s with a key for another store: %s", way.name, spec.Procedure, got)
				}
			}
		}
	}
	t.Logf("%d calls of strangers were refused, and %d for a store of others", refused, judged)
	if refused < 1500 || judged < 60 {
		t.Errorf("only %d and %d calls were refused: the test does not reach what it is about", refused, judged)
	}
}

// Health is for everybody, and so is nothing else that has no face.
func TestWhatStrangersMayAsk(t *testing.T) {
	g := newGuarded(t, nil)
	g.store("shop")
	key := g.key("web", onStore("shop", toRead))
	s := g.serve()
	res, err := http.Get("http://" + s.Addr().String() + "/healthz") //nolint:noctx // a liveness probe has no context
	if err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("GET /healthz = %v, %v", res, err)
	}
	_ = res.Body.Close()
	for _, addr := range []string{s.Addr().String(), s.GRPCAddr().String()} {
		conn := dial(t, strAddr(addr))
		if res, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil || res.Status != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("health at %s = %v, %v", addr, res, err)
		}
		reflect := func(ctx context.Context) error {
			stream, err := reflectionv1.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
			if err != nil {
				return err
			}
			if err := stream.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}); err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			_, err = stream.Recv()
			return err
		}
		if err := reflect(t.Context()); status.Code(err) != codes.Unauthenticated {
			t.Errorf("reflection at %s for a stranger = %v", addr, err)
		}
		if err := reflect(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+key)); err != nil {
			t.Errorf("reflection at %s with a key = %v", addr, err)
		}
	}
	for _, path := range []string{"/", "/nowhere", "/stores"} {
		res, err := http.Get("http://" + s.Addr().String() + path) //nolint:noctx // the test's server answers at once
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusUnauthorized {
			t.Errorf("GET %s for a stranger = %d, want 401", path, res.StatusCode)
		}
	}
}

// strAddr is an address as text.
type strAddr string

func (strAddr) Network() string  { return "tcp" }
func (a strAddr) String() string { return string(a) }
