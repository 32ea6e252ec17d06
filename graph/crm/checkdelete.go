package crm

import "github.com/remit-authz/remit/graph"

// deletion checks that nothing needs what is gone. What fields said of a profile goes with
// it.
func (c *checker) deletion(e Entity) {
	key := e.Key()
	switch e := e.(type) {
	case *Head:
		c.fault(key, "an organisation is not deleted by a change of it: delete its store")
		return
	case *Role:
		if e.Parent == "" {
			c.fault(key, "it is the root, whose holders reach all: it cannot be deleted")
			return
		}
	case *Seat:
		if c.organisation().SuperAdmin == e.ID {
			c.fault(key, "it is the super admin's, which cannot be deleted: hand over to another seat first")
		}
	case *Profile:
		if e.Administrator {
			c.lastAdministrator(e)
		}
	}
	var users []string
	for _, user := range c.referrers(key, "", maxCounted+1) {
		if user != key && user.Type != typeOrg { // whose super admin it is has been said
			users = append(users, user.String())
		}
	}
	if len(users) > 0 {
		c.fault(key, "it cannot be deleted, it is referred to by %s: %s", enumerate(users), remedy(e))
	}
}

// referrers are entities that refer to a key: see lookup.users.
func (c *checker) referrers(key graph.ObjectName, typ string, limit int) []graph.ObjectName {
	if c.err != nil {
		return nil
	}
	users, err := c.users(key, typ, limit)
	if err != nil {
		c.err = err
	}
	return users
}

// remedy is what helps if something cannot be deleted because it is referred to.
func remedy(e Entity) string {
	switch e.(type) {
	case *Seat:
		return "name a seat that takes over its records and its places, or suspend it"
	case *Role:
		return "name a role that takes over its holders and its places"
	case *Profile:
		return "name a profile that its holders get instead"
	case *Group:
		return "name a group that takes its places"
	case *Shift:
		return "name a shift that is worked instead"
	case *Module:
		return "delete its records, fields and rules first, and take it out of profiles and from above other modules"
	default:
		return "delete or change those first"
	}
}
