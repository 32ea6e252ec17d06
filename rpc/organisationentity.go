package rpc

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// The entities of an organisation, from messages and to messages. What is read here is
// well formed; whether it is right in its organisation is for package crm to say.

// entityKinds are the kinds with the type that their entities have in the graph, and the
// name of their field in the message Entity. Those of records are their modules.
var entityKinds = [...]struct{ typ, field string }{
	remitv1.EntityKind_ENTITY_KIND_SETTINGS: {(&crm.Head{}).Key().Type, "settings"},
	remitv1.EntityKind_ENTITY_KIND_SEAT:     {(&crm.Seat{}).Key().Type, "seat"},
	remitv1.EntityKind_ENTITY_KIND_ROLE:     {(&crm.Role{}).Key().Type, "role"},
	remitv1.EntityKind_ENTITY_KIND_PROFILE:  {(&crm.Profile{}).Key().Type, "profile"},
	remitv1.EntityKind_ENTITY_KIND_MODULE:   {(&crm.Module{}).Key().Type, "module"},
	remitv1.EntityKind_ENTITY_KIND_FIELD:    {(&crm.Field{}).Key().Type, "field"},
	remitv1.EntityKind_ENTITY_KIND_GROUP:    {(&crm.Group{}).Key().Type, "group"},
	remitv1.EntityKind_ENTITY_KIND_TEAM:     {(&crm.Team{}).Key().Type, "team"},
	remitv1.EntityKind_ENTITY_KIND_RULE:     {(&crm.Rule{}).Key().Type, "rule"},
	remitv1.EntityKind_ENTITY_KIND_SHIFT:    {(&crm.Shift{}).Key().Type, "shift"},
	remitv1.EntityKind_ENTITY_KIND_RECORD:   {"", "record"},
}

// kindOfKey is the kind of the entity that a key names, if it names any.
func kindOfKey(key graph.ObjectName) remitv1.EntityKind {
	for kind, k := range entityKinds {
		if k.typ == key.Type && k.typ != "" {
			return remitv1.EntityKind(kind)
		}
	}
	return remitv1.EntityKind_ENTITY_KIND_RECORD
}

// entityRef names an entity.
func entityRef(key graph.ObjectName) *remitv1.EntityRef {
	switch kind := kindOfKey(key); kind {
	case remitv1.EntityKind_ENTITY_KIND_RECORD:
		return &remitv1.EntityRef{Kind: kind, Id: key.String()}
	case remitv1.EntityKind_ENTITY_KIND_SETTINGS:
		return &remitv1.EntityRef{Kind: kind}
	default:
		return &remitv1.EntityRef{Kind: kind, Id: key.ID}
	}
}

// entityKey reads the name of an entity of the organisation org.
func entityKey(path string, m *remitv1.EntityRef, org string) (graph.ObjectName, error) {
	kind := m.GetKind()
	key := graph.ObjectName{Type: entityKinds[kind].typ, ID: m.GetId()}
	switch {
	case kind == remitv1.EntityKind_ENTITY_KIND_SETTINGS && (key.ID == "" || key.ID == org):
		key.ID = org
	case kind == remitv1.EntityKind_ENTITY_KIND_SETTINGS:
		return key, at(path+".id", fmt.Errorf("%w: the organisation is %q, not %q; it need not be named", backend.ErrRequest, org, key.ID))
	case kind == remitv1.EntityKind_ENTITY_KIND_RECORD:
		ref, err := recordRef(path+".id", m.GetId())
		if err != nil {
			return key, err
		}
		key = ref.Key()
	}
	if err := key.Validate(); err != nil {
		return key, at(path+".id", err)
	}
	return key, nil
}

// recordRef reads the name of a record: deal:d1.
func recordRef(path, text string) (crm.Ref, error) {
	ref, err := crm.ParseRef(text)
	if err != nil {
		return ref, at(path, fmt.Errorf("%w: %w", backend.ErrRequest, err))
	}
	if kindOfKey(ref.Key()) != remitv1.EntityKind_ENTITY_KIND_RECORD {
		return ref, at(path, fmt.Errorf("%w: %s is no record: %s is no module", backend.ErrRequest, text, ref.Module))
	}
	return ref, nil
}

func recordRefs(path string, texts []string) ([]crm.Ref, error) {
	refs := make([]crm.Ref, len(texts))
	var err error
	for i, text := range texts {
		if refs[i], err = recordRef(indexed(path, i), text); err != nil {
			return nil, err
		}
	}
	return refs, nil
}

// kindOfMessage is the kind of the entity that a message holds.
func kindOfMessage(m *remitv1.Entity) remitv1.EntityKind {
	switch m.GetEntity().(type) {
	case *remitv1.Entity_Settings:
		return remitv1.EntityKind_ENTITY_KIND_SETTINGS
	case *remitv1.Entity_Seat:
		return remitv1.EntityKind_ENTITY_KIND_SEAT
	case *remitv1.Entity_Role:
		return remitv1.EntityKind_ENTITY_KIND_ROLE
	case *remitv1.Entity_Profile:
		return remitv1.EntityKind_ENTITY_KIND_PROFILE
	case *remitv1.Entity_Module:
		return remitv1.EntityKind_ENTITY_KIND_MODULE
	case *remitv1.Entity_Field:
		return remitv1.EntityKind_ENTITY_KIND_FIELD
	case *remitv1.Entity_Group:
		return remitv1.EntityKind_ENTITY_KIND_GROUP
	case *remitv1.Entity_Team:
		return remitv1.EntityKind_ENTITY_KIND_TEAM
	case *remitv1.Entity_Rule:
		return remitv1.EntityKind_ENTITY_KIND_RULE
	case *remitv1.Entity_Shift:
		return remitv1.EntityKind_ENTITY_KIND_SHIFT
	case *remitv1.Entity_Record:
		return remitv1.EntityKind_ENTITY_KIND_RECORD
	}
	return remitv1.EntityKind_ENTITY_KIND_UNSPECIFIED
}

// entityOf reads an entity. Faults name the field under path.
func entityOf(path string, m *remitv1.Entity) (crm.Entity, error) {
	kind := kindOfMessage(m)
	path += "." + entityKinds[kind].field
	var e crm.Entity
	var err error
	switch m := m.GetEntity().(type) {
	case *remitv1.Entity_Settings:
		e, err = headOf(path, m.Settings)
	case *remitv1.Entity_Seat:
		e, err = seatOf(path, m.Seat)
	case *remitv1.Entity_Role:
		r := m.Role
		e = &crm.Role{ID: r.GetId(), Name: r.GetName(), Parent: r.GetParent(), Peers: levelOf(r.GetPeers()), ForecastManagers: r.GetForecastManagers()}
	case *remitv1.Entity_Profile:
		e, err = profileOf(path, m.Profile)
	case *remitv1.Entity_Module:
		e = moduleOf(m.Module)
	case *remitv1.Entity_Field:
		e, err = fieldOf(path, m.Field)
	case *remitv1.Entity_Group:
		g := &crm.Group{ID: m.Group.GetId(), Name: m.Group.GetName()}
		g.Members, err = partiesOf(path+".members", m.Group.GetMembers())
		e = g
	case *remitv1.Entity_Team:
		t := m.Team
		e = &crm.Team{ID: t.GetId(), Name: t.GetName(), Managers: t.GetManagers(), Members: t.GetMembers()}
	case *remitv1.Entity_Rule:
		e, err = ruleOf(path, m.Rule)
	case *remitv1.Entity_Shift:
		s := &crm.Shift{ID: m.Shift.GetId(), Name: m.Shift.GetName()}
		s.Hours, err = hoursOf(path+".hours", m.Shift.GetHours())
		e = s
	case *remitv1.Entity_Record:
		e, err = recordOf(path, m.Record)
	}
	if err != nil {
		return nil, err
	}
	if id := e.Key().ID; id == "" {
		return nil, at(path+".id", fmt.Errorf("%w: it has no id", backend.ErrRequest))
	}
	return e, nil
}

// entityMessage is the reverse of entityOf.
func entityMessage(e crm.Entity, version uint64) (*remitv1.Entity, error) {
	m := &remitv1.Entity{Version: version}
	switch e := e.(type) {
	case *crm.Head:
		m.Entity = &remitv1.Entity_Settings{Settings: settingsMessage(e)}
	case *crm.Seat:
		m.Entity = &remitv1.Entity_Seat{Seat: seatMessage(e)}
	case *crm.Role:
		m.Entity = &remitv1.Entity_Role{Role: &remitv1.Role{
			Id: e.ID, Name: e.Name, Parent: e.Parent, Peers: levelNumber(e.Peers), ForecastManagers: e.ForecastManagers,
		}}
	case *crm.Profile:
		m.Entity = &remitv1.Entity_Profile{Profile: profileMessage(e)}
	case *crm.Module:
		m.Entity = &remitv1.Entity_Module{Module: &remitv1.Module{
			Id: e.ID, Name: e.Name, Kind: string(e.Kind), Parents: e.Parents, Default: levelNumber(e.Default), NoHierarchy: e.NoHierarchy,
		}}
	case *crm.Field:
		f := &remitv1.Field{Module: e.Module, Id: e.ID, Name: e.Name, Mandatory: e.Mandatory}
		for profile, level := range e.Levels {
			insert(&f.Levels, profile, level.String())
		}
		m.Entity = &remitv1.Entity_Field{Field: f}
	case *crm.Group:
		m.Entity = &remitv1.Entity_Group{Group: &remitv1.Group{Id: e.ID, Name: e.Name, Members: partyTexts(e.Members)}}
	case *crm.Team:
		m.Entity = &remitv1.Entity_Team{Team: &remitv1.Team{Id: e.ID, Name: e.Name, Managers: e.Managers, Members: e.Members}}
	case *crm.Rule:
		m.Entity = &remitv1.Entity_Rule{Rule: &remitv1.SharingRule{
			Id: e.ID, Name: e.Name, Module: e.Module, Source: e.Source.Text(), Target: e.Target.Text(),
			Level: levelNumber(e.Level), Superiors: e.Superiors, Disabled: e.Disabled,
		}}
	case *crm.Shift:
		m.Entity = &remitv1.Entity_Shift{Shift: &remitv1.Shift{Id: e.ID, Name: e.Name, Hours: hoursMessage(&e.Hours)}}
	case *crm.Record:
		r, err := recordMessage(e)
		if err != nil {
			return nil, err
		}
		m.Entity = &remitv1.Entity_Record{Record: r}
	default:
		return nil, fmt.Errorf("an entity is a %T", e)
	}
	return m, nil
}

// insert puts a value into a map that may not be there yet.
func insert[K comparable, V any](m *map[K]V, key K, v V) {
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[key] = v
}

// keyed writes an element of a map as a path.
func keyed(field, key string) string { return field + "[" + strconv.Quote(key) + "]" }

// Levels are numbered from none, which is the same as none at all.

func levelOf(m remitv1.Level) crm.Level { return crm.Level(max(0, m-1)) }

func levelNumber(l crm.Level) remitv1.Level { return remitv1.Level(l) + 1 }

func partyOf(path, text string) (crm.Party, error) {
	p, err := crm.ParseParty(text)
	if err != nil {
		return p, at(path, fmt.Errorf("%w: %w", backend.ErrRequest, err))
	}
	return p, nil
}

func partiesOf(path string, texts []string) ([]crm.Party, error) {
	var parties []crm.Party
	for i, text := range texts {
		p, err := partyOf(indexed(path, i), text)
		if err != nil {
			return nil, err
		}
		parties = append(parties, p)
	}
	return parties, nil
}

func partyTexts(parties []crm.Party) []string {
	var texts []string
	for _, p := range parties {
		texts = append(texts, p.Text())
	}
	return texts
}

func headOf(path string, m *remitv1.Settings) (*crm.Head, error) {
	h := &crm.Head{ID: m.GetId(), Name: m.GetName(), SuperAdmin: m.GetSuperAdmin(), Settings: crm.Settings{
		Hierarchy:          crm.Hierarchy(max(0, m.GetHierarchy()-1)),
		NonReportingByRole: m.GetNonReportingByRole(),
		AddingNeedsEdit:    m.GetAddingNeedsEdit(),
		KeepShares:         m.GetKeepShares(),
		Assign:             crm.AssignScope(max(0, m.GetAssignScope()-1)),
		LoginHours:         m.GetLoginHours(),
		MaxShifts:          int(m.GetMaxShifts()),
	}}
	if b := m.GetBusinessHours(); b != nil {
		hours := &crm.BusinessHours{}
		path += ".business_hours"
		if b.FirstDay != "" {
			day, ok := crm.ParseWeekday(b.FirstDay)
			if !ok {
				return nil, at(path+".first_day", noDay(b.FirstDay))
			}
			hours.FirstDay = day
		}
		if err := weekOf(path+".days", b.Days, &hours.Week); err != nil {
			return nil, err
		}
		h.Settings.BusinessHours = hours
	}
	return h, nil
}

func settingsMessage(h *crm.Head) *remitv1.Settings {
	s := &h.Settings
	m := &remitv1.Settings{
		Id: h.ID, Name: h.Name, SuperAdmin: h.SuperAdmin,
		Hierarchy:          remitv1.Hierarchy(s.Hierarchy) + 1,
		NonReportingByRole: s.NonReportingByRole,
		AddingNeedsEdit:    s.AddingNeedsEdit,
		KeepShares:         s.KeepShares,
		AssignScope:        remitv1.AssignScope(s.Assign) + 1,
		LoginHours:         s.LoginHours,
		MaxShifts:          int32(s.MaxShifts),
	}
	if b := s.BusinessHours; b != nil {
		m.BusinessHours = &remitv1.BusinessHours{FirstDay: crm.WeekdayText(b.FirstDay), Days: weekMessage(&b.Week)}
	}
	return m
}

func profileOf(path string, m *remitv1.Profile) (*crm.Profile, error) {
	p := &crm.Profile{ID: m.GetId(), Name: m.GetName(), Administrator: m.GetAdministrator(), Gated: m.GetGated()}
	for _, module := range slices.Sorted(maps.Keys(m.GetModules())) {
		var bits crm.Permissions
		for i, name := range m.Modules[module].GetPermissions() {
			bit, ok := crm.ParsePermission(name)
			if !ok {
				return nil, at(indexed(keyed(path+".modules", module)+".permissions", i),
					fmt.Errorf("%w: %q is no permission: there are %v", backend.ErrRequest, name, crm.PermissionNames()))
			}
			bits |= bit
		}
		insert(&p.Modules, module, bits)
	}
	for i, name := range m.GetTools() {
		if !slices.Contains(crm.AllTools(), crm.Tool(name)) {
			return nil, at(indexed(path+".tools", i), fmt.Errorf("%w: %q is no tool: there are %v", backend.ErrRequest, name, crm.AllTools()))
		}
		p.Tools = append(p.Tools, crm.Tool(name))
	}
	for i, name := range m.GetSetup() {
		if !slices.Contains(crm.AllSetup(), crm.Setup(name)) {
			return nil, at(indexed(path+".setup", i), fmt.Errorf("%w: %q is no setup permission: there are %v", backend.ErrRequest, name, crm.AllSetup()))
		}
		p.Setup = append(p.Setup, crm.Setup(name))
	}
	return p, nil
}

func profileMessage(p *crm.Profile) *remitv1.Profile {
	m := &remitv1.Profile{Id: p.ID, Name: p.Name, Administrator: p.Administrator, Gated: p.Gated}
	for module, bits := range p.Modules {
		insert(&m.Modules, module, &remitv1.Permissions{Permissions: bits.Names()})
	}
	for _, t := range p.Tools {
		m.Tools = append(m.Tools, string(t))
	}
	for _, s := range p.Setup {
		m.Setup = append(m.Setup, string(s))
	}
	return m
}

func moduleOf(m *remitv1.Module) *crm.Module {
	kind := crm.ModuleKind(m.GetKind())
	if kind == "" {
		kind = crm.Standard
	}
	return &crm.Module{
		ID: m.GetId(), Name: m.GetName(), Kind: kind, Parents: m.GetParents(),
		Default: levelOf(m.GetDefault()), NoHierarchy: m.GetNoHierarchy(),
	}
}

func fieldOf(path string, m *remitv1.Field) (*crm.Field, error) {
	f := &crm.Field{Module: m.GetModule(), ID: m.GetId(), Name: m.GetName(), Mandatory: m.GetMandatory()}
	for _, profile := range slices.Sorted(maps.Keys(m.GetLevels())) {
		text := m.Levels[profile]
		level, ok := crm.ParseFieldLevel(text)
		if !ok {
			return nil, at(keyed(path+".levels", profile), fmt.Errorf("%w: %q is no level of a field: write, read or hidden", backend.ErrRequest, text))
		}
		insert(&f.Levels, profile, level)
	}
	return f, nil
}

func ruleOf(path string, m *remitv1.SharingRule) (*crm.Rule, error) {
	r := &crm.Rule{
		ID: m.GetId(), Name: m.GetName(), Module: m.GetModule(), Level: levelOf(m.GetLevel()),
		Superiors: m.GetSuperiors(), Disabled: m.GetDisabled(),
	}
	var err error
	if r.Source, err = partyOf(path+".source", m.GetSource()); err != nil {
		return nil, err
	}
	r.Target, err = partyOf(path+".target", m.GetTarget())
	return r, err
}
