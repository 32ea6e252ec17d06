package crm

import "cmp"

// A Party is a set of people, as rules, shares and groups name it.
type Party struct {
	Kind PartyKind
	ID   string // of the seat, role or group; empty for Everyone
}

// A PartyKind is how a party names its people.
type PartyKind uint8

// The kinds of parties.
const (
	User                PartyKind = iota + 1
	HoldersOf                     // a role
	RoleAndSubordinates           // a role and all those below it
	MembersOf                     // a group
	Everyone
)

func (p Party) compare(o Party) int {
	return cmp.Or(cmp.Compare(p.Kind, o.Kind), cmp.Compare(p.ID, o.ID))
}

// String shows the party for messages.
func (p Party) String() string {
	switch p.Kind {
	case User:
		return "user " + p.ID
	case HoldersOf:
		return "role " + p.ID
	case RoleAndSubordinates:
		return "role and subordinates " + p.ID
	case MembersOf:
		return "group " + p.ID
	case Everyone:
		return "everyone"
	default:
		return "unknown party " + p.ID
	}
}
