package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
)

func TestMessageIsShortenedToWhatIsNew(t *testing.T) {
	entries := func(indexes ...uint64) (all []*raft.Log) {
		for _, i := range indexes {
			all = append(all, &raft.Log{Index: i, Term: 3})
		}
		return all
	}
	for _, tt := range []struct {
		name      string
		known     uint64
		in, want  raft.AppendEntriesRequest
		unchanged bool
	}{
		{
			"it begins behind what is known", 40,
			raft.AppendEntriesRequest{PrevLogEntry: 41, PrevLogTerm: 3, Entries: entries(42), LeaderCommitIndex: 50},
			raft.AppendEntriesRequest{},
			true,
		},
		{
			"it begins where the log is known to end", 40,
			raft.AppendEntriesRequest{PrevLogEntry: 40, PrevLogTerm: 3, Entries: entries(41), LeaderCommitIndex: 50},
			raft.AppendEntriesRequest{Entries: entries(41), LeaderCommitIndex: 41},
			false,
		},
		{
			"it begins at the first entry", 40,
			raft.AppendEntriesRequest{Entries: entries(39, 40, 41), LeaderCommitIndex: 50},
			raft.AppendEntriesRequest{Entries: entries(41), LeaderCommitIndex: 41},
			false,
		},
		{
			"nothing is known", 0,
			raft.AppendEntriesRequest{Entries: entries(1, 2), LeaderCommitIndex: 2},
			raft.AppendEntriesRequest{},
			true,
		},
		{
			"it is a heartbeat", 40,
			raft.AppendEntriesRequest{},
			raft.AppendEntriesRequest{},
			true,
		},
		{
			"part of it is known", 42,
			raft.AppendEntriesRequest{PrevLogEntry: 40, PrevLogTerm: 3, Entries: entries(41, 42, 43), LeaderCommitIndex: 50},
			raft.AppendEntriesRequest{Entries: entries(43), LeaderCommitIndex: 43},
			false,
		},
		{
			"all of it is known", 44,
			raft.AppendEntriesRequest{PrevLogEntry: 40, PrevLogTerm: 3, Entries: entries(41, 42), LeaderCommitIndex: 50},
			raft.AppendEntriesRequest{Entries: entries(), LeaderCommitIndex: 44},
			false,
		},
		{
			"nothing is in it", 44,
			raft.AppendEntriesRequest{PrevLogEntry: 40, PrevLogTerm: 3, LeaderCommitIndex: 50},
			raft.AppendEntriesRequest{LeaderCommitIndex: 44},
			false,
		},
		{
			"the leader knows of less that is committed", 42,
			raft.AppendEntriesRequest{PrevLogEntry: 40, PrevLogTerm: 3, Entries: entries(41, 42, 43), LeaderCommitIndex: 41},
			raft.AppendEntriesRequest{Entries: entries(43), LeaderCommitIndex: 41},
			false,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := tt.in
			got := shorten(&tt.in, tt.known)
			if (got == &tt.in) != tt.unchanged {
				t.Errorf("it is the same message: %t, want %t", got == &tt.in, tt.unchanged)
			}
			if diff := cmp.Diff(before, tt.in); diff != "" {
				t.Errorf("the sender's message was changed (-want +got):\n%s", diff)
			}
			empty := cmp.Transformer("empty", func(e []*raft.Log) []*raft.Log { return append([]*raft.Log{}, e...) })
			if diff := cmp.Diff(&tt.want, got, cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Entries" }, empty)); !tt.unchanged && diff != "" {
				t.Errorf("shortened (-want +got):\n%s", diff)
			}
		})
	}
}

// A follower gets everything while nobody gets its answers. The leader then throws its log
// away, and the follower may do so, too. Sent a snapshot of what it has, it must not take
// it for more, and must go on behind it.
func TestLeaderThatMissedTheAnswersTakesNobodyBack(t *testing.T) {
	for _, rewrite := range []struct {
		name     string
		follower bool // it has thrown its log away, too
	}{{"the follower has its log", false}, {"the follower's log begins later", true}} {
		t.Run(rewrite.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newPeers(t, 1, 3)
				l := c.leader()
				deaf := c.others(l)[0]
				write := func() {
					for i := range 5 {
						l.propose(fmt.Sprintf("%d at %s", i, time.Now()))
					}
				}
				write()
				c.oneWay(deaf, l, cut)
				write()
				must(t, deaf.toy.published(t.Context(), l.toy.durableIndex()))
				_, err := l.node.Rewrite(t.Context())
				must(t, err)
				if rewrite.follower {
					_, err := deaf.node.Rewrite(t.Context())
					must(t, err)
				}
				at := deaf.toy.durableIndex()
				write()
				pass(2 * time.Second)
				c.network.Heal()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				must(t, deaf.node.WaitReady(ctx))
				l.propose("after")
				if all := c.same(); !slices.Contains(all, "after") {
					t.Error("the last write is missing")
				}
				if deaf.toy.restores != 0 {
					t.Errorf("node %s restored %d snapshots although it was at %d", deaf.ID, deaf.toy.restores, at)
				}
			})
		})
	}
}

func TestEndingsCrossWithTheirMeaning(t *testing.T) {
	for _, tt := range []struct {
		told, want error
	}{
		{ErrNoLeader, ErrNoLeader},
		{fmt.Errorf("%w: %w", ErrNoLeader, raft.ErrNotLeader), ErrNoLeader},
		{ErrShuttingDown, ErrNoLeader},
		{ErrTooLarge, ErrTooLarge},
		{ErrOverloaded, ErrOverloaded},
		{ErrMembership, ErrMembership},
		{unknown(raft.ErrLeadershipLost), ErrUnknownOutcome},
		{unknown(context.Canceled), ErrUnknownOutcome},
		{unknown(ErrNoLeader), ErrUnknownOutcome},
		{context.Canceled, ErrNoLeader},
		{fmt.Errorf("read: %w", context.DeadlineExceeded), ErrNoLeader},
	} {
		_, err := ended("n1", ending(nil, tt.told))
		if !errors.Is(err, tt.want) {
			t.Errorf("%v crosses as %v, want %v", tt.told, err, tt.want)
		}
		for _, other := range []error{ErrNoLeader, ErrUnknownOutcome, ErrTooLarge, ErrOverloaded, ErrMembership, ErrShuttingDown, context.Canceled} {
			if !errors.Is(tt.want, other) && errors.Is(err, other) {
				t.Errorf("%v crosses as %v, which is also %v", tt.told, err, other)
			}
		}
	}
	if answer, err := ended("n1", ending([]byte("a"), nil)); err != nil || string(answer) != "a" {
		t.Errorf("an answer crosses as %q, %v", answer, err)
	}
	own := errors.New("the handler's own")
	if _, err := ended("n1", ending(nil, own)); err == nil || err.Error() != "node n1: the handler's own" || errors.Is(err, ErrNoLeader) {
		t.Errorf("a handler's error crosses as %v", err)
	}
	for _, unreadable := range [][]byte{nil, {99}, {99, 'a'}} {
		if _, err := ended("n1", unreadable); !errors.Is(changes(t.Context(), err), ErrUnknownOutcome) || !errors.Is(changesNothing(t.Context(), err), ErrNoLeader) {
			t.Errorf("the answer %v: %v, want an unknown outcome", unreadable, err)
		}
	}
}

func FuzzUnframe(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{3, 'a'})
	f.Add(frame("n1", []byte("payload")))
	f.Fuzz(func(t *testing.T, request []byte) {
		to, payload, err := unframe(request)
		if err != nil {
			return
		}
		if diff := cmp.Diff(request, frame(to, payload)); diff != "" {
			t.Errorf("framed again (-want +got):\n%s", diff)
		}
	})
}

// lossy loses the answers to messages with entries while it is told to.
type lossy struct {
	Transport
	loses *atomic.Bool
}

func (l lossy) AppendEntries(id raft.ServerID, to raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	err := l.Transport.AppendEntries(id, to, args, resp)
	if err == nil && resp.Success && len(args.Entries) > 0 && l.loses.Load() {
		return errors.New("the answer is lost")
	}
	return err
}

// A new member gets the log from its first entry on, nobody hears that it has, and it throws
// the entries away. They are sent again, and must not hold it up.
func TestNewMemberThatThrewItsLogAwayIsBroughtOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var loses atomic.Bool
		c := newPeers(t, 1, 1, func(cfg *Config) { cfg.Transport = lossy{cfg.Transport, &loses} })
		l := c.leader()
		l.propose("a")
		loses.Store(true)
		p := c.add(nil)
		must(t, l.node.AddNonvoter(t.Context(), p.Peer))
		pass(time.Second)
		if _, err := p.node.Rewrite(t.Context()); err != nil {
			t.Fatal(err)
		}
		loses.Store(false)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		must(t, p.node.WaitReady(ctx))
		l.propose("b")
		if all := c.same(); !slices.Contains(all, "b") {
			t.Errorf("the log holds %q, want b in it", all)
		}
	})
}
