package rpc

import (
	"context"
	"errors"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// answer tells what the change did.
func (c *organisationChange) answer(ctx context.Context, result *fsm.Result) (*remitv1.ChangeResponse, error) {
	res := &remitv1.ChangeResponse{Token: c.service.reader.Token(result.Revision)}
	if result.Replayed {
		err := c.recall(ctx, result.Revision)
		if errors.Is(err, fsm.ErrRevisionGone) {
			return res, nil // it was so long ago that nobody knows what it did
		}
		if err != nil {
			return nil, err
		}
	}
	res.Tuples = int64(c.plan.Changes.Tuples())
	res.Dropped = c.dropped
	var err error
	res.Versions, err = c.versions(ctx, result.Revision)
	if errors.Is(err, backend.ErrNotReached) || errors.Is(err, fsm.ErrRevisionGone) {
		err = nil // it is done, and shall not look as if it were not
	}
	return res, err
}

// versions are those that the edits made: one more than was read, which is a precondition of
// the command. What was made may have been there before, and its count goes on.
func (c *organisationChange) versions(ctx context.Context, revision graph.Revision) ([]uint64, error) {
	read := map[graph.ObjectName]uint64{}
	for _, r := range c.plan.Read {
		read[r.Entity] = r.Version
	}
	edited := map[graph.ObjectName]crm.Entity{}
	for _, e := range c.plan.Edits {
		edited[e.Key()] = e.After
	}
	var after *organisation // once it is needed
	versions := make([]uint64, len(c.edits))
	for i := range c.edits {
		if c.edits[i].message.GetPut() == nil {
			continue
		}
		key := c.edits[i].key()
		entity, changed := edited[key]
		switch was := read[key]; {
		case changed && entity == nil: // a later edit deleted it
		case changed && was > 0:
			versions[i] = was + 1
		case was > 0:
			versions[i] = was
		default:
			var err error
			if after == nil {
				if after, err = c.service.asOf(ctx, c.found, revision); err != nil {
					return nil, err
				}
			}
			if _, versions[i], err = after.entities.Entity(key); err != nil {
				return nil, err
			}
		}
	}
	return versions, nil
}

// asOf is the organisation of a store at a revision.
func (s *organisationService) asOf(ctx context.Context, store fsm.StoreID, revision graph.Revision) (*organisation, error) {
	if err := s.reader.WaitFor(ctx, revision); err != nil {
		return nil, err
	}
	head, err := backend.OpenStore(ctx, s.reader.Config.State.Current(), store)
	if err != nil {
		return nil, err
	}
	snapshot := backend.HeadOf(head)
	if head.Revision() != revision {
		if snapshot, err = s.reader.PastOf(head, revision); err != nil {
			return nil, err
		}
	}
	return s.organisation("store", snapshot)
}

// recall makes the plan of an earlier call again. A plan is made of nothing but what it has
// read, and that was so from when it was made until it was applied; so planning at the
// revision before gives the same.
func (c *organisationChange) recall(ctx context.Context, revision graph.Revision) error {
	before, err := c.service.asOf(ctx, c.found, revision-1)
	if err != nil {
		return err
	}
	// Whoever it was could do it; whether they still can is another matter.
	seat, err := before.who(ctx, "as", c.as)
	if err != nil {
		return err
	}
	if c.actor = (actor{}); seat != nil {
		c.actor.seat = seat.ID
	}
	d := c.begin(before, frozen{before.Base})
	if c.plan, err = c.planned(ctx, d, before.key.ID); err != nil {
		return err
	}
	c.dropped, err = before.dropped(ctx, c.actor, c.plan)
	return err
}

// A frozen state is one that nothing is written to any more.
type frozen struct{ graph.Scanner }

// ScopeVersion implements crm.State.
func (frozen) ScopeVersion(string) uint64 { return 0 }
