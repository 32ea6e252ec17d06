package crm

import "github.com/remit-authz/remit/graph"

// An Entity is one thing of an organisation that has a document, and so a version, of its
// own: a *Head, *Seat, *Role, *Profile, *Module, *Field, *Group, *Team, *Rule, *Shift or
// *Record.
type Entity interface {
	// Key names the entity in the model: role:rep, field:deal.iban, deal:d1.
	Key() graph.ObjectName
}

// A Head is the organisation itself, without what belongs to it.
type Head struct {
	ID   string
	Name string

	// SuperAdmin is the seat of the one person who reaches secret records and whom
	// administrators cannot demote.
	SuperAdmin string

	Settings Settings
}

// Head is the organisation without what belongs to it.
func (o *Organisation) Head() *Head {
	return &Head{ID: o.ID, Name: o.Name, SuperAdmin: o.SuperAdmin, Settings: o.Settings}
}

// Key is org:<id>.
func (h *Head) Key() graph.ObjectName { return entity(typeOrg, h.ID) }

// Key is user:<id>.
func (s *Seat) Key() graph.ObjectName { return entity(typeUser, s.ID) }

// Key is role:<id>.
func (r *Role) Key() graph.ObjectName { return entity(typeRole, r.ID) }

// Key is profile:<id>.
func (p *Profile) Key() graph.ObjectName { return entity(typeProfile, p.ID) }

// Key is module:<id>.
func (m *Module) Key() graph.ObjectName { return entity(typeModule, m.ID) }

// Key is field:<module>.<id>.
func (f *Field) Key() graph.ObjectName { return entity(typeField, f.key()) }

// Key is group:<id>.
func (g *Group) Key() graph.ObjectName { return entity(typeGroup, g.ID) }

// Key is team:<id>.
func (t *Team) Key() graph.ObjectName { return entity(typeTeam, t.ID) }

// Key is rule:<id>.
func (r *Rule) Key() graph.ObjectName { return entity(typeRule, r.ID) }

// Key is shift:<id>.
func (s *Shift) Key() graph.ObjectName { return entity(typeShift, s.ID) }

// Key is <module>:<id>.
func (r *Record) Key() graph.ObjectName { return entity(r.Module, r.ID) }
