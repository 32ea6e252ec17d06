package orgfile

import (
	"slices"
	"strings"

	"github.com/remit-authz/remit/cmd/remit/yamlfile"
	"github.com/remit-authz/remit/graph/crm"
)

// A judge holds tests against the organisation that they are about. What does not exist is
// a fault: a test that somebody may not do something would pass for a name that is
// misspelt.
type judge struct {
	*yamlfile.Reader
	o       *crm.Organisation
	modules map[string]*crm.Module
	known   map[string]bool // keys as text
}

func (f *File) judge(r *yamlfile.Reader, t *Test) {
	j := &judge{Reader: r, o: f.OrganisationOf(t), modules: map[string]*crm.Module{}, known: map[string]bool{}}
	for e := range j.o.Entities() {
		j.known[e.Key().String()] = true
	}
	for i := range j.o.Modules {
		j.modules[j.o.Modules[i].ID] = &j.o.Modules[i]
	}
	for i := range t.Can {
		j.can(&t.Can[i])
	}
	for i := range t.Lists {
		l := &t.Lists[i]
		j.exist("user", l.Users)
		j.exist("module", []Name{l.Module})
		j.exist(l.Module.Text, l.Records)
	}
	for i := range t.Who {
		j.exist("user", t.Who[i].Users)
		j.records(t.Who[i].Records)
	}
	for i := range t.Fields {
		c := &t.Fields[i]
		j.exist("user", c.Users)
		for _, r := range j.records(c.Records) {
			j.fields(r.Module, c.Read)
			j.fields(r.Module, c.Write)
		}
	}
	for i := range t.Duties {
		d := &t.Duties[i]
		j.exist("user", d.Users)
		if d.Shift.Text != "" {
			j.exist("shift", []Name{d.Shift})
		}
	}
}

// exist wants entities of a type to be there.
func (j *judge) exist(typ string, names []Name) {
	for _, n := range names {
		if !j.known[typ+":"+n.Text] {
			j.Faultf(n.Place, "%s:%s does not exist", typ, n.Text)
		}
	}
}

// records are those that are there.
func (j *judge) records(names []Name) []crm.Ref {
	var refs []crm.Ref
	for _, n := range names {
		ref, err := crm.ParseRef(n.Text)
		if err != nil || j.modules[ref.Module] == nil || !j.known[n.Text] {
			j.Faultf(n.Place, "there is no record %q; one is written as its module and its id, deal:d1", n.Text)
			continue
		}
		refs = append(refs, ref)
	}
	return refs
}

func (j *judge) fields(module string, names []Name) {
	for _, n := range names {
		if !j.known["field:"+module+"."+n.Text] {
			j.Faultf(n.Place, "field:%s.%s does not exist", module, n.Text)
		}
	}
}

func (j *judge) can(c *Can) {
	j.exist("user", c.Users)
	asked := slices.Concat(c.May, c.MayNot)
	switch {
	case c.Records != nil:
		for _, r := range j.records(c.Records) {
			j.actions(asked, "done to "+r.String(), j.recordActions(r.Module))
		}
	case c.Module.Text != "":
		j.exist("module", []Name{c.Module})
		j.actions(asked, "done in a module", []string{crm.ActionCreate})
	default:
		var known []string
		for _, t := range crm.AllTools() {
			known = append(known, string(t))
		}
		for _, s := range crm.AllSetup() {
			known = append(known, string(s))
		}
		j.actions(asked, "done without a record or a module", known)
	}
}

func (j *judge) recordActions(module string) []string {
	known := append(slices.Clone(listActions), string(crm.ActionExport))
	for i := range j.o.Modules {
		if m := &j.o.Modules[i]; m.Kind == crm.Child && slices.Contains(m.Parents, module) {
			known = append(known, string(crm.Add(m.ID)))
		}
	}
	return known
}

func (j *judge) actions(asked []Name, where string, known []string) {
	for _, n := range asked {
		if !slices.Contains(known, n.Text) {
			j.Faultf(n.Place, "%q is nothing that is %s; there are %s", n.Text, where, strings.Join(known, ", "))
		}
	}
}
