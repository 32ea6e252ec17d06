package crm

import (
	"fmt"
	"time"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/graph/value"
)

// sideOf is what a share's subject was made of.
func (w *why) sideOf(s graph.Subject) (partyID, bool) {
	if s == w.everyone() {
		return partyID{kind: Everyone}, true
	}
	relation := ""
	if r := w.plan.Relation(s.Relation); r != nil {
		relation = r.Name
	}
	switch key := w.key(s.ID); {
	case key.Type == typeUser && relation == "":
		return partyID{User, s.ID}, true
	case key.Type == typeRole && relation == relHolder:
		return partyID{HoldersOf, s.ID}, true
	case key.Type == typeRole && relation == relSubtree:
		return partyID{RoleAndSubordinates, s.ID}, true
	case key.Type == typeGroup && relation == relMember:
		return partyID{MembersOf, s.ID}, true
	}
	return partyID{}, false
}

// shares are those of the record itself.
func (w *why) shares(r *reach) {
	for _, s := range shareRelations {
		w.sharesBy(r, r.id, s.share, Ground{Kind: GroundShare, Level: s.level, Entity: r.key})
	}
}

// related are the shares of a record above that extend to its related lists.
func (w *why) related(r *reach, parent graph.ID) {
	for _, s := range shareRelations {
		w.sharesBy(r, parent, s.related, Ground{Kind: GroundRelatedShare, Level: s.level, Entity: w.key(parent)})
	}
}

// sharesBy are those of one relation. The ground is what they have in common.
func (w *why) sharesBy(r *reach, record graph.ID, relation string, common Ground) {
	of := w.relation(record, relation)
	w.eachSubject(record, relation, func(e *graph.Edge) bool {
		to, ok := w.sideOf(e.Subject)
		if !ok || !w.self.in(to) {
			return true
		}
		expired := e.ExpiredAt(w.at.UnixMilli())
		switch seen := w.seesShares(common.Entity); {
		case seen && expired:
			r.almost(always, w.share(record, of, e, to, common, true))
		case seen:
			r.add(always, w.share(record, of, e, to, common, false))
		case expired:
			r.leftOut = r.leftOut || common.Level >= r.need
		default:
			r.add(always, w.someShare(common))
		}
		return true
	})
}

// lists is what a related share extends to besides the record.
func (g *Ground) lists() string {
	if g.Kind == GroundRelatedShare {
		return " and its related lists"
	}
	return ""
}

// someShare is a share of which no more may be told than what it gives.
func (w *why) someShare(g Ground) Ground {
	g.redacted = true
	record := g.Entity.String()
	if !w.sees(g.Entity) {
		g.Entity, record = graph.ObjectName{}, "a record above"
	}
	g.Text = fmt.Sprintf("a share of %s%s gives %s to %s", record, g.lists(), gradeText(g.Level), w.name(w.id))
	return g
}

// share is one share, which counts or has expired.
func (w *why) share(record graph.ID, of *model.Relation, e *graph.Edge, to partyID, g Ground, expired bool) Ground {
	g.Facts = append([]Fact{{graph.Userset{Object: record, Relation: of.ID}, e.Subject}}, w.toParty(to, w.self)...)
	verbs := [2]string{"is", "are"}
	if expired {
		verbs = [2]string{"was", "were"}
	}
	verb := verbs[0]
	if g.Kind == GroundRelatedShare {
		verb = verbs[1]
	}
	g.Text = fmt.Sprintf("%s%s %s shared with %s: %s%s", g.Entity, g.lists(), verb, w.party(to, w.self), gradeText(g.Level), w.shareNote(record, e))
	return g
}

// shareNote is until when a share counts, who granted it, and why.
func (w *why) shareNote(record graph.ID, e *graph.Edge) string {
	var text string
	if e.Expires != 0 {
		text = ", until " + instantText(time.UnixMilli(e.Expires))
	}
	to := w.key(e.Subject.ID).String()
	if of := w.plan.Relation(e.Subject.Relation); of != nil {
		to += "#" + of.Name
	}
	notes, _ := w.document(record)[attrShares].(value.Map)
	note, _ := notes[to].(value.Map)
	if by := textOf(note, attrGrantedBy); by != "" {
		text += ", granted by " + w.seat(by)
	}
	if reason := textOf(note, attrReason); reason != "" {
		text += fmt.Sprintf(", because %q", reason)
	}
	return text
}

// seat names a seat by its id.
func (w *why) seat(id string) string {
	if seat := w.find(entity(typeUser, id)); seat != 0 {
		return w.name(seat)
	}
	return fmt.Sprintf("%q", id)
}
