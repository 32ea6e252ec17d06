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
	q, err := s.open(ctx, req)
	if err != nil {
		return nil, err
	}
	relation, err := checkListUsers(q.Plan.Plan, req)
	if err != nil {
		return nil, err
	}
	if req.GetObject().GetId() == wildcard {
		return &openfgav1.ListUsersResponse{}, nil // no tuple has such an object
	}
	if err := q.take(req.GetContext(), req.GetContextualTuples()); err != nil {
		return nil, err
	}
	object, err := q.Entity(relation.Type.ID, req.GetObject().GetId())
	if err != nil {
		return nil, err
	}
	filter := req.GetUserFilters()[0] // there is exactly one
	kind, err := graph.ResolveKind(q.Plan.Plan, filter.GetType(), filter.GetRelation())
	if err != nil {
		return nil, err
	}
	if kind.Relation != relation && !canHold(relation, kind) {
		return &openfgav1.ListUsersResponse{}, nil
	}
	ctx, cancel := q.bound(ctx, s.config.ListUsersDeadline)
	defer cancel()
	l := &usersList{question: q, most: q.limit(s.config.ListUsersMaxResults)}
	u := graph.Userset{Object: object, Relation: relation.ID}
	err = l.add(ctx, u, kind)
	if err == nil && kind.Relation != nil && !q.exact && !l.full() {
		// Asked for usersets, OpenFGA also lists the objects of their type that are users
		// themselves.
		err = l.add(ctx, u, graph.SubjectKind{Type: kind.Type})
	}
	if err := q.listed(err, len(l.users)); err != nil {
		return nil, err
	}
	return &openfgav1.ListUsersResponse{Users: l.users}, nil
}

// A usersList is one ListUsers under way.
type usersList struct {
	*question
	most  int // users; no limit if it is negative
	users []*openfgav1.User
}

// full reports whether no more users may be listed.
func (l *usersList) full() bool { return len(l.users) == l.most }

// add lists the users of one kind.
func (l *usersList) add(ctx context.Context, u graph.Userset, kind graph.SubjectKind) error {
	query := l.query()
	query.KeepGoing = !l.exact
	var failed error
	err := query.ListSubjects(ctx, u, kind, graph.Subject{}, func(listed graph.ListedSubject) bool {
		var user graph.SubjectName
		if user, failed = l.SubjectName(listed.Subject); failed != nil {
			return false
		}
		l.users = append(l.users, userOf(user))
		return !l.full()
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
