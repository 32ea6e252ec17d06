package fsm

import (
	"fmt"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// The values of rows. Each has one encoding, because the state hash covers it.

// rowFormat begins every value that is not empty. A row whose encoding changes gets
// another number, so that rows of both stand side by side: the old ones need not be
// written anew, which would be a change of the hash on every node at once.
const rowFormat = 1

func newRow() *encoder { return &encoder{b: []byte{rowFormat}} }

func readRow(b []byte) *decoder {
	d := &decoder{b: b}
	if v := d.byte(); v != rowFormat {
		d.unknown("row", v)
	}
	return d
}

type appliedRow struct {
	index, term uint64
	time        int64
	hash        Hash
}

func (r *appliedRow) encode() []byte {
	e := newRow()
	e.uvarint(r.index)
	e.uvarint(r.term)
	e.varint(r.time)
	e.fixed(r.hash.bytes())
	return e.b
}

func decodeApplied(b []byte) (appliedRow, error) {
	d := readRow(b)
	r := appliedRow{index: d.uvarint(), term: d.uvarint(), time: d.varint(), hash: d.hash()}
	return r, wrapRow("applied", d.done())
}

func (d *decoder) hash() Hash {
	var p [16]byte
	d.fixed(p[:])
	return makeHash(p)
}

type storeRow struct {
	name           string
	created        graph.Revision
	createdTime    int64
	historyHorizon graph.Revision // revisions before it are gone
	expiryHorizon  int64          // tuples that expired until then have left the head
	retention      int64          // of the past, in milliseconds; 0: the default
	managed        bool           // only its planner writes to it
}

// storeFormat is the format of a store's row that names a retention. One that does not
// has the format that rows had before there was one. managedStoreFormat is that of a
// managed store, whose row always has a place for the retention.
const (
	storeFormat        = 2
	managedStoreFormat = 3
)

func (r *storeRow) format() byte {
	switch {
	case r.managed:
		return managedStoreFormat
	case r.retention != 0:
		return storeFormat
	}
	return rowFormat
}

func (r *storeRow) encode() []byte {
	e := &encoder{b: []byte{r.format()}}
	e.string(r.name)
	e.uvarint(uint64(r.created))
	e.varint(r.createdTime)
	e.uvarint(uint64(r.historyHorizon))
	e.varint(r.expiryHorizon)
	if r.format() != rowFormat {
		e.varint(r.retention)
	}
	return e.b
}

func decodeStoreRow(b []byte) (storeRow, error) {
	d := &decoder{b: b}
	format := d.byte()
	if d.err == nil && (format < rowFormat || format > managedStoreFormat) {
		d.unknown("store row", format)
	}
	r := storeRow{
		name: d.string(MaxTextSize), created: graph.Revision(d.uvarint()), createdTime: d.varint(),
		historyHorizon: graph.Revision(d.uvarint()), expiryHorizon: d.varint(),
	}
	switch format {
	case storeFormat:
		if r.retention = d.varint(); r.retention == 0 {
			d.fail("a retention that is not named")
		}
	case managedStoreFormat:
		r.retention, r.managed = d.varint(), true
	}
	return r, wrapRow("store", d.done())
}

// A tally sums the live rows of one store.
type tally struct {
	hash   Hash
	rows   uint64
	tuples uint64
}

func (t *tally) encode() []byte {
	e := newRow()
	e.fixed(t.hash.bytes())
	e.uvarint(t.rows)
	e.uvarint(t.tuples)
	return e.b
}

func decodeTally(b []byte) (tally, error) {
	d := readRow(b)
	t := tally{hash: d.hash(), rows: d.uvarint(), tuples: d.uvarint()}
	return t, wrapRow("tally", d.done())
}

func encodeSymbol(t model.TypeID, name string) []byte {
	e := newRow()
	e.uvarint(uint64(t))
	e.string(name)
	return e.b
}

func decodeSymbol(b []byte) (model.TypeID, string, error) {
	d := readRow(b)
	t, name := model.TypeID(d.uint32()), d.string(MaxSymbolSize)
	return t, name, wrapRow("symbol", d.done())
}

type modelRow struct {
	revision graph.Revision
	ordinal  uint64 // the place among the store's models
	time     int64
	source   []byte
}

func (r *modelRow) encode() []byte {
	e := newRow()
	e.uvarint(uint64(r.revision))
	e.uvarint(r.ordinal)
	e.varint(r.time)
	e.bytes(r.source)
	return e.b
}

func decodeModelRow(b []byte) (modelRow, error) {
	d := readRow(b)
	r := modelRow{revision: graph.Revision(d.uvarint()), ordinal: d.uvarint(), time: d.varint(), source: d.bytes(MaxCommandSize)}
	return r, wrapRow("model", d.done())
}

type assertionsRow struct {
	revision graph.Revision // that wrote them
	content  []byte
}

func (r *assertionsRow) encode() []byte {
	e := newRow()
	e.uvarint(uint64(r.revision))
	e.bytes(r.content)
	return e.b
}

func decodeAssertionsRow(b []byte) (assertionsRow, error) {
	d := readRow(b)
	r := assertionsRow{revision: graph.Revision(d.uvarint()), content: d.bytes(MaxAssertionsSize)}
	return r, wrapRow("assertions", d.done())
}

// encodeNumber is the value of sequences, scopes, and the group's rows.
func encodeNumber(v uint64) []byte {
	e := newRow()
	e.uvarint(v)
	return e.b
}

func decodeNumber(b []byte) (uint64, error) {
	d := readRow(b)
	v := d.uvarint()
	return v, wrapRow("number", d.done())
}

func encodeTime(v int64) []byte {
	e := newRow()
	e.varint(v)
	return e.b
}

func decodeTime(b []byte) (int64, error) {
	d := readRow(b)
	v := d.varint()
	return v, wrapRow("time", d.done())
}

func encodeNameRow(id graph.ID, created graph.Revision) []byte {
	e := newRow()
	e.uvarint(id.Sequence())
	e.uvarint(uint64(created))
	return e.b
}

func decodeNameRow(t model.TypeID, b []byte) (graph.ID, graph.Revision, error) {
	d := readRow(b)
	id, created := graph.MakeID(t, d.uvarint()), graph.Revision(d.uvarint())
	return id, created, wrapRow("name", d.done())
}

func encodeEntityRow(name string, created graph.Revision) []byte {
	e := newRow()
	e.uvarint(uint64(created))
	e.string(name)
	return e.b
}

func decodeEntityRow(b []byte) (string, graph.Revision, error) {
	d := readRow(b)
	created, name := graph.Revision(d.uvarint()), d.string(MaxNameSize)
	return name, created, wrapRow("entity", d.done())
}

type tupleRow struct {
	created   graph.Revision
	written   int64
	condition model.ConditionID
	expires   int64
	context   []byte
}

func (r *tupleRow) encode() []byte {
	e := newRow()
	e.uvarint(uint64(r.created))
	e.varint(r.written)
	e.uvarint(uint64(r.condition))
	e.varint(r.expires)
	e.bytes(r.context)
	return e.b
}

func decodeTupleRow(b []byte) (tupleRow, error) {
	d := readRow(b)
	r := tupleRow{
		created: graph.Revision(d.uvarint()), written: d.varint(), condition: model.ConditionID(d.uint32()),
		expires: d.varint(), context: d.bytes(MaxCommandSize),
	}
	return r, wrapRow("tuple", d.done())
}

// A documentRow stays when the document is deleted, so that its version goes on.
type documentRow struct {
	created graph.Revision
	version uint64
	deleted bool
	fields  []byte
}

func (r *documentRow) encode() []byte {
	e := newRow()
	e.uvarint(uint64(r.created))
	e.uvarint(r.version)
	e.bool(r.deleted)
	e.bytes(r.fields)
	return e.b
}

func decodeDocumentRow(b []byte) (documentRow, error) {
	d := readRow(b)
	r := documentRow{created: graph.Revision(d.uvarint()), version: d.uvarint(), deleted: d.bool(), fields: d.bytes(MaxCommandSize)}
	return r, wrapRow("document", d.done())
}

type idempotencyRow struct {
	hash   [32]byte
	time   int64
	answer []byte
}

func (r *idempotencyRow) encode() []byte {
	e := newRow()
	e.fixed(r.hash[:])
	e.varint(r.time)
	e.bytes(r.answer)
	return e.b
}

func decodeIdempotencyRow(b []byte) (idempotencyRow, error) {
	d := readRow(b)
	var r idempotencyRow
	d.fixed(r.hash[:])
	r.time = d.varint()
	r.answer = d.bytes(MaxCommandSize)
	return r, wrapRow("idempotency", d.done())
}

func wrapRow(what string, err error) error {
	if err != nil {
		return fmt.Errorf("decode %s row: %w", what, err)
	}
	return nil
}
