package rpc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/rpc/token"
)

var (
	// ErrCursor says that a cursor is not one that a node gave out for this request.
	ErrCursor = errors.New("the cursor does not belong to this request")

	// ErrCursorExpired says that the state which the pages of a list show is no longer
	// kept. The list must be begun anew.
	ErrCursorExpired = errors.New("the cursor has expired: begin the list anew")
)

// A cursorKind is the list that a cursor continues.
type cursorKind byte

const (
	cursorStores cursorKind = iota + 1
	cursorModels
	cursorTuples
	cursorObjects
	cursorSubjects
	cursorWatch
	cursorExport
	cursorDifferences
	cursorKeys
	cursorGrants
	cursorAudit
	cursorEntities
	cursorRecords
	cursorAccess
	cursorDuties
	cursorOwned
)

// A cursor says where the next page of a list begins and which state all its pages
// show. Like a token it is opaque, and it grants nothing: its checksum guards against
// mistakes. Nodes of one release understand each other's cursors; a format byte lets
// a later one refuse the older with a reason.
type cursor struct {
	kind     cursorKind
	epoch    [16]byte
	store    [16]byte
	revision graph.Revision // the state that the pages show; 0: the list is not pinned
	at       time.Time      // the instant that the pages are judged at; zero: none
	model    string         // the model that they are judged by
	position []byte         // behind which element the page begins, as the list writes it
	request  uint64         // fingerprint of the request's other fields
}

const (
	cursorFormat    = 1
	cursorMaxLength = 4096
	cursorHead      = 2 + 16 + 16 // format, kind, epoch, store
)

// String encodes the cursor.
func (c *cursor) String() string {
	b := make([]byte, 0, 128)
	b = append(b, cursorFormat, byte(c.kind))
	b = append(b, c.epoch[:]...)
	b = append(b, c.store[:]...)
	b = binary.AppendUvarint(b, uint64(c.revision))
	if c.at.IsZero() {
		b = append(b, 0)
	} else {
		b = append(b, 1)
		b = binary.AppendVarint(b, c.at.Unix())
		b = binary.AppendUvarint(b, uint64(c.at.Nanosecond()))
	}
	b = binary.AppendUvarint(b, uint64(len(c.model)))
	b = append(b, c.model...)
	b = binary.AppendUvarint(b, uint64(len(c.position)))
	b = append(b, c.position...)
	b = binary.BigEndian.AppendUint64(b, c.request)
	return token.Seal(b)
}

// parseCursor decodes a cursor of a kind of list and checks that it belongs to a
// request with this fingerprint. Any fault is ErrCursor.
func parseCursor(s string, kind cursorKind, request uint64) (*cursor, error) {
	c, err := decodeCursor(s)
	switch {
	case err != nil:
		return nil, err
	case c.kind != kind:
		return nil, fmt.Errorf("%w: it continues another list", ErrCursor)
	case c.request != request:
		return nil, fmt.Errorf("%w: every other field must be as it was for the page before", ErrCursor)
	}
	return c, nil
}

func decodeCursor(s string) (*cursor, error) {
	if len(s) > cursorMaxLength {
		return nil, fmt.Errorf("%w: it is %d bytes long", ErrCursor, len(s))
	}
	body, ok := token.Unseal(s)
	if !ok || len(body) < cursorHead {
		return nil, fmt.Errorf("%w: it is cut, altered or made up", ErrCursor)
	}
	if body[0] != cursorFormat {
		return nil, fmt.Errorf("%w: format %d is unknown", ErrCursor, body[0])
	}
	c := &cursor{kind: cursorKind(body[1])}
	copy(c.epoch[:], body[2:])
	copy(c.store[:], body[18:])
	r := decoder{b: body[cursorHead:]}
	c.revision = graph.Revision(r.uvarint())
	if r.byte() != 0 {
		seconds := r.varint()
		c.at = time.Unix(seconds, int64(r.uvarint())).UTC()
	}
	c.model = string(r.bytes())
	c.position = r.bytes()
	c.request = r.uint64()
	if r.bad || len(r.b) != 0 || c.String() != s {
		return nil, fmt.Errorf("%w: it is malformed", ErrCursor)
	}
	return c, nil
}

// fingerprint digests a request whose page size and cursor have been cleared, so that
// a cursor can be tied to it.
func fingerprint(request proto.Message) (uint64, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(request)
	if err != nil {
		return 0, fmt.Errorf("digest the request: %w", err)
	}
	return xxhash.Sum64(b), nil
}

// Positions, as the lists write them into cursors.

func appendSubject(b []byte, s graph.Subject) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(s.ID))
	return binary.BigEndian.AppendUint32(b, uint32(s.Relation))
}

// A decoder takes values off the front of a byte slice. The first fault stays.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n int) []byte {
	if d.bad || n < 0 || n > len(d.b) {
		d.bad = true
		return nil
	}
	head := d.b[:n]
	d.b = d.b[n:]
	return head
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uint32() uint32 {
	if b := d.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	if b := d.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.take(n)
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.take(n)
	return v
}

func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.bad = true
		return nil
	}
	return d.take(int(n))
}

func (d *decoder) subject() graph.Subject {
	id := graph.ID(d.uint64())
	return graph.Subject{ID: id, Relation: model.RelationID(d.uint32())}
}

// done reports whether the bytes held exactly what was taken.
func (d *decoder) done() bool { return !d.bad && len(d.b) == 0 }
