package fsm

import (
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Pebble replaces its manifest at each start. Whichever names survive a loss of power in
// the middle of that, the state must open.
func TestPowerLossBetweenTheStepsOfAStart(t *testing.T) {
	for range volume(20, 400) {
		seed := rand.Uint64()
		fs := &crashingFS{MemFS: vfs.NewCrashableMem(), rng: rand.New(rand.NewPCG(seed, 0))}
		m := &machine{t: t, fs: fs, s: openState(t, fs), now: epochMs}
		id := m.store(0)
		m.do(write(id, touch(viewer("plan", "anna"))))
		if err := m.s.Close(); err != nil { // which syncs everything
			t.Fatal(err)
		}
		_, want := m.s.StateHash()
		fs.arm(true)
		m.s = openState(t, fs)
		fs.arm(false)
		for i, disk := range fs.clones {
			s, err := Open(Config{Dir: "data", FS: disk, CacheBytes: 1 << 20, MemTableBytes: 1 << 20})
			if err != nil {
				t.Fatalf("seed %d, step %d of %d: %v", seed, i, len(fs.clones), err)
			}
			if hashOf(s) != want {
				t.Errorf("seed %d, step %d: hash %x, want %x", seed, i, hashOf(s), want)
			}
			checkHash(t, s)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
