package openfga

import (
	"context"
	"errors"
	"fmt"
	"testing"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/protobuf/proto"

	"github.com/remit-authz/remit/graph"
)

func TestBatchCheck(t *testing.T) {
	r := newRig(t)
	store, model := acme(r)
	item := func(id, object, relation, user string) *openfgav1.BatchCheckItem {
		return &openfgav1.BatchCheckItem{
			CorrelationId: id, TupleKey: &openfgav1.CheckRequestTupleKey{Object: object, Relation: relation, User: user},
		}
	}
	held := item("context", "document:draft", "guest", "user:gil")
	held.Context = fields(t, "region", "north", "level", 3)
	given := item("contextual", "document:plan", "viewer", "user:nina")
	given.ContextualTuples = contextual(key(t, "group:design#member@user:nina"))
	faulty := item("contextual-fault", "document:plan", "viewer", "user:nina")
	faulty.ContextualTuples = contextual(&openfgav1.TupleKey{Object: "group:design", Relation: "boss", User: "user:nina"})
	bad := item("context-fault", "document:plan", "viewer", "user:anna")
	bad.Context = fields(t, "re\u0085gion", "north")

	want := map[string]*openfgav1.BatchCheckSingleResult{}
	for id, is := range map[string]bool{"yes": true, "yes-again": true, "no": false, "context": true, "contextual": true} {
		want[id] = &openfgav1.BatchCheckSingleResult{CheckResult: &openfgav1.BatchCheckSingleResult_Allowed{Allowed: is}}
	}
	fault := func(id string, code openfgav1.ErrorCode, text string) {
		want[id] = &openfgav1.BatchCheckSingleResult{CheckResult: &openfgav1.BatchCheckSingleResult_Error{Error: &openfgav1.CheckError{
			Code: &openfgav1.CheckError_InputError{InputError: code}, Message: text,
		}}}
	}
	fault("type", openfgav1.ErrorCode_validation_error, "invalid relation: type 'report' not found")
	fault("relation", openfgav1.ErrorCode_validation_error, "invalid relation: relation 'document#printer' not found")
	fault("condition", openfgav1.ErrorCode_validation_error, "failed to evaluate relationship condition: 'in_region' - tuple 'document:draft#guest@user:gil' is missing context parameters '[level region]'")
	fault("contextual-fault", openfgav1.ErrorCode_invalid_tuple, "invalid tuple: Invalid tuple 'group:design#boss@user:nina'. Reason: relation 'group#boss' not found")
	fault("context-fault", openfgav1.ErrorCode_validation_error, `invalid context: context key "re\u0085gion" contains forbidden characters`)

	catch, of := header()
	res, err := r.BatchCheck(t.Context(), &openfgav1.BatchCheckRequest{
		StoreId: store,
		Checks: []*openfgav1.BatchCheckItem{
			item("yes", "document:plan", "viewer", "user:anna"), item("yes-again", "document:plan", "viewer", "user:anna"),
			item("no", "document:plan", "reader", "user:anna"), held, given,
			item("type", "report:plan", "viewer", "user:anna"), item("relation", "document:plan", "printer", "user:anna"),
			item("condition", "document:draft", "guest", "user:gil"), faulty, bad,
		},
	}, catch)
	if err != nil {
		t.Fatal(err)
	}
	if of(HeaderModelID) != model || of(HeaderToken) == "" {
		t.Errorf("headers %q, %q, want %q and a token", of(HeaderModelID), of(HeaderToken), model)
	}
	if len(res.Result) != len(want) {
		t.Errorf("%d answers, want %d", len(res.Result), len(want))
	}
	for id, w := range want {
		if got := res.Result[id]; !proto.Equal(got, w) {
			t.Errorf("%s: %v, want %v", id, got, w)
		}
	}
}

func TestFaultsOfAWholeBatch(t *testing.T) {
	r := newRig(t)
	store, _ := acme(r)
	batch := func(n int) []*openfgav1.BatchCheckItem {
		items := make([]*openfgav1.BatchCheckItem, n)
		for i := range items {
			items[i] = &openfgav1.BatchCheckItem{CorrelationId: fmt.Sprint(i), TupleKey: checkKey(t, "document:plan#viewer@user:anna")}
		}
		return items
	}
	res, err := r.BatchCheck(t.Context(), &openfgav1.BatchCheckRequest{StoreId: store, Checks: batch(50)})
	if err != nil || len(res.Result) != 50 {
		t.Errorf("50 checks: %d answers, %v", len(res.GetResult()), err)
	}
	_, err = r.BatchCheck(t.Context(), &openfgav1.BatchCheckRequest{StoreId: store, Checks: batch(51)})
	wantError(t, err, 2000, "batchCheck received 51 checks, the maximum allowed is 50")
	twice := batch(3)
	twice[2].CorrelationId = "1"
	_, err = r.BatchCheck(t.Context(), &openfgav1.BatchCheckRequest{StoreId: store, Checks: twice})
	wantError(t, err, 2000, "received duplicate correlation id: 1")
	const nowhere = "01HVMMBCMGZNTGTTYYYYYYYYYY"
	_, err = r.BatchCheck(t.Context(), &openfgav1.BatchCheckRequest{StoreId: nowhere, Checks: batch(51)})
	wantError(t, err, 2020, "No authorization models found for store '"+nowhere+"'")

	small := newRig(t, func(c *Config) { c.MaxChecksPerBatch = 2 })
	store, _ = acme(small)
	_, err = small.BatchCheck(t.Context(), &openfgav1.BatchCheckRequest{StoreId: store, Checks: batch(3)})
	wantError(t, err, 2000, "batchCheck received 3 checks, the maximum allowed is 2")
}

func TestErrorsInABatch(t *testing.T) {
	input := func(code openfgav1.ErrorCode, text string) *openfgav1.CheckError {
		return &openfgav1.CheckError{Code: &openfgav1.CheckError_InputError{InputError: code}, Message: text}
	}
	internal := func(code openfgav1.InternalErrorCode, text string) *openfgav1.CheckError {
		return &openfgav1.CheckError{Code: &openfgav1.CheckError_InternalError{InternalError: code}, Message: text}
	}
	for _, tc := range []struct {
		err   error
		want  *openfgav1.CheckError
		known bool
	}{
		{validationError("text"), input(2000, "text"), true},
		{fmt.Errorf("deep: %w", graph.ErrDepth), input(2002, "resolution depth exceeded"), true},
		{fmt.Errorf("late: %w", context.DeadlineExceeded), internal(4004, "late: context deadline exceeded"), true},
		{context.Canceled, internal(4000, "context canceled"), true},
		{errors.New("disk on fire"), internal(4000, "Internal Server Error"), false},
	} {
		if got, known := batchError(tc.err); !proto.Equal(got, tc.want) || known != tc.known {
			t.Errorf("batchError(%v) = %v, %t, want %v, %t", tc.err, got, known, tc.want, tc.known)
		}
	}
}
