package crm

import "github.com/remit-authz/remit/graph"

// checkTransfer checks who is to take over when an entity is deleted, before anything is
// moved: an id of the same type, empty for nobody.
func checkTransfer(l lookup, of graph.ObjectName, to string) ([]Fault, error) {
	c := checker{lookup: l}
	c.transfer(of, to)
	if c.err != nil {
		return nil, c.err
	}
	return c.faults, nil
}

// takesOver names what can take over from another of its kind.
var takesOver = map[string]string{
	typeUser: "seat", typeRole: "role", typeProfile: "profile", typeGroup: "group", typeShift: "shift",
}

func (c *checker) transfer(of graph.ObjectName, to string) {
	noun, can := takesOver[of.Type]
	switch {
	case !can && to != "":
		c.fault(of, "nothing can take over from it: leave out %q", to)
	case !can:
	case of.Type == typeRole && c.isRoot(of.ID):
		c.fault(of, "it is the root, whose holders reach all: it cannot be deleted")
	case of.Type == typeRole && to == "":
		c.fault(of, "name a role that takes over its holders, the roles below it and its places")
	case to == "":
	case to == of.ID:
		c.fault(of, "it cannot take over from itself: name another %s", noun)
	case !c.exists(of.Type, to):
		c.fault(of, "the %s %q, which is to take over, does not exist", noun, to)
	case of.Type == typeRole && c.below(to, of.ID):
		c.fault(of, "the role %q is below it and cannot take over: name one that is not", to)
	}
}

func (c *checker) isRoot(role string) bool {
	r := c.role(role)
	return r != nil && r.Parent == ""
}

// below reports whether a role is somewhere below another.
func (c *checker) below(role, above string) bool {
	seen := map[string]bool{}
	for r := c.role(role); r != nil && !seen[r.ID]; r = c.role(r.Parent) {
		if r.Parent == above {
			return true
		}
		seen[r.ID] = true
	}
	return false
}
