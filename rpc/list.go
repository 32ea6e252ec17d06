package rpc

import (
	"context"
	"encoding/binary"

	"google.golang.org/protobuf/proto"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/rpc/backend"
	"github.com/remit-authz/remit/rpc/decision"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

// maxPage is the longest page of a list. A stream goes through such pages, each with
// a budget of its own.
const maxPage = 10_000

// A page is one page of a list under way: what is asked and where it begins.
type page struct {
	question *question
	kind     cursorKind
	request  uint64 // fingerprint
	position []byte // behind which it begins, nil for the first
}

// openPage opens the question of a paged request: the first page as its scope says, a
// later one as the first was. The request's cursor and page size have been cleared.
func (r *reader) openPage(ctx context.Context, kind cursorKind, scope scopeMessage, request proto.Message, text string) (*page, error) {
	sum, err := fingerprint(request)
	if err != nil {
		return nil, err
	}
	p := &page{kind: kind, request: sum}
	if text == "" {
		p.question, err = r.open(ctx, scope)
		return p, err
	}
	c, err := parseCursor(text, kind, sum)
	if err != nil {
		return nil, at("cursor", err)
	}
	p.position = c.position
	p.question, err = r.reopen(ctx, scope, c)
	return p, err
}

// next is the cursor of the page behind a position.
func (p *page) next(position []byte) string {
	q := p.question
	c := cursor{
		kind: p.kind, epoch: q.Reader.Epoch(), store: q.Head.ID(), revision: q.Base.Revision(),
		at: q.At, model: q.Plan.ID(), position: position, request: p.request,
	}
	return c.String()
}

// take goes through a list up to size elements, and reports whether there are more.
// run is a list of package graph.
func take[T any](size int, run func(yield func(T) bool) error, emit func(T) error) (more bool, err error) {
	n := 0
	var emitted error
	err = run(func(x T) bool {
		if n == size {
			more = true
			return false
		}
		n++
		emitted = emit(x)
		return emitted == nil
	})
	if err == nil {
		err = emitted
	}
	return more, err
}

// pages goes through pages of at most maxPage elements, up to size elements in all; 0
// is no bound.
func pages(size int, page func(size int) (more bool, err error)) (more bool, err error) {
	for left := size; ; left -= maxPage {
		n := maxPage
		if size > 0 {
			n = min(n, left)
		}
		more, err = page(n)
		if err != nil || !more || size > 0 && n == left {
			return more, err
		}
	}
}

// An objectList is a ListObjects under way.
type objectList struct {
	*page
	relation *model.Relation
	subject  graph.Subject
	after    graph.ID // the last element that was handed out
}

// asked is the question; nil if there is none for want of an open store.
func (l *objectList) asked() *question {
	if l == nil {
		return nil
	}
	return l.question
}

// objectsEvent is what the log of decisions says of a list.
func objectsEvent(req *remitv1.ListObjectsRequest, count int, more bool) decision.Event {
	return decision.Event{Type: req.Type, Relation: req.Relation, Subject: req.Subject, Count: count, More: more}
}

// objects begins a list, or goes on with it. It clears the request's cursor and size.
func (s *accessService) objects(ctx context.Context, req *remitv1.ListObjectsRequest) (*objectList, error) {
	text := req.Cursor
	req.Cursor, req.PageSize = "", 0
	p, err := s.reader.openPage(ctx, cursorObjects, req.Scope, req, text)
	if err != nil {
		return nil, err
	}
	l := &objectList{page: p}
	plan := p.question.Plan.Plan
	t, err := graph.ResolveType(plan, "type", req.Type)
	if err != nil {
		return nil, at("type", err)
	}
	if l.relation, err = backend.RelationOf(plan, t, req.Relation); err != nil {
		return nil, at("relation", err)
	}
	if l.subject, err = p.question.Subject(req.Subject); err != nil {
		return nil, err
	}
	if p.position != nil {
		d := decoder{b: p.position}
		if l.after = graph.ID(d.uint64()); !d.done() {
			return nil, at("cursor", ErrCursor)
		}
	}
	return l, nil
}

// take hands out the next elements.
func (l *objectList) take(ctx context.Context, size int, emit func(name string) error) (more bool, err error) {
	query := l.question.Query()
	ctx, span := l.question.Trace(ctx, &query)
	defer func() { span.End(err) }()
	run := func(yield func(graph.ID) bool) error {
		return query.ListObjects(ctx, l.relation, l.subject, l.after, yield)
	}
	return take(size, run, func(id graph.ID) error {
		name, err := l.question.View().Name(id)
		if err != nil {
			return err
		}
		if err := emit(name); err != nil {
			return err
		}
		l.after = id
		return nil
	})
}

func (l *objectList) cursor() string {
	return l.next(binary.BigEndian.AppendUint64(nil, uint64(l.after)))
}

// ListObjects answers one page.
func (s *accessService) ListObjects(ctx context.Context, req *remitv1.ListObjectsRequest) (*remitv1.ListObjectsResponse, error) {
	begun := s.reader.Config.Decisions.Begin()
	size := pageSize(req.PageSize, defaultObjects)
	l, err := s.objects(ctx, req)
	var res *remitv1.ListObjectsResponse
	if err == nil {
		res, err = l.pageObjects(ctx, req, size)
	}
	if s.reader.Config.Decisions.Wants(decision.OfList(err)) {
		s.reader.listed(ctx, begun, req.Scope, l.asked(), objectsEvent(req, len(res.GetIds()), res.GetCursor() != "" || err != nil), err)
	}
	return res, err
}

// pageObjects takes one page.
func (l *objectList) pageObjects(ctx context.Context, req *remitv1.ListObjectsRequest, size int) (*remitv1.ListObjectsResponse, error) {
	res := &remitv1.ListObjectsResponse{Token: l.question.Token(), AsOf: l.question.asOf(req.Scope.Consistency)}
	more, err := l.take(ctx, size, func(name string) error {
		res.Ids = append(res.Ids, name)
		return nil
	})
	if more {
		res.Cursor = l.cursor()
	}
	return res, err
}

// StreamObjects answers the whole list, or as much as the page size says.
func (s *accessService) StreamObjects(ctx context.Context, req *remitv1.ListObjectsRequest, stream remitv1connect.AccessServiceStreamObjectsServerStream) error {
	begun := s.reader.Config.Decisions.Begin()
	size, count, more := int(req.PageSize), 0, true
	l, err := s.objects(ctx, req)
	if err == nil {
		count, more, err = l.streamObjects(ctx, req, size, stream)
	}
	if s.reader.Config.Decisions.Wants(decision.OfList(err)) {
		s.reader.listed(ctx, begun, req.Scope, l.asked(), objectsEvent(req, count, more || err != nil), err)
	}
	return err
}

// streamObjects sends all that is wanted, and returns how much that is.
func (l *objectList) streamObjects(ctx context.Context, req *remitv1.ListObjectsRequest, size int, stream remitv1connect.AccessServiceStreamObjectsServerStream) (count int, more bool, err error) {
	token, asOf := l.question.Token(), l.question.asOf(req.Scope.Consistency)
	res := &remitv1.ListObjectsResponse{Token: token, AsOf: asOf}
	emit := func(name string) error {
		if len(res.Ids) == streamChunk {
			res.Cursor = l.cursor()
			if err := stream.Send(res); err != nil {
				return err
			}
			res = &remitv1.ListObjectsResponse{Token: token, AsOf: asOf}
		}
		res.Ids = append(res.Ids, name)
		count++
		return nil
	}
	more, err = pages(size, func(n int) (bool, error) { return l.take(ctx, n, emit) })
	if err != nil {
		return count, more, err
	}
	if more {
		res.Cursor = l.cursor()
	}
	return count, more, stream.Send(res)
}

// A subjectList is a ListSubjects under way.
type subjectList struct {
	*page
	userset graph.Userset
	kind    graph.SubjectKind
	after   graph.Subject
}

// asked is the question; nil if there is none for want of an open store.
func (l *subjectList) asked() *question {
	if l == nil {
		return nil
	}
	return l.question
}

// subjectsEvent is what the log of decisions says of a list.
func subjectsEvent(req *remitv1.ListSubjectsRequest, count int, more bool) decision.Event {
	kind := req.SubjectType
	if req.SubjectRelation != "" {
		kind += "#" + req.SubjectRelation
	}
	return decision.Event{Object: req.Object, Relation: req.Relation, Type: kind, Count: count, More: more}
}

// subjects begins a list, or goes on with it. It clears the request's cursor and size.
func (s *accessService) subjects(ctx context.Context, req *remitv1.ListSubjectsRequest) (*subjectList, error) {
	text := req.Cursor
	req.Cursor, req.PageSize = "", 0
	p, err := s.reader.openPage(ctx, cursorSubjects, req.Scope, req, text)
	if err != nil {
		return nil, err
	}
	l := &subjectList{page: p}
	plan := p.question.Plan.Plan
	if l.userset, err = p.question.Userset(req.Object, req.Relation); err != nil {
		return nil, err
	}
	if l.kind.Type, err = graph.ResolveType(plan, "subject_type", req.SubjectType); err != nil {
		return nil, at("subject_type", err)
	}
	if req.SubjectRelation != "" {
		if l.kind.Relation, err = backend.RelationOf(plan, l.kind.Type, req.SubjectRelation); err != nil {
			return nil, at("subject_relation", err)
		}
	}
	if p.position != nil {
		d := decoder{b: p.position}
		if l.after = d.subject(); !d.done() {
			return nil, at("cursor", ErrCursor)
		}
	}
	return l, nil
}

// take hands out the next elements.
func (l *subjectList) take(ctx context.Context, size int, emit func(*remitv1.ListedSubject) error) (more bool, err error) {
	query := l.question.Query()
	ctx, span := l.question.Trace(ctx, &query)
	defer func() { span.End(err) }()
	run := func(yield func(graph.ListedSubject) bool) error {
		return query.ListSubjects(ctx, l.userset, l.kind, l.after, yield)
	}
	return take(size, run, func(listed graph.ListedSubject) error {
		m, err := l.question.listed(listed)
		if err != nil {
			return err
		}
		if err := emit(m); err != nil {
			return err
		}
		l.after = listed.Subject
		return nil
	})
}

func (l *subjectList) cursor() string { return l.next(appendSubject(nil, l.after)) }

// listed names an element of ListSubjects.
func (q *question) listed(s graph.ListedSubject) (*remitv1.ListedSubject, error) {
	name, err := q.SubjectName(s.Subject)
	if err != nil {
		return nil, err
	}
	m := &remitv1.ListedSubject{Subject: name.String()}
	for _, id := range s.Excluded {
		excluded, err := q.View().Name(id)
		if err != nil {
			return nil, err
		}
		m.Excluded = append(m.Excluded, excluded)
	}
	return m, nil
}

// ListSubjects answers one page.
func (s *accessService) ListSubjects(ctx context.Context, req *remitv1.ListSubjectsRequest) (*remitv1.ListSubjectsResponse, error) {
	begun := s.reader.Config.Decisions.Begin()
	size := pageSize(req.PageSize, defaultObjects)
	l, err := s.subjects(ctx, req)
	var res *remitv1.ListSubjectsResponse
	if err == nil {
		res, err = l.pageSubjects(ctx, req, size)
	}
	if s.reader.Config.Decisions.Wants(decision.OfList(err)) {
		s.reader.listed(ctx, begun, req.Scope, l.asked(), subjectsEvent(req, len(res.GetSubjects()), res.GetCursor() != "" || err != nil), err)
	}
	return res, err
}

// pageSubjects takes one page.
func (l *subjectList) pageSubjects(ctx context.Context, req *remitv1.ListSubjectsRequest, size int) (*remitv1.ListSubjectsResponse, error) {
	res := &remitv1.ListSubjectsResponse{Token: l.question.Token(), AsOf: l.question.asOf(req.Scope.Consistency)}
	more, err := l.take(ctx, size, func(m *remitv1.ListedSubject) error {
		res.Subjects = append(res.Subjects, m)
		return nil
	})
	if more {
		res.Cursor = l.cursor()
	}
	return res, err
}

// StreamSubjects answers the whole list, or as much as the page size says.
func (s *accessService) StreamSubjects(ctx context.Context, req *remitv1.ListSubjectsRequest, stream remitv1connect.AccessServiceStreamSubjectsServerStream) error {
	begun := s.reader.Config.Decisions.Begin()
	size, count, more := int(req.PageSize), 0, true
	l, err := s.subjects(ctx, req)
	if err == nil {
		count, more, err = l.streamSubjects(ctx, req, size, stream)
	}
	if s.reader.Config.Decisions.Wants(decision.OfList(err)) {
		s.reader.listed(ctx, begun, req.Scope, l.asked(), subjectsEvent(req, count, more || err != nil), err)
	}
	return err
}

// streamSubjects sends all that is wanted, and returns how much that is.
func (l *subjectList) streamSubjects(ctx context.Context, req *remitv1.ListSubjectsRequest, size int, stream remitv1connect.AccessServiceStreamSubjectsServerStream) (count int, more bool, err error) {
	token, asOf := l.question.Token(), l.question.asOf(req.Scope.Consistency)
	res := &remitv1.ListSubjectsResponse{Token: token, AsOf: asOf}
	emit := func(m *remitv1.ListedSubject) error {
		if len(res.Subjects) == streamChunk {
			res.Cursor = l.cursor()
			if err := stream.Send(res); err != nil {
				return err
			}
			res = &remitv1.ListSubjectsResponse{Token: token, AsOf: asOf}
		}
		res.Subjects = append(res.Subjects, m)
		count++
		return nil
	}
	more, err = pages(size, func(n int) (bool, error) { return l.take(ctx, n, emit) })
	if err != nil {
		return count, more, err
	}
	if more {
		res.Cursor = l.cursor()
	}
	return count, more, stream.Send(res)
}

// pageSize is the number of elements of a page, where 0 stands for a default.
func pageSize(asked int32, byDefault int) int {
	if asked == 0 {
		return byDefault
	}
	return int(asked)
}
