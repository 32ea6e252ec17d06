package crm

import (
	"maps"
	"slices"
)

func (c *checker) fieldItself(before, f *Field) {
	of := f.Key()
	c.name(of, fieldKind(f.Module), before.Name, f.Name)
	if (f.Module == "" || f.Module != before.Module) && c.module(f.Module) == nil {
		c.fault(of, "module %q does not exist", f.Module)
	}
	if f.ID == "" {
		c.fault(of, "it has no id")
	}
	for _, p := range slices.Sorted(maps.Keys(f.Levels)) {
		if _, had := before.Levels[p]; !had && c.profile(p) == nil {
			c.fault(of, "profile %q does not exist", p)
		}
		switch l := f.Levels[p]; {
		case l > FieldHidden:
			c.fault(of, "level %d is unknown", l)
		case l != FieldWrite && f.Mandatory:
			c.fault(of, "it is mandatory and cannot be restricted, not for profile %q either", p)
		}
	}
}
