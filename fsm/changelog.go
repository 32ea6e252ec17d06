package fsm

import (
	"encoding/binary"
	"fmt"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/condition"
	"github.com/remit-authz/remit/graph/model"
)

// A ChangeKind says what happened.
type ChangeKind byte

// The kinds of changes, as they stand in the changelog; never renumbered.
const (
	StoreCreated    ChangeKind = 1
	ModelWritten    ChangeKind = 2
	TuplePut        ChangeKind = 3
	TupleDeleted    ChangeKind = 4
	TupleExpired    ChangeKind = 5
	DocumentPut     ChangeKind = 6
	DocumentDeleted ChangeKind = 7

	AssertionsWritten ChangeKind = 8
	AssertionsRemoved ChangeKind = 9

	RetentionSet ChangeKind = 10

	// Changes of the group, in its own changelog: what happens to stores outlives them.
	StoreAdded        ChangeKind = 11
	StoreDeleted      ChangeKind = 12
	ClusterVersionSet ChangeKind = 13
	EpochSet          ChangeKind = 14

	ChangeErased ChangeKind = 15 // in the place of one that told of an erased entity
	EntityErased ChangeKind = 16
)

// restoredOrdinal is the place of the epoch that a restored state gets, behind whatever
// commands left at the same revision.
const restoredOrdinal = 1 << 31

// onTuple reports whether the change is one of a tuple.
func (k ChangeKind) onTuple() bool {
	return k == TuplePut || k == TupleDeleted || k == TupleExpired
}

// onDocument reports whether the change is one of a document.
func (k ChangeKind) onDocument() bool { return k == DocumentPut || k == DocumentDeleted }

// A Change is one operation that took effect, in the order of the log.
type Change struct {
	Revision graph.Revision
	Ordinal  uint32 // the place among the store's changes at the revision
	Time     int64  // the leader's, in milliseconds since 1970 UTC

	Kind ChangeKind

	// Who asked, and why, as the command says.
	Principal, Actor, RequestID, Reason string

	Tuple   graph.Row // of tuples; what was there, if it was removed
	Entity  graph.ID  // of documents
	Version uint64    // of documents
	Fields  []byte    // of documents put
	Model   ModelID   // of models and assertions
	Name    string    // of stores

	Retention int64 // of retentions, as in SetRetention

	Store    StoreID // that was added to the group or deleted
	Tuples   uint64  // that a deleted store had
	From, To uint64  // of numbers of the group

	Erased *Erased // of an erasure that is over
}

// change completes a change from its command and records it.
func (t *tx) change(st *storeIndex, c *Command, ch *Change) {
	if t.ordinals == nil {
		t.ordinals = make(map[StoreID]uint32)
	}
	ch.Revision, ch.Ordinal, ch.Time = t.rev, t.ordinals[st.id], t.now
	t.ordinals[st.id]++
	ch.Principal, ch.Actor, ch.RequestID, ch.Reason = c.Principal, c.Actor, c.RequestID, c.Reason
	for _, r := range t.erasures(st) {
		r.scrub(ch)
	}
	t.set(changeKey(st.id, ch.Revision, ch.Ordinal), ch.encode())
}

func (c *Change) encode() []byte {
	e := newRow()
	e.byte(byte(c.Kind))
	e.varint(c.Time)
	e.string(c.Principal)
	e.string(c.Actor)
	e.string(c.RequestID)
	e.string(c.Reason)
	switch c.Kind {
	case StoreCreated:
		e.string(c.Name)
	case ModelWritten, AssertionsWritten, AssertionsRemoved:
		e.fixed(c.Model[:])
	case RetentionSet:
		e.varint(c.Retention)
	case EntityErased:
		e.erased(c.Erased)
	case StoreAdded:
		e.fixed(c.Store[:])
		e.string(c.Name)
	case StoreDeleted:
		e.fixed(c.Store[:])
		e.string(c.Name)
		e.uvarint(c.Tuples)
	case ClusterVersionSet, EpochSet:
		e.uvarint(c.From)
		e.uvarint(c.To)
	case TuplePut, TupleDeleted, TupleExpired:
		e.uvarint(uint64(c.Tuple.Userset.Object))
		e.uvarint(uint64(c.Tuple.Userset.Relation))
		e.uvarint(uint64(c.Tuple.Edge.Subject.ID))
		e.uvarint(uint64(c.Tuple.Edge.Subject.Relation))
		e.uvarint(uint64(c.Tuple.Edge.Condition))
		e.bytes(contextBytes(c.Tuple.Edge.Context))
		e.varint(c.Tuple.Edge.Expires)
		e.varint(c.Tuple.Written)
	case DocumentPut, DocumentDeleted:
		e.uvarint(uint64(c.Entity))
		e.uvarint(c.Version)
		e.bytes(c.Fields)
	}
	return e.b
}

// decodeChange reads a row of the changelog, whose bytes must not change afterwards.
func decodeChange(key, b []byte) (*Change, error) {
	suffix, err := suffixOf(key, 12)
	if err != nil {
		return nil, err
	}
	d := readRow(b)
	c := &Change{
		Revision: graph.Revision(binary.BigEndian.Uint64(suffix)), Ordinal: binary.BigEndian.Uint32(suffix[8:]),
		Kind: ChangeKind(d.byte()), Time: d.varint(),
		Principal: d.string(MaxTextSize), Actor: d.string(MaxTextSize), RequestID: d.string(MaxTextSize), Reason: d.string(MaxTextSize),
	}
	switch c.Kind {
	case StoreCreated:
		c.Name = d.string(MaxTextSize)
	case ModelWritten, AssertionsWritten, AssertionsRemoved:
		d.fixed(c.Model[:])
	case RetentionSet:
		c.Retention = d.varint()
	case ChangeErased:
	case EntityErased:
		c.Erased = d.erased()
	case StoreAdded:
		d.fixed(c.Store[:])
		c.Name = d.string(MaxTextSize)
	case StoreDeleted:
		d.fixed(c.Store[:])
		c.Name, c.Tuples = d.string(MaxTextSize), d.uvarint()
	case ClusterVersionSet, EpochSet:
		c.From, c.To = d.uvarint(), d.uvarint()
	case TuplePut, TupleDeleted, TupleExpired:
		c.Tuple.Userset = graph.Userset{Object: graph.ID(d.uvarint()), Relation: model.RelationID(d.uint32())}
		c.Tuple.Edge.Subject = graph.Subject{ID: graph.ID(d.uvarint()), Relation: model.RelationID(d.uint32())}
		c.Tuple.Edge.Condition = model.ConditionID(d.uint32())
		ctx, err := condition.DecodeContext(d.bytes(MaxCommandSize))
		if err != nil {
			return nil, fmt.Errorf("decode change: %w", err)
		}
		c.Tuple.Edge.Context = ctx
		c.Tuple.Edge.Expires = d.varint()
		c.Tuple.Written = d.varint()
	case DocumentPut, DocumentDeleted:
		c.Entity, c.Version, c.Fields = graph.ID(d.uvarint()), d.uvarint(), d.bytes(MaxCommandSize)
	default:
		d.fail("unknown kind")
	}
	if err := d.done(); err != nil {
		return nil, fmt.Errorf("decode change: %w", err)
	}
	return c, nil
}
