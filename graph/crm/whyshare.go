package crm

import (
	"fmt"
	"time"

	"github.com/remit-authz/remit/graph"
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
		w.sharesBy(r, r.id, s.share, Ground{Kind: GroundShare, Level: s.level, Entity: r.key}, "")
	}
}

// related are the shares of a record above that extend to its related lists.
func (w *why) related(r *reach, parent graph.ID) {
	for _, s := range shareRelations {
		w.sharesBy(r, parent, s.related, Ground{Kind: GroundRelatedShare, Level: s.level, Entity: w.key(parent)}, " and its related lists")
	}
}

// sharesBy are those of one relation.
func (w *why) sharesBy(r *reach, record graph.ID, relation string, g Ground, and string) {
	of := w.relation(record, relation)
	w.eachSubject(record, relation, func(e *graph.Edge) bool {
		to, ok := w.sideOf(e.Subject)
		if !ok || !w.self.in(to) {
			return true
		}
		g, key := g, g.Entity
		expired := e.ExpiredAt(w.at.UnixMilli())
		if seen := w.seesShares(key); !seen {
			if expired {
				r.leftOut = r.leftOut || g.Level >= r.need
				return true
			}
			g.redacted = true
			if g.Text = fmt.Sprintf("a share of %s%s gives %s to %s", key, and, gradeText(g.Level), w.name(w.id)); !w.sees(key) {
				g.Entity = graph.ObjectName{}
				g.Text = fmt.Sprintf("a share of a record above%s gives %s to %s", and, gradeText(g.Level), w.name(w.id))
			}
			r.add(always, g)
			return true
		}
		g.Facts = []Fact{{graph.Userset{Object: record, Relation: of.ID}, e.Subject}}
		g.Text = fmt.Sprintf("%s%s %s shared with %s: %s", key, and, isOrAre(and), w.party(to, w.self), gradeText(g.Level))
		g.Text += w.shareNote(record, e, expired)
		if expired {
			r.almost(always, g)
		} else {
			r.add(always, g)
		}
		return true
	})
}

func isOrAre(and string) string {
	if and == "" {
		return "is"
	}
	return "are"
}

// shareNote is until when a share counts, who granted it, and why.
func (w *why) shareNote(record graph.ID, e *graph.Edge, expired bool) string {
	var text string
	if e.Expires != 0 {
		word := "until"
		if expired {
			word = "which has expired at"
		}
		text = fmt.Sprintf(", %s %s", word, instantText(time.UnixMilli(e.Expires)))
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
