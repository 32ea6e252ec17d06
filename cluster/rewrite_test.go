package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/remit-authz/remit/cluster/clustertest"
)

// diskRig is a node with its log in a real directory and its state on a disk in memory.
func diskRig(t *testing.T, dir string, disk clustertest.Disk, options ...func(*Config)) (*toy, *Node) {
	t.Helper()
	m := openToy(t, disk)
	cfg := toyConfig(m, toySnapshots{disk})
	cfg.Dir = dir
	for _, o := range options {
		o(&cfg)
	}
	n, err := Open(t.Context(), cfg)
	must(t, err)
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return m, n
}

func propose(t *testing.T, n *Node, command string) {
	t.Helper()
	if _, err := n.Propose(t.Context(), []byte(command)); err != nil {
		t.Errorf("Propose(%.20s): %v", command, err)
	}
}

// logHolds says whether the bytes of a command are in the log's file. The toy encodes
// commands in base 64, of which a run of one letter stays one.
func logHolds(t *testing.T, dir, letters string) bool {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, logFile))
	must(t, err)
	return bytes.Contains(b, []byte(letters))
}

// secret is text that base 64 makes of a command that consists of it.
const secret = "c2VjcmV0c2VjcmV0c2VjcmV0"

func TestRewriteLeavesNoByteOfOldEntries(t *testing.T) {
	dir, disk := t.TempDir(), clustertest.NewDisk()
	m, n := diskRig(t, dir, disk)
	propose(t, n, "before")
	propose(t, n, "secretsecretsecret")
	propose(t, n, "after")
	if !logHolds(t, dir, secret) {
		t.Fatal("the log does not hold the secret, so nothing can be shown")
	}
	must(t, n.raft.ReloadConfig(func() raft.ReloadableConfig { c := n.raft.ReloadableConfig(); c.TrailingLogs = 0; return c }()))
	must(t, n.Snapshot(t.Context()))
	if !logHolds(t, dir, secret) {
		t.Log("a truncation alone removed the bytes") // where bbolt happens to use the page again
	}
	index, err := n.Rewrite(t.Context())
	must(t, err)
	if index != m.durableIndex() {
		t.Errorf("rewritten up to %d, want %d", index, m.durableIndex())
	}
	if logHolds(t, dir, secret) {
		t.Error("the log still holds the secret")
	}
	if got := n.raft.ReloadableConfig().TrailingLogs; got != n.cfg.TrailingLogs {
		t.Errorf("snapshots leave %d entries trailing now, want %d", got, n.cfg.TrailingLogs)
	}
	propose(t, n, "later")
	must(t, n.Close())
	must(t, m.journal.Close())

	m, n = diskRig(t, dir, disk)
	if got := strings.Join(m.history(), " "); got != "before secretsecretsecret after later" {
		t.Errorf("after a restart the state is %q", got)
	}
	propose(t, n, "last")
}

func TestRewriteKeepsALogThatIsToBeKept(t *testing.T) {
	_, n := diskRig(t, t.TempDir(), clustertest.NewDisk(), func(c *Config) { c.KeepLog = true })
	if _, err := n.Rewrite(t.Context()); !errors.Is(err, ErrKeepsLog) {
		t.Errorf("Rewrite: error %v, want %v", err, ErrKeepsLog)
	}
}

func TestRewriteAfterClose(t *testing.T) {
	_, n := diskRig(t, t.TempDir(), clustertest.NewDisk())
	must(t, n.Close())
	if _, err := n.Rewrite(t.Context()); !errors.Is(err, ErrShuttingDown) {
		t.Errorf("Rewrite: error %v, want %v", err, ErrShuttingDown)
	}
}

// A cut is the node's files as a loss of power between two steps leaves them, and what
// had been acknowledged.
type rewriteCut struct {
	step         string
	files        map[string][]byte
	disk         clustertest.Disk
	acknowledged []string
}

// Writers write while the log is rewritten again and again. Wherever the power goes, what
// was acknowledged is there afterwards, and the term and the vote are.
func TestPowerLossDuringRewrite(t *testing.T) {
	rng := rand.New(rand.NewPCG(rand.Uint64(), 1))
	dir, disk := t.TempDir(), clustertest.NewDisk()
	var (
		mu   sync.Mutex
		acks []string
		cuts []rewriteCut
	)
	cut := func(step string) {
		files := map[string][]byte{}
		for _, name := range []string{logFile, freshLogFile, idFile} {
			if b, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
				files[name] = b
			}
		}
		mu.Lock()
		defer mu.Unlock()
		c := rewriteCut{step, files, disk.Crash(rng.IntN(101), rng), append([]string(nil), acks...)}
		cuts = append(cuts, c)
		// What was not synced may be there in part, or not at all.
		if fresh, ok := files[freshLogFile]; ok && step == "copied" {
			torn := map[string][]byte{logFile: files[logFile], idFile: files[idFile], freshLogFile: fresh[:rng.IntN(len(fresh)+1)]}
			cuts = append(cuts, rewriteCut{"copying", torn, disk.Crash(rng.IntN(101), rng), c.acknowledged})
		}
	}
	m, n := diskRig(t, dir, disk, func(c *Config) { c.rewriteStep = cut })
	var writers sync.WaitGroup
	stop := make(chan struct{})
	for w := range 4 {
		writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				command := fmt.Sprintf("%d-%d", w, i)
				if _, err := n.Propose(t.Context(), []byte(command)); err != nil {
					t.Errorf("Propose(%s): %v", command, err)
					return
				}
				mu.Lock()
				acks = append(acks, command)
				mu.Unlock()
			}
		})
	}
	for range 3 {
		_, err := n.Rewrite(t.Context())
		must(t, err)
	}
	close(stop)
	writers.Wait()
	term := n.raft.CurrentTerm()
	must(t, n.Close())
	must(t, m.journal.Close())
	if len(cuts) < 12 {
		t.Fatalf("%d cuts, want four steps of three rewritings at least", len(cuts))
	}
	for _, c := range cuts {
		t.Run(c.step, func(t *testing.T) {
			dir := t.TempDir()
			for name, b := range c.files {
				must(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
			}
			m, n := diskRig(t, dir, c.disk)
			got := map[string]bool{}
			for _, command := range m.history() {
				got[command] = true
			}
			for _, command := range c.acknowledged {
				if !got[command] {
					t.Errorf("%s was acknowledged and is lost", command)
				}
			}
			if now := n.raft.CurrentTerm(); now <= term {
				t.Errorf("the term is %d, it was %d before the loss of power", now, term)
			}
			if _, err := os.Stat(filepath.Join(dir, freshLogFile)); err == nil {
				t.Errorf("%s is still there", freshLogFile)
			}
			propose(t, n, "last")
		})
	}
}

// When the fresh file cannot be written, the node goes on with the old one.
func TestRewriteThatFailsChangesNothing(t *testing.T) {
	dir := t.TempDir()
	m, n := diskRig(t, dir, clustertest.NewDisk())
	propose(t, n, "before")
	must(t, os.MkdirAll(filepath.Join(dir, freshLogFile, "in the way"), 0o700))
	if _, err := n.Rewrite(t.Context()); err == nil {
		t.Error("Rewrite succeeded, although its file is in the way")
	}
	must(t, os.RemoveAll(filepath.Join(dir, freshLogFile)))
	propose(t, n, "after")
	_, err := n.Rewrite(t.Context())
	must(t, err)
	propose(t, n, "last")
	if got := strings.Join(m.history(), " "); got != "before after last" {
		t.Errorf("the state is %q", got)
	}
}
