package crm

import (
	"fmt"
	"slices"
	"time"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/schedule"
	"github.com/remit-authz/remit/graph/value"
)

// seatStep is whether the user may do anything at all. It is false if there is no seat, about
// which nothing more can be said.
func (w *why) seatStep() bool {
	if !w.activeStep() {
		return false
	}
	w.hoursStep()
	return w.err == nil
}

// activeStep is whether the user has a seat, and whether that is active. It is false if there
// is none.
func (w *why) activeStep() bool {
	w.id = w.find(w.user)
	_, seat, ok := w.fact(w.org, relSeat, graph.Subject{ID: w.id})
	if !ok {
		w.miss(Ground{Kind: GroundSeat, Entity: w.user, Text: fmt.Sprintf("no seat has the id %q", w.user.ID)})
		return false
	}
	w.self = w.belongingOf(w.id)
	w.profiles = w.objects(typeProfile, relAssignee, w.id)
	for _, p := range w.profiles {
		if w.admin == 0 && w.has(w.org, relAdminProfile, graph.Subject{ID: p}) {
			w.admin = p
		}
	}
	g := Ground{Kind: GroundSeat, Entity: w.user, Text: fmt.Sprintf("the seat of %s is active", w.name(w.id)), Facts: []Fact{seat}}
	if _, f, ok := w.fact(w.org, relSuspended, graph.Subject{ID: w.id}); ok {
		g.Text = fmt.Sprintf("the seat of %s is suspended: who manages users can make it active again", w.name(w.id))
		g.Facts = []Fact{f}
		w.miss(g)
	} else {
		w.condition(g)
	}
	return w.err == nil
}

// hoursStep is whether the user may act at the instant, if there are hours to keep.
func (w *why) hoursStep() {
	var gated graph.ID
	for _, p := range w.profiles {
		if w.has(w.org, relGated, w.subject(p, relAssignee)) {
			gated = p
			break
		}
	}
	if gated == 0 {
		return
	}
	closes := fmt.Sprintf("%s closes outside working hours", w.named(gated))
	switch {
	case w.admin != 0:
		w.condition(Ground{Kind: GroundHours, Entity: w.key(w.admin), Text: closes + ", but not for administrators"})
		return
	case w.has(w.org, relSuperAdmin, graph.Subject{ID: w.id}):
		w.condition(Ground{Kind: GroundHours, Entity: w.user, Text: closes + ", but not for the super admin"})
		return
	}
	shift, until, next := w.shifts()
	switch {
	case shift != 0:
		text := fmt.Sprintf("%s, and %s is inside those of %s", closes, w.name(w.id), w.named(shift))
		if !until.IsZero() {
			text += " until " + instantText(until)
		}
		w.condition(Ground{Kind: GroundHours, Entity: w.key(shift), Text: text})
	case next.IsZero():
		w.miss(Ground{
			Kind: GroundHours, Entity: w.key(gated),
			Text: fmt.Sprintf("%s, and %s has no working hours ahead: who manages shifts can assign some", closes, w.name(w.id)),
		})
	default:
		w.miss(Ground{
			Kind: GroundHours, Entity: w.key(gated),
			Text: fmt.Sprintf("%s, and those of %s begin at %s", closes, w.name(w.id), instantText(next)),
		})
	}
}

// shifts finds the shift inside whose hours the user is, and until when, zero being no end in
// sight; or, if the user is in none, when the next hours begin.
func (w *why) shifts() (shift graph.ID, until, next time.Time) {
	r, err := NewRoster(w.view, w.deeds, w.at)
	w.fail(err)
	if w.err != nil {
		return 0, until, next
	}
	w.eachObject(typeShift, relAssigned, graph.Subject{ID: w.id}, func(e *graph.Edge) bool {
		on, ends, err := r.inEffect(e)
		w.fail(err)
		hours, err := r.hoursOf(e.Subject.ID)
		w.fail(err)
		if on && hours.open && w.err == nil {
			shift, until = e.Subject.ID, earlier(ends, hours.until)
			return false
		}
		next = earlier(next, w.opening(e))
		return w.err == nil
	})
	return shift, until, next
}

// mostTurns bounds how far ahead opening looks: hours turn some times a day.
const mostTurns = 2000

// opening is when an assignment to a shift and its hours are next both in effect; zero if that
// is not in sight.
func (w *why) opening(assigned *graph.Edge) time.Time {
	open, _, ok := w.fact(assigned.Subject.ID, relOpen, w.everyone())
	turns, err := turnsOf(assigned)
	w.fail(err)
	if !ok || w.err != nil {
		return time.Time{}
	}
	fields, _ := open.Context.Fields()[parameterSchedule].(value.Map)
	s, err := schedule.Parse(fields)
	if w.fail(err); err != nil {
		return time.Time{}
	}
	at := w.at
	for range mostTurns {
		on, next := inTurns(turns, at)
		switch {
		case on && s.Open(at):
			return at
		case !on && next.IsZero():
			return time.Time{}
		case on:
			var ok bool
			if next, ok = s.Next(at); !ok {
				return time.Time{}
			}
		}
		at = next
	}
	return time.Time{}
}

// turnsOf are the instants at which an edge begins and ceases to count.
func turnsOf(e *graph.Edge) ([]time.Time, error) {
	list, _ := e.Context.Fields()[parameterTurns].(value.List)
	turns := make([]time.Time, 0, len(list))
	for i, turn := range list {
		text, _ := turn.(string)
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return nil, fmt.Errorf("turn %d of %v: %w", i, e.Subject.ID, err)
		}
		turns = append(turns, at)
	}
	return turns, nil
}

// permissionStep is whether a profile of the user has each of some permissions in a module.
// What is lacking is missing; what is there is a condition for each profile that gives some.
func (w *why) permissionStep(module string, permissions ...string) bool {
	of := w.find(entity(typeModule, module))
	given := map[graph.ID][]string{}
	whole := true
	for _, permission := range permissions {
		found := false
		for _, p := range w.profiles {
			if w.has(of, "p_"+permission, w.subject(p, relAssignee)) {
				given[p] = append(given[p], permission)
				found = true
			}
		}
		if !found {
			whole = false
			w.lack(Ground{Permissions: []string{permission}, Module: module}, fmt.Sprintf("%s on %s", permission, w.module(module)))
		}
	}
	for _, p := range w.profiles {
		if len(given[p]) == 0 {
			continue
		}
		g := Ground{
			Kind: GroundProfile, Entity: w.key(p), Permissions: given[p], Module: module,
			Text:  fmt.Sprintf("%s gives %s on %s", w.named(p), listed(given[p]), w.module(module)),
			Facts: w.facts(p, relAssignee, graph.Subject{ID: w.id}),
		}
		for _, permission := range given[p] {
			g.Facts = append(g.Facts, w.facts(of, "p_"+permission, w.subject(p, relAssignee))...)
		}
		w.condition(g)
	}
	return whole
}

// profileStep is whether a profile of the user has a tool or a setup permission.
func (w *why) profileStep(typ, id, relation string) {
	of := w.find(entity(typ, id))
	what := "the tool " + id
	if typ == typeSetup {
		what = "the setup permission " + id
	}
	found := w.holding(of, relation)
	for _, p := range found {
		w.condition(Ground{
			Kind: GroundProfile, Entity: w.key(p), Permissions: []string{id}, Text: fmt.Sprintf("%s gives %s", w.named(p), what),
			Facts: append(w.facts(p, relAssignee, graph.Subject{ID: w.id}), w.facts(of, relation, w.subject(p, relAssignee))...),
		})
	}
	if len(found) == 0 {
		w.lack(Ground{Permissions: []string{id}}, what)
	}
}

// lack notes that no profile of the user has something.
func (w *why) lack(g Ground, what string) {
	g.Kind = GroundProfile
	switch len(w.profiles) {
	case 0:
		g.Entity = w.user
		g.Text = fmt.Sprintf("%s has no profile, and so lacks %s", w.name(w.id), what)
	case 1:
		g.Entity = w.key(w.profiles[0])
		g.Text = fmt.Sprintf("%s lacks %s", w.ownProfiles(), what)
	default:
		g.Entity = w.key(w.profiles[0])
		g.Text = fmt.Sprintf("%s lack %s", w.ownProfiles(), what)
	}
	w.miss(g)
}

// fieldStep is whether a profile of the user lets it read or write a field.
func (w *why) fieldStep(module, id string, write bool) {
	key := entity(typeField, FieldID(module, id))
	field := w.find(key)
	g := Ground{Kind: GroundField, Entity: key, Module: module}
	if !w.has(field, relModule, graph.Subject{ID: w.find(entity(typeModule, module))}) {
		g.Text = fmt.Sprintf("%s have no field %q", w.module(module), id)
		w.miss(g)
		return
	}
	what := fmt.Sprintf("the field %s of %s", w.name(field), w.module(module))
	if _, f, ok := w.fact(field, relOpen, w.everyone()); ok {
		g.Text, g.Facts = what+" is not restricted", []Fact{f}
		w.condition(g)
		return
	}
	reads, writes := w.holding(field, relReader), w.holding(field, relWriter)
	act, by := "write", writes
	if !write {
		act, by = "read", slices.Concat(writes, reads)
	}
	if len(by) > 0 {
		g.Text = fmt.Sprintf("%s may %s %s", w.named(by[0]), act, what)
		g.Facts = w.facts(by[0], relAssignee, graph.Subject{ID: w.id})
		for _, relation := range []string{relReader, relWriter} {
			g.Facts = append(g.Facts, w.facts(field, relation, w.subject(by[0], relAssignee))...)
		}
		w.condition(g)
		return
	}
	if g.Text = fmt.Sprintf("%s is hidden from %s", what, w.ownProfiles()); len(reads) > 0 {
		g.Text = fmt.Sprintf("%s may only be read with %s", what, w.ownProfiles())
	}
	w.miss(g)
}

// holding are those profiles of the user that have a relation to something.
func (w *why) holding(object graph.ID, relation string) []graph.ID {
	var profiles []graph.ID
	for _, p := range w.profiles {
		if w.has(object, relation, w.subject(p, relAssignee)) {
			profiles = append(profiles, p)
		}
	}
	return profiles
}

// ownProfiles names the profiles of the user.
func (w *why) ownProfiles() string {
	switch len(w.profiles) {
	case 0:
		return w.name(w.id) + ", who has no profile"
	case 1:
		return w.named(w.profiles[0])
	default:
		return "profiles " + listedNames(w.profiles, w.name)
	}
}
