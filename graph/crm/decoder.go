package crm

import (
	"errors"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/value"
)

// A decoder finds its way in a source. What it cannot make sense of it leaves out:
// comparing with the encoding of the result shows that.
type decoder struct {
	source source
	faults []error
	failed error // the first error of the source, after which nothing found counts
}

// err is why what was decoded does not count, if it does not.
func (d *decoder) err() error {
	if d.failed != nil {
		return d.failed
	}
	return errors.Join(d.faults...)
}

func (d *decoder) fault(format string, args ...any) {
	d.faults = append(d.faults, foreign(format, args...))
}

func (d *decoder) fail(err error) {
	if d.failed == nil {
		d.failed = err
	}
}

func (d *decoder) document(o graph.ObjectName) value.Map {
	m, err := d.source.document(o)
	d.fail(err)
	return m
}

func (d *decoder) tuples(o graph.ObjectName, relation string) []graph.Tuple {
	list, err := d.source.tuples(o, relation)
	d.fail(err)
	return list
}

func (d *decoder) incoming(typ, relation string, s graph.SubjectName) []graph.Tuple {
	list, err := d.source.incoming(typ, relation, s)
	d.fail(err)
	return list
}

// subjects are the ids of an edge's other ends, in order.
func (d *decoder) subjects(o graph.ObjectName, relation string) []string {
	var ids []string
	for _, t := range d.tuples(o, relation) {
		ids = append(ids, t.Subject.ID)
	}
	return ids
}

// objects are the ids of the objects of a type that have the relation to a subject.
func (d *decoder) objects(typ, relation string, s graph.SubjectName) []string {
	var ids []string
	for _, t := range d.incoming(typ, relation, s) {
		ids = append(ids, t.Object.ID)
	}
	return ids
}

func (d *decoder) has(o graph.ObjectName, relation string) bool {
	return len(d.tuples(o, relation)) > 0
}

// only is the one subject of an edge, or empty.
func (d *decoder) only(o graph.ObjectName, relation string) string {
	if ids := d.subjects(o, relation); len(ids) == 1 {
		return ids[0]
	}
	return ""
}

func textOf(document value.Map, name string) string {
	text, _ := document[name].(string)
	return text
}

func isSet(document value.Map, name string) bool {
	is, _ := document[name].(bool)
	return is
}

func (d *decoder) organisation(from *encoded) *Organisation {
	o := &Organisation{}
	ids := from.entities[typeOrg]
	if len(ids) != 1 {
		d.fault("there are %d organisations in the store, not one", len(ids))
		return o
	}
	head := d.head(ids[0])
	o.ID, o.Name, o.SuperAdmin, o.Settings = head.ID, head.Name, head.SuperAdmin, head.Settings
	org := head.Key()
	for _, id := range from.entities[typeUser] {
		o.Seats = append(o.Seats, *d.seat(org, id))
	}
	for _, id := range from.entities[typeRole] {
		o.Roles = append(o.Roles, *d.role(id))
	}
	profiles := from.entities[typeProfile]
	for _, id := range profiles {
		o.Profiles = append(o.Profiles, *d.profile(org, id))
	}
	modules := from.entities[typeModule]
	for _, id := range modules {
		o.Modules = append(o.Modules, *d.module(id))
	}
	for _, id := range from.entities[typeField] {
		o.Fields = append(o.Fields, *d.field(id, func() []string { return profiles }))
	}
	for _, id := range from.entities[typeGroup] {
		o.Groups = append(o.Groups, *d.group(id))
	}
	for _, id := range from.entities[typeTeam] {
		o.Teams = append(o.Teams, *d.team(id))
	}
	for _, id := range from.entities[typeRule] {
		o.Rules = append(o.Rules, *d.rule(id, modules))
	}
	for _, id := range from.entities[typeShift] {
		o.Shifts = append(o.Shifts, *d.shift(id))
	}
	for _, m := range modules {
		for _, id := range from.entities[m] {
			o.Records = append(o.Records, *d.record(m, id))
		}
	}
	return o
}
