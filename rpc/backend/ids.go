package backend

import (
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
)

// ids makes the ids of stores and models: ULIDs in the order in which they are made,
// also within a millisecond and when the clock goes back. Between nodes the order is
// that of their clocks. It is safe for concurrent use.
type ids struct {
	mu      sync.Mutex
	entropy *ulid.MonotonicEntropy // guarded by mu
	last    uint64                 // milliseconds; guarded by mu
}

func (i *ids) next(now time.Time) ([16]byte, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.entropy == nil {
		i.entropy = ulid.Monotonic(rand.Reader, 0)
	}
	i.last = max(i.last, ulid.Timestamp(now))
	id, err := ulid.New(i.last, i.entropy)
	if err != nil {
		return [16]byte{}, fmt.Errorf("make an id: %w", err)
	}
	return id, nil
}
