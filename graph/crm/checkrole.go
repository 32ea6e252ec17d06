package crm

func (c *checker) roleItself(before, r *Role) {
	of := r.Key()
	c.name(of, typeRole, before.Name, r.Name)
	if r.Parent != "" && r.Parent != before.Parent && c.role(r.Parent) == nil {
		c.fault(of, "the role above it, %q, does not exist", r.Parent)
	}
	if r.Peers > LevelDelete {
		c.fault(of, "peers cannot have %s on each other's records: none, view, edit or delete", r.Peers)
	}
	c.references(of, "forecast manager", typeUser, before.ForecastManagers, r.ForecastManagers)
}

func (c *checker) roleChange(made bool, before, r *Role) {
	switch {
	case !made && r.Parent == before.Parent:
	case r.Parent == "":
		c.onlyRoot(r)
	case !made && before.Parent == "":
		c.fault(r.Key(), "it is the root, which stays above all others and cannot be put below %q", r.Parent)
	default:
		c.climb(typeRole).from(r.ID)
	}
}

// onlyRoot checks that there is no other root.
func (c *checker) onlyRoot(r *Role) {
	for _, id := range c.ids(typeRole) {
		if other := c.role(id); id != r.ID && other != nil && other.Parent == "" {
			c.fault(r.Key(), "it has no role above it, and %q is the root already: name the role above it", id)
			return
		}
	}
}
