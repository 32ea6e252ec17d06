package crm

import (
	"strings"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// A link describes one relation that tuples are written to: which entity it belongs to,
// whose edits write it, and which other entity it is about. Whom an entity is referred to
// by is read by this table.
type link struct {
	// object is the type of its objects; anyModule is that of any module.
	object string

	// relation is its name, in which $ stands for a module.
	relation string

	// subject is the type of its subjects, behind '#' the relation that is theirs, or
	// user:*.
	subject string

	// owner is the end that it belongs to.
	owner end

	// back is the relation in which the subject points back, if it is written both ways.
	back string

	// silent links do not refer to their other end: it is the organisation or part of it,
	// or another link says the same.
	silent bool
}

// An end is one of the two of a tuple.
type end bool

const (
	ofObject  end = false
	ofSubject end = true
)

// anyModule stands for the type of any module in links.
const anyModule = "$"

// holdersOfProfile are the subjects of what profiles grant.
const holdersOfProfile = typeProfile + "#" + relAssignee

// everybody is the subject of flags.
const everybody = typeUser + ":*"

// links are all relations that tuples are written to.
var links = func() []link {
	list := []link{
		{object: typeOrg, relation: relSeat, subject: typeUser, owner: ofSubject, back: relOrg, silent: true},
		{object: typeOrg, relation: relSuspended, subject: typeUser, owner: ofSubject, silent: true},
		{object: typeOrg, relation: relOnLeave, subject: typeUser, owner: ofSubject, silent: true},
		{object: typeOrg, relation: relSuperAdmin, subject: typeUser},
		{object: typeOrg, relation: relRootRole, subject: typeRole, owner: ofSubject, silent: true},
		{object: typeOrg, relation: relRoleMode, subject: everybody},
		{object: typeOrg, relation: relReportMode, subject: everybody},
		{object: typeOrg, relation: relNonReportingByRole, subject: everybody},
		{object: typeOrg, relation: relViewersAdd, subject: everybody},
		{object: typeOrg, relation: relAdminProfile, subject: typeProfile, owner: ofSubject, silent: true},
		{object: typeOrg, relation: relGated, subject: holdersOfProfile, owner: ofSubject, silent: true},
		{object: typeOrg, relation: relRoster, subject: typeShift, owner: ofSubject, back: relOrg, silent: true},

		{object: typeTool, relation: relOrg, subject: typeOrg, owner: ofSubject, silent: true},
		{object: typeTool, relation: relHolder, subject: holdersOfProfile, owner: ofSubject, silent: true},
		{object: typeSetup, relation: relOrg, subject: typeOrg, owner: ofSubject, silent: true},
		{object: typeSetup, relation: relHolder, subject: holdersOfProfile, owner: ofSubject, silent: true},

		{object: typeUser, relation: relRole, subject: typeRole, back: relHolder},
		{object: typeUser, relation: relManager, subject: typeUser},
		{object: typeUser, relation: relNonReporting, subject: everybody},
		{object: typeProfile, relation: relAssignee, subject: typeUser, owner: ofSubject},
		{object: typeShift, relation: relAssigned, subject: typeUser, owner: ofSubject},

		{object: typeRole, relation: relParent, subject: typeRole, back: relChild},
		{object: typeRole, relation: relForecastManager, subject: typeUser},

		{object: typeProfile, relation: relOrg, subject: typeOrg, silent: true},

		{object: typeModule, relation: relOrg, subject: typeOrg, silent: true},
		{object: typeModule, relation: relNoHier, subject: everybody},
		{object: typeModule, relation: prefixChild + "$", subject: typeModule, owner: ofSubject, silent: true},

		{object: typeField, relation: relModule, subject: typeModule},
		{object: typeField, relation: relOpen, subject: everybody},
		{object: typeField, relation: relReader, subject: holdersOfProfile, silent: true},
		{object: typeField, relation: relWriter, subject: holdersOfProfile, silent: true},

		{object: typeGroup, relation: relOrg, subject: typeOrg, silent: true},

		{object: typeTeam, relation: relOrg, subject: typeOrg, silent: true},
		{object: typeTeam, relation: relManager, subject: typeUser},
		{object: typeTeam, relation: relMember, subject: typeUser, back: relInTeam},

		{object: typeRule, relation: relTargetAll, subject: everybody},
		{object: typeRule, relation: relEnabled, subject: everybody},
		{object: typeRule, relation: relSuperiors, subject: everybody},
		{object: typeRule, relation: relReadWrite, subject: everybody},
		{object: typeRule, relation: relDeletes, subject: everybody},

		{object: typeShift, relation: relOpen, subject: everybody},

		{object: anyModule, relation: relModule, subject: typeModule},
		{object: anyModule, relation: relOwner, subject: typeUser},
		{object: anyModule, relation: relAuthor, subject: typeUser},
		{object: anyModule, relation: relParent, subject: anyModule},
		{object: anyModule, relation: relRestricted, subject: everybody},
		{object: anyModule, relation: relSecret, subject: everybody},
	}
	for _, r := range peersRelation[LevelView:] {
		list = append(list, link{object: typeRole, relation: r, subject: everybody})
	}
	for _, r := range defaultRelation[LevelView:] {
		list = append(list, link{object: typeModule, relation: r, subject: everybody})
	}
	for _, r := range permissionRelations {
		list = append(list, link{object: typeModule, relation: r.relation, subject: holdersOfProfile, owner: ofSubject})
	}
	for _, r := range memberRelations {
		if r.typ != "" {
			list = append(list, link{object: typeGroup, relation: r.relation, subject: r.typ, back: r.back})
		}
	}
	for _, r := range ruleRelations {
		if r.typ != "" {
			list = append(list,
				link{object: r.typ, relation: anyModule + r.source, subject: typeRule, owner: ofSubject},
				link{object: typeRule, relation: r.target, subject: r.typ})
		}
	}
	for _, r := range shareRelations {
		for _, to := range []string{
			typeUser, everybody, typeRole + "#" + relHolder, typeRole + "#" + relSubtree, typeGroup + "#" + relMember,
		} {
			list = append(list,
				link{object: anyModule, relation: r.share, subject: to},
				link{object: anyModule, relation: r.related, subject: to, silent: true})
		}
	}
	return list
}()

// subjectType splits the link's subject.
func (l *link) subjectType() (typ, relation string) {
	typ, relation, _ = strings.Cut(l.subject, "#")
	return typ, relation
}

// relations are those of a plan that the link describes.
func (l *link) relations(p *model.Plan) []*model.Relation {
	var found []*model.Relation
	add := func(t *model.Type, name string) {
		if r, ok := t.Relation(name); ok && len(r.Allowed) > 0 {
			found = append(found, r)
		}
	}
	switch t, ok := p.Type(l.object); {
	case l.object == anyModule:
		for _, t := range p.Types() {
			if !reserved[t.Name] {
				add(t, l.relation)
			}
		}
	case !ok:
	case strings.Contains(l.relation, anyModule):
		for _, m := range p.Types() {
			if !reserved[m.Name] {
				add(t, strings.Replace(l.relation, anyModule, m.Name, 1))
			}
		}
	default:
		add(t, l.relation)
	}
	return found
}

// refersTo reports whether an entity refers by such a link to entities of the type.
func (l *link) refersTo(typ string) bool {
	if l.silent || strings.HasSuffix(l.subject, ":*") {
		return false
	}
	other := l.object
	if l.owner == ofObject {
		other, _ = l.subjectType()
	}
	return other == typ || other == anyModule && !reserved[typ]
}

// ownedBy reports whether the owner of such a link is of the type.
func (l *link) ownedBy(typ string) bool {
	owner := l.object
	if l.owner == ofSubject {
		owner, _ = l.subjectType()
	}
	return owner == typ || owner == anyModule && !reserved[typ]
}

// matches reports whether a tuple is of the link, forwards.
func (l *link) matches(t graph.Tuple) bool {
	is := func(pattern, typ string) bool { return pattern == typ || pattern == anyModule && !reserved[typ] }
	typ, relation := l.subjectType()
	subject := is(typ, t.Subject.Type) && relation == t.Subject.Relation && t.Subject.ID != "*"
	if l.subject == everybody {
		subject = t.Subject == everyUser
	}
	prefix, suffix, generated := strings.Cut(l.relation, anyModule)
	name := l.relation == t.Relation
	if generated {
		id, a := strings.CutPrefix(t.Relation, prefix)
		id, b := strings.CutSuffix(id, suffix)
		name = a && b && validModuleID(id) && !reserved[id]
	}
	return subject && name && is(l.object, t.Object.Type)
}
