package orgchange

import "github.com/remit-authz/remit/graph/crm"

// Parts divides an edit that is too much for one change by itself, of a group with very many
// members for instance: into one that does half of it, and one that does the rest. After
// either the organisation is valid, if it is after both. It is false if the edit has no list
// that is long enough to be divided.
func Parts(e Edit) (first, rest Edit, ok bool) {
	half := e.After
	if half == nil {
		half = e.Before
	}
	switch half := half.(type) {
	case *crm.Group:
		before, after := sides[crm.Group](e)
		c := *half
		c.Members, ok = midway(before.Members, after.Members, itself)
		return divided(e, &c, ok)
	case *crm.Team:
		before, after := sides[crm.Team](e)
		c := *half
		if c.Members, ok = midway(before.Members, after.Members, itself); !ok {
			c.Members = half.Members
			c.Managers, ok = midway(before.Managers, after.Managers, itself)
		}
		return divided(e, &c, ok)
	case *crm.Role:
		before, after := sides[crm.Role](e)
		c := *half
		c.ForecastManagers, ok = midway(before.ForecastManagers, after.ForecastManagers, itself)
		return divided(e, &c, ok)
	case *crm.Record:
		before, after := sides[crm.Record](e)
		c := *half
		c.Shares, ok = midway(before.Shares, after.Shares, to)
		return divided(e, &c, ok)
	}
	return e, Edit{}, false
}

func divided(e Edit, half crm.Entity, ok bool) (first, rest Edit, divided bool) {
	return Edit{Before: e.Before, After: half}, Edit{Before: half, After: e.After, Heir: e.Heir}, ok
}

// sides are the entity before and after an edit, empty where it is not there.
func sides[T any, P interface {
	*T
	crm.Entity
}](e Edit) (before, after T) {
	if p, ok := e.Before.(P); ok {
		before = *p
	}
	if p, ok := e.After.(P); ok {
		after = *p
	}
	return before, after
}

// midway is a list in which half of what goes has gone, and half of what comes has come. What
// has the same key is the same, before and after. It is false if that is no step.
func midway[T, K comparable](before, after []T, key func(T) K) ([]T, bool) {
	was, is := map[K]T{}, map[K]bool{}
	for _, t := range before {
		was[key(t)] = t
	}
	var list, comes, goes []T
	for _, t := range after {
		is[key(t)] = true
		if old, ok := was[key(t)]; ok && old == t {
			list = append(list, t)
		} else {
			comes = append(comes, t)
		}
	}
	for _, t := range before {
		if !is[key(t)] {
			goes = append(goes, t)
		}
	}
	if len(goes) < 2 && len(comes) < 2 {
		return nil, false
	}
	list = append(list, comes[:len(comes)/2]...)
	for _, t := range comes[len(comes)/2:] {
		if old, ok := was[key(t)]; ok {
			list = append(list, old)
		}
	}
	return append(list, goes[len(goes)/2:]...), true
}

func itself[T any](t T) T { return t }

func to(s crm.Share) crm.Party { return s.To }
