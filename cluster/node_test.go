package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"

	"github.com/remit-authz/remit/cluster/clustertest"
)

// slowLogs takes its time to write, as a disk does.
type slowLogs struct {
	raft.LogStore
	delay time.Duration
}

func (s slowLogs) StoreLogs(entries []*raft.Log) error {
	pass(s.delay)
	return s.LogStore.StoreLogs(entries)
}

func slow(delay time.Duration) func(*Config) {
	return func(c *Config) { c.Logs = slowLogs{c.Logs, delay} }
}

func TestConcurrentProposalsAreAppliedOnceAndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, clustertest.NewDisk(), slow(2*time.Millisecond))
		n := r.open()
		const clients, each = 32, 25
		var wg sync.WaitGroup
		for c := range clients {
			wg.Go(func() {
				for i := range each {
					command := fmt.Sprintf("%d/%d", c, i)
					answer, err := n.Propose(t.Context(), []byte(command))
					if err != nil {
						t.Errorf("Propose(%s): %v", command, err)
						return
					}
					var place int
					if _, err := fmt.Sscan(string(answer), &place); err != nil {
						t.Errorf("answer to %s is %q: %v", command, answer, err)
						return
					}
					if all := r.toy.all(); all[place] != command {
						t.Errorf("answer to %s is %d, where %s is", command, place, all[place])
					}
				}
			})
		}
		wg.Wait()

		next := make([]int, clients)
		history := r.toy.history()
		for _, command := range history {
			var c, i int
			if _, err := fmt.Sscanf(command, "%d/%d", &c, &i); err != nil {
				t.Fatal(err)
			}
			if next[c] != i {
				t.Fatalf("client %d: command %d applied, want %d", c, i, next[c])
			}
			next[c]++
		}
		if len(history) != clients*each {
			t.Errorf("%d commands applied, want %d", len(history), clients*each)
		}
		counts := n.Counters()
		if counts.Commands != clients*each || counts.Entries*4 > counts.Commands {
			t.Errorf("%d commands in %d entries, want %d in a quarter of that", counts.Commands, counts.Entries, clients*each)
		}
		r.close()
	})
}

func TestRestartKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	disk := clustertest.NewDisk()
	var id string
	var want []string
	for round := range 3 {
		m := openToy(t, disk)
		cfg := toyConfig(m, toySnapshots{disk})
		cfg.Dir = dir
		n, err := Open(t.Context(), cfg)
		must(t, err)
		if diff := cmp.Diff(want, m.history(), cmp.Transformer("nil", func(s []string) []string { return append([]string{}, s...) })); diff != "" {
			t.Errorf("round %d (-want +got):\n%s", round, diff)
		}
		if round > 0 && n.ID() != id {
			t.Errorf("ID() = %s after a restart, want %s", n.ID(), id)
		}
		if id = n.ID(); n.Leader() != id {
			t.Errorf("Leader() = %q, want this node %q", n.Leader(), id)
		}
		for i := range 20 {
			command := fmt.Sprintf("%d/%d", round, i)
			want = append(want, command)
			_, err := n.Propose(t.Context(), []byte(command))
			must(t, err)
		}
		if round == 1 {
			must(t, n.Snapshot(t.Context()))
		}
		must(t, n.Close())
		must(t, m.journal.Close())
		if round == 1 {
			// The state is lost but its snapshot is not: it is restored, and the
			// log adds what came after.
			must(t, disk.FS.RemoveAll("toy"))
		}
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	m := openToy(t, clustertest.NewDisk())
	cfg := toyConfig(m, raft.NewInmemSnapshotStore())
	cfg.Dir = dir
	n, err := Open(t.Context(), cfg)
	must(t, err)
	if _, err := Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("Open of a directory in use: error %v, want it to name another process", err)
	}
	must(t, n.Close())
}

// powerLoss proposes from several clients, cuts the power in the middle, and
// returns what was acknowledged until then and the disk that is left.
func powerLoss(t *testing.T, seed uint64, logSync bool) (acknowledged, proposed []string, left clustertest.Disk) {
	disk := clustertest.NewDisk()
	rng := rand.New(rand.NewPCG(seed, 1))
	r := newRig(t, disk, func(c *Config) { c.TrailingLogs = 5 })
	if !logSync {
		must(t, r.logs.Close())
		r.logs = openLogs(t, disk, false)
		r.cfg.Logs, r.cfg.Stable = r.logs, r.logs
	}
	n := r.open()
	var mu sync.Mutex
	var cut atomic.Bool
	after := 20 + rng.IntN(80)
	var wg sync.WaitGroup
	for c := range 4 {
		wg.Go(func() {
			for i := 0; !cut.Load(); i++ {
				command := fmt.Sprintf("%d/%d", c, i)
				mu.Lock()
				proposed = append(proposed, command)
				mu.Unlock()
				if _, err := n.Propose(t.Context(), []byte(command)); err != nil {
					t.Errorf("Propose(%s): %v", command, err)
					return
				}
				mu.Lock()
				if !cut.Load() {
					acknowledged = append(acknowledged, command)
					if len(acknowledged) == after {
						left = disk.Crash(rng.IntN(100), rng)
						cut.Store(true)
					}
				}
				mu.Unlock()
				if i == 9 && c == 0 {
					if err := n.Snapshot(t.Context()); err != nil {
						t.Errorf("Snapshot: %v", err)
					}
				}
			}
		})
	}
	wg.Wait()
	r.close()
	return acknowledged, proposed, left
}

func TestPowerLossKeepsWhatWasAcknowledged(t *testing.T) {
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			acknowledged, proposed, left := powerLoss(t, seed, true)
			r := newRig(t, left)
			r.open()
			history := r.toy.history()
			for _, c := range acknowledged {
				if !slices.Contains(history, c) {
					t.Errorf("seed %d: %s was acknowledged and is lost", seed, c)
				}
			}
			for i, c := range history {
				if slices.Contains(history[:i], c) {
					t.Errorf("seed %d: %s was applied twice", seed, c)
				}
				if !slices.Contains(proposed, c) {
					t.Errorf("seed %d: %s was applied and never proposed", seed, c)
				}
			}
			r.propose("after")
			r.close()
		})
	}
}

func TestPowerLossWithoutSyncIsNoticed(t *testing.T) {
	// The control run: were nothing lost here, the test above would prove nothing.
	lost := 0
	for seed := range uint64(10) {
		synctest.Test(t, func(t *testing.T) {
			acknowledged, _, left := powerLoss(t, seed, false)
			r := newRig(t, left)
			n, err := Open(t.Context(), r.cfg)
			if err != nil {
				lost++
				r.close()
				return
			}
			r.node = n
			history := r.toy.history()
			if slices.ContainsFunc(acknowledged, func(c string) bool { return !slices.Contains(history, c) }) {
				lost++
			}
			r.close()
		})
	}
	if lost == 0 {
		t.Error("no acknowledged command was lost without syncing, so power was not cut")
	}
}

func TestTermIsOpenedBeforeTheFirstCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, clustertest.NewDisk())
		r.toy.hold = make(chan struct{})
		n := newNode(r.cfg)
		must(t, n.start(t.Context()))
		r.node = n
		synctest.Wait()
		if n.Leader() != "n1" {
			t.Fatalf("Leader() = %q, want the election to be over", n.Leader())
		}
		// The election is won, but the term's first entry is not applied.
		if _, err := n.Propose(t.Context(), []byte("early")); !errors.Is(err, ErrNoLeader) {
			t.Errorf("Propose before the term is open: error %v, want %v", err, ErrNoLeader)
		}
		if _, err := n.ReadIndex(t.Context()); !errors.Is(err, ErrNoLeader) {
			t.Errorf("ReadIndex before the term is open: error %v, want %v", err, ErrNoLeader)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := n.WaitReady(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("WaitReady before the term is open: error %v, want %v", err, context.DeadlineExceeded)
		}
		close(r.toy.hold)
		must(t, n.WaitReady(t.Context()))
		r.propose("a")
		must(t, n.Close())
		r.open()
		r.propose("b")
		want := []string{"term 2", "a", "term 3", "b"}
		if diff := cmp.Diff(want, r.toy.all()); diff != "" {
			t.Errorf("order of commands (-want +got):\n%s", diff)
		}
		r.close()
	})
}

func TestReadIndexCoversWhatWasAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, clustertest.NewDisk())
		n := r.open()
		for i := range 20 {
			r.propose(fmt.Sprint(i))
			r.toy.mu.Lock()
			at := r.toy.state.Index
			r.toy.mu.Unlock()
			if index, err := n.ReadIndex(t.Context()); err != nil || index < at {
				t.Fatalf("ReadIndex() = %d, %v after a write at %d", index, err, at)
			}
		}
		r.close()
	})
}

func TestFirstElectionIsImmediate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, clustertest.NewDisk())
		begin := time.Now()
		r.open()
		if waited := time.Since(begin); waited >= 100*time.Millisecond {
			t.Errorf("a node that is alone served after %s, want it not to wait for a leader", waited)
		}
		r.close()
	})
}

func TestSnapshotTruncatesTheLog(t *testing.T) {
	for _, tt := range []struct {
		name    string
		options func(*Config)
		first   uint64
	}{
		{"down to the trailing entries", func(c *Config) { c.TrailingLogs = 10 }, 44},
		{"not at all when the log is kept", func(c *Config) { c.TrailingLogs, c.KeepLog = 10, true }, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, clustertest.NewDisk(), tt.options)
				n := r.open() // the configuration, the no-op and the term: three entries
				for i := range 50 {
					r.propose(fmt.Sprint(i))
				}
				must(t, n.Snapshot(t.Context()))
				if first, err := r.logs.FirstIndex(); err != nil || first != tt.first {
					t.Errorf("FirstIndex() = %d, %v after a snapshot, want %d", first, err, tt.first)
				}
				must(t, n.Close())

				// The state machine holds all that the snapshot does.
				r.open()
				if got := len(r.toy.history()); got != 50 || r.toy.restores != 0 {
					t.Errorf("%d commands after %d restores, want 50 after none", got, r.toy.restores)
				}
				r.close()
			})
		})
	}
}

func TestSnapshotsComeByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, clustertest.NewDisk(), func(c *Config) {
			c.SnapshotThreshold, c.SnapshotInterval = 20, time.Minute
		})
		r.open()
		for i := range 30 {
			r.propose(fmt.Sprint(i))
		}
		pass(3 * time.Minute)
		if list, err := (toySnapshots{r.disk}).List(); err != nil || len(list) != 1 {
			t.Errorf("%d snapshots, %v, want one", len(list), err)
		}
		r.close()
	})
}

func TestForwardReachesTheLeadersHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, clustertest.NewDisk(), func(c *Config) {
			c.Handler = func(_ context.Context, request []byte) ([]byte, error) {
				return append([]byte("answer to "), request...), nil
			}
		})
		n := r.open()
		if got, err := n.Forward(t.Context(), []byte("q")); err != nil || string(got) != "answer to q" {
			t.Errorf("Forward(q) = %q, %v, want the handler's answer", got, err)
		}
		r.close()
		if _, err := n.Forward(t.Context(), []byte("q")); !errors.Is(err, ErrShuttingDown) {
			t.Errorf("Forward after Close: error %v, want %v", err, ErrShuttingDown)
		}
	})
}

func TestClosedNodeRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, clustertest.NewDisk())
		n := r.open()
		r.close()
		_, propose := n.Propose(t.Context(), []byte("late"))
		_, read := n.ReadIndex(t.Context())
		for call, err := range map[string]error{
			"Propose": propose, "ReadIndex": read, "Snapshot": n.Snapshot(t.Context()), "WaitReady": n.WaitReady(t.Context()),
		} {
			if !errors.Is(err, ErrShuttingDown) {
				t.Errorf("%s after Close: error %v, want %v", call, err, ErrShuttingDown)
			}
		}
		if err := n.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
	})
}

func TestCloseUnderLoadAnswersEveryone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, clustertest.NewDisk(), slow(3*time.Millisecond))
		n := r.open()
		var mu sync.Mutex
		var acknowledged, refused []string
		var wg sync.WaitGroup
		for c := range 50 {
			wg.Go(func() {
				for i := 0; ; i++ {
					command := fmt.Sprintf("%d/%d", c, i)
					_, err := n.Propose(t.Context(), []byte(command))
					mu.Lock()
					if err == nil {
						acknowledged = append(acknowledged, command)
					} else {
						refused = append(refused, command)
					}
					mu.Unlock()
					if err == nil {
						continue
					}
					if !errors.Is(err, ErrShuttingDown) {
						t.Errorf("Propose(%s) during Close: error %v, want a refusal", command, err)
					}
					return
				}
			})
		}
		pass(50 * time.Millisecond)
		r.close()
		wg.Wait()
		history := r.toy.history()
		for _, c := range acknowledged {
			if !slices.Contains(history, c) {
				t.Errorf("%s was acknowledged and not applied", c)
			}
		}
		for _, c := range refused {
			if slices.Contains(history, c) {
				t.Errorf("%s was refused and applied", c)
			}
		}
		if len(acknowledged) == 0 || len(refused) != 50 {
			t.Errorf("%d acknowledged and %d refused, want some and 50", len(acknowledged), len(refused))
		}
	})
}

func TestCloseWhileRaftReportsTheLogsAge(t *testing.T) {
	// A leader reads its oldest entry every ten seconds, and nobody waits for the
	// goroutine that does. The store panics when it is read after its end.
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, clustertest.NewDisk())
			r.open()
			pass(10 * time.Second)
			r.close()
		})
	}
}

// brokenLogs fails every write once broken.
type brokenLogs struct {
	raft.LogStore
	broken atomic.Bool
}

var errDisk = errors.New("no disk")

func (b *brokenLogs) StoreLogs(entries []*raft.Log) error {
	if b.broken.Load() {
		return errDisk
	}
	return b.LogStore.StoreLogs(entries)
}

func TestFailedLogWriteEndsTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fatal []error
		var disk *brokenLogs
		r := newRig(t, clustertest.NewDisk(), func(c *Config) {
			disk = &brokenLogs{LogStore: c.Logs}
			c.Logs = disk
			c.Fatal = func(err error) { fatal = append(fatal, err) }
		})
		n := r.open()
		r.propose("before")
		disk.broken.Store(true)
		if _, err := n.Propose(t.Context(), []byte("during")); !errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("Propose on a failing disk: error %v, want %v", err, ErrUnknownOutcome)
		}
		// Even if the disk works again, nobody knows what it holds.
		disk.broken.Store(false)
		for range 3 {
			pass(10 * time.Second) // time for an election
			if _, err := n.Propose(t.Context(), []byte("after")); !errors.Is(err, ErrShuttingDown) || !strings.Contains(err.Error(), "no disk") {
				t.Errorf("Propose after a failed write: error %v, want %v and the cause", err, ErrShuttingDown)
			}
		}
		if len(fatal) != 1 || !errors.Is(fatal[0], errDisk) {
			t.Errorf("Fatal was called with %v, want once with %v", fatal, errDisk)
		}
		if got := r.toy.history(); !slices.Equal(got, []string{"before"}) {
			t.Errorf("applied %v, want only what was written", got)
		}
		r.close()
	})
}

func TestOpenGivesUpWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, clustertest.NewDisk(), func(c *Config) {
			c.Published = func(ctx context.Context, _ uint64) error {
				<-ctx.Done()
				return ctx.Err()
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := Open(ctx, r.cfg); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Open: error %v, want %v", err, context.DeadlineExceeded)
		}
		r.close()
	})
}

func BenchmarkNodePropose(b *testing.B) {
	for _, clients := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			cfg := Config{
				Dir: b.TempDir(), FSM: fakeMachine{}, Snapshots: raft.NewInmemSnapshotStore(),
				// An entry, and its result, is how many commands it has, less one.
				Seal:         func(commands [][]byte, _ time.Time) []byte { return []byte{byte(len(commands) - 1)} },
				SplitAnswers: func(result []byte) ([][]byte, error) { return make([][]byte, int(result[0])+1), nil },
				TermStart:    toyTermStart,
				DurableIndex: func() uint64 { return 0 },
				Published:    func(context.Context, uint64) error { return nil },
			}
			n, err := Open(b.Context(), cfg)
			if err != nil {
				b.Fatal(err)
			}
			b.SetParallelism((clients + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := n.Propose(b.Context(), []byte("command")); err != nil {
						b.Error(err)
					}
				}
			})
			b.ReportMetric(float64(n.Counters().Commands)/float64(n.Counters().Entries), "commands/entry")
			if err := n.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
