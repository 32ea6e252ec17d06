package condition

import "sync"

// A cache remembers what was made of a value, by the value's canonical encoding. It is
// safe for concurrent use.
type cache[T any] struct {
	// most bounds the bytes of all encodings together: what is made of a value takes a
	// multiple of what the value takes. If the cache is full, whatever comes first has
	// to go.
	most int

	mu    sync.Mutex
	known map[string]T // guarded by mu
	size  int          // of all keys of known; guarded by mu
}

func (c *cache[T]) get(key []byte) (T, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, ok := c.known[string(key)]
	return found, ok
}

func (c *cache[T]) put(key []byte, made T) {
	if len(key) > MaxContext {
		return // too large to be worth remembering
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil {
		c.known = make(map[string]T)
	}
	if _, ok := c.known[string(key)]; !ok {
		c.size += len(key)
		for k := range c.known {
			if c.size <= c.most {
				break
			}
			delete(c.known, k)
			c.size -= len(k)
		}
	}
	c.known[string(key)] = made
}
