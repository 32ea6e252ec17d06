package fsm

import (
	"fmt"
	"time"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// A Root is the whole state at one published revision. It never changes, costs nothing
// to hold but memory, and is safe for concurrent use.
type Root struct {
	revision graph.Revision
	term     uint64
	time     int64
	hash     Hash
	epoch    uint64
	version  uint64
	rewrite  graph.Revision
	index    *index
}

// Revision is the index of the last entry that the root reflects.
func (r *Root) Revision() graph.Revision { return r.revision }

// Time is the leader's time at that entry.
func (r *Root) Time() time.Time { return time.UnixMilli(r.time).UTC() }

// Hash is the state hash at that entry.
func (r *Root) Hash() Hash { return r.hash }

// Epoch identifies the history that revisions count; 0 until SetEpoch.
func (r *Root) Epoch() uint64 { return r.epoch }

// ClusterVersion gates new behaviour of Apply.
func (r *Root) ClusterVersion() uint64 { return r.version }

// RewriteRequired is the revision up to which every node must rewrite its files, because
// what was erased until then is still in them; 0 if nothing was erased.
func (r *Root) RewriteRequired() graph.Revision { return r.rewrite }

// Store finds a store by id.
func (r *Root) Store(id StoreID) (*Store, bool) {
	if id.IsZero() {
		return nil, false
	}
	s, ok := r.index.get(id)
	if !ok {
		return nil, false
	}
	return &Store{root: r, index: s}, true
}

// StoresNamed are the stores that bear a name, in the order of their ids.
func (r *Root) StoresNamed(name string) []*Store {
	var found []*Store
	r.index.named.AscendGreaterOrEqual(namedStore{name: name}, func(n namedStore) bool {
		if n.name != name {
			return false
		}
		if s, ok := r.Store(n.id); ok {
			found = append(found, s)
		}
		return true
	})
	return found
}

// Stores yields the stores behind an id, in the order of their ids, until yield
// returns false.
func (r *Root) Stores(after StoreID, yield func(*Store) bool) {
	r.index.stores.AscendGreaterOrEqual(storeItem{id: after}, func(s storeItem) bool {
		if s.id == after || s.id.IsZero() {
			return true
		}
		return yield(&Store{root: r, index: s.index})
	})
}

// A Store is one store at a root's revision. It is a graph.Scanner.
type Store struct {
	root  *Root
	index *storeIndex
}

// ID is the store's id.
func (s *Store) ID() StoreID { return s.index.id }

// StoreName is the store's name, which others may bear too.
func (s *Store) StoreName() string { return s.index.row.name }

// CreatedRevision is the revision that made the store.
func (s *Store) CreatedRevision() graph.Revision { return s.index.row.created }

// CreatedTime is the leader's time at its creation.
func (s *Store) CreatedTime() time.Time { return time.UnixMilli(s.index.row.createdTime).UTC() }

// View is the store's content.
func (s *Store) View() graph.Scanner { return s }

// Models are the versions of the store's model, oldest first. The caller must not
// change the slice.
func (s *Store) Models() []*Model { return s.index.models }

// NewestModel is the last model written.
func (s *Store) NewestModel() (*Model, bool) {
	if n := len(s.index.models); n > 0 {
		return s.index.models[n-1], true
	}
	return nil, false
}

// Model finds a version of the model by id.
func (s *Store) Model(id ModelID) (*Model, bool) { return s.index.model(id) }

// Assertions are what WriteAssertions last wrote for a model; ok is false if there are
// none. The caller must not change the bytes.
func (s *Store) Assertions(id ModelID) (content []byte, ok bool) {
	a, ok := s.index.assertions.Get(assertionsItem{model: id})
	return a.row.content, ok
}

// Symbols are the ids of the names that the store's models use. The caller must not
// define names in it.
func (s *Store) Symbols() *model.Table { return s.index.symbols }

// ScopeVersion is the version of a scope, 0 if it was never bumped.
func (s *Store) ScopeVersion(scope string) uint64 { return s.index.scope(scope) }

// TupleCount is the number of tuples in the head.
func (s *Store) TupleCount() uint64 { return s.index.tally.tuples }

// Hash is the store's share of the state hash.
func (s *Store) Hash() Hash { return s.index.tally.hash }

// Same reports whether nothing was written to the store between the two states. It may
// say no although nothing was.
func (s *Store) Same(other *Store) bool { return s.index == other.index }

// HistoryHorizon is the earliest revision that ViewAt still shows.
func (s *Store) HistoryHorizon() graph.Revision { return s.index.row.historyHorizon }

// ExpiryHorizon is the latest instant, in milliseconds since 1970 UTC, whose expired
// tuples have left the head: a question about an instant before it needs ViewAt.
func (s *Store) ExpiryHorizon() int64 { return s.index.row.expiryHorizon }

func unknownID(id graph.ID) error { return fmt.Errorf("%w: %v", graph.ErrUnknownEntity, id) }
