package cluster

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hashicorp/raft"

	"github.com/remit-authz/remit/cluster/clustertest"
)

func TestStartRule(t *testing.T) {
	for _, tt := range []struct {
		name    string
		found   found
		restore bool
		refused string // part of the reason
	}{
		{name: "no snapshot, the state machine is where the log ends", found: found{durable: 9, first: 1, last: 9, term: 2}},
		{name: "no snapshot, the state machine lags", found: found{durable: 4, first: 1, last: 9, term: 2}},
		{name: "no snapshot, the state machine is empty", found: found{first: 1, last: 9, term: 2}},
		{name: "the state machine is ahead of the snapshot", found: found{durable: 8, snapshot: 5, first: 3, last: 9, term: 2}},
		{name: "the state machine is at the snapshot", found: found{durable: 5, snapshot: 5, first: 3, last: 9, term: 2}},
		{name: "the state machine is behind the snapshot", found: found{durable: 4, snapshot: 5, first: 3, last: 9, term: 2}, restore: true},
		{name: "the state machine is lost", found: found{snapshot: 5, first: 6, last: 9, term: 2}, restore: true},
		{name: "the log ends before an installed snapshot", found: found{durable: 7, snapshot: 20, first: 3, last: 9, term: 2}, restore: true},
		{name: "the log ends before the snapshot that the state machine is at", found: found{durable: 20, snapshot: 20, first: 3, last: 9, term: 2}},
		{name: "nothing but a snapshot", found: found{durable: 20, snapshot: 20, term: 2}},
		{name: "a gap behind a restored backup", found: found{durable: 22, snapshot: 20, first: 3, last: 22, term: 2}},

		{name: "the log has lost its end", found: found{durable: 12, first: 1, last: 9, term: 2}, refused: "ahead of the log"},
		{name: "the log has lost its end and the snapshot is older", found: found{durable: 12, snapshot: 5, first: 3, last: 9, term: 2}, refused: "ahead of the log"},
		{name: "the log is gone", found: found{durable: 12, term: 2}, refused: "ahead of the log"},
		{name: "log and term are gone", found: found{durable: 12}, refused: "ahead of the log"},
		{name: "log and term are gone beside a snapshot", found: found{durable: 20, snapshot: 20, snapshotTerm: 2}, refused: "term"},
		{name: "the term is older than the snapshot", found: found{durable: 20, snapshot: 20, snapshotTerm: 3, first: 3, last: 25, term: 2}, refused: "term"},
		{name: "log and state machine are gone", found: found{term: 7}, refused: "voted before"},
		{name: "the snapshot before the log is gone", found: found{durable: 9, first: 4, last: 9, term: 2}, refused: "missing"},
		{name: "the newest snapshot before the log is gone", found: found{durable: 9, snapshot: 3, first: 6, last: 9, term: 2}, refused: "missing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.found.fresh() {
				t.Fatalf("%+v is taken for a fresh node", tt.found)
			}
			restore, err := tt.found.restore()
			if tt.refused == "" {
				if err != nil || restore != tt.restore {
					t.Errorf("restore of %+v = %t, %v, want %t", tt.found, restore, err, tt.restore)
				}
				return
			}
			var refusal *StartError
			if !errors.As(err, &refusal) || !strings.Contains(err.Error(), tt.refused) {
				t.Errorf("restore of %+v: error %v, want a StartError with %q", tt.found, err, tt.refused)
			}
		})
	}
}

func TestSnapshotThatWasNeverRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := clustertest.NewDisk()
		r := newRig(t, disk, func(c *Config) { c.TrailingLogs = 1 })
		n := r.open()
		r.propose("a")
		r.propose("b")
		must(t, n.Snapshot(t.Context()))
		r.propose("c")
		r.close()
		// A crash between the arrival of a snapshot and its restore leaves the
		// state behind it, and the log does not go back that far.
		must(t, disk.FS.RemoveAll("toy"))

		r = newRig(t, disk)
		r.open()
		if got := strings.Join(r.toy.history(), " "); got != "a b c" || r.toy.restores != 1 {
			t.Errorf("state is %q after %d restores, want \"a b c\" after one", got, r.toy.restores)
		}
		r.propose("d")
		r.close()
	})
}

func TestFailedRestoreRefusesToStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := clustertest.NewDisk()
		r := newRig(t, disk)
		n := r.open()
		r.propose("a")
		must(t, n.Snapshot(t.Context()))
		r.propose("b")
		must(t, n.Snapshot(t.Context()))
		r.close()
		must(t, disk.FS.RemoveAll("toy"))

		// The older snapshot is no way out: what the newer one left is unknown.
		r = newRig(t, disk)
		r.toy.refuseRestore = errors.New("bad block")
		if _, err := Open(t.Context(), r.cfg); !errors.Is(err, r.toy.refuseRestore) {
			t.Errorf("Open: error %v, want it to wrap %v", err, r.toy.refuseRestore)
		}
		r.close()
	})
}

func TestLostLogRefusesToStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := clustertest.NewDisk()
		r := newRig(t, disk)
		r.open()
		r.propose("a")
		r.close()
		must(t, disk.FS.RemoveAll("log"))

		for range 2 { // the refusal must not leave a new cluster behind
			r = newRig(t, disk)
			var refusal *StartError
			if _, err := Open(t.Context(), r.cfg); !errors.As(err, &refusal) {
				t.Errorf("Open without the log: error %v, want a StartError", err)
			}
			r.close()
		}
	})
}

// The state machine cannot tell that the log is gone when a snapshot holds all that it
// has itself, but the vote and the term went with the log.
func TestLostLogBesideASnapshotRefusesToStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := clustertest.NewDisk()
		r := newRig(t, disk)
		n := r.open()
		r.propose("a")
		must(t, n.Snapshot(t.Context()))
		r.close()
		must(t, disk.FS.RemoveAll("log"))

		r = newRig(t, disk)
		var refusal *StartError
		if _, err := Open(t.Context(), r.cfg); !errors.As(err, &refusal) {
			t.Errorf("Open without the log: error %v, want a StartError", err)
		}
		r.close()
	})
}

func TestInterruptedBootstrapIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, clustertest.NewDisk())
		must(t, r.logs.SetUint64(keyTerm, 1))
		r.open()
		r.propose("a")
		r.close()
	})
}

func TestLogOfAnotherNodeIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := clustertest.NewDisk()
		r := newRig(t, disk)
		r.open()
		r.close()
		r = newRig(t, disk, func(c *Config) { c.NodeID = "n2" })
		if _, err := Open(t.Context(), r.cfg); !errors.Is(err, errAlone) {
			t.Errorf("Open under another name: error %v, want %v", err, errAlone)
		}
		r.close()
	})
}

func TestNodeID(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	open := func() (*Node, error) {
		m := openToy(t, clustertest.NewDisk())
		cfg := toyConfig(m, raft.NewInmemSnapshotStore())
		cfg.Dir = dir
		return Open(t.Context(), cfg)
	}
	n, err := open()
	must(t, err)
	must(t, n.Close())
	path := filepath.Join(dir, idFile)
	data, err := os.ReadFile(path)
	must(t, err)
	if string(data) != n.ID()+"\n" {
		t.Errorf("%s holds %q, want the id %s", idFile, data, n.ID())
	}
	names, err := filepath.Glob(path + "*")
	if err != nil || len(names) != 1 {
		t.Errorf("%v, %v beside the id, want no temporary file", names, err)
	}

	for _, damage := range []string{"", "short\n", string(data[:10]), strings.ToLower(string(data)), string(data) + "more"} {
		must(t, os.WriteFile(path, []byte(damage), 0o600))
		if _, err := open(); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("Open with the id %q: error %v, want it to say damaged", damage, err)
		}
	}
	must(t, os.Remove(path))
	var refusal *StartError
	if _, err := open(); !errors.As(err, &refusal) {
		t.Errorf("Open of a log without an id: error %v, want a StartError", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stat of the id: %v, want none to be made beside an old log", err)
	}
	must(t, os.WriteFile(path, data, 0o600))
	n, err = open()
	must(t, err)
	must(t, n.Close())
}

func TestConfigReportsEveryFault(t *testing.T) {
	logs := openLogs(t, clustertest.NewDisk(), true)
	cfg := Config{
		Logs:               logs,
		NoSync:             true,
		LeaderLeaseTimeout: 800e6,
		CommitTimeout:      1,
		MaxOutstanding:     17,
		QueueBytes:         1,
		Linger:             -1,
	}
	_, err := Open(t.Context(), cfg)
	for _, want := range []string{
		"FSM is required", "Snapshots is required", "Seal is required", "SplitAnswers is required", "TermStart is required",
		"DurableIndex is required", "Published is required", "Dir is required", "Logs and Stable", "NoSync",
		"LeaderLeaseTimeout", "CommitTimeout", "MaxOutstanding", "QueueBytes", "Linger",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open of a bad config: error %v, want it to name %q", err, want)
		}
	}
	must(t, logs.Close())

	good := toyConfig(openToy(t, clustertest.NewDisk()), raft.NewInmemSnapshotStore())
	good.Dir = t.TempDir()
	must(t, good.Validate())
	good.NoSync = true
	n, err := Open(context.WithoutCancel(t.Context()), good)
	must(t, err)
	must(t, n.Close())
}
