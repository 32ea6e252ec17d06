package gate

import (
	"sync"
	"time"

	"github.com/remit-authz/remit/rpc/identity"
)

// maxCached bounds the callers that are remembered. Each takes about half a kilobyte.
const maxCached = 10_000

// A cache remembers callers by the hash of their credentials, so that a signature is
// verified once and not with every call. What it remembers was found out by rules of one
// generation, and is forgotten with it. The zero value is empty.
type cache struct {
	mu         sync.RWMutex
	generation any // guarded by mu, as is what follows
	callers    map[[32]byte]*identity.Caller
}

// find is the caller of credentials that are valid now; nil if none is remembered.
func (c *cache) find(generation any, key [32]byte, now time.Time) *identity.Caller {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.generation != generation {
		return nil
	}
	if caller := c.callers[key]; caller != nil && now.Before(caller.Expires) {
		return caller
	}
	return nil
}

// add remembers a caller, who must have an end.
func (c *cache) add(generation any, key [32]byte, caller *identity.Caller, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generation != generation {
		c.generation, c.callers = generation, map[[32]byte]*identity.Caller{}
	}
	if len(c.callers) >= maxCached {
		c.makeRoom(now)
	}
	c.callers[key] = caller
}

// makeRoom forgets those who have expired, or else any few: they are verified again when
// they come back.
func (c *cache) makeRoom(now time.Time) {
	for key, caller := range c.callers {
		if !now.Before(caller.Expires) {
			delete(c.callers, key)
		}
	}
	for key := range c.callers {
		if len(c.callers) < maxCached*9/10 {
			return
		}
		delete(c.callers, key)
	}
}
