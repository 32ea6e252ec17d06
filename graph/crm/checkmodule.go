package crm

func (c *checker) moduleItself(before, m *Module) {
	of := m.Key()
	c.name(of, typeModule, before.Name, m.Name)
	if !validModuleID(m.ID) {
		c.fault(of, "the id of a module is at most %d lower case letters and digits, words joined by '_'", MaxModuleID)
	} else if reserved[m.ID] {
		c.fault(of, "the id is that of a type which every organisation has: choose another")
	}
	c.references(of, "parent module", typeModule, before.Parents, m.Parents)
	for _, p := range added(before.Parents, m.Parents) {
		if parent := c.module(p); parent != nil && parent.Kind != Standard {
			c.fault(of, "parent module %q is not a standard one", p)
		}
	}
	switch m.Kind {
	case Standard:
		if m.Default > LevelDelete {
			c.fault(of, "the default cannot be %s: none, view, edit or delete", m.Default)
		}
		return
	case Child:
		if len(m.Parents) == 0 {
			c.fault(of, "a child module needs a parent module")
		}
	case Forecast, ImportJob:
		if len(m.Parents) > 0 {
			c.fault(of, "a private module has no parent modules")
		}
	default:
		c.fault(of, "the kind %q is unknown: standard, child, forecast or import_job", m.Kind)
	}
	if m.Default != LevelNone || m.NoHierarchy {
		c.fault(of, "defaults and the hierarchy can be set for standard modules only")
	}
}

func (c *checker) moduleChange(made bool, before, m *Module) {
	if made {
		if n := len(c.ids(typeModule)); n > MaxModules {
			c.fault(m.Key(), "with it there are %d modules, at most %d are allowed", n, MaxModules)
		}
		return
	}
	if m.Kind != before.Kind {
		c.fault(m.Key(), "its kind is %s and never changes, not to %s either: make another module", before.Kind, m.Kind)
	}
	// Whether one of the records really is below one of that module would take reading
	// them all.
	if gone := added(m.Parents, before.Parents); len(gone) > 0 && len(c.referrers(m.Key(), m.ID, 1)) > 0 {
		c.fault(m.Key(), "it has records, which may be below those of %s: what was a parent module stays one", enumerate(gone))
	}
}
