package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// A Past is one store at a past revision, read from Pebble: what is visible there is
// every row made at or before it that is still the latest, or was replaced after it. It
// is a graph.Scanner. Every call reads one Pebble snapshot, and all of them show the
// same revision, so a Past holds nothing that must be closed; once the revision falls
// behind the history horizon, or an operator restores another history, its calls give
// ErrRevisionGone.
type Past struct {
	s        *State
	store    StoreID
	revision graph.Revision
	epoch    uint64 // in which the revision means this state
	time     int64
	models   []*Model
	symbols  *model.Table
}

// ViewAt shows a store at any revision from its history horizon to the last published.
func (s *State) ViewAt(store StoreID, revision graph.Revision) (*Past, error) {
	root := s.Current()
	if revision > root.revision {
		return nil, fmt.Errorf("%w: %d, this node is at %d", ErrRevisionUnknown, revision, root.revision)
	}
	st, ok := root.Store(store)
	if !ok {
		return nil, fmt.Errorf("%w: %v", ErrStoreNotFound, store)
	}
	if h := st.HistoryHorizon(); revision < h {
		return nil, fmt.Errorf("%w: %d, store %v begins at %d", ErrRevisionGone, revision, store, h)
	}
	p := &Past{s: s, store: store, revision: revision, epoch: root.epoch, symbols: st.Symbols()}
	models := st.Models()
	for len(models) > 0 && models[len(models)-1].Revision > revision {
		models = models[:len(models)-1]
	}
	p.models = models
	var err error
	p.time, err = s.timeAt(revision)
	return p, err
}

// timeAt is the leader's time at a revision.
func (s *State) timeAt(revision graph.Revision) (ms int64, err error) {
	err = s.read(func(db *pebble.DB) error {
		v, ok, err := last(db, storePrefix(spaceRevisionTime, StoreID{}), revisionTimeKey(revision+1))
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("%w: %d has no time", ErrRevisionGone, revision)
		}
		ms, err = decodeTime(v)
		return err
	})
	return ms, err
}

// RevisionAt is the last published revision at or before an instant of leader time.
func (s *State) RevisionAt(at time.Time) (rev graph.Revision, err error) {
	err = s.read(func(db *pebble.DB) error {
		published := s.Current().revision
		v, ok, err := last(db, storePrefix(spaceTimeRevision, StoreID{}), timeRevisionKey(at.UnixMilli()+1))
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("%w: nothing is kept of %v", ErrRevisionGone, at)
		}
		n, err := decodeNumber(v)
		rev = min(graph.Revision(n), published)
		return err
	})
	return rev, err
}

// last is the value of the last row in [lower, upper).
func last(r pebble.Reader, lower, upper []byte) (value []byte, ok bool, err error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, false, err
	}
	if it.Last() {
		var v []byte
		if v, err = it.ValueAndErr(); err == nil {
			value, ok = bytes.Clone(v), true
		}
	}
	return value, ok, errors.Join(err, it.Close())
}

// View is the store's content.
func (p *Past) View() graph.Scanner { return p }

// Models are the versions of the model written until then, oldest first.
func (p *Past) Models() []*Model { return p.models }

// NewestModel is the model that was current then.
func (p *Past) NewestModel() (*Model, bool) {
	if n := len(p.models); n > 0 {
		return p.models[n-1], true
	}
	return nil, false
}

// Model finds a model written until then by id.
func (p *Past) Model(id ModelID) (*Model, bool) {
	for _, m := range p.models {
		if m.ID == id {
			return m, true
		}
	}
	return nil, false
}

// Symbols are the ids of names, those of later models included: ids never change.
func (p *Past) Symbols() *model.Table { return p.symbols }

// Revision implements graph.View.
func (p *Past) Revision() graph.Revision { return p.revision }

// Time implements graph.View.
func (p *Past) Time() time.Time { return time.UnixMilli(p.time).UTC() }

// read gives f one snapshot in which the revision is still kept.
func (p *Past) read(f func(r pebble.Reader) error) error {
	return p.s.read(func(db *pebble.DB) error {
		// Restore publishes another epoch and swaps the database in one step for us.
		if p.s.Current().epoch != p.epoch {
			return fmt.Errorf("%w: %d is of another epoch", ErrRevisionGone, p.revision)
		}
		snap := db.NewSnapshot()
		return errors.Join(p.readIn(snap, f), snap.Close())
	})
}

func (p *Past) readIn(r pebble.Reader, f func(r pebble.Reader) error) error {
	v, ok, err := get(r, storeKey(p.store))
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("%w: %v", ErrStoreNotFound, p.store)
	}
	row, err := decodeStoreRow(v)
	if err != nil {
		return err
	}
	if p.revision < row.historyHorizon {
		return fmt.Errorf("%w: %d, store %v begins at %d", ErrRevisionGone, p.revision, p.store, row.historyHorizon)
	}
	return f(r)
}

// Lookup implements graph.View.
func (p *Past) Lookup(t model.TypeID, name string) (id graph.ID, found bool, err error) {
	if name == wildcardName {
		return graph.Wildcard(t), true, nil
	}
	err = p.read(func(r pebble.Reader) error {
		v, ok, err := get(r, nameKey(p.store, t, name))
		if err != nil || !ok {
			return err
		}
		known, created, err := decodeNameRow(t, v)
		if err == nil && created <= p.revision {
			id, found = known, true
		}
		return err
	})
	return id, found, err
}

// Name implements graph.View.
func (p *Past) Name(id graph.ID) (name string, err error) {
	if id.IsWildcard() {
		return wildcardName, nil
	}
	err = p.read(func(r pebble.Reader) error {
		v, ok, err := get(r, entityKey(p.store, id))
		if err != nil {
			return err
		}
		if !ok { // whoever has the id read a row that was erased since
			return fmt.Errorf("%w as it was: %w", ErrRevisionGone, unknownID(id))
		}
		n, created, err := decodeEntityRow(v)
		if err == nil && created > p.revision {
			return unknownID(id)
		}
		name = n
		return err
	})
	return name, err
}

// Contains implements graph.View.
func (p *Past) Contains(u graph.Userset, sub graph.Subject) (edge graph.Edge, found bool, err error) {
	err = p.read(func(r pebble.Reader) error {
		suffix := forwardSuffix(nil, u, sub)
		return p.visible(r, forward, suffix, prefixEnd(suffix), func(_ graph.Userset, e graph.Edge, _ int64) bool {
			edge, found = e, true
			return false
		})
	})
	return edge, found, err
}

// Subjects implements graph.View.
func (p *Past) Subjects(u graph.Userset, c *graph.Cursor) error {
	low := be32(be64(nil, uint64(u.Object)), uint32(u.Relation))
	high := prefixEnd(low)
	if c.After != (graph.Subject{}) {
		low = prefixEnd(forwardSuffix(nil, u, c.After))
	}
	return p.edges(forward, low, high, c)
}

// Objects implements graph.View.
func (p *Past) Objects(rel model.RelationID, sub graph.Subject, c *graph.Cursor) error {
	low := reverseSuffix(nil, rel, sub, 0)[:16]
	high := prefixEnd(low)
	if c.After.ID != 0 {
		low = prefixEnd(reverseSuffix(nil, rel, sub, c.After.ID))
	}
	return p.edges(reverse, low, high, c)
}

func (p *Past) edges(d direction, low, high []byte, c *graph.Cursor) error {
	page := edgePage(c)
	full := false
	err := p.read(func(r pebble.Reader) error {
		return p.visible(r, d, low, high, func(u graph.Userset, e graph.Edge, _ int64) bool {
			if len(page) == cap(page) {
				full = true
				return false
			}
			if d == reverse {
				e.Subject = graph.Subject{ID: u.Object}
			}
			page = append(page, e)
			return true
		})
	})
	if err != nil {
		return err
	}
	finishPage(c, page, !full)
	return nil
}

// Document implements graph.View.
func (p *Past) Document(id graph.ID) (doc graph.Document, found bool, err error) {
	err = p.read(func(r pebble.Reader) error {
		row, ok, err := p.documentRow(r, id)
		if err != nil || !ok || row.deleted {
			return err
		}
		doc, found, err = documentOf(&row)
		return err
	})
	return doc, found, err
}

func (p *Past) documentRow(r pebble.Reader, id graph.ID) (row documentRow, found bool, err error) {
	v, ok, err := get(r, documentKey(p.store, id))
	if err != nil || !ok {
		return row, false, err
	}
	if row, err = decodeDocumentRow(v); err != nil || row.created <= p.revision {
		return row, err == nil, err
	}
	lower := documentPastKey(p.store, id, p.revision+1)
	upper := prefixEnd(lower[:len(lower)-8])
	err = scan(r, lower, upper, func(_, value []byte) (bool, error) {
		row, err = decodeDocumentRow(bytes.Clone(value))
		found = err == nil && row.created <= p.revision
		return false, err
	})
	return row, found, err
}

// Rows implements graph.Scanner.
func (p *Past) Rows(c *graph.RowCursor) error {
	u, sub, skip := rowStart(c)
	low := forwardSuffix(nil, u, sub)
	if skip {
		low = prefixEnd(low)
	}
	var high []byte
	if c.To != 0 {
		high = prefixEnd(be64(nil, uint64(c.To)))
	}
	page := rowPage(c)
	full := false
	err := p.read(func(r pebble.Reader) error {
		return p.visible(r, forward, low, high, func(u graph.Userset, e graph.Edge, written int64) bool {
			if len(page) == cap(page) {
				full = true
				return false
			}
			page = append(page, graph.Row{Userset: u, Edge: e, Written: written})
			return true
		})
	})
	if err != nil {
		return err
	}
	finishRows(c, page, !full)
	return nil
}
