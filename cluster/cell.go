package cluster

import "sync"

// A cell holds a value whose changes can be waited for.
type cell[T comparable] struct {
	mu      sync.Mutex
	value   T             // guarded by mu
	changed chan struct{} // guarded by mu; closed at the next change, nil if nobody waits
}

// set replaces the value.
func (c *cell[T]) set(value T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.value == value {
		return
	}
	c.value = value
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// get returns the value.
func (c *cell[T]) get() T {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.value
}

// watch returns the value and a channel that is closed when it changes.
func (c *cell[T]) watch() (value T, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changed == nil {
		c.changed = make(chan struct{})
	}
	return c.value, c.changed
}
