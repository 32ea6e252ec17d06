package crm

import (
	"slices"

	"github.com/remit-authz/remit/graph"
)

// mostGathered is how many of those who report to the user are gathered one by one. Of more,
// it is asked of the people of a party whether they report to the user: where so many do, one
// of them is soon found.
const mostGathered = 1000

// subordinates are the people below the user. Few are gathered, with what they are part of:
// then a party is looked up. Of many, or of those below by role, it is found out of a party,
// and of each role and group once, however many rules name it.
type subordinates struct {
	byRole bool // who holds a role below the user's
	byLine bool // who reports to the user, of whom there are many

	users, roles, upper, groups map[graph.ID]bool // of those who were gathered

	lower   map[graph.ID]bool // roles: whether below the user's
	line    map[graph.ID]bool // users: whether they report to the user
	holders map[graph.ID]bool // roles: whether a holder is below
	within  map[graph.ID]bool // roles: whether a holder of it or of one below it is below the user
	members map[graph.ID]bool // groups: whether a member is below
}

// aboveSome reports whether the user is superior to somebody of a party.
func (w *why) aboveSome(p partyID) bool {
	s := w.people()
	wide := s.byRole || s.byLine
	switch p.kind {
	case User:
		return s.users[p.id] || wide && w.personBelow(p.id)
	case HoldersOf:
		return s.roles[p.id] || wide && w.holderBelow(p.id)
	case RoleAndSubordinates:
		return s.upper[p.id] || wide && w.someBelow(p.id)
	case MembersOf:
		return s.groups[p.id] || wide && w.memberBelow(p.id)
	}
	return false // everyone has no superiors
}

// people finds the user's subordinates once.
func (w *why) people() *subordinates {
	if w.below != nil {
		return w.below
	}
	set := func() map[graph.ID]bool { return map[graph.ID]bool{} }
	s := &subordinates{
		byRole: w.is(w.org, relRoleMode), users: set(), roles: set(), upper: set(), groups: set(),
		lower: set(), line: set(), holders: set(), within: set(), members: set(),
	}
	w.below = s
	for _, team := range w.objects(typeTeam, relManager, w.id) {
		for _, u := range w.subjects(team, relMember) {
			s.users[u] = true
		}
	}
	if w.is(w.org, relReportMode) {
		w.reporting(s)
	}
	for u := range s.users {
		w.gather(s, u)
	}
	return s
}

// reporting finds those below the user while reporting lines are what counts.
func (w *why) reporting(s *subordinates) {
	most := mostGathered
	if w.query.gathered > 0 {
		most = w.query.gathered
	}
	line, reached := []graph.ID{w.id}, map[graph.ID]bool{w.id: true}
	for i := 0; i < len(line) && !s.byLine; i++ {
		w.eachObject(typeUser, relManager, graph.Subject{ID: line[i]}, func(e *graph.Edge) bool {
			if u := e.Subject.ID; !reached[u] {
				reached[u] = true
				line = append(line, u)
			}
			s.byLine = len(line) > most
			return !s.byLine
		})
	}
	if !s.byLine {
		for _, u := range line[1:] {
			s.users[u] = true
		}
	}
	if w.is(w.org, relNonReportingByRole) {
		w.eachObject(typeUser, relNonReporting, w.everyone(), func(e *graph.Edge) bool {
			if w.lower(w.first(e.Subject.ID, relRole)) {
				s.users[e.Subject.ID] = true
			}
			return true
		})
	}
}

// gather notes what one subordinate is part of.
func (w *why) gather(s *subordinates, user graph.ID) {
	role := w.first(user, relRole)
	w.gatherGroups(s, w.subjects(user, relInGroup))
	if role == 0 || s.roles[role] {
		return
	}
	s.roles[role] = true
	w.gatherGroups(s, w.subjects(role, relInGroup))
	for ; role != 0 && !s.upper[role]; role = w.first(role, relParent) {
		s.upper[role] = true
		w.gatherGroups(s, w.subjects(role, relInGroupSub))
	}
}

func (w *why) gatherGroups(s *subordinates, groups []graph.ID) {
	for _, g := range groups {
		if !s.groups[g] {
			s.groups[g] = true
			w.gatherGroups(s, w.subjects(g, relInGroup))
		}
	}
}

// remember finds something out once. It is no until it is known, which ends a walk in a circle.
func remember(known map[graph.ID]bool, id graph.ID, find func() bool) bool {
	is, ok := known[id]
	if !ok {
		known[id] = false
		is = find()
		known[id] = is
	}
	return is
}

// lower reports whether a role is below the user's.
func (w *why) lower(role graph.ID) bool {
	if role == 0 || role == w.self.role || w.err != nil {
		return false
	}
	return remember(w.people().lower, role, func() bool {
		up := w.first(role, relParent)
		return up != 0 && up == w.self.role || w.lower(up)
	})
}

// personBelow reports whether somebody holds a role below the user's, or reports to the user.
func (w *why) personBelow(user graph.ID) bool {
	s := w.people()
	if s.byRole {
		return w.lower(w.first(user, relRole))
	}
	if user == 0 || w.err != nil {
		return false
	}
	return remember(s.line, user, func() bool {
		up := w.first(user, relManager)
		return up != 0 && up == w.id || w.personBelow(up)
	})
}

// holderBelow reports whether somebody who holds a role is below the user.
func (w *why) holderBelow(role graph.ID) bool {
	s := w.people()
	if s.byRole {
		return w.lower(role) && w.first(role, relHolder) != 0
	}
	return remember(s.holders, role, func() bool { return w.anyPerson(role, relHolder) })
}

// anyPerson reports whether a person with a relation to something is below the user.
func (w *why) anyPerson(object graph.ID, relation string) bool {
	found := false
	w.eachSubject(object, relation, func(e *graph.Edge) bool {
		found = w.personBelow(e.Subject.ID)
		return !found
	})
	return found
}

// someBelow reports whether somebody who holds a role, or one below it, is below the user.
func (w *why) someBelow(role graph.ID) bool {
	s := w.people()
	if s.byRole && !w.lower(role) && !slices.Contains(w.self.roles, role) {
		return false // in another branch
	}
	if s.byRole && !w.lower(role) {
		role = w.self.role // the user's own is inside
	}
	return remember(s.within, role, func() bool {
		return w.holderBelow(role) || slices.ContainsFunc(w.subjects(role, relChild), w.someBelow)
	})
}

// memberBelow reports whether somebody in a group is below the user.
func (w *why) memberBelow(group graph.ID) bool {
	return remember(w.people().members, group, func() bool {
		return slices.ContainsFunc(w.subjects(group, relMemberRole), w.holderBelow) ||
			slices.ContainsFunc(w.subjects(group, relMemberRoleSub), w.someBelow) ||
			slices.ContainsFunc(w.subjects(group, relMemberGroup), w.memberBelow) ||
			w.anyPerson(group, relMemberUser)
	})
}
