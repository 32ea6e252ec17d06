package crm

import (
	"slices"
	"time"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/value"
)

// Encode writes a valid organisation as tuples and documents: those of its entities, and
// one for each name that is taken. The order of the organisation's lists does not show.
func Encode(o *Organisation) Encoding {
	w := encoder{org: graph.ObjectName{Type: typeOrg, ID: o.ID}}
	w.settings(o.Head())
	for i := range o.Seats {
		w.seat(&o.Seats[i])
	}
	for i := range o.Roles {
		w.role(&o.Roles[i])
	}
	for i := range o.Profiles {
		w.profile(&o.Profiles[i], o.Settings.LoginHours)
	}
	kinds := map[string]ModuleKind{}
	for i := range o.Modules {
		kinds[o.Modules[i].ID] = o.Modules[i].Kind
		w.module(&o.Modules[i])
	}
	profiles := make([]string, len(o.Profiles))
	for i := range o.Profiles {
		profiles[i] = o.Profiles[i].ID
	}
	for i := range o.Fields {
		w.field(&o.Fields[i], profiles)
	}
	for i := range o.Groups {
		w.group(&o.Groups[i])
	}
	for i := range o.Teams {
		w.team(&o.Teams[i])
	}
	for i := range o.Rules {
		w.rule(&o.Rules[i])
	}
	for i := range o.Shifts {
		w.shift(&o.Shifts[i])
	}
	for i := range o.Records {
		r := &o.Records[i]
		w.record(r, kinds[r.Module])
	}
	w.e.sort()
	return w.e
}

type encoder struct {
	org graph.ObjectName
	e   Encoding
}

// everyUser is the subject of what is simply so.
var everyUser = graph.SubjectName{Type: typeUser, ID: "*"}

func entity(typ, id string) graph.ObjectName { return graph.ObjectName{Type: typ, ID: id} }

func subject(o graph.ObjectName) graph.SubjectName { return graph.SubjectName{Type: o.Type, ID: o.ID} }

// edge writes object#relation@subject.
func (w *encoder) edge(object graph.ObjectName, relation string, to graph.ObjectName) {
	w.put(graph.Tuple{Object: object, Relation: relation, Subject: subject(to)})
}

// pair writes an edge that is walked in both directions.
func (w *encoder) pair(a graph.ObjectName, relation string, b graph.ObjectName, back string) {
	w.edge(a, relation, b)
	w.edge(b, back, a)
}

// flag writes object#relation@user:* if it is on.
func (w *encoder) flag(on bool, object graph.ObjectName, relation string) {
	if on {
		w.put(graph.Tuple{Object: object, Relation: relation, Subject: everyUser})
	}
}

// grant writes a permission of a profile.
func (w *encoder) grant(object graph.ObjectName, relation, profile string) {
	w.put(graph.Tuple{
		Object: object, Relation: relation,
		Subject: graph.SubjectName{Type: typeProfile, ID: profile, Relation: relAssignee},
	})
}

func (w *encoder) put(t graph.Tuple) { w.e.Tuples = append(w.e.Tuples, t) }

// document writes attributes. Those that are the default are left out by document's
// callers, so that a field that comes later changes no document.
func (w *encoder) document(o graph.ObjectName, fields value.Map) {
	w.e.Documents = append(w.e.Documents, Document{Entity: o, Fields: fields})
}

// named writes attributes with a unique name, and the claim of it.
func (w *encoder) named(o graph.ObjectName, kind, name string, fields value.Map) {
	fields[attrName] = name
	w.document(o, fields)
	w.document(Claim(kind, name), value.Map{attrHolder: o.String()})
}

// The attributes that documents hold.
const (
	attrName = "name"

	attrHolder = "holder" // of a claim: whose name it is, as role:sales

	attrKeepShares    = "keep_shares" // org
	attrMaxShifts     = "max_shifts"
	attrAssign        = "assign"
	attrLoginHours    = "login_hours"
	attrBusinessHours = "business_hours"
	attrFirstDay      = "first_day"
	attrWeek          = "week"

	attrLogin     = "login"     // user: a name that is claimed, too
	attrGated     = "gated"     // profile
	attrKind      = "kind"      // module
	attrParents   = "parents"   // module
	attrMandatory = "mandatory" // field

	attrFields    = "fields" // record
	attrShares    = "shares" // record: by subject
	attrReason    = "reason"
	attrGrantedBy = "granted_by"
)

// assignNames are the values of attrAssign, by AssignScope; the default is left out.
var assignNames = [...]string{AssignSubordinates: "subordinates", AssignOnDuty: "on_duty"}

func setTrue(m value.Map, name string, on bool) {
	if on {
		m[name] = true
	}
}

func setText(m value.Map, name, text string) {
	if text != "" {
		m[name] = text
	}
}

func (w *encoder) settings(o *Head) {
	s := &o.Settings
	w.edge(w.org, relSuperAdmin, entity(typeUser, o.SuperAdmin))
	w.flag(s.Hierarchy == ByRole, w.org, relRoleMode)
	w.flag(s.Hierarchy == ByReporting, w.org, relReportMode)
	w.flag(s.NonReportingByRole, w.org, relNonReportingByRole)
	w.flag(!s.AddingNeedsEdit, w.org, relViewersAdd)
	for _, t := range AllTools() {
		w.edge(entity(typeTool, string(t)), relOrg, w.org)
	}
	for _, p := range AllSetup() {
		w.edge(entity(typeSetup, string(p)), relOrg, w.org)
	}
	fields := value.Map{attrName: o.Name}
	setTrue(fields, attrKeepShares, s.KeepShares)
	setTrue(fields, attrLoginHours, s.LoginHours)
	setText(fields, attrAssign, assignNames[s.Assign])
	if s.MaxShifts != 0 {
		fields[attrMaxShifts] = int64(s.MaxShifts)
	}
	if b := s.BusinessHours; b != nil {
		fields[attrBusinessHours] = value.Map{attrFirstDay: weekdays[b.FirstDay], attrWeek: b.Week.fields()}
	}
	w.document(w.org, fields)
}

func (w *encoder) seat(s *Seat) {
	user := entity(typeUser, s.ID)
	w.pair(w.org, relSeat, user, relOrg)
	w.pair(user, relRole, entity(typeRole, s.Role), relHolder)
	for _, p := range s.Profiles {
		w.edge(entity(typeProfile, p), relAssignee, user)
	}
	if s.Suspended {
		w.edge(w.org, relSuspended, user)
	}
	if s.Manager != "" {
		w.edge(user, relManager, entity(typeUser, s.Manager))
	}
	w.flag(s.NonReporting, user, relNonReporting)
	byShift := map[string][]Period{}
	for _, a := range s.Shifts {
		byShift[a.Shift] = append(byShift[a.Shift], a.Period)
	}
	for id, periods := range byShift {
		w.inEffect(entity(typeShift, id), relAssigned, user, periods)
	}
	if len(s.Leave) > 0 {
		w.inEffect(w.org, relOnLeave, user, s.Leave)
	}
	fields := value.Map{attrName: s.Name}
	if s.Login != "" {
		fields[attrLogin] = s.Login
		w.document(Claim(attrLogin, s.Login), value.Map{attrHolder: user.String()})
	}
	w.document(user, fields)
}

// inEffect writes an edge that counts during the periods, which do not overlap.
func (w *encoder) inEffect(object graph.ObjectName, relation string, user graph.ObjectName, periods []Period) {
	periods = slices.SortedFunc(slices.Values(periods), Period.compare)
	var turns value.List
	for _, p := range periods {
		turns = append(turns, p.From.UTC().Format(time.RFC3339Nano))
		if !p.Until.IsZero() {
			turns = append(turns, p.Until.UTC().Format(time.RFC3339Nano))
		}
	}
	w.put(graph.Tuple{
		Object: object, Relation: relation, Subject: subject(user),
		Condition: conditionInEffect, Context: value.Map{parameterTurns: turns},
	})
}

func (w *encoder) role(r *Role) {
	role := entity(typeRole, r.ID)
	if r.Parent == "" {
		w.edge(w.org, relRootRole, role)
	} else {
		w.pair(role, relParent, entity(typeRole, r.Parent), relChild)
	}
	if r.Peers != LevelNone {
		w.flag(true, role, peersRelation[r.Peers])
	}
	for _, m := range r.ForecastManagers {
		w.edge(role, relForecastManager, entity(typeUser, m))
	}
	w.named(role, typeRole, r.Name, value.Map{})
}

func (w *encoder) profile(p *Profile, loginHours bool) {
	profile := entity(typeProfile, p.ID)
	w.edge(profile, relOrg, w.org)
	if p.Administrator {
		w.edge(w.org, relAdminProfile, profile)
	}
	if p.Gated && loginHours {
		w.grant(w.org, relGated, p.ID)
	}
	for id, bits := range p.Modules {
		for _, b := range permissionRelations {
			if bits.Has(b.bit) {
				w.grant(entity(typeModule, id), b.relation, p.ID)
			}
		}
	}
	for _, t := range p.Tools {
		w.grant(entity(typeTool, string(t)), relHolder, p.ID)
	}
	for _, s := range p.Setup {
		w.grant(entity(typeSetup, string(s)), relHolder, p.ID)
	}
	fields := value.Map{}
	setTrue(fields, attrGated, p.Gated)
	w.named(profile, typeProfile, p.Name, fields)
}

func (w *encoder) module(m *Module) {
	module := entity(typeModule, m.ID)
	w.edge(module, relOrg, w.org)
	if m.Default != LevelNone {
		w.flag(true, module, defaultRelation[m.Default])
	}
	w.flag(m.NoHierarchy, module, relNoHier)
	fields := value.Map{attrKind: string(m.Kind)}
	if len(m.Parents) > 0 {
		var parents value.List
		for _, p := range slices.Sorted(slices.Values(m.Parents)) {
			parents = append(parents, p)
			if m.Kind == Child {
				w.edge(entity(typeModule, p), prefixChild+m.ID, module)
			}
		}
		fields[attrParents] = parents
	}
	w.named(module, typeModule, m.Name, fields)
}

// field takes the ids of all profiles: a restricted field names those that it is open to.
func (w *encoder) field(f *Field, profiles []string) {
	field := entity(typeField, f.key())
	w.edge(field, relModule, entity(typeModule, f.Module))
	restricted := f.restricted()
	w.flag(!restricted, field, relOpen)
	if restricted {
		for _, p := range profiles {
			switch f.Levels[p] {
			case FieldWrite:
				w.grant(field, relWriter, p)
			case FieldRead:
				w.grant(field, relReader, p)
			}
		}
	}
	fields := value.Map{}
	setTrue(fields, attrMandatory, f.Mandatory)
	w.named(field, fieldKind(f.Module), f.Name, fields)
}

// fieldKind is the kind under which a module's fields claim their names.
func fieldKind(module string) string { return typeField + "/" + module }

// memberRelations are how groups hold each kind of party, and how the parties point back.
var memberRelations = [...]struct{ typ, relation, back string }{
	User:                {typeUser, relMemberUser, relInGroup},
	HoldersOf:           {typeRole, relMemberRole, relInGroup},
	RoleAndSubordinates: {typeRole, relMemberRoleSub, relInGroupSub},
	MembersOf:           {typeGroup, relMemberGroup, relInGroup},
}

func (w *encoder) group(g *Group) {
	group := entity(typeGroup, g.ID)
	w.edge(group, relOrg, w.org)
	for _, m := range g.Members {
		r := memberRelations[m.Kind]
		w.pair(group, r.relation, entity(r.typ, m.ID), r.back)
	}
	w.named(group, typeGroup, g.Name, value.Map{})
}

func (w *encoder) team(t *Team) {
	team := entity(typeTeam, t.ID)
	w.edge(team, relOrg, w.org)
	for _, m := range t.Managers {
		w.edge(team, relManager, entity(typeUser, m))
	}
	for _, m := range t.Members {
		w.pair(team, relMember, entity(typeUser, m), relInTeam)
	}
	w.named(team, typeTeam, t.Name, value.Map{})
}

// ruleRelations are how a source points to a rule, behind the module's id, and how a rule
// holds its target.
var ruleRelations = [...]struct{ typ, source, target string }{
	User:                {typeUser, suffixSource, relTargetUser},
	HoldersOf:           {typeRole, suffixSource, relTargetRole},
	RoleAndSubordinates: {typeRole, suffixSourceSub, relTargetRoleSub},
	MembersOf:           {typeGroup, suffixSource, relTargetGroup},
}

func (w *encoder) rule(r *Rule) {
	rule := entity(typeRule, r.ID)
	source := ruleRelations[r.Source.Kind]
	w.edge(entity(source.typ, r.Source.ID), r.Module+source.source, rule)
	if r.Target.Kind == Everyone {
		w.flag(true, rule, relTargetAll)
	} else {
		target := ruleRelations[r.Target.Kind]
		w.edge(rule, target.target, entity(target.typ, r.Target.ID))
	}
	w.flag(!r.Disabled, rule, relEnabled)
	w.flag(r.Superiors, rule, relSuperiors)
	w.flag(r.Level >= LevelEdit, rule, relReadWrite)
	w.flag(r.Level >= LevelDelete, rule, relDeletes)
	w.named(rule, typeRule, r.Name, value.Map{})
}

func (w *encoder) shift(s *Shift) {
	shift := entity(typeShift, s.ID)
	w.pair(w.org, relRoster, shift, relOrg)
	w.put(graph.Tuple{
		Object: shift, Relation: relOpen, Subject: everyUser,
		Condition: conditionHours, Context: value.Map{parameterSchedule: s.Hours.fields()},
	})
	w.named(shift, typeShift, s.Name, value.Map{})
}

func (w *encoder) record(r *Record, kind ModuleKind) {
	record := entity(r.Module, r.ID)
	w.edge(record, relModule, entity(typeModule, r.Module))
	if kind == Child {
		w.edge(record, relAuthor, entity(typeUser, r.Owner))
	} else {
		w.edge(record, relOwner, entity(typeUser, r.Owner))
	}
	for _, p := range r.Parents {
		w.edge(record, relParent, entity(p.Module, p.ID))
	}
	w.flag(r.Confidentiality >= Restricted, record, relRestricted)
	w.flag(r.Confidentiality == Secret, record, relSecret)
	fields, shares := value.Map{}, value.Map{}
	for i := range r.Shares {
		w.share(record, &r.Shares[i], shares)
	}
	if len(shares) > 0 {
		fields[attrShares] = shares
	}
	if len(r.Fields) > 0 {
		fields[attrFields] = r.Fields
	}
	w.document(record, fields)
}

func (w *encoder) share(record graph.ObjectName, s *Share, notes value.Map) {
	to := s.To.subject()
	for _, r := range shareRelations {
		if r.level != s.Level {
			continue
		}
		relations := []string{r.share}
		if s.Related {
			relations = append(relations, r.related)
		}
		for _, relation := range relations {
			t := graph.Tuple{Object: record, Relation: relation, Subject: to}
			if !s.Expires.IsZero() {
				t.Expires = time.UnixMilli(s.Expires.UnixMilli()).UTC()
			}
			w.put(t)
		}
	}
	note := value.Map{}
	setText(note, attrReason, s.Reason)
	setText(note, attrGrantedBy, s.GrantedBy)
	if len(note) > 0 {
		notes[to.String()] = note
	}
}

// subject is the party as the subject of a share.
func (p Party) subject() graph.SubjectName {
	switch p.Kind {
	case User:
		return graph.SubjectName{Type: typeUser, ID: p.ID}
	case HoldersOf:
		return graph.SubjectName{Type: typeRole, ID: p.ID, Relation: relHolder}
	case RoleAndSubordinates:
		return graph.SubjectName{Type: typeRole, ID: p.ID, Relation: relSubtree}
	case MembersOf:
		return graph.SubjectName{Type: typeGroup, ID: p.ID, Relation: relMember}
	default: // Validate lets in only one kind more
		return everyUser
	}
}
