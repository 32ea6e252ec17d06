package decision

import (
	"bytes"
	"time"
)

// A writer is the one goroutine that writes.
type writer struct {
	log     *Log
	encoder *encoder

	events     []Event // of the last round, to be used again
	lost       loss    // that the log has not been told of
	broken     bool    // the last write failed: there may be half a line
	complained time.Time
}

// run writes what gathers in the queue, until the log is closed.
func (w *writer) run() {
	defer func() {
		w.log.miss = w.lost
		close(w.log.ended)
	}()
	timer := time.NewTimer(gather)
	defer timer.Stop()
	for open := true; open; {
		var again <-chan time.Time
		if w.lost.any() {
			timer.Reset(retry)
			again = timer.C
		}
		select {
		case <-w.log.wake:
			timer.Reset(gather)
			select {
			case <-timer.C:
			case <-w.log.half:
			case <-w.log.end:
			}
		case <-again:
		case <-w.log.end:
			open = false
		}
		w.round()
	}
}

// round writes all that there is.
func (w *writer) round() {
	events, lost := w.log.take(w.events)
	w.events = events
	if lost.any() {
		w.lost.add(lost.full, 0, lost.from, lost.to)
	}
	for first := true; len(events) > 0 || first && w.lost.any(); first = false {
		events = events[w.write(events):]
	}
}

// write writes as many events as go into the buffer, behind what is to be said of a loss,
// and returns how many these are.
func (w *writer) write(events []Event) (n int) {
	c := w.encoder
	c.buf = c.buf[:0]
	told := w.lost
	if told.any() {
		c.dropped(told, time.Now())
	}
	for n < len(events) && len(c.buf) < chunk {
		c.event(&events[n])
		n++
	}
	size, err := w.deliver(c.buf)
	lines := bytes.Count(c.buf[:size], []byte("\n"))
	if told.any() && lines > 0 {
		w.lost = loss{}
		lines--
	}
	w.log.written.Add(uint64(lines))
	w.log.bytes.Add(uint64(size))
	if err == nil {
		return n
	}
	if missing := events[lines:n]; len(missing) > 0 {
		w.lost.add(0, len(missing), missing[0].time, missing[len(missing)-1].time)
		w.log.unwritten.Add(uint64(len(missing)))
	}
	w.complain(err)
	return n
}

// deliver hands bytes to the sink, once it is sure that they begin a line there.
func (w *writer) deliver(b []byte) (n int, err error) {
	if w.broken {
		if err := w.log.sink.mend(); err != nil {
			return 0, err
		}
	}
	n, err = w.log.sink.Write(b)
	w.broken = err != nil
	return n, err
}

// complain says what keeps the log from being written, but not all the time.
func (w *writer) complain(err error) {
	if now := time.Now(); w.complained.IsZero() || now.Sub(w.complained) >= complain {
		w.complained = now
		w.log.config.Log.Error("decision log is missing events", "error", err, "missing", w.lost.full+w.lost.unwritten)
	}
}
