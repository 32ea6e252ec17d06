package crm_test

import (
	"fmt"
	"slices"
	"strings"

	"github.com/remit-authz/remit/graph/crm"
)

// byProfiles reports whether a plan rests on what the profiles of its seat say, and not on all
// that gives access.
func byProfiles(p *crm.Plan) bool {
	return !slices.ContainsFunc(p.Requires, func(r crm.ScopeVersion) bool { return r.Scope == "access" })
}

// decides compares the answers to a plan's questions, all of them in order, with what the
// oracle says of the organisation after another change.
func decides(after *proposal, as string, p *crm.Plan, rights []bool) error {
	i := slices.IndexFunc(after.there.Seats, func(s crm.Seat) bool { return s.ID == as })
	if i < 0 {
		return fmt.Errorf("there is no seat %s", as)
	}
	seat := &after.there.Seats[i]
	for _, n := range p.Needs {
		for _, q := range n.Any {
			got := rights[0]
			rights = rights[1:]
			if want, known := after.says(seat, q); known && want != got {
				return fmt.Errorf("%s#%s is %v, and was %v", q.Object, q.Relation, want, got)
			}
		}
	}
	return nil
}

// says is the oracle's answer; it does not know every question.
func (p *proposal) says(seat *crm.Seat, q crm.Question) (answer, known bool) {
	d := p.oracle
	permission := map[string]crm.Permissions{
		"p_view": crm.PermissionView, "p_share": crm.PermissionShare, "p_transfer": crm.PermissionTransfer, "can_create": crm.PermissionCreate,
		"p_edit": crm.PermissionEdit, "p_delete": crm.PermissionDelete,
	}[q.Relation]
	switch {
	case q.User != "":
		return false, false
	case q.Object.Type == "setup":
		return d.HasSetup(seat, crm.Setup(q.Object.ID)) && d.MayAct(seat), true
	case q.Relation == "admin":
		return d.Admin(seat), true
	case q.Relation == "super_admin":
		return d.SuperAdmin(seat), true
	case q.Object.Type == "module":
		return d.Permitted(seat, q.Object.ID, permission) && (q.Relation != "can_create" || d.MayAct(seat)), permission != 0
	case q.Object.Type == "field":
		return p.writes(seat, q.Object.ID)
	}
	action, asked := strings.CutPrefix(q.Relation, "can_")
	i := slices.IndexFunc(p.there.Records, func(r crm.Record) bool { return r.Key() == q.Object })
	if !asked || i < 0 {
		return false, false
	}
	return d.Can(seat.ID, crm.Action(action), &p.there.Records[i], nil), true
}

// writes reports whether a profile lets a seat write a field.
func (p *proposal) writes(seat *crm.Seat, field string) (answer, known bool) {
	i := slices.IndexFunc(p.there.Fields, func(f crm.Field) bool { return f.Key().ID == field })
	if i < 0 {
		return false, false
	}
	f := &p.there.Fields[i]
	return len(f.Levels) == 0 || slices.ContainsFunc(seat.Profiles, func(id string) bool { return f.Levels[id] == crm.FieldWrite }), true
}
