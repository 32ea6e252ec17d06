package graph

import (
	"fmt"

	"github.com/remit-authz/remit/graph/model"
)

// A Revision is a moment of the replicated state: the index of the log entry that
// produced it. Revisions only grow.
type Revision uint64

// An ID names an entity (a user, a document …) within one store. It carries the
// entity's type in its upper 24 bits and a sequence number in the lower 40, so its
// order groups entities by type and its type costs no lookup. Sequence 0 is the
// type's wildcard, "every entity of this type"; sequences with bit 39 set belong to
// one request (see Overlay) and are never stored. The zero ID is no entity.
type ID uint64

const (
	sequenceBits = 40
	// MaxSequence is the highest sequence number that a store may give out.
	MaxSequence = 1<<(sequenceBits-1) - 1
	localBit    = 1 << (sequenceBits - 1)
)

// MakeID joins a type and a sequence number.
func MakeID(t model.TypeID, sequence uint64) ID {
	return ID(uint64(t)<<sequenceBits | sequence)
}

// Wildcard is the id that stands for every entity of a type.
func Wildcard(t model.TypeID) ID { return MakeID(t, 0) }

// Type is the entity's type.
func (id ID) Type() model.TypeID { return model.TypeID(id >> sequenceBits) }

// Sequence is the entity's number within its type; 0 for the wildcard.
func (id ID) Sequence() uint64 { return uint64(id) & (1<<sequenceBits - 1) }

// IsWildcard reports whether the id stands for every entity of its type.
func (id ID) IsWildcard() bool { return id != 0 && id.Sequence() == 0 }

// IsLocal reports whether the id was given out by an Overlay, for one request.
func (id ID) IsLocal() bool { return id&localBit != 0 }

// String shows the id for logs and test failures; names are for people.
func (id ID) String() string { return fmt.Sprintf("%d/%d", id.Type(), id.Sequence()) }

// A Userset is a relation of an object: all subjects that have it.
type Userset struct {
	Object   ID
	Relation model.RelationID
}

// A Subject is what a tuple grants its relation to: an entity or a type's wildcard
// (Relation 0), or a userset.
type Subject struct {
	ID       ID
	Relation model.RelationID
}

// Compare orders subjects as the View does: by relation first, so that the entities of
// a userset come before the usersets it contains, then by id.
func (s Subject) Compare(o Subject) int {
	switch {
	case s.Relation != o.Relation:
		if s.Relation < o.Relation {
			return -1
		}
		return 1
	case s.ID < o.ID:
		return -1
	case s.ID > o.ID:
		return 1
	}
	return 0
}
