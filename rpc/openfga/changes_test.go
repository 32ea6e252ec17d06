package openfga

import (
	stdcmp "cmp"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/remit-authz/remit/fsm"
)

const changesModel = `model
  schema 1.1

type user

type folder
  relations
    define viewer: [user]

type document
  relations
    define viewer: [user, user with mycond]

condition mycond(x: int) {
  x > 0
}`

func changeTexts(changes []*openfgav1.TupleChange) []string {
	var texts []string
	for _, c := range changes {
		texts = append(texts, strings.TrimPrefix(c.Operation.String(), "TUPLE_OPERATION_")+" "+conditionalText(c.TupleKey))
	}
	return texts
}

func TestReadChangesInOrder(t *testing.T) {
	r := newRig(t)
	store, _ := r.store(changesModel)
	var all, folders []string
	for i := range 60 {
		document, folder := fmt.Sprintf("document:%d#viewer@user:jon", i), fmt.Sprintf("folder:%d#viewer@user:jon", i)
		r.write(store, document, folder)
		all = append(all, "WRITE "+document, "WRITE "+folder)
		folders = append(folders, "WRITE "+folder)
	}
	r.remove(store, "folder:3#viewer@user:jon")
	all, folders = append(all, "DELETE folder:3#viewer@user:jon"), append(folders, "DELETE folder:3#viewer@user:jon")
	for _, size := range []int32{0, 1, 2, 7, 100} {
		for typ, want := range map[string][]string{"": all, "folder": folders} {
			req := &openfgav1.ReadChangesRequest{StoreId: store, Type: typ}
			if size > 0 {
				req.PageSize = wrapperspb.Int32(size)
			}
			got, _ := r.changesFrom(req)
			if diff := cmp.Diff(want, changeTexts(got)); diff != "" {
				t.Errorf("type %q in pages of %d (-want +got):\n%s", typ, size, diff)
			}
		}
	}
	res, err := r.ReadChanges(t.Context(), &openfgav1.ReadChangesRequest{StoreId: store})
	if err != nil || len(res.Changes) != 50 {
		t.Errorf("a page of the default size has %d changes, %v, want 50", len(res.GetChanges()), err)
	}
}

func TestReadChangesOfConditions(t *testing.T) {
	r := newRig(t)
	store, _ := r.store(changesModel)
	key := conditional(t, "document:1#viewer@user:jon", "mycond", "x", 10)
	if err := r.tryWrite(writes(store, key)); err != nil {
		t.Fatal(err)
	}
	r.remove(store, "document:1#viewer@user:jon")
	changes := r.changes(store)
	if len(changes) != 2 {
		t.Fatalf("%d changes, want 2: %v", len(changes), changes)
	}
	wantProto(t, changes[0].TupleKey, key)
	// A delete tells the ends alone.
	wantProto(t, changes[1].TupleKey, tk("document:1", "viewer", "user:jon"))
}

func TestReadChangesToken(t *testing.T) {
	r := newRig(t)
	store, _ := r.store(changesModel)
	read := func(typ, token string) *openfgav1.ReadChangesResponse {
		t.Helper()
		res, err := r.ReadChanges(t.Context(), &openfgav1.ReadChangesRequest{StoreId: store, Type: typ, ContinuationToken: token})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	// Nothing was ever written: there is no token.
	for _, typ := range []string{"", "folder", "unknown"} {
		if res := read(typ, ""); len(res.Changes) != 0 || res.ContinuationToken != "" {
			t.Errorf("changes of %q before the first: %v, want none and no token", typ, res)
		}
	}
	r.write(store, "document:1#viewer@user:jon")
	token := read("", "").ContinuationToken
	if token == "" {
		t.Fatal("no token after a change")
	}
	// Nothing is new: the token stays.
	r.model(store, changesModel)
	if res := read("", token); len(res.Changes) != 0 || res.ContinuationToken != token {
		t.Errorf("nothing is new, but the answer is %v", res)
	}
	r.write(store, "document:2#viewer@user:jon")
	if res := read("", token); len(res.Changes) != 1 || res.ContinuationToken == token {
		t.Errorf("one change is new, but the answer is %v", res)
	}
	// It belongs to the type that was asked for.
	ofDocuments := read("document", "").ContinuationToken
	for _, tc := range []struct{ typ, token string }{{"folder", ofDocuments}, {"", ofDocuments}, {"document", token}, {"unknown", token}} {
		_, err := r.ReadChanges(t.Context(), &openfgav1.ReadChangesRequest{StoreId: store, Type: tc.typ, ContinuationToken: tc.token})
		wantError(t, err, 2052, "The type in the querystring and the continuation token don't match")
	}
	if res := read("document", ofDocuments); len(res.Changes) != 0 || res.ContinuationToken != ofDocuments {
		t.Errorf("nothing is new about documents, but the answer is %v", res)
	}
	if res := read("folder", ""); len(res.Changes) != 0 || res.ContinuationToken != "" {
		t.Errorf("nothing happened to folders, but the answer is %v", res)
	}
}

func TestReadChangesSince(t *testing.T) {
	c := &clock{now: time.Now().Add(-time.Hour).Truncate(time.Millisecond)}
	r := newRigAt(t, c.Now)
	store, _ := r.store(changesModel)
	at := map[string]time.Time{}
	for _, user := range []string{"before", "after", "third"} {
		at[user] = c.Advance(time.Minute)
		for i := range 3 {
			r.write(store, fmt.Sprintf("document:%d#viewer@user:%s", i, user))
		}
	}
	two, err := r.ReadChanges(t.Context(), &openfgav1.ReadChangesRequest{StoreId: store, PageSize: wrapperspb.Int32(6)})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name  string
		start time.Time
		token string
		first string
		count int
	}{
		{"the beginning", time.Time{}, "", "before", 9},
		{"long ago", time.Unix(0, 0), "", "before", 9},
		{"at an instant", at["after"], "", "after", 6},
		{"within the millisecond", at["after"].Add(time.Microsecond), "", "after", 6},
		{"behind an instant", at["after"].Add(time.Millisecond), "", "third", 3},
		{"before an instant", at["third"].Add(-time.Millisecond), "", "third", 3},
		{"behind everything", at["third"].Add(time.Millisecond), "", "", 0},
		{"a token comes first", at["before"], two.ContinuationToken, "third", 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, token := r.changesFrom(&openfgav1.ReadChangesRequest{
				StoreId: store, StartTime: timestamppb.New(tc.start), ContinuationToken: tc.token, PageSize: wrapperspb.Int32(2),
			})
			if len(got) != tc.count || tc.count > 0 && got[0].TupleKey.User != "user:"+tc.first {
				t.Errorf("%d changes, the first is %v, want %d from user:%s on", len(got), got[:min(1, len(got))], tc.count, tc.first)
			}
			if (token == "") != (tc.count == 0) {
				t.Errorf("%d changes and the token %q", tc.count, token)
			}
		})
	}
	for _, start := range []time.Time{time.Unix(0, 0).Add(-time.Millisecond), time.Date(1855, 1, 1, 0, 0, 0, 0, time.UTC)} {
		_, err = r.ReadChanges(t.Context(), &openfgav1.ReadChangesRequest{StoreId: store, StartTime: timestamppb.New(start)})
		wantError(t, err, 2059, "Invalid start time")
	}
	_, err = r.ReadChanges(t.Context(), &openfgav1.ReadChangesRequest{StoreId: store, StartTime: timestamppb.New(time.Now().Add(time.Hour))})
	wantError(t, err, codeInvalid, "invalid ReadChangesRequest.StartTime: value must be less than now")
}

func TestReadChangesPageSize(t *testing.T) {
	for _, tc := range []struct {
		most int // 0: the default
		size int32
		ok   bool
	}{
		{0, 0, true},
		{0, 50, true},
		{0, 100, true},
		{0, 101, false},
		{50, 0, true},
		{50, 50, true},
		{50, 51, false},
		{200, 150, true},
		{200, 200, true},
		{200, 201, false},
	} {
		r := newRig(t, func(c *Config) { c.MaxChangesPage = tc.most })
		req := &openfgav1.ReadChangesRequest{StoreId: "01JCC8ZD4X84K2W0H0ZA5AQ947", Type: "user"}
		if tc.size > 0 {
			req.PageSize = wrapperspb.Int32(tc.size)
		}
		_, err := r.ReadChanges(t.Context(), req)
		if tc.ok && err != nil {
			t.Errorf("a page of %d where %d are allowed: %v", tc.size, tc.most, err)
		}
		if !tc.ok {
			wantError(t, err, codeInvalid, fmt.Sprintf("invalid ReadChangesRequest.PageSize: value must be inside range [1, %d]", stdcmp.Or(tc.most, 100)))
		}
	}
	r := newRig(t)
	store, _ := r.store("")
	_, err := r.ReadChanges(t.Context(), &openfgav1.ReadChangesRequest{StoreId: store, PageSize: wrapperspb.Int32(0)})
	wantError(t, err, codeInvalid, "invalid ReadChangesRequest.PageSize: value must be greater than or equal to 1")
}

// What happened a moment ago is held back, if that is wanted, and with it all after it.
func TestChangelogHorizonOffset(t *testing.T) {
	c := &clock{now: time.Now().Add(-time.Hour)}
	r := newRigAt(t, c.Now, func(config *Config) { config.ChangelogHorizonOffset = time.Minute })
	store, _ := r.store(changesModel, "document:1#viewer@user:jon")
	if got := r.changes(store); len(got) != 0 {
		t.Errorf("changes at once: %v, want none", got)
	}
	c.Advance(30 * time.Second)
	r.write(store, "document:2#viewer@user:jon")
	c.Advance(30 * time.Second)
	got, token := r.changesFrom(&openfgav1.ReadChangesRequest{StoreId: store})
	if diff := cmp.Diff([]string{"WRITE document:1#viewer@user:jon"}, changeTexts(got)); diff != "" {
		t.Errorf("after a minute (-want +got):\n%s", diff)
	}
	c.Advance(30 * time.Second)
	got, _ = r.changesFrom(&openfgav1.ReadChangesRequest{StoreId: store, ContinuationToken: token})
	if diff := cmp.Diff([]string{"WRITE document:2#viewer@user:jon"}, changeTexts(got)); diff != "" {
		t.Errorf("after half a minute more (-want +got):\n%s", diff)
	}
}

// A consumer keeps its token while the node is down.
func TestTokensOfChangesOutliveARestart(t *testing.T) {
	state, log := t.TempDir(), t.TempDir()
	r := newRigIn(t, state, log, time.Now)
	store, _ := r.store(changesModel, "document:1#viewer@user:jon")
	_, token := r.changesFrom(&openfgav1.ReadChangesRequest{StoreId: store})
	_, ofFolders := r.changesFrom(&openfgav1.ReadChangesRequest{StoreId: store, Type: "document"})
	r.write(store, "document:2#viewer@user:jon")
	r.close()
	r = newRigIn(t, state, log, time.Now)
	r.write(store, "document:3#viewer@user:jon")
	want := []string{"WRITE document:2#viewer@user:jon", "WRITE document:3#viewer@user:jon"}
	for typ, token := range map[string]string{"": token, "document": ofFolders} {
		got, _ := r.changesFrom(&openfgav1.ReadChangesRequest{StoreId: store, Type: typ, ContinuationToken: token})
		if diff := cmp.Diff(want, changeTexts(got)); diff != "" {
			t.Errorf("type %q (-want +got):\n%s", typ, diff)
		}
	}
}

// After a restore the revisions mean something else: a consumer goes on from the time of
// what it saw last, and sees that again rather than miss what follows.
func TestTokensOfChangesOutliveARestore(t *testing.T) {
	c := &clock{now: time.Now().Add(-time.Hour)}
	r := newRigAt(t, c.Now)
	store, _ := r.store(changesModel, "document:1#viewer@user:jon")
	c.Advance(time.Minute)
	r.write(store, "document:2#viewer@user:jon")
	_, token := r.changesFrom(&openfgav1.ReadChangesRequest{StoreId: store})
	if res := r.propose(&fsm.Command{Body: &fsm.SetEpoch{From: 1, To: 2}}); res.Err != nil {
		t.Fatal(res.Err)
	}
	c.Advance(time.Minute)
	r.write(store, "document:3#viewer@user:jon")
	got, _ := r.changesFrom(&openfgav1.ReadChangesRequest{StoreId: store, ContinuationToken: token})
	want := []string{"WRITE document:2#viewer@user:jon", "WRITE document:3#viewer@user:jon"}
	if diff := cmp.Diff(want, changeTexts(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Where history was given up, a consumer that begins gets what is left, and one that
// would miss something is told.
func TestChangesThatAreNoLongerKept(t *testing.T) {
	r := newRig(t)
	store, _ := r.store(changesModel, "document:1#viewer@user:jon")
	id, err := fsm.ParseStoreID(store)
	if err != nil {
		t.Fatal(err)
	}
	_, old := r.changesFrom(&openfgav1.ReadChangesRequest{StoreId: store})
	r.write(store, "document:2#viewer@user:jon")
	_, token := r.changesFrom(&openfgav1.ReadChangesRequest{StoreId: store})
	if res := r.propose(&fsm.Command{Store: id, Body: &fsm.AdvanceHistory{Horizon: r.state.Current().Revision()}}); res.Err != nil {
		t.Fatal(res.Err)
	}
	r.write(store, "document:3#viewer@user:jon")
	want := []string{"WRITE document:3#viewer@user:jon"}
	for name, req := range map[string]*openfgav1.ReadChangesRequest{
		"the beginning": {StoreId: store},
		"long ago":      {StoreId: store, StartTime: timestamppb.New(time.Unix(1, 0))},
		"a token":       {StoreId: store, ContinuationToken: token},
	} {
		got, _ := r.changesFrom(req)
		if diff := cmp.Diff(want, changeTexts(got)); diff != "" {
			t.Errorf("from %s (-want +got):\n%s", name, diff)
		}
	}
	_, err = r.ReadChanges(t.Context(), &openfgav1.ReadChangesRequest{StoreId: store, ContinuationToken: old})
	wantError(t, err, codeToken, "Invalid continuation token: the changes that follow it are no longer kept")
}

// A type that hardly ever changes is found among very many changes of others, and the
// token moves on with the search.
func TestChangesAreFoundFarBehind(t *testing.T) {
	r := newRig(t)
	store, _ := r.store(changesModel, "folder:1#viewer@user:jon")
	id, err := fsm.ParseStoreID(store)
	if err != nil {
		t.Fatal(err)
	}
	first, token := r.changesFrom(&openfgav1.ReadChangesRequest{StoreId: store, Type: "folder"})
	head, _ := r.state.Current().Store(id)
	document, _ := head.Symbols().TypeID("document")
	user, _ := head.Symbols().TypeID("user")
	viewer, _ := head.Symbols().RelationID(document, "viewer")
	const count = 10_000 // as many as one page of the changelog examines
	ops := make([]fsm.Operation, count)
	for i := range ops {
		ops[i] = fsm.Operation{Kind: fsm.TouchTuple, Tuple: fsm.TupleKey{
			Object: fsm.Entity{Type: document, Name: fmt.Sprint(i)}, Relation: viewer, Subject: fsm.Entity{Type: user, Name: "jon"},
		}}
	}
	for range 2 {
		if res := r.propose(&fsm.Command{Store: id, Body: &fsm.Write{Operations: ops}}); res.Err != nil {
			t.Fatal(res.Err)
		}
	}
	res, err := r.ReadChanges(t.Context(), &openfgav1.ReadChangesRequest{StoreId: store, Type: "folder", ContinuationToken: token})
	if err != nil || len(res.Changes) != 0 || res.ContinuationToken == token {
		t.Errorf("behind %v: %v, %v, want nothing, and a token that has moved", first, res, err)
	}
	r.write(store, "folder:2#viewer@user:jon")
	for _, from := range []string{token, res.GetContinuationToken()} {
		got, _ := r.changesFrom(&openfgav1.ReadChangesRequest{StoreId: store, Type: "folder", ContinuationToken: from})
		if diff := cmp.Diff([]string{"WRITE folder:2#viewer@user:jon"}, changeTexts(got)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}
