package openfga

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	authzenv1 "github.com/openfga/api/proto/authzen/v1"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/rpc/backend"
	"github.com/remit-authz/remit/rpc/decision"
)

// SubjectSearch lists the subjects of a type that may take an action on a resource. A
// wildcard is a subject with the id *.
func (a *authZEN) SubjectSearch(ctx context.Context, req *authzenv1.SubjectSearchRequest) (*authzenv1.SubjectSearchResponse, error) {
	model, err := modelHeader(ctx)
	if err != nil {
		return nil, err
	}
	most := a.config.ListUsersMaxResults
	if exact(ctx) {
		most = -1
	}
	p, err := openPage(req, continueSubjects, model, most)
	if err != nil {
		return nil, err
	}
	after, err := p.id()
	if err != nil {
		return nil, err
	}
	list := &openfgav1.ListUsersRequest{
		StoreId: req.GetStoreId(), AuthorizationModelId: model,
		Object:      &openfgav1.Object{Type: req.GetResource().GetType(), Id: req.GetResource().GetId()},
		Relation:    req.GetAction().GetName(),
		UserFilters: []*openfgav1.UserTypeFilter{{Type: req.GetSubject().GetType()}},
		Context:     mergeContext(req.GetContext(), req.GetSubject(), req.GetResource(), req.GetAction()),
	}
	res := &authzenv1.SubjectSearchResponse{}
	cut, err := a.listUsers(ctx, list, -1, graph.Subject{ID: after}, func(s graph.Subject, name graph.SubjectName) error {
		if p.full(len(res.Results)) {
			return errPageFull
		}
		res.Results = append(res.Results, &authzenv1.Subject{Type: name.Type, Id: name.ID})
		after = s.ID
		return nil
	})
	res.Page, err = p.close(len(res.Results), cut, err, idPosition(after))
	if err != nil {
		return nil, err
	}
	return res, nil
}

// ResourceSearch lists the resources of a type that a subject may take an action on.
func (a *authZEN) ResourceSearch(ctx context.Context, req *authzenv1.ResourceSearchRequest) (*authzenv1.ResourceSearchResponse, error) {
	model, err := modelHeader(ctx)
	if err != nil {
		return nil, err
	}
	p, err := openPage(req, continueResources, model, -1)
	if err != nil {
		return nil, err
	}
	after, err := p.id()
	if err != nil {
		return nil, err
	}
	list := &openfgav1.StreamedListObjectsRequest{
		StoreId: req.GetStoreId(), AuthorizationModelId: model,
		User:     pair(req.GetSubject()),
		Relation: req.GetAction().GetName(),
		Type:     req.GetResource().GetType(),
		Context:  mergeContext(req.GetContext(), req.GetSubject(), req.GetResource(), req.GetAction()),
	}
	res := &authzenv1.ResourceSearchResponse{}
	cut, err := a.listObjects(ctx, list, -1, after, func(id graph.ID, name graph.ObjectName) error {
		if p.full(len(res.Results)) {
			return errPageFull
		}
		res.Results = append(res.Results, &authzenv1.Resource{Type: name.Type, Id: name.ID})
		after = id
		return nil
	})
	res.Page, err = p.close(len(res.Results), cut, err, idPosition(after))
	if err != nil {
		return nil, err
	}
	return res, nil
}

// ActionSearch lists the actions that a subject may take on a resource, in the order of
// their names. As in OpenFGA, an action that cannot be decided is left out, and a type has
// as many relations as a batch has checks, and one at least, unless answers are to be
// exact.
func (a *authZEN) ActionSearch(ctx context.Context, req *authzenv1.ActionSearchRequest) (*authzenv1.ActionSearchResponse, error) {
	decisions := a.reader.Config.Decisions
	begun := decisions.Begin()
	id, err := modelHeader(ctx)
	if err != nil {
		return nil, err
	}
	p, err := openPage(req, continueActions, id, -1)
	if err != nil {
		return nil, err
	}
	q, err := a.open(ctx, &openfgav1.CheckRequest{StoreId: req.GetStoreId(), AuthorizationModelId: id})
	var res *authzenv1.ActionSearchResponse
	if err == nil {
		res, err = a.searchActions(ctx, q, p, req)
	}
	if decisions.Wants(decision.OfList(err)) {
		e := a.event(begun, req, q, err)
		e.Outcome, e.List = decision.OfList(err), true
		e.Object, e.Subject = pair(req.GetResource()), pair(req.GetSubject())
		e.Count, e.More = len(res.GetResults()), err != nil || res.GetPage().GetNextToken() != ""
		e.Context = decisions.Context(mergeContext(req.GetContext(), req.GetSubject(), req.GetResource(), (*authzenv1.Action)(nil)))
		decisions.Add(ctx, &e)
	}
	return res, err
}

// searchActions is the page of the actions.
func (a *authZEN) searchActions(ctx context.Context, q *question, p *page, req *authzenv1.ActionSearchRequest) (*authzenv1.ActionSearchResponse, error) {
	typ := req.GetResource().GetType()
	t, ok := q.Plan.Type(typ)
	if !ok {
		return nil, errorf(codes.InvalidArgument, "failed to get relations for type %s: '%s' is an undefined object type", typ, typ)
	}
	if !q.exact {
		if err := checkBatchSize(len(t.Relations), a.config.MaxChecksPerBatch); err != nil {
			return nil, err
		}
	}
	begin, _ := slices.BinarySearchFunc(t.Relations, string(p.position)+"\x00", func(r *model.Relation, from string) int {
		return cmp.Compare(r.Name, from)
	})
	held, err := a.holds(ctx, q, req, t.Relations[begin:])
	if err != nil {
		return nil, err
	}
	res := &authzenv1.ActionSearchResponse{}
	last, cut := "", false
	for i, r := range t.Relations[begin:] {
		if !held[i] {
			continue
		}
		if cut = p.full(len(res.Results)); cut {
			break
		}
		res.Results = append(res.Results, &authzenv1.Action{Name: r.Name})
		last = r.Name
	}
	res.Page, err = p.close(len(res.Results), cut, nil, []byte(last))
	if err != nil {
		return nil, err
	}
	return res, nil
}

// holds decides about each of the relations.
func (a *authZEN) holds(ctx context.Context, q *question, req *authzenv1.ActionSearchRequest, relations []*model.Relation) ([]bool, error) {
	given := mergeContext(req.GetContext(), req.GetSubject(), req.GetResource(), (*authzenv1.Action)(nil))
	user, object := pair(req.GetSubject()), pair(req.GetResource())
	held, faults := make([]bool, len(relations)), make([]error, len(relations))
	err := backend.Each(ctx, len(relations), serialBatch, func(ctx context.Context, i int) error {
		key := &openfgav1.CheckRequestTupleKey{User: user, Relation: relations[i].Name, Object: object}
		held[i], faults[i] = q.decide(ctx, key, given)
		return nil
	})
	if err = cmp.Or(err, ctx.Err()); err != nil {
		return nil, err // what there was no time for is not what cannot be decided
	}
	for _, fault := range faults {
		switch _, known := lookup(fault); {
		case fault == nil:
		case q.exact:
			return nil, fault
		case !known:
			a.config.Log.ErrorContext(ctx, "internal error", "procedure", "ActionSearch", "error", fault)
		}
	}
	return held, nil
}

// A page is the part of a search that one answer holds. OpenFGA has none: it answers all
// that there is, and so does a search here that does not ask for a page, up to the limit
// of results that lists have. But what an answer leaves out can always be asked for.
//
// The token of the next page says how many results a page has, and what was asked, for
// the client must not ask anything else: limit, digest, position. Pages are not pinned to
// a state.
type page struct {
	req      pagedRequest
	kind     continuationKind
	store    fsm.StoreID
	model    string
	asked    bool   // for a page
	limit    int    // results that were asked for; 0 if the client never said
	most     int    // results that the page may hold; no limit if it is negative
	position []byte // what it begins behind; nil is the beginning
}

// A pagedRequest is a search.
type pagedRequest interface {
	proto.Message
	GetStoreId() string
	GetPage() *authzenv1.PageRequest
}

// pageHead is the size of what precedes a position in a token.
const pageHead = 2 + crc32.Size

// errPageFull ends a list whose next result has no place on the page.
var errPageFull = errors.New("the page is full")

// openPage reads which page a search asks for. If it asks for none, the answer has as many
// results as it may.
func openPage(req pagedRequest, kind continuationKind, model string, most int) (*page, error) {
	p := &page{req: req, kind: kind, model: model, most: most}
	var err error
	if p.store, err = fsm.ParseStoreID(req.GetStoreId()); err != nil || req.GetPage() == nil {
		return p, nil //nolint:nilerr // a store that is not there is found out, and told, when it is opened
	}
	p.asked = true
	wanted := int(req.GetPage().GetLimit())
	if wanted == 0 {
		wanted = defaultPage
	}
	if token := req.GetPage().GetToken(); token == "" {
		p.limit = wanted
	} else if err := p.read(token); err != nil {
		return nil, err
	} else if req.GetPage().Limit != nil && p.limit != wanted {
		return nil, errInvalidContinuationToken
	}
	if p.limit != 0 {
		p.most = p.limit
	}
	return p, nil
}

// read takes in a token.
func (p *page) read(token string) error {
	b, err := positionIn(token, p.kind, p.store)
	if err != nil {
		return err
	}
	digest, err := p.digest()
	if err != nil {
		return err
	}
	if len(b) <= pageHead || binary.BigEndian.Uint32(b[2:]) != digest {
		return errInvalidContinuationToken
	}
	p.limit, p.position = int(binary.BigEndian.Uint16(b)), b[pageHead:]
	return nil
}

// digest stands for what is asked, apart from the page.
func (p *page) digest() (uint32, error) {
	m := proto.Clone(p.req).ProtoReflect()
	m.Clear(m.Descriptor().Fields().ByName("page"))
	b, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend([]byte(p.model), m.Interface())
	if err != nil {
		return 0, fmt.Errorf("digest of a search: %w", err)
	}
	return crc32.ChecksumIEEE(b), nil
}

// full reports whether the page holds as many results as it may.
func (p *page) full(results int) bool { return results == p.most }

// close is what the answer says about the page, once the list has ended in err, or was cut
// short: nothing, if it is whole and no page was asked for.
func (p *page) close(results int, cut bool, err error, position []byte) (*authzenv1.PageResponse, error) {
	switch {
	case errors.Is(err, errPageFull):
		cut = true
	case err != nil:
		return nil, err
	case cut && results == 0:
		return nil, errDeadline // there is no place to go on from
	case !cut && !p.asked:
		return nil, nil
	}
	res := &authzenv1.PageResponse{Count: uint32(results)}
	if cut {
		digest, err := p.digest()
		if err != nil {
			return nil, err
		}
		b := binary.BigEndian.AppendUint16(nil, uint16(p.limit))
		b = binary.BigEndian.AppendUint32(b, digest)
		next := continuation{kind: p.kind, store: p.store, position: append(b, position...)}
		res.NextToken = next.String()
	}
	return res, nil
}

// id is the position as that of an entity, 0 at the beginning.
func (p *page) id() (graph.ID, error) {
	switch len(p.position) {
	case 0:
		return 0, nil
	case idPositionBytes:
		return graph.ID(binary.BigEndian.Uint64(p.position)), nil
	}
	return 0, errInvalidContinuationToken
}

const idPositionBytes = 8

// idPosition is the position behind an entity.
func idPosition(id graph.ID) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(id))
}
