package fsm

import (
	"crypto/sha256"
	"fmt"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// commandFormat is the version of the encoding of commands.
const commandFormat = 1

// managedFormat is the version of those that only clusters of ManagedVersion know: of
// commands that are Planned, and of those that make a managed store. It says so by itself;
// all else is as in commandFormat.
const managedFormat = 2

// maxDeclarations bounds the lists of a model, so that decoding cannot be made to
// allocate far more than its input.
const maxDeclarations = 1 << 16

// Encode validates the command and gives its bytes.
func (c *Command) Encode() ([]byte, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	// Not in validate, since decoding must not refuse what newer nodes accept.
	if b, ok := c.Body.(*SetClusterVersion); ok && b.Version > ClusterVersion {
		return nil, fmt.Errorf("%w: cluster version %d, this program knows %d", ErrInvalid, b.Version, ClusterVersion)
	}
	hash := c.Hash
	if hash == ([32]byte{}) {
		hash = c.contentHash()
	}
	b := c.encode(hash)
	if len(b) > MaxCommandSize {
		return nil, fmt.Errorf("%w: %d bytes exceed %d", ErrTooLarge, len(b), MaxCommandSize)
	}
	return b, nil
}

// format is the version of the command's encoding.
func (c *Command) format() byte {
	if b, ok := c.Body.(*CreateStore); c.Planned || ok && b.Managed {
		return managedFormat
	}
	return commandFormat
}

// ClusterVersion is the least version of a cluster to which the command may be proposed:
// nodes that cannot follow it may be members of others, and would stop.
func (c *Command) ClusterVersion() uint64 {
	if c.format() == managedFormat {
		return ManagedVersion
	}
	return 0
}

func (c *Command) encode(hash [32]byte) []byte {
	e := &encoder{}
	e.byte(c.format())
	e.byte(byte(c.Body.kind()))
	e.fixed(c.Store[:])
	e.string(c.Principal)
	e.string(c.Key)
	e.fixed(hash[:])
	e.string(c.RequestID)
	e.string(c.Actor)
	e.string(c.Reason)
	e.conditions(c)
	e.body(c.Body)
	return e.b
}

// contentHash is what two retries of one request have in common: ids that a proposer
// generates afresh, and what only describes the request, are left out.
func (c *Command) contentHash() [32]byte {
	e := &encoder{}
	if c.format() != commandFormat {
		e.byte(0) // no kind: what follows is no content of the first format
		e.byte(c.format())
	}
	e.byte(byte(c.Body.kind()))
	switch b := c.Body.(type) {
	case *CreateStore:
		e.body(b)
	case *WriteModel:
		e.fixed(c.Store[:])
		e.body(&WriteModel{Source: b.Source, Declarations: b.Declarations})
	default:
		e.fixed(c.Store[:])
		e.conditions(c)
		e.body(b)
	}
	return sha256.Sum256(e.b)
}

func (e *encoder) conditions(c *Command) {
	e.uvarint(uint64(len(c.Preconditions)))
	for i := range c.Preconditions {
		p := &c.Preconditions[i]
		e.byte(byte(p.Kind))
		switch p.Kind {
		case DocumentVersion:
			e.entity(p.Entity)
			e.uvarint(p.Version)
		case TupleRevision:
			e.tuple(&p.Tuple)
			e.uvarint(p.Version)
		default:
			e.tuple(&p.Tuple)
		}
	}
	e.uvarint(uint64(len(c.Requires)))
	for _, r := range c.Requires {
		e.string(r.Scope)
		e.uvarint(r.Version)
	}
	e.uvarint(uint64(len(c.Bumps)))
	for _, b := range c.Bumps {
		e.string(b)
	}
}

func (e *encoder) entity(n Entity) {
	e.uvarint(uint64(n.Type))
	e.string(n.Name)
}

func (e *encoder) tuple(k *TupleKey) {
	e.entity(k.Object)
	e.uvarint(uint64(k.Relation))
	e.entity(k.Subject)
	e.uvarint(uint64(k.SubjectRelation))
}

func (e *encoder) body(b Body) {
	switch b := b.(type) {
	case *CreateStore:
		e.string(b.Name)
	case *DeleteStore:
	case *WriteModel:
		e.fixed(b.ID[:])
		e.bytes(b.Source)
		e.uvarint(uint64(len(b.Declarations.Types)))
		for _, t := range b.Declarations.Types {
			e.string(t.Name)
			e.uvarint(uint64(len(t.Relations)))
			for _, r := range t.Relations {
				e.string(r)
			}
		}
		e.uvarint(uint64(len(b.Declarations.Conditions)))
		for _, c := range b.Declarations.Conditions {
			e.string(c)
		}
	case *WriteAssertions:
		e.fixed(b.Model[:])
		e.bytes(b.Content)
	case *Write:
		e.uvarint(uint64(len(b.Operations)))
		for i := range b.Operations {
			e.operation(&b.Operations[i])
		}
	case *AdvanceExpiry:
		e.varint(b.Horizon)
	case *AdvanceHistory:
		e.uvarint(uint64(b.Horizon))
	case *SetRetention:
		e.varint(b.Retention)
	case *Erase:
		e.fixed(b.ID[:])
		e.entity(b.Entity)
		e.uvarint(b.Limit)
	case *SetClusterVersion:
		e.uvarint(b.Version)
	case *SetEpoch:
		e.uvarint(b.From)
		e.uvarint(b.To)
	case *HashCheck:
		e.uvarint(uint64(b.Index))
		e.fixed(b.Hash[:])
	}
}

func (e *encoder) operation(o *Operation) {
	e.byte(byte(o.Kind))
	switch o.Kind {
	case CreateTuple, TouchTuple, EnsureTuple:
		e.tuple(&o.Tuple)
		e.uvarint(uint64(o.Condition))
		e.bytes(o.Context)
		e.varint(o.Expires)
	case DeleteTuple, RemoveTuple:
		e.tuple(&o.Tuple)
	case PutDocument:
		e.entity(o.Entity)
		e.bytes(o.Fields)
	case DeleteDocument:
		e.entity(o.Entity)
	}
}

// A formatError is bytes of a version that this program does not know. It is apart from
// ErrCorrupt because it means that the program is too old, not that data is bad.
type formatError struct {
	what    string
	version uint64
}

func (e *formatError) Error() string {
	return fmt.Sprintf("%s of unknown format version %d: this program is too old", e.what, e.version)
}

// unknown is the fault of a kind that this program does not know. It must not end as a
// refusal: a newer node would apply the same command.
func (d *decoder) unknown(what string, kind byte) {
	if d.err == nil {
		d.err = &formatError{what, uint64(kind)}
	}
	d.b = nil
}

// DecodeCommand reads what Encode gave. The command aliases the input.
func DecodeCommand(b []byte) (*Command, error) {
	if len(b) > MaxCommandSize {
		return nil, fmt.Errorf("%w: %d bytes exceed %d", ErrTooLarge, len(b), MaxCommandSize)
	}
	d := &decoder{b: b}
	format := d.byte()
	if d.err == nil && format != commandFormat && format != managedFormat {
		return nil, &formatError{"command", uint64(format)}
	}
	kind := bodyKind(d.byte())
	if d.err == nil && (kind < kindCreateStore || kind >= kindEnd) {
		d.unknown("command kind", byte(kind))
	}
	c := &Command{}
	d.fixed(c.Store[:])
	c.Principal = d.string(MaxTextSize)
	c.Key = d.string(MaxTextSize)
	d.fixed(c.Hash[:])
	c.RequestID = d.string(MaxTextSize)
	c.Actor = d.string(MaxTextSize)
	c.Reason = d.string(MaxTextSize)
	d.conditions(c)
	c.Body = d.body(kind)
	if err := d.done(); err != nil {
		return nil, fmt.Errorf("decode command: %w", err)
	}
	if format == managedFormat {
		if b, ok := c.Body.(*CreateStore); ok {
			b.Managed = true
		} else {
			c.Planned = true
		}
	}
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("decode command: %w", err)
	}
	return c, nil
}

func (d *decoder) conditions(c *Command) {
	if n := d.count(MaxOperations); n > 0 {
		c.Preconditions = make([]Precondition, n)
		for i := range c.Preconditions {
			p := &c.Preconditions[i]
			p.Kind = PreconditionKind(d.byte())
			switch p.Kind {
			case TuplePresent, TupleAbsent:
				p.Tuple = d.tuple()
			case DocumentVersion:
				p.Entity = d.entity()
				p.Version = d.uvarint()
			case TupleRevision:
				p.Tuple = d.tuple()
				p.Version = d.uvarint()
			default:
				d.unknown("precondition kind", byte(p.Kind))
			}
		}
	}
	if n := d.count(MaxOperations); n > 0 {
		c.Requires = make([]ScopeVersion, n)
		for i := range c.Requires {
			c.Requires[i] = ScopeVersion{d.string(MaxTextSize), d.uvarint()}
		}
	}
	if n := d.count(MaxOperations); n > 0 {
		c.Bumps = make([]string, n)
		for i := range c.Bumps {
			c.Bumps[i] = d.string(MaxTextSize)
		}
	}
}

func (d *decoder) entity() Entity {
	return Entity{Type: model.TypeID(d.uint32()), Name: d.string(MaxNameSize)}
}

func (d *decoder) tuple() TupleKey {
	return TupleKey{
		Object:          d.entity(),
		Relation:        model.RelationID(d.uint32()),
		Subject:         d.entity(),
		SubjectRelation: model.RelationID(d.uint32()),
	}
}

func (d *decoder) body(kind bodyKind) Body {
	switch kind {
	case kindCreateStore:
		return &CreateStore{Name: d.string(MaxTextSize)}
	case kindDeleteStore:
		return &DeleteStore{}
	case kindWriteModel:
		b := &WriteModel{}
		d.fixed(b.ID[:])
		b.Source = d.bytes(MaxCommandSize)
		b.Declarations.Types = make([]model.TypeDeclaration, d.count(maxDeclarations))
		for i := range b.Declarations.Types {
			t := &b.Declarations.Types[i]
			t.Name = d.string(MaxSymbolSize)
			t.Relations = d.strings()
		}
		b.Declarations.Conditions = d.strings()
		return b
	case kindWriteAssertions:
		b := &WriteAssertions{}
		d.fixed(b.Model[:])
		b.Content = d.bytes(MaxCommandSize) // validate refuses what is too large
		return b
	case kindWrite:
		b := &Write{Operations: make([]Operation, d.count(MaxOperations))}
		for i := range b.Operations {
			d.operation(&b.Operations[i])
		}
		return b
	case kindAdvanceExpiry:
		return &AdvanceExpiry{Horizon: d.varint()}
	case kindAdvanceHistory:
		return &AdvanceHistory{Horizon: graph.Revision(d.uvarint())}
	case kindSetRetention:
		return &SetRetention{Retention: d.varint()}
	case kindErase:
		b := &Erase{}
		d.fixed(b.ID[:])
		b.Entity, b.Limit = d.entity(), d.uvarint()
		return b
	case kindSetClusterVersion:
		return &SetClusterVersion{Version: d.uvarint()}
	case kindSetEpoch:
		return &SetEpoch{From: d.uvarint(), To: d.uvarint()}
	case kindHashCheck:
		b := &HashCheck{Index: graph.Revision(d.uvarint())}
		d.fixed(b.Hash[:])
		return b
	}
	d.fail("unknown kind")
	return nil
}

func (d *decoder) strings() []string {
	n := d.count(maxDeclarations)
	if n == 0 {
		return nil
	}
	s := make([]string, n)
	for i := range s {
		s[i] = d.string(MaxSymbolSize)
	}
	return s
}

func (d *decoder) operation(o *Operation) {
	o.Kind = OperationKind(d.byte())
	switch o.Kind {
	case CreateTuple, TouchTuple, EnsureTuple:
		o.Tuple = d.tuple()
		o.Condition = model.ConditionID(d.uint32())
		o.Context = d.bytes(MaxCommandSize)
		o.Expires = d.varint()
	case DeleteTuple, RemoveTuple:
		o.Tuple = d.tuple()
	case PutDocument:
		o.Entity = d.entity()
		o.Fields = d.bytes(MaxCommandSize)
	case DeleteDocument:
		o.Entity = d.entity()
	default:
		d.unknown("operation kind", byte(o.Kind))
	}
}
