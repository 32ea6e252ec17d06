package rpc

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// An edit is one edit of a request, as far as it can be read without the organisation.
type edit struct {
	message *remitv1.Edit
	path    string

	entity  crm.Entity  // of a Put without a mask
	records []crm.Ref   // of what is done to records
	shares  []crm.Share // of ShareRecords
	from    []crm.Party // of UnshareRecords

	touched []graph.ObjectName // what it named when it was made, for messages
}

// readEdits reads the edits of a request.
func readEdits(messages []*remitv1.Edit) ([]edit, error) {
	edits := make([]edit, len(messages))
	for i, m := range messages {
		edits[i] = edit{message: m, path: indexed("edits", i)}
		if err := edits[i].read(); err != nil {
			return nil, err
		}
	}
	return edits, nil
}

func (e *edit) read() (err error) {
	switch m := e.message.GetEdit().(type) {
	case *remitv1.Edit_Put:
		e.path += ".put"
		if m.Put.UpdateMask == nil {
			e.entity, err = entityOf(e.path+".entity", m.Put.Entity)
			return err
		}
		return checkMask(e.path, m.Put)
	case *remitv1.Edit_Delete:
		e.path += ".delete"
	case *remitv1.Edit_Share:
		e.path += ".share"
		if e.records, err = recordRefs(e.path+".records", m.Share.Records); err == nil {
			e.shares, err = sharesOf(e.path+".shares", m.Share.Shares)
		}
	case *remitv1.Edit_Unshare:
		e.path += ".unshare"
		if e.records, err = recordRefs(e.path+".records", m.Unshare.Records); err == nil {
			e.from, err = partiesOf(e.path+".from", m.Unshare.From)
		}
	case *remitv1.Edit_Transfer:
		e.path += ".transfer"
		if (m.Transfer.OwnedBy == "") == (len(m.Transfer.Records) == 0) {
			return at(e.path, fmt.Errorf("%w: give either the records or whose they are", backend.ErrRequest))
		}
		e.records, err = recordRefs(e.path+".records", m.Transfer.Records)
	case *remitv1.Edit_MoveHolders:
		e.path += ".move_holders"
	}
	return err
}

// ofRecords reports whether an edit is of records alone.
func (e *edit) ofRecords() bool {
	switch m := e.message.GetEdit().(type) {
	case *remitv1.Edit_Put:
		return m.Put.Entity.GetRecord() != nil
	case *remitv1.Edit_Delete:
		return m.Delete.Entity.GetKind() == remitv1.EntityKind_ENTITY_KIND_RECORD
	case *remitv1.Edit_MoveHolders:
		return false
	}
	return true
}

// named are the records that the edit takes to be there.
func (e *edit) named() []crm.Ref {
	switch m := e.message.GetEdit().(type) {
	case *remitv1.Edit_Put:
		if r := m.Put.Entity.GetRecord(); r != nil && m.Put.UpdateMask != nil {
			return []crm.Ref{{Module: r.Module, ID: r.Id}}
		}
	case *remitv1.Edit_Delete:
		if m.Delete.Entity.GetKind() == remitv1.EntityKind_ENTITY_KIND_RECORD {
			if ref, err := crm.ParseRef(m.Delete.Entity.Id); err == nil {
				return []crm.Ref{ref}
			}
		}
	}
	return e.records
}

// fields are those of a record that the edit names, and the record's module.
func (e *edit) fields() (module string, names []string) {
	r := e.message.GetPut().GetEntity().GetRecord()
	if r == nil {
		return "", nil
	}
	all := e.message.GetPut().UpdateMask == nil
	for _, path := range e.message.GetPut().UpdateMask.GetPaths() {
		name, field, one := strings.Cut(path, ".")
		switch {
		case name != "fields":
		case one:
			names = append(names, field)
		default:
			all = true
		}
	}
	if all {
		names = slices.AppendSeq(names, maps.Keys(r.Fields.GetFields()))
	}
	slices.Sort(names)
	return r.Module, names
}

// apply makes the edit in a draft. Errors name the field at fault.
func (e *edit) apply(d *crm.Draft, org string) error {
	e.touched = e.touched[:0]
	switch m := e.message.GetEdit().(type) {
	case *remitv1.Edit_Put:
		return e.put(d, m.Put, org)
	case *remitv1.Edit_Delete:
		key, err := entityKey(e.path+".entity", m.Delete.Entity, org)
		if err != nil {
			return err
		}
		e.touched = append(e.touched, key)
		return e.fault(d.Delete(key, m.Delete.TransferTo, m.Delete.IfVersion))
	case *remitv1.Edit_Share:
		return e.fault(d.Share(e.records, e.shares))
	case *remitv1.Edit_Unshare:
		return e.fault(d.Unshare(e.records, e.from))
	case *remitv1.Edit_Transfer:
		if m.Transfer.OwnedBy != "" {
			return e.fault(d.TransferAll(m.Transfer.OwnedBy, m.Transfer.To))
		}
		return e.fault(d.Transfer(e.records, m.Transfer.To))
	case *remitv1.Edit_MoveHolders:
		key, err := entityKey(e.path+".from", m.MoveHolders.From, org)
		if err != nil {
			return err
		}
		e.touched = append(e.touched, key)
		return e.fault(d.MoveHolders(key, m.MoveHolders.To))
	}
	return nil
}

func (e *edit) put(d *crm.Draft, m *remitv1.Put, org string) error {
	entity := e.entity
	if settings := m.Entity.GetSettings(); settings != nil && settings.Id == "" {
		settings = proto.CloneOf(settings)
		settings.Id = org
		m = &remitv1.Put{Entity: &remitv1.Entity{Entity: &remitv1.Entity_Settings{Settings: settings}}, UpdateMask: m.UpdateMask, IfVersion: m.IfVersion}
		if m.UpdateMask == nil {
			var err error
			if entity, err = entityOf(e.path+".entity", m.Entity); err != nil {
				return err
			}
		}
	}
	if m.UpdateMask != nil {
		var err error
		if entity, err = e.masked(d, m); err != nil {
			return err
		}
	}
	if role, ok := entity.(*crm.Role); ok && role.Parent == "" {
		var err error
		if entity, err = belowRoot(d, role); err != nil {
			return e.fault(err)
		}
	}
	e.touched = append(e.touched, entity.Key())
	return e.fault(d.Put(entity, m.IfVersion))
}

// belowRoot puts a role that is made, and that says nothing else, below the root.
func belowRoot(d *crm.Draft, role *crm.Role) (*crm.Role, error) {
	old, _, err := d.Entity(role.Key())
	if old != nil || err != nil {
		return role, err
	}
	root, err := d.Root()
	placed := *role
	placed.Parent = root
	return &placed, err
}

// masked is an entity as it is, but for the fields of a mask.
func (e *edit) masked(d *crm.Draft, m *remitv1.Put) (crm.Entity, error) {
	given := inner(m.Entity)
	identity, err := entityOf(e.path+".entity", identityOf(m.Entity))
	if err != nil {
		return nil, err
	}
	key := identity.Key()
	e.touched = append(e.touched, key)
	old, version, err := d.Entity(key)
	if err != nil {
		return nil, err
	}
	if old == nil {
		return nil, at(e.path+".entity", fmt.Errorf("%w: there is no %s, of which update_mask is to replace a part", ErrEntityNotFound, key))
	}
	was, err := entityMessage(old, version)
	if err != nil {
		return nil, err
	}
	if kindOfMessage(was) != kindOfMessage(m.Entity) {
		return nil, at(e.path+".entity", fmt.Errorf("%w: there is no %s of this kind", ErrEntityNotFound, key))
	}
	into := inner(was)
	for _, path := range m.UpdateMask.GetPaths() {
		replace(into, given, path)
	}
	return entityOf(e.path+".entity", was)
}

// fault says where the edit is at fault.
func (e *edit) fault(err error) error {
	if err == nil {
		return nil
	}
	path := e.path
	if conflict := (*crm.ConflictError)(nil); errors.As(err, &conflict) {
		path += ".if_version"
	} else if m := e.message.GetPut(); m != nil {
		path += ".entity." + entityKinds[kindOfMessage(m.Entity)].field
	}
	return at(path, err)
}

// concerns reports whether a fault of an entity may come from the edit.
func (e *edit) concerns(subject string) bool {
	return slices.ContainsFunc(e.touched, func(key graph.ObjectName) bool { return key.String() == subject }) ||
		slices.ContainsFunc(e.records, func(r crm.Ref) bool { return r.String() == subject })
}

// placed says which edit brought a fault about that planning all of them found: the last
// that named the entity at fault, or the only one.
func placed(edits []edit, err error) error {
	var faults *crm.Error
	if !errors.As(err, &faults) || len(faults.Faults) == 0 {
		return err
	}
	for i := range slices.Backward(edits) {
		if edits[i].concerns(faults.Faults[0].Subject) {
			return edits[i].fault(err)
		}
	}
	if len(edits) == 1 {
		return at(edits[0].path, err)
	}
	return at("edits", err)
}

// key names the entity that a Put was of when it was made.
func (e *edit) key() graph.ObjectName { return e.touched[len(e.touched)-1] }

// inner is the message of the entity that another one holds.
func inner(m *remitv1.Entity) protoreflect.Message {
	r := m.ProtoReflect()
	return r.Get(r.WhichOneof(r.Descriptor().Oneofs().ByName("entity"))).Message()
}

// identities are the fields that name an entity.
var identities = []protoreflect.Name{"id", "module"}

// identityOf is an entity with what names it, and nothing else.
func identityOf(m *remitv1.Entity) *remitv1.Entity {
	c := proto.CloneOf(m)
	of := inner(c)
	named := named(of)
	of.Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if !slices.Contains(named, f.Name()) {
			of.Clear(f)
		}
		return true
	})
	if r := c.GetRule(); r != nil {
		r.Source, r.Target = "everyone", "everyone" // which a rule cannot be without
	}
	return c
}

// named are the fields that name an entity of a kind: the module of a rule does not.
func named(of protoreflect.Message) []protoreflect.Name {
	switch of.Interface().(type) {
	case *remitv1.Field, *remitv1.Record:
		return identities
	}
	return identities[:1]
}

// checkMask checks that a mask names fields that can be replaced.
func checkMask(path string, m *remitv1.Put) error {
	of := inner(m.Entity)
	if len(m.UpdateMask.GetPaths()) == 0 {
		return at(path+".update_mask", fmt.Errorf("%w: it names no field", backend.ErrRequest))
	}
	for i, p := range m.UpdateMask.GetPaths() {
		where := indexed(path+".update_mask.paths", i)
		name, element, deep := strings.Cut(p, ".")
		f := of.Descriptor().Fields().ByName(protoreflect.Name(name))
		switch {
		case f == nil:
			return at(where, fmt.Errorf("%w: %s has no field %q", backend.ErrRequest, of.Descriptor().Name(), name))
		case slices.Contains(named(of), f.Name()):
			return at(where, fmt.Errorf("%w: %s names the entity and never changes", backend.ErrRequest, name))
		case deep && (element == "" || !f.IsMap() && !isStruct(f)):
			return at(where, fmt.Errorf("%w: %s has no elements to replace one by one", backend.ErrRequest, name))
		}
	}
	return nil
}

// replace makes a field of a message, or an element of it, what it is in another.
func replace(into, given protoreflect.Message, path string) {
	name, element, deep := strings.Cut(path, ".")
	f := into.Descriptor().Fields().ByName(protoreflect.Name(name))
	switch {
	case !deep && given.Has(f):
		into.Set(f, given.Get(f))
	case !deep:
		into.Clear(f)
	default:
		if isStruct(f) {
			// A Struct has one field, which is a map.
			into, given = into.Mutable(f).Message(), given.Get(f).Message()
			f = into.Descriptor().Fields().ByName("fields")
		}
		key := protoreflect.ValueOfString(element).MapKey()
		if v := given.Get(f).Map(); v.Has(key) {
			into.Mutable(f).Map().Set(key, v.Get(key))
		} else if into.Has(f) {
			into.Mutable(f).Map().Clear(key)
		}
	}
}

func isStruct(f protoreflect.FieldDescriptor) bool {
	return f.Message() != nil && f.Message().FullName() == "google.protobuf.Struct" && !f.IsList()
}
