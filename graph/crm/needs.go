package crm

import (
	"maps"
	"slices"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/value"
)

// A Need is a right that an edit takes: of the questions, one at least must be answered
// with yes, in the state before the change. Without questions nobody has it.
type Need struct {
	Any     []Question
	Message string // what is needed, for those who lack it

	missing graph.ObjectName // in a draft: for want of this, until it is made
}

// A Question is whether a seat has a relation to an object: that which makes the change,
// or User, if that is set. What the model does not have, or nothing is known of, nobody has.
type Question struct {
	Object   graph.ObjectName
	Relation string
	User     string
}

// Relations that needs ask for and no tuple is written to.
const (
	relAllowed   = "allowed" // of a tool and of a setup permission
	relAdmin     = "admin"
	relBase      = "base" // of a standard record: all of it
	relCanCreate = "can_create"
	relCanWrite  = "can_write"
	relOnDuty    = "on_duty"
	relSuperior  = "superior"
)

// Needs are those of the edits so far, for who would rather refuse them than say what is
// wrong with them. Those of a Plan are the same.
func (d *Draft) Needs() []Need {
	var list []Need
	for _, n := range d.needs {
		if n.missing == (graph.ObjectName{}) || d.now[n.missing] == nil {
			list = append(list, Need{Any: n.Any, Message: n.Message})
		}
	}
	return distinct(list)
}

func (d *Draft) need(message string, questions ...Question) {
	d.needs = append(d.needs, Need{Any: questions, Message: message})
}

// needMissing asks for what nobody has, as long as something is not there: whoever may not
// know whether it is learns nothing from the refusal.
func (d *Draft) needMissing(what graph.ObjectName, message string) {
	d.needs = append(d.needs, Need{Message: message, missing: what})
}

// needSetup asks for a setup permission in a profile.
func (d *Draft) needSetup(s Setup, why string) {
	d.need("a profile with "+string(s)+" is needed to "+why, setupQuestion(s))
}

func setupQuestion(s Setup) Question {
	return Question{Object: entity(typeSetup, string(s)), Relation: relAllowed}
}

func (d *Draft) needOrg(message string, relations ...string) error {
	org, _, err := d.organisation()
	if err != nil {
		return err
	}
	var questions []Question
	for _, r := range relations {
		questions = append(questions, Question{Object: org, Relation: r})
	}
	d.need(message, questions...)
	return nil
}

// needAdministrator asks for one, be it the super admin.
func (d *Draft) needAdministrator(why string) error {
	return d.needOrg("only administrators may "+why, relAdmin, relSuperAdmin)
}

func (d *Draft) needSuperAdmin(why string) error {
	return d.needOrg("only the super admin may "+why, relSuperAdmin)
}

// needChange asks for the rights to make an entity, to change it, or to delete it.
func (d *Draft) needChange(before, after Entity) error {
	of := before
	if of == nil {
		of = after
	}
	switch of.(type) {
	case *Head:
		return d.needHead(before, after)
	case *Seat:
		return d.needSeat(before, after)
	case *Role:
		d.needSetup(ManageRoles, "change roles")
	case *Profile:
		return d.needProfile(was[Profile](before), was[Profile](after))
	case *Module:
		d.needModule(was[Module](before), was[Module](after))
	case *Field:
		d.needSetup(ManageModules, "change fields")
	case *Group:
		d.needSetup(ManageGroups, "change groups")
	case *Team:
		d.needSetup(ManageGroups, "change teams")
	case *Rule:
		d.needSetup(ManageDataSharing, "change sharing rules")
	case *Shift:
		d.needSetup(ManageShifts, "change shifts")
	case *Record:
		return d.needRecord(before, after)
	}
	return nil
}

func (d *Draft) needHead(before, after Entity) error {
	b, ok := before.(*Head)
	a, remains := after.(*Head)
	if !ok || !remains {
		d.need("no seat may make or delete an organisation")
		return nil
	}
	if a.Name != b.Name {
		if err := d.needAdministrator("rename the organisation"); err != nil {
			return err
		}
	}
	if a.SuperAdmin != b.SuperAdmin {
		if err := d.needSuperAdmin("hand over to another super admin"); err != nil {
			return err
		}
	}
	s, t := &b.Settings, &a.Settings
	if s.Hierarchy != t.Hierarchy || s.NonReportingByRole != t.NonReportingByRole {
		d.needSetup(ManageRoles, "change the hierarchy")
	}
	if s.AddingNeedsEdit != t.AddingNeedsEdit || s.KeepShares != t.KeepShares {
		d.needSetup(ManageDataSharing, "change how records are shared")
	}
	if s.Assign != t.Assign || s.LoginHours != t.LoginHours {
		d.needSetup(ManageUsers, "change login hours and to whom records are assigned")
	}
	if s.MaxShifts != t.MaxShifts {
		d.need("no seat may change how many shifts there may be: whoever runs the service may")
	}
	if !sameWeek(s.BusinessHours, t.BusinessHours) {
		d.needSetup(ManageShifts, "change the business hours")
	}
	return nil
}

func sameWeek(a, b *BusinessHours) bool {
	return sameEntity(&Head{Settings: Settings{BusinessHours: a}}, &Head{Settings: Settings{BusinessHours: b}})
}

// needProfile also keeps those who manage profiles from giving what they have not: setup
// permissions to anybody, and anything at all to themselves.
func (d *Draft) needProfile(before, after *Profile) error {
	d.needSetup(ManageProfiles, "change profiles")
	if before.Administrator || after.Administrator {
		return d.needAdministrator("change an administrator profile")
	}
	if err := d.needGiven(added(before.Setup, after.Setup)); err != nil || d.as == "" || !after.widens(before) {
		return err
	}
	e, err := d.before(entity(typeUser, d.as))
	if err == nil && slices.Contains(was[Seat](e).Profiles, after.ID) {
		err = d.needAdministrator("give more to a profile of their own")
	}
	return err
}

// widens reports whether a profile permits what another does not.
func (p *Profile) widens(before *Profile) bool {
	for module, now := range p.Modules {
		if !before.Modules[module].Has(now) {
			return true
		}
	}
	return before.Gated && !p.Gated || len(added(before.Tools, p.Tools))+len(added(before.Setup, p.Setup)) > 0
}

// needGiven asks for setup permissions that are given to somebody: administrators may give
// all, and others those that they have.
func (d *Draft) needGiven(setup []Setup) error {
	org, _, err := d.organisation()
	if err != nil {
		return err
	}
	for _, s := range setup {
		d.need("a profile with "+string(s)+" is needed to give it to others", setupQuestion(s),
			Question{Object: org, Relation: relAdmin}, Question{Object: org, Relation: relSuperAdmin})
	}
	return nil
}

func (d *Draft) needSeat(before, after Entity) error {
	b, a := was[Seat](before), was[Seat](after)
	if before == nil || after == nil || !sameEntity(withoutHours(b), withoutHours(a)) {
		d.needSetup(ManageUsers, "change users")
	}
	sameHours := slices.Equal(b.Shifts, a.Shifts) && slices.Equal(b.Leave, a.Leave)
	if after != nil && !sameHours {
		d.needSetup(ManageShifts, "change when users work")
	}
	return d.guardSeat(b, a)
}

// withoutHours is a seat but for when it works.
func withoutHours(s *Seat) *Seat {
	c := *s
	c.Shifts, c.Leave = nil, nil
	return &c
}

// guardSeat keeps who is no administrator away from the seats of those who are, and
// everybody from the super admin's. Others give no more than they have, and nothing to
// themselves.
func (d *Draft) guardSeat(before, after *Seat) error {
	head, err := d.headBefore()
	if err != nil {
		return err
	}
	if before.ID != "" && before.ID == head.SuperAdmin {
		return d.needSuperAdmin("change the super admin's seat")
	}
	for _, id := range slices.Concat(before.Profiles, after.Profiles) {
		if is, err := d.administrator(id); err != nil {
			return err
		} else if is {
			return d.needAdministrator("make administrators and change their seats")
		}
	}
	given := added(before.Profiles, after.Profiles)
	if d.as != "" && after.ID == d.as && (after.Role != before.Role || len(given) > 0 || after.Login != before.Login) {
		return d.needAdministrator("change the role, the profiles and the login of their own seat")
	}
	moved := after.Role != before.Role
	if after.Login != "" && after.Login != before.Login { // whoever that is gets all of the seat
		given, moved = after.Profiles, true
	}
	if moved && after.ID != "" {
		e, err := d.before(entity(typeRole, after.Role))
		if err != nil {
			return err
		}
		if r, ok := e.(*Role); ok && r.Parent == "" {
			return d.needAdministrator("put somebody into the root role, whose holders reach everything")
		}
	}
	for _, id := range given {
		if err := d.needGivenBy(id); err != nil {
			return err
		}
	}
	return nil
}

// needGivenBy asks for the setup permissions of a profile that is given to somebody. Those
// that it gets by the draft are asked for where it does.
func (d *Draft) needGivenBy(profile string) error {
	e, err := d.before(entity(typeProfile, profile))
	if err != nil {
		return err
	}
	return d.needGiven(was[Profile](e).Setup)
}

// headBefore is the organisation in the state, empty if there is none.
func (d *Draft) headBefore() (*Head, error) {
	key, ok, err := d.reader.Organisation()
	if !ok || err != nil {
		return &Head{}, err
	}
	e, err := d.before(key)
	return was[Head](e), err
}

// administrator reports whether a profile makes administrators, or did before the draft.
func (d *Draft) administrator(profile string) (bool, error) {
	key := entity(typeProfile, profile)
	before, err := d.before(key)
	if err != nil {
		return false, err
	}
	return was[Profile](before).Administrator || was[Profile](d.now[key]).Administrator, nil
}

func (d *Draft) needModule(before, after *Module) {
	a, b := *before, *after
	if after.ID != "" && (a.Default != b.Default || a.NoHierarchy != b.NoHierarchy) {
		d.needSetup(ManageDataSharing, "change what everybody and superiors have on records")
	}
	a.Default, a.NoHierarchy = b.Default, b.NoHierarchy
	if !sameEntity(&a, &b) {
		d.needSetup(ManageModules, "change modules")
	}
}

// recordQuestion asks about a record as it is in the state.
func recordQuestion(r *Record, relation string) Question {
	return Question{Object: r.Key(), Relation: relation}
}

func moduleQuestion(module, relation string) Question {
	return Question{Object: entity(typeModule, module), Relation: relation}
}

// needRecord asks for what an owner or a sharer needs. Whoever makes a record owns it, and
// so needs of what is done to it then only the permissions of the module.
func (d *Draft) needRecord(before, after Entity) error {
	if after == nil {
		return d.needOf(before.(*Record), ActionDelete, "delete")
	}
	a := after.(*Record)
	b, ok := before.(*Record)
	if !ok {
		return d.needNew(a)
	}
	if b.Owner != a.Owner {
		if err := d.needTransfer(b, a); err != nil {
			return err
		}
	}
	ended := b.Owner != a.Owner && len(a.Shares) == 0 // as is usual
	if !ended && !slices.Equal(b.Shares, a.Shares) {
		if err := d.needOf(b, ActionShare, "share"); err != nil {
			return err
		}
	}
	if b.Confidentiality != a.Confidentiality {
		if err := d.needConfidential(b); err != nil {
			return err
		}
	}
	if err := d.needFields(b, a); err != nil {
		return err
	}
	if slices.Equal(b.Parents, a.Parents) {
		return nil
	}
	if err := d.needOf(b, ActionEdit, "edit"); err != nil {
		return err
	}
	above := added(b.Parents, a.Parents)
	if err := d.needBase(b, above); err != nil {
		return err
	}
	return d.needParents(a, above)
}

// needBase asks for all of a record that may be edited and is put below others, for what is
// shared with its related records is then its own, too: who may only edit it could otherwise
// take the rest. A record of a child module has nothing but what the one above it gives.
func (d *Draft) needBase(r *Record, above []Ref) error {
	module, err := d.find(entity(typeModule, r.Module))
	if err != nil || len(above) == 0 || was[Module](module).Kind != Standard {
		return err
	}
	if made, err := d.made(r); err != nil || made {
		return err
	}
	d.need("only its owner, superiors and who else has full access may put "+r.Key().String()+" below another record",
		recordQuestion(r, relBase)) // what is above it has been read to ask who may edit it
	return nil
}

// needNew asks for the rights to make a record. For another owner than its maker, it is
// made and transferred at once: that takes Transfer in the module, which with being its
// maker is all that a transfer would take. Whoever manages users may do so, too, as they
// may when somebody leaves.
func (d *Draft) needNew(r *Record) error {
	d.need("a profile with create in module "+r.Module+" is needed to make "+r.Key().String(),
		moduleQuestion(r.Module, relCanCreate))
	if err := d.needParents(r, r.Parents); err != nil {
		return err
	}
	if r.Owner != d.as {
		if err := d.needOwner(r, r.Owner); err != nil {
			return err
		}
	}
	if len(r.Shares) > 0 {
		d.need("a profile with share in module "+r.Module+" is needed to share "+r.Key().String(),
			moduleQuestion(r.Module, "p_share"))
	}
	if r.Confidentiality != Open && r.Owner != d.as {
		if err := d.needSuperAdmin("make confidential what belongs to others"); err != nil {
			return err
		}
	}
	return d.needWrite(r.Module, r.Fields)
}

// needOf asks for an action on a record; on one that the draft makes, whoever makes it has
// it as far as the module's permissions go.
func (d *Draft) needOf(r *Record, a Action, verb string) error {
	made, err := d.made(r)
	if err != nil {
		return err
	}
	message := "the right to " + verb + " " + r.Key().String() + " is needed"
	if made {
		d.need(message, moduleQuestion(r.Module, "p_"+string(a)))
		return nil
	}
	d.need(message, recordQuestion(r, a.Relation()))
	return d.above(r.Key())
}

// made reports whether the record is not there yet in the state.
func (d *Draft) made(r *Record) (bool, error) {
	before, err := d.before(r.Key())
	return before == nil, err
}

// above reads the records above one, for they have a say in who may do what to it.
func (d *Draft) above(record graph.ObjectName) error {
	e, err := d.before(record)
	if err != nil {
		return err
	}
	for _, p := range was[Record](e).Parents {
		e, err := d.before(p.Key())
		if err != nil {
			return err
		}
		for _, q := range was[Record](e).Parents {
			if _, err := d.before(q.Key()); err != nil {
				return err
			}
		}
	}
	return nil
}

// needTransfer asks for the right to give a record to another. Records of child modules
// are not transferred: to say that somebody else wrote them is for those who manage users.
func (d *Draft) needTransfer(before, after *Record) error {
	made, err := d.made(before)
	if err != nil {
		return err
	}
	if made {
		return d.needOwner(after, after.Owner)
	}
	module, err := d.before(entity(typeModule, before.Module))
	if err != nil {
		return err
	}
	if was[Module](module).Kind == Child {
		d.needSetup(ManageUsers, "change who wrote "+before.Key().String())
		return nil
	}
	if err := d.needOf(before, ActionTransfer, "transfer"); err != nil {
		return err
	}
	head, err := d.headBefore()
	if err != nil {
		return err
	}
	if len(after.Shares) > 0 && !head.Settings.KeepShares { // to keep them is to share again
		if err := d.needOf(before, ActionShare, "share"); err != nil {
			return err
		}
	}
	return d.needAssign(head, after.Owner)
}

// needOwner asks for the right to make a record for an owner.
func (d *Draft) needOwner(r *Record, owner string) error {
	module, err := d.find(entity(typeModule, r.Module))
	if err != nil {
		return err
	}
	questions := []Question{setupQuestion(ManageUsers)}
	if was[Module](module).Kind != Child {
		questions = append(questions, moduleQuestion(r.Module, "p_transfer"))
	}
	d.need("a profile with transfer in module "+r.Module+", or with manage_users, is needed to make "+
		r.Key().String()+" for "+owner, questions...)
	head, err := d.headBefore()
	if err != nil {
		return err
	}
	return d.needAssign(head, owner)
}

// needAssign asks whether a record may be given to somebody: see Settings.Assign. It binds
// administrators as little as the hierarchy does.
func (d *Draft) needAssign(head *Head, to string) error {
	if head.Settings.Assign == AssignAnyone || to == d.as {
		return nil
	}
	questions := []Question{
		{Object: head.Key(), Relation: relAdmin},
		{Object: head.Key(), Relation: relSuperAdmin},
	}
	if head.Settings.Assign == AssignSubordinates {
		d.need(to+" is no subordinate, and records are assigned to subordinates only",
			append(questions, Question{Object: entity(typeUser, to), Relation: relSuperior})...)
		return nil
	}
	e, err := d.before(entity(typeUser, to))
	if err != nil {
		return err
	}
	shifts := shiftIDs(was[Seat](e))
	slices.Sort(shifts)
	for _, id := range slices.Compact(shifts) {
		questions = append(questions, Question{Object: entity(typeShift, id), Relation: relOnDuty, User: to})
	}
	d.need(to+" is not on duty, and records are assigned to those who are", questions...)
	return nil
}

// needConfidential asks for the owner or the super admin.
func (d *Draft) needConfidential(r *Record) error {
	made, err := d.made(r)
	if err != nil {
		return err
	}
	if made && r.Owner == d.as {
		return nil
	}
	org, _, err := d.organisation()
	if err != nil {
		return err
	}
	questions := []Question{{Object: org, Relation: relSuperAdmin}}
	if !made {
		questions = append(questions, recordQuestion(r, relOwner))
	}
	d.need("only its owner and the super admin may change the confidentiality of "+r.Key().String(), questions...)
	return nil
}

// guardConfidential keeps those who hand on what somebody has away from what is
// confidential: who may not reach it cannot have it handed on either.
func (d *Draft) guardConfidential(r *Record) error {
	if r.Confidentiality == Open {
		return nil
	}
	org, _, err := d.organisation()
	if err != nil {
		return err
	}
	questions := []Question{{Object: org, Relation: relSuperAdmin}}
	made, err := d.made(r)
	if err != nil {
		return err
	}
	switch {
	case made && r.Owner == d.as:
		return nil
	case made:
	case r.Confidentiality == Secret:
		questions = append(questions, recordQuestion(r, relOwner))
	default:
		questions = append(questions, Question{Object: org, Relation: relAdmin}, recordQuestion(r, ActionTransfer.Relation()))
	}
	d.need("only who may transfer "+r.Key().String()+", which is "+r.Confidentiality.String()+
		", can have it or a share of it handed on to somebody else", questions...)
	return d.above(r.Key())
}

// needFields asks for the right to write what differs.
func (d *Draft) needFields(before, after *Record) error {
	changed := value.Map{}
	for name, v := range after.Fields {
		if old, had := before.Fields[name]; !had || !value.Equal(old, v) {
			changed[name] = v
		}
	}
	for name, v := range before.Fields {
		if _, has := after.Fields[name]; !has {
			changed[name] = v
		}
	}
	if len(changed) == 0 {
		return nil
	}
	if err := d.needOf(before, ActionEdit, "edit"); err != nil {
		return err
	}
	return d.needWrite(before.Module, changed)
}

// needWrite asks for the right to write fields of a module, as far as they are known.
func (d *Draft) needWrite(module string, fields value.Map) error {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		key := (&Field{Module: module, ID: name}).Key()
		if key.Validate() != nil {
			continue
		}
		e, err := d.before(key)
		if err != nil {
			return err
		}
		if e != nil {
			d.need("the right to write "+key.String()+" is needed", Question{Object: key, Relation: relCanWrite})
		}
	}
	return nil
}

// needParents asks for what it takes to put a record below others: the right to add it
// to a child module's parent, and to view any other.
func (d *Draft) needParents(r *Record, parents []Ref) error {
	module, err := d.find(entity(typeModule, r.Module))
	if err != nil {
		return err
	}
	for _, p := range parents {
		e, err := d.before(p.Key())
		if err != nil {
			return err
		}
		above, ok := e.(*Record)
		relation, message := ActionView.Relation(), "the right to view "+p.String()+" is needed"
		if was[Module](module).Kind == Child {
			relation, message = Add(r.Module).Relation(), "the right to add to "+p.String()+" is needed"
		}
		if ok {
			d.need(message, recordQuestion(above, relation))
		} else { // what the same draft makes takes the rights of an owner
			d.needMissing(p.Key(), message)
		}
		if ok {
			if err := d.above(p.Key()); err != nil {
				return err
			}
		}
	}
	return nil
}
