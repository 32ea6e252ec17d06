package peer

import "sync"

// An outbox holds the messages that wait to be written to a connection. Whoever writes
// takes as many small ones at a time as there are, and of the large ones a chunk of one
// each time, in turn.
type outbox struct {
	mu     sync.Mutex
	small  []*message    // guarded by mu
	large  []*message    // guarded by mu; some of them are partly written
	closed bool          // guarded by mu
	wake   chan struct{} // holds one token when something came
}

// A message is one frame or several.
type message struct {
	kind    frameType
	id      uint64
	head    []byte // what comes before the payload
	payload []byte

	written int  // guarded by the outbox's mu; of the payload, those included that are about to be
	gone    bool // guarded by the outbox's mu; its last byte was written, or is about to be
	dropped bool // guarded by the outbox's mu; it is not to be written
}

// batch is how much is written at a time at most, but for one chunk more.
const batch = 64 << 10

func newOutbox() *outbox { return &outbox{wake: make(chan struct{}, 1)} }

// put adds a message. It reports false when nothing is written any more.
func (o *outbox) put(m *message) bool {
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		return false
	}
	if len(m.head)+len(m.payload) <= maxChunk/2 {
		o.small = append(o.small, m)
	} else {
		o.large = append(o.large, m)
	}
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
	return true
}

// drop takes a message back. It reports whether the other side cannot have the whole of it
// and never will, and whether it can have a part.
func (o *outbox) drop(m *message) (unsent, begun bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if m.gone {
		return false, true
	}
	m.dropped, m.payload = true, nil // it is the caller's
	return true, m.written > 0
}

// close ends the outbox: what was not written will not be.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	clear(o.small)
	clear(o.large)
	o.small, o.large = nil, nil
}

// fill appends frames to a buffer that is about to be written.
func (o *outbox) fill(buf []byte) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	taken := 0
	for _, m := range o.small {
		if len(buf) >= batch {
			break
		}
		taken++
		if !m.dropped {
			buf = appendFrame(buf, m.kind, false, m.id, m.head, m.payload)
			m.gone = true
		}
	}
	o.small = shift(o.small, taken)
	for len(o.large) > 0 {
		m := o.large[0]
		if m.dropped {
			o.large = shift(o.large, 1)
			continue
		}
		head := m.head
		if m.written > 0 {
			head = nil
		}
		end := min(len(m.payload), m.written+maxChunk-len(head))
		m.gone = end == len(m.payload)
		buf = appendFrame(buf, m.kind, !m.gone, m.id, head, m.payload[m.written:end])
		m.written = end
		if o.large = shift(o.large, 1); !m.gone {
			o.large = append(o.large, m)
		}
		break
	}
	return buf
}

// shift removes the first n, and keeps the room of those that were there.
func shift(all []*message, n int) []*message {
	left := copy(all, all[n:])
	clear(all[left:])
	return all[:left]
}
