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

func (p *progress) at(done int) {
	if p.total <= maxOperations {
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
