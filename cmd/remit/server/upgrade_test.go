package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/fsm"
)

// members is a cluster as far as an upgrader sees it, and the upgrader's log.
type members struct {
	mu        sync.Mutex // held by the test, but for when it lets time pass
	told      strings.Builder
	status    cluster.Status
	supported uint64
	refused   error // why nobody knows what all support
	asked     int
	present   uint64
	commands  []string
	answer    error // of the log
}

func (m *members) Status() cluster.Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.status
}

func (m *members) Write(line []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.told.Write(line)
}

func (m *members) version() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.present
}

func (m *members) Supported(context.Context) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	return m.supported, m.refused
}

func (m *members) Propose(_ context.Context, command []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, err := fsm.DecodeCommand(command)
	if err != nil {
		return nil, err
	}
	m.commands = append(m.commands, fmt.Sprintf("%s %q %d", c.Principal, c.Reason, c.Body.(*fsm.SetClusterVersion).Version))
	if m.answer != nil {
		return nil, m.answer
	}
	m.present = c.Body.(*fsm.SetClusterVersion).Version
	return (&fsm.Result{}).Encode(), nil
}

func TestClusterVersionIsRaisedWhenAllSupportIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &members{supported: fsm.ClusterVersion, refused: errors.New("node n2 does not answer")}
		u := &upgrader{node: m, present: m.version, known: fsm.ClusterVersion, log: slog.New(slog.NewTextHandler(m, nil))}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); u.run(ctx) }()
		m.mu.Lock()
		pass := func(d time.Duration) {
			m.mu.Unlock()
			time.Sleep(d) //nolint:forbidigo // time itself is what the test is about
			synctest.Wait()
			m.mu.Lock()
		}
		want := func(what string, asked, commands int) {
			t.Helper()
			if m.asked != asked || len(m.commands) != commands {
				t.Fatalf("%s: %d questions and %d commands, want %d and %d", what, m.asked, len(m.commands), asked, commands)
			}
		}

		pass(5 * time.Minute)
		want("another leads", 0, 0)
		m.status.Serving = true
		pass(upgradeWatch)
		want("one does not answer", 1, 0)
		if !strings.Contains(m.told.String(), "n2 does not answer") {
			t.Errorf("the log is %q, want why the version is not raised", m.told.String())
		}
		m.refused, m.answer = nil, cluster.ErrNoLeader
		pass(upgradeInterval - 2*upgradeWatch)
		want("before its time", 1, 0)
		pass(2 * upgradeWatch)
		want("the log refuses", 2, 1)
		m.answer = nil
		m.status.Members = []cluster.Member{{Peer: cluster.Peer{ID: "n3"}}}
		pass(upgradeWatch)
		want("the members have changed", 3, 2)
		if m.present != fsm.ClusterVersion || m.commands[1] != fmt.Sprintf(`remit "all members support it" %d`, fsm.ClusterVersion) {
			t.Errorf("version %d by %s", m.present, m.commands[1])
		}
		if !strings.Contains(m.told.String(), fmt.Sprintf("cluster version raised\" from=0 to=%d", fsm.ClusterVersion)) {
			t.Errorf("the log is %q", m.told.String())
		}
		pass(time.Hour)
		want("there is nothing to raise", 3, 2)
		m.mu.Unlock()
		cancel()
		<-done
	})
}

// What all members support counts, not what this program does; and it is never lowered.
func TestClusterVersionStaysAtWhatAllSupport(t *testing.T) {
	for _, tt := range []struct {
		name                         string
		from, supported, known, want uint64
		commands                     int
	}{
		{"one member is behind", 0, 1, 3, 1, 1},
		{"this program is behind", 0, 3, 1, 1, 1},
		{"one member is where the cluster is", 1, 1, 3, 1, 0},
		{"one member cannot follow at all", 2, 1, 3, 2, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := &members{supported: tt.supported, present: tt.from}
			u := &upgrader{node: m, known: tt.known, log: slog.New(slog.DiscardHandler)}
			if to, err := u.raise(t.Context(), tt.from); err != nil || to != tt.want || len(m.commands) != tt.commands {
				t.Errorf("raise = %d, %v with %d commands, want %d and %d", to, err, len(m.commands), tt.want, tt.commands)
			}
		})
	}
}

// A cluster that has just been made asks as soon as it has a leader, since what needs a
// version is waited for; one that has a version can wait.
func TestAClusterWithoutAVersionAsksSoon(t *testing.T) {
	for present, want := range map[uint64]time.Duration{0: upgradeWatch, 1: upgradeInterval} {
		synctest.Test(t, func(t *testing.T) {
			m := &members{supported: 2, present: present, status: cluster.Status{Serving: true}}
			u := &upgrader{node: m, present: m.version, known: 2, log: slog.New(slog.DiscardHandler)}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { defer close(done); u.run(ctx) }()
			for passed := upgradeWatch; passed <= want; passed += upgradeWatch {
				if m.version() != present {
					t.Errorf("a cluster of version %d is raised before %s", present, passed)
				}
				time.Sleep(upgradeWatch) //nolint:forbidigo // time itself is what the test is about
				synctest.Wait()
			}
			if m.version() != 2 {
				t.Errorf("after %s the version is %d, want 2", want, m.version())
			}
			cancel()
			<-done
		})
	}
}
