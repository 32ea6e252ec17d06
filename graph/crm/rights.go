package crm

import (
	"strings"

	"github.com/remit-authz/remit/graph"
)

// requireRights makes the plan fail if the rights that it takes may be others by the time it is
// carried out. What the profiles of a seat say rests on few entities, each of which is read:
// the seat, for which profiles it has, whether it is suspended and when it works; those
// profiles and shifts; the organisation, for who is its super admin and whether login hours
// are enforced; and what the question is about. All else that is asked rests on who is above
// whom and who shares what, and so on all that bumps the scope of access.
func (d *Draft) requireRights(needs []Need) error {
	if d.as == "" {
		return nil
	}
	var keys []graph.ObjectName
	for _, n := range needs {
		for _, q := range n.Any {
			if !q.byProfiles() {
				d.require(scopeAccess)
				return nil
			}
			if q.Object.Type != typeSetup { // which is only a name
				keys = append(keys, q.Object)
			}
		}
	}
	if _, err := d.headBefore(); err != nil {
		return err
	}
	e, err := d.before(entity(typeUser, d.as))
	if err != nil {
		return err
	}
	seat := was[Seat](e)
	for _, id := range seat.Profiles {
		keys = append(keys, entity(typeProfile, id))
	}
	for _, id := range shiftIDs(seat) {
		keys = append(keys, entity(typeShift, id))
	}
	for _, key := range keys {
		if _, err := d.before(key); err != nil {
			return err
		}
	}
	return nil
}

// byProfiles reports whether the profiles of the seat that asks decide the question.
func (q Question) byProfiles() bool {
	if q.User != "" {
		return false
	}
	switch q.Object.Type {
	case typeSetup:
		return q.Relation == relAllowed
	case typeOrg:
		return q.Relation == relAdmin || q.Relation == relSuperAdmin
	case typeModule:
		return q.Relation == relCanCreate || strings.HasPrefix(q.Relation, "p_")
	case typeField:
		return q.Relation == relCanWrite
	}
	return false
}
