package backend

import (
	"time"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// A Snapshot is a store at one revision.
type Snapshot struct {
	Head    *fsm.Store // the store in the newest state, whose names include all older ones
	Base    graph.Scanner
	Symbols *model.Table
	Models  []*fsm.Model // oldest first, as of the revision
	AsOf    time.Time    // the instant that an exact state stands for; zero: the newest was asked for
	Horizon int64        // the expiry horizon, as of the revision, in milliseconds since 1970 UTC
}

// HeadOf is a store in the newest state.
func HeadOf(s *fsm.Store) Snapshot {
	return Snapshot{Head: s, Base: s, Symbols: s.Symbols(), Models: s.Models(), Horizon: s.ExpiryHorizon()}
}

// PastOf is a store at a revision that is not the newest.
func (r *Reader) PastOf(head *fsm.Store, revision graph.Revision) (Snapshot, error) {
	past, err := r.Config.State.ViewAt(head.ID(), revision)
	if err != nil {
		return Snapshot{}, err
	}
	// What had left the head by then lies before both of these.
	left := past.Time().Add(leaderSkew - ExpiryGrace)
	horizon := min(head.ExpiryHorizon(), left.UnixMilli())
	return Snapshot{Head: head, Base: past, Symbols: head.Symbols(), Models: past.Models(), Horizon: horizon}, nil
}
