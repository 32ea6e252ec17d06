package openfga

import (
	"cmp"
	"context"
	"slices"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// ListUsers lists the users of one kind that have a relation to an object, up to the
// configured number of them. A wildcard stands for all that are not named; whom it does
// not stand for is not told.
func (s *service) ListUsers(ctx context.Context, req *openfgav1.ListUsersRequest) (*openfgav1.ListUsersResponse, error) {
	var users []*openfgav1.User
	_, err := s.listUsers(ctx, req, s.config.ListUsersMaxResults, graph.Subject{}, func(_ graph.Subject, name graph.SubjectName) error {
		users = append(users, userOf(name))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &openfgav1.ListUsersResponse{Users: users}, nil
}

// listUsers yields at most so many users, those of each kind in the order of their ids,
// from behind one of them. The list is cut if its time or its budget came to an end before
// it.
func (s *service) listUsers(ctx context.Context, req *openfgav1.ListUsersRequest, most int, after graph.Subject, yield func(graph.Subject, graph.SubjectName) error) (cut bool, err error) {
	decisions := s.reader.Config.Decisions
	begun, found := decisions.Begin(), 0
	q, err := s.open(ctx, req)
	if err == nil {
		found, cut, err = s.usersOf(ctx, q, req, most, after, yield)
	}
	if outcome := listOutcome(err); decisions.Wants(outcome) {
		e := s.event(begun, req, q, err)
		e.Outcome, e.List = outcome, true
		e.Object, e.Relation = req.GetObject().GetType()+":"+req.GetObject().GetId(), req.GetRelation()
		if filters := req.GetUserFilters(); len(filters) > 0 {
			e.Type = filterText(filters[0])
		}
		e.Count, e.More = found, cut || err != nil || found == most
		e.Context = decisions.Context(req.GetContext())
		decisions.Add(ctx, &e)
	}
	return cut, err
}

// usersOf is listUsers by an open question. It returns how many it yielded.
func (s *service) usersOf(ctx context.Context, q *question, req *openfgav1.ListUsersRequest, most int, after graph.Subject, yield func(graph.Subject, graph.SubjectName) error) (found int, cut bool, err error) {
	relation, err := checkListUsers(q.Plan.Plan, req)
	if err != nil {
		return 0, false, err
	}
	if req.GetObject().GetId() == wildcard {
		return 0, false, nil // no tuple has such an object
	}
	if err := q.take(req.GetContext(), req.GetContextualTuples()); err != nil {
		return 0, false, err
	}
	object, err := q.Entity(relation.Type.ID, req.GetObject().GetId())
	if err != nil {
		return 0, false, err
	}
	filter := req.GetUserFilters()[0] // there is exactly one
	kind, err := graph.ResolveKind(q.Plan.Plan, filter.GetType(), filter.GetRelation())
	if err != nil {
		return 0, false, err
	}
	if kind.Relation != relation && !canHold(relation, kind) {
		return 0, false, nil
	}
	ctx, cancel := q.bound(ctx, s.config.ListUsersDeadline)
	defer cancel()
	l := &usersList{question: q, most: q.limit(most), after: after, yield: yield}
	u := graph.Userset{Object: object, Relation: relation.ID}
	err = l.add(ctx, u, kind)
	if err == nil && kind.Relation != nil && !q.exact && !l.full() {
		// Asked for usersets, OpenFGA also lists the objects of their type that are users
		// themselves.
		err = l.add(ctx, u, graph.SubjectKind{Type: kind.Type})
	}
	return l.found, err != nil, q.listed(err, l.found)
}

// A usersList is one ListUsers under way.
type usersList struct {
	*question
	most  int // users; no limit if it is negative
	found int
	after graph.Subject
	yield func(graph.Subject, graph.SubjectName) error
}

// full reports whether no more users may be listed.
func (l *usersList) full() bool { return l.found == l.most }

// add lists the users of one kind.
func (l *usersList) add(ctx context.Context, u graph.Userset, kind graph.SubjectKind) error {
	query := l.query()
	query.KeepGoing = !l.exact
	var failed error
	err := query.ListSubjects(ctx, u, kind, l.after, func(listed graph.ListedSubject) bool {
		var name graph.SubjectName
		if name, failed = l.SubjectName(listed.Subject); failed == nil {
			failed = l.yield(listed.Subject, name)
		}
		if failed == nil {
			l.found++
		}
		return failed == nil && !l.full()
	})
	return cmp.Or(failed, err)
}

// canHold reports whether the model can let any user of a kind have the relation. OpenFGA
// does not look at tuples otherwise, at their conditions neither. As there, the first
// operand speaks for an intersection, and the base for an exclusion: without them there
// is nothing.
func canHold(r *model.Relation, kind graph.SubjectKind) bool {
	seen := map[*model.Relation]bool{}
	var holds func(*model.Relation) bool
	var grants func(*model.Relation, *model.Rewrite) bool
	holds = func(r *model.Relation) bool {
		if seen[r] {
			return false
		}
		seen[r] = true
		return grants(r, r.Rewrite)
	}
	to := func(next *model.Relation) bool { return next == kind.Relation || holds(next) }
	grants = func(r *model.Relation, w *model.Rewrite) bool {
		switch w.Op {
		case model.OpDirect:
			return slices.ContainsFunc(r.Allowed, func(a model.Restriction) bool {
				switch {
				case a.Relation != nil:
					return to(a.Relation)
				case a.Wildcard:
					return a.Type == kind.Type
				}
				return a.Type == kind.Type && kind.Relation == nil
			})
		case model.OpComputed:
			return to(w.Relation)
		case model.OpTupleToUserset:
			return slices.ContainsFunc(w.Computed, to)
		case model.OpUnion:
			return slices.ContainsFunc(w.Children, func(child *model.Rewrite) bool { return grants(r, child) })
		}
		return grants(r, w.Children[0])
	}
	return holds(r)
}

// userOf is a subject as ListUsers names it.
func userOf(s graph.SubjectName) *openfgav1.User {
	switch {
	case s.Relation != "":
		return &openfgav1.User{User: &openfgav1.User_Userset{
			Userset: &openfgav1.UsersetUser{Type: s.Type, Id: s.ID, Relation: s.Relation},
		}}
	case s.IsWildcard():
		return &openfgav1.User{User: &openfgav1.User_Wildcard{Wildcard: &openfgav1.TypedWildcard{Type: s.Type}}}
	}
	return &openfgav1.User{User: &openfgav1.User_Object{Object: &openfgav1.Object{Type: s.Type, Id: s.ID}}}
}
