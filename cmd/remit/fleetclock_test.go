package main

import (
	"os"
	"strings"
	"sync"
	"time"
)

// clockFile names a file by which the clock of a served node goes wrong: it holds a
// duration that is added to the time.
const clockFile = "REMIT_TEST_CLOCK_FILE"

// A wrongClock is the machine's clock and what a file adds to it.
type wrongClock struct {
	name string

	mu     sync.Mutex
	asked  time.Time     // guarded by mu; when the file was last read
	offset time.Duration // guarded by mu
}

// clockRefresh is how often a wrongClock reads its file: a node asks for the time more
// often than a disk should be asked.
const clockRefresh = 20 * time.Millisecond

func (c *wrongClock) now() time.Time {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.asked) >= clockRefresh {
		c.asked = now
		if text, err := os.ReadFile(c.name); err == nil {
			if offset, err := time.ParseDuration(strings.TrimSpace(string(text))); err == nil {
				c.offset = offset
			}
		}
	}
	return now.Add(c.offset)
}
