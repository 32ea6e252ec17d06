package cluster

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/remit-authz/remit/cluster/clustertest"
)

var (
	scheduleSeed  = flag.Uint64("schedule", 0, "the only schedule of faults to run, by its seed")
	scheduleCount = flag.Int("schedules", 0, "how many schedules of faults to run")
)

// An operation is a write or a read as its client saw it. Begin and end come from one
// counter, so one that ended before another began has the lower number.
type operation struct {
	begin, end int64
	node       string
	command    string // of a write
	place      int    // of a write that was answered: where it stands in the log
	length     int    // of a read: how much of the log it saw
	outcome    outcomeKind
}

type outcomeKind string

const (
	answered outcomeKind = "answered"
	nothing  outcomeKind = "nothing happened"
	open     outcomeKind = "open" // it may take effect, now or later
)

// A history is what the clients saw.
type history struct {
	clock      atomic.Int64
	mu         sync.Mutex
	operations []*operation
}

func (h *history) record(o *operation) {
	o.end = h.clock.Add(1)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.operations = append(h.operations, o)
}

// check compares what the clients saw with the log in the end. The log is one order of all
// writes, and a read tells how much of it there was; so all was linearizable exactly if
// nobody saw less than somebody had who was done before.
func (h *history) check(log []string) error {
	at := map[string]int{}
	for place, command := range log {
		if first, twice := at[command]; twice {
			return fmt.Errorf("%s was applied twice, at %d and %d", command, first, place)
		}
		at[command] = place
	}
	var faults []error
	fault := func(o *operation, format string, args ...any) {
		faults = append(faults, fmt.Errorf("%+v: %s", *o, fmt.Sprintf(format, args...)))
	}
	moments := map[int64]*operation{}
	for _, o := range h.operations {
		moments[o.begin], moments[o.end] = o, o
		if o.command == "" {
			continue
		}
		place, applied := at[o.command]
		delete(at, o.command)
		switch {
		case o.outcome == answered && !applied:
			fault(o, "it was acknowledged and is lost")
		case o.outcome == answered && place != o.place:
			fault(o, "it stands at %d", place)
		case o.outcome == nothing && applied:
			fault(o, "nothing should have happened, but it stands at %d", place)
		case o.outcome == open && applied:
			o.place = place
		case o.outcome == open:
			o.place = -1 // it had no effect, so nothing limits it
		}
	}
	for command := range at {
		if !strings.HasPrefix(command, "term ") {
			faults = append(faults, fmt.Errorf("%s was applied and never proposed", command))
		}
	}
	known := 0 // how much of the log somebody has seen who is done
	floor := map[*operation]int{}
	for now := range h.clock.Load() + 1 {
		o := moments[now]
		switch {
		case o == nil || o.outcome == nothing:
		case now == o.begin:
			floor[o] = known
			if o.outcome == open && o.place >= 0 && o.place < known {
				fault(o, "it stands at %d, where %d were known before it began", o.place, known)
			}
		case o.outcome != answered:
		case o.command != "":
			if o.place < floor[o] {
				fault(o, "%d were known before it began", floor[o])
			}
			known = max(known, o.place+1)
		default:
			if o.length < floor[o] {
				fault(o, "it is stale: %d were known before it began", floor[o])
			}
			known = max(known, o.length)
		}
	}
	return errors.Join(faults...)
}

// A schedule runs a cluster under faults that come from a seed.
type schedule struct {
	*peers
	history history
	percent int // of unsynced data that survives a loss of power
	disks   stalling
	down    map[*peer]clustertest.Disk
	story   []string // what was done to it, for the reader of a failure
	over    atomic.Bool
	serial  atomic.Int64
}

func (s *schedule) tell(format string, args ...any) {
	s.story = append(s.story, fmt.Sprintf("%10s ", time.Since(s.begun()).Round(time.Millisecond))+fmt.Sprintf(format, args...))
}

// begun is when every bubble begins.
func (*schedule) begun() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }

// client writes and reads at random nodes until the schedule is over.
func (s *schedule) client(rng *rand.Rand) {
	for !s.over.Load() {
		pass(time.Duration(rng.IntN(60)) * time.Millisecond)
		p := s.any(rng)
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(200+rng.IntN(3000))*time.Millisecond)
		o := &operation{node: p.ID, begin: s.history.clock.Add(1)}
		var err error
		if rng.IntN(2) == 0 {
			var answer []byte
			o.command = fmt.Sprint(s.serial.Add(1))
			if answer, err = p.node.Propose(ctx, []byte(o.command)); err == nil {
				_, err = fmt.Sscan(string(answer), &o.place)
			}
		} else if _, err = p.node.ReadIndex(ctx); err == nil {
			o.length = len(p.toy.all())
		}
		switch {
		case p.down.Load(), errors.Is(err, ErrUnknownOutcome):
			o.outcome = open // a node without power says nothing
			if o.command == "" {
				o.outcome = nothing
			}
		case err != nil:
			o.outcome = nothing
		default:
			o.outcome = answered
		}
		cancel()
		s.history.record(o)
	}
}

// misfortune does something to the cluster.
func (s *schedule) misfortune() {
	up := s.up()
	one := up[s.rng.IntN(len(up))]
	switch s.rng.IntN(14) {
	case 0, 1:
		s.tell("%s is cut off", one.ID)
		s.isolate(one)
	case 2:
		s.tell("%s hears nobody", one.ID)
		for _, p := range s.others(one) {
			s.oneWay(p, one, cut)
		}
	case 3:
		s.tell("nobody hears %s", one.ID)
		for _, p := range s.others(one) {
			s.oneWay(one, p, cut)
		}
	case 4:
		// Two sides, and one node that both reach.
		s.tell("only %s reaches both sides", one.ID)
		others := s.others(one)
		for i, p := range others {
			for j, q := range others {
				if i%2 != j%2 {
					s.oneWay(p, q, cut)
				}
			}
		}
	case 5:
		slow := clustertest.Quality{Delay: time.Duration(50+s.rng.IntN(300)) * time.Millisecond, Jitter: 50 * time.Millisecond}
		s.tell("%s hears after %s", one.ID, slow.Delay)
		for _, p := range s.others(one) {
			s.oneWay(p, one, slow)
		}
	case 6:
		s.tell("messages arrive twice and late")
		for _, p := range up {
			for _, q := range s.others(p) {
				s.oneWay(p, q, clustertest.Quality{Delay: time.Millisecond, Jitter: 80 * time.Millisecond, Duplicate: 30})
			}
		}
	case 7, 8:
		s.tell("%s loses power", one.ID)
		s.down[one] = s.crash(one, s.percent)
	case 9:
		s.tell("all lose power")
		for _, p := range up {
			s.down[p] = s.crash(p, s.percent)
		}
	case 10:
		// The worst for reads: it hears late that another leads. Every other time Raft is
		// asked directly, since a node refuses reads from the beginning of a transfer.
		slow := clustertest.Quality{Delay: time.Duration(s.rng.IntN(300)) * time.Millisecond}
		direct := s.rng.IntN(2) == 0
		for _, p := range up {
			if p.node.Status().Serving {
				one = p
			}
		}
		for _, p := range s.others(one) {
			s.oneWay(p, one, slow)
		}
		pass(time.Second)
		s.tell("%s, who hears after %s, is to have another lead (Raft is asked: %t)", one.ID, slow.Delay, direct)
		node := one.node
		s.stopping.Go(func() {
			// It may fail for many reasons, and what counts is what the clients see.
			if direct {
				node.changing <- struct{}{} // Raft may give no answer when it stops
				defer func() { <-node.changing }()
				if node.tenure.serving() != 0 {
					_ = node.raft.LeadershipTransfer().Error()
				}
			} else {
				_ = node.TransferLeadership(context.Background(), "")
			}
		})
	case 11:
		s.tell("%s takes a snapshot", one.ID)
		node := one.node
		s.stopping.Go(func() { _ = node.Snapshot(context.Background()) })
	case 12:
		s.tell("%s throws its log away", one.ID)
		node := one.node
		s.stopping.Go(func() { _, _ = node.Rewrite(context.Background()) })
	case 13:
		s.tell("the disk of %s hangs", one.ID)
		s.disks.of(one).hang()
	}
}

// mend undoes what misfortune did.
func (s *schedule) mend() {
	s.tell("all is well again")
	s.network.Heal()
	for _, p := range s.all {
		s.disks.of(p).goOn()
		if left, ok := s.down[p]; ok {
			s.restart(p, left)
		}
	}
	clear(s.down)
}

// reshape changes the members, through a node that may lead or not: another node comes, is
// promoted or demoted, or goes for good. Each change is made again until it is made.
func (s *schedule) reshape() {
	at := s.all[s.rng.IntN(len(s.all))].node
	last := s.all[len(s.all)-1]
	made := func(what string, change func(context.Context) error) {
		for range 200 {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			err := change(ctx)
			cancel()
			if err == nil || errors.Is(err, ErrMembership) {
				s.tell("%s %s: %v", last.ID, what, err)
				return
			}
			pass(50 * time.Millisecond)
		}
		s.t.Errorf("%s: it never %s", last.ID, what)
	}
	switch s.rng.IntN(4) {
	case 0:
		last = s.add(nil)
		made("is added", func(ctx context.Context) error { return at.AddNonvoter(ctx, last.Peer) })
	case 1:
		made("is promoted", func(ctx context.Context) error { return at.Promote(ctx, last.ID) })
	case 2:
		made("is demoted", func(ctx context.Context) error { return at.Demote(ctx, last.ID) })
	case 3:
		// It is removed through another node, and its disk thrown away.
		if at = s.all[0].node; len(s.all) == 1 {
			return
		}
		made("is removed", func(ctx context.Context) error { return at.Remove(ctx, last.ID) })
		s.disks.of(last).goOn()
		s.crash(last, 0)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all = s.all[:len(s.all)-1]
	}
}

// runSchedule returns how many operations were answered.
func runSchedule(t *testing.T, seed uint64) (done int) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(seed, 4))
		voters := 3
		if rng.IntN(4) == 0 {
			voters = 5
		}
		s := &schedule{down: map[*peer]clustertest.Disk{}, percent: []int{0, 50, 100}[rng.IntN(3)]}
		defer func() {
			if t.Failed() {
				t.Logf("schedule %d; run it again with go test ./cluster -run Schedules -schedule %d\n%s", seed, seed, strings.Join(s.story, "\n"))
			}
		}()
		s.peers = newPeers(t, seed, voters, slow(time.Millisecond), s.disks.option, func(cfg *Config) {
			cfg.StallTransfer, cfg.StallFatal = time.Second, time.Hour
			cfg.TrailingLogs = 1 + uint64(rng.IntN(30))
			cfg.SnapshotThreshold, cfg.SnapshotInterval = 40, time.Second
			cfg.CommitTimeout = 40 * time.Millisecond
		})
		s.tell("%d voters, %d %% of what is not synced survives", voters, s.percent)
		var clients sync.WaitGroup
		for i := range 4 {
			rng := rand.New(rand.NewPCG(seed, 10+uint64(i)))
			clients.Go(func() { s.client(rng) })
		}
		for range 4 {
			pass(time.Duration(s.rng.IntN(500)) * time.Millisecond)
			for range 1 + s.rng.IntN(2) {
				if len(s.up()) > 0 {
					s.misfortune()
				}
				pass(time.Duration(s.rng.IntN(1500)) * time.Millisecond)
			}
			s.mend()
			if s.rng.IntN(3) == 0 {
				s.reshape()
			}
		}
		s.over.Store(true)
		clients.Wait()
		s.stopping.Wait()
		s.ready()
		log := s.same()
		if err := s.history.check(log); err != nil {
			t.Errorf("the clients saw what cannot be:\n%v", err)
		}
		for _, o := range s.history.operations {
			if o.outcome == answered {
				done++
			}
		}
	})
	return done
}

// TestSchedulesOfFaults runs clusters under faults. A schedule is fixed by its seed; how
// goroutines take turns is not, so one that fails may need some runs to fail again.
func TestSchedulesOfFaults(t *testing.T) {
	if *scheduleSeed != 0 {
		runSchedule(t, *scheduleSeed)
		return
	}
	count := 60 // some ten seconds of CPU with the race detector
	if os.Getenv("REMIT_TEST_ALL") != "" {
		count = 6000
	}
	if *scheduleCount > 0 {
		count = *scheduleCount
	}
	start, done := time.Now(), 0
	for seed := range uint64(count) {
		done += runSchedule(t, seed+1)
		if seed%500 == 499 {
			t.Logf("%d schedules so far, in %s", seed+1, time.Since(start).Round(time.Second))
		}
		if t.Failed() {
			t.Fatalf("schedule %d failed", seed+1)
		}
	}
	t.Logf("%d schedules, %d operations answered, %.1f schedules a second", count, done, float64(count)/time.Since(start).Seconds())
	if done < 20*count {
		t.Errorf("%d operations were answered in %d schedules, so little was tested", done, count)
	}
}

// The check itself must find what it is for.
func TestHistoryCheckFindsFaults(t *testing.T) {
	for _, tt := range []struct {
		name, fault string
		log         []string
		operations  []*operation
	}{
		{"all is well", "", []string{"term 2", "a", "b"}, []*operation{
			{begin: 1, end: 3, command: "a", place: 1, outcome: answered},
			{begin: 2, end: 5, command: "b", outcome: open},
			{begin: 4, end: 6, length: 3, outcome: answered},
			{begin: 7, end: 8, command: "c", outcome: nothing},
		}},
		{"a lost write", "is lost", []string{"term 2"}, []*operation{{begin: 1, end: 2, command: "a", place: 1, outcome: answered}}},
		{"a write twice", "twice", []string{"a", "a"}, []*operation{{begin: 1, end: 2, command: "a", outcome: answered}}},
		{"a write from nowhere", "never proposed", []string{"a"}, nil},
		{"a write that should not be", "nothing should have happened", []string{"a"}, []*operation{{begin: 1, end: 2, command: "a", outcome: nothing}}},
		{"a stale read", "stale", []string{"a"}, []*operation{
			{begin: 1, end: 2, command: "a", outcome: answered}, {begin: 3, end: 4, length: 0, outcome: answered},
		}},
		{"reads that go back", "stale", []string{"a", "b"}, []*operation{
			{begin: 1, end: 9, command: "a", outcome: answered},
			{begin: 2, end: 10, command: "b", place: 1, outcome: answered},
			{begin: 3, end: 4, length: 2, outcome: answered},
			{begin: 5, end: 6, length: 1, outcome: answered},
		}},
		{"a write before what was known", "known before", []string{"b", "a"}, []*operation{
			{begin: 1, end: 2, command: "a", place: 1, outcome: answered}, {begin: 3, end: 4, command: "b", outcome: answered},
		}},
		{"an open write before what was known", "known before", []string{"b", "a"}, []*operation{
			{begin: 1, end: 2, command: "a", place: 1, outcome: answered}, {begin: 3, end: 4, command: "b", outcome: open},
		}},
		{"an answer with another place", "stands at", []string{"a", "b"}, []*operation{
			{begin: 1, end: 3, command: "a", outcome: answered}, {begin: 2, end: 4, command: "b", outcome: answered},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := &history{operations: tt.operations}
			h.clock.Store(10)
			err := h.check(tt.log)
			if (err == nil) != (tt.fault == "") || (err != nil && !strings.Contains(err.Error(), tt.fault)) {
				t.Errorf("check = %v, want %q", err, tt.fault)
			}
		})
	}
}
