package crm

import (
	"slices"
	"strings"
	"time"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/value"
)

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
