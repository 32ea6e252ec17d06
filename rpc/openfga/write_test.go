package openfga

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/grpc/codes"

	"github.com/remit-authz/remit/fsm"
)

const writeModel = `model
  schema 1.1

type user

type org
  relations
    define viewer: [user]

type document
  relations
    define writer: [user]
    define viewer: [user, user:* with condition1]
    define owner: [user, user with condition1, user with condition2]
    define require_condition: [user with condition1]
    define implicit: [user, document#implicit]
    define computed: viewer
    define union: viewer or writer
    define intersection: viewer and writer
    define difference: viewer but not writer
    define org: [org]
    define ttu: viewer from org

condition condition1(param1: string) {
  param1 == 'ok'
}

condition condition2(param1: string) {
  param1 == 'ok'
}`

const (
	codeValidation  = Code(openfgav1.ErrorCode_validation_error)
	codeWriteFailed = Code(openfgav1.ErrorCode_write_failed_due_to_invalid_input)
	codeDuplicate   = Code(openfgav1.ErrorCode_cannot_allow_duplicate_tuples_in_one_request)
	codeLimit       = Code(openfgav1.ErrorCode_exceeded_entity_limit)
	codeAborted     = Code(codes.Aborted)
	codeInvalid     = Code(codes.InvalidArgument)
)

// tk is a key as it stands, well formed or not.
func tk(object, relation, user string) *openfgav1.TupleKey {
	return &openfgav1.TupleKey{Object: object, Relation: relation, User: user}
}

func many(prefix string, n int) []*openfgav1.TupleKey {
	keys := make([]*openfgav1.TupleKey, n)
	for i := range keys {
		keys[i] = tk(fmt.Sprintf("document:%s%d", prefix, i), "viewer", "user:jon")
	}
	return keys
}

func TestWriteRefusesWhatOpenFGARefuses(t *testing.T) {
	r := newRig(t)
	store, _ := r.store(writeModel, "document:there#viewer@user:jon")
	a, b, c := tk("document:0", "viewer", "user:0"), tk("document:1", "viewer", "user:1"), tk("document:2", "viewer", "user:2")
	for _, tc := range []struct {
		name            string
		deletes, writes []*openfgav1.TupleKey
		code            Code
		text            string
	}{
		{
			name: "nothing at all",
			code: 2003, text: "Invalid input. Make sure you provide at least one write, or at least one delete",
		},
		{
			name: "a delete twice", deletes: []*openfgav1.TupleKey{a, b, a},
			code: codeDuplicate, text: "duplicate tuple in write: user: 'user:0', relation: 'viewer', object: 'document:0'",
		},
		{
			name: "a write twice", writes: []*openfgav1.TupleKey{a, b, a},
			code: codeDuplicate, text: "duplicate tuple in write: user: 'user:0', relation: 'viewer', object: 'document:0'",
		},
		{
			name: "a tuple written twice under two conditions",
			writes: []*openfgav1.TupleKey{
				conditional(t, "document:0#owner@user:0", "condition1"), conditional(t, "document:0#owner@user:0", "condition2"),
			},
			code: codeDuplicate, text: "duplicate tuple in write: user: 'user:0', relation: 'owner', object: 'document:0'",
		},
		{
			name: "a tuple deleted and written", deletes: []*openfgav1.TupleKey{c, b}, writes: []*openfgav1.TupleKey{a, b},
			code: codeDuplicate, text: "duplicate tuple in write: user: 'user:1', relation: 'viewer', object: 'document:1'",
		},
		{
			name: "too many writes", writes: many("w", 101),
			code: codeLimit, text: "The number of write operations exceeds the allowed limit of 100",
		},
		{
			name: "too many together", deletes: many("d", 50), writes: many("w", 51),
			code: codeLimit, text: "The number of write operations exceeds the allowed limit of 100",
		},
		{
			name: "an object of an unknown type", writes: []*openfgav1.TupleKey{tk("unknown:1", "viewer", "user:maria")},
			code: codeValidation, text: "Invalid tuple 'unknown:1#viewer@user:maria'. Reason: type 'unknown' not found",
		},
		{
			name: "a user of an unknown type", writes: []*openfgav1.TupleKey{tk("document:1", "viewer", "group:eng#member")},
			code: codeValidation, text: "Invalid tuple 'document:1#viewer@group:eng#member'. Reason: type 'group' not found",
		},
		{
			name: "a userset of an unknown relation", writes: []*openfgav1.TupleKey{tk("document:1", "viewer", "user:maria#member")},
			code: codeValidation, text: "Invalid tuple 'document:1#viewer@user:maria#member'. Reason: relation 'user#member' not found",
		},
		{
			name: "no relation", writes: []*openfgav1.TupleKey{tk("document:1", "", "user:maria")},
			code: codeValidation, text: "Invalid tuple 'document:1#@user:maria'. Reason: the 'relation' field is malformed",
		},
		{
			name: "an unknown relation", writes: []*openfgav1.TupleKey{tk("document:1", "unknown", "user:maria")},
			code: codeValidation, text: "Invalid tuple 'document:1#unknown@user:maria'. Reason: relation 'document#unknown' not found",
		},
		{
			name: "no user", writes: []*openfgav1.TupleKey{tk("document:1", "viewer", "")},
			code: codeValidation, text: "Invalid tuple 'document:1#viewer@'. Reason: the 'user' field is malformed",
		},
		{
			name: "a wildcard that is not taken", writes: []*openfgav1.TupleKey{tk("document:1", "writer", "user:*")},
			code: codeValidation, text: "Invalid tuple 'document:1#writer@user:*'. Reason: the typed wildcard 'user:*' is not an allowed type restriction for 'document#writer'",
		},
		{
			name: "a union", writes: []*openfgav1.TupleKey{tk("document:1", "union", "user:maria")},
			code: codeValidation, text: "Invalid tuple 'document:1#union@user:maria'. Reason: type 'user' is not an allowed type restriction for 'document#union'",
		},
		{
			name: "an intersection", writes: []*openfgav1.TupleKey{tk("document:1", "intersection", "user:maria")},
			code: codeValidation, text: "Invalid tuple 'document:1#intersection@user:maria'. Reason: type 'user' is not an allowed type restriction for 'document#intersection'",
		},
		{
			name: "a difference", writes: []*openfgav1.TupleKey{tk("document:1", "difference", "user:maria")},
			code: codeValidation, text: "Invalid tuple 'document:1#difference@user:maria'. Reason: type 'user' is not an allowed type restriction for 'document#difference'",
		},
		{
			name: "a computed relation", writes: []*openfgav1.TupleKey{tk("document:1", "computed", "user:maria")},
			code: codeValidation, text: "Invalid tuple 'document:1#computed@user:maria'. Reason: type 'user' is not an allowed type restriction for 'document#computed'",
		},
		{
			name: "a relation from another", writes: []*openfgav1.TupleKey{tk("document:1", "ttu", "user:maria")},
			code: codeValidation, text: "Invalid tuple 'document:1#ttu@user:maria'. Reason: type 'user' is not an allowed type restriction for 'document#ttu'",
		},
		{
			name: "a userset that is followed", writes: []*openfgav1.TupleKey{tk("document:1", "org", "org:openfga#viewer")},
			code: codeValidation, text: "Invalid tuple 'document:1#org@org:openfga#viewer'. Reason: unexpected user 'org:openfga#viewer' with tupleset relation 'document#org'",
		},
		{
			name: "a wildcard that is followed", writes: []*openfgav1.TupleKey{tk("document:1", "org", "org:*")},
			code: codeValidation, text: "Invalid tuple 'document:1#org@org:*'. Reason: unexpected wildcard relationship with tupleset relation 'document#org'",
		},
		{
			name: "an object without a type", writes: []*openfgav1.TupleKey{tk("invalid", "viewer", "user:maria")},
			code: codeValidation, text: "Invalid tuple 'invalid#viewer@user:maria'. Reason: invalid 'object' field format",
		},
		{
			name: "what is so by itself", writes: []*openfgav1.TupleKey{tk("document:1", "implicit", "document:1#implicit")},
			code: codeValidation, text: "Invalid tuple 'document:1#implicit@document:1#implicit'. Reason: cannot write a tuple that is implicit",
		},
		{
			name: "a delete without a user", deletes: []*openfgav1.TupleKey{tk("document:1", "viewer", "")},
			code: codeValidation, text: "Invalid tuple 'document:1#viewer@'. Reason: the 'user' field is malformed",
		},
		{
			name: "without its condition", writes: []*openfgav1.TupleKey{tk("document:1", "require_condition", "user:maria")},
			code: codeValidation, text: "Invalid tuple 'document:1#require_condition@user:maria'. Reason: condition is missing",
		},
		{
			name: "a wildcard without its condition", writes: []*openfgav1.TupleKey{tk("document:1", "viewer", "user:*")},
			code: codeValidation, text: "Invalid tuple 'document:1#viewer@user:*'. Reason: condition is missing",
		},
		{
			name: "a condition too many", writes: []*openfgav1.TupleKey{conditional(t, "document:2#writer@user:jon", "condition1", "param1", "ok")},
			code: codeValidation, text: "Invalid tuple 'document:2#writer@user:jon (condition condition1)'. Reason: invalid condition for type restriction",
		},
		{
			name: "a context with a foreign parameter", writes: []*openfgav1.TupleKey{conditional(t, "document:2#viewer@user:*", "condition1", "param1", "ok", "param2", 1)},
			code: codeValidation, text: "Invalid tuple 'document:2#viewer@user:* (condition condition1)'. Reason: found invalid context parameter: param2",
		},
		{
			name: "an unknown condition", writes: []*openfgav1.TupleKey{conditional(t, "document:1#viewer@user:*", "condition3", "param1", "ok")},
			code: codeValidation, text: "Invalid tuple 'document:1#viewer@user:* (condition condition3)'. Reason: undefined condition",
		},
		{
			name: "a context that is too large", writes: []*openfgav1.TupleKey{conditional(t, "document:1#viewer@user:*", "condition1", "param1", strings.Repeat("x", 32769))},
			code: codeValidation, text: "Invalid tuple 'document:1#viewer@user:*'. Reason: condition context size limit exceeded: 32789 bytes exceeds 32768 bytes",
		},
		{
			name: "what is there already", writes: []*openfgav1.TupleKey{a, tk("document:there", "viewer", "user:jon")},
			code: codeWriteFailed, text: "cannot write a tuple which already exists: user: 'user:jon', relation: 'viewer', object: 'document:there': tuple to be written already existed or the tuple to be deleted did not exist",
		},
		{
			name: "a delete of what is not there", deletes: []*openfgav1.TupleKey{tk("document:there", "viewer", "user:jon"), a},
			code: codeWriteFailed, text: "cannot delete a tuple which does not exist: user: 'user:0', relation: 'viewer', object: 'document:0': tuple to be written already existed or the tuple to be deleted did not exist",
		},
		{
			name: "the first missing one, of known and unknown names", deletes: []*openfgav1.TupleKey{tk("document:there", "viewer", "user:jon"), a, tk("unknown:1", "old", "user:jon")},
			code: codeWriteFailed, text: "cannot delete a tuple which does not exist: user: 'user:0', relation: 'viewer', object: 'document:0': tuple to be written already existed or the tuple to be deleted did not exist",
		},
		{
			name: "a missing one of an unknown type", deletes: []*openfgav1.TupleKey{tk("document:there", "viewer", "user:jon"), tk("unknown:1", "old", "user:jon"), a},
			code: codeWriteFailed, text: "cannot delete a tuple which does not exist: user: 'user:jon', relation: 'old', object: 'unknown:1': tuple to be written already existed or the tuple to be deleted did not exist",
		},
		{
			name: "a missing one of an unknown relation", deletes: []*openfgav1.TupleKey{tk("document:there", "old", "user:jon")},
			code: codeWriteFailed, text: "cannot delete a tuple which does not exist: user: 'user:jon', relation: 'old', object: 'document:there': tuple to be written already existed or the tuple to be deleted did not exist",
		},
		{
			name: "a missing one of a user without a type", deletes: []*openfgav1.TupleKey{tk("document:there", "viewer", "jon")},
			code: codeWriteFailed, text: "cannot delete a tuple which does not exist: user: 'jon', relation: 'viewer', object: 'document:there': tuple to be written already existed or the tuple to be deleted did not exist",
		},
		{
			name: "a missing one of every object", deletes: []*openfgav1.TupleKey{tk("document:*", "viewer", "user:jon")},
			code: codeWriteFailed, text: "cannot delete a tuple which does not exist: user: 'user:jon', relation: 'viewer', object: 'document:*': tuple to be written already existed or the tuple to be deleted did not exist",
		},
		{
			name: "a missing delete before an existing write", deletes: []*openfgav1.TupleKey{a}, writes: []*openfgav1.TupleKey{tk("document:there", "viewer", "user:jon")},
			code: codeWriteFailed, text: "cannot delete a tuple which does not exist: user: 'user:0', relation: 'viewer', object: 'document:0': tuple to be written already existed or the tuple to be deleted did not exist",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req := deletes(store, tc.deletes...)
			req.Writes = writes(store, tc.writes...).Writes
			if len(tc.deletes) == 0 {
				req.Deletes = nil
			}
			if len(tc.writes) == 0 {
				req.Writes = nil
			}
			wantError(t, r.tryWrite(req), tc.code, tc.text)
		})
	}
	// What was refused has changed nothing.
	wantTuples(t, r, store, "document:there#viewer@user:jon")
	if changes := r.changes(store); len(changes) != 1 {
		t.Errorf("%d changes, want 1: %v", len(changes), changes)
	}
}

// wantTuples compares the tuples of a store, which come in any order.
func wantTuples(t *testing.T, r *rig, store string, want ...string) {
	t.Helper()
	got := map[string]bool{}
	for _, tuple := range r.read(&openfgav1.ReadRequest{StoreId: store}) {
		got[conditionalText(tuple.Key)] = true
	}
	wanted := map[string]bool{}
	for _, text := range want {
		wanted[text] = true
	}
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Errorf("tuples of the store (-want +got):\n%s", diff)
	}
}

func TestWriteOptions(t *testing.T) {
	ok := fields(t, "param1", "ok")
	there := "document:there#viewer@user:jon"
	owner := conditional(t, "document:there#owner@user:jon", "condition1", "param1", "ok")
	const conflict = "transactional write failed due to conflict: attempted to write a tuple which already exists with a different condition: "
	const exists = ": tuple to be written already existed or the tuple to be deleted did not exist"
	for _, tc := range []struct {
		name                   string
		deletes, writes        []*openfgav1.TupleKey
		onMissing, onDuplicate string
		code                   Code
		text                   string
		want                   []string // tuples, besides the two that are there, if nothing is refused
	}{
		{
			name: "an unknown on_duplicate", writes: many("w", 1), onDuplicate: "bad",
			code: codeValidation, text: "invalid on_duplicate option: bad",
		},
		{
			name: "an unknown on_missing", deletes: many("w", 1), onMissing: "bad",
			code: codeValidation, text: "invalid on_missing option: bad",
		},
		{
			name: "error refuses what is there", writes: []*openfgav1.TupleKey{key(t, there)}, onDuplicate: "error",
			code: codeWriteFailed, text: "cannot write a tuple which already exists: user: 'user:jon', relation: 'viewer', object: 'document:there'" + exists,
		},
		{
			name: "error refuses what is not there", deletes: many("w", 1), onMissing: "error",
			code: codeWriteFailed, text: "cannot delete a tuple which does not exist: user: 'user:jon', relation: 'viewer', object: 'document:w0'" + exists,
		},
		{name: "ignore what is there", writes: []*openfgav1.TupleKey{key(t, there)}, onDuplicate: "ignore"},
		{name: "ignore what is there with the same condition", writes: []*openfgav1.TupleKey{owner}, onDuplicate: "ignore"},
		{
			name: "ignore and write the rest", writes: []*openfgav1.TupleKey{key(t, there), key(t, "document:new#viewer@user:jon")},
			onDuplicate: "ignore", want: []string{"document:new#viewer@user:jon"},
		},
		{
			name: "ignore does not mean another condition", writes: []*openfgav1.TupleKey{{
				Object: "document:there", Relation: "owner", User: "user:jon", Condition: &openfgav1.RelationshipCondition{Name: "condition2", Context: ok},
			}},
			onDuplicate: "ignore",
			code:        codeAborted, text: conflict + "user: 'user:jon', relation: 'owner', object: 'document:there'",
		},
		{
			name: "ignore does not mean no condition", writes: []*openfgav1.TupleKey{key(t, "document:there#owner@user:jon")}, onDuplicate: "ignore",
			code: codeAborted, text: conflict + "user: 'user:jon', relation: 'owner', object: 'document:there'",
		},
		{
			name: "ignore does not mean another context", writes: []*openfgav1.TupleKey{conditional(t, "document:there#owner@user:jon", "condition1", "param1", "no")},
			onDuplicate: "ignore",
			code:        codeAborted, text: conflict + "user: 'user:jon', relation: 'owner', object: 'document:there'",
		},
		{name: "ignore what is not there", deletes: many("w", 2), onMissing: "ignore"},
		{
			name: "ignore what has unknown names", onMissing: "ignore",
			deletes: []*openfgav1.TupleKey{tk("unknown:1", "viewer", "user:maria"), tk("document:1", "old", "user:maria"), tk("document:1", "viewer", "unknown:maria"), tk("document:1", "viewer", "maria")},
		},
		{
			name: "ignore missing, but write", deletes: many("w", 1), writes: many("v", 1), onMissing: "ignore",
			want: []string{"document:v0#viewer@user:jon"},
		},
		{
			name: "ignore duplicates, but not what is missing", deletes: many("w", 1), writes: []*openfgav1.TupleKey{key(t, there)}, onDuplicate: "ignore",
			code: codeWriteFailed, text: "cannot delete a tuple which does not exist: user: 'user:jon', relation: 'viewer', object: 'document:w0'" + exists,
		},
		{
			name: "ignore what is missing, but not duplicates", deletes: many("w", 1), writes: []*openfgav1.TupleKey{key(t, there)}, onMissing: "ignore",
			code: codeWriteFailed, text: "cannot write a tuple which already exists: user: 'user:jon', relation: 'viewer', object: 'document:there'" + exists,
		},
		{
			name: "ignore both", deletes: many("w", 1), writes: []*openfgav1.TupleKey{key(t, there), key(t, "document:new#viewer@user:jon")},
			onMissing: "ignore", onDuplicate: "ignore", want: []string{"document:new#viewer@user:jon"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t)
			store, _ := r.store(writeModel, there)
			if err := r.tryWrite(writes(store, owner)); err != nil {
				t.Fatal(err)
			}
			before := len(r.changes(store))
			req := &openfgav1.WriteRequest{StoreId: store}
			if tc.writes != nil {
				req.Writes = writes(store, tc.writes...).Writes
				req.Writes.OnDuplicate = tc.onDuplicate
			}
			if tc.deletes != nil {
				req.Deletes = deletes(store, tc.deletes...).Deletes
				req.Deletes.OnMissing = tc.onMissing
			}
			if err := r.tryWrite(req); tc.code != 0 {
				wantError(t, err, tc.code, tc.text)
			} else if err != nil {
				t.Error(err)
			}
			wantTuples(t, r, store, append(tc.want, there, "document:there#owner@user:jon (condition condition1)")...)
			if got := len(r.changes(store)) - before; got != len(tc.want) {
				t.Errorf("%d changes, want %d: what is ignored is none", got, len(tc.want))
			}
		})
	}
}

func TestWriteFindsItsModel(t *testing.T) {
	r := newRig(t)
	bare, _ := r.store("")
	store, old := r.store(writeModel)
	newest := r.model(store, strings.Replace(writeModel, "define writer: [user]", "define writer: [org]", 1))
	const unknown = "01JCC8ZD4X84K2W0H0ZA5AQ947"
	write := writes(store, tk("document:1", "writer", "user:maria"))

	req := writes(bare, write.Writes.TupleKeys...)
	wantError(t, r.tryWrite(req), 2020, "No authorization models found for store '"+bare+"'")
	wantError(t, r.tryWrite(deletes(bare, write.Writes.TupleKeys...)), 2020, "No authorization models found for store '"+bare+"'")
	wantError(t, r.tryWrite(writes(unknown, write.Writes.TupleKeys...)), 2020, "No authorization models found for store '"+unknown+"'")
	req = writes(store, write.Writes.TupleKeys...)
	req.AuthorizationModelId = unknown
	wantError(t, r.tryWrite(req), 2001, "Authorization Model '"+unknown+"' not found")
	wantError(t, r.tryWrite(&openfgav1.WriteRequest{StoreId: bare}), 2020, "No authorization models found for store '"+bare+"'")

	// The newest judges, unless another one is named.
	option, of := header()
	_, err := r.Write(t.Context(), writes(store, tk("document:1", "writer", "user:maria")), option)
	wantError(t, err, codeValidation, "Invalid tuple 'document:1#writer@user:maria'. Reason: type 'user' is not an allowed type restriction for 'document#writer'")
	if got := of(HeaderModelID); got != newest {
		t.Errorf("%s is %q, want the newest, %s", HeaderModelID, got, newest)
	}
	req = writes(store, tk("document:1", "writer", "user:maria"))
	req.AuthorizationModelId = old
	if _, err := r.Write(t.Context(), req, option); err != nil {
		t.Fatal(err)
	}
	if got := of(HeaderModelID); got != old {
		t.Errorf("%s is %q, want %s", HeaderModelID, got, old)
	}
	// A delete is not judged at all.
	r.remove(store, "document:1#writer@user:maria")
	wantTuples(t, r, store)
}

func TestDeletesComeBeforeWrites(t *testing.T) {
	r := newRig(t)
	store, _ := r.store(writeModel, "document:1#viewer@user:a", "document:1#viewer@user:b")
	req := deletes(store, r.tuples("document:1#viewer@user:b", "document:1#viewer@user:a")...)
	req.Writes = writes(store, r.tuples("document:2#viewer@user:d", "document:2#viewer@user:c")...).Writes
	if err := r.tryWrite(req); err != nil {
		t.Fatal(err)
	}
	wantTuples(t, r, store, "document:2#viewer@user:c", "document:2#viewer@user:d")
	var got []string
	for _, c := range r.changes(store)[2:] {
		got = append(got, c.Operation.String()[len("TUPLE_OPERATION_"):]+" "+tupleText(c.TupleKey))
	}
	want := []string{
		"DELETE document:1#viewer@user:b", "DELETE document:1#viewer@user:a",
		"WRITE document:2#viewer@user:d", "WRITE document:2#viewer@user:c",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
}

func TestOneOfManyWritersWins(t *testing.T) {
	r := newRig(t)
	store, _ := r.store(writeModel)
	const writers = 16
	for round := range 5 {
		tuple := fmt.Sprintf("document:%d#viewer@user:jon", round)
		race := func(req func() *openfgav1.WriteRequest, loser string) {
			t.Helper()
			var wait sync.WaitGroup
			errs := make([]error, writers)
			for i := range writers {
				request := req()
				wait.Go(func() { errs[i] = r.tryWrite(request) })
			}
			wait.Wait()
			won := 0
			for _, err := range errs {
				if err == nil {
					won++
					continue
				}
				var e *Error
				if !errors.As(err, &e) || e.Code != codeWriteFailed || !strings.HasPrefix(e.Message, loser) {
					t.Errorf("a loser is told %v, want %q", err, loser)
				}
			}
			if won != 1 {
				t.Errorf("%d of %d writers of %s won, want 1", won, writers, tuple)
			}
		}
		race(func() *openfgav1.WriteRequest { return writes(store, key(t, tuple)) }, "cannot write a tuple which already exists")
		wantTuples(t, r, store, tuple)
		race(func() *openfgav1.WriteRequest { return deletes(store, key(t, tuple)) }, "cannot delete a tuple which does not exist")
		wantTuples(t, r, store)
	}
	if got := len(r.changes(store)); got != 10 {
		t.Errorf("%d changes, want 10", got)
	}
}

// A write that the newest model judges is judged anew if another model comes in between.
func TestAModelWrittenMeanwhileJudges(t *testing.T) {
	r := newRig(t)
	store, _ := r.store(writeModel)
	strict := strings.Replace(writeModel, "define writer: [user]", "define writer: [org]", 1)
	var wait sync.WaitGroup
	for i := range 40 {
		dsl := writeModel
		if i%2 == 0 {
			dsl = strict
		}
		request := modelRequest(t, store, dsl)
		wait.Go(func() {
			if _, err := r.WriteAuthorizationModel(t.Context(), request); err != nil {
				t.Error(err)
			}
		})
		tuple := tk(fmt.Sprintf("document:%d", i), "writer", "user:maria")
		wait.Go(func() {
			var e *Error
			err := r.tryWrite(writes(store, tuple))
			if err != nil && (!errors.As(err, &e) || e.Code != codeValidation && e.Code != codeAborted) {
				t.Errorf("write of %s: %v", tupleText(tuple), err)
			}
		})
	}
	wait.Wait()
	// Every tuple was written under a model that takes it: going through the changelog, the
	// newest model before each tuple is the lax one.
	id, err := fsm.ParseStoreID(store)
	if err != nil {
		t.Fatal(err)
	}
	page, err := r.state.Changes(id, fsm.ChangeQuery{})
	if err != nil {
		t.Fatal(err)
	}
	head, _ := page.Root.Store(id)
	takesUsers, tuples := false, 0
	for _, c := range page.Changes {
		switch c.Kind {
		case fsm.ModelWritten:
			m, _ := head.Model(c.Model)
			takesUsers = !strings.Contains(string(m.Source), `"writer":{"directly_related_user_types":[{"type":"org"`)
		case fsm.TuplePut:
			tuples++
			if !takesUsers {
				t.Errorf("a tuple was written at %d.%d under a model that refuses it", c.Revision, c.Ordinal)
			}
		}
	}
	t.Logf("%d tuples were written", tuples)
}

// A tuple that remit.v1 gave an expiry counts until then, and is not there afterwards.
func TestExpiredTuplesAreNotThere(t *testing.T) {
	c := &clock{now: time.Now()}
	r := newRigAt(t, c.Now)
	store, _ := r.store(writeModel)
	id, err := fsm.ParseStoreID(store)
	if err != nil {
		t.Fatal(err)
	}
	head, _ := r.state.Current().Store(id)
	symbols := head.Symbols()
	document, _ := symbols.TypeID("document")
	user, _ := symbols.TypeID("user")
	viewer, _ := symbols.RelationID(document, "viewer")
	put := func(name string, expires time.Duration) {
		t.Helper()
		op := fsm.Operation{Kind: fsm.TouchTuple, Tuple: fsm.TupleKey{
			Object: fsm.Entity{Type: document, Name: name}, Relation: viewer, Subject: fsm.Entity{Type: user, Name: "jon"},
		}}
		if expires > 0 {
			op.Expires = c.Now().Add(expires).UnixMilli()
		}
		if res := r.propose(&fsm.Command{Store: id, Body: &fsm.Write{Operations: []fsm.Operation{op}}}); res.Err != nil {
			t.Fatal(res.Err)
		}
	}
	put("short", time.Minute)
	put("long", time.Hour)
	put("ever", 0)
	wantTuples(t, r, store, "document:short#viewer@user:jon", "document:long#viewer@user:jon", "document:ever#viewer@user:jon")
	// While it counts, it is there, and differs from one that lasts for ever.
	req := writes(store, key(t, "document:short#viewer@user:jon"))
	wantError(t, r.tryWrite(req), codeWriteFailed, "cannot write a tuple which already exists: user: 'user:jon', relation: 'viewer', object: 'document:short': tuple to be written already existed or the tuple to be deleted did not exist")
	req = writes(store, key(t, "document:short#viewer@user:jon"))
	req.Writes.OnDuplicate = "ignore"
	wantError(t, r.tryWrite(req), codeAborted, "transactional write failed due to conflict: attempted to write a tuple which already exists with a different condition: user: 'user:jon', relation: 'viewer', object: 'document:short'")

	c.Advance(time.Minute)
	wantTuples(t, r, store, "document:long#viewer@user:jon", "document:ever#viewer@user:jon")
	for size := int32(1); size <= 3; size++ {
		if got := r.pages(&openfgav1.ReadRequest{StoreId: store}, size); len(got) != 2 {
			t.Errorf("pages of %d hold %d tuples, want 2", size, len(got))
		}
	}
	wantError(t, r.tryWrite(deletes(store, key(t, "document:short#viewer@user:jon"))), codeWriteFailed,
		"cannot delete a tuple which does not exist: user: 'user:jon', relation: 'viewer', object: 'document:short': tuple to be written already existed or the tuple to be deleted did not exist")
	wantError(t, r.tryWrite(deletes(store, key(t, "document:short#viewer@user:jon"), tk("unknown:1", "viewer", "user:jon"))), codeWriteFailed,
		"cannot delete a tuple which does not exist: user: 'user:jon', relation: 'viewer', object: 'document:short': tuple to be written already existed or the tuple to be deleted did not exist")
	r.write(store, "document:short#viewer@user:jon")
	wantTuples(t, r, store, "document:short#viewer@user:jon", "document:long#viewer@user:jon", "document:ever#viewer@user:jon")

	// What is removed because it expired is a delete, at the time of its removal.
	c.Advance(time.Hour)
	before := len(r.changes(store))
	if res := r.propose(&fsm.Command{Store: id, Body: &fsm.AdvanceExpiry{Horizon: c.Now().UnixMilli()}}); res.Err != nil {
		t.Fatal(res.Err)
	}
	changes := r.changes(store)[before:]
	if len(changes) != 1 || changes[0].Operation != openfgav1.TupleOperation_TUPLE_OPERATION_DELETE ||
		tupleText(changes[0].TupleKey) != "document:long#viewer@user:jon" || changes[0].Timestamp.AsTime().UnixMilli() != c.Now().UnixMilli() {
		t.Errorf("changes of the removal: %v, want a delete of document:long#viewer@user:jon at %s", changes, c.Now())
	}
}

func TestWriteTellsItsState(t *testing.T) {
	r := newRig(t)
	store, _ := r.store(writeModel)
	option, of := header()
	if _, err := r.Write(t.Context(), writes(store, key(t, "document:1#viewer@user:jon")), option); err != nil {
		t.Fatal(err)
	}
	if got, want := of(HeaderToken), r.reader.Token(r.state.Current().Revision()); got != want {
		t.Errorf("%s is %q, want %q", HeaderToken, got, want)
	}
	id, err := fsm.ParseStoreID(store)
	if err != nil {
		t.Fatal(err)
	}
	page, err := r.state.Changes(id, fsm.ChangeQuery{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range page.Changes[1:] {
		if len(c.RequestID) != 36 {
			t.Errorf("a change of kind %d has the request id %q, want a UUID", c.Kind, c.RequestID)
		}
	}
	if got, want := page.Changes[len(page.Changes)-1].RequestID, of(HeaderRequestID); got != want {
		t.Errorf("the change has the request id %q, the answer %q", got, want)
	}
	// The token lets any node answer from that state on; a made-up one does not.
	ctx := withHeader(t.Context(), HeaderToken, of(HeaderToken))
	if res, err := r.Read(ctx, &openfgav1.ReadRequest{StoreId: store}); err != nil || len(res.Tuples) != 1 {
		t.Errorf("Read with the token: %v, %v", res, err)
	}
	_, err = r.Read(withHeader(t.Context(), HeaderToken, "nonsense"), &openfgav1.ReadRequest{StoreId: store})
	var e *Error
	if !errors.As(err, &e) || e.Code != codeValidation {
		t.Errorf("Read with a made-up token: %v, want a validation error", err)
	}
}
