package openfga

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"connectrpc.com/connect/v2"
	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	authzenv1 "github.com/openfga/api/proto/authzen/v1"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
)

// An authZEN answers AuthZEN's procedures, as OpenFGA has them, with what answers
// OpenFGA's own: an evaluation is a Check, and a search is a list.
type authZEN struct {
	authzenv1.UnimplementedAuthZenServiceServer
	*service
}

// registerAuthZEN serves every procedure of authzen.v1.AuthZenService.
func registerAuthZEN(server *connect.Server, s *service) {
	register(server, &authzenv1.AuthZenService_ServiceDesc,
		authzenv1.File_authzen_v1_authzen_service_proto.Services().ByName("AuthZenService"), &authZEN{service: s})
}

// Evaluation decides whether a subject may take an action on a resource.
func (a *authZEN) Evaluation(ctx context.Context, req *authzenv1.EvaluationRequest) (*authzenv1.EvaluationResponse, error) {
	model, err := modelHeader(ctx)
	if err != nil {
		return nil, err
	}
	return a.evaluate(ctx, req.GetStoreId(), model, askedBy(req))
}

// evaluate makes one decision. What is asked may be incomplete.
func (a *authZEN) evaluate(ctx context.Context, store, model string, e asked) (*authzenv1.EvaluationResponse, error) {
	key, fault := e.key()
	if fault != nil {
		return nil, fault
	}
	res, err := a.Check(ctx, &openfgav1.CheckRequest{StoreId: store, AuthorizationModelId: model, TupleKey: key, Context: e.merged()})
	if err != nil {
		return nil, err
	}
	return &authzenv1.EvaluationResponse{Decision: res.GetAllowed()}, nil
}

// Evaluations makes several decisions at one state, in the order of the request: all of
// them, or those up to the first that denies, or that permits.
func (a *authZEN) Evaluations(ctx context.Context, req *authzenv1.EvaluationsRequest) (*authzenv1.EvaluationsResponse, error) {
	model, err := modelHeader(ctx)
	if err != nil {
		return nil, err
	}
	if len(req.GetEvaluations()) == 0 {
		one, err := a.evaluate(ctx, req.GetStoreId(), model, askedBy(req))
		if err != nil {
			return nil, err
		}
		return &authzenv1.EvaluationsResponse{Evaluations: []*authzenv1.EvaluationResponse{one}}, nil
	}
	switch req.GetOptions().GetEvaluationsSemantic() {
	case authzenv1.EvaluationsSemantic_deny_on_first_deny:
		return a.evaluateUntil(ctx, req, model, false)
	case authzenv1.EvaluationsSemantic_permit_on_first_permit:
		return a.evaluateUntil(ctx, req, model, true)
	}
	return a.evaluateAll(ctx, req, model)
}

// evaluateAll makes every decision. One that cannot be made is a denial that says why,
// but if an evaluation is incomplete, or there are too many, none is made.
func (a *authZEN) evaluateAll(ctx context.Context, req *authzenv1.EvaluationsRequest, model string) (*authzenv1.EvaluationsResponse, error) {
	batch := &openfgav1.BatchCheckRequest{
		StoreId: req.GetStoreId(), AuthorizationModelId: model,
		Checks: make([]*openfgav1.BatchCheckItem, len(req.GetEvaluations())),
	}
	top := askedBy(req)
	for i, item := range req.GetEvaluations() {
		e := askedBy(item).or(top)
		key, fault := e.key()
		if fault != nil {
			return nil, errorf(codes.InvalidArgument, "evaluation %d: %s", i, fault.Message)
		}
		batch.Checks[i] = &openfgav1.BatchCheckItem{TupleKey: key, Context: e.merged(), CorrelationId: strconv.Itoa(i)}
	}
	decided, err := a.BatchCheck(ctx, batch)
	if err != nil {
		return nil, err
	}
	res := &authzenv1.EvaluationsResponse{Evaluations: make([]*authzenv1.EvaluationResponse, len(batch.Checks))}
	for i, c := range batch.Checks {
		one := decided.GetResult()[c.CorrelationId]
		switch failure := one.GetError(); {
		case failure == nil:
			res.Evaluations[i] = &authzenv1.EvaluationResponse{Decision: one.GetAllowed()}
		case failure.GetInputError() != 0:
			res.Evaluations[i] = denial(Code(failure.GetInputError()).HTTPStatus(), failure.GetMessage())
		default:
			res.Evaluations[i] = denial(http.StatusInternalServerError, failure.GetMessage())
		}
	}
	return res, nil
}

// evaluateUntil makes decisions one by one, up to the first that is as the last one has
// to be. One that cannot be made is a denial that says why.
func (a *authZEN) evaluateUntil(ctx context.Context, req *authzenv1.EvaluationsRequest, model string, last bool) (*authzenv1.EvaluationsResponse, error) {
	// OpenFGA does not look for the model before it comes to an evaluation that is complete.
	open := sync.OnceValues(func() (*question, error) {
		return a.open(ctx, &openfgav1.CheckRequest{StoreId: req.GetStoreId(), AuthorizationModelId: model})
	})
	res := &authzenv1.EvaluationsResponse{}
	top := askedBy(req)
	for _, item := range req.GetEvaluations() {
		e := askedBy(item).or(top)
		key, fault := e.key()
		if fault != nil {
			res.Evaluations = append(res.Evaluations, denial(http.StatusBadRequest, fault.Message))
			if !last {
				break
			}
			continue
		}
		begun := a.reader.Config.Decisions.Begin()
		q, err := open()
		var told *Error
		if err != nil && !errors.As(err, &told) {
			a.decided(ctx, begun, q, req.GetStoreId(), key, e, false, err)
			return nil, err // not OpenFGA's: the state that was asked for is not here, say
		}
		one := &authzenv1.EvaluationResponse{}
		if err == nil {
			one.Decision, err = q.decide(ctx, key, e.merged())
		}
		a.decided(ctx, begun, q, req.GetStoreId(), key, e, one.Decision, err)
		if err != nil {
			one = a.denialOf(ctx, err)
		}
		res.Evaluations = append(res.Evaluations, one)
		if one.Decision == last {
			break
		}
	}
	return res, nil
}

// decide answers one question of several, as Check would.
func (q *question) decide(ctx context.Context, key tupleKey, given *structpb.Struct) (bool, error) {
	allowed, fault, err := q.fork().check(ctx, key, given, nil)
	if fault != nil {
		return false, fault.asCheck()
	}
	return allowed, err
}

// denialOf is the denial that an error of a Check stands for, in the words of OpenFGA,
// which lets gRPC's library print the error.
func (a *authZEN) denialOf(ctx context.Context, err error) *authzenv1.EvaluationResponse {
	e, known := lookup(err)
	if !known {
		a.config.Log.ErrorContext(ctx, "internal error", "procedure", "Evaluations", "error", err)
	}
	code := e.Code.HTTPStatus()
	if e.Code < firstAuth {
		code = runtime.HTTPStatusFromCode(codes.Code(e.Code))
	}
	return denial(code, status.Error(codes.Code(e.Code), e.Message).Error())
}

// denial is a decision that could not be made.
func denial(code int, message string) *authzenv1.EvaluationResponse {
	return &authzenv1.EvaluationResponse{Context: &structpb.Struct{Fields: map[string]*structpb.Value{
		"error": structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{
			"status":  structpb.NewNumberValue(float64(code)),
			"message": structpb.NewStringValue(message),
		}}),
	}}}
}

// GetConfiguration tells where the endpoints of a store are. Only the configuration says
// so: a Host header comes from the client, and whoever could choose it for others would
// have their questions sent elsewhere.
func (a *authZEN) GetConfiguration(_ context.Context, req *authzenv1.GetConfigurationRequest) (*authzenv1.GetConfigurationResponse, error) {
	if a.config.AuthZENBaseURL == "" {
		return nil, newError(codes.FailedPrecondition, "AuthZEN discovery base URL is not configured; set --authzen-base-url or REMIT_AUTHZEN_BASE_URL")
	}
	store := a.config.AuthZENBaseURL + "/stores/" + req.GetStoreId()
	return &authzenv1.GetConfigurationResponse{
		PolicyDecisionPoint:       store,
		AccessEvaluationEndpoint:  store + "/access/v1/evaluation",
		AccessEvaluationsEndpoint: store + "/access/v1/evaluations",
		SearchSubjectEndpoint:     store + "/access/v1/search/subject",
		SearchResourceEndpoint:    store + "/access/v1/search/resource",
		SearchActionEndpoint:      store + "/access/v1/search/action",
	}, nil
}

// asked is what an evaluation is about. Parts may be missing.
type asked struct {
	subject  *authzenv1.Subject
	resource *authzenv1.Resource
	action   *authzenv1.Action
	context  *structpb.Struct
}

// askedBy takes it from a message.
func askedBy(m interface {
	GetSubject() *authzenv1.Subject
	GetResource() *authzenv1.Resource
	GetAction() *authzenv1.Action
	GetContext() *structpb.Struct
},
) asked {
	return asked{m.GetSubject(), m.GetResource(), m.GetAction(), m.GetContext()}
}

// or fills in what is missing, each part as a whole.
func (e asked) or(top asked) asked {
	return asked{
		cmp.Or(e.subject, top.subject), cmp.Or(e.resource, top.resource),
		cmp.Or(e.action, top.action), cmp.Or(e.context, top.context),
	}
}

// key is the question to OpenFGA.
func (e asked) key() (*openfgav1.CheckRequestTupleKey, *Error) {
	switch {
	case e.subject == nil:
		return nil, newError(codes.InvalidArgument, "missing subject")
	case e.resource == nil:
		return nil, newError(codes.InvalidArgument, "missing resource")
	case e.action == nil:
		return nil, newError(codes.InvalidArgument, "missing action")
	}
	return &openfgav1.CheckRequestTupleKey{User: pair(e.subject), Relation: e.action.GetName(), Object: pair(e.resource)}, nil
}

// merged is the context of the question.
func (e asked) merged() *structpb.Struct {
	return mergeContext(e.context, e.subject, e.resource, e.action)
}

// pair is a subject or a resource as OpenFGA writes it.
func pair(m interface {
	GetType() string
	GetId() string
},
) string {
	return m.GetType() + ":" + m.GetId()
}

// properties is what the parts of a question have that conditions may read.
type properties interface{ GetProperties() *structpb.Struct }

// mergeContext adds the properties of the parts of a question to its context, each after
// the name of its part: names of parameters have no dots. What the context says itself
// counts more. Values are shared, and nobody may change them.
func mergeContext(given *structpb.Struct, subject, resource, action properties) *structpb.Struct {
	parts := [...]struct {
		prefix string
		fields map[string]*structpb.Value
	}{
		{"subject_", subject.GetProperties().GetFields()},
		{"resource_", resource.GetProperties().GetFields()},
		{"action_", action.GetProperties().GetFields()},
	}
	size := len(parts[0].fields) + len(parts[1].fields) + len(parts[2].fields)
	if size == 0 {
		return given
	}
	fields := make(map[string]*structpb.Value, size+len(given.GetFields()))
	for _, p := range parts {
		for name, value := range p.fields {
			fields[p.prefix+name] = value
		}
	}
	maps.Copy(fields, given.GetFields())
	return &structpb.Struct{Fields: fields}
}

// modelHeader is the id of the model that the client asks for; empty for the newest. As
// in OpenFGA, a header that holds no id counts for nothing, unless answers are to be
// exact.
func modelHeader(ctx context.Context) (string, error) {
	const length, letters = 26, "ABCDEFGHJKMNPQRSTVWXYZ0123456789"
	id := strings.TrimSpace(requested(ctx, HeaderModelID))
	switch {
	case len(id) == length && strings.Trim(id, letters) == "":
		return id, nil
	case id != "" && exact(ctx):
		return "", modelNotFound(id)
	}
	return "", nil
}
