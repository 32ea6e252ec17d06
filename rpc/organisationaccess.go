package rpc

import (
	"context"
	"encoding/binary"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/rpc/decision"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

// An accessList is a ListUsersWithAccess under way. It asks about each seat: every relation
// that decides an action asks for one, so that nobody else can be in the list, and each seat
// may be.
type accessList struct {
	*page
	demand crm.Demand
	record graph.ID
	org    graph.ID
	none   bool     // nobody can be in the list
	after  graph.ID // the last seat that was handed out, or asked about
}

// asked is the question; nil if there is none for want of an open store.
func (l *accessList) asked() *question {
	if l == nil {
		return nil
	}
	return l.question
}

// accessEvent is what the log of decisions says of a list.
func accessEvent(req *remitv1.ListUsersWithAccessRequest, count int, more bool) decision.Event {
	return decision.Event{Object: req.Record, Relation: req.Action, Type: "user", Count: count, More: more}
}

// access begins a list, or goes on with it. It clears the request's cursor and size, and
// gives it its action.
func (s *organisationService) access(ctx context.Context, req *remitv1.ListUsersWithAccessRequest) (*accessList, error) {
	text := req.Cursor
	req.Cursor, req.PageSize = "", 0
	if req.Action == "" {
		req.Action = string(crm.ActionView)
	}
	p, a, err := s.askPage(ctx, cursorAccess, req.Scope, req, text)
	if err != nil {
		return nil, err
	}
	l := &accessList{page: p}
	return l, l.begin(ctx, &a, req)
}

func (l *accessList) begin(ctx context.Context, a *asker, req *remitv1.ListUsersWithAccessRequest) error {
	q := l.question
	d := q.Plan.Deeds
	module, id, err := d.Record(req.Record)
	if err != nil {
		return at("record", err)
	}
	if _, err := d.Listing(module.Name, req.Action); err != nil {
		return deedFault(err)
	}
	if l.demand, err = d.Find(req.Action, req.Record, ""); err != nil {
		return err
	}
	if l.position != nil {
		p := decoder{b: l.position}
		if l.after = graph.ID(p.uint64()); !p.done() {
			return at("cursor", ErrCursor)
		}
	}
	record, exists, err := q.View().Lookup(module.ID, id)
	if err != nil {
		return err
	}
	if err := a.aboutRecord(ctx, q, module.Name, req.Record); err != nil {
		return err
	}
	org, found, err := d.Organisation(q.View())
	l.record, l.org = record, org
	l.none = !exists || !found || l.demand.Relation == nil
	return err
}

// aboutRecord refuses a question about who may do something to a record. Those are told who
// may ask about everybody, who decides about sharing, and who shares the record itself; of a
// record that cannot be shared, who edits it.
func (a *asker) aboutRecord(ctx context.Context, q *question, module, record string) error {
	if a.id == "" {
		return nil
	}
	if err := a.judge(ctx, q); err != nil || a.everybody {
		return err
	}
	shares, err := q.Plan.Deeds.Listing(module, string(crm.ActionShare))
	if err != nil {
		return err
	}
	action := crm.ActionShare
	if shares.Whole == nil {
		action = crm.ActionEdit
	}
	demand, err := q.Plan.Deeds.Find(string(action), record, "")
	if err != nil {
		return err
	}
	may, err := q.meets(ctx, demand, a.seat)
	if err == nil && !may && a.active {
		may, err = a.may(ctx, q, string(crm.ManageDataSharing))
	}
	if err == nil && !may {
		err = at("record", forbidden("the seat %s may not %s %s; who else reaches it may ask who may, an administrator, or who manages users or data sharing", a.id, action, record))
	}
	return err
}

// take hands out the next elements.
func (l *accessList) take(ctx context.Context, size int, emit func(id string) error) (more bool, err error) {
	if l.none {
		return false, nil
	}
	q := l.question
	seats := graph.Userset{Object: l.org, Relation: q.Plan.Deeds.Seat.ID}
	s := scan{
		edges: func(c *graph.Cursor) error { return q.View().Subjects(seats, c) },
		asks: func(ctx context.Context, id graph.ID) (bool, error) {
			user := graph.Subject{ID: id}
			query := q.Query()
			allowed, err := query.Check(ctx, graph.Userset{Object: l.record, Relation: l.demand.Relation.ID}, user)
			if err != nil || !allowed || l.demand.Also == nil {
				return allowed, err
			}
			return q.has(ctx, l.demand.Also, l.demand.AlsoID, user)
		},
		emit: func(id graph.ID) error {
			name, err := q.View().Name(id)
			if err == nil {
				err = emit(name)
			}
			if err == nil {
				l.after = id
			}
			return err
		},
		after: l.after,
	}
	more, err = s.take(ctx, size)
	l.after = s.after
	return more, err
}

func (l *accessList) cursor() string {
	return l.next(binary.BigEndian.AppendUint64(nil, uint64(l.after)))
}

// ListUsersWithAccess answers one page.
func (s *organisationService) ListUsersWithAccess(ctx context.Context, req *remitv1.ListUsersWithAccessRequest) (*remitv1.ListUsersWithAccessResponse, error) {
	begun := s.reader.Config.Decisions.Begin()
	size := pageSize(req.PageSize, defaultObjects)
	l, err := s.access(ctx, req)
	var res *remitv1.ListUsersWithAccessResponse
	if err == nil {
		res, err = l.pageUsers(ctx, req, size)
	}
	if s.reader.Config.Decisions.Wants(decision.OfList(err)) {
		s.reader.listed(ctx, begun, req.Scope, l.asked(), accessEvent(req, len(res.GetUsers()), res.GetCursor() != "" || err != nil), err)
	}
	return res, err
}

// pageUsers takes one page.
func (l *accessList) pageUsers(ctx context.Context, req *remitv1.ListUsersWithAccessRequest, size int) (*remitv1.ListUsersWithAccessResponse, error) {
	res := &remitv1.ListUsersWithAccessResponse{Token: l.question.Token(), AsOf: l.question.asOf(req.Scope.Consistency)}
	more, err := l.take(ctx, size, func(id string) error {
		res.Users = append(res.Users, id)
		return nil
	})
	if more {
		res.Cursor = l.cursor()
	}
	return res, err
}

// StreamUsersWithAccess answers the whole list, or as much as the page size says.
func (s *organisationService) StreamUsersWithAccess(ctx context.Context, req *remitv1.ListUsersWithAccessRequest, stream remitv1connect.OrganisationServiceStreamUsersWithAccessServerStream) error {
	begun := s.reader.Config.Decisions.Begin()
	size, count, more := int(req.PageSize), 0, true
	l, err := s.access(ctx, req)
	if err == nil {
		count, more, err = l.streamUsers(ctx, req, size, stream)
	}
	if s.reader.Config.Decisions.Wants(decision.OfList(err)) {
		s.reader.listed(ctx, begun, req.Scope, l.asked(), accessEvent(req, count, more || err != nil), err)
	}
	return err
}

// streamUsers sends all that is wanted, and returns how much that is.
func (l *accessList) streamUsers(ctx context.Context, req *remitv1.ListUsersWithAccessRequest, size int, stream remitv1connect.OrganisationServiceStreamUsersWithAccessServerStream) (count int, more bool, err error) {
	token, asOf := l.question.Token(), l.question.asOf(req.Scope.Consistency)
	res := &remitv1.ListUsersWithAccessResponse{Token: token, AsOf: asOf}
	emit := func(id string) error {
		if len(res.Users) == streamChunk {
			res.Cursor = l.cursor()
			if err := stream.Send(res); err != nil {
				return err
			}
			res = &remitv1.ListUsersWithAccessResponse{Token: token, AsOf: asOf}
		}
		res.Users = append(res.Users, id)
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
