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

	// line are the tuples that lead from the user to its role, and from each role to the one
	// above: as many as roles.
	line []Fact

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
	for i, role := range b.roles {
		if i == 0 {
			b.line = append(b.line, w.tuple(user, relRole, role))
		} else {
			b.line = append(b.line, w.tuple(b.roles[i-1], relParent, role))
		}
	}
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

// toRole are the tuples that lead from the user to one of its roles.
func (b *belonging) toRole(role graph.ID) []Fact {
	n := slices.Index(b.roles, role) + 1
	return b.line[:n:n]
}

// toParty are the tuples that lead from the user to a party which includes it.
func (w *why) toParty(p partyID, b *belonging) []Fact {
	switch p.kind {
	case HoldersOf, RoleAndSubordinates:
		return b.toRole(p.id)
	case MembersOf:
		by, in := b.groups[p.id], relInGroup
		if by.kind == RoleAndSubordinates {
			in = relInGroupSub
		}
		return append(w.toParty(by, b), w.tuple(by.id, in, p.id))
	}
	return nil
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
			w.self.role, slices.Concat(w.self.line[:1], owner.toRole(w.self.role), w.facts(w.org, relRoleMode, w.everyone())),
		})
	}
	if byReport {
		mode := w.facts(w.org, relReportMode, w.everyone())
		if through, last := w.chain(owner.user); last != 0 {
			text := fmt.Sprintf("%s is superior to the owner, %s, who reports to %s", user, other, user)
			if len(through) > 0 {
				text += " through " + listedNames(through, w.name)
			}
			at := owner.user
			for _, up := range append(through, w.id) {
				mode = append(mode, w.tuple(at, relManager, up))
				at = up
			}
			ways = append(ways, superiority{text, last, mode})
		}
		if above && w.is(owner.user, relNonReporting) && w.is(w.org, relNonReportingByRole) {
			ways = append(ways, superiority{
				fmt.Sprintf("%s is superior to the owner, %s, who reports to nobody: %s stands above %s",
					user, other, w.named(w.self.role), w.named(owner.role)),
				w.self.role, slices.Concat(
					w.self.line[:1], owner.toRole(w.self.role), w.facts(owner.user, relNonReporting, w.everyone()),
					w.facts(w.org, relNonReportingByRole, w.everyone()), w.facts(w.org, relReportMode, w.everyone()),
				),
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
