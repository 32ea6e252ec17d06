package peer

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// A line is a connection that carries calls. Who dialled it sends requests, the other side
// answers.
type line struct {
	*conn
	out  *outbox
	over chan struct{} // closed when the line is of no use any more

	mu      sync.Mutex
	err     error            // guarded by mu; why the line is over
	retired bool             // guarded by mu; no new calls
	calls   map[uint64]*call // guarded by mu; of who dialled
	last    uint64           // guarded by mu; the id of the last call
	bytes   int              // guarded by mu; of the requests in calls
	beats   int              // guarded by mu; how many without a call, or since it was retired

	quiet int // of watch: how many beats nothing was heard
	told  bool
}

// A call is one whose answer has not arrived.
type call struct {
	message
	size int          // of the request
	done chan outcome // has room for one
}

// An outcome is how a call ended.
type outcome struct {
	answer []byte
	unsent bool
	err    error
}

const (
	// maxCalls and maxCallBytes bound what may be on its way to one node at a time: more
	// than its log takes in, which is what says first that there is too much.
	maxCalls     = 16 << 10
	maxCallBytes = 128 << 20
)

// newLine makes a line of a connection. Somebody must call work.
func newLine(c *conn) *line {
	l := &line{conn: c, out: newOutbox(), over: make(chan struct{}), calls: map[uint64]*call{}}
	c.port.mu.Lock()
	defer c.port.mu.Unlock()
	if _, ok := c.port.conns[c]; ok {
		c.port.conns[c] = l
	}
	return l
}

// work reads until the connection ends, and waits for all that it has begun.
func (l *line) work() {
	var working sync.WaitGroup
	working.Go(l.write)
	var err error
	if l.dialled {
		err = l.readAnswers()
	} else {
		err = l.readRequests(&working)
	}
	l.fail(err)
	working.Wait()
}

// write is the goroutine that writes.
func (l *line) write() {
	buf := make([]byte, 0, 2*batch)
	for {
		select {
		case <-l.out.wake:
		case <-l.over:
			return
		}
		for {
			if buf = l.out.fill(buf[:0]); len(buf) == 0 {
				break
			}
			if _, err := l.Write(buf); err != nil {
				l.fail(err)
				return
			}
		}
	}
}

// fail ends the line, and every call on it.
func (l *line) fail(err error) {
	defer func() { _ = l.Close() }()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return
	}
	l.err, l.retired = err, true
	close(l.over)
	for _, c := range l.calls {
		if unsent, _ := l.out.drop(&c.message); unsent {
			c.done <- outcome{unsent: true, err: fmt.Errorf("%w: %w", errRetired, err)}
			continue
		}
		c.done <- outcome{err: err}
	}
	l.calls = nil
	l.out.close()
}

// usable says whether new calls may go this way.
func (l *line) usable() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.retired
}

// retire has new calls go another way, and ends the line when those under way are answered.
func (l *line) retire() {
	if !l.dialled {
		if !l.told {
			l.told = true
			l.out.put(&message{kind: frameRetire})
		}
		return
	}
	l.mu.Lock()
	if !l.retired {
		l.retired, l.beats = true, 0
	}
	done := len(l.calls) == 0
	l.mu.Unlock()
	if done {
		l.fail(errRetired)
	}
}

// tick is called with every beat, by watch.
func (l *line) tick() {
	if l.heard.Swap(false) {
		l.quiet = 0
	} else if l.quiet++; l.quiet >= silence {
		l.fail(errSilent)
		return
	}
	l.out.put(&message{kind: framePing})
	if !l.dialled {
		return
	}
	l.mu.Lock()
	l.beats++
	done := len(l.calls) == 0 && (l.retired || l.beats > idle)
	l.mu.Unlock()
	if done {
		l.fail(errRetired)
	}
}

// do brings a request to the other side.
func (l *line) do(ctx context.Context, kind byte, request []byte) outcome {
	c := &call{message: message{kind: frameRequest, head: []byte{kind}, payload: request}, size: len(request), done: make(chan outcome, 1)}
	l.mu.Lock()
	if l.err != nil || l.retired {
		defer l.mu.Unlock()
		return outcome{unsent: true, err: errRetired}
	}
	if len(l.calls) >= maxCalls || l.bytes+len(request) > maxCallBytes {
		l.mu.Unlock()
		return outcome{unsent: true, err: errBusy}
	}
	l.last++
	l.beats = 0
	c.id = l.last
	l.calls[c.id] = c
	l.bytes += len(request)
	l.out.put(&c.message)
	l.mu.Unlock()
	select {
	case o := <-c.done:
		return o
	case <-ctx.Done():
	}
	unsent, begun := l.out.drop(&c.message)
	if l.take(c.id) == nil { // the answer has come just now, or the line has ended
		return <-c.done
	}
	if begun {
		l.out.put(&message{kind: frameCancel, id: c.id})
	}
	return outcome{unsent: unsent, err: ctx.Err()}
}

// take removes a call. It returns nil if there is none.
func (l *line) take(id uint64) *call {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.calls[id]
	if c != nil {
		delete(l.calls, id)
		l.bytes -= c.size
	}
	return c
}

// readAnswers reads what who serves sends.
func (l *line) readAnswers() error {
	r := newFrameReader(l.conn)
	parts := assembly{}
	for {
		f, err := readFrame(r)
		if err != nil {
			return err
		}
		switch f.kind {
		case framePing:
			continue
		case frameRetire:
			l.retire()
			continue
		case frameAnswer, frameUnserved, frameFailed:
		default:
			return fmt.Errorf("%w: a frame of type %d, where answers are expected", errProtocol, f.kind)
		}
		whole, err := parts.add(f)
		if err != nil {
			return err
		}
		if whole == nil {
			continue
		}
		c := l.take(f.id)
		if c == nil {
			continue // the caller has left
		}
		switch f.kind {
		case frameAnswer:
			c.done <- outcome{answer: whole}
		case frameUnserved:
			c.done <- outcome{unsent: true, err: errors.New(string(whole))}
		default:
			c.done <- outcome{err: errors.New(string(whole))}
		}
	}
}

// An assembly holds messages of which parts have arrived.
type assembly struct {
	parts map[uint64][]byte
	bytes int
}

// add returns a message that a frame completes, in memory of its own and never nil, or nil.
func (a *assembly) add(f frame) ([]byte, error) {
	before := a.parts[f.id]
	if len(before)+len(f.payload) > maxMessage+1 { // the kind of a request is part of it
		return nil, fmt.Errorf("%w: a message of more than %d bytes", errProtocol, maxMessage)
	}
	whole := append(before, f.payload...)
	if !f.more {
		a.drop(f.id)
		if whole == nil {
			whole = []byte{}
		}
		return whole, nil
	}
	if a.bytes += len(f.payload); a.bytes > maxCallBytes+maxMessage {
		return nil, fmt.Errorf("%w: more than %d bytes of messages that do not end", errProtocol, maxCallBytes)
	}
	if a.parts == nil {
		a.parts = map[uint64][]byte{}
	}
	a.parts[f.id] = whole
	return nil, nil
}

// drop forgets what there is of a message.
func (a *assembly) drop(id uint64) {
	a.bytes -= len(a.parts[id])
	delete(a.parts, id)
}
