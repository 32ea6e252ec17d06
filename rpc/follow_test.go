package rpc

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/identity"
	"github.com/remit-authz/remit/rpc/token"
)

func fully(store string) *remitv1.Scope {
	return &remitv1.Scope{Store: store, Consistency: &remitv1.Consistency{
		Requirement: &remitv1.Consistency_FullyConsistent{FullyConsistent: true},
	}}
}

func atLeast(store, token string) *remitv1.Scope {
	return &remitv1.Scope{Store: store, Consistency: &remitv1.Consistency{
		Requirement: &remitv1.Consistency_AtLeastAsFresh{AtLeastAsFresh: token},
	}}
}

func exactly(store, token string) *remitv1.Scope {
	return &remitv1.Scope{Store: store, Consistency: &remitv1.Consistency{
		Requirement: &remitv1.Consistency_AtExactSnapshot{AtExactSnapshot: token},
	}}
}

// refusalOf is the reason of an error, as a client sees it; unspecified without an error.
func refusalOf(t testing.TB, err error) remitv1.ErrorReason {
	t.Helper()
	if err == nil {
		return remitv1.ErrorReason_ERROR_REASON_UNSPECIFIED
	}
	_, _, detail := detailOf(t, err)
	return detail.Reason
}

func TestEveryNodeShowsItsOwnWritesWithoutTokens(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFleet(t, 1, 3, 1)
		store := f.leader().store("acme")
		for _, m := range f.all {
			for round := range 5 {
				lags := round%2 == 1 && m != f.leader()
				if lags {
					f.lag(m.at)
				}
				object := fmt.Sprintf("document:%s-%d", m.ID, round)
				m.write(store, object+"#owner@user:anna")
				if !m.check(scopeOf(store), object+"#viewer@user:anna") {
					t.Errorf("node %s, which lags: %t, does not show its own write of %s", m.ID, lags, object)
				}
				f.heal()
			}
		}
		f.wantSameState()
	})
}

// A node that is cut off answers what it has, and says so when that will not do.
func TestANodeThatIsCutOff(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFleet(t, 1, 3, 1)
		store := f.leader().store("acme", "document:a#owner@user:anna")
		f.settled()
		for _, m := range []*member{f.node(3), f.follower()} {
			f.isolate(m.at)
			written := f.leader().write(store, "document:"+m.ID+"#owner@user:bert")
			if !m.check(scopeOf(store), "document:a#viewer@user:anna") || m.check(scopeOf(store), "document:"+m.ID+"#viewer@user:bert") {
				t.Errorf("node %s, cut off, does not answer by what it has", m.ID)
			}
			for _, tt := range []struct {
				name  string
				scope *remitv1.Scope
				want  remitv1.ErrorReason
				most  time.Duration
			}{
				{"fully consistent", fully(store), remitv1.ErrorReason_ERROR_REASON_NO_LEADER, backend.LeaderTimeout},
				{"at least as fresh", atLeast(store, written), remitv1.ErrorReason_ERROR_REASON_REVISION_UNAVAILABLE, backend.FreshnessTimeout},
				{"exactly", exactly(store, written), remitv1.ErrorReason_ERROR_REASON_REVISION_UNAVAILABLE, backend.FreshnessTimeout},
			} {
				begin := time.Now()
				_, err := m.ask(tt.scope, "document:a#viewer@user:anna")
				got := refusalOf(t, err)
				// Whether it has no leader, or one that does not answer, is a matter of time.
				if got != tt.want && (tt.want != remitv1.ErrorReason_ERROR_REASON_NO_LEADER || got != remitv1.ErrorReason_ERROR_REASON_REVISION_UNAVAILABLE) {
					t.Errorf("%s at node %s, cut off: %v, want %s", tt.name, m.ID, err, tt.want)
				}
				if took := time.Since(begin); took > tt.most+time.Second {
					t.Errorf("%s at node %s, cut off, took %s, want at most %s", tt.name, m.ID, took, tt.most)
				}
			}
			begin := time.Now()
			_, err := m.tuples.Write(t.Context(), &remitv1.WriteRequest{Store: store, Operations: touch(t, "document:b#owner@user:anna")})
			if err == nil || connect.CodeOf(err) != connect.CodeUnavailable || time.Since(begin) > backend.LeaderTimeout+3*time.Second {
				t.Errorf("Write at node %s, cut off: %v after %s", m.ID, err, time.Since(begin))
			}
			f.heal()
			f.ready()
			if !m.check(atLeast(store, written), "document:"+m.ID+"#viewer@user:bert") {
				t.Errorf("node %s, back again, does not show what was written meanwhile", m.ID)
			}
		}
		f.wantSameState()
	})
}

func TestTokensOnNodesThatLag(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFleet(t, 1, 3, 1)
		store := f.leader().store("acme")
		m := f.node(3)
		f.settled()
		f.lag(m.at)
		var tokens []string
		for i := range 10 {
			tokens = append(tokens, f.leader().write(store, fmt.Sprintf("document:%d#owner@user:anna", i)))
		}
		if m.check(scopeOf(store), "document:9#viewer@user:anna") {
			t.Fatal("the node does not lag, so this proves nothing")
		}
		for i, token := range tokens {
			object := fmt.Sprintf("document:%d", i)
			if !m.check(atLeast(store, token), object+"#viewer@user:anna") {
				t.Errorf("at least as fresh as the write of %s, it is not there", object)
			}
			if next := fmt.Sprintf("document:%d#viewer@user:anna", i+1); m.check(exactly(store, token), next) {
				t.Errorf("exactly when %s was written, there is %s too", object, next)
			}
		}
		f.leader().write(store, "document:last#owner@user:anna")
		if !m.check(fully(store), "document:last#viewer@user:anna") {
			t.Error("a fully consistent answer lacks what was acknowledged before")
		}

		// What never was is waited for, and then it is unavailable; what was elsewhere reads as
		// the newest, but is no exact state.
		future := token.Token{Epoch: m.reader().Epoch(), Revision: 1 << 40}.String()
		if _, err := m.ask(atLeast(store, future), "document:0#viewer@user:anna"); refusalOf(t, err) != remitv1.ErrorReason_ERROR_REASON_REVISION_UNAVAILABLE {
			t.Errorf("a token of the future: %v", err)
		}
		other := token.Token{Epoch: [16]byte{1}, Revision: 1}.String()
		f.leader().write(store, "document:other#owner@user:anna")
		if !m.check(atLeast(store, other), "document:other#viewer@user:anna") {
			t.Error("a token of another epoch does not read as the newest")
		}
		if _, err := m.ask(exactly(store, other), "document:0#viewer@user:anna"); refusalOf(t, err) != remitv1.ErrorReason_ERROR_REASON_REVISION_UNAVAILABLE {
			t.Errorf("exactly a token of another epoch: %v", err)
		}
	})
}

func TestConsistentReadsOfAFollowerShareAQuestion(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFleet(t, 1, 3, 0)
		store := f.leader().store("acme", "document:a#owner@user:anna")
		m := f.follower()
		before := m.running().node.Counters().Asks
		var readers sync.WaitGroup
		for range 200 {
			readers.Go(func() {
				if allowed, err := m.ask(fully(store), "document:a#viewer@user:anna"); !allowed {
					t.Errorf("a fully consistent check = %t, %v", allowed, err)
				}
			})
		}
		readers.Wait()
		if asked := m.running().node.Counters().Asks - before; asked < 1 || asked > 20 {
			t.Errorf("200 readers at once asked the leader %d times, want a few", asked)
		}
	})
}

// What was acknowledged on one node a moment ago, stores and models too, is not unknown on
// another that lags, although its client has no token.
func TestPlansOfNodesThatLag(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFleet(t, 1, 3, 1)
		l, m := f.leader(), f.node(3)
		f.lag(m.at)
		made, err := l.stores.CreateStore(t.Context(), &remitv1.CreateStoreRequest{Name: "acme"})
		if err != nil {
			t.Fatal(err)
		}
		store := made.Store.Id
		if _, err := m.models.WriteModel(t.Context(), &remitv1.WriteModelRequest{Store: "acme", Source: dsl(testModel)}); err != nil {
			t.Fatalf("WriteModel where the store is not known yet: %v", err)
		}
		second, err := l.models.WriteModel(t.Context(), &remitv1.WriteModelRequest{
			Store: store, Source: dsl(strings.Replace(testModel, "define banned: [user]", "define banned: [user]\n    define fan: [user]", 1)),
		})
		if err != nil {
			t.Fatal(err)
		}
		m.write(store, "document:a#fan@user:anna")
		again, err := m.models.WriteModel(t.Context(), &remitv1.WriteModelRequest{
			Store: store, Source: dsl(strings.Replace(testModel, "define banned: [user]", "define banned: [user]\n    define fan: [user]", 1)),
		})
		if err != nil || again.Created || again.ModelId != second.ModelId {
			t.Errorf("WriteModel of the newest = %v, %v, want %s", again, err, second.ModelId)
		}

		// Preconditions and creations are judged by the newest state, whatever this node has.
		l.write(store, "document:b#owner@user:anna")
		create := &remitv1.WriteRequest{Store: store, Operations: []*remitv1.Operation{{
			Kind: remitv1.Operation_KIND_CREATE, Tuple: tuple(t, "document:b#owner@user:anna"),
		}}}
		if _, err := m.tuples.Write(t.Context(), create); refusalOf(t, err) != remitv1.ErrorReason_ERROR_REASON_TUPLE_EXISTS {
			t.Errorf("creation of a tuple that is there: %v", err)
		}

		// Another store has got the name.
		f.settled()
		if _, err := l.stores.DeleteStore(t.Context(), &remitv1.DeleteStoreRequest{StoreId: store}); err != nil {
			t.Fatal(err)
		}
		next := l.store("acme")
		m.write("acme", "document:c#owner@user:anna")
		if !l.check(scopeOf(next), "document:c#viewer@user:anna") {
			t.Error("the write by name did not reach the store that bears it")
		}
		f.wantSameState()
	})
}

// What an import finds there already it leaves out, so it must not be what was deleted.
func TestAnImportOnANodeThatLags(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFleet(t, 1, 3, 1)
		store := f.leader().store("acme", "document:a#owner@user:anna")
		m := f.node(3)
		f.settled()
		f.lag(m.at)
		_, err := f.leader().tuples.Write(t.Context(), &remitv1.WriteRequest{Store: store, Operations: []*remitv1.Operation{{
			Kind: remitv1.Operation_KIND_DELETE, Tuple: tuple(t, "document:a#owner@user:anna"),
		}}})
		if err != nil {
			t.Fatal(err)
		}
		done, err := imports(t.Context(), m.clients, store, []*remitv1.Tuple{tuple(t, "document:a#owner@user:anna")}, 1)
		if err != nil || done.Written != 1 {
			t.Fatalf("Import = %v, %v, want one tuple written", done, err)
		}
		if !f.leader().check(fully(store), "document:a#viewer@user:anna") {
			t.Error("what was imported is not there")
		}
	})
}

// load writes and reads at every node until it is stopped, and gathers what failed.
type load struct {
	f            *fleet
	store        string
	keyed        bool
	over         atomic.Bool
	clients      sync.WaitGroup
	done         atomic.Int64
	mu           sync.Mutex
	failed       []error  // guarded by mu
	unknown      int      // guarded by mu: writes of unknown outcome, without a key
	acknowledged []string // guarded by mu
}

func (f *fleet) load(store string, keyed bool) *load {
	l := &load{f: f, store: store, keyed: keyed}
	for i := range 2 * len(f.all) {
		l.clients.Go(func() { l.run(i) })
	}
	return l
}

func (l *load) run(client int) {
	m := l.f.all[client%len(l.f.all)]
	for n := 0; !l.over.Load(); n++ {
		pass(60 * time.Millisecond)
		c := m.running().clients
		text := fmt.Sprintf("document:%d-%d#owner@user:anna", client, n)
		req := &remitv1.WriteRequest{Store: l.store, Operations: []*remitv1.Operation{{
			Kind: remitv1.Operation_KIND_CREATE, Tuple: tuple(l.f.t, text), // twice would be an error
		}}}
		if l.keyed {
			req.IdempotencyKey = text
		}
		if _, err := c.tuples.Write(context.Background(), req); err != nil {
			l.fail(fmt.Errorf("write of %s at node %s: %w", text, m.ID, err))
			continue
		}
		l.mu.Lock()
		l.acknowledged = append(l.acknowledged, text)
		l.mu.Unlock()
		res, err := c.access.Check(context.Background(), &remitv1.CheckRequest{Scope: fully(l.store), Question: ask(l.f.t, text)})
		if err == nil && !res.Allowed {
			err = errors.New("it is not there")
		}
		if err != nil {
			l.fail(fmt.Errorf("check of %s at node %s: %w", text, m.ID, err))
			continue
		}
		l.done.Add(1)
	}
}

func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.keyed && refusalOf(l.f.t, err) == remitv1.ErrorReason_ERROR_REASON_UNKNOWN_OUTCOME {
		l.unknown++
		return
	}
	l.failed = append(l.failed, err)
}

// stop ends the load and reports what failed.
func (l *load) stop(want int64) {
	l.f.t.Helper()
	l.over.Store(true)
	l.clients.Wait()
	for i, err := range l.failed {
		if i == 5 {
			l.f.t.Errorf("and %d more errors", len(l.failed)-i)
			break
		}
		l.f.t.Error(err)
	}
	if l.done.Load() < want {
		l.f.t.Errorf("%d writes and reads were answered, so little was tested", l.done.Load())
	}
	l.f.settled()
	for _, m := range l.f.up() {
		for _, text := range l.acknowledged {
			if !m.check(scopeOf(l.store), text) {
				l.f.t.Errorf("node %s has lost %s", m.ID, text)
			}
		}
	}
	l.f.wantSameState()
}

// A transfer of leadership is planned, so nobody notices: neither writes, with a key or
// without, nor reads of the newest state, on whichever node.
func TestNobodyNoticesATransferOfLeadership(t *testing.T) {
	for _, keyed := range []bool{false, true} {
		t.Run(fmt.Sprintf("keyed=%t", keyed), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				f := newFleet(t, 1, 3, 1)
				l := f.load(f.leader().store("acme"), keyed)
				for range 8 {
					pass(200 * time.Millisecond)
					f.transfer("")
				}
				l.stop(60)
				if l.unknown > 0 {
					t.Errorf("%d writes without a key have an unknown outcome", l.unknown)
				}
			})
		})
	}
}

// The loss of a leader is noticed by no write that bears a key, and no consistent read.
// Without a key the outcome of what was under way may be unknown; all else succeeds.
func TestTheLossOfALeaderUnderLoad(t *testing.T) {
	for _, keyed := range []bool{false, true} {
		t.Run(fmt.Sprintf("keyed=%t", keyed), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				f := newFleet(t, 1, 3, 1)
				l := f.load(f.leader().store("acme"), keyed)
				for range 2 {
					pass(300 * time.Millisecond)
					old := f.leader()
					f.isolate(old.at) // before anybody could know
					pass(2500 * time.Millisecond)
					f.heal()
					pass(2 * time.Second)
				}
				l.stop(60)
				t.Logf("%d answered, %d of unknown outcome", l.done.Load(), l.unknown)
			})
		})
	}
}

// A failing node answers proposals as it is told to.
type failingNode struct {
	backend.Node
	mu     sync.Mutex
	before []error // for one proposal each; nil lets it through
	after  []error
	asked  int
}

func (n *failingNode) Propose(ctx context.Context, command []byte) ([]byte, error) {
	n.mu.Lock()
	var before, after error
	if n.asked++; n.asked <= len(n.before) {
		before = n.before[n.asked-1]
	}
	if n.asked <= len(n.after) {
		after = n.after[n.asked-1]
	}
	n.mu.Unlock()
	if before != nil {
		return nil, before
	}
	answer, err := n.Node.Propose(ctx, command)
	if after != nil {
		return nil, after
	}
	return answer, err
}

func (n *failingNode) tell(before, after []error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.before, n.after, n.asked = before, after, 0
}

// Which proposals are repeated, and what the caller hears of those that are not.
func TestRepetitionOfProposals(t *testing.T) {
	noLeader := fmt.Errorf("at node 7: %w", cluster.ErrNoLeader)
	unknown := fmt.Errorf("at node 7: %w", cluster.ErrUnknownOutcome)
	overloaded := fmt.Errorf("at node 7: %w", cluster.ErrOverloaded)
	inBubble(t, func(t *testing.T) {
		node := &failingNode{}
		f := newFleet(t, 1, 3, 0, func(o *fleetOptions) {
			if o.Cluster.NodeID == "n0" {
				o.Node = func(n *cluster.Node) backend.Node { node.Node = n; return node }
			}
		})
		m := f.node(0)
		store := f.node(1).store("acme", "document:there#owner@user:anna")
		f.settled()
		write := func(key, text string) error {
			_, err := m.tuples.Write(t.Context(), &remitv1.WriteRequest{Store: store, IdempotencyKey: key, Operations: []*remitv1.Operation{{
				Kind: remitv1.Operation_KIND_CREATE, Tuple: tuple(t, text),
			}}})
			return err
		}
		const none = remitv1.ErrorReason_ERROR_REASON_UNSPECIFIED
		for i, tt := range []struct {
			name          string
			key, tuple    string
			before, after []error
			want          remitv1.ErrorReason
			there         bool
			asked         int
		}{
			{name: "no leader at first", before: []error{noLeader, noLeader, noLeader}, want: none, there: true, asked: 4},
			{name: "unknown, done, with a key", key: "a", after: []error{unknown}, want: none, there: true, asked: 2},
			{name: "unknown, not done, with a key", key: "b", before: []error{unknown}, want: none, there: true, asked: 2},
			{name: "unknown, done, without a key", after: []error{unknown}, want: remitv1.ErrorReason_ERROR_REASON_UNKNOWN_OUTCOME, there: true, asked: 1},
			{name: "unknown, not done, without a key", before: []error{unknown}, want: remitv1.ErrorReason_ERROR_REASON_UNKNOWN_OUTCOME, asked: 1},
			{name: "no leader, then unknown without a key", before: []error{noLeader, unknown}, want: remitv1.ErrorReason_ERROR_REASON_UNKNOWN_OUTCOME, asked: 2},
			{name: "overloaded", before: []error{overloaded}, want: remitv1.ErrorReason_ERROR_REASON_OVERLOADED, asked: 1},
			// That the second was refused says nothing of the first, which may be on its way.
			{name: "unknown, then overloaded", key: "c", before: []error{unknown, overloaded}, want: remitv1.ErrorReason_ERROR_REASON_UNKNOWN_OUTCOME, asked: 2},
			{name: "unknown, then refused", key: "d", tuple: "document:there#owner@user:anna", before: []error{unknown}, want: remitv1.ErrorReason_ERROR_REASON_UNKNOWN_OUTCOME, there: true, asked: 2},
			{name: "refused", key: "e", tuple: "document:there#owner@user:anna", want: remitv1.ErrorReason_ERROR_REASON_TUPLE_EXISTS, there: true, asked: 1},
		} {
			if tt.tuple == "" {
				tt.tuple = fmt.Sprintf("document:%d#owner@user:anna", i)
			}
			node.tell(tt.before, tt.after)
			err := write(tt.key, tt.tuple)
			if refusalOf(t, err) != tt.want {
				t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
			}
			if node.asked != tt.asked {
				t.Errorf("%s: proposed %d times, want %d", tt.name, node.asked, tt.asked)
			}
			node.tell(nil, nil)
			if there := m.check(fully(store), tt.tuple); there != tt.there {
				t.Errorf("%s: the tuple is there: %t, want %t", tt.name, there, tt.there)
			}
		}

		// Nobody waits for ever, nor longer than his own time.
		always := make([]error, 10_000)
		for i := range always {
			always[i] = noLeader
		}
		node.tell(always, nil)
		begin := time.Now()
		if err := write("", "document:x#owner@user:anna"); refusalOf(t, err) != remitv1.ErrorReason_ERROR_REASON_NO_LEADER {
			t.Errorf("without a leader: %v", err)
		}
		if took := time.Since(begin); took < backend.LeaderTimeout/2 || took > backend.LeaderTimeout {
			t.Errorf("without a leader an error came after %s, want %s", took, backend.LeaderTimeout)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := backend.NewWriter(m.reader().Reader).Do(ctx, func(*fsm.Root) (*fsm.Command, error) {
			return &fsm.Command{Store: fsm.StoreID{9}, Body: &fsm.CreateStore{Name: "x"}}, nil
		})
		if !errors.Is(err, cluster.ErrNoLeader) || ctx.Err() != nil {
			t.Errorf("without a leader and with a second's time: %v, %v", err, ctx.Err())
		}
	})
}

// The secret of a key is told once, so it must not get lost with a leader.
func TestANewKeyIsToldThoughItsAnswerWasLost(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		node := &failingNode{}
		f := newFleet(t, 1, 3, 0, func(o *fleetOptions) {
			if o.Cluster.NodeID == "n0" {
				o.Node = func(n *cluster.Node) backend.Node { node.Node = n; return node }
			}
		})
		m := f.node(0)
		k := backend.NewKeyring(m.reader().Reader)
		grants := identity.Grants{Cluster: true}
		if _, _, err := k.Create(t.Context(), backend.KeyRequest{IdempotencyKey: "a"}, "first", grants, time.Time{}); err != nil {
			t.Fatal(err)
		}
		node.tell(nil, []error{fmt.Errorf("at node 7: %w", cluster.ErrUnknownOutcome)})
		key, secret, err := k.Create(t.Context(), backend.KeyRequest{IdempotencyKey: "b"}, "second", grants, time.Time{})
		if err != nil || secret == "" || node.asked != 2 {
			t.Fatalf("Create = %v, a secret: %t, %v, proposed %d times", key, secret != "", err, node.asked)
		}
		if caller, err := k.Authenticate(secret); err != nil || caller.Principal != key.Principal {
			t.Errorf("Authenticate = %v, %v", caller, err)
		}
		again, secret, err := k.Create(t.Context(), backend.KeyRequest{IdempotencyKey: "b"}, "second", grants, time.Time{})
		if err != nil || secret != "" || again.ID != key.ID {
			t.Errorf("Create once more = %v, a secret: %t, %v, want the same key without", again, secret != "", err)
		}
		f.settled()
		other := backend.NewKeyring(f.node(1).reader().Reader)
		if keys := 0; other.Keys(t.Context(), 0, func(uint64, *backend.Key) bool { keys++; return true }) != nil || keys != 2 {
			t.Errorf("another node shows %d keys, want 2", keys)
		}
	})
}

// staleness of a check at a node, as its header tells it.
func staleness(t *testing.T, m *member, scope *remitv1.Scope) time.Duration {
	t.Helper()
	ctx, call := connect.NewClientContext(t.Context())
	if _, err := m.access.Check(ctx, &remitv1.CheckRequest{Scope: scope, Question: ask(t, "document:a#viewer@user:anna")}); err != nil {
		t.Fatal(err)
	}
	text := call.ResponseHeader().Get(token.StalenessHeader)
	if text == "" {
		return 0
	}
	ms, err := strconv.Atoi(text)
	if err != nil || ms < 1 {
		t.Errorf("%s: %q, want a positive number", token.StalenessHeader, text)
	}
	return time.Duration(ms) * time.Millisecond
}

func TestNodesSayWhatTheyAreAndHowStale(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFleet(t, 1, 3, 1)
		store := f.leader().store("acme", "document:a#owner@user:anna")
		f.settled()
		pass(5 * time.Second)
		l := f.leader()
		for _, m := range f.all {
			node, err := m.node.GetNode(t.Context(), &remitv1.GetNodeRequest{})
			if err != nil {
				t.Fatal(err)
			}
			want := remitv1.GetNodeResponse_ROLE_FOLLOWER
			switch {
			case m == l:
				want = remitv1.GetNodeResponse_ROLE_LEADER
			case !m.voter:
				want = remitv1.GetNodeResponse_ROLE_REPLICA
			}
			if node.Role != want || node.LeaderId != l.ID || (node.Staleness == nil) != (m == l) {
				t.Errorf("node %s says %v, want the role %s and that %s leads", m.ID, node, want, l.ID)
			}
			for _, scope := range []*remitv1.Scope{scopeOf(store), fully(store)} {
				if got := staleness(t, m, scope); (got == 0) != (m == l) || got > 2*time.Second {
					t.Errorf("an answer of node %s says that it is %s old", m.ID, got)
				}
			}
		}
		// Of a node that is cut off nobody can say that it is fresh.
		m := f.node(3)
		f.isolate(m.at)
		pass(10 * time.Second)
		if got := staleness(t, m, scopeOf(store)); got < 10*time.Second || got > 15*time.Second {
			t.Errorf("an answer of a node that was cut off 10 s ago says that it is %s old", got)
		}
		f.heal()
		f.ready()
		pass(2 * time.Second)
		if got := staleness(t, m, scopeOf(store)); got > 2*time.Second {
			t.Errorf("an answer of a node that is back says that it is %s old", got)
		}
	})
}

// What goes step by step on a node that follows goes on whoever leads, and does everything
// once.
func TestLongWritesOutlastLeaders(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFleet(t, 1, 3, 1)
		store := f.leader().store("acme")
		m := f.node(3)
		var all []*remitv1.Tuple
		for i := range 900 {
			all = append(all, tuple(t, fmt.Sprintf("document:%d#owner@user:anna", i)))
		}
		under := func(what string, do func() error) {
			t.Helper()
			done := make(chan error, 1)
			go func() {
				defer close(done) // if do fails the test and does not return, too
				done <- do()
			}()
			for round := 0; ; round++ {
				select {
				case err := <-done:
					if err != nil || round < 2 {
						t.Errorf("%s through %d changes of leaders: %v", what, round, err)
					}
					return
				case <-time.After(15 * time.Millisecond):
				}
				if round == 3 {
					l := f.leader()
					f.isolate(l.at)
					pass(3 * time.Second)
					f.heal()
				}
				if round < 8 {
					f.transfer("")
				}
			}
		}
		under("Import", func() error {
			done, err := imports(context.Background(), m.clients, store, all, 100)
			if err == nil && done.Written+done.Unchanged != 900 {
				err = fmt.Errorf("%d tuples were written and %d were there, want 900", done.Written, done.Unchanged)
			}
			return err
		})
		f.settled()
		if !m.check(fully(store), "document:899#viewer@user:anna") {
			t.Error("what was imported is not there")
		}
		under("DeleteTuples", func() error {
			expected := uint64(900)
			stream, err := m.tuples.DeleteTuples(context.Background(), &remitv1.DeleteTuplesRequest{
				Store: store, Everything: true, ExpectedCount: &expected,
			})
			for err == nil {
				var res *remitv1.DeleteTuplesResponse
				if res, err = stream.Receive(); err == nil && res.Done {
					if res.Deleted != 900 || res.Gone != 0 || res.Newer != 0 {
						err = fmt.Errorf("it ends with %v, want 900 deleted", res)
					}
					return err
				}
			}
			return err
		})
		m.write(store, "group:a#member@user:bert")
		under("Erase", func() error {
			stream, err := m.erasures.Erase(context.Background(), &remitv1.EraseRequest{Store: store, Entity: "user:anna"})
			for err == nil {
				var res *remitv1.EraseResponse
				if res, err = stream.Receive(); err == nil && res.Report != nil {
					return nil
				}
			}
			return err
		})
		f.wantSameState()
	})
}
