package openfga

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/rpc/backend"
)

// A collector is the stream that a list of objects is sent to.
type collector struct {
	grpc.ServerStream
	ctx     context.Context //nolint:containedctx // as streams have it
	objects []string
}

func (c *collector) Context() context.Context { return c.ctx }

func (c *collector) Send(res *openfgav1.StreamedListObjectsResponse) error {
	c.objects = append(c.objects, res.Object)
	return nil
}

// handlers are those of the rig's face, as they are behind the dispatcher.
func (r *rig) handlers(change ...func(*Config)) *service {
	config := &Config{}
	for _, f := range change {
		f(config)
	}
	config.defaults()
	return &service{config: config, reader: r.reader, writer: r.writer}
}

func (r *rig) objects(store, typ, relation, user string, context *structpb.Struct, tuples ...*openfgav1.TupleKey) ([]string, error) {
	res, err := r.ListObjects(r.t.Context(), &openfgav1.ListObjectsRequest{
		StoreId: store, Type: typ, Relation: relation, User: user, Context: context, ContextualTuples: contextual(tuples...),
	})
	slices.Sort(res.GetObjects())
	return res.GetObjects(), err
}

func TestListObjects(t *testing.T) {
	r := newRig(t)
	store, _ := acme(r)
	for _, tc := range []struct {
		name, typ, relation, user string
		context                   *structpb.Struct
		tuples                    []*openfgav1.TupleKey
		want                      string
	}{
		{name: "through usersets and for everybody", typ: "document", relation: "viewer", user: "user:anna", want: "document:notice document:plan"},
		{name: "not where they are subtracted", typ: "document", relation: "reader", user: "user:anna", want: "document:notice"},
		{name: "by an intersection", typ: "document", relation: "signer", user: "user:otto", want: "document:plan"},
		{name: "none", typ: "folder", relation: "viewer", user: "user:otto"},
		{name: "of a type that cannot have any", typ: "document", relation: "viewer", user: "robot:r2"},
		{name: "of a userset", typ: "document", relation: "viewer", user: "group:design#member", want: "document:plan"},
		{name: "of a userset, itself too", typ: "group", relation: "member", user: "group:design#member", want: "group:all group:design"},
		{name: "of an unknown userset", typ: "document", relation: "viewer", user: "document:new#viewer", want: "document:new"},
		{name: "of everybody", typ: "document", relation: "viewer", user: "user:*", want: "document:notice"},
		{
			name: "by contextual tuples", typ: "document", relation: "viewer", user: "user:nina", want: "document:extra document:notice document:plan",
			tuples: r.tuples("group:design#member@user:nina", "document:extra#owner@user:nina"),
		},
		{
			name: "under a condition", typ: "document", relation: "guest", user: "user:gil", want: "document:draft",
			context: fields(t, "region", "north", "level", 3),
		},
		{
			name: "under a condition that does not hold", typ: "document", relation: "guest", user: "user:gil",
			context: fields(t, "region", "north", "level", 1),
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := r.objects(store, tc.typ, tc.relation, tc.user, tc.context, tc.tuples...)
			if err != nil || strings.Join(got, " ") != tc.want {
				t.Errorf("ListObjects(%s#%s@%s) = %v, %v, want %s", tc.typ, tc.relation, tc.user, got, err, tc.want)
			}
			stream := &collector{ctx: t.Context()}
			err = r.handlers().StreamedListObjects(&openfgav1.StreamedListObjectsRequest{
				StoreId: store, Type: tc.typ, Relation: tc.relation, User: tc.user, Context: tc.context, ContextualTuples: contextual(tc.tuples...),
			}, stream)
			slices.Sort(stream.objects)
			if err != nil || !slices.Equal(stream.objects, got) {
				t.Errorf("StreamedListObjects = %v, %v, want %v", stream.objects, err, got)
			}
		})
	}
}

func TestListObjectsFaults(t *testing.T) {
	r := newRig(t)
	store, _ := acme(r)
	for _, tc := range []struct {
		name, typ, relation, user string
		tuples                    []*openfgav1.TupleKey
		code                      Code
		text                      string
	}{
		{name: "no such type", typ: "report", relation: "viewer", user: "user:anna", code: 2021, text: "type 'report' not found"},
		{name: "no such relation", typ: "document", relation: "printer", user: "user:anna", code: 2022, text: "relation 'document#printer' not found"},
		{name: "no such type of users", typ: "document", relation: "viewer", user: "ghost:anna", code: 2000, text: "invalid 'user' value: type 'ghost' not found"},
		{name: "no such userset", typ: "document", relation: "viewer", user: "group:design#boss", code: 2000, text: "invalid 'user' value: relation 'group#boss' not found"},
		{
			name: "a condition without its context", typ: "document", relation: "guest", user: "user:gil",
			code: 2000, text: "iterator: failed to evaluate relationship condition: 'in_region' - tuple 'document:draft#guest@user:gil' is missing context parameters '[level region]'",
		},
		{
			name: "contextual tuples before the question", typ: "report", relation: "viewer", user: "user:anna",
			tuples: []*openfgav1.TupleKey{{Object: "document:plan", Relation: "guest", User: "user:nina"}},
			code:   2000, text: "Invalid tuple 'document:plan#guest@user:nina'. Reason: condition is missing",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := r.objects(store, tc.typ, tc.relation, tc.user, nil, tc.tuples...)
			wantError(t, err, tc.code, tc.text)
		})
	}
}

// What is beyond the limit is left out, and with it the errors that would come later.
func TestListsEndAtTheirLimits(t *testing.T) {
	r := newRig(t, func(c *Config) { c.ListObjectsMaxResults, c.ListUsersMaxResults = 3, 3 })
	store, _ := acme(r)
	var tuples []string
	for i := range 5 {
		tuples = append(tuples, fmt.Sprintf("document:d%d#owner@user:many", i), fmt.Sprintf("document:many#owner@user:u%d", i))
	}
	r.write(store, tuples...)
	if got, err := r.objects(store, "document", "owner", "user:many", nil); err != nil || len(got) != 3 {
		t.Errorf("ListObjects = %v, %v, want 3 of 5", got, err)
	}
	if got, err := r.users(store, "document", "many", "owner", "user", ""); err != nil || len(got) != 3 {
		t.Errorf("ListUsers = %v, %v, want 3 of 5", got, err)
	}
	stream := &collector{ctx: t.Context()}
	err := r.handlers(func(c *Config) { c.ListObjectsMaxResults = 3 }).StreamedListObjects(
		&openfgav1.StreamedListObjectsRequest{StoreId: store, Type: "document", Relation: "owner", User: "user:many"}, stream)
	if err != nil || len(stream.objects) != 5 {
		t.Errorf("StreamedListObjects = %v, %v, want all 5", stream.objects, err)
	}
	exact := withHeader(t.Context(), HeaderExact, "true")
	objects, err := r.ListObjects(exact, &openfgav1.ListObjectsRequest{StoreId: store, Type: "document", Relation: "owner", User: "user:many"})
	if err != nil || len(objects.Objects) != 5 {
		t.Errorf("ListObjects exactly = %v, %v, want all 5", objects, err)
	}
}

// What was found by the deadline is the answer, unless it has to be complete.
func TestListsEndAtTheirDeadline(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.ListObjectsDeadline, c.ListUsersDeadline = time.Nanosecond, time.Nanosecond
		c.ListObjectsMaxResults, c.ListUsersMaxResults = -1, -1
	})
	store, _ := acme(r)
	for i := range 20 {
		var objects, users []string
		for j := range 100 {
			objects = append(objects, fmt.Sprintf("document:d%d-%d#owner@user:many", i, j))
			users = append(users, fmt.Sprintf("document:many#owner@user:u%d-%d", i, j))
		}
		r.write(store, objects...)
		r.write(store, users...)
	}
	if got, err := r.objects(store, "document", "owner", "user:many", nil); err != nil || len(got) == 0 || len(got) >= 2000 {
		t.Errorf("ListObjects = %d objects, %v, want some of 2000", len(got), err)
	}
	if got, err := r.users(store, "document", "many", "owner", "user", ""); err != nil || len(got) >= 2000 {
		t.Errorf("ListUsers = %d users, %v, want fewer than 2000", len(got), err)
	}
	exact := withHeader(t.Context(), HeaderExact, "true")
	objects, err := r.ListObjects(exact, &openfgav1.ListObjectsRequest{StoreId: store, Type: "document", Relation: "owner", User: "user:many"})
	if err != nil || len(objects.Objects) != 2000 {
		t.Errorf("ListObjects exactly = %d objects, %v, want all 2000", len(objects.GetObjects()), err)
	}
	users, err := r.ListUsers(exact, &openfgav1.ListUsersRequest{
		StoreId: store, Object: &openfgav1.Object{Type: "document", Id: "many"}, Relation: "owner",
		UserFilters: []*openfgav1.UserTypeFilter{{Type: "user"}},
	})
	if err != nil || len(users.Users) != 2000 {
		t.Errorf("ListUsers exactly = %d users, %v, want all 2000", len(users.GetUsers()), err)
	}
}

// A list that has used up its budget is what was found so far.
func TestListsEndAtTheirBudget(t *testing.T) {
	r := newRig(t)
	store, _ := acme(r)
	for i := range 20 {
		var tuples []string
		for j := range 50 {
			tuples = append(tuples, fmt.Sprintf("document:d%d-%d#owner@user:many", i, j), fmt.Sprintf("document:many#owner@user:u%d-%d", i, j))
		}
		r.write(store, tuples...)
	}
	s := r.handlers()
	config := r.reader.Config
	config.Budget = 700
	s.reader = backend.NewReader(config)
	objects := &openfgav1.ListObjectsRequest{StoreId: store, Type: "document", Relation: "owner", User: "user:many"}
	if got, err := s.ListObjects(t.Context(), objects); err != nil || len(got.Objects) == 0 || len(got.Objects) >= 1000 {
		t.Errorf("ListObjects = %d objects, %v, want some of 1000", len(got.GetObjects()), err)
	}
	users := &openfgav1.ListUsersRequest{
		StoreId: store, Object: &openfgav1.Object{Type: "document", Id: "many"}, Relation: "owner",
		UserFilters: []*openfgav1.UserTypeFilter{{Type: "user"}},
	}
	if got, err := s.ListUsers(t.Context(), users); err != nil || len(got.Users) == 0 || len(got.Users) >= 1000 {
		t.Errorf("ListUsers = %d users, %v, want some of 1000", len(got.GetUsers()), err)
	}
	config.Budget = 1
	s.reader = backend.NewReader(config)
	users.Relation = "signer"
	if _, err := s.ListUsers(t.Context(), users); !errors.Is(err, graph.ErrBudget) {
		t.Errorf("ListUsers that finds nothing: %v, want %v", err, graph.ErrBudget)
	}
}

func (r *rig) users(store, typ, id, relation, userType, userRelation string, tuples ...*openfgav1.TupleKey) ([]string, error) {
	res, err := r.ListUsers(r.t.Context(), &openfgav1.ListUsersRequest{
		StoreId: store, Object: &openfgav1.Object{Type: typ, Id: id}, Relation: relation,
		UserFilters: []*openfgav1.UserTypeFilter{{Type: userType, Relation: userRelation}}, ContextualTuples: tuples,
	})
	var names []string
	for _, u := range res.GetUsers() {
		switch u := u.User.(type) {
		case *openfgav1.User_Object:
			names = append(names, u.Object.Type+":"+u.Object.Id)
		case *openfgav1.User_Userset:
			names = append(names, u.Userset.Type+":"+u.Userset.Id+"#"+u.Userset.Relation)
		case *openfgav1.User_Wildcard:
			names = append(names, u.Wildcard.Type+":*")
		}
	}
	slices.Sort(names)
	return names, err
}

func TestListUsers(t *testing.T) {
	r := newRig(t)
	store, _ := acme(r)
	r.write(store, "document:notice#viewer@user:nina", "document:notice#blocked@user:bob")
	for _, tc := range []struct {
		name, id, relation, userType, userRelation string
		tuples                                     []*openfgav1.TupleKey
		want                                       string
	}{
		{name: "through usersets", id: "plan", relation: "viewer", userType: "user", want: "user:anna user:otto"},
		{name: "not who is subtracted", id: "plan", relation: "reader", userType: "user", want: "user:otto"},
		{name: "everybody, and who is named", id: "notice", relation: "viewer", userType: "user", want: "user:* user:nina"},
		{name: "everybody but one", id: "notice", relation: "reader", userType: "user", want: "user:* user:nina"},
		{name: "usersets, nested ones too", id: "plan", relation: "viewer", userType: "group", userRelation: "member", want: "group:all#member group:design#member"},
		{name: "the userset itself", id: "plan", relation: "viewer", userType: "document", userRelation: "viewer", want: "document:plan#viewer"},
		{name: "a userset that it is made of", id: "plan", relation: "signer", userType: "document", userRelation: "owner", want: "document:plan#owner"},
		{name: "objects where usersets are", id: "plan", relation: "viewer", userType: "group"},
		{name: "of a type that cannot be", id: "plan", relation: "viewer", userType: "robot"},
		{name: "of what nobody knows", id: "nothing", relation: "viewer", userType: "user"},
		{name: "of everything", id: "*", relation: "viewer", userType: "user"},
		{
			name: "by contextual tuples", id: "new", relation: "viewer", userType: "user", want: "user:anna user:new",
			tuples: r.tuples("document:new#editor@group:design#member", "document:new#viewer@user:new"),
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := r.users(store, "document", tc.id, tc.relation, tc.userType, tc.userRelation, tc.tuples...)
			if err != nil || strings.Join(got, " ") != tc.want {
				t.Errorf("ListUsers(%s#%s, %s#%s) = %v, %v, want %s", tc.id, tc.relation, tc.userType, tc.userRelation, got, err, tc.want)
			}
		})
	}
}

// OpenFGA lists objects that are users themselves among usersets of their type.
func TestListUsersAmongUsersets(t *testing.T) {
	r := newRig(t)
	store, _ := r.store("model\n  schema 1.1\ntype user\ntype group\n  relations\n    define member: [user]\ntype document\n  relations\n    define viewer: [group, group#member]\n",
		"document:plan#viewer@group:a", "document:plan#viewer@group:b#member")
	if got, err := r.users(store, "document", "plan", "viewer", "group", "member"); err != nil || strings.Join(got, " ") != "group:a group:b#member" {
		t.Errorf("ListUsers = %v, %v, want both", got, err)
	}
	res, err := r.ListUsers(withHeader(t.Context(), HeaderExact, "true"), &openfgav1.ListUsersRequest{
		StoreId: store, Object: &openfgav1.Object{Type: "document", Id: "plan"}, Relation: "viewer",
		UserFilters: []*openfgav1.UserTypeFilter{{Type: "group", Relation: "member"}},
	})
	if err != nil || len(res.Users) != 1 {
		t.Errorf("ListUsers exactly = %v, %v, want the userset", res, err)
	}
}

func TestListUsersFaults(t *testing.T) {
	r := newRig(t)
	store, _ := acme(r)
	for _, tc := range []struct {
		name, typ, id, relation, userType, userRelation string
		code                                            Code
		text                                            string
	}{
		{name: "no such type", typ: "report", id: "plan", relation: "viewer", userType: "user", code: 2021, text: "type 'report' not found"},
		{name: "no such relation", typ: "document", id: "plan", relation: "printer", userType: "user", code: 2022, text: "relation 'document#printer' not found"},
		{name: "no such type of users", typ: "document", id: "plan", relation: "viewer", userType: "ghost", code: 2021, text: "type 'ghost' not found"},
		{name: "no such usersets", typ: "document", id: "plan", relation: "viewer", userType: "group", userRelation: "boss", code: 2022, text: "relation 'group#boss' not found"},
		{
			name: "a condition without its context", typ: "document", id: "draft", relation: "guest", userType: "user",
			code: 2000, text: "failed to evaluate relationship condition: 'in_region' - tuple 'document:draft#guest@user:gil' is missing context parameters '[level region]'",
		},
		{
			name: "a condition that does not matter", typ: "document", id: "draft", relation: "either", userType: "user",
			code: 2000, text: "failed to evaluate relationship condition: 'in_region' - tuple 'document:draft#guest@user:gil' is missing context parameters '[level region]'",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := r.users(store, tc.typ, tc.id, tc.relation, tc.userType, tc.userRelation)
			wantError(t, err, tc.code, tc.text)
		})
	}
	// No robot can be a guest, so that the tuples do not matter.
	if got, err := r.users(store, "document", "draft", "guest", "robot", ""); err != nil || len(got) != 0 {
		t.Errorf("ListUsers = %v, %v, want none", got, err)
	}
}
