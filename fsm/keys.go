package fsm

import (
	"encoding/binary"
	"fmt"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// A space is the first byte of a key and says what kind of row it is. After it, in
// every space but spaceMeta, come the 16 bytes of the store, so that a store's rows of
// one kind are one range: that is what deleting, retaining and moving a store need.
// The zero store holds what belongs to the group. Numbers are big-endian, so bytes
// order as numbers do. Values of spaces are never reused.
type space byte

// The key spaces. Those marked (h) are covered by the state hash.
const (
	spaceMeta          space = 0x00 // name → applied row, layout version, what the files are clean up to
	spaceGroup         space = 0x01 // (h) zero store, name → cluster version, epoch
	spaceStore         space = 0x02 // (h) store → its name, creation, horizons
	spaceTally         space = 0x03 // store → hash and number of its live rows
	spaceSymbol        space = 0x04 // (h) store, kind, id → name
	spaceModel         space = 0x05 // (h) store, model id → revision, time, source
	spaceSequence      space = 0x06 // (h) store, type → last entity sequence
	spaceName          space = 0x07 // (h) store, type, name → sequence, created
	spaceEntity        space = 0x08 // (h) store, id → name, created
	spaceForward       space = 0x09 // (h) store, object, relation, subject → tuple
	spaceReverse       space = 0x0a // (h) store, relation, subject, object → nothing
	spaceForwardPast   space = 0x0b // forward key, deleted → tuple
	spaceReversePast   space = 0x0c // reverse key, deleted → nothing
	spaceDocument      space = 0x0d // (h) store, id → document
	spaceDocumentPast  space = 0x0e // document key, deleted → document
	spaceScope         space = 0x0f // (h) store, name → version
	spaceChange        space = 0x10 // store, revision, ordinal → change
	spaceRevisionTime  space = 0x11 // zero store, revision → time
	spaceTimeRevision  space = 0x12 // zero store, time → last revision
	spaceIdempotency   space = 0x13 // (h) store, principal, key → hash, time, answer
	spaceIdempotencyAt space = 0x14 // store, time, principal, key → nothing
	spaceExpiry        space = 0x15 // store, expires, forward suffix → nothing
	spaceCleanup       space = 0x16 // store, deleted, kind, suffix → nothing
	spaceAssertions    space = 0x17 // (h) store, model id → revision, content
	spaceErasure       space = 0x18 // (h) store, erasure id → what it did, how far it is
	spaceEnd           space = 0x19
)

// layoutVersion is written at creation and checked at every start.
const layoutVersion = 1

// The names in spaceMeta and spaceGroup.
const (
	metaLayout      = 0x00
	metaApplied     = 0x01
	metaRewritten   = 0x02
	groupClusterVer = 0x01
	groupEpoch      = 0x02
	groupRewrite    = 0x03
	prefixSize      = 1 + 16
	tupleSuffixSize = 8 + 4 + 4 + 8
)

// The kinds of symbols and of clean-up rows.
const (
	symbolType      = 1
	symbolRelation  = 2
	symbolCondition = 3
	cleanupTuple    = 1
	cleanupDocument = 2
)

func metaKey(name byte) []byte { return []byte{byte(spaceMeta), name} }

func storePrefix(s space, store StoreID) []byte {
	k := make([]byte, 0, 64)
	k = append(k, byte(s))
	return append(k, store[:]...)
}

// prefixEnd is the first key behind all keys with the prefix; nil if there is none.
func prefixEnd(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

func groupKey(name byte) []byte      { return append(storePrefix(spaceGroup, StoreID{}), name) }
func storeKey(store StoreID) []byte  { return storePrefix(spaceStore, store) }
func tallyKey(store StoreID) []byte  { return storePrefix(spaceTally, store) }
func be32(k []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(k, v) }
func be64(k []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(k, v) }

// beTime orders instants before 1970 in front of those after.
func beTime(k []byte, ms int64) []byte { return be64(k, uint64(ms)^1<<63) }

func readTime(b []byte) int64 { return int64(binary.BigEndian.Uint64(b) ^ 1<<63) }

func symbolKey(store StoreID, kind byte, id uint32) []byte {
	return be32(append(storePrefix(spaceSymbol, store), kind), id)
}

func modelKey(store StoreID, id ModelID) []byte {
	return append(storePrefix(spaceModel, store), id[:]...)
}

func assertionsKey(store StoreID, id ModelID) []byte {
	return append(storePrefix(spaceAssertions, store), id[:]...)
}

func erasureKey(store StoreID, id ErasureID) []byte {
	return append(storePrefix(spaceErasure, store), id[:]...)
}

func sequenceKey(store StoreID, t model.TypeID) []byte {
	return be32(storePrefix(spaceSequence, store), uint32(t))
}

func nameKey(store StoreID, t model.TypeID, name string) []byte {
	return append(be32(storePrefix(spaceName, store), uint32(t)), name...)
}

func entityKey(store StoreID, id graph.ID) []byte {
	return be64(storePrefix(spaceEntity, store), uint64(id))
}

func documentKey(store StoreID, id graph.ID) []byte {
	return be64(storePrefix(spaceDocument, store), uint64(id))
}

func documentPastKey(store StoreID, id graph.ID, deleted graph.Revision) []byte {
	return be64(be64(storePrefix(spaceDocumentPast, store), uint64(id)), uint64(deleted))
}

func scopeKey(store StoreID, name string) []byte {
	return append(storePrefix(spaceScope, store), name...)
}

// forwardSuffix orders tuples by object, relation and subject, the subject as
// graph.Subject.Compare does.
func forwardSuffix(k []byte, u graph.Userset, s graph.Subject) []byte {
	k = be64(k, uint64(u.Object))
	k = be32(k, uint32(u.Relation))
	k = be32(k, uint32(s.Relation))
	return be64(k, uint64(s.ID))
}

func readForwardSuffix(b []byte) (u graph.Userset, s graph.Subject) {
	u.Object = graph.ID(binary.BigEndian.Uint64(b))
	u.Relation = model.RelationID(binary.BigEndian.Uint32(b[8:]))
	s.Relation = model.RelationID(binary.BigEndian.Uint32(b[12:]))
	s.ID = graph.ID(binary.BigEndian.Uint64(b[16:]))
	return u, s
}

// reverseSuffix orders tuples by relation, subject and object.
func reverseSuffix(k []byte, r model.RelationID, s graph.Subject, object graph.ID) []byte {
	k = be32(k, uint32(r))
	k = be32(k, uint32(s.Relation))
	k = be64(k, uint64(s.ID))
	return be64(k, uint64(object))
}

func readReverseSuffix(b []byte) (u graph.Userset, s graph.Subject) {
	u.Relation = model.RelationID(binary.BigEndian.Uint32(b))
	s.Relation = model.RelationID(binary.BigEndian.Uint32(b[4:]))
	s.ID = graph.ID(binary.BigEndian.Uint64(b[8:]))
	u.Object = graph.ID(binary.BigEndian.Uint64(b[16:]))
	return u, s
}

func forwardKey(store StoreID, u graph.Userset, s graph.Subject) []byte {
	return forwardSuffix(storePrefix(spaceForward, store), u, s)
}

func reverseKey(store StoreID, u graph.Userset, s graph.Subject) []byte {
	return reverseSuffix(storePrefix(spaceReverse, store), u.Relation, s, u.Object)
}

func forwardPastKey(store StoreID, u graph.Userset, s graph.Subject, deleted graph.Revision) []byte {
	return be64(forwardSuffix(storePrefix(spaceForwardPast, store), u, s), uint64(deleted))
}

func reversePastKey(store StoreID, u graph.Userset, s graph.Subject, deleted graph.Revision) []byte {
	return be64(reverseSuffix(storePrefix(spaceReversePast, store), u.Relation, s, u.Object), uint64(deleted))
}

func expiryKey(store StoreID, expires int64, u graph.Userset, s graph.Subject) []byte {
	return forwardSuffix(beTime(storePrefix(spaceExpiry, store), expires), u, s)
}

func cleanupKey(store StoreID, deleted graph.Revision, kind byte) []byte {
	return append(be64(storePrefix(spaceCleanup, store), uint64(deleted)), kind)
}

func cleanupTupleKey(store StoreID, deleted graph.Revision, u graph.Userset, s graph.Subject) []byte {
	return forwardSuffix(cleanupKey(store, deleted, cleanupTuple), u, s)
}

func cleanupDocumentKey(store StoreID, deleted graph.Revision, id graph.ID) []byte {
	return be64(cleanupKey(store, deleted, cleanupDocument), uint64(id))
}

func changeKey(store StoreID, rev graph.Revision, ordinal uint32) []byte {
	return be32(be64(storePrefix(spaceChange, store), uint64(rev)), ordinal)
}

func revisionTimeKey(rev graph.Revision) []byte {
	return be64(storePrefix(spaceRevisionTime, StoreID{}), uint64(rev))
}

func timeRevisionKey(ms int64) []byte {
	return beTime(storePrefix(spaceTimeRevision, StoreID{}), ms)
}

// idempotencySuffix is self-delimiting: the principal is prefixed by its length.
func idempotencySuffix(k []byte, principal, key string) []byte {
	k = binary.BigEndian.AppendUint16(k, uint16(len(principal)))
	k = append(k, principal...)
	return append(k, key...)
}

func idempotencyKey(store StoreID, principal, key string) []byte {
	return idempotencySuffix(storePrefix(spaceIdempotency, store), principal, key)
}

func idempotencyAtKey(store StoreID, ms int64, principal, key string) []byte {
	return idempotencySuffix(beTime(storePrefix(spaceIdempotencyAt, store), ms), principal, key)
}

// hashed reports whether the state hash covers a space.
func (s space) hashed() bool {
	switch s {
	case spaceGroup, spaceStore, spaceSymbol, spaceModel, spaceSequence, spaceName, spaceEntity,
		spaceForward, spaceReverse, spaceDocument, spaceScope, spaceIdempotency, spaceAssertions,
		spaceErasure:
		return true
	}
	return false
}

// suffixOf is a key behind its space and store; its length must be as the space says.
func suffixOf(key []byte, size int) ([]byte, error) {
	if len(key) != prefixSize+size {
		return nil, fmt.Errorf("%w: key %x", ErrCorrupt, key)
	}
	return key[prefixSize:], nil
}
