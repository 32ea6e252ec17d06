package orgfile

import (
	"slices"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/remit-authz/remit/cmd/remit/yamlfile"
	"github.com/remit-authz/remit/graph/crm"
)

// A Test is one entry of tests: what is to be true of the organisation, or of the
// organisation after a change.
type Test struct {
	Name        string
	Description string
	Place       yamlfile.Place

	Can    []Can
	Lists  []List
	Who    []Who
	Fields []CanFields
	Duties []OnDuty

	changed *changed // nil without a change
}

// A changed organisation is that of the file as a test changes it.
type changed struct {
	organisation *crm.Organisation
	places       map[string]yamlfile.Place
}

// A Name is a word of a test and where it stands.
type Name struct {
	Text  string
	Place yamlfile.Place
}

// A Can says what every one of Users may do, and may not do, to every one of Records; in a
// module, if there is none; in the organisation, if there is no module either.
type Can struct {
	Place   yamlfile.Place
	At      time.Time // zero: when the test runs
	Users   []Name
	Records []Name
	Module  Name
	May     []Name
	MayNot  []Name
}

// A List says which records of a module every one of Users may do something to.
type List struct {
	Place   yamlfile.Place
	At      time.Time
	Users   []Name
	Module  Name
	Action  Name
	Records []Name // ids within the module
}

// A Who says which users may do something to every one of Records.
type Who struct {
	Place   yamlfile.Place
	At      time.Time
	Records []Name
	Action  Name
	Users   []Name
}

// A CanFields says which fields of every one of Records every one of Users may read, and
// which write. Nil says nothing.
type CanFields struct {
	Place   yamlfile.Place
	At      time.Time
	Users   []Name
	Records []Name
	Read    []Name
	Write   []Name
}

// An OnDuty says who works a shift, or any shift if it names none.
type OnDuty struct {
	Place yamlfile.Place
	At    time.Time
	Shift Name
	Users []Name
}

// OrganisationOf is the organisation that a test of the file is about: as the test changes
// it, if it does.
func (f *File) OrganisationOf(t *Test) *crm.Organisation {
	if t.changed != nil {
		return t.changed.organisation
	}
	return f.Organisation
}

func (p *parser) tests(file *File, n *yaml.Node) {
	for _, element := range p.list(n, testsKey) {
		file.Tests = append(file.Tests, p.test(file, element))
	}
}

func (p *parser) test(file *File, n *yaml.Node) Test {
	t := Test{Place: p.at(n)}
	var at time.Time
	p.keys(n, "a test", false,
		p.textKey("name", &t.Name).needed(),
		p.textKey("description", &t.Description),
		p.instantKey("at", &at),
		key{name: "change", read: func(n *yaml.Node, _ string) { t.changed = p.change(file.Organisation, n) }},
		each(p, "can", &t.Can, p.can),
		each(p, "list", &t.Lists, p.lists),
		each(p, "who", &t.Who, p.who),
		each(p, "fields", &t.Fields, p.canFields),
		each(p, "on_duty", &t.Duties, p.onDuty),
	)
	for i := range t.Can {
		inherit(&t.Can[i].At, at)
	}
	for i := range t.Lists {
		inherit(&t.Lists[i].At, at)
	}
	for i := range t.Who {
		inherit(&t.Who[i].At, at)
	}
	for i := range t.Fields {
		inherit(&t.Fields[i].At, at)
	}
	for i := range t.Duties {
		inherit(&t.Duties[i].At, at)
	}
	return t
}

// inherit is the instant of the test where a question has none.
func inherit(at *time.Time, test time.Time) {
	if at.IsZero() {
		*at = test
	}
}

// each reads a list of questions.
func each[T any](p *parser, name string, to *[]T, read func(*yaml.Node) T) key {
	return key{name: name, read: func(n *yaml.Node, what string) {
		for _, element := range p.list(n, what) {
			*to = append(*to, read(element))
		}
	}}
}

// change reads sections that change an organisation.
func (p *parser) change(base *crm.Organisation, n *yaml.Node) *changed {
	q := p.inside()
	o := *base
	for _, e := range q.mapping(n, "change") {
		if !slices.Contains(sectionNames(), e.Key) {
			q.unknown(e, "change", sectionNames())
			continue
		}
		q.section(Section(e.Key), e.Value, &o)
	}
	return &changed{organisation: &o, places: q.places}
}

func (p *parser) name(n *yaml.Node, what string) Name {
	return Name{Text: p.text(n, what), Place: p.at(n)}
}

func (p *parser) nameKey(name string, to *Name) key {
	return key{name: name, read: func(n *yaml.Node, what string) { *to = p.name(n, what) }}
}

// namesKey is a list of names, which may have none.
func (p *parser) namesKey(name string, to *[]Name) key {
	return key{name: name, read: func(n *yaml.Node, what string) {
		*to = []Name{}
		for _, element := range p.list(n, what) {
			*to = append(*to, p.name(element, "an entry of "+what))
		}
	}}
}

// someKey is a name or a list of them.
func (p *parser) someKey(name string, to *[]Name) key {
	return key{name: name, read: func(n *yaml.Node, what string) {
		if isText(n) {
			*to = []Name{p.name(n, what)}
			return
		}
		if yamlfile.Follow(n).Kind != yaml.SequenceNode {
			p.Faultf(p.at(n), "%s must be a text or a list of them, not %s", what, kind(n))
			return
		}
		p.namesKey(name, to).read(n, what)
		if len(*to) == 0 {
			p.Faultf(p.at(n), "%s is an empty list, and so nothing is asked", what)
		}
	}}
}

// oneOf wants one of some keys to be there.
func (p *parser) oneOf(n *yaml.Node, what string, faults int, names string, there ...bool) {
	if len(p.Faults) == faults && !slices.Contains(there, true) {
		p.Faultf(p.at(n), "%s needs %s", what, names)
	}
}

func (p *parser) can(n *yaml.Node) Can {
	c := Can{Place: p.at(n)}
	faults := len(p.Faults)
	p.keys(n, "an entry of can", false,
		p.someKey("user", &c.Users).needed(),
		p.someKey("record", &c.Records),
		p.nameKey("module", &c.Module),
		p.someKey("may", &c.May),
		p.someKey("may_not", &c.MayNot),
		p.instantKey("at", &c.At),
	)
	p.oneOf(n, "an entry of can", faults, "may or may_not", c.May != nil, c.MayNot != nil)
	if c.Records != nil && c.Module.Text != "" {
		p.Faultf(c.Module.Place, "an entry of can has either record or module, not both")
	}
	return c
}

// listActions are what lists can be asked for.
var listActions = []string{
	string(crm.ActionView), string(crm.ActionEdit), string(crm.ActionDelete), string(crm.ActionShare), string(crm.ActionTransfer),
}

// actionKey is what is asked about, by default viewing.
func (p *parser) actionKey(to *Name) key {
	to.Text = string(crm.ActionView)
	return key{name: "action", read: func(n *yaml.Node, what string) {
		*to = Name{Place: p.at(n), Text: choice(p, n, what, func(text string) (string, bool) {
			return text, slices.Contains(listActions, text)
		}, listActions)}
	}}
}

func (p *parser) lists(n *yaml.Node) List {
	l := List{Place: p.at(n)}
	p.keys(n, "an entry of list", false,
		p.someKey("user", &l.Users).needed(),
		p.nameKey("module", &l.Module).needed(),
		p.actionKey(&l.Action),
		p.namesKey("records", &l.Records).needed(),
		p.instantKey("at", &l.At),
	)
	return l
}

func (p *parser) who(n *yaml.Node) Who {
	w := Who{Place: p.at(n)}
	p.keys(n, "an entry of who", false,
		p.someKey("record", &w.Records).needed(),
		p.actionKey(&w.Action),
		p.namesKey("users", &w.Users).needed(),
		p.instantKey("at", &w.At),
	)
	return w
}

func (p *parser) canFields(n *yaml.Node) CanFields {
	f := CanFields{Place: p.at(n)}
	faults := len(p.Faults)
	p.keys(n, "an entry of fields", false,
		p.someKey("user", &f.Users).needed(),
		p.someKey("record", &f.Records).needed(),
		p.namesKey("read", &f.Read),
		p.namesKey("write", &f.Write),
		p.instantKey("at", &f.At),
	)
	p.oneOf(n, "an entry of fields", faults, "read or write", f.Read != nil, f.Write != nil)
	return f
}

func (p *parser) onDuty(n *yaml.Node) OnDuty {
	d := OnDuty{Place: p.at(n)}
	p.keys(n, "an entry of on_duty", false,
		p.nameKey("shift", &d.Shift),
		p.namesKey("users", &d.Users).needed(),
		p.instantKey("at", &d.At),
	)
	return d
}
