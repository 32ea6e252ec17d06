package fsm

import (
	"encoding/binary"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/remit-authz/remit/graph"
)

const (
	// DefaultRetention is how long a store keeps its past unless SetRetention says
	// otherwise, in milliseconds. The row of such a store does not name it.
	DefaultRetention = int64(30 * 24 * time.Hour / time.Millisecond)

	// Forever as a retention keeps all of a store's past.
	Forever = int64(-1)
)

// SetRetention says for how long after it was replaced a store's past can be asked
// about, in milliseconds: 0 is DefaultRetention, Forever is for ever. It removes nothing
// by itself: what the retention no longer covers goes when AdvanceHistory says so.
type SetRetention struct{ Retention int64 }

func (t *tx) setRetention(c *Command, st *storeIndex, b *SetRetention) {
	if st.row.retention == b.Retention {
		return
	}
	row := st.row
	row.retention = b.Retention
	t.setStore(st, row)
	t.change(st, c, &Change{Kind: RetentionSet, Retention: b.Retention})
}

// Retention is for how long the store's past is kept, in milliseconds, or Forever.
func (s *Store) Retention() int64 {
	if r := s.index.row.retention; r != 0 {
		return r
	}
	return DefaultRetention
}

// FirstPast is the earliest history horizon that would let something of the store's past
// go, be it a version or a change. It may lie before the horizon that the store has:
// what is behind that goes in steps.
func (s *State) FirstPast(store StoreID) (horizon graph.Revision, found bool, err error) {
	err = s.read(func(db *pebble.DB) error {
		// What a version shows ends with its own end, a change is kept on the horizon.
		for _, q := range []struct {
			space space
			keeps graph.Revision
		}{{spaceCleanup, 0}, {spaceChange, 1}} {
			prefix := storePrefix(q.space, store)
			err := scan(db, prefix, prefixEnd(prefix), func(key, _ []byte) (bool, error) {
				first := graph.Revision(binary.BigEndian.Uint64(key[prefixSize:])) + q.keeps
				if !found || first < horizon {
					horizon, found = first, true
				}
				return false, nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return horizon, found, err
}

// TimeOf is the leader's time at a revision that some store keeps; ErrRevisionGone if
// none does.
func (s *State) TimeOf(revision graph.Revision) (time.Time, error) {
	ms, err := s.timeAt(revision)
	return time.UnixMilli(ms).UTC(), err
}
