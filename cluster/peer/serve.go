package peer

import (
	"context"
	"fmt"
	"sync"
)

// Handle has serve answer what other nodes ask, each request in a goroutine of its own. Its
// ctx ends when the caller has left, or its connection, or this port. Before Handle, and
// after Handle(nil), a request is sent back: the caller knows that it did not arrive.
func (p *Port) Handle(serve func(ctx context.Context, kind byte, request []byte) (answer []byte)) {
	if serve == nil {
		p.serve.Store(nil)
		return
	}
	p.serve.Store(&serve)
}

// A service is what one connection has under way here.
type service struct {
	*line
	mu      sync.Mutex
	cancels map[uint64]context.CancelFunc // guarded by mu
	bytes   int                           // guarded by mu; of the requests in cancels
}

// readRequests reads what who calls sends, and answers it.
func (l *line) readRequests(working *sync.WaitGroup) error {
	ctx, cancel := context.WithCancel(l.port.run)
	defer cancel()
	s := &service{line: l, cancels: map[uint64]context.CancelFunc{}}
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
		case frameCancel:
			parts.drop(f.id)
			s.cancel(f.id)
			continue
		case frameRequest:
		default:
			return fmt.Errorf("%w: a frame of type %d, where requests are expected", errProtocol, f.kind)
		}
		request, err := parts.add(f)
		if err != nil {
			return err
		}
		if request == nil {
			continue
		}
		if len(request) == 0 {
			return fmt.Errorf("%w: a request without a kind", errProtocol)
		}
		serve := l.port.serve.Load()
		if serve == nil {
			l.out.put(&message{kind: frameUnserved, id: f.id, payload: []byte("it serves no requests at present")})
			continue
		}
		own, err := s.enter(ctx, f.id, len(request))
		if err != nil {
			return err
		}
		if own == nil {
			l.out.put(&message{kind: frameUnserved, id: f.id, payload: []byte("it has too many requests under way")})
			continue
		}
		l.port.metrics.served(request[0])
		working.Go(func() {
			answer := (*serve)(own, request[0], request[1:])
			s.leave(f.id, len(request), answer)
		})
	}
}

// enter begins a request. It returns nil if there are too many.
func (s *service) enter(ctx context.Context, id uint64, size int) (context.Context, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancels[id] != nil {
		return nil, fmt.Errorf("%w: a second request of the same id", errProtocol)
	}
	// Some may be those of callers who have left, of whom the other side knows nothing.
	if len(s.cancels) >= 2*maxCalls || s.bytes+size > 2*maxCallBytes {
		return nil, nil
	}
	own, cancel := context.WithCancel(ctx)
	s.cancels[id] = cancel
	s.bytes += size
	return own, nil
}

// cancel tells a request that its caller has left.
func (s *service) cancel(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cancel := s.cancels[id]; cancel != nil {
		cancel()
	}
}

// leave ends a request and sends its answer.
func (s *service) leave(id uint64, size int, answer []byte) {
	s.mu.Lock()
	s.cancels[id]()
	delete(s.cancels, id)
	s.bytes -= size
	s.mu.Unlock()
	m := &message{kind: frameAnswer, id: id, payload: answer}
	if len(answer) > maxMessage {
		m.kind = frameFailed
		m.payload = fmt.Appendf(nil, "its answer has %d bytes, at most %d can be sent", len(answer), maxMessage)
	}
	s.out.put(m)
}
