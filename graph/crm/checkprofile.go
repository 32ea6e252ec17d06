package crm

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/remit-authz/remit/graph"
)

func (c *checker) profileItself(before, p *Profile) {
	of := p.Key()
	c.name(of, typeProfile, before.Name, p.Name)
	for _, id := range slices.Sorted(maps.Keys(p.Modules)) {
		if _, had := before.Modules[id]; !had && c.module(id) == nil {
			c.fault(of, "module %q does not exist", id)
		}
		if p.Modules[id]&^allPermissions != 0 {
			c.fault(of, "it has unknown permissions in module %q", id)
		}
	}
	few(c, of, "tool", p.Tools, AllTools())
	few(c, of, "setup permission", p.Setup, AllSetup())
}

// few checks that the list holds some of all, each once.
func few[T cmp.Ordered](c *checker, of graph.ObjectName, what string, list, all []T) {
	seen := map[T]bool{}
	for _, t := range list {
		if !slices.Contains(all, t) {
			c.fault(of, "%s %q is unknown", what, fmt.Sprint(t))
		}
		if seen[t] {
			c.fault(of, "%s %q occurs twice", what, fmt.Sprint(t))
		}
		seen[t] = true
	}
}

func (c *checker) profileChange(before, p *Profile) {
	if before.Administrator && !p.Administrator {
		c.lastAdministrator(p)
	}
}

func (c *checker) lastAdministrator(p *Profile) {
	if !c.administered() {
		c.fault(p.Key(), "it is the last administrator profile: make another one first")
	}
}

// administered reports whether there is an administrator profile.
func (c *checker) administered() bool {
	for _, id := range c.ids(typeProfile) {
		if p := c.profile(id); p != nil && p.Administrator {
			return true
		}
	}
	return false
}
