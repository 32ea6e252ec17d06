package crm

import (
	"fmt"
	"slices"
	"strings"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// Deeds are what can be done in an organisation, and which relations decide it, as one
// version of the model says. They are immutable and safe for concurrent use.
type Deeds struct {
	User, Org, Tool, Setup, Module, Field, Shift *model.Type

	// Member is the relation of Org that whoever does anything has: an active seat, inside
	// the hours that are enforced. Superior is one of User: those who are above it.
	Member, Admin, SuperAdmin, Superior *model.Relation

	// CanRead and CanWrite are what profiles allow with a field. FieldModule is the relation
	// by which a field belongs to a module.
	CanRead, CanWrite, FieldModule *model.Relation

	// Seat is the relation of Org that whoever has a seat has, and Suspended the one of who may
	// do nothing.
	Seat, Suspended *model.Relation

	create, toolAllowed, setupAllowed *model.Relation
	moduleMember                      *model.Relation
	toolOrg                           *model.Relation
	permissions                       []permitted // of a module

	roster, assigned, open, onLeave *model.Relation

	structure []*model.Type // whose relations no record decides

	modules map[string]*moduleDeeds
	names   []string // of the modules, sorted
	adds    []string // the actions of adding to a record, sorted
}

// A permitted is a permission of a module and the relation that carries it.
type permitted struct {
	name     string
	relation *model.Relation
}

// moduleDeeds are the deeds that are done to the records of one module.
type moduleDeeds struct {
	record  *model.Type
	actions []Action // what may be possible at all, in the order in which it is shown
	decided map[Action]*Listing
}

// A Demand is what somebody must have to be allowed a deed. The zero Demand is that of a
// deed that nobody is allowed.
type Demand struct {
	// Relation is what the user must have to the object of that id, which is of the
	// relation's type.
	Relation *model.Relation
	ID       string

	// Also is what the user must have besides, to a tool or to a field; nil if nothing.
	Also   *model.Relation
	AlsoID string
}

// A Listing is what decides an action on all records of a module. The zero Listing is that
// of an action that nobody is allowed.
type Listing struct {
	// Whole is the relation that decides the action. Whoever has it to a record has Reach to
	// it, and Module to the record's module; and the other way round.
	Whole, Reach *model.Relation
	Module       []*model.Relation

	// Tool must be allowed besides; empty if none.
	Tool Tool
}

// A DeedError says which part of a question nobody could answer, and what would be right.
type DeedError struct {
	Part    string // action, on, field or module
	Text    string // as it was asked
	Reason  string
	Allowed []string // what may stand there instead; may be empty
}

// Error implements error.
func (e *DeedError) Error() string {
	const most = 100
	text := fmt.Sprintf("%.80q: %s", e.Text, e.Reason)
	if n := len(e.Allowed); n > most {
		return fmt.Sprintf("%s: %s and %d more", text, strings.Join(e.Allowed[:most], ", "), n-most)
	} else if n > 0 {
		return text + ": " + strings.Join(e.Allowed, ", ")
	}
	return text
}

// DeedsOf finds the deeds of a model. It is false if the model is not that of an
// organisation.
func DeedsOf(p *model.Plan) (*Deeds, bool) {
	f := finder{plan: p}
	d := &Deeds{
		User: f.typ(typeUser), Org: f.typ(typeOrg), Tool: f.typ(typeTool), Setup: f.typ(typeSetup),
		Module: f.typ(typeModule), Field: f.typ(typeField), Shift: f.typ(typeShift),
		modules: map[string]*moduleDeeds{},
	}
	d.structure = []*model.Type{d.Org, f.typ(typeRole), f.typ(typeGroup), f.typ(typeRule), d.Module, d.Tool, d.Setup, d.Field}
	if f.missing {
		return nil, false
	}
	d.Member, d.Admin, d.SuperAdmin = f.relation(d.Org, relMember), f.relation(d.Org, "admin"), f.relation(d.Org, relSuperAdmin)
	d.Superior = f.relation(d.User, "superior")
	d.Seat, d.Suspended = f.relation(d.Org, relSeat), f.relation(d.Org, relSuspended)
	d.CanRead, d.CanWrite, d.FieldModule = f.relation(d.Field, "can_read"), f.relation(d.Field, "can_write"), f.relation(d.Field, relModule)
	d.create, d.moduleMember = f.relation(d.Module, "can_create"), f.relation(d.Module, relMember)
	d.toolAllowed, d.setupAllowed, d.toolOrg = f.relation(d.Tool, "allowed"), f.relation(d.Setup, "allowed"), f.relation(d.Tool, relOrg)
	d.roster, d.onLeave = f.relation(d.Org, relRoster), f.relation(d.Org, relOnLeave)
	d.assigned, d.open = f.relation(d.Shift, relAssigned), f.relation(d.Shift, relOpen)
	for _, b := range permissionRelations {
		d.permissions = append(d.permissions, permitted{strings.TrimPrefix(b.relation, "p_"), f.relation(d.Module, b.relation)})
	}
	for _, t := range p.Types() {
		if !reserved[t.Name] {
			d.names = append(d.names, t.Name)
			d.modules[t.Name] = d.ofType(t)
		}
	}
	slices.Sort(d.names)
	slices.Sort(d.adds)
	d.adds = slices.Compact(d.adds)
	return d, !f.missing
}

// Structure are the relations that questions about records come upon again and again, and
// that no record decides: what roles, groups, rules, profiles and the organisation itself
// give. They are worth a graph.Cache.
func (d *Deeds) Structure() []*model.Relation {
	var some []*model.Relation
	for _, t := range d.structure {
		for _, r := range t.Relations {
			if r.Rewrite.Op != model.OpDirect || slices.ContainsFunc(r.Allowed, func(a model.Restriction) bool { return a.Relation != nil }) {
				some = append(some, r)
			}
		}
	}
	return some
}

// What is asked of no record and no module.
var (
	tools   = AllTools()
	setups  = AllSetup()
	general = generalWords()
)

func generalWords() []string {
	var words []string
	for _, t := range tools {
		words = append(words, string(t))
	}
	for _, s := range setups {
		words = append(words, string(s))
	}
	return words
}

// FieldID is the id of a field in the model: deal.iban. A module's id contains no dot.
func FieldID(module, field string) string { return module + "." + field }

// A finder finds names in a plan, and remembers whether one was missing.
type finder struct {
	plan    *model.Plan
	missing bool
}

func (f *finder) typ(name string) *model.Type {
	t, ok := f.plan.Type(name)
	f.missing = f.missing || !ok
	return t
}

func (f *finder) relation(t *model.Type, name string) *model.Relation {
	r, ok := t.Relation(name)
	f.missing = f.missing || !ok
	return r
}

func (d *Deeds) ofType(t *model.Type) *moduleDeeds {
	m := &moduleDeeds{record: t, decided: map[Action]*Listing{}}
	for _, a := range Actions() {
		m.add(a)
	}
	if view := m.decided[ActionView]; view != nil {
		export := *view
		export.Tool = ToolExport
		m.actions = append(m.actions, ActionExport)
		m.decided[ActionExport] = &export
	}
	for _, r := range t.Relations {
		if name, ok := strings.CutPrefix(r.Name, "can_"); ok && strings.HasPrefix(name, prefixAdd) {
			m.add(Action(name))
			d.adds = append(d.adds, name)
		}
	}
	return m
}

// add notes an action, if the model lets anybody do it.
func (m *moduleDeeds) add(a Action) {
	r, ok := m.record.Relation(a.Relation())
	if !ok {
		return
	}
	m.actions = append(m.actions, a)
	m.decided[a] = listing(r)
}

// listing takes a relation apart: into what is about the record, and what is about its
// module alone.
func listing(r *model.Relation) *Listing {
	l := &Listing{Whole: r}
	if r.Rewrite.Op != model.OpIntersection {
		l.Reach = r
		return l
	}
	for _, child := range r.Rewrite.Children {
		switch {
		case child.Op == model.OpComputed && l.Reach == nil:
			l.Reach = child.Relation
		case child.Op == model.OpTupleToUserset && child.Tupleset.Name == relModule && len(child.Computed) == 1:
			l.Module = append(l.Module, child.Computed[0])
		default:
			return &Listing{Whole: r, Reach: r}
		}
	}
	if l.Reach == nil {
		return &Listing{Whole: r, Reach: r}
	}
	return l
}

// Find finds what decides a deed: an action on a record, such as deal:d1, or on one of its
// fields; creating in a module, such as deal; or a tool or a setup permission, on nothing. A
// fault is a *DeedError, or, of the form of an id, a *graph.TupleError.
//
// Whether the record exists does not matter, nor does it whether the module has such a field.
func (d *Deeds) Find(action, on, field string) (Demand, error) {
	module, id, record := strings.Cut(on, ":")
	var demand Demand
	var err error
	switch {
	case on == "":
		demand, err = d.general(action)
	case record:
		demand, err = d.onRecord(action, on, module, id, field)
	default:
		demand, err = d.inModule(action, on)
	}
	if err == nil && field != "" && !record {
		return Demand{}, &DeedError{Part: "field", Text: field, Reason: "only records have fields"}
	}
	return demand, err
}

// general finds a tool or a setup permission.
func (d *Deeds) general(action string) (Demand, error) {
	switch {
	case slices.Contains(tools, Tool(action)):
		return Demand{Relation: d.toolAllowed, ID: action}, nil
	case slices.Contains(setups, Setup(action)):
		return Demand{Relation: d.setupAllowed, ID: action}, nil
	case action == ActionCreate:
		return Demand{}, &DeedError{Part: "on", Reason: "create is asked of a module", Allowed: d.names}
	case d.ofRecords(action):
		return Demand{}, &DeedError{Part: "on", Reason: action + " is asked of a record: write module:id"}
	default:
		return Demand{}, &DeedError{Part: "action", Text: action, Reason: "on nothing, only these can be asked", Allowed: general}
	}
}

func (d *Deeds) inModule(action, module string) (Demand, error) {
	switch _, ok := d.modules[module]; {
	case !ok:
		return Demand{}, d.noModule("on", module)
	case action == ActionCreate:
		return Demand{Relation: d.create, ID: module}, nil
	case d.ofRecords(action):
		return Demand{}, &DeedError{Part: "on", Text: module, Reason: action + " is asked of a record: write " + module + ":id"}
	default:
		return Demand{}, &DeedError{Part: "action", Text: action, Reason: "in a module, only create can be asked"}
	}
}

func (d *Deeds) onRecord(action, on, module, id, field string) (Demand, error) {
	m, ok := d.modules[module]
	if !ok {
		return Demand{}, d.noModule("on", module)
	}
	l, ok := m.decided[Action(action)]
	if !ok {
		if err := d.notOfRecord(action, on, m); err != nil {
			return Demand{}, err
		}
		l = &nobody // records of other modules have it
	}
	if err := entity(module, id).Validate(); err != nil {
		return Demand{}, err
	}
	demand := Demand{Relation: l.Whole, ID: id}
	switch {
	case field == "" && l.Tool != "":
		demand.Also, demand.AlsoID = d.toolAllowed, string(l.Tool)
	case field == "":
	case action == string(ActionView):
		demand.Also, demand.AlsoID = d.CanRead, FieldID(module, field)
	case action == string(ActionEdit):
		demand.Also, demand.AlsoID = d.CanWrite, FieldID(module, field)
	default:
		return Demand{}, &DeedError{Part: "field", Text: field, Reason: action + " is not asked of a field, but view and edit are"}
	}
	if demand.Also != nil {
		if err := entity(demand.Also.Type.Name, demand.AlsoID).Validate(); err != nil {
			return Demand{}, &DeedError{Part: "field", Text: field, Reason: "it can be no field's id: " + err.Error()}
		}
	}
	return demand, nil
}

// notOfRecord is what is wrong with an action on a record that its module does not have;
// nil if records of others have it.
func (d *Deeds) notOfRecord(action, on string, m *moduleDeeds) error {
	switch {
	case d.ofRecords(action):
		return nil
	case action == ActionCreate:
		return &DeedError{Part: "on", Text: on, Reason: "create is asked of a module: write " + m.record.Name}
	case slices.Contains(general, action):
		return &DeedError{Part: "on", Text: on, Reason: action + " is asked of nothing: leave this empty"}
	}
	return &DeedError{Part: "action", Text: action, Reason: "there is no such action; of this record can be asked", Allowed: m.words()}
}

// nobody is what decides an action that nobody is allowed.
var nobody Listing

// ofRecords reports whether records of some module have the action.
func (d *Deeds) ofRecords(action string) bool {
	switch a := Action(action); a {
	case ActionView, ActionEdit, ActionDelete, ActionShare, ActionTransfer, ActionExport:
		return true
	}
	_, found := slices.BinarySearch(d.adds, action)
	return found
}

func (m *moduleDeeds) words() []string {
	words := make([]string, len(m.actions))
	for i, a := range m.actions {
		words[i] = string(a)
	}
	return words
}

func (d *Deeds) noModule(part, text string) error {
	return &DeedError{Part: part, Text: text, Reason: "there is no such module; there are", Allowed: d.names}
}

// Listing finds what decides an action on all records of a module. A fault is a *DeedError.
func (d *Deeds) Listing(module, action string) (Listing, error) {
	m, ok := d.modules[module]
	if !ok {
		return Listing{}, d.noModule("module", module)
	}
	if l, ok := m.decided[Action(action)]; ok {
		return *l, nil
	}
	if d.ofRecords(action) {
		return Listing{}, nil
	}
	return Listing{}, &DeedError{Part: "action", Text: action, Reason: "there is no such action; of these records can be asked", Allowed: m.words()}
}

// Record finds the type of a record, and its id: deal:d1. A fault is a *DeedError, or, of
// the form of the id, a *graph.TupleError.
func (d *Deeds) Record(on string) (*model.Type, string, error) {
	module, id, ok := strings.Cut(on, ":")
	if !ok {
		return nil, "", &DeedError{Part: "record", Text: on, Reason: "it is no record: write module:id"}
	}
	m, ok := d.modules[module]
	if !ok {
		return nil, "", d.noModule("record", module)
	}
	return m.record, id, entity(module, id).Validate()
}

// OfRecord are the actions that anybody can be allowed on records of a module, in the order
// in which they are shown, each with what decides it.
func (d *Deeds) OfRecord(module string, visit func(a Action, l *Listing)) {
	if m, ok := d.modules[module]; ok {
		for _, a := range m.actions {
			visit(a, m.decided[a])
		}
	}
}

// Relations are those that decide the actions on records of a module, each once; all of them
// if no action is given. The caller must not change the slice.
func (d *Deeds) Relations(module string, actions ...Action) []*model.Relation {
	m, ok := d.modules[module]
	if !ok {
		return nil
	}
	if len(actions) == 0 {
		actions = m.actions
	}
	relations := make([]*model.Relation, 0, len(actions))
	for _, a := range actions {
		if l, ok := m.decided[a]; ok && !slices.Contains(relations, l.Whole) {
			relations = append(relations, l.Whole)
		}
	}
	return relations
}

// OfModule are the relations to a module which decide what somebody may do there: Permitted
// says what. A fault is a *DeedError.
func (d *Deeds) OfModule(module string) ([]*model.Relation, error) {
	if _, ok := d.modules[module]; !ok {
		return nil, d.noModule("on", module)
	}
	relations := []*model.Relation{d.create, d.moduleMember}
	for _, p := range d.permissions {
		relations = append(relations, p.relation)
	}
	return relations, nil
}

// Permitted are the permissions that take effect for who has some of the relations of a
// module, by name and in their order: create, if that is possible, and of the others those
// that profiles give, if viewing is one of them.
func (d *Deeds) Permitted(held []*model.Relation) []string {
	var names []string
	acts := slices.Contains(held, d.moduleMember) && slices.Contains(held, d.permissions[0].relation)
	for _, p := range d.permissions {
		switch {
		case p.name == ActionCreate:
			if slices.Contains(held, d.create) {
				names = append(names, p.name)
			}
		case acts && slices.Contains(held, p.relation):
			names = append(names, p.name)
		}
	}
	return names
}

// Administrating are the relations of the organisation whose holders administrate it.
func (d *Deeds) Administrating() []*model.Relation { return []*model.Relation{d.Admin, d.SuperAdmin} }

// General are the tools and the setup permissions: what is asked of no record and no module.
func General() []string { return slices.Clone(general) }

// Organisation finds the organisation of a view; false if the view has none.
func (d *Deeds) Organisation(v graph.View) (graph.ID, bool, error) {
	// Each organisation has all tools, and a view cannot be searched for entities of a type.
	tool, ok, err := v.Lookup(d.Tool.ID, string(ToolExport))
	if !ok || err != nil {
		return 0, false, err
	}
	var c graph.Cursor
	if err := v.Subjects(graph.Userset{Object: tool, Relation: d.toolOrg.ID}, &c); err != nil || len(c.Edges) == 0 {
		return 0, false, err
	}
	return c.Edges[0].Subject.ID, true, nil
}
