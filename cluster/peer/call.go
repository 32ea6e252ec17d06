package peer

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/raft"
)

// Call brings a request of at most 8 MiB to the node at an address, host and port, and
// returns its answer. The request arrives at most once. Call returns when ctx ends, and
// within five seconds when nothing is heard of the other node any more. An error has a
// method Unsent that says whether the request surely did not arrive; it may wrap
// ErrOtherCluster, ErrTooLarge, ErrClosed or the context's error. The request may be
// changed when Call has returned.
func (p *Port) Call(ctx context.Context, to raft.ServerAddress, kind byte, request []byte) ([]byte, error) {
	o := p.call(ctx, string(to), kind, request)
	switch {
	case o.err == nil:
		p.metrics.called(kind, outcomeAnswered)
		return o.answer, nil
	case o.unsent:
		p.metrics.called(kind, outcomeUnsent)
	default:
		p.metrics.called(kind, outcomeUnknown)
	}
	return nil, &callError{to: string(to), unsent: o.unsent, err: o.err}
}

func (p *Port) call(ctx context.Context, to string, kind byte, request []byte) (o outcome) {
	if len(request) > maxMessage {
		return outcome{unsent: true, err: fmt.Errorf("%w: a request of %d bytes, at most %d are allowed", ErrTooLarge, len(request), maxMessage)}
	}
	// A line that ended before anything of the request was sent says nothing about the node:
	// it may have been started anew. But one that is new says all there is to say.
	for range 2 {
		l, fresh, err := p.way(to).line(ctx, p, to)
		if err != nil {
			return outcome{unsent: true, err: err}
		}
		o = l.do(ctx, kind, request)
		if fresh || !errors.Is(o.err, errRetired) {
			break
		}
	}
	return o
}

// A way leads to the node at an address: over the line there is, or a new one.
type way struct {
	mu   sync.Mutex
	now  *line // guarded by mu; nil before the first
	next *dial // guarded by mu; nil when nobody dials
}

// A dial is an attempt that all share who want to call meanwhile.
type dial struct {
	done chan struct{} // closed when the rest is set
	line *line
	err  error
}

func (p *Port) way(to string) *way {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.lines[to]
	if w == nil {
		w = &way{}
		p.lines[to] = w
	}
	return w
}

// unused says whether nothing would be lost without this way.
func (w *way) unused() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.next == nil && (w.now == nil || !w.now.usable())
}

// line returns the line to use, and whether it was made for this call.
func (w *way) line(ctx context.Context, p *Port, to string) (_ *line, fresh bool, _ error) {
	w.mu.Lock()
	if w.now != nil && w.now.usable() {
		defer w.mu.Unlock()
		return w.now, false, nil
	}
	d := w.next
	if d == nil {
		d = &dial{done: make(chan struct{})}
		// It is nobody's own: others may wait for it when the caller has left.
		if !p.begin(func() { w.dial(p, to, d) }) {
			w.mu.Unlock()
			return nil, false, ErrClosed
		}
		w.next = d
	}
	w.mu.Unlock()
	select {
	case <-d.done:
		return d.line, true, d.err
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
}

// dial is a goroutine that makes a line and works on it.
func (w *way) dial(p *Port, to string, d *dial) {
	c, err := p.dial(p.run, to, carriesCalls)
	if d.err = err; err == nil {
		d.line = newLine(c)
	}
	w.mu.Lock()
	w.next = nil
	w.now = d.line
	w.mu.Unlock()
	close(d.done)
	if err == nil {
		d.line.work()
	}
}
