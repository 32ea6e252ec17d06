package crm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/graph/value"
)

// ErrForeign occurs if a view holds what no valid organisation is encoded as: something
// else has written to it.
var ErrForeign = errors.New("not the encoding of an organisation")

// Decode reads the organisation that a view holds, in its canonical order. The plan is
// that of the model in use. It reads everything, and its memory is that of the
// organisation several times over: it is for exporting and for checking, not for changes.
//
// A view that Encode does not give again, tuple by tuple and document by document, is
// ErrForeign. Claims of names that nothing bears cannot be seen, for a view does not list
// documents. Other errors are those of the view.
func Decode(v graph.Scanner, p *model.Plan) (*Organisation, error) {
	e, err := read(v, p)
	if err != nil {
		return nil, err
	}
	from := newEncoded(e)
	d := decoder{source: from}
	o := d.organisation(from)
	if err := d.err(); err != nil {
		return nil, err
	}
	o.Sort()
	if err := o.Validate(Limits{}); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForeign, err)
	}
	again := Encode(o)
	for i := range again.Documents {
		if name := again.Documents[i].Entity; name.Type == typeName {
			claim, found, err := document(v, p, name)
			if err != nil {
				return nil, err
			}
			if found {
				e.Documents = append(e.Documents, claim)
			}
		}
	}
	e.sort()
	if c := Difference(e, again); !c.Empty() {
		return nil, foreign("%s", c.first())
	}
	return o, nil
}

func foreign(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrForeign, fmt.Sprintf(format, args...))
}

// first shows one of the changes that would make a view an encoding.
func (c Changes) first() string {
	switch {
	case len(c.Delete) > 0:
		return "tuple " + c.Delete[0].String() + " does not belong there"
	case len(c.Put) > 0:
		return "tuple " + c.Put[0].String() + " is missing or another"
	case len(c.DeleteDocuments) > 0:
		return "the document of " + c.DeleteDocuments[0].String() + " does not belong there"
	case len(c.PutDocuments) > 0:
		return "the document of " + c.PutDocuments[0].Entity.String() + " is missing or another"
	default:
		return "nothing"
	}
}

// read gathers the tuples of a view, and the documents of the entities that they name.
func read(v graph.Scanner, p *model.Plan) (Encoding, error) {
	r := scan{view: v, plan: p, names: map[graph.ID]graph.ObjectName{}}
	var c graph.RowCursor
	for !c.Done {
		if err := v.Rows(&c); err != nil {
			return Encoding{}, err
		}
		for i := range c.Rows {
			if err := r.row(&c.Rows[i]); err != nil {
				return Encoding{}, err
			}
		}
	}
	r.e.sort()
	return r.e, nil
}

// A scan is a view on its way to an encoding.
type scan struct {
	view  graph.Scanner
	plan  *model.Plan
	names map[graph.ID]graph.ObjectName
	e     Encoding
}

func (r *scan) row(row *graph.Row) error {
	object, err := r.name(row.Userset.Object)
	if err != nil {
		return err
	}
	relation := r.plan.Relation(row.Userset.Relation)
	if relation == nil {
		return foreign("%s has a tuple of a relation that the model does not have", object)
	}
	to, err := r.name(row.Edge.Subject.ID)
	if err != nil {
		return err
	}
	t := graph.Tuple{Object: object, Relation: relation.Name, Subject: subject(to)}
	if err := complete(&t, r.plan, &row.Edge); err != nil {
		return err
	}
	r.e.Tuples = append(r.e.Tuples, t)
	return nil
}

// complete adds what an edge says of a tuple apart from its ends.
func complete(t *graph.Tuple, p *model.Plan, e *graph.Edge) error {
	if id := e.Subject.Relation; id != 0 {
		of := p.Relation(id)
		if of == nil {
			return foreign("%s has a subject whose relation the model does not have", t)
		}
		t.Subject.Relation = of.Name
	}
	if id := e.Condition; id != 0 {
		c := p.Condition(id)
		if c == nil {
			return foreign("%s has a condition that the model does not have", t)
		}
		t.Condition = c.Name()
		if e.Context != nil {
			t.Context = e.Context.Fields()
		}
	}
	if e.Expires != 0 {
		t.Expires = time.UnixMilli(e.Expires).UTC()
	}
	return nil
}

// name names an entity, and gathers its document when it is seen first.
func (r *scan) name(id graph.ID) (graph.ObjectName, error) {
	if name, ok := r.names[id]; ok {
		return name, nil
	}
	typ := r.plan.TypeByID(id.Type())
	if typ == nil {
		return graph.ObjectName{}, foreign("there is an entity of a type that the model does not have")
	}
	text, err := r.view.Name(id)
	if err != nil {
		return graph.ObjectName{}, err
	}
	name := graph.ObjectName{Type: typ.Name, ID: text}
	r.names[id] = name
	if id.IsWildcard() {
		return name, nil
	}
	d, found, err := r.view.Document(id)
	if err != nil {
		return name, err
	}
	if found {
		r.e.Documents = append(r.e.Documents, Document{Entity: name, Fields: d.Fields})
	}
	return name, nil
}

// document finds the document of an entity by name.
func document(v graph.View, p *model.Plan, name graph.ObjectName) (Document, bool, error) {
	typ, ok := p.Type(name.Type)
	if !ok {
		return Document{}, false, nil
	}
	id, ok, err := v.Lookup(typ.ID, name.ID)
	if !ok || err != nil {
		return Document{}, false, err
	}
	d, ok, err := v.Document(id)
	return Document{Entity: name, Fields: d.Fields}, ok, err
}

// A source is what entities are read from. What it does not have is nothing, not an error.
type source interface {
	// document is the attributes of an entity, nil if it has none.
	document(o graph.ObjectName) (value.Map, error)

	// tuples are those of an entity's relation, incoming those of a type's relation that
	// name the subject, both in the order of their other ends.
	tuples(o graph.ObjectName, relation string) ([]graph.Tuple, error)
	incoming(typ, relation string, s graph.SubjectName) ([]graph.Tuple, error)
}

// An endpoint is a relation of an entity.
type endpoint struct {
	entity   graph.ObjectName
	relation string
}

// A grant is a relation of a type to a subject.
type grant struct {
	typ, relation string
	subject       graph.SubjectName
}

// An encoded is a source in maps.
type encoded struct {
	outgoing  map[endpoint][]graph.Tuple
	granted   map[grant][]graph.Tuple
	entities  map[string][]string // ids by type, sorted
	documents map[graph.ObjectName]value.Map
}

func newEncoded(e Encoding) *encoded {
	m := &encoded{
		outgoing:  map[endpoint][]graph.Tuple{},
		granted:   map[grant][]graph.Tuple{},
		entities:  map[string][]string{},
		documents: map[graph.ObjectName]value.Map{},
	}
	for _, t := range e.Tuples {
		from, to := endpoint{t.Object, t.Relation}, grant{t.Object.Type, t.Relation, t.Subject}
		m.outgoing[from] = append(m.outgoing[from], t)
		m.granted[to] = append(m.granted[to], t)
	}
	for _, doc := range e.Documents {
		m.documents[doc.Entity] = doc.Fields
		m.entities[doc.Entity.Type] = append(m.entities[doc.Entity.Type], doc.Entity.ID)
	}
	return m
}

func (m *encoded) document(o graph.ObjectName) (value.Map, error) { return m.documents[o], nil }

func (m *encoded) tuples(o graph.ObjectName, relation string) ([]graph.Tuple, error) {
	return m.outgoing[endpoint{o, relation}], nil
}

func (m *encoded) incoming(typ, relation string, s graph.SubjectName) ([]graph.Tuple, error) {
	return m.granted[grant{typ, relation, s}], nil
}

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

func (d *decoder) head(id string) *Head {
	org := entity(typeOrg, id)
	document := d.document(org)
	h := &Head{ID: id, Name: textOf(document, attrName), SuperAdmin: d.only(org, relSuperAdmin)}
	h.Settings = Settings{
		NonReportingByRole: d.has(org, relNonReportingByRole),
		AddingNeedsEdit:    !d.has(org, relViewersAdd),
		KeepShares:         isSet(document, attrKeepShares),
		LoginHours:         isSet(document, attrLoginHours),
	}
	s := &h.Settings
	if most, ok := document[attrMaxShifts].(int64); ok {
		s.MaxShifts = int(most)
	}
	if d.has(org, relReportMode) {
		s.Hierarchy = ByReporting
	}
	s.Assign = AssignScope(max(0, slices.Index(assignNames[:], textOf(document, attrAssign))))
	if m, ok := document[attrBusinessHours].(value.Map); ok {
		fields, _ := m[attrWeek].(value.Map)
		w, err := weekFrom(fields)
		if err != nil {
			d.fault("business hours of %s: %v", org, err)
		}
		first, _ := m[attrFirstDay].(string)
		s.BusinessHours = &BusinessHours{
			FirstDay: time.Weekday(max(0, slices.Index(weekdays[:], first))), Week: w,
		}
	}
	return h
}

func (d *decoder) seat(org graph.ObjectName, id string) *Seat {
	user := entity(typeUser, id)
	document := d.document(user)
	s := &Seat{
		ID:           id,
		Name:         textOf(document, attrName),
		Login:        textOf(document, attrLogin),
		Suspended:    slices.Contains(d.objects(typeOrg, relSuspended, subject(user)), org.ID),
		Role:         d.only(user, relRole),
		Profiles:     d.objects(typeProfile, relAssignee, subject(user)),
		Manager:      d.only(user, relManager),
		NonReporting: d.has(user, relNonReporting),
	}
	for _, t := range d.incoming(typeShift, relAssigned, subject(user)) {
		for _, p := range d.periods(t) {
			s.Shifts = append(s.Shifts, Assignment{Shift: t.Object.ID, Period: p})
		}
	}
	for _, t := range d.incoming(typeOrg, relOnLeave, subject(user)) {
		s.Leave = append(s.Leave, d.periods(t)...)
	}
	return s
}

func (d *decoder) periods(t graph.Tuple) []Period {
	turns, _ := t.Context[parameterTurns].(value.List)
	var list []Period
	for i, turn := range turns {
		text, _ := turn.(string)
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			d.fault("%s: turn %d: %v", t, i, err)
			return nil
		}
		if i%2 == 0 {
			list = append(list, Period{From: at.UTC()})
		} else {
			list[len(list)-1].Until = at.UTC()
		}
	}
	return list
}

func (d *decoder) role(id string) *Role {
	role := entity(typeRole, id)
	r := &Role{
		ID: id, Name: textOf(d.document(role), attrName), Parent: d.only(role, relParent),
		ForecastManagers: d.subjects(role, relForecastManager),
	}
	r.Peers = d.level(role, peersRelation[:])
	return r
}

// level finds the level whose relation is written.
func (d *decoder) level(o graph.ObjectName, relations []string) Level {
	for l, relation := range relations {
		if relation != "" && d.has(o, relation) {
			return Level(l)
		}
	}
	return LevelNone
}

// assignees is the holders of a profile, to whom permissions are granted.
func assignees(profile string) graph.SubjectName {
	return graph.SubjectName{Type: typeProfile, ID: profile, Relation: relAssignee}
}

func (d *decoder) profile(org graph.ObjectName, id string) *Profile {
	profile := entity(typeProfile, id)
	document := d.document(profile)
	p := &Profile{
		ID: id, Name: textOf(document, attrName), Gated: isSet(document, attrGated),
		Administrator: slices.Contains(d.objects(typeOrg, relAdminProfile, subject(profile)), org.ID),
	}
	for _, b := range permissionRelations {
		for _, m := range d.objects(typeModule, b.relation, assignees(id)) {
			if p.Modules == nil {
				p.Modules = map[string]Permissions{}
			}
			p.Modules[m] |= b.bit
		}
	}
	for _, t := range d.objects(typeTool, relHolder, assignees(id)) {
		p.Tools = append(p.Tools, Tool(t))
	}
	for _, s := range d.objects(typeSetup, relHolder, assignees(id)) {
		p.Setup = append(p.Setup, Setup(s))
	}
	return p
}

func (d *decoder) module(id string) *Module {
	module := entity(typeModule, id)
	document := d.document(module)
	m := &Module{
		ID: id, Name: textOf(document, attrName), Kind: ModuleKind(textOf(document, attrKind)),
		Default: d.level(module, defaultRelation[:]), NoHierarchy: d.has(module, relNoHier),
	}
	parents, _ := document[attrParents].(value.List)
	for _, p := range parents {
		text, _ := p.(string)
		m.Parents = append(m.Parents, text)
	}
	return m
}

// field asks for the ids of all profiles only if the field is restricted: what a profile
// may not even read says nothing of it.
func (d *decoder) field(key string, profiles func() []string) *Field {
	field := entity(typeField, key)
	module, id, _ := strings.Cut(key, ".")
	document := d.document(field)
	f := &Field{Module: module, ID: id, Name: textOf(document, attrName), Mandatory: isSet(document, attrMandatory)}
	if d.has(field, relOpen) {
		return f
	}
	readers, writers := d.subjects(field, relReader), d.subjects(field, relWriter)
	f.Levels = map[string]FieldLevel{}
	for _, p := range profiles() {
		switch {
		case slices.Contains(writers, p):
		case slices.Contains(readers, p):
			f.Levels[p] = FieldRead
		default:
			f.Levels[p] = FieldHidden
		}
	}
	return f
}

func (d *decoder) group(id string) *Group {
	group := entity(typeGroup, id)
	g := &Group{ID: id, Name: textOf(d.document(group), attrName)}
	for kind, r := range memberRelations {
		if r.relation == "" {
			continue
		}
		for _, m := range d.subjects(group, r.relation) {
			g.Members = append(g.Members, Party{Kind: PartyKind(kind), ID: m})
		}
	}
	return g
}

func (d *decoder) team(id string) *Team {
	team := entity(typeTeam, id)
	return &Team{
		ID: id, Name: textOf(d.document(team), attrName),
		Managers: d.subjects(team, relManager), Members: d.subjects(team, relMember),
	}
}

func (d *decoder) rule(id string, modules []string) *Rule {
	rule := entity(typeRule, id)
	r := &Rule{
		ID: id, Name: textOf(d.document(rule), attrName), Level: LevelView,
		Superiors: d.has(rule, relSuperiors), Disabled: !d.has(rule, relEnabled),
	}
	if d.has(rule, relReadWrite) {
		r.Level = LevelEdit
	}
	if d.has(rule, relDeletes) {
		r.Level = LevelDelete
	}
	for _, m := range modules {
		for kind, s := range ruleRelations {
			if s.source == "" {
				continue
			}
			for _, source := range d.objects(s.typ, m+s.source, subject(rule)) {
				r.Module, r.Source = m, Party{Kind: PartyKind(kind), ID: source}
			}
		}
	}
	if d.has(rule, relTargetAll) {
		r.Target = Party{Kind: Everyone}
	}
	for kind, s := range ruleRelations {
		if s.target == "" {
			continue
		}
		for _, target := range d.subjects(rule, s.target) {
			r.Target = Party{Kind: PartyKind(kind), ID: target}
		}
	}
	return r
}

func (d *decoder) shift(id string) *Shift {
	shift := entity(typeShift, id)
	s := &Shift{ID: id, Name: textOf(d.document(shift), attrName)}
	for _, t := range d.tuples(shift, relOpen) {
		fields, _ := t.Context[parameterSchedule].(value.Map)
		hours, err := hoursFrom(fields)
		if err != nil {
			d.fault("%s: %v", t, err)
		}
		s.Hours = hours
	}
	return s
}

// record needs not know the kind of the module: records have an owner or an author, and no
// type has both relations.
func (d *decoder) record(module, id string) *Record {
	record := entity(module, id)
	document := d.document(record)
	r := &Record{Module: module, ID: id, Owner: d.only(record, relOwner)}
	if r.Owner == "" {
		r.Owner = d.only(record, relAuthor)
	}
	for _, t := range d.tuples(record, relParent) {
		r.Parents = append(r.Parents, Ref{Module: t.Subject.Type, ID: t.Subject.ID})
	}
	switch {
	case d.has(record, relSecret):
		r.Confidentiality = Secret
	case d.has(record, relRestricted):
		r.Confidentiality = Restricted
	}
	r.Fields, _ = document[attrFields].(value.Map)
	notes, _ := document[attrShares].(value.Map)
	for _, relation := range shareRelations {
		shared := d.tuples(record, relation.share)
		if len(shared) == 0 {
			continue
		}
		related := d.tuples(record, relation.related)
		for _, t := range shared {
			to, ok := party(t.Subject)
			if !ok {
				d.fault("%s: nobody can be shared with like this", t)
				continue
			}
			s := Share{To: to, Level: relation.level, Expires: t.Expires}
			s.Related = slices.ContainsFunc(related, func(o graph.Tuple) bool { return o.Subject == t.Subject })
			note, _ := notes[t.Subject.String()].(value.Map)
			s.Reason, _ = note[attrReason].(string)
			s.GrantedBy, _ = note[attrGrantedBy].(string)
			r.Shares = append(r.Shares, s)
		}
	}
	return r
}

// party is what Party.subject was made of.
func party(s graph.SubjectName) (Party, bool) {
	switch {
	case s == everyUser:
		return Party{Kind: Everyone}, true
	case s.Type == typeUser && s.Relation == "":
		return Party{Kind: User, ID: s.ID}, true
	case s.Type == typeRole && s.Relation == relHolder:
		return Party{Kind: HoldersOf, ID: s.ID}, true
	case s.Type == typeRole && s.Relation == relSubtree:
		return Party{Kind: RoleAndSubordinates, ID: s.ID}, true
	case s.Type == typeGroup && s.Relation == relMember:
		return Party{Kind: MembersOf, ID: s.ID}, true
	default:
		return Party{}, false
	}
}
