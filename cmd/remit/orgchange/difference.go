// Package orgchange says what has to be edited so that an organisation becomes what a file
// says, and in which steps if one change cannot hold all of it. It calls nobody: what is
// there has been read before, and what comes out is edits for the API.
package orgchange

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/rpc"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// A State is an organisation as it was read, with the versions of its entities.
type State struct {
	Organisation *crm.Organisation
	Versions     map[graph.ObjectName]uint64
}

// NewState is that of an organisation of which nothing has been read yet.
func NewState() *State {
	return &State{Organisation: &crm.Organisation{}, Versions: map[graph.ObjectName]uint64{}}
}

// Add takes an entity that has been read.
func (s *State) Add(m *remitv1.Entity) error {
	e, err := rpc.EntityOf(m)
	if err != nil {
		return err
	}
	s.Versions[e.Key()] = m.GetVersion()
	s.take(e)
	return nil
}

// take puts an entity into the organisation, which does not have it yet.
func (s *State) take(e crm.Entity) {
	o := s.Organisation
	switch e := e.(type) {
	case *crm.Head:
		o.ID, o.Name, o.SuperAdmin, o.Settings = e.ID, e.Name, e.SuperAdmin, e.Settings
	case *crm.Seat:
		o.Seats = append(o.Seats, *e)
	case *crm.Role:
		o.Roles = append(o.Roles, *e)
	case *crm.Profile:
		o.Profiles = append(o.Profiles, *e)
	case *crm.Module:
		o.Modules = append(o.Modules, *e)
	case *crm.Field:
		o.Fields = append(o.Fields, *e)
	case *crm.Group:
		o.Groups = append(o.Groups, *e)
	case *crm.Team:
		o.Teams = append(o.Teams, *e)
	case *crm.Rule:
		o.Rules = append(o.Rules, *e)
	case *crm.Shift:
		o.Shifts = append(o.Shifts, *e)
	case *crm.Record:
		o.Records = append(o.Records, *e)
	}
}

// An Edit is what happens to one entity: it is made (Before is nil), changed, or deleted
// (After is nil).
type Edit struct {
	Before, After crm.Entity

	// Heir is the role that takes over from one that is deleted.
	Heir string
}

// Key names the entity.
func (e Edit) Key() graph.ObjectName {
	if e.After == nil {
		return e.Before.Key()
	}
	return e.After.Key()
}

// Difference are the edits that make an organisation into another one: what is put, each
// behind what it refers to, and then what is deleted, in reverse. It puts both into their
// canonical order. The error is that of an attribute that no message can hold.
func Difference(have, want *crm.Organisation) ([]Edit, error) {
	have.Sort()
	want.Sort()
	before := map[graph.ObjectName]crm.Entity{}
	for e := range have.Entities() {
		before[e.Key()] = e
	}
	kept := map[graph.ObjectName]bool{}
	var puts, deletes []Edit
	for e := range want.Entities() {
		key := e.Key()
		kept[key] = true
		same, err := sameMessage(before[key], e)
		if err != nil {
			return nil, err
		}
		if !same {
			puts = append(puts, Edit{Before: before[key], After: e})
		}
	}
	heirs := newHeirs(have, want)
	for e := range have.Entities() {
		if !kept[e.Key()] {
			deletes = append(deletes, Edit{Before: e, Heir: heirs.of(e)})
		}
	}
	puts = ordered(puts, func(e Edit) crm.Entity { return e.After })
	deletes = ordered(deletes, func(e Edit) crm.Entity { return e.Before })
	slices.Reverse(deletes)
	return append(puts, deletes...), nil
}

// sameMessage compares entities as the API carries them, where an empty list is none.
func sameMessage(a, b crm.Entity) (bool, error) {
	if a == nil {
		return false, nil
	}
	x, err := rpc.EntityMessage(a, 0)
	if err != nil {
		return false, err
	}
	y, err := rpc.EntityMessage(b, 0)
	if err != nil {
		return false, err
	}
	return proto.Equal(x, y), nil
}

// heirs find the role that takes over from one that goes: the nearest above it that stays,
// or else the root. Whoever is still to refer to it does so in a section that stays.
type heirs struct {
	stays map[string]bool
	above map[string]string // in the organisation as it is
	root  string            // of the organisation that is wanted
}

func newHeirs(have, want *crm.Organisation) *heirs {
	h := &heirs{stays: map[string]bool{}, above: map[string]string{}}
	for i := range want.Roles {
		h.stays[want.Roles[i].ID] = true
		if want.Roles[i].Parent == "" {
			h.root = want.Roles[i].ID
		}
	}
	for i := range have.Roles {
		h.above[have.Roles[i].ID] = have.Roles[i].Parent
	}
	return h
}

// of is who takes over from an entity; empty for what is no role.
func (h *heirs) of(e crm.Entity) string {
	role, ok := e.(*crm.Role)
	if !ok {
		return ""
	}
	for id := role.Parent; id != ""; id = h.above[id] {
		if h.stays[id] {
			return id
		}
	}
	return h.root
}

// ordered sorts edits so that what an entity stands below or contains comes before it,
// if that is edited, too; what goes round stays as it comes. Kinds stay in their order.
func ordered(edits []Edit, entity func(Edit) crm.Entity) []Edit {
	at := make(map[graph.ObjectName]int, len(edits))
	for i, e := range edits {
		at[entity(e).Key()] = i
	}
	out := make([]Edit, 0, len(edits))
	seen := make([]bool, len(edits))
	var visit func(i int)
	visit = func(i int) {
		if seen[i] {
			return
		}
		seen[i] = true
		for _, key := range above(entity(edits[i])) {
			if j, ok := at[key]; ok {
				visit(j)
			}
		}
		out = append(out, edits[i])
	}
	for i := range edits {
		visit(i)
	}
	return out
}

// above are the entities of the same kind that one stands below or contains; of a record
// the records above it.
func above(e crm.Entity) []graph.ObjectName {
	var keys []graph.ObjectName
	switch e := e.(type) {
	case *crm.Role:
		keys = append(keys, (&crm.Role{ID: e.Parent}).Key())
	case *crm.Seat:
		keys = append(keys, (&crm.Seat{ID: e.Manager}).Key())
	case *crm.Module:
		for _, id := range e.Parents {
			keys = append(keys, (&crm.Module{ID: id}).Key())
		}
	case *crm.Group:
		for _, m := range e.Members {
			if m.Kind == crm.MembersOf {
				keys = append(keys, (&crm.Group{ID: m.ID}).Key())
			}
		}
	case *crm.Record:
		for _, p := range e.Parents {
			keys = append(keys, p.Key())
		}
	}
	return keys
}

// Message is the edit as the API carries it, for an entity of a version; 0 is one that is
// not there.
func (e Edit) Message(version uint64) (*remitv1.Edit, error) {
	if e.After == nil {
		return &remitv1.Edit{Edit: &remitv1.Edit_Delete{Delete: &remitv1.Delete{
			Entity: rpc.RefOf(e.Before), TransferTo: e.Heir, IfVersion: &version,
		}}}, nil
	}
	m, err := rpc.EntityMessage(e.After, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.Key(), err)
	}
	return &remitv1.Edit{Edit: &remitv1.Edit_Put{Put: &remitv1.Put{Entity: m, IfVersion: &version}}}, nil
}
