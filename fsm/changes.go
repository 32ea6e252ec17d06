package fsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// What one page of changes examines at most, whether the changes are wanted or not: a
// page holds up Restore and Close, and its reader is owed an answer.
const (
	changesPerPage     = 10_000
	changeBytesPerPage = 4 << 20
)

// A Place is where a reader of a store's changelog stands: right behind the change with
// this revision and ordinal. The zero Place is before all changes.
type Place struct {
	Revision graph.Revision
	Ordinal  uint32
}

// EndOf is the place behind all changes of a revision.
func EndOf(revision graph.Revision) Place {
	return Place{Revision: revision, Ordinal: math.MaxUint32}
}

// A ChangeQuery says which of a store's changes are wanted.
type ChangeQuery struct {
	// After is where to begin: the Next of the page before.
	After Place

	// Since, if it is not the zero time, begins with the changes at or after an instant
	// of leader time, to the millisecond; After then has no meaning.
	Since time.Time

	// Tuples leaves out all but the changes of tuples, and Type, if it is not 0, also
	// those of tuples whose objects are of another type.
	Tuples bool
	Type   model.TypeID

	// Limit is how many changes a page has at most; 0 is as many as it examines.
	Limit int
}

// A ChangePage is what follows a place in the changelog, oldest first.
type ChangePage struct {
	Changes []*Change

	// Next is where the following page begins. More says that there is something to
	// examine behind it: a page may end, even empty, because it examined enough.
	Next Place
	More bool

	// Root is the state up to which the changelog was read. It knows the name of
	// whatever stands in a change: names outlive the tuples they were made for.
	Root *Root
}

// Changes reads a page of a store's changelog, up to the last published revision.
// ErrRevisionGone says that changes behind the place are no longer kept; the oldest that
// are kept lie behind EndOf(HistoryHorizon). ErrRevisionUnknown says that this node has
// not yet reached the place.
func (s *State) Changes(store StoreID, q ChangeQuery) (*ChangePage, error) {
	page := &ChangePage{Next: q.After}
	err := s.read(func(db *pebble.DB) error {
		page.Root = s.Current()
		if _, ok := page.Root.Store(store); !ok {
			return fmt.Errorf("%w: %v", ErrStoreNotFound, store)
		}
		// One snapshot, so that the horizon and the changes belong together.
		snap := db.NewSnapshot()
		return errors.Join(page.fill(snap, store, &q), snap.Close())
	})
	if err != nil {
		return nil, err
	}
	return page, nil
}

func (p *ChangePage) fill(r pebble.Reader, store StoreID, q *ChangeQuery) error {
	if !q.Since.IsZero() {
		var err error
		if p.Next, err = placeBefore(r, q.Since); err != nil {
			return err
		}
		p.Next = earlier(p.Next, EndOf(p.Root.revision)) // the snapshot may be newer
	}
	if p.Next.Revision > p.Root.revision {
		return fmt.Errorf("%w: changes behind %d, this node is at %d", ErrRevisionUnknown, p.Next.Revision, p.Root.revision)
	}
	v, ok, err := get(r, storeKey(store))
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("%w: %v", ErrStoreNotFound, store)
	}
	row, err := decodeStoreRow(v)
	if err != nil {
		return err
	}
	if h := row.historyHorizon; h > row.created && p.Next.Revision < h {
		return fmt.Errorf("%w: changes behind %d, store %v begins at %d", ErrRevisionGone, p.Next.Revision, store, h)
	}
	return p.scan(r, store, q)
}

// scan examines rows until the page is full.
func (p *ChangePage) scan(r pebble.Reader, store StoreID, q *ChangeQuery) error {
	lower := append(changeKey(store, p.Next.Revision, p.Next.Ordinal), 0)
	upper := changeKey(store, p.Root.revision+1, 0)
	examined, size := 0, 0
	return scan(r, lower, upper, func(key, value []byte) (bool, error) {
		if examined == changesPerPage || size >= changeBytesPerPage || (q.Limit > 0 && len(p.Changes) == q.Limit) {
			p.More = true
			return false, nil
		}
		examined++
		size += len(value)
		place, err := placeOf(key)
		if err != nil {
			return false, err
		}
		wanted, err := q.wants(value)
		if err != nil {
			return false, err
		}
		if wanted {
			c, err := decodeChange(key, bytes.Clone(value))
			if err != nil {
				return false, err
			}
			p.Changes = append(p.Changes, c)
		}
		p.Next = place
		return true, nil
	})
}

// wants judges a row of the changelog without reading all of it.
func (q *ChangeQuery) wants(value []byte) (bool, error) {
	if !q.Tuples && q.Type == 0 {
		return true, nil
	}
	d := readRow(value)
	kind := ChangeKind(d.byte())
	if d.err != nil || !kind.onTuple() {
		return false, d.err
	}
	if q.Type == 0 {
		return true, nil
	}
	d.varint() // the time
	for range 4 {
		d.bytes(MaxTextSize) // who and why
	}
	object := graph.ID(d.uvarint())
	return object.Type() == q.Type, d.err
}

// placeOf reads the key of a change.
func placeOf(key []byte) (Place, error) {
	suffix, err := suffixOf(key, 12)
	if err != nil {
		return Place{}, err
	}
	return Place{graph.Revision(binary.BigEndian.Uint64(suffix)), binary.BigEndian.Uint32(suffix[8:])}, nil
}

// placeBefore is the place behind all that happened before an instant. It is the zero
// Place if nothing is known of the time before: either there was none, or its changes
// are gone, which the horizon tells.
func placeBefore(r pebble.Reader, at time.Time) (Place, error) {
	v, ok, err := last(r, storePrefix(spaceTimeRevision, StoreID{}), timeRevisionKey(at.UnixMilli()))
	if err != nil || !ok {
		return Place{}, err
	}
	n, err := decodeNumber(v)
	return EndOf(graph.Revision(n)), err
}

func earlier(a, b Place) Place {
	if a.Revision < b.Revision {
		return a
	}
	return b
}
