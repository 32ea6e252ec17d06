package crm

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/remit-authz/remit/graph"
)

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

// typ is the type of what the party names, empty for Everyone and what is unknown.
func (p Party) typ() string {
	switch p.Kind {
	case User:
		return typeUser
	case HoldersOf, RoleAndSubordinates:
		return typeRole
	case MembersOf:
		return typeGroup
	default:
		return ""
	}
}

// Key names what the party is of: a seat, a role or a group. Of Everyone it names nothing.
func (p Party) Key() graph.ObjectName { return entity(p.typ(), p.ID) }

// partyWords are how Text names the kinds.
var partyWords = [...]string{
	User: "user", HoldersOf: "role", RoleAndSubordinates: "role-and-subordinates", MembersOf: "group", Everyone: "everyone",
}

// Text writes the party as ParseParty reads it: user:ann, role:rep,
// role-and-subordinates:rep, group:emea, or everyone.
func (p Party) Text() string {
	switch {
	case p.Kind == Everyone:
		return partyWords[Everyone]
	case p.typ() == "":
		return p.String()
	default:
		return partyWords[p.Kind] + ":" + p.ID
	}
}

// ParseParty reads what Text writes. The error says what would be right.
func ParseParty(text string) (Party, error) {
	if text == partyWords[Everyone] {
		return Party{Kind: Everyone}, nil
	}
	word, id, _ := strings.Cut(text, ":")
	for kind := User; kind < Everyone; kind++ {
		if partyWords[kind] != word {
			continue
		}
		p := Party{Kind: kind, ID: id}
		if err := entity(p.typ(), id).Validate(); err != nil {
			return Party{}, fmt.Errorf("%w: the party %q: %w", ErrInvalid, text, err)
		}
		return p, nil
	}
	return Party{}, fmt.Errorf("%w: %.100q is nobody: write user:id, role:id, role-and-subordinates:id, group:id or everyone",
		ErrInvalid, text)
}
