package crm

import (
	"fmt"
	"strings"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// A LoginSeat is the seat that a login has in one organisation.
type LoginSeat struct {
	User         graph.ID // in the view
	ID           string
	Name         string
	Suspended    bool
	Organisation string // its name
}

// SeatOfLogin finds the seat that bears a login; false if none does. It needs no model, but
// the names that the store has ever known, so that many organisations can be searched. Claims
// know no case; identity providers do, and two of their logins may differ in it alone: then
// the seat is that of exactly the one that was asked for.
func SeatOfLogin(v graph.View, symbols *model.Table, login string) (LoginSeat, bool, error) {
	r := attributes{view: v, symbols: symbols}
	claim := Claim(attrLogin, login)
	holder := r.text(r.find(claim.Type, claim.ID), attrHolder)
	typ, id, _ := strings.Cut(holder, ":")
	if r.err != nil || typ != typeUser {
		return LoginSeat{}, false, r.err
	}
	user := r.find(typeUser, id)
	if r.text(user, attrLogin) != login {
		return LoginSeat{}, false, r.err
	}
	s := LoginSeat{User: user, ID: id, Name: r.text(user, attrName)}
	org := r.only(user, typeUser, relOrg)
	s.Organisation, s.Suspended = r.text(org, attrName), r.has(org, typeOrg, relSuspended, user)
	if r.err == nil && org == 0 {
		r.err = fmt.Errorf("%w: the seat %s of a login has no organisation", ErrForeign, id)
	}
	return s, r.err == nil, r.err
}

// attributes reads what a view says of entities, without a model. The first error stays; what
// is not there is empty.
type attributes struct {
	view    graph.View
	symbols *model.Table
	err     error
}

func (r *attributes) find(typ, id string) graph.ID {
	t, ok := r.symbols.TypeID(typ)
	if r.err != nil || !ok {
		return 0
	}
	var found graph.ID
	found, ok, r.err = r.view.Lookup(t, id)
	if r.err != nil || !ok {
		return 0
	}
	return found
}

// text is an attribute of an entity's document.
func (r *attributes) text(of graph.ID, name string) string {
	if r.err != nil || of == 0 {
		return ""
	}
	var d graph.Document
	d, _, r.err = r.view.Document(of)
	text, _ := d.Fields[name].(string)
	return text
}

// relation is that of an entity; false if there never was one of the name.
func (r *attributes) relation(of graph.ID, typ, name string) (graph.Userset, bool) {
	t, _ := r.symbols.TypeID(typ)
	id, ok := r.symbols.RelationID(t, name)
	return graph.Userset{Object: of, Relation: id}, ok && of != 0 && r.err == nil
}

// only is the first subject of a relation.
func (r *attributes) only(of graph.ID, typ, name string) graph.ID {
	u, ok := r.relation(of, typ, name)
	if !ok {
		return 0
	}
	var c graph.Cursor
	if r.err = r.view.Subjects(u, &c); r.err != nil || len(c.Edges) == 0 {
		return 0
	}
	return c.Edges[0].Subject.ID
}

func (r *attributes) has(of graph.ID, typ, name string, subject graph.ID) (has bool) {
	if u, ok := r.relation(of, typ, name); ok {
		_, has, r.err = r.view.Contains(u, graph.Subject{ID: subject})
	}
	return has
}
