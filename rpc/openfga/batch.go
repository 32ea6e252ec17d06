package openfga

import (
	"context"
	"errors"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/rpc/backend"
)

// serialBatch is how many checks one goroutine answers before others help. Most checks
// are answered sooner than a helper starts, but some take long.
const serialBatch = 8

// BatchCheck answers several questions at one state. A question that fails has its own
// error; only a batch that is malformed fails as a whole.
func (s *service) BatchCheck(ctx context.Context, req *openfgav1.BatchCheckRequest) (*openfgav1.BatchCheckResponse, error) {
	begun := s.reader.Config.Decisions.Begin()
	q, err := s.open(ctx, req)
	var res *openfgav1.BatchCheckResponse
	if err == nil {
		res, err = s.batchCheck(ctx, q, req)
	}
	if s.reader.Config.Decisions != nil {
		s.decidedBatch(ctx, begun, req, q, res, err)
	}
	return res, err
}

func (s *service) batchCheck(ctx context.Context, q *question, req *openfgav1.BatchCheckRequest) (*openfgav1.BatchCheckResponse, error) {
	checks := req.GetChecks()
	if err := checkBatch(checks, s.config.MaxChecksPerBatch); err != nil {
		return nil, err
	}
	answers := make([]*openfgav1.BatchCheckSingleResult, len(checks))
	err := backend.Each(ctx, len(checks), serialBatch, func(ctx context.Context, i int) error {
		answers[i] = s.answer(ctx, q.fork(), checks[i])
		return nil
	})
	if err != nil {
		return nil, err
	}
	results := make(map[string]*openfgav1.BatchCheckSingleResult, len(checks))
	for i, c := range checks {
		results[c.GetCorrelationId()] = answers[i]
	}
	return &openfgav1.BatchCheckResponse{Result: results}, nil
}

// checkBatch looks for faults in a batch as a whole.
func checkBatch(checks []*openfgav1.BatchCheckItem, most int) error {
	if err := checkBatchSize(len(checks), most); err != nil {
		return err
	}
	seen := make(map[string]struct{}, len(checks))
	for _, c := range checks {
		id := c.GetCorrelationId()
		if id == "" {
			return validationError("received empty correlation id for tuple: " + c.GetTupleKey().String())
		}
		if _, twice := seen[id]; twice {
			return validationError("received duplicate correlation id: " + id)
		}
		seen[id] = struct{}{}
	}
	return nil
}

// checkBatchSize looks at how many checks a batch has.
func checkBatchSize(n, most int) error {
	switch {
	case n > most:
		return errorf(openfgav1.ErrorCode_validation_error, "batchCheck received %d checks, the maximum allowed is %d", n, most)
	case n == 0:
		return validationError("batch check requires at least one check to evaluate, no checks were received")
	}
	return nil
}

// answer is the answer to one question of a batch, or its error.
func (s *service) answer(ctx context.Context, q *question, c *openfgav1.BatchCheckItem) *openfgav1.BatchCheckSingleResult {
	allowed, fault, err := q.check(ctx, c.GetTupleKey(), c.GetContext(), c.GetContextualTuples().GetTupleKeys())
	var failure *openfgav1.CheckError
	switch {
	case fault != nil:
		failure = fault.asBatch()
	case err != nil:
		var known bool
		if failure, known = batchError(err); !known {
			s.config.Log.ErrorContext(ctx, "internal error", "procedure", "BatchCheck", "error", err)
		}
	default:
		return &openfgav1.BatchCheckSingleResult{CheckResult: &openfgav1.BatchCheckSingleResult_Allowed{Allowed: allowed}}
	}
	return &openfgav1.BatchCheckSingleResult{CheckResult: &openfgav1.BatchCheckSingleResult_Error{Error: failure}}
}

// depthText is what OpenFGA says of a question that is too deep, if it is one of a batch.
const depthText = "resolution depth exceeded"

// batchError is an error as an entry of the answer to BatchCheck, and false if nobody
// foresaw it.
func batchError(err error) (*openfgav1.CheckError, bool) {
	e, known := lookup(err)
	failure := &openfgav1.CheckError{Message: e.Message}
	switch {
	case errors.Is(err, graph.ErrDepth):
		failure.Message = depthText
	case e.Code == errDeadline.Code, e.Code == errCancelled.Code:
		failure.Message = err.Error()
	}
	switch {
	case e.Code == errDeadline.Code:
		failure.Code = &openfgav1.CheckError_InternalError{InternalError: openfgav1.InternalErrorCode_deadline_exceeded}
	case e.Code >= firstValidation && e.Code < firstUnprocessable && e.Code != errCancelled.Code:
		failure.Code = &openfgav1.CheckError_InputError{InputError: openfgav1.ErrorCode(e.Code)}
	default:
		failure.Code = &openfgav1.CheckError_InternalError{InternalError: openfgav1.InternalErrorCode_internal_error}
	}
	return failure, known
}
