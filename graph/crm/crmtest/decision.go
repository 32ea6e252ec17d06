package crmtest

import (
	"fmt"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
)

// A Decision is something to be decided about an organisation, as a store is asked for it
// and as the procedure has it.
type Decision struct {
	Text string // as in can(u1, view, deal:1)

	// User may do it if every check of the user is allowed.
	User   string
	Checks []Check

	Allowed bool
}

// A Check is whether a user has a relation to an object.
type Check struct {
	Object   graph.ObjectName
	Relation string
}

// Decisions visits everything there is to decide about the organisation, until visit is
// false: every seat, record and action, fields, creating, tools, setup and duty. Actions
// that the model of a module does not have are left out: nobody may do them.
func (d *Oracle) Decisions(visit func(Decision) bool) {
	for i := range d.o.Seats {
		if !d.decisionsOf(&d.o.Seats[i], visit) {
			return
		}
	}
}

func (d *Oracle) decisionsOf(s *crm.Seat, visit func(Decision) bool) bool {
	may := d.MayAct(s)
	for i := range d.o.Records {
		if !d.decisionsOn(s, &d.o.Records[i], visit) {
			return false
		}
	}
	for i := range d.o.Modules {
		m := &d.o.Modules[i]
		if !visit(decision(may && d.Permitted(s, m.ID, crm.PermissionCreate), s, "create", m.ID, Check{m.Key(), "can_create"})) {
			return false
		}
	}
	for _, t := range crm.AllTools() {
		if !visit(decision(may && d.HasTool(s, t), s, "tool", string(t), Check{graph.ObjectName{Type: "tool", ID: string(t)}, "allowed"})) {
			return false
		}
	}
	for _, p := range crm.AllSetup() {
		if !visit(decision(may && d.HasSetup(s, p), s, "setup", string(p), Check{graph.ObjectName{Type: "setup", ID: string(p)}, "allowed"})) {
			return false
		}
	}
	for i := range d.o.Shifts {
		shift := &d.o.Shifts[i]
		if !visit(decision(d.OnDuty(s, shift.ID), s, "on_duty", shift.ID, Check{shift.Key(), "on_duty"})) {
			return false
		}
	}
	return true
}

func decision(allowed bool, s *crm.Seat, verb, what string, checks ...Check) Decision {
	return Decision{Text: fmt.Sprintf("%s(%s, %s)", verb, s.ID, what), User: s.ID, Checks: checks, Allowed: allowed}
}

// decisionsOn are the actions on one record and on its fields, and exporting it.
func (d *Oracle) decisionsOn(s *crm.Seat, r *crm.Record, visit func(Decision) bool) bool {
	actions := crm.Actions()
	for _, m := range d.o.Modules {
		for _, p := range m.Parents {
			if m.Kind == crm.Child && p == r.Module {
				actions = append(actions, crm.Add(m.ID))
			}
		}
	}
	kind := d.modules[r.Module].Kind
	on := func(a crm.Action) Check { return Check{r.Key(), a.Relation()} }
	for _, a := range actions {
		if a == crm.ActionShare && kind != crm.Standard || a == crm.ActionTransfer && kind == crm.Child {
			continue
		}
		if !visit(decision(d.Can(s.ID, a, r, nil), s, string(a), r.Ref().String(), on(a))) {
			return false
		}
	}
	tool := Check{graph.ObjectName{Type: "tool", ID: string(crm.ToolExport)}, "allowed"}
	if !visit(decision(d.Can(s.ID, "export", r, nil), s, "export", r.Ref().String(), on(crm.ActionView), tool)) {
		return false
	}
	for i := range d.o.Fields {
		f := &d.o.Fields[i]
		if f.Module != r.Module {
			continue
		}
		what := r.Ref().String() + ", " + f.ID
		if !visit(decision(d.Can(s.ID, crm.ActionView, r, f), s, "view", what, on(crm.ActionView), Check{f.Key(), "can_read"})) ||
			!visit(decision(d.Can(s.ID, crm.ActionEdit, r, f), s, "edit", what, on(crm.ActionEdit), Check{f.Key(), "can_write"})) {
			return false
		}
	}
	return true
}
