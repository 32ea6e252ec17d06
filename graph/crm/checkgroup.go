package crm

import "github.com/remit-authz/remit/graph"

func (c *checker) groupItself(before, g *Group) {
	of := g.Key()
	c.name(of, typeGroup, before.Name, g.Name)
	c.parties(of, "member", false, before.Members, g.Members)
	seen := make(map[Party]bool, len(g.Members))
	for _, m := range g.Members {
		if seen[m] {
			c.fault(of, "member %s occurs twice", m)
		}
		seen[m] = true
	}
}

// groupChange looks for a cycle if the group has other groups than before.
func (c *checker) groupChange(before, g *Group) {
	for _, m := range added(before.Members, g.Members) {
		if m.Kind == MembersOf {
			c.climb(typeGroup).from(g.ID)
			return
		}
	}
}

// parties checks those that were not there before.
func (c *checker) parties(of graph.ObjectName, what string, everyone bool, before, after []Party) {
	for _, p := range added(before, after) {
		c.party(of, what, p, everyone)
	}
}

// party checks that somebody can be meant by it.
func (c *checker) party(of graph.ObjectName, what string, p Party, everyone bool) {
	exists := true
	switch p.Kind {
	case User:
		exists = c.exists(typeUser, p.ID)
	case HoldersOf, RoleAndSubordinates:
		exists = c.exists(typeRole, p.ID)
	case MembersOf:
		exists = c.exists(typeGroup, p.ID)
	case Everyone:
		if !everyone {
			c.fault(of, "%s cannot be everyone", what)
		}
		if p.ID != "" {
			c.fault(of, "%s is everyone and has an id, %q", what, p.ID)
		}
	default:
		c.fault(of, "%s is of unknown kind %d", what, p.Kind)
	}
	if !exists {
		c.fault(of, "%s %s does not exist", what, p)
	}
}
