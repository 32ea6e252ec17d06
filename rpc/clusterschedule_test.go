package rpc

import (
	"context"
	flags "flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/remit-authz/remit/cluster/clustertest"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/token"
)

var (
	scheduleSeed  = flags.Uint64("schedule", 0, "the only schedule of faults to run, by its seed")
	scheduleCount = flags.Int("schedules", 0, "how many schedules of faults to run")
)

// What the clients of a schedule write and ask about: few things, so that they get in each
// other's way.
var (
	scheduleTuples = func() (all []string) {
		for d := range 3 {
			for u := range 3 {
				all = append(all, fmt.Sprintf("document:d%d#owner@user:u%d", d, u), fmt.Sprintf("document:d%d#banned@user:u%d", d, u))
			}
			all = append(all, fmt.Sprintf("document:d%d#parent@folder:f", d), fmt.Sprintf("document:d%d#viewer@group:g0#member", d))
		}
		for u := range 3 {
			all = append(all, fmt.Sprintf("group:g0#member@user:u%d", u), fmt.Sprintf("group:g1#member@user:u%d", u))
		}
		return append(all, "group:g0#member@group:g1#member", "folder:f#viewer@group:g1#member", "folder:f#viewer@user:*", "folder:f#owner@user:u0")
	}()
	scheduleStore = "acme"
)

// A scheduled operation is a write or a read as its client saw it. Begin and end come from
// one counter.
type scheduled struct {
	client     int
	node       string
	begin, end int64
	name       string // of a write: the reason under which the changelog has it
	create     string // tuple, or
	remove     string // tuple, or
	present    string // tuple that must be there, for a creation

	question string // of a check, or
	lists    string // subject of a list of the documents that it reads
	level    string // of the read
	least    uint64 // revision that the answer must have seen, or be of

	fate     fate
	revision uint64 // of an answer
	allowed  bool
	listed   []string
	err      error
}

type fate string

const (
	fateAnswered fate = "answered"
	fateRefused  fate = "refused" // by what is there
	fateNothing  fate = "nothing happened"
	fateOpen     fate = "open" // it may take effect, now or later
)

func (o *scheduled) String() string {
	return fmt.Sprintf("[%d,%d] at %s %s", o.begin, o.end, o.node, o.what())
}

func (o *scheduled) what() string {
	switch {
	case o.name != "":
		return fmt.Sprintf("%s creates %q or deletes %q, given %q: %s at %d, %v", o.name, o.create, o.remove, o.present, o.fate, o.revision, o.err)
	case o.lists != "":
		return fmt.Sprintf("%s reads, %s %d: %s at %d, %v, %v", o.lists, o.level, o.least, o.fate, o.revision, o.listed, o.err)
	}
	return fmt.Sprintf("%s? %s %d: %s at %d, %t, %v", o.question, o.level, o.least, o.fate, o.revision, o.allowed, o.err)
}

// A schedule runs a cluster under faults that come from a seed.
type schedule struct {
	*fleet
	clock atomic.Int64
	over  atomic.Bool
	story []string // what was done to it, for the reader of a failure

	mu      sync.Mutex
	history []*scheduled       // guarded by mu
	watched map[int][]watchRow // guarded by mu; by the place of the node
}

// A watchRow is one change as a watch told it.
type watchRow struct {
	revision uint64
	kind     remitv1.Change_Kind
	tuple    string
	name     string
}

func (s *schedule) tell(format string, args ...any) {
	at := time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)) // when every bubble begins
	s.story = append(s.story, fmt.Sprintf("%10s ", at.Round(time.Millisecond))+fmt.Sprintf(format, args...))
}

// client writes and reads at random nodes until the schedule is over.
func (s *schedule) client(client int, rng *rand.Rand) {
	var known string // the newest token that it has met
	var seen uint64
	for n := 0; !s.over.Load(); n++ {
		pass(time.Duration(rng.IntN(80)) * time.Millisecond)
		m := s.all[rng.IntN(len(s.all))]
		run := m.running()
		if run == nil {
			continue
		}
		o := &scheduled{client: client, node: m.ID, begin: s.clock.Add(1)}
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(200+rng.IntN(8000))*time.Millisecond)
		var text string
		if rng.IntN(2) == 0 {
			text = s.write(ctx, o, run, fmt.Sprintf("w%d-%d", client, n), rng)
		} else {
			text = s.read(ctx, o, run, known, seen, rng)
		}
		cancel()
		if t, err := token.Parse(text); err == nil {
			o.revision = t.Revision
			if o.fate == fateAnswered && o.revision > seen {
				known, seen = text, o.revision
			}
		}
		if run.dead.Load() { // a node without power says nothing
			o.fate = fateOpen
			if o.name == "" {
				o.fate = fateNothing
			}
		}
		o.end = s.clock.Add(1)
		s.mu.Lock()
		s.history = append(s.history, o)
		s.mu.Unlock()
	}
}

// write creates or deletes a tuple and returns the token of the answer.
func (s *schedule) write(ctx context.Context, o *scheduled, run *running, name string, rng *rand.Rand) string {
	o.name = name
	req := &remitv1.WriteRequest{Store: scheduleStore, Reason: name}
	if rng.IntN(2) == 0 {
		req.IdempotencyKey = name
	}
	text := scheduleTuples[rng.IntN(len(scheduleTuples))]
	op := &remitv1.Operation{Tuple: tuple(s.t, text)}
	if rng.IntN(2) == 0 {
		o.create, op.Kind = text, remitv1.Operation_KIND_CREATE
		if rng.IntN(3) == 0 {
			o.present = scheduleTuples[rng.IntN(len(scheduleTuples))]
			req.Preconditions = []*remitv1.Precondition{{Kind: remitv1.Precondition_KIND_TUPLE_PRESENT, Tuple: tuple(s.t, o.present)}}
		}
	} else {
		o.remove, op.Kind = text, remitv1.Operation_KIND_DELETE
	}
	req.Operations = []*remitv1.Operation{op}
	res, err := run.clients.tuples.Write(ctx, req)
	o.err = err
	switch reason := refusalOf(s.t, err); {
	case err == nil:
		o.fate = fateAnswered
	case reason == remitv1.ErrorReason_ERROR_REASON_TUPLE_EXISTS, reason == remitv1.ErrorReason_ERROR_REASON_PRECONDITION_FAILED:
		o.fate = fateRefused
	case reason == remitv1.ErrorReason_ERROR_REASON_UNKNOWN_OUTCOME, connect.CodeOf(err) == connect.CodeDeadlineExceeded:
		o.fate = fateOpen
	case reason == remitv1.ErrorReason_ERROR_REASON_NO_LEADER, reason == remitv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN,
		reason == remitv1.ErrorReason_ERROR_REASON_REVISION_UNAVAILABLE:
		o.fate = fateNothing
	default:
		o.fate = fateNothing
		s.t.Errorf("%v: nobody expects this", o)
	}
	return res.GetToken()
}

// levels are the kinds of consistency; those of one token may be met again and again.
var levels = []string{"any", "fresh", "fresh", "exact", "full", "full"}

// read checks or lists and returns the token of the answer.
func (s *schedule) read(ctx context.Context, o *scheduled, run *running, known string, seen uint64, rng *rand.Rand) (text string) {
	scope := scopeOf(scheduleStore)
	switch o.level = levels[rng.IntN(len(levels))]; {
	case o.level == "full":
		scope = fully(scheduleStore)
	case known == "" || o.level == "any":
		o.level = "any"
	case o.level == "fresh":
		scope, o.least = atLeast(scheduleStore, known), seen
	case o.level == "exact":
		scope, o.least = exactly(scheduleStore, known), seen
	}
	subject := fmt.Sprintf("user:u%d", rng.IntN(3))
	if rng.IntN(4) == 0 {
		o.lists = subject
		res, err := run.clients.access.ListObjects(ctx, &remitv1.ListObjectsRequest{Scope: scope, Type: "document", Relation: "reader", Subject: subject})
		o.listed, o.err, text = res.GetIds(), err, res.GetToken()
	} else {
		o.question = fmt.Sprintf("document:d%d#%s@%s", rng.IntN(3), []string{"owner", "viewer", "reader"}[rng.IntN(3)], subject)
		res, err := run.clients.access.Check(ctx, &remitv1.CheckRequest{Scope: scope, Question: ask(s.t, o.question)})
		o.allowed, o.err, text = res.GetAllowed(), err, res.GetToken()
	}
	if o.fate = fateAnswered; o.err != nil {
		o.fate = fateNothing
		if code := connect.CodeOf(o.err); code != connect.CodeUnavailable && code != connect.CodeDeadlineExceeded && s.storeShown(run) {
			s.t.Errorf("%v: nobody expects this", o)
		}
	}
	return text
}

// storeShown reports whether a node knows of the store yet: one that begins anew from an
// empty disk does not.
func (s *schedule) storeShown(run *running) bool {
	return len(run.state.Current().StoresNamed(scheduleStore)) > 0
}

// watch follows the changelog at one node, through everything that happens to it, until it
// has seen a revision.
func (s *schedule) watch(ctx context.Context, m *member, until func() uint64) {
	resume := ""
	for ctx.Err() == nil {
		run := m.running()
		if run == nil || !s.storeShown(run) {
			pass(20 * time.Millisecond)
			continue
		}
		req := &remitv1.WatchRequest{Stores: []string{scheduleStore}}
		req.From = &remitv1.WatchRequest_Earliest{Earliest: true}
		if resume != "" {
			req.From = &remitv1.WatchRequest_Resume{Resume: resume}
		}
		bound, cancel := context.WithCancel(ctx)
		stream, err := run.clients.watches.Watch(bound, req)
		for err == nil {
			var res *remitv1.WatchResponse
			if res, err = stream.Receive(); err != nil {
				break
			}
			resume = res.Resume
			var rows []watchRow
			for _, r := range res.GetChanges().GetRevisions() {
				for _, c := range r.Changes {
					row := watchRow{revision: r.Revision, kind: c.Kind, name: c.Reason}
					if c.Tuple != nil {
						row.tuple = fmt.Sprintf("%s#%s@%s", c.Tuple.Object, c.Tuple.Relation, c.Tuple.Subject)
					}
					rows = append(rows, row)
				}
			}
			s.mu.Lock()
			s.watched[m.at] = append(s.watched[m.at], rows...)
			s.mu.Unlock()
			if t, bad := token.Parse(res.Token); bad == nil && t.Revision >= until() {
				cancel()
				return
			}
			if m.running() != run { // it is another process's to go on
				break
			}
		}
		cancel()
		if err != nil && connect.CodeOf(err) != connect.CodeUnavailable && connect.CodeOf(err) != connect.CodeCanceled {
			s.t.Errorf("watch at node %s: %v", m.ID, err)
			return
		}
		pass(20 * time.Millisecond)
	}
}

var cutOff = clustertest.Quality{Cut: true}

// misfortune does something to the cluster.
func (s *schedule) misfortune() {
	up := s.up()
	if len(up) == 0 {
		return
	}
	one := up[s.rng.IntN(len(up))]
	for _, m := range up {
		if s.rng.IntN(3) == 0 && m.running().node.Status().Serving {
			one = m
		}
	}
	switch s.rng.IntN(11) {
	case 0, 1:
		s.tell("%s is cut off", one.ID)
		s.isolate(one.at)
	case 2:
		s.tell("%s hears nobody", one.ID)
		s.toward(one.at, cutOff)
	case 3:
		s.tell("nobody hears %s", one.ID)
		s.from(one.at, cutOff)
	case 4:
		s.tell("%s lags", one.ID)
		s.lag(one.at)
	case 5:
		s.tell("%s loses power", one.ID)
		s.crash(one.at, []int{0, 50, 100}[s.rng.IntN(3)])
	case 6:
		s.tell("all lose power")
		for _, m := range up {
			s.crash(m.at, []int{0, 50, 100}[s.rng.IntN(3)])
		}
	case 7:
		s.tell("%s is stopped", one.ID)
		s.stop(one.at)
	case 8, 9:
		for _, m := range up {
			if m.running().node.Status().Serving {
				one = m
			}
		}
		s.tell("%s is to have another lead", one.ID)
		node := one.running().node
		// It may fail for many reasons, and what counts is what the clients see.
		s.stopping.Go(func() { _ = node.TransferLeadership(context.Background(), "") })
	case 10:
		s.tell("%s takes a snapshot", one.ID)
		node := one.running().node
		s.stopping.Go(func() { _ = node.Snapshot(context.Background()) })
	}
}

// mend undoes what misfortune did.
func (s *schedule) mend() {
	s.tell("all is well again")
	s.heal()
	for i := range s.all {
		s.restart(i)
	}
}

// runSchedule returns how many operations were answered.
func runSchedule(t *testing.T, seed uint64) (done int) {
	inBubble(t, func(t *testing.T) {
		s := &schedule{watched: map[int][]watchRow{}}
		defer func() {
			if t.Failed() {
				t.Logf("schedule %d; run it again with go test ./rpc -run Schedules -schedule %d\n%s", seed, seed, strings.Join(s.story, "\n"))
			}
		}()
		rng := rand.New(rand.NewPCG(seed, 4))
		s.fleet = newFleet(t, seed, 3, rng.IntN(2), func(o *fleetOptions) {
			o.Cluster.TrailingLogs = 1 + seed%30
			o.Cluster.SnapshotThreshold, o.Cluster.SnapshotInterval = 40, time.Second
			o.Cluster.CommitTimeout = 40 * time.Millisecond
		})
		s.leader().store(scheduleStore)
		s.settled()
		var clients, watches sync.WaitGroup
		var last atomic.Uint64
		last.Store(1 << 62)
		watching, stop := context.WithCancel(t.Context())
		defer stop()
		for _, m := range s.all {
			watches.Go(func() { s.watch(watching, m, last.Load) })
		}
		for i := range 6 {
			clients.Go(func() { s.client(i, rand.New(rand.NewPCG(seed, 10+uint64(i)))) })
		}
		for range 3 {
			pass(time.Duration(s.rng.IntN(500)) * time.Millisecond)
			for range 1 + s.rng.IntN(2) {
				s.misfortune()
				pass(time.Duration(s.rng.IntN(1500)) * time.Millisecond)
			}
			s.mend()
		}
		s.over.Store(true)
		clients.Wait()
		s.ready()
		s.leader().write(scheduleStore, "document:d0#owner@user:last") // so that there is something to see for all watches
		last.Store(s.settled())
		s.wantSameState()
		ended := make(chan struct{})
		go func() { watches.Wait(); close(ended) }()
		select {
		case <-ended:
		case <-time.After(time.Minute):
			t.Errorf("the watches have not seen revision %d a minute after it", last.Load())
			stop()
			<-ended
		}
		done = s.judge()
	})
	return done
}

// TestSchedulesOfWholeClusters runs whole clusters under faults. A schedule is fixed by its
// seed; how goroutines take turns is not, so one that fails may need some runs to fail again.
func TestSchedulesOfWholeClusters(t *testing.T) {
	if *scheduleSeed != 0 {
		runSchedule(t, *scheduleSeed)
		return
	}
	count := 10 // which takes long enough with the race detector; make test runs more without
	if os.Getenv("REMIT_TEST_ALL") != "" {
		count = 2000
	}
	if *scheduleCount > 0 {
		count = *scheduleCount
	}
	start, done := time.Now(), 0
	for seed := range uint64(count) {
		done += runSchedule(t, seed+1)
		if t.Failed() {
			t.Fatalf("schedule %d failed", seed+1)
		}
	}
	t.Logf("%d schedules, %d operations answered, %.1f schedules a second", count, done, float64(count)/time.Since(start).Seconds())
	if done < 20*count {
		t.Errorf("%d operations were answered in %d schedules, so little was tested", done, count)
	}
}

// judge compares what the clients saw with the changelog, and the changelogs of the nodes
// with each other. It returns how many operations were answered.
func (s *schedule) judge() (done int) {
	log := s.watched[0]
	for i, rows := range s.watched {
		if d := firstDifference(log, rows); d != "" {
			s.t.Errorf("the watch of node n%d differs from that of n0: %s", i, d)
		}
	}
	for _, o := range s.history {
		if o.fate == fateAnswered {
			done++
		}
	}
	past, faults := newPast(s.t, log)
	faults = append(faults, judgeHistory(past, s.history)...)
	for i, fault := range faults {
		if i == 10 {
			s.t.Errorf("and %d more", len(faults)-i)
			break
		}
		s.t.Error(fault)
	}
	return done
}

func firstDifference(want, got []watchRow) string {
	for i := range max(len(want), len(got)) {
		if i >= len(want) || i >= len(got) || want[i] != got[i] {
			return fmt.Sprintf("change %d: %+v and %+v", i, want[min(i, len(want)):min(i+1, len(want))], got[min(i, len(got)):min(i+1, len(got))])
		}
	}
	return ""
}
