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

// A ChangeQuery says which changes of a changelog are wanted.
type ChangeQuery struct {
	// After is where to begin: the Next of the page before.
	After Place

	// Since, if it is not the zero time, begins with the changes at or after an instant
	// of leader time, to the millisecond; After then has no meaning.
	Since time.Time

	// Kept begins with the oldest changes that are kept where it would be ErrRevisionGone
	// that others behind the place are not: Kept of the page says since when they are.
	Kept bool

	// Backwards reads towards the past: a page has the changes in front of After, the
	// newest first. In front of the zero Place then are all. Since and Kept have no
	// meaning.
	Backwards bool

	// From and Until bound the revisions; both belong to what is wanted. 0 is no bound.
	From, Until graph.Revision

	// Tuples leaves out all but the changes of tuples, and Type, if it is not 0, also
	// those of tuples whose objects are of another type.
	Tuples bool
	Type   model.TypeID

	// Filter leaves out all that it does not want; nil: nothing.
	Filter *ChangeFilter

	// Limit is how many changes a page has at most; 0 is as many as it examines.
	Limit int
}

// A ChangePage is what follows a place in a changelog, oldest first unless it is read
// backwards.
type ChangePage struct {
	Changes []*Change

	// Next is where the following page begins. More says that there is something to
	// examine behind it: a page may end, even empty, because it examined enough.
	Next Place
	More bool

	// Examined is how many changes were looked at, wanted or not, and Time the leader's
	// time of the last of them, in milliseconds since 1970 UTC.
	Examined int
	Time     int64

	// Kept is the revision since which all changes are kept. In the group's changelog it
	// is that of its first change; 0 if there is none.
	Kept graph.Revision

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

// GroupChanges is Changes of the group's own changelog: stores that were added and
// deleted, versions of the cluster, epochs. It is kept for ever.
func (s *State) GroupChanges(q ChangeQuery) (*ChangePage, error) {
	page := &ChangePage{Next: q.After}
	err := s.read(func(db *pebble.DB) error {
		page.Root = s.Current()
		snap := db.NewSnapshot()
		return errors.Join(page.fillGroup(snap, &q), snap.Close())
	})
	if err != nil {
		return nil, err
	}
	return page, nil
}

func (p *ChangePage) fill(r pebble.Reader, store StoreID, q *ChangeQuery) error {
	if err := p.begin(r, q); err != nil {
		return err
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
	p.Kept = row.historyHorizon
	if gone := p.Kept > row.created && p.Next.Revision < p.Kept && !q.Backwards; gone && !q.Kept {
		return fmt.Errorf("%w: changes behind %d, store %v begins at %d", ErrRevisionGone, p.Next.Revision, store, p.Kept)
	}
	return p.scan(r, store, q)
}

func (p *ChangePage) fillGroup(r pebble.Reader, q *ChangeQuery) error {
	if err := p.begin(r, q); err != nil {
		return err
	}
	prefix := storePrefix(spaceChange, StoreID{})
	err := scan(r, prefix, prefixEnd(prefix), func(key, _ []byte) (bool, error) {
		place, err := placeOf(key)
		p.Kept = place.Revision
		return false, err
	})
	if err != nil {
		return err
	}
	return p.scan(r, StoreID{}, q)
}

// begin finds the place where the page begins, and refuses one in the future.
func (p *ChangePage) begin(r pebble.Reader, q *ChangeQuery) error {
	if !q.Since.IsZero() && !q.Backwards {
		var err error
		if p.Next, err = placeBefore(r, q.Since); err != nil {
			return err
		}
		p.Next = earlier(p.Next, EndOf(p.Root.revision)) // the snapshot may be newer
	}
	if p.Next.Revision > p.Root.revision {
		return fmt.Errorf("%w: changes behind %d, this node is at %d", ErrRevisionUnknown, p.Next.Revision, p.Root.revision)
	}
	return nil
}

// scan examines rows until the page is full.
func (p *ChangePage) scan(r pebble.Reader, store StoreID, q *ChangeQuery) error {
	until := p.Root.revision
	if q.Until != 0 {
		until = min(until, q.Until)
	}
	lower, upper := changeKey(store, q.From, 0), changeKey(store, until+1, 0)
	each := scan
	switch {
	case !q.Backwards:
		lower = later(lower, append(changeKey(store, p.Next.Revision, p.Next.Ordinal), 0))
	case p.Next == (Place{}):
		each = scanBack
	default:
		each = scanBack
		if k := changeKey(store, p.Next.Revision, p.Next.Ordinal); bytes.Compare(k, upper) < 0 {
			upper = k
		}
	}
	if bytes.Compare(lower, upper) >= 0 {
		return nil
	}
	size := 0
	return each(r, lower, upper, func(key, value []byte) (bool, error) {
		if p.Examined == changesPerPage || size >= changeBytesPerPage || (q.Limit > 0 && len(p.Changes) == q.Limit) {
			p.More = true
			return false, nil
		}
		p.Examined++
		size += len(value)
		place, err := placeOf(key)
		if err != nil {
			return false, err
		}
		wanted, err := q.wants(value)
		if err == nil && wanted && q.Filter != nil {
			wanted, err = q.Filter.wants(value)
		}
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
		p.Next, p.Time = place, timeOf(value)
		return true, nil
	})
}

// later is the greater of two keys.
func later(a, b []byte) []byte {
	if bytes.Compare(a, b) > 0 {
		return a
	}
	return b
}

// timeOf reads the time of a change, whose row has been read.
func timeOf(value []byte) int64 {
	d := readRow(value)
	d.byte() // the kind
	return d.varint()
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
