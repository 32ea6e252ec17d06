package crm

import (
	"fmt"
	"slices"

	"github.com/remit-authz/remit/graph"
)

// rules are those that share what the owner owns: they hang on what the owner is part of.
func (w *why) rules(r *reach) {
	module := r.key.Type
	visit := func(source partyID, suffix string) {
		for _, rule := range w.subjects(source.id, module+suffix) {
			w.rule(r, rule, source)
		}
	}
	visit(partyID{User, r.owner.user}, suffixSource)
	visit(partyID{HoldersOf, r.owner.role}, suffixSource)
	for _, role := range r.owner.roles {
		visit(partyID{RoleAndSubordinates, role}, suffixSourceSub)
	}
	for _, group := range r.owner.order {
		visit(partyID{MembersOf, group}, suffixSource)
	}
}

// rule adds what one rule gives to the user.
func (w *why) rule(r *reach, rule graph.ID, source partyID) {
	target, ok := w.target(rule)
	if !ok {
		return
	}
	with, to := w.party(target, w.self), w.toParty(target, w.self)
	if !w.self.in(target) {
		if !w.is(rule, relSuperiors) || !w.aboveSome(target) {
			return
		}
		with, to = "the superiors of "+w.party(target, nil), nil
	}
	level := LevelView
	if w.is(rule, relReadWrite) {
		level = LevelEdit
	}
	if w.is(rule, relDeletes) {
		level = LevelDelete
	}
	g := Ground{
		Kind: GroundRule, Level: level, Entity: w.key(rule),
		Text: fmt.Sprintf("%s shares %s owned by %s with %s: %s", w.named(rule), w.module(r.key.Type), w.party(source, r.owner), with, level),
	}
	if !w.is(rule, relEnabled) {
		g.Text += ", but it is disabled"
		r.almost(openOnly, g)
		return
	}
	g.Facts = slices.Concat(w.ruleFacts(rule, r.key.Type, source), w.toParty(source, r.owner), to)
	r.add(openOnly, g)
}

// target is whom a rule shares with.
func (w *why) target(rule graph.ID) (partyID, bool) {
	for kind, s := range ruleRelations {
		if s.target == "" {
			continue
		}
		if id := w.first(rule, s.target); id != 0 {
			return partyID{PartyKind(kind), id}, true
		}
	}
	return partyID{kind: Everyone}, w.is(rule, relTargetAll)
}

// ruleFacts are the tuples of a rule.
func (w *why) ruleFacts(rule graph.ID, module string, source partyID) []Fact {
	facts := w.facts(source.id, module+ruleRelations[source.kind].source, graph.Subject{ID: rule})
	for _, flag := range []string{relTargetAll, relEnabled, relSuperiors, relReadWrite, relDeletes} {
		facts = append(facts, w.facts(rule, flag, w.everyone())...)
	}
	for _, s := range ruleRelations {
		if s.target != "" {
			if id := w.first(rule, s.target); id != 0 {
				facts = append(facts, w.facts(rule, s.target, graph.Subject{ID: id})...)
			}
		}
	}
	return facts
}
