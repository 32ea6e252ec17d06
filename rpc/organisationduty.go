package rpc

import (
	"context"
	"encoding/binary"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/rpc/decision"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// A dutyList is an OnDuty under way: shift by shift, and of each, seat by seat.
type dutyList struct {
	*page
	roster *crm.Roster
	shifts []graph.ID // that are to be gone through, in the order of their ids
	user   graph.ID   // the one seat that is asked about; 0: all
	shift  graph.ID   // the last one that was handed out, and its shift
	after  graph.ID
}

// asked is the question; nil if there is none for want of an open store.
func (l *dutyList) asked() *question {
	if l == nil {
		return nil
	}
	return l.question
}

// OnDuty answers who works at an instant, one page of them.
func (s *organisationService) OnDuty(ctx context.Context, req *remitv1.OnDutyRequest) (*remitv1.OnDutyResponse, error) {
	begun := s.reader.Config.Decisions.Begin()
	size := pageSize(req.PageSize, defaultObjects)
	l, err := s.duties(ctx, req)
	var res *remitv1.OnDutyResponse
	if err == nil {
		res, err = l.pageDuties(req, size)
	}
	if s.reader.Config.Decisions.Wants(decision.OfList(err)) {
		e := decision.Event{Type: "shift", Relation: "on_duty", Count: len(res.GetDuties()), More: res.GetCursor() != "" || err != nil}
		if req.Shift != "" {
			e.Object = "shift:" + req.Shift
		}
		if req.User != "" {
			e.Subject = userText(req.User)
		}
		s.reader.listed(ctx, begun, req.Scope, l.asked(), e, err)
	}
	return res, err
}

// duties begins a list, or goes on with it. It clears the request's cursor and size.
func (s *organisationService) duties(ctx context.Context, req *remitv1.OnDutyRequest) (*dutyList, error) {
	text := req.Cursor
	req.Cursor, req.PageSize = "", 0
	p, a, err := s.askPage(ctx, cursorDuties, req.Scope, req, text)
	if err != nil {
		return nil, err
	}
	l := &dutyList{page: p}
	if !a.own(req.User) || req.User == "" {
		if err := a.acts(ctx, p.question); err != nil {
			return l, err
		}
	}
	return l, l.begin(req)
}

func (l *dutyList) begin(req *remitv1.OnDutyRequest) error {
	q := l.question
	if l.position != nil {
		d := decoder{b: l.position}
		if l.shift, l.after = graph.ID(d.uint64()), graph.ID(d.uint64()); !d.done() {
			return at("cursor", ErrCursor)
		}
	}
	var err error
	if l.roster, err = crm.NewRoster(q.View(), q.Plan.Deeds, q.At); err != nil {
		return err
	}
	if l.shifts, err = l.roster.Shifts(); err != nil {
		return err
	}
	if req.Shift != "" {
		if err := l.only(req.Shift); err != nil {
			return err
		}
	}
	if req.User != "" {
		user, known, err := q.user("user", req.User)
		if err != nil {
			return err
		}
		if l.user = user.ID; !known {
			l.shifts = nil
		}
	}
	return nil
}

// only keeps one shift, which must be one of the organisation's.
func (l *dutyList) only(id string) error {
	shift, ok, err := l.question.View().Lookup(l.question.Plan.Deeds.Shift.ID, id)
	if err != nil {
		return err
	}
	if ok && slices.Contains(l.shifts, shift) {
		l.shifts = []graph.ID{shift}
		return nil
	}
	fault := &crm.DeedError{Part: "shift", Text: id, Reason: "there is no such shift; there are"}
	for _, s := range l.shifts {
		name, err := l.question.View().Name(s)
		if err != nil {
			return err
		}
		fault.Allowed = append(fault.Allowed, name)
	}
	slices.Sort(fault.Allowed)
	return at("shift", fault)
}

// pageDuties takes one page.
func (l *dutyList) pageDuties(req *remitv1.OnDutyRequest, size int) (*remitv1.OnDutyResponse, error) {
	q := l.question
	res := &remitv1.OnDutyResponse{Token: q.Token(), AsOf: q.asOf(req.Scope.Consistency)}
	more, err := take(size, l.run, func(d crm.Duty) error {
		shift, err := q.View().Name(d.Shift)
		if err != nil {
			return err
		}
		user, err := q.View().Name(d.Seat)
		if err != nil {
			return err
		}
		m := &remitv1.Duty{User: user, Shift: shift}
		if !d.Until.IsZero() {
			m.Until = timestamppb.New(d.Until)
		}
		res.Duties = append(res.Duties, m)
		l.shift, l.after = d.Shift, d.Seat
		return nil
	})
	if more {
		res.Cursor = l.next(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(l.shift)), uint64(l.after)))
	}
	return res, err
}

// run goes through the list behind the last one that was handed out.
func (l *dutyList) run(yield func(crm.Duty) bool) error {
	if l.user != 0 {
		if len(l.shifts) == 0 {
			return nil
		}
		d, on, err := l.roster.Seat(l.user)
		if err == nil && on && slices.Contains(l.shifts, d.Shift) && l.after == 0 {
			yield(d)
		}
		return err
	}
	more := true
	for _, shift := range l.shifts {
		after := graph.ID(0)
		switch {
		case shift < l.shift:
			continue
		case shift == l.shift:
			after = l.after
		}
		err := l.roster.Shift(shift, after, func(d crm.Duty) bool {
			more = yield(d)
			return more
		})
		if err != nil || !more {
			return err
		}
	}
	return nil
}
