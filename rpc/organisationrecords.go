package rpc

import (
	"context"
	"encoding/binary"
	"errors"

	"google.golang.org/protobuf/proto"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/rpc/decision"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

// A recordList is a ListRecords under way.
//
// What profiles permit in the module, and whether the user may act at all, is the same for
// every record and is found out once. What remains is found by going backwards from the user,
// which takes as long as there are records that the user may reach. Where those are too many
// for the budget of a question, the module's records are asked one after the other.
type recordList struct {
	*page
	listing crm.Listing
	module  graph.ID
	member  *model.Relation // by which a record belongs to its module
	user    graph.Subject
	none    bool     // nothing can be in the list
	each    bool     // records are asked one after the other
	after   graph.ID // the last element that was handed out, or asked about
}

// asked is the question; nil if there is none for want of an open store.
func (l *recordList) asked() *question {
	if l == nil {
		return nil
	}
	return l.question
}

// recordsEvent is what the log of decisions says of a list.
func recordsEvent(req *remitv1.ListRecordsRequest, count int, more bool) decision.Event {
	return decision.Event{Type: req.Module, Relation: req.Action, Subject: userText(req.User), Count: count, More: more}
}

// records begins a list, or goes on with it. It clears the request's cursor and size, and
// gives it its action.
func (s *organisationService) records(ctx context.Context, req *remitv1.ListRecordsRequest) (*recordList, error) {
	text := req.Cursor
	req.Cursor, req.PageSize = "", 0
	if req.Action == "" {
		req.Action = string(crm.ActionView)
	}
	p, a, err := s.askPage(ctx, cursorRecords, req.Scope, req, text)
	if err != nil {
		return nil, err
	}
	l := &recordList{page: p}
	if err := a.about(ctx, p.question, req.User); err != nil {
		return l, err
	}
	return l, l.begin(ctx, req)
}

// askPage is openPage for a question to an organisation.
func (s *organisationService) askPage(ctx context.Context, kind cursorKind, scope *remitv1.OrganisationScope, request proto.Message, text string) (*page, asker, error) {
	p, err := s.reader.openPage(ctx, kind, scope, request, text)
	if err != nil {
		return nil, asker{}, unmade(err)
	}
	a, err := p.question.asked(ctx, scope)
	return p, a, err
}

func (l *recordList) begin(ctx context.Context, req *remitv1.ListRecordsRequest) error {
	q := l.question
	d := q.Plan.Deeds
	var err error
	if l.listing, err = d.Listing(req.Module, req.Action); err != nil {
		return deedFault(err)
	}
	user, known, err := q.user("user", req.User)
	if err != nil {
		return err
	}
	if err := l.resume(); err != nil {
		return err
	}
	l.user = user
	if l.none = !known || l.listing.Whole == nil; l.none {
		return nil
	}
	module, ok, err := q.View().Lookup(d.Module.ID, req.Module)
	if err != nil {
		return err
	}
	l.module, l.none = module, !ok
	if l.member, ok = l.listing.Whole.Type.Relation("module"); !ok {
		l.none = true
	}
	if l.none {
		return nil
	}
	held, err := q.heldOf(ctx, module, user, l.listing.Module)
	if err == nil && len(held) == len(l.listing.Module) && l.listing.Tool != "" {
		var demand crm.Demand
		if demand, err = d.Find(string(l.listing.Tool), "", ""); err == nil {
			ok, err = q.meets(ctx, demand, user)
		}
	}
	l.none = !ok || len(held) < len(l.listing.Module)
	return err
}

// resume reads where the page begins, and how the one before has found what it had.
func (l *recordList) resume() error {
	if l.position == nil {
		return nil
	}
	d := decoder{b: l.position}
	l.each = d.byte() != 0
	if l.after = graph.ID(d.uint64()); !d.done() {
		return at("cursor", ErrCursor)
	}
	return nil
}

func (l *recordList) cursor() string {
	position := []byte{0}
	if l.each {
		position[0] = 1
	}
	return l.next(binary.BigEndian.AppendUint64(position, uint64(l.after)))
}

// take hands out the next elements.
func (l *recordList) take(ctx context.Context, size int, emit func(name string) error) (more bool, err error) {
	if l.none {
		return false, nil
	}
	query := l.question.Query()
	ctx, span := l.question.Trace(ctx, &query)
	defer func() { span.End(err) }()
	taken := 0
	hand := func(id graph.ID) error {
		name, err := l.question.View().Name(id)
		if err == nil {
			err = emit(name)
		}
		if err == nil {
			l.after = id
			taken++
		}
		return err
	}
	if !l.each {
		run := func(yield func(graph.ID) bool) error {
			return query.ListObjects(ctx, l.listing.Reach, l.user, l.after, yield)
		}
		more, err = take(size, run, hand)
		if !errors.Is(err, graph.ErrBudget) {
			return more, err
		}
		l.each = true
	}
	s := scan{
		edges: func(c *graph.Cursor) error {
			return l.question.View().Objects(l.member.ID, graph.Subject{ID: l.module}, c)
		},
		asks: func(ctx context.Context, id graph.ID) (bool, error) {
			query := l.question.Query()
			return query.Check(ctx, graph.Userset{Object: id, Relation: l.listing.Reach.ID}, l.user)
		},
		emit:  hand,
		after: l.after,
	}
	more, err = s.take(ctx, size-taken)
	l.after = s.after
	return more, err
}

// ListRecords answers one page.
func (s *organisationService) ListRecords(ctx context.Context, req *remitv1.ListRecordsRequest) (*remitv1.ListRecordsResponse, error) {
	begun := s.reader.Config.Decisions.Begin()
	size := pageSize(req.PageSize, defaultObjects)
	l, err := s.records(ctx, req)
	var res *remitv1.ListRecordsResponse
	if err == nil {
		res, err = l.pageRecords(ctx, req, size)
	}
	if s.reader.Config.Decisions.Wants(decision.OfList(err)) {
		s.reader.listed(ctx, begun, req.Scope, l.asked(), recordsEvent(req, len(res.GetIds()), res.GetCursor() != "" || err != nil), err)
	}
	return res, err
}

// pageRecords takes one page.
func (l *recordList) pageRecords(ctx context.Context, req *remitv1.ListRecordsRequest, size int) (*remitv1.ListRecordsResponse, error) {
	res := &remitv1.ListRecordsResponse{Token: l.question.Token(), AsOf: l.question.asOf(req.Scope.Consistency)}
	more, err := l.take(ctx, size, func(id string) error {
		res.Ids = append(res.Ids, id)
		return nil
	})
	if more {
		res.Cursor = l.cursor()
	}
	return res, err
}

// StreamRecords answers the whole list, or as much as the page size says.
func (s *organisationService) StreamRecords(ctx context.Context, req *remitv1.ListRecordsRequest, stream remitv1connect.OrganisationServiceStreamRecordsServerStream) error {
	begun := s.reader.Config.Decisions.Begin()
	size, count, more := int(req.PageSize), 0, true
	l, err := s.records(ctx, req)
	if err == nil {
		count, more, err = l.streamRecords(ctx, req, size, stream)
	}
	if s.reader.Config.Decisions.Wants(decision.OfList(err)) {
		s.reader.listed(ctx, begun, req.Scope, l.asked(), recordsEvent(req, count, more || err != nil), err)
	}
	return err
}

// streamRecords sends all that is wanted, and returns how much that is.
func (l *recordList) streamRecords(ctx context.Context, req *remitv1.ListRecordsRequest, size int, stream remitv1connect.OrganisationServiceStreamRecordsServerStream) (count int, more bool, err error) {
	token, asOf := l.question.Token(), l.question.asOf(req.Scope.Consistency)
	res := &remitv1.ListRecordsResponse{Token: token, AsOf: asOf}
	emit := func(id string) error {
		if len(res.Ids) == streamChunk {
			res.Cursor = l.cursor()
			if err := stream.Send(res); err != nil {
				return err
			}
			res = &remitv1.ListRecordsResponse{Token: token, AsOf: asOf}
		}
		res.Ids = append(res.Ids, id)
		count++
		return nil
	}
	more, err = fill(size, func(n int) (bool, error) { return l.take(ctx, n, emit) }, &count)
	if err != nil {
		return count, more, err
	}
	if more {
		res.Cursor = l.cursor()
	}
	return count, more, stream.Send(res)
}

// fill goes through pages of at most maxPage elements, of which each may be short, until
// size elements have been counted in all; 0 is no bound.
func fill(size int, page func(size int) (more bool, err error), count *int) (more bool, err error) {
	for {
		n := maxPage
		if size > 0 {
			n = min(n, size-*count)
		}
		more, err = page(n)
		if err != nil || !more || size > 0 && *count == size {
			return more, err
		}
	}
}
