package cluster

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/remit-authz/remit/cluster/clustertest"
)

func TestForwardedCommandsKeepTheirOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newPeers(t, 1, 3, func(cfg *Config) {
			cfg.MaxCommandBytes, cfg.QueueCommands = 100, 4
			cfg.Handler = func(_ context.Context, request []byte) ([]byte, error) {
				if len(request) == 0 {
					return nil, errors.New("the handler's own")
				}
				return append([]byte("answer to "), request...), nil
			}
		})
		l := c.leader()
		other := c.others(l)[0]

		if got, err := other.node.Forward(t.Context(), []byte("q")); err != nil || string(got) != "answer to q" {
			t.Errorf("Forward(q) = %q, %v, want the handler's answer", got, err)
		}
		if _, err := other.node.Forward(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "the handler's own") {
			t.Errorf("Forward of nothing: error %v, want the handler's", err)
		}
		if _, err := other.node.Propose(t.Context(), make([]byte, 101)); !errors.Is(err, ErrTooLarge) {
			t.Errorf("Propose of 101 bytes: error %v, want %v", err, ErrTooLarge)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := other.node.Propose(ctx, []byte("late")); !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("Propose by who has left: error %v, want %v alone", err, context.Canceled)
		}

		// The answer is lost: the command took effect, and the caller cannot know.
		c.oneWay(l, other, cut)
		ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := other.node.Propose(ctx, []byte("done")); !errors.Is(err, ErrUnknownOutcome) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Propose whose answer is lost: error %v, want %v around the context's", err, ErrUnknownOutcome)
		}
		c.network.Heal()
		if all := c.same(); !slices.Contains(all, "done") || slices.Contains(all, "late") {
			t.Errorf("the log holds %v, want it to hold done and not late", all)
		}

		// The leader is cut off from the others but not from us: it cannot commit.
		l = c.leader()
		other = c.others(l)[0]
		for _, p := range c.others(l) {
			c.oneWay(p, l, cut)
		}
		c.oneWay(other, l, normal)
		c.oneWay(l, other, cut)
		ctx, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if _, err := other.node.Propose(ctx, []byte("open")); !errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("Propose at a leader without a quorum: error %v, want %v", err, ErrUnknownOutcome)
		}
		c.network.Heal()
		c.ready()

		// Nobody is there any more.
		l = c.leader()
		other = c.others(l)[0]
		c.crash(l, 0)
		if _, err := other.node.Propose(t.Context(), []byte("nobody")); !errors.Is(err, ErrNoLeader) || errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("Propose at a leader that is gone: error %v, want %v", err, ErrNoLeader)
		}
		if _, err := other.node.ReadIndex(t.Context()); !errors.Is(err, ErrNoLeader) {
			t.Errorf("ReadIndex with a leader that is gone: error %v, want %v", err, ErrNoLeader)
		}
		c.ready()
		if all := c.same(); slices.Contains(all, "nobody") {
			t.Error("a command took effect that did not happen")
		}
	})
}

// A voter's disk is lost, and a new node takes its address. It has never voted, so its word
// must not confirm a leader.
func TestAnotherNodeAtTheAddressConfirmsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newPeers(t, 1, 3)
		l := c.leader()
		gone, far := c.others(l)[0], c.others(l)[1]
		c.crash(gone, 0)
		stranger := &peer{Peer: Peer{ID: "stranger", Address: gone.Address}}
		c.start(stranger, clustertest.NewDisk(), nil)
		c.mu.Lock()
		c.all = append(c.all, stranger)
		c.mu.Unlock()
		if _, err := l.node.ReadIndex(t.Context()); err != nil {
			t.Errorf("ReadIndex with two of three voters: %v", err)
		}
		c.link(l, far, cut)
		if _, err := l.node.ReadIndex(t.Context()); !errors.Is(err, ErrNoLeader) {
			t.Errorf("ReadIndex with one of three voters and a stranger: error %v, want %v", err, ErrNoLeader)
		}
	})
}
