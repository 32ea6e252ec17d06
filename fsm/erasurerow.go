package fsm

import (
	"bytes"
	"slices"

	"github.com/remit-authz/remit/graph"
)

// An erasureRow is an erasure, as far as it is. Once it is over it has no name. Those
// that are not over are in memory too, where a row is replaced and never changed.
type erasureRow struct {
	Erased

	// Of one that is not over.
	entity Entity
	id     graph.ID // 0: the store knew no such entity
	began  graph.Revision
	by     [4]string // principal, actor, request id and reason of who began it
	phase  erasePhase
	place  []byte // behind which the phase goes on
}

// An erasePhase is what an erasure goes through, in this order.
type erasePhase byte

// The phases, as they stand in rows; never renumbered.
const (
	eraseHead         erasePhase = 1 // its tuples and its document
	eraseTuples       erasePhase = 2 // past versions of tuples
	eraseDocuments    erasePhase = 3 // past versions of documents
	eraseChanges      erasePhase = 4
	eraseGroupChanges erasePhase = 5 // whose authors it may be
	eraseKeys         erasePhase = 6
	eraseGroupKeys    erasePhase = 7
	eraseName         erasePhase = 8 // and the end
	eraseEnd          erasePhase = 9
)

func (r *erasureRow) over() bool { return r.Revision != 0 }

func (r *erasureRow) encode() []byte {
	e := newRow()
	e.erased(&r.Erased)
	if !r.over() {
		e.entity(r.entity)
		e.uvarint(r.id.Sequence())
		e.uvarint(uint64(r.began))
		for _, text := range r.by {
			e.string(text)
		}
		e.byte(byte(r.phase))
		e.bytes(r.place)
	}
	return e.b
}

// decodeErasureRow reads a row, whose bytes must not change afterwards.
func decodeErasureRow(b []byte) (erasureRow, error) {
	d := readRow(b)
	r := erasureRow{Erased: *d.erased()}
	if !r.over() {
		r.entity = d.entity()
		if seq := d.uvarint(); seq > graph.MaxSequence {
			d.fail("sequence too large")
		} else if seq != 0 {
			r.id = graph.MakeID(r.entity.Type, seq)
		}
		r.began = graph.Revision(d.uvarint())
		for i := range r.by {
			r.by[i] = d.string(MaxTextSize)
		}
		r.phase = erasePhase(d.byte())
		if d.err == nil && (r.phase < eraseHead || r.phase >= eraseEnd) {
			d.unknown("erasure", byte(r.phase))
		}
		r.place = d.bytes(MaxCommandSize)
	}
	return r, wrapRow("erasure", d.done())
}

// is reports whether an id is the entity's own.
func (r *erasureRow) is(id graph.ID) bool { return r.id != 0 && r.id == id }

func (r *erasureRow) inTuple(u graph.Userset, sub graph.Subject, context []byte) bool {
	return r.is(u.Object) || r.is(sub.ID) || fieldsMention(context, r.entity.Name)
}

func (r *erasureRow) inDocument(id graph.ID, fields []byte) bool {
	return r.is(id) || fieldsMention(fields, r.entity.Name)
}

// inChange reports whether what happened concerns the entity, whoever did it.
func (r *erasureRow) inChange(c *Change) bool {
	switch c.Kind {
	case TuplePut, TupleDeleted, TupleExpired:
		return r.inTuple(c.Tuple.Userset, c.Tuple.Edge.Subject, contextBytes(c.Tuple.Edge.Context))
	case DocumentPut, DocumentDeleted:
		return r.inDocument(c.Entity, c.Fields)
	}
	return false
}

// scrub takes the entity out of a change: what concerns it keeps its place, its time and
// its principal, and any other loses the texts that mention it.
func (r *erasureRow) scrub(c *Change) (erased, blanked bool) {
	if erased = r.inChange(c); erased {
		*c = Change{Revision: c.Revision, Ordinal: c.Ordinal, Time: c.Time, Kind: ChangeErased, Principal: c.Principal}
	}
	for _, text := range []*string{&c.Principal, &c.Actor, &c.RequestID, &c.Reason} {
		if mentions(*text, r.entity.Name) {
			*text, blanked = "", true
		}
	}
	return erased, blanked
}

// names reports whether an operation would name the entity anew.
func (r *erasureRow) names(o *Operation) bool {
	switch o.Kind {
	case CreateTuple, TouchTuple, EnsureTuple:
		return o.Tuple.Object == r.entity || o.Tuple.Subject == r.entity
	case PutDocument:
		return o.Entity == r.entity
	}
	return false
}

// erasesTuple reports whether a version of a tuple must not go to the past.
func (s *storeIndex) erasesTuple(t *tupleItem) bool {
	for _, r := range s.erasing {
		if r.inTuple(t.userset(), t.subject(), t.context()) {
			return true
		}
	}
	return false
}

func (s *storeIndex) erasesDocument(id graph.ID, fields []byte) bool {
	for _, r := range s.erasing {
		if r.inDocument(id, fields) {
			return true
		}
	}
	return false
}

func (s *storeIndex) erasesOperand(o *Operation) bool {
	for _, r := range s.erasing {
		if r.names(o) {
			return true
		}
	}
	return false
}

// setErasure puts a row in the place of the one with its id, or takes that out if it is
// over. Published copies keep the slice they have.
func (s *storeIndex) setErasure(r *erasureRow) {
	i, found := slices.BinarySearchFunc(s.erasing, r.ID, func(x *erasureRow, id ErasureID) int { return bytes.Compare(x.ID[:], id[:]) })
	rows := slices.Clone(s.erasing)
	switch {
	case found && r.over():
		rows = slices.Delete(rows, i, i+1)
	case found:
		rows[i] = r
	case !r.over():
		rows = slices.Insert(rows, i, r)
	}
	s.erasing = rows
}
