package fsm

import (
	"fmt"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// An ErasureID names one erasure of an entity. It is a ULID, which the proposer makes.
type ErasureID [16]byte

// ParseErasureID reads the 26 characters of a ULID.
func ParseErasureID(s string) (ErasureID, error) {
	id, err := parseULID(s)
	if err != nil {
		return ErasureID{}, fmt.Errorf("%w: erasure id %q is not a ULID", ErrInvalid, s)
	}
	return ErasureID(id), nil
}

// String is the id as a ULID.
func (id ErasureID) String() string { return ModelID(id).String() }

// IsZero reports whether the id is no erasure.
func (id ErasureID) IsZero() bool { return id == ErasureID{} }

// Erase removes an entity from its store as if it had never been there: its tuples and
// its document with their past, every change that tells of it, the keys of retries, and
// its name. It takes many steps, each of bounded work: the first command names the
// Entity, and the same ID without one carries on until Result.Remaining is false. So only
// the first entry of the log holds the name. A step that is proposed twice does no harm,
// and an erasure that is over answers what it did.
//
// An entity that is being erased already is not erased twice: Result.Erased.ID is then
// the erasure to carry on with. A name that the store does not know as an entity's is
// erased as well, since changes may tell of it; so is one of no type, which then is that
// of somebody who wrote to the store.
//
// What others say of the entity in the head is not touched: see Mentions.
type Erase struct {
	ID     ErasureID
	Entity Entity // zero: carry on

	// Limit is how many rows the step examines at most; 0, or more than 10,000, is that
	// many.
	Limit uint64
}

// Erased says what an erasure has done.
type Erased struct {
	ID       ErasureID
	Type     model.TypeID   // of the entity; 0: it was only a name
	Revision graph.Revision // that ended it; 0: it is not over

	Tuples    uint64 // removed from the head
	Documents uint64 // removed from the head; 0 or 1
	Versions  uint64 // of tuples and documents removed from the past
	Changes   uint64 // that say no more than that something was erased
	Texts     uint64 // changes of which an author or a reason was blanked
	Keys      uint64 // of retries that were forgotten
	Examined  uint64 // rows looked at, which tells of progress
}

// An Erasure is one that is not over.
type Erasure struct {
	Entity Entity
	Began  graph.Revision
	Erased
}

// Erasures are those that are not over, in the order of their ids. They go on with an
// Erase of their ID.
func (s *Store) Erasures() []Erasure {
	all := make([]Erasure, len(s.index.erasing))
	for i, r := range s.index.erasing {
		all[i] = Erasure{Entity: r.entity, Began: r.began, Erased: r.Erased}
	}
	return all
}

func (b *Erase) kind() bodyKind { return kindErase }

func (b *Erase) validate(c *Command) error {
	switch {
	case b.ID.IsZero():
		return fmt.Errorf("%w: no erasure id", ErrInvalid)
	case c.Key != "":
		return fmt.Errorf("%w: an erasure has no idempotency key: its id is one", ErrInvalid)
	case b.Entity == Entity{}:
		return nil
	}
	e := b.Entity
	if e.Type == 0 {
		e.Type = 1 // no type is as good as any
	}
	return e.validate(false)
}

func (e *encoder) erased(r *Erased) {
	e.fixed(r.ID[:])
	e.uvarint(uint64(r.Type))
	e.uvarint(uint64(r.Revision))
	for _, n := range r.counts() {
		e.uvarint(*n)
	}
}

func (d *decoder) erased() *Erased {
	r := &Erased{}
	d.fixed(r.ID[:])
	r.Type = model.TypeID(d.uint32())
	r.Revision = graph.Revision(d.uvarint())
	for _, n := range r.counts() {
		*n = d.uvarint()
	}
	return r
}

// counts are in the order of their encoding.
func (r *Erased) counts() []*uint64 {
	return []*uint64{&r.Tuples, &r.Documents, &r.Versions, &r.Changes, &r.Texts, &r.Keys, &r.Examined}
}
