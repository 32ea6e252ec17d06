package backend

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/remit-authz/remit/fsm"
)

const (
	// ExpiryGrace is how long an expired tuple stays in the newest state. For so long an
	// explicit instant of the past can be asked about without reading history, and the
	// clock of a client may be wrong by hours.
	ExpiryGrace = 24 * time.Hour

	// housekeepingInterval is how often it is looked whether something may go. Expired
	// tuples count for nobody meanwhile; they only take room.
	housekeepingInterval = time.Minute
)

// A Housekeeper lets tuples leave the newest state that expired longer than ExpiryGrace
// ago; exact states of the past keep them. Every node has one, and the leader's works.
type Housekeeper struct {
	config *Config
	writer *Writer
}

// NewHousekeeper makes a housekeeper that writes with w.
func NewHousekeeper(w *Writer) *Housekeeper {
	return &Housekeeper{config: &w.reader.Config, writer: w}
}

// Run keeps house until ctx is done. What fails is tried again the next time.
func (h *Housekeeper) Run(ctx context.Context) {
	ticker := time.NewTicker(housekeepingInterval)
	defer ticker.Stop()
	for {
		if err := h.Sweep(ctx); err != nil && ctx.Err() == nil {
			h.config.Log.WarnContext(ctx, "expired tuples not removed", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Sweep goes through all stores once. A store where nothing has to go is left alone: to
// move its horizon would refuse questions about the past for nothing.
func (h *Housekeeper) Sweep(ctx context.Context) error {
	if h.config.Node.Leader() != h.config.Node.ID() {
		return nil
	}
	horizon := h.config.Clock().Add(-ExpiryGrace).UnixMilli()
	var faults []error
	h.config.State.Current().Stores(fsm.StoreID{}, func(s *fsm.Store) bool {
		first, found, err := h.config.State.FirstExpiry(s.ID())
		if err == nil && found && first <= horizon {
			err = h.advance(ctx, s.ID(), horizon)
		}
		if err != nil && !errors.Is(err, fsm.ErrStoreNotFound) { // it may be deleted meanwhile
			faults = append(faults, fmt.Errorf("store %s: %w", s.ID(), err))
		}
		return ctx.Err() == nil
	})
	return errors.Join(faults...)
}

// advance removes what has expired until the horizon, in as many steps as that takes:
// each is small enough not to hold up the writes of others.
func (h *Housekeeper) advance(ctx context.Context, store fsm.StoreID, horizon int64) error {
	for {
		result, err := h.writer.propose(ctx, &fsm.Command{
			Store: store, Principal: "remit", Reason: "expired", Body: &fsm.AdvanceExpiry{Horizon: horizon},
		})
		switch {
		case err != nil:
			return err
		case result.Err != nil:
			return result.Err
		case !result.Remaining:
			h.config.Log.DebugContext(ctx, "expired tuples removed", "store", store, "horizon", time.UnixMilli(horizon).UTC())
			return nil
		}
	}
}
