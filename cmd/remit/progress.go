package main

import (
	"fmt"
	"io"
	"time"
)

// A progress tells how far a long write is: on a terminal in one line that is rewritten,
// otherwise in a line every few seconds, for logs.
type progress struct {
	w        io.Writer
	always   bool // however little there is to do
	total    int
	what     string
	terminal bool
	drawn    bool
	next     time.Time
}

// progressInterval is often enough to show that something happens, and seldom enough
// not to fill a log.
const progressInterval = 5 * time.Second

func newProgress(w io.Writer, total int, what string) *progress {
	return &progress{w: w, total: total, what: what, terminal: isTerminal(w), next: time.Now().Add(progressInterval)}
}

// newLong is a progress of what takes long however little it is.
func newLong(w io.Writer, total int, what string) *progress {
	p := newProgress(w, total, what)
	p.always = true
	return p
}

func (p *progress) at(done int) {
	if p.total <= maxOperations && !p.always {
		return
	}
	line := fmt.Sprintf("%s of %s %s", thousands(done), thousands(p.total), p.what)
	switch {
	case p.terminal:
		printf(p.w, "\r%s (%d%%)", line, done*100/p.total)
		p.drawn = true
	case time.Now().After(p.next) || done == p.total:
		printLine(p.w, line)
		p.next = time.Now().Add(progressInterval)
	}
}

func (p *progress) done() {
	if p.drawn {
		printLine(p.w, "")
	}
}

// A counting is a progress of which it may not be known how much there is to do. It says
// nothing of what is done within some seconds. A nil one does nothing.
type counting struct {
	progress
	begun time.Time
}

func newCount(w io.Writer, what string) *counting {
	return &counting{progress: *newProgress(w, 0, what), begun: time.Now()}
}

func (c *counting) at(done int) { c.of(done, 0) }

// of tells that so much of what is known so far is done.
func (c *counting) of(done, total int) {
	if c == nil || time.Now().Before(c.begun.Add(progressInterval/5)) {
		return
	}
	line := thousands(done) + " " + c.what
	if total > 0 {
		line = thousands(done) + " of " + thousands(total) + " " + c.what
	}
	switch {
	case c.terminal:
		printf(c.w, "\r%s", line)
		c.drawn = true
	case time.Now().After(c.next):
		printLine(c.w, line)
		c.next = time.Now().Add(progressInterval)
	}
}

func (c *counting) done() {
	if c != nil {
		c.progress.done()
	}
}
