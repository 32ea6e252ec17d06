package orgchange

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
)

// Stepwise are the edits of a Difference in groups that can be carried out one after the
// other: after each of them the organisation is one. An entity may come twice. First comes
// all that is put but records; then records that are put, one by one; records that are
// deleted; and what else is deleted.
//
// The first group alone may be so large that it has to be divided. Its edits are in such an
// order that what is only made can be divided anywhere: what refers to seats that come only
// later, the super admin and forecast managers, is put without them first.
//
//   - A name or a login that somebody else still has is given up first: its bearer is put
//     under a name of its own for the time being.
//   - A seat that is deleted has no manager any more, who may get a lower role than it has,
//     and a role that is deleted no forecast managers, who may be deleted before it.
//   - A module keeps those above it until its records have left them.
func Stepwise(edits []Edit) [][]Edit {
	first := vacate(edits)
	var put, gone, last [][]Edit
	made := map[string]bool{}
	lastSeat := -1
	vacated := make(map[crm.Entity]int, len(first)) // where, by what was there before
	for i, e := range first {
		vacated[e.Before] = i
	}
	for i, e := range edits {
		if seat, ok := e.After.(*crm.Seat); ok {
			lastSeat = i
			made[seat.ID] = e.Before == nil
		}
		if e.After == nil {
			if j, ok := vacated[e.Before]; ok {
				first[j].After = unmanaged(first[j].After)
			} else if free := unmanaged(e.Before); free != e.Before {
				first = append(first, Edit{Before: e.Before, After: free})
			}
		}
	}
	var later []Edit
	for i, e := range edits {
		_, was := e.Before.(*crm.Record)
		_, is := e.After.(*crm.Record)
		switch {
		case is:
			put = append(put, []Edit{e})
		case was:
			gone = append(gone, []Edit{e})
		case e.After == nil:
			last = append(last, []Edit{e})
		default:
			begun := e
			if begun.After = without(e, made); begun.After != e.After {
				later = append(later, Edit{Before: begun.After, After: e.After})
			} else if begun.After = widened(e); begun.After != e.After {
				last = slices.Insert(last, 0, []Edit{{Before: begun.After, After: e.After}})
			}
			first = append(first, begun)
			if i == lastSeat {
				first = append(first, later...)
			}
		}
	}
	var groups [][]Edit
	if len(first) > 0 {
		groups = append(groups, first)
	}
	return slices.Concat(groups, put, gone, last)
}

// unmanaged is a seat without its manager, or a role without forecast managers; the entity
// itself if it has none.
func unmanaged(e crm.Entity) crm.Entity {
	switch e := e.(type) {
	case *crm.Seat:
		if e.Manager != "" {
			c := *e
			c.Manager = ""
			return &c
		}
	case *crm.Role:
		if len(e.ForecastManagers) > 0 {
			c := *e
			c.ForecastManagers = nil
			return &c
		}
	}
	return e
}

// widened is a module with what may stand above it before and afterwards; the entity itself
// if that is the same.
func widened(e Edit) crm.Entity {
	before, ok := e.Before.(*crm.Module)
	after, is := e.After.(*crm.Module)
	if !ok || !is {
		return e.After
	}
	c := *after
	c.Parents = slices.Clone(after.Parents)
	for _, p := range before.Parents {
		if !slices.Contains(c.Parents, p) {
			c.Parents = append(c.Parents, p)
		}
	}
	if len(c.Parents) == len(after.Parents) {
		return e.After
	}
	return &c
}

// without is an entity but for the seats that are only going to be made; the entity itself
// if it needs none of them.
func without(e Edit, made map[string]bool) crm.Entity {
	switch after := e.After.(type) {
	case *crm.Role:
		late := func(seat string) bool { return made[seat] }
		if slices.ContainsFunc(after.ForecastManagers, late) {
			r := *after
			r.ForecastManagers = slices.DeleteFunc(slices.Clone(r.ForecastManagers), late)
			return &r
		}
	case *crm.Head:
		if before, ok := e.Before.(*crm.Head); ok && made[after.SuperAdmin] {
			h := *after
			h.SuperAdmin = before.SuperAdmin
			return &h
		}
	}
	return e.After
}

// vacate has those give up a name or a login who would keep it for too long: who bears it
// is changed or deleted behind whoever is to have it.
func vacate(edits []Edit) []Edit {
	type bearer struct {
		edit Edit
		at   int
	}
	bears := map[graph.ObjectName]bearer{}
	for i, e := range edits {
		if e.Before == nil {
			continue
		}
		if claim, ok := claimOf(e.Before); ok {
			bears[claim] = bearer{edit: e, at: i}
		}
	}
	var first []Edit
	done := map[graph.ObjectName]bool{}
	for i, e := range edits {
		if e.After == nil {
			continue
		}
		claim, ok := claimOf(e.After)
		if !ok {
			continue
		}
		b, taken := bears[claim]
		if taken && b.at > i && !done[b.edit.Key()] {
			done[b.edit.Key()] = true
			first = append(first, Edit{Before: b.edit.Before, After: nameless(b.edit.Before)})
		}
	}
	return first
}

// claimOf is the claim on the name that an entity bears and no other of its kind may, or
// on a seat's login.
func claimOf(e crm.Entity) (graph.ObjectName, bool) {
	_, kind, name := labelled(e)
	if name == nil || *name == "" {
		return graph.ObjectName{}, false
	}
	return crm.Claim(kind, *name), true
}

// nameless is an entity under a name that nobody else has, or a seat without its login.
func nameless(e crm.Entity) crm.Entity {
	c, kind, name := labelled(e)
	switch {
	case name == nil:
		return e
	case kind == logins:
		*name = ""
	default:
		sum := sha256.Sum256([]byte(e.Key().String()))
		*name = "renamed " + hex.EncodeToString(sum[:8])
	}
	return c
}

// logins is the kind in which seats claim their logins.
const logins = "login"

// labelled is a copy of an entity, and in it what no other of a kind may bear; nil if there
// is no such thing.
func labelled(e crm.Entity) (c crm.Entity, kind string, name *string) {
	kind = e.Key().Type
	switch e := e.(type) {
	case *crm.Role:
		c := *e
		return &c, kind, &c.Name
	case *crm.Profile:
		c := *e
		return &c, kind, &c.Name
	case *crm.Module:
		c := *e
		return &c, kind, &c.Name
	case *crm.Field:
		c := *e
		return &c, kind + "/" + c.Module, &c.Name
	case *crm.Group:
		c := *e
		return &c, kind, &c.Name
	case *crm.Team:
		c := *e
		return &c, kind, &c.Name
	case *crm.Rule:
		c := *e
		return &c, kind, &c.Name
	case *crm.Shift:
		c := *e
		return &c, kind, &c.Name
	case *crm.Seat:
		c := *e
		return &c, logins, &c.Login
	}
	return e, kind, nil
}
