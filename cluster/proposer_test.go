package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// fakeRaft answers entries after a time, one after the other, as a log does.
type fakeRaft struct {
	mu      sync.Mutex
	takes   time.Duration
	block   chan struct{} // when set, entries are answered only once it is closed
	err     error         // what entries are answered with
	entries []string      // commands of each entry, joined by spaces
	at      []time.Time   // when each was handed over
	tail    chan struct{} // closed when the entry before is answered
}

type fakeFuture struct {
	done   chan struct{}
	err    error
	result any
}

func (f *fakeFuture) Error() error  { <-f.done; return f.err }
func (f *fakeFuture) Response() any { return f.result }
func (f *fakeFuture) Index() uint64 { return 0 }

func (r *fakeRaft) apply(entry []byte) raft.ApplyFuture {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries = append(r.entries, string(entry))
	r.at = append(r.at, time.Now())
	f := &fakeFuture{done: make(chan struct{}), err: r.err, result: entry}
	before := r.tail
	r.tail = f.done
	go func() {
		if before != nil {
			<-before
		}
		pass(r.takes)
		if r.block != nil {
			<-r.block
		}
		close(f.done)
	}()
	return f
}

// newFake returns a proposer in front of r whose entries are their commands
// joined by spaces, and whose answers are the commands.
func newFake(r *fakeRaft, change func(*Config)) *proposer {
	cfg := Config{
		Seal: func(commands [][]byte, _ time.Time) []byte {
			var words []string
			for _, c := range commands {
				words = append(words, string(c))
			}
			return []byte(strings.Join(words, " "))
		},
		SplitAnswers: func(result []byte) ([][]byte, error) {
			var answers [][]byte
			for word := range strings.SplitSeq(string(result), " ") {
				answers = append(answers, []byte(word))
			}
			return answers, nil
		},
	}
	if change != nil {
		change(&cfg)
	}
	cfg = cfg.withDefaults()
	return newProposer(&cfg, new(counters), r.apply, func() bool { return true })
}

// launch proposes in the background and delivers the error.
func launch(ctx context.Context, p *proposer, command string) <-chan error {
	done := make(chan error, 1)
	go func() {
		answer, err := p.propose(ctx, []byte(command))
		if err == nil && string(answer) != command {
			err = fmt.Errorf("answer is %q", answer)
		}
		done <- err
	}()
	return done
}

func TestLoneCommandIsNotDelayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &fakeRaft{takes: 3 * time.Millisecond}
		p := newFake(r, nil)
		for i := range 5 {
			begin := time.Now()
			if err := <-launch(t.Context(), p, fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begin); took != r.takes {
				t.Errorf("command %d took %s, want the log's own %s", i, took, r.takes)
			}
		}
		p.close()
	})
}

func TestCommandsGatherWhileTheLogIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &fakeRaft{takes: 10 * time.Millisecond}
		p := newFake(r, func(c *Config) { c.MaxEntryCommands = 5; c.MaxOutstanding = 2 })
		begin := time.Now()
		var waits []<-chan error
		propose := func(commands ...string) {
			for _, c := range commands {
				waits = append(waits, launch(t.Context(), p, c))
				synctest.Wait()
			}
		}
		propose("a")      // at once
		propose("b", "c") // linger for a millisecond, then go
		pass(2 * time.Millisecond)
		propose("d", "e", "f", "g", "h", "i") // no slot until a is done: five go then
		for _, w := range waits {
			if err := <-w; err != nil {
				t.Fatal(err)
			}
		}
		p.close()
		want := []struct {
			entry string
			after time.Duration
		}{
			{"a", 0},
			{"b c", time.Millisecond},
			{"d e f g h", 10 * time.Millisecond},
			{"i", 20 * time.Millisecond},
		}
		if len(r.entries) != len(want) {
			t.Fatalf("entries are %q, want %v", r.entries, want)
		}
		for i, w := range want {
			if got := r.at[i].Sub(begin); r.entries[i] != w.entry || got != w.after {
				t.Errorf("entry %d is %q after %s, want %q after %s", i, r.entries[i], got, w.entry, w.after)
			}
		}
	})
}

func TestIdleLogEndsTheLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &fakeRaft{takes: time.Millisecond}
		p := newFake(r, func(c *Config) { c.Linger = time.Hour })
		begin := time.Now()
		first, second := launch(t.Context(), p, "a"), (<-chan error)(nil)
		synctest.Wait()
		second = launch(t.Context(), p, "b")
		if err := errors.Join(<-first, <-second); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 2*r.takes {
			t.Errorf("two commands took %s, want twice the log's %s", took, r.takes)
		}
		p.close()
	})
}

func TestEntriesKeepTheirSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &fakeRaft{takes: 10 * time.Millisecond}
		p := newFake(r, func(c *Config) { c.MaxEntryBytes = 10; c.MaxOutstanding = 1 })
		var waits []<-chan error
		for _, c := range []string{"1", "22222", "333333", "a-large-command", "4", "5555555555", "6"} {
			waits = append(waits, launch(t.Context(), p, c))
			synctest.Wait()
		}
		for _, w := range waits {
			if err := <-w; err != nil {
				t.Fatal(err)
			}
		}
		p.close()
		want := []string{"1", "22222", "333333", "a-large-command", "4", "5555555555", "6"}
		if got := strings.Join(r.entries, "|"); got != strings.Join(want, "|") {
			t.Errorf("entries are %q, want %q", r.entries, want)
		}
	})
}

func TestFullQueueIsOverload(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Config)
	}{
		{"by number", func(c *Config) { c.QueueCommands = 3 }},
		{"by size", func(c *Config) { c.QueueBytes = 4 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &fakeRaft{block: make(chan struct{})}
				p := newFake(r, func(c *Config) {
					c.MaxOutstanding, c.MaxEntryCommands = 1, 1
					tt.change(c)
				})
				// One is in the log, one is in the collector's hands, three wait.
				// The one in hand counts as waiting by size.
				var waits []<-chan error
				for i := range 5 {
					waits = append(waits, launch(t.Context(), p, fmt.Sprint(i)))
					synctest.Wait()
				}
				if err := <-launch(t.Context(), p, "x"); !errors.Is(err, ErrOverloaded) {
					t.Errorf("propose with a full queue: error %v, want %v", err, ErrOverloaded)
				}
				close(r.block)
				for i, w := range waits {
					if err := <-w; err != nil {
						t.Errorf("command %d, which found room: %v", i, err)
					}
				}
				if err := <-launch(t.Context(), p, "y"); err != nil {
					t.Errorf("propose when the queue has emptied: %v", err)
				}
				if n := p.queued.Load(); n != 0 {
					t.Errorf("%d bytes are counted as waiting, want 0", n)
				}
				p.close()
			})
		})
	}
}

func TestCallerWhoLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &fakeRaft{block: make(chan struct{})}
		p := newFake(r, func(c *Config) { c.MaxOutstanding = 1 })
		ctx, leave := context.WithCancel(t.Context())
		sent := launch(ctx, p, "sent")
		synctest.Wait()
		waiting := launch(ctx, p, "waiting")
		synctest.Wait()
		leave()
		if err := <-sent; !errors.Is(err, ErrUnknownOutcome) || !errors.Is(err, context.Canceled) {
			t.Errorf("leaving a command in the log: error %v, want %v and %v", err, ErrUnknownOutcome, context.Canceled)
		}
		if err := <-waiting; errors.Is(err, ErrUnknownOutcome) || !errors.Is(err, context.Canceled) {
			t.Errorf("leaving a command in the queue: error %v, want %v alone", err, context.Canceled)
		}
		close(r.block)
		if err := <-launch(t.Context(), p, "next"); err != nil {
			t.Fatal(err)
		}
		p.close()
		if got := strings.Join(r.entries, "|"); got != "sent|next" {
			t.Errorf("entries are %s, want the abandoned command in none", got)
		}
	})
}

func TestErrorsOfRaft(t *testing.T) {
	for _, tt := range []struct {
		raft, want error
	}{
		{raft.ErrNotLeader, ErrNoLeader},
		{raft.ErrLeadershipTransferInProgress, ErrNoLeader},
		{raft.ErrLeadershipLost, ErrUnknownOutcome},
		{raft.ErrRaftShutdown, ErrUnknownOutcome},
		{raft.ErrAbortedByRestore, ErrUnknownOutcome},
		{errors.New("write failed"), ErrUnknownOutcome},
	} {
		t.Run(tt.raft.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newFake(&fakeRaft{err: tt.raft}, nil)
				if err := <-launch(t.Context(), p, "a"); !errors.Is(err, tt.want) || !errors.Is(err, tt.raft) {
					t.Errorf("propose: error %v, want %v that wraps %v", err, tt.want, tt.raft)
				}
				p.close()
			})
		})
	}
}

func TestUnreadableResultIsUnknown(t *testing.T) {
	for _, tt := range []struct {
		name  string
		split func([]byte) ([][]byte, error)
	}{
		{"does not split", func([]byte) ([][]byte, error) { return nil, errors.New("bad") }},
		{"too few answers", func([]byte) ([][]byte, error) { return nil, nil }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newFake(&fakeRaft{}, func(c *Config) { c.SplitAnswers = tt.split })
				if err := <-launch(t.Context(), p, "a"); !errors.Is(err, ErrUnknownOutcome) {
					t.Errorf("propose: error %v, want %v", err, ErrUnknownOutcome)
				}
				p.close()
			})
		})
	}
}

func TestLostLeadershipRefusesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &fakeRaft{block: make(chan struct{})}
		p := newFake(r, func(c *Config) { c.MaxOutstanding = 1 })
		leading := true
		p.leading = func() bool { return leading }
		first := launch(t.Context(), p, "a")
		synctest.Wait()
		second := launch(t.Context(), p, "b")
		synctest.Wait()
		leading = false
		close(r.block)
		if err := <-first; err != nil {
			t.Fatal(err)
		}
		if err := <-second; !errors.Is(err, ErrNoLeader) {
			t.Errorf("propose: error %v, want %v", err, ErrNoLeader)
		}
		p.close()
	})
}

func TestStoppedProposerRefusesTheQueueAndAnswersTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &fakeRaft{takes: time.Millisecond}
		p := newFake(r, func(c *Config) { c.MaxOutstanding, c.MaxEntryCommands = 1, 1 })
		first := launch(t.Context(), p, "a")
		synctest.Wait()
		var rest []<-chan error
		for i := range 10 {
			rest = append(rest, launch(t.Context(), p, fmt.Sprint(i)))
			synctest.Wait()
		}
		p.close()
		if err := <-first; err != nil {
			t.Errorf("the command in the log: %v", err)
		}
		for i, w := range rest {
			if err := <-w; !errors.Is(err, ErrShuttingDown) {
				t.Errorf("command %d in the queue: error %v, want %v", i, err, ErrShuttingDown)
			}
		}
		if err := <-launch(t.Context(), p, "late"); !errors.Is(err, ErrShuttingDown) {
			t.Errorf("propose after close: error %v, want %v", err, ErrShuttingDown)
		}
		if len(r.entries) != 1 {
			t.Errorf("entries are %q, want one", r.entries)
		}
	})
}

func BenchmarkPropose(b *testing.B) {
	p := newFake(&fakeRaft{}, nil)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := p.propose(b.Context(), []byte("command")); err != nil {
				b.Error(err)
			}
		}
	})
	p.close()
}
