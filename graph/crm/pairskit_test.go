package crm

import (
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// Fork is a copy that goes its own way. What was deleted before is forgotten.
func (s *Managed) Fork() *Managed {
	fork := &Managed{
		store: &store{Memory: graph.NewMemory(1, time.Time{}), plan: s.plan},
		table: s.table.Clone(), scopes: maps.Clone(s.scopes),
	}
	s.entities(func(typ model.TypeID, name string, id graph.ID) {
		fork.Entity(typ, name) // each gets the id that it has here
		document, ok, _ := s.Memory.Document(id)
		for range document.Version {
			fork.SetDocument(id, document.Fields)
		}
		if ok && document.Version == 0 {
			panic("a document without a version")
		}
	})
	var c graph.RowCursor
	for !c.Done {
		if err := s.Rows(&c); err != nil {
			panic(err)
		}
		for _, row := range c.Rows {
			fork.PutRow(row)
		}
	}
	return fork
}

// entities visits all that has an id.
func (s *Managed) entities(visit func(typ model.TypeID, name string, id graph.ID)) {
	for _, t := range s.plan.Types() {
		for n := uint64(1); ; n++ {
			id := graph.MakeID(t.ID, n)
			name, err := s.Name(id)
			if errors.Is(err, graph.ErrUnknownEntity) {
				break
			}
			visit(t.ID, name, id)
		}
	}
}

// DraftWithin begins a draft under limits of its own.
func (s *Managed) DraftWithin(limits Limits) *Draft { return NewDraft(s, s.plan, limits) }

// Failing are the guards of a plan that fail now.
func (s *Managed) Failing(t testing.TB, p *Plan) []string {
	t.Helper()
	var failing []string
	for _, r := range p.Read {
		if s.Conflict(&Plan{Read: []DocumentVersion{r}}) != nil {
			failing = append(failing, "document "+r.Entity.String())
		}
	}
	for _, r := range p.Requires {
		if s.scopes[r.Scope] != r.Version {
			failing = append(failing, "scope "+r.Scope)
		}
	}
	return failing
}

// Sound is the organisation that the store holds. It is valid within the limits, and the
// store holds its encoding and nothing else, claims of names included.
func (s *Managed) Sound(limits Limits) (*Organisation, error) {
	o, err := Decode(s.Memory, s.plan) // which validates, and compares with what it encodes
	if err != nil {
		return nil, err
	}
	if n := len(o.Shifts); n > limits.Shifts {
		return nil, fmt.Errorf("there are %d shifts, at most %d are allowed", n, limits.Shifts)
	}
	documents := map[graph.ObjectName]bool{}
	for e := range o.Entities() {
		documents[e.Key()] = true
		for _, claim := range claims(e) {
			documents[claim] = true
		}
	}
	s.entities(func(typ model.TypeID, name string, id graph.ID) {
		key := entity(s.plan.TypeByID(typ).Name, name)
		if _, there, _ := s.Memory.Document(id); there != documents[key] {
			err = errors.Join(err, fmt.Errorf("there is a document of %s: %v", key, there))
		}
	})
	return o, err
}
