package crm

import (
	"slices"
	"unicode/utf8"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/value"
)

func (c *checker) recordItself(before, r *Record) {
	of := r.Key()
	if (r.Owner == "" || r.Owner != before.Owner) && c.seat(r.Owner) == nil {
		c.fault(of, "the owner %q has no seat", r.Owner)
	}
	if _, err := value.Encode(r.Fields); err != nil {
		c.fault(of, "its fields cannot be stored: %v", err)
	}
	m := c.module(r.Module)
	if m == nil {
		c.fault(of, "module %q does not exist", r.Module)
		return
	}
	c.parents(of, before, r, m)
	if r.Confidentiality > Secret {
		c.fault(of, "confidentiality %d is unknown", r.Confidentiality)
	}
	if m.Kind != Standard && (r.Confidentiality != Open || len(r.Shares) > 0) {
		c.fault(of, "records of a %s module are neither shared nor confidential", m.Kind)
	}
	c.shares(of, before, r)
}

func (c *checker) parents(of graph.ObjectName, before, r *Record, m *Module) {
	if m.Kind == Child && len(r.Parents) != 1 {
		c.fault(of, "a record of a child module has one parent, not %d", len(r.Parents))
	}
	had := make(map[Ref]bool, len(before.Parents))
	for _, p := range before.Parents {
		had[p] = true
	}
	seen := make(map[Ref]bool, len(r.Parents))
	for _, p := range r.Parents {
		switch {
		case !slices.Contains(m.Parents, p.Module):
			c.fault(of, "the parent %s is of a module that module %q is not below", p, m.ID)
		case !had[p] && c.record(p) == nil:
			c.fault(of, "the parent %s does not exist", p)
		case p == r.Ref():
			c.fault(of, "it is its own parent")
		case seen[p]:
			c.fault(of, "the parent %s occurs twice", p)
		}
		seen[p] = true
	}
}

func (c *checker) shares(of graph.ObjectName, before, r *Record) {
	c.parties(of, "a share's recipient", true, recipients(before), recipients(r))
	seen := make(map[Party]bool, len(r.Shares))
	for _, s := range r.Shares {
		if s.Level != LevelView && s.Level != LevelEdit && s.Level != LevelFull {
			c.fault(of, "a share cannot give %s: view, edit or full", s.Level)
		}
		if !s.Expires.IsZero() && s.Expires.UnixMilli() <= 0 {
			c.fault(of, "the share with %s expires before 1970", s.To)
		}
		if seen[s.To] {
			c.fault(of, "it is shared with %s twice", s.To)
		}
		seen[s.To] = true
		for _, text := range []string{s.Reason, s.GrantedBy} {
			if !utf8.ValidString(text) || len(text) > MaxName {
				c.fault(of, "reason and author of the share with %s are UTF-8 of at most %d bytes", s.To, MaxName)
			}
		}
	}
}

func recipients(r *Record) []Party {
	list := make([]Party, len(r.Shares))
	for i := range r.Shares {
		list[i] = r.Shares[i].To
	}
	return list
}

// recordChange checks with whom a record is newly shared: a person must be active and
// have the module, as far as View in a profile says so. Who is in a role or a group may
// change any day. A record that is made brings its shares along, from wherever it was, a
// share with a seat that is deleted goes to whoever takes over, and those that exist stay
// when somebody is suspended: they give nothing until both hold.
func (c *checker) recordChange(made bool, before, r *Record) {
	if made || c.inherited(before, r) {
		return
	}
	for _, p := range added(recipients(before), recipients(r)) {
		if p.Kind != User {
			continue
		}
		switch s := c.seat(p.ID); {
		case s == nil:
		case s.Suspended:
			c.fault(r.Key(), "it cannot be shared with %s, who is suspended: choose somebody active", p)
		case !c.views(s, r.Module):
			c.fault(r.Key(), "it cannot be shared with %s, who has no profile with view in module %q: "+
				"give them one first", p, r.Module)
		}
	}
}

// inherited reports whether a share with a seat that is deleted ended.
func (c *checker) inherited(before, r *Record) bool {
	for _, p := range added(recipients(r), recipients(before)) {
		if p.Kind == User && c.seat(p.ID) == nil {
			return true
		}
	}
	return false
}

// views reports whether a profile lets a seat view records of a module.
func (c *checker) views(s *Seat, module string) bool {
	for _, id := range s.Profiles {
		if p := c.profile(id); p != nil && p.Modules[module].Has(PermissionView) {
			return true
		}
	}
	return false
}
