package openfga

import (
	"encoding/binary"
	"time"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/rpc/token"
)

// A continuation says where the next page of a list begins, as a client keeps it. Pages
// are not pinned to a state: each shows the newest, from the place on where the last one
// ended, and a continuation is good for as long as its store is there.
//
// Clients of ReadChanges keep continuations for weeks, so the encoding is fixed: a format
// byte, the kind, the store and the position, sealed. A continuation grants nothing.
type continuation struct {
	kind     continuationKind
	store    fsm.StoreID // zero in a list of stores
	position []byte
}

// A continuationKind says which list a continuation belongs to.
type continuationKind byte

const (
	continueStores  continuationKind = 1
	continueModels  continuationKind = 2
	continueTuples  continuationKind = 3
	continueChanges continuationKind = 4

	continueSubjects  continuationKind = 5
	continueResources continuationKind = 6
	continueActions   continuationKind = 7
)

const (
	continuationFormat = 1
	continuationHead   = 2 + len(fsm.StoreID{})
)

// defaultPage is how much a page holds if the request does not say.
const defaultPage = 50

// pageSize is how much a page holds.
func pageSize(wanted interface{ GetValue() int32 }) int {
	if n := wanted.GetValue(); n > 0 {
		return int(n)
	}
	return defaultPage
}

// String encodes the continuation.
func (c *continuation) String() string {
	b := append([]byte{continuationFormat, byte(c.kind)}, c.store[:]...)
	b = append(b, c.position...)
	return token.Seal(b)
}

// positionIn decodes a continuation of a list. The position is nil if the text is empty,
// which is the beginning.
func positionIn(text string, kind continuationKind, store fsm.StoreID) ([]byte, error) {
	if text == "" {
		return nil, nil
	}
	body, ok := token.Unseal(text)
	if !ok || len(body) < continuationHead || body[0] != continuationFormat ||
		continuationKind(body[1]) != kind || fsm.StoreID(body[2:continuationHead]) != store {
		return nil, errInvalidContinuationToken
	}
	return body[continuationHead:], nil
}

// rowPositionBytes is the size of a position behind a tuple.
const rowPositionBytes = 8 + 4 + 8 + 4

func appendRow(b []byte, row *graph.Row) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(row.Userset.Object))
	b = binary.BigEndian.AppendUint32(b, uint32(row.Userset.Relation))
	b = binary.BigEndian.AppendUint64(b, uint64(row.Edge.Subject.ID))
	return binary.BigEndian.AppendUint32(b, uint32(row.Edge.Subject.Relation))
}

func rowAt(b []byte) (row graph.Row, err error) {
	if len(b) != rowPositionBytes {
		return row, errInvalidContinuationToken
	}
	row.Userset.Object = graph.ID(binary.BigEndian.Uint64(b))
	row.Userset.Relation = model.RelationID(binary.BigEndian.Uint32(b[8:]))
	row.Edge.Subject.ID = graph.ID(binary.BigEndian.Uint64(b[12:]))
	row.Edge.Subject.Relation = model.RelationID(binary.BigEndian.Uint32(b[20:]))
	return row, nil
}

// A changePosition is behind a change.
type changePosition struct {
	epoch uint64 // of the cluster: whether the place still means the same
	place fsm.Place
	time  time.Time // of the last change that was told, to the millisecond
	typ   string    // the type that the list is restricted to
}

const changePositionBytes = 8 + 8 + 4 + 8 // and the type

func (p *changePosition) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, p.epoch)
	b = binary.BigEndian.AppendUint64(b, uint64(p.place.Revision))
	b = binary.BigEndian.AppendUint32(b, p.place.Ordinal)
	b = binary.BigEndian.AppendUint64(b, uint64(max(p.time.UnixMilli(), 0))) // none yet: from the beginning
	return append(b, p.typ...)
}

func changeAt(b []byte) (p changePosition, err error) {
	if len(b) < changePositionBytes {
		return p, errInvalidContinuationToken
	}
	p.epoch = binary.BigEndian.Uint64(b)
	p.place = fsm.Place{Revision: graph.Revision(binary.BigEndian.Uint64(b[8:])), Ordinal: binary.BigEndian.Uint32(b[16:])}
	p.time = time.UnixMilli(int64(binary.BigEndian.Uint64(b[20:]))).UTC()
	p.typ = string(b[changePositionBytes:])
	return p, nil
}
