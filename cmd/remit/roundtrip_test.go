package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"github.com/google/go-cmp/cmp"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/remit-authz/remit/rpc/client"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// A roundTrip compares a store that was written through OpenFGA's face with what an export
// and an import make of it.
type roundTrip struct {
	*testing.T
	random *rand.Rand
	fga    openfgav1.OpenFGAServiceClient
	client *services

	objects, users []string // those of tuples, and some more
	written        int
}

func newRoundTrip(t *testing.T, seed uint64, grpcAddr string) *roundTrip {
	t.Helper()
	conn, err := grpc.NewClient(grpcAddr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c, err := (&app{}).client()
	if err != nil {
		t.Fatal(err)
	}
	return &roundTrip{T: t, random: rand.New(rand.NewPCG(seed, 0)), fga: openfgav1.NewOpenFGAServiceClient(conn), client: c}
}

// roundTripIDs are ids that a file has to quote, that reach its limits, or that look like
// something else.
var roundTripIDs = []string{
	"1", "001", "true", "null", "~", "1e3", "0x1F", "2026-01-01", "-", "--", "'", `"`, `a"b'c\d`, "{x}", "[1]", "&a", "!!str",
	"%41", "a|b", ">", "?x", "a,b", "=1", "日本語", "Ünïcødé", "\u00a0nbsp", "emoji👩‍👩‍👧", "e\u0301", "\u2028", "a/b\\c", "@x", "*x", "x*",
	strings.Repeat("o", 200), strings.Repeat("語", 60),
}

// roundTripTypes are the types that a model of a test may have, and the relations of each.
var roundTripTypes = map[string][]string{
	"group": {"member"}, "folder": {"parent", "owner", "viewer"},
	"document": {"parent", "owner", "editor", "blocked", "viewer", "auditor", "reader"},
}

// model writes a random model: one with relations of every kind, and metadata that means
// nothing to answers.
func (r *roundTrip) model() *openfgav1.WriteAuthorizationModelRequest {
	r.Helper()
	pick := func(choices ...string) string { return choices[r.random.IntN(len(choices))] }
	subjects := pick(`{"type":"user"},{"type":"group","relation":"member"}`, `{"type":"user"},{"type":"user","wildcard":{}},{"type":"group","relation":"member"}`)
	conditional := subjects + `,{"type":"user","condition":"in_region"},{"type":"user","condition":"$expression"},{"type":"group","relation":"member","condition":"in_hours"}`
	viewer := pick(
		`{"union":{"child":[{"this":{}},{"computedUserset":{"relation":"editor"}},{"tupleToUserset":{"tupleset":{"relation":"parent"},"computedUserset":{"relation":"viewer"}}}]}}`,
		`{"difference":{"base":{"union":{"child":[{"this":{}},{"computedUserset":{"relation":"owner"}}]}},"subtract":{"computedUserset":{"relation":"blocked"}}}}`,
		`{"difference":{"base":{"difference":{"base":{"this":{}},"subtract":{"computedUserset":{"relation":"blocked"}}}},"subtract":{"computedUserset":{"relation":"auditor"}}}}`,
		`{"intersection":{"child":[{"this":{}},{"union":{"child":[{"computedUserset":{"relation":"owner"}},{"computedUserset":{"relation":"editor"}}]}}]}}`,
		// The language says the tuples' own part first.
		`{"union":{"child":[{"computedUserset":{"relation":"owner"}},{"this":{}}]}}`,
		`{"intersection":{"child":[{"tupleToUserset":{"tupleset":{"relation":"parent"},"computedUserset":{"relation":"viewer"}}},{"this":{}}]}}`,
	)
	metadata := pick(``, `"module":"core","source_info":{"file":"core.fga"},`)
	text := fmt.Sprintf(`{"schema_version":%q,"type_definitions":[
		{"type":"user"},{"type":"nothing","relations":{}},
		{"type":"group","relations":{"member":{"this":{}}},"metadata":{%[2]s"relations":{"member":{"directly_related_user_types":[%[3]s]}}}},
		{"type":"folder","relations":{"parent":{"this":{}},"owner":{"this":{}},"viewer":{"union":{"child":[{"computedUserset":{"relation":"owner"}},{"tupleToUserset":{"tupleset":{"relation":"parent"},"computedUserset":{"relation":"viewer"}}}]}}},
		 "metadata":{%[2]s"relations":{"parent":{"directly_related_user_types":[{"type":"folder"}]},"owner":{"directly_related_user_types":[%[3]s]}}}},
		{"type":"document","relations":{"parent":{"this":{}},"owner":{"this":{}},"editor":{"union":{"child":[{"this":{}},{"computedUserset":{"relation":"owner"}}]}},
		  "blocked":{"this":{}},"viewer":%[4]s,"auditor":{"this":{}},"reader":{"intersection":{"child":[{"computedUserset":{"relation":"viewer"}},{"computedUserset":{"relation":"auditor"}}]}}},
		 "metadata":{%[2]s"relations":{"parent":{"directly_related_user_types":[{"type":"folder"},{"type":"folder","condition":"in_hours"}]},"owner":{"directly_related_user_types":[%[3]s]},"editor":{"directly_related_user_types":[%[5]s]},
		  "blocked":{"directly_related_user_types":[%[5]s]},"viewer":{"directly_related_user_types":[%[5]s]},"auditor":{"directly_related_user_types":[%[3]s]}}}}],
		"conditions":{
		 "in_region":{"name":"in_region","expression":"region in regions && score >= 0.5","parameters":{"region":{"type_name":"TYPE_NAME_STRING"},"regions":{"type_name":"TYPE_NAME_LIST","generic_types":[{"type_name":"TYPE_NAME_STRING"}]},"score":{"type_name":"TYPE_NAME_DOUBLE"}}},
		 "in_hours":{"name":"in_hours","expression":"now < until + grace && ip.in_cidr(\"10.0.0.0/8\")","parameters":{"now":{"type_name":"TYPE_NAME_TIMESTAMP"},"until":{"type_name":"TYPE_NAME_TIMESTAMP"},"grace":{"type_name":"TYPE_NAME_DURATION"},"ip":{"type_name":"TYPE_NAME_IPADDRESS"}}}}}`,
		pick("1.1", "1.2"), metadata, subjects, viewer, conditional)
	var m openfgav1.WriteAuthorizationModelRequest
	if err := protojson.Unmarshal([]byte(text), &m); err != nil {
		r.Fatal(err)
	}
	return &m
}

func (r *roundTrip) id() string { return roundTripIDs[r.random.IntN(len(roundTripIDs))] }

func (r *roundTrip) context(fields map[string]any) *structpb.Struct {
	r.Helper()
	s, err := structpb.NewStruct(fields)
	if err != nil {
		r.Fatal(err)
	}
	return s
}

// condition is a condition with all or a part of its parameters.
func (r *roundTrip) condition(relation string) *openfgav1.RelationshipCondition {
	r.Helper()
	switch r.random.IntN(4) {
	case 0:
		return nil
	case 1:
		return &openfgav1.RelationshipCondition{Name: "$expression", Context: r.context(map[string]any{
			"expression": "region != 'north' ||\n\tscore > " + strconv.Itoa(r.random.IntN(3)) + ".0 && region != \"a: #b\"", "parameters": map[string]any{"region": "string", "score": "double"}, "score": 1.5,
		})}
	case 2:
		return &openfgav1.RelationshipCondition{Name: "in_region", Context: r.context(map[string]any{"regions": []any{"north", "sü\"d"}, "score": r.random.Float64()})}
	}
	if relation == "parent" {
		return nil
	}
	return &openfgav1.RelationshipCondition{Name: "in_hours", Context: r.context(map[string]any{"until": "2030-01-01T00:00:00.123456789+02:00", "grace": "1h30m"})}
}

// write writes random tuples; those that the model does not allow are left out.
func (r *roundTrip) write(store string) {
	r.Helper()
	for range 600 {
		kind := []string{"group", "folder", "document"}[r.random.IntN(3)]
		relation := roundTripTypes[kind][r.random.IntN(len(roundTripTypes[kind]))]
		key := &openfgav1.TupleKey{Object: kind + ":" + r.id(), Relation: relation, User: "user:" + r.id(), Condition: r.condition(relation)}
		switch {
		case relation == "parent":
			key.User = "folder:" + r.id()
		case r.random.IntN(4) == 0:
			key.User = "group:" + r.id() + "#member"
		case r.random.IntN(8) == 0:
			key.User = "user:*"
		}
		_, err := r.fga.Write(r.Context(), &openfgav1.WriteRequest{StoreId: store, Writes: &openfgav1.WriteRequestWrites{TupleKeys: []*openfgav1.TupleKey{key}}})
		if err != nil {
			continue
		}
		r.written++
		if !slices.Contains(r.objects, key.Object) {
			r.objects = append(r.objects, key.Object)
		}
		if !slices.Contains(r.users, key.User) {
			r.users = append(r.users, key.User)
		}
	}
}

// again exports a store and imports it under another name.
func (r *roundTrip) again(store, name string) string {
	r.Helper()
	file := filepath.Join(r.TempDir(), "store.fga.yaml")
	must(r.T, "store", "export", store, "--file", file)
	var done imported
	if err := json.Unmarshal([]byte(must(r.T, "store", "import", file, "--name", name, "-o", "json")), &done); err != nil {
		r.Fatal(err)
	}
	return done.StoreID
}

// same compares one answer about both stores.
func (r *roundTrip) same(what string, ask func(store string) (any, error), before, after string) {
	r.Helper()
	want, wantErr := ask(before)
	got, err := ask(after)
	// Of several tuples whose conditions fail, the error names the one that is met first.
	if status.Code(wantErr) != status.Code(err) {
		r.Errorf("%s: after the round trip %v, before %v", what, err, wantErr)
		return
	}
	if diff := cmp.Diff(want, got, protocmp.Transform(), protocmp.IgnoreFields(&openfgav1.AuthorizationModel{}, "id"),
		protocmp.IgnoreFields(&openfgav1.Tuple{}, "timestamp"), protocmp.IgnoreFields(&openfgav1.CheckError{}, "message"),
		// The language has its own order of operands, and modules become one. Whether that means
		// the same is what the answers tell.
		protocmp.IgnoreFields(&openfgav1.TypeDefinition{}, "relations"), protocmp.IgnoreFields(&openfgav1.Metadata{}, "module", "source_info")); diff != "" {
		r.Errorf("%s (-before +after):\n%s", what, diff)
	}
}

func (r *roundTrip) compare(before, after string) {
	r.Helper()
	r.same("the model", func(store string) (any, error) {
		res, err := r.fga.ReadAuthorizationModels(r.Context(), &openfgav1.ReadAuthorizationModelsRequest{StoreId: store})
		if err != nil {
			return nil, err
		}
		m := res.GetAuthorizationModels()[0]
		for _, typ := range m.GetTypeDefinitions() {
			maps.DeleteFunc(typ.GetMetadata().GetRelations(), func(_ string, meta *openfgav1.RelationMetadata) bool {
				return len(meta.GetDirectlyRelatedUserTypes()) == 0
			})
		}
		return m, nil
	}, before, after)
	r.same("the tuples", func(store string) (any, error) { return r.tuples(store) }, before, after)
	// The instant is fixed, for a condition may tell one from the next.
	given := r.context(map[string]any{"region": "north", "ip": "10.1.2.3", "now": "2029-12-31T23:00:00Z"})
	for _, given := range []*structpb.Struct{nil, given} {
		for _, object := range r.objects {
			kind, id, _ := strings.Cut(object, ":")
			for _, relation := range roundTripTypes[kind] {
				r.about(before, after, given, &openfgav1.Object{Type: kind, Id: id}, relation)
			}
		}
		for _, user := range r.users {
			for kind, relations := range roundTripTypes {
				for _, relation := range relations {
					r.same("what "+user+" has", func(store string) (any, error) {
						res, err := r.fga.ListObjects(r.Context(), &openfgav1.ListObjectsRequest{StoreId: store, Type: kind, Relation: relation, User: user, Context: given})
						slices.Sort(res.GetObjects())
						return res.GetObjects(), err
					}, before, after)
				}
			}
		}
	}
}

// tuples are the tuples of a store, by their names.
func (r *roundTrip) tuples(store string) (map[string]*openfgav1.Tuple, error) {
	all := map[string]*openfgav1.Tuple{}
	for token := ""; ; {
		res, err := r.fga.Read(r.Context(), &openfgav1.ReadRequest{StoreId: store, ContinuationToken: token})
		if err != nil {
			return nil, err
		}
		for _, t := range res.GetTuples() {
			all[t.GetKey().GetObject()+"#"+t.GetKey().GetRelation()+"@"+t.GetKey().GetUser()] = t
		}
		if token = res.GetContinuationToken(); token == "" {
			return all, nil
		}
	}
}

// about compares what both faces say of one relation of an object.
func (r *roundTrip) about(before, after string, given *structpb.Struct, object *openfgav1.Object, relation string) {
	r.Helper()
	name := object.GetType() + ":" + object.GetId()
	for users := range slices.Chunk(r.users, 50) {
		r.same("who of some has "+relation+" to "+name, func(store string) (any, error) {
			req := &openfgav1.BatchCheckRequest{StoreId: store}
			for i, user := range users {
				req.Checks = append(req.Checks, &openfgav1.BatchCheckItem{
					CorrelationId: strconv.Itoa(i), Context: given,
					TupleKey: &openfgav1.CheckRequestTupleKey{Object: name, Relation: relation, User: user},
				})
			}
			res, err := r.fga.BatchCheck(r.Context(), req)
			return res.GetResult(), err
		}, before, after)
		r.same("who of some has "+relation+" to "+name+", says remit.v1", func(store string) (any, error) {
			req := &remitv1.BatchCheckRequest{Scope: &remitv1.Scope{Store: store, Context: given}}
			for _, user := range users {
				req.Questions = append(req.Questions, &remitv1.BatchQuestion{Question: &remitv1.Question{Object: name, Relation: relation, Subject: user}})
			}
			res, err := r.client.access.BatchCheck(r.Context(), req)
			return res.GetAnswers(), told(err)
		}, before, after)
	}
	r.same("who has "+relation+" to "+name, func(store string) (any, error) {
		res, err := r.fga.ListUsers(r.Context(), &openfgav1.ListUsersRequest{
			StoreId: store, Object: object, Relation: relation, Context: given, UserFilters: []*openfgav1.UserTypeFilter{{Type: "user"}},
		})
		var names []string
		for _, u := range res.GetUsers() {
			names = append(names, u.GetObject().GetId()+u.GetWildcard().GetType())
		}
		slices.Sort(names)
		return names, err
	}, before, after)
}

// told is an error of remit.v1 as one of gRPC.
func told(err error) error {
	if err == nil {
		return nil
	}
	var e *connect.Error
	if !errors.As(err, &e) {
		return err
	}
	return status.Error(codes.Code(e.Code()), client.Detail(e).GetReason().String())
}

func TestAStoreExportedAndImportedAgainGivesTheSameAnswers(t *testing.T) {
	s := startServer(t)
	for seed := range uint64(6) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			r := newRoundTrip(t, seed, s.GRPCAddr())
			store, err := r.fga.CreateStore(t.Context(), &openfgav1.CreateStoreRequest{Name: fmt.Sprintf("round trip %d", seed)})
			if err != nil {
				t.Fatal(err)
			}
			m := r.model()
			m.StoreId = store.GetId()
			if _, err := r.fga.WriteAuthorizationModel(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			r.write(store.GetId())
			if r.written < 100 {
				t.Fatalf("only %d tuples were written", r.written)
			}
			r.users, r.objects = r.users[:min(len(r.users), 25)], r.objects[:min(len(r.objects), 15)]
			r.compare(store.GetId(), r.again(store.GetId(), fmt.Sprintf("copy %d", seed)))
		})
	}
}
