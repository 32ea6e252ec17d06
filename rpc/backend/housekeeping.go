package backend

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
)

const (
	// ExpiryGrace is how long an expired tuple stays in the newest state. For so long an
	// explicit instant of the past can be asked about without reading history, and the
	// clock of a client may be wrong by hours.
	ExpiryGrace = 24 * time.Hour

	// leaderSkew is more than the clocks of two leaders differ by: by so much a tuple may
	// leave earlier after its expiry, as the time of the state has it.
	leaderSkew = time.Hour

	// housekeepingInterval is how often it is looked whether something may go. Expired
	// tuples count for nobody meanwhile; they, and what is past its retention, only take
	// room.
	housekeepingInterval = time.Minute

	// pastSteps is how many steps of the past of one store go in one sweep, so that no
	// store keeps the others waiting. Each is up to 10,000 versions.
	pastSteps = 60

	// pastPause is how many times as long as a step took the next one waits: the writes
	// of others have most of the time.
	pastPause = 3

	// eraseRows is how many rows a step of an erasure looks at, and eraseSteps how many of
	// them one store has in a sweep.
	eraseRows  = 2000
	eraseSteps = 500

	// worthwhile is how many revisions a store's history horizon lags behind where it
	// may be before it is moved although the store itself has nothing to give up: it
	// holds back the times of revisions, which all stores share.
	worthwhile = 10_000
)

// A Housekeeper lets go of what has had its time: tuples leave the newest state when they
// expired longer than ExpiryGrace ago, though exact states of the past keep them, and the
// past of a store goes when it is older than the store's retention. It ends the erasures
// that others left. Every node has one, and the leader's works.
type Housekeeper struct {
	config *Config
	writer *Writer

	worthwhile graph.Revision // the constant, but for tests

	// erasures says how far each was that was under way at the last sweep.
	erasures map[erasureKey]uint64
}

// An erasureKey is one erasure of one store: others may use the same id.
type erasureKey struct {
	store fsm.StoreID
	id    fsm.ErasureID
}

// NewHousekeeper makes a housekeeper that writes with w.
func NewHousekeeper(w *Writer) *Housekeeper {
	return &Housekeeper{config: &w.reader.Config, writer: w, worthwhile: worthwhile}
}

// Run keeps house until ctx is done. What fails is tried again the next time.
func (h *Housekeeper) Run(ctx context.Context) {
	ticker := time.NewTicker(housekeepingInterval)
	defer ticker.Stop()
	for {
		if err := h.Sweep(ctx); err != nil && ctx.Err() == nil {
			h.config.Log.WarnContext(ctx, "housekeeping not finished", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Sweep goes through all stores once. A store where nothing has to go is left alone: to
// move its horizons would refuse questions about the past for nothing.
func (h *Housekeeper) Sweep(ctx context.Context) error {
	before := h.erasures
	h.erasures = nil
	if !h.writer.reader.leads() {
		return nil
	}
	h.erasures = make(map[erasureKey]uint64)
	s := sweep{Housekeeper: h, now: h.config.Clock(), pinned: math.MaxUint64, kept: map[int64]graph.Revision{}}
	root := h.config.State.Current()
	root.Stores(fsm.StoreID{}, func(store *fsm.Store) bool {
		if store.Retention() == fsm.Forever {
			s.pinned = min(s.pinned, store.HistoryHorizon())
		}
		return true
	})
	var faults []error
	root.Stores(fsm.StoreID{}, func(store *fsm.Store) bool {
		err := errors.Join(s.expiry(ctx, store.ID()), s.past(ctx, store), s.erase(ctx, store, before))
		if err != nil && !errors.Is(err, fsm.ErrStoreNotFound) { // it may be deleted meanwhile
			faults = append(faults, fmt.Errorf("store %s: %w", store.ID(), err))
		}
		return ctx.Err() == nil && h.writer.reader.leads() // or else another goes on
	})
	return errors.Join(faults...)
}

// A sweep is one look at all stores.
type sweep struct {
	*Housekeeper
	now    time.Time
	pinned graph.Revision           // the times of revisions from it on must stay whatever else goes
	kept   map[int64]graph.Revision // by retention: the first revision that it covers; 0: all
}

// expiry removes what has expired from the newest state, in as many steps as that takes:
// each is small enough not to hold up the writes of others.
func (s *sweep) expiry(ctx context.Context, store fsm.StoreID) error {
	horizon := s.now.Add(-ExpiryGrace).UnixMilli()
	first, found, err := s.config.State.FirstExpiry(store)
	if err != nil || !found || first > horizon {
		return err
	}
	for {
		remaining, err := s.propose(ctx, store, "expired", &fsm.AdvanceExpiry{Horizon: horizon})
		if err != nil {
			return err
		}
		if !remaining {
			s.config.Log.DebugContext(ctx, "expired tuples removed", "store", store, "horizon", time.UnixMilli(horizon).UTC())
			return nil
		}
	}
}

// past moves a store's history horizon to where its retention ends, and removes what lies
// behind it, one step after the other.
func (s *sweep) past(ctx context.Context, store *fsm.Store) error {
	horizon, err := s.horizon(store)
	if err != nil {
		return err
	}
	first, found, err := s.config.State.FirstPast(store.ID())
	if err != nil {
		return err
	}
	if (!found || first > horizon) && min(horizon, s.pinned) < store.HistoryHorizon()+s.worthwhile {
		return nil
	}
	for range pastSteps {
		begin := time.Now()
		remaining, err := s.propose(ctx, store.ID(), "past its retention", &fsm.AdvanceHistory{Horizon: horizon})
		if errors.Is(err, fsm.ErrHorizon) {
			return nil // the store is to keep its past for ever since a moment ago
		}
		if err != nil {
			return err
		}
		if !remaining {
			s.config.Log.DebugContext(ctx, "past given up", "store", store.ID(), "horizon", horizon)
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pastPause * time.Since(begin)):
		}
	}
	return nil
}

// horizon is the first revision that a store's retention covers, or the horizon that it
// has already.
func (s *sweep) horizon(store *fsm.Store) (graph.Revision, error) {
	retention := store.Retention()
	if retention == fsm.Forever {
		return store.HistoryHorizon(), nil
	}
	kept, ok := s.kept[retention]
	if !ok {
		var err error
		kept, err = s.config.State.RevisionAt(time.UnixMilli(s.now.UnixMilli() - retention))
		if err != nil && !errors.Is(err, fsm.ErrRevisionGone) { // nothing is as old as that
			return 0, err
		}
		s.kept[retention] = kept
	}
	return max(kept, store.HistoryHorizon()), nil
}

// erase carries on what nobody has for an interval: until an erasure is over nobody can
// write of its entity, and who began it may be gone.
func (s *sweep) erase(ctx context.Context, store *fsm.Store, before map[erasureKey]uint64) error {
	for _, e := range store.Erasures() {
		key := erasureKey{store.ID(), e.ID}
		examined, seen := before[key]
		s.erasures[key] = e.Examined
		for step := 0; seen && examined == e.Examined && step < eraseSteps; step++ {
			begin := time.Now()
			result, err := s.writer.propose(ctx, &fsm.Command{
				Store: store.ID(), Principal: "remit", Reason: "left undone", Body: &fsm.Erase{ID: e.ID, Limit: eraseRows},
			})
			if err == nil {
				err = result.Err
			}
			if err != nil {
				return err
			}
			if s.erasures[key] = result.Erased.Examined; !result.Remaining {
				delete(s.erasures, key)
				s.config.Log.InfoContext(ctx, "erasure ended that was left undone", "store", store.ID(), "erasure", e.ID)
				break
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(pastPause * time.Since(begin)):
			}
		}
	}
	return nil
}

// propose commits one step.
func (s *sweep) propose(ctx context.Context, store fsm.StoreID, reason string, body fsm.Body) (remaining bool, err error) {
	result, err := s.writer.propose(ctx, &fsm.Command{Store: store, Principal: "remit", Reason: reason, Body: body})
	if err != nil {
		return false, err
	}
	return result.Remaining, result.Err
}
