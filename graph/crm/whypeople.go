package crm

import (
	"fmt"
	"slices"

	"github.com/remit-authz/remit/graph"
)

// A belonging is what a user is part of.
type belonging struct {
	user graph.ID
	role graph.ID

	// roles are the user's role and those above it, upwards.
	roles []graph.ID

	// groups are those that the user is in, each with what brings the user there.
	groups map[graph.ID]partyID
	order  []graph.ID // of the groups, as they were found
}

// A partyID is a party in ids: what a rule, a share or a group names. Id is 0 of everyone.
type partyID struct {
	kind PartyKind
	id   graph.ID
}

// belongingOf walks up from a user.
func (w *why) belongingOf(user graph.ID) *belonging {
	b := &belonging{user: user, role: w.first(user, relRole), groups: map[graph.ID]partyID{}}
	b.roles = w.upwards(b.role)
	w.join(b, partyID{User, user}, relInGroup)
	w.join(b, partyID{HoldersOf, b.role}, relInGroup)
	for _, r := range b.roles {
		w.join(b, partyID{RoleAndSubordinates, r}, relInGroupSub)
	}
	for i := 0; i < len(b.order); i++ {
		w.join(b, partyID{MembersOf, b.order[i]}, relInGroup)
	}
	return b
}

// join notes the groups that have something as a member.
func (w *why) join(b *belonging, by partyID, relation string) {
	for _, g := range w.subjects(by.id, relation) {
		if _, ok := b.groups[g]; !ok {
			b.groups[g] = by
			b.order = append(b.order, g)
		}
	}
}

// upwards is a role and those above it.
func (w *why) upwards(role graph.ID) []graph.ID {
	var roles []graph.ID
	for ; role != 0; role = w.first(role, relParent) { // in a circle the budget ends
		roles = append(roles, role)
	}
	return roles
}

// in reports whether a party includes whom this is of.
func (b *belonging) in(p partyID) bool {
	switch p.kind {
	case User:
		return b.user == p.id
	case HoldersOf:
		return b.role == p.id
	case RoleAndSubordinates:
		return slices.Contains(b.roles, p.id)
	case MembersOf:
		_, ok := b.groups[p.id]
		return ok
	case Everyone:
		return true
	}
	return false
}

// party names a party, and what brings somebody there, unless that is nobody.
func (w *why) party(p partyID, b *belonging) string {
	switch p.kind {
	case Everyone:
		return "everyone"
	case RoleAndSubordinates:
		text := w.named(p.id) + " and its subordinates"
		if b != nil && b.role != p.id && b.in(p) {
			text += fmt.Sprintf(" (%s has %s)", w.name(b.user), w.named(b.role))
		}
		return text
	case MembersOf:
		text := w.named(p.id)
		if b == nil || !b.in(p) {
			return text
		}
		if by := b.groups[p.id]; by.kind != User {
			return fmt.Sprintf("%s (%s is in it by %s)", text, w.name(b.user), w.party(by, nil))
		}
		return fmt.Sprintf("%s (%s is in it)", text, w.name(b.user))
	default:
		return w.named(p.id)
	}
}

// A superiority is one way in which somebody is superior to somebody else.
type superiority struct {
	text   string
	entity graph.ID
	facts  []Fact
}

// superiorities are the ways in which the user is superior to the owner of something.
func (w *why) superiorities(owner *belonging) []superiority {
	var ways []superiority
	user, other := w.name(w.id), w.name(owner.user)
	byRole := w.is(w.org, relRoleMode)
	byReport := w.is(w.org, relReportMode)
	above := w.self.role != owner.role && slices.Contains(owner.roles, w.self.role)
	if above && byRole {
		ways = append(ways, superiority{
			fmt.Sprintf("%s is superior to the owner, %s: %s stands above %s", user, other, w.named(w.self.role), w.named(owner.role)),
			w.self.role, w.facts(w.id, relRole, graph.Subject{ID: w.self.role}),
		})
	}
	if byReport {
		if through, last := w.chain(owner.user); last != 0 {
			text := fmt.Sprintf("%s is superior to the owner, %s, who reports to %s", user, other, user)
			if len(through) > 0 {
				text += " through " + listedNames(through, w.name)
			}
			ways = append(ways, superiority{text, last, w.facts(last, relManager, graph.Subject{ID: w.id})})
		}
		if above && w.is(owner.user, relNonReporting) && w.is(w.org, relNonReportingByRole) {
			ways = append(ways, superiority{
				fmt.Sprintf("%s is superior to the owner, %s, who reports to nobody: %s stands above %s",
					user, other, w.named(w.self.role), w.named(owner.role)),
				w.self.role, append(w.facts(w.id, relRole, graph.Subject{ID: w.self.role}), w.facts(w.org, relNonReportingByRole, w.everyone())...),
			})
		}
	}
	for _, team := range w.subjects(owner.user, relInTeam) {
		if _, f, ok := w.fact(team, relManager, graph.Subject{ID: w.id}); ok {
			ways = append(ways, superiority{
				fmt.Sprintf("%s manages %s, of which the owner, %s, is a member", user, w.named(team), other),
				team, append(w.facts(team, relMember, graph.Subject{ID: owner.user}), f),
			})
		}
	}
	return ways
}

// chain walks up the reporting line from somebody to the user: through whom, and who reports
// to the user; 0 if the line does not lead there.
func (w *why) chain(from graph.ID) (through []graph.ID, last graph.ID) {
	seen := map[graph.ID]bool{}
	for at := from; at != 0 && !seen[at]; {
		seen[at] = true
		up := w.first(at, relManager)
		if up == w.id {
			return through, at
		}
		if at = up; at != 0 {
			through = append(through, at)
		}
	}
	return nil, 0
}

// subordinates are the people below the user: by teams and reporting lines one by one, with
// what they are part of; by roles in one answer for each role, however many hold it.
type subordinates struct {
	byRole bool

	users, roles, upper, groups map[graph.ID]bool // of those one by one

	lower   map[graph.ID]bool // whether a role is below the user's
	holders map[graph.ID]bool // whether a role or one below it has a holder
	within  map[graph.ID]bool // whether a group has somebody by role
}

// aboveSome reports whether the user is superior to somebody of a party.
func (w *why) aboveSome(p partyID) bool {
	if p.kind == Everyone {
		return false
	}
	s := w.people()
	switch p.kind {
	case User:
		return s.users[p.id] || s.byRole && w.lower(w.first(p.id, relRole))
	case HoldersOf:
		return s.roles[p.id] || s.byRole && w.lower(p.id) && w.first(p.id, relHolder) != 0
	case RoleAndSubordinates:
		return s.upper[p.id] || s.byRole && w.heldBelow(p.id)
	case MembersOf:
		return s.groups[p.id] || s.byRole && w.groupBelow(p.id)
	}
	return false
}

// people finds the user's subordinates once.
func (w *why) people() *subordinates {
	if w.below != nil {
		return w.below
	}
	set := func() map[graph.ID]bool { return map[graph.ID]bool{} }
	s := &subordinates{
		byRole: w.is(w.org, relRoleMode), users: set(), roles: set(), upper: set(), groups: set(),
		lower: set(), holders: set(), within: set(),
	}
	w.below = s
	var todo []graph.ID
	add := func(u graph.ID) {
		if !s.users[u] {
			s.users[u] = true
			todo = append(todo, u)
		}
	}
	for _, team := range w.objects(typeTeam, relManager, w.id) {
		for _, u := range w.subjects(team, relMember) {
			add(u)
		}
	}
	if w.is(w.org, relReportMode) {
		line := []graph.ID{w.id}
		reached := map[graph.ID]bool{w.id: true}
		for i := 0; i < len(line); i++ {
			for _, u := range w.objects(typeUser, relManager, line[i]) {
				if !reached[u] {
					reached[u] = true
					line = append(line, u)
					add(u)
				}
			}
		}
		if w.is(w.org, relNonReportingByRole) {
			w.eachObject(typeUser, relNonReporting, w.everyone(), func(e *graph.Edge) bool {
				if w.lower(w.first(e.Subject.ID, relRole)) {
					add(e.Subject.ID)
				}
				return true
			})
		}
	}
	for _, u := range todo {
		w.gather(s, u)
	}
	return s
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

// lower reports whether a role is below the user's.
func (w *why) lower(role graph.ID) bool {
	if role == 0 || role == w.self.role || w.err != nil {
		return false
	}
	known := w.people().lower
	if is, ok := known[role]; ok {
		return is
	}
	known[role] = false // which ends a walk that goes in circles
	up := w.first(role, relParent)
	is := up == w.self.role && up != 0 || w.lower(up)
	known[role] = is
	return is
}

// heldBelow reports whether somebody holds a role that is both below the user's and the role
// given or below it.
func (w *why) heldBelow(role graph.ID) bool {
	if w.lower(role) {
		return w.held(role)
	}
	if !slices.Contains(w.self.roles, role) {
		return false
	}
	return slices.ContainsFunc(w.subjects(w.self.role, relChild), w.held)
}

// held reports whether somebody holds a role or one below it.
func (w *why) held(role graph.ID) bool {
	known := w.people().holders
	if is, ok := known[role]; ok {
		return is
	}
	known[role] = false
	is := w.first(role, relHolder) != 0 || slices.ContainsFunc(w.subjects(role, relChild), w.held)
	known[role] = is
	return is
}

// groupBelow reports whether a group has somebody whose role is below the user's.
func (w *why) groupBelow(group graph.ID) bool {
	known := w.people().within
	if is, ok := known[group]; ok {
		return is
	}
	known[group] = false
	is := slices.ContainsFunc(w.subjects(group, relMemberRole), func(r graph.ID) bool { return w.lower(r) && w.first(r, relHolder) != 0 }) ||
		slices.ContainsFunc(w.subjects(group, relMemberRoleSub), w.heldBelow) ||
		slices.ContainsFunc(w.subjects(group, relMemberGroup), w.groupBelow)
	if !is {
		w.eachSubject(group, relMemberUser, func(e *graph.Edge) bool {
			is = w.lower(w.first(e.Subject.ID, relRole))
			return !is
		})
	}
	known[group] = is
	return is
}
