package graph

import (
	"fmt"
	"time"

	"github.com/remit-authz/remit/graph/condition"
	"github.com/remit-authz/remit/graph/model"
)

// Resolved is a tuple's names as the store's ids, its entities excepted: giving those
// out is the business of whoever stores the tuple.
type Resolved struct {
	Object          model.TypeID
	Relation        *model.Relation
	Subject         model.TypeID
	SubjectRelation model.RelationID
	Condition       model.ConditionID
}

// CheckTuple finds out whether the model allows the tuple to be written: its names
// are well formed and known, and the relation's type restrictions admit its subject
// with its condition. Otherwise the error is a *TupleError that lists what is allowed.
func CheckTuple(p *model.Plan, t Tuple) (Resolved, error) {
	if err := t.Validate(); err != nil {
		return Resolved{}, err
	}
	r, err := ResolveRelation(p, t.Object.Type, t.Relation)
	if err != nil {
		return Resolved{}, err
	}
	kind, err := ResolveKind(p, t.Subject.Type, t.Subject.Relation)
	if err != nil {
		return Resolved{}, err
	}
	resolved := Resolved{Object: r.Type.ID, Relation: r, Subject: kind.Type.ID}
	if kind.Relation != nil {
		resolved.SubjectRelation = kind.Relation.ID
	}
	if len(r.Allowed) == 0 {
		return Resolved{}, &TupleError{
			Field: "relation", Text: t.Relation, Err: ErrNotAllowed,
			Reason: fmt.Sprintf("%s#%s is computed by the model and takes no tuples of its own", r.Type.Name, r.Name),
		}
	}
	var found *condition.Condition
	matches := false
	for i := range r.Allowed {
		a := &r.Allowed[i]
		if a.Type != kind.Type || a.Relation != kind.Relation || a.Wildcard != t.Subject.IsWildcard() {
			continue
		}
		matches = true
		if conditionName(a) == t.Condition {
			found, resolved.Condition = a.Condition, a.ConditionID
			if t.Condition == "" {
				return resolved, contextWithoutCondition(t)
			}
			break
		}
	}
	switch {
	case found != nil:
		if err := found.CheckContext(t.Context); err != nil {
			return Resolved{}, &TupleError{
				Field: "context", Text: t.Condition, Err: fmt.Errorf("%w: %w", ErrInvalid, err), Reason: err.Error(),
			}
		}
		return resolved, nil
	case t.Condition != "" && !conditionKnown(p, t.Condition):
		return Resolved{}, &TupleError{
			Field: "condition", Text: shorten(t.Condition), Err: ErrConditionNotFound,
			Reason: "the model has no type restriction with such a condition", Allowed: Restrictions(r),
		}
	case matches && t.Condition == "":
		return Resolved{}, &TupleError{
			Field: "subject", Text: shorten(t.Subject.String()), Err: ErrNotAllowed,
			Reason:  fmt.Sprintf("%s#%s takes this subject only with a condition", r.Type.Name, r.Name),
			Allowed: Restrictions(r),
		}
	case matches:
		return Resolved{}, &TupleError{
			Field: "condition", Text: shorten(t.Condition), Err: ErrNotAllowed,
			Reason:  fmt.Sprintf("%s#%s does not take this subject with this condition", r.Type.Name, r.Name),
			Allowed: Restrictions(r),
		}
	}
	return Resolved{}, &TupleError{
		Field: "subject", Text: shorten(t.Subject.String()), Err: ErrNotAllowed,
		Reason:  fmt.Sprintf("%s#%s does not take subjects of this kind", r.Type.Name, r.Name),
		Allowed: Restrictions(r),
	}
}

func contextWithoutCondition(t Tuple) error {
	if len(t.Context) == 0 {
		return nil
	}
	return &TupleError{
		Field: "context", Text: shorten(t.String()), Err: ErrInvalid,
		Reason: "the tuple has a context but no condition that could use it",
	}
}

// ResolveRelation finds a type's relation by their names.
func ResolveRelation(p *model.Plan, typeName, relation string) (*model.Relation, error) {
	t, err := ResolveType(p, "object", typeName)
	if err != nil {
		return nil, err
	}
	return relationOf("relation", t, relation)
}

// ResolveType finds a type by name; field says where the name stood.
func ResolveType(p *model.Plan, field, name string) (*model.Type, error) {
	if t, ok := p.Type(name); ok {
		return t, nil
	}
	e := &TupleError{Field: field, Text: shorten(name), Err: ErrTypeNotFound, Reason: "the model has no such type"}
	for _, t := range p.Types() {
		e.Allowed = append(e.Allowed, t.Name)
	}
	return nil, e
}

// ResolveKind finds a kind of subject by its names; relation "" is the entities.
func ResolveKind(p *model.Plan, typeName, relation string) (SubjectKind, error) {
	t, err := ResolveType(p, "subject", typeName)
	if err != nil || relation == "" {
		return SubjectKind{Type: t}, err
	}
	r, err := relationOf("subject", t, relation)
	return SubjectKind{Type: t, Relation: r}, err
}

func relationOf(field string, t *model.Type, name string) (*model.Relation, error) {
	if r, ok := t.Relation(name); ok {
		return r, nil
	}
	e := &TupleError{
		Field: field, Text: shorten(name), Err: ErrRelationNotFound,
		Reason: fmt.Sprintf("type %s has no such relation", t.Name),
	}
	for _, r := range t.Relations {
		e.Allowed = append(e.Allowed, r.Name)
	}
	return nil, e
}

// Restrictions writes a relation's type restrictions as the model's language does.
func Restrictions(r *model.Relation) []string {
	texts := make([]string, len(r.Allowed))
	for i := range r.Allowed {
		a := &r.Allowed[i]
		texts[i] = a.Type.Name
		switch {
		case a.Wildcard:
			texts[i] += ":*"
		case a.Relation != nil:
			texts[i] += "#" + a.Relation.Name
		}
		if a.Condition != nil {
			texts[i] += " with " + a.Condition.Name()
		}
	}
	return texts
}

func conditionName(a *model.Restriction) string {
	if a.Condition == nil {
		return ""
	}
	return a.Condition.Name()
}

func conditionKnown(p *model.Plan, name string) bool {
	for _, t := range p.Types() {
		for _, r := range t.Relations {
			for i := range r.Allowed {
				if conditionName(&r.Allowed[i]) == name {
					return true
				}
			}
		}
	}
	return false
}

// row makes a row of a tuple whose names are resolved.
func (r Resolved) row(t Tuple, object, subject ID) (Row, error) {
	row := Row{
		Userset: Userset{Object: object, Relation: r.Relation.ID},
		Edge: Edge{
			Subject:   Subject{ID: subject, Relation: r.SubjectRelation},
			Condition: r.Condition,
			Expires:   milliseconds(t.Expires),
		},
	}
	if len(t.Context) > 0 {
		c, err := condition.NewContext(t.Context)
		if err != nil {
			return Row{}, &TupleError{Field: "context", Text: t.Condition, Reason: err.Error(), Err: fmt.Errorf("%w: %w", ErrInvalid, err)}
		}
		row.Edge.Context = c
	}
	return row, nil
}

// milliseconds is an expiry as edges hold it. An instant at or before the epoch is
// kept as the first millisecond, for 0 means never.
func milliseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return max(t.UnixMilli(), 1)
}
