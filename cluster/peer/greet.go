package peer

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"
)

const (
	// greetingTimeout is how long the other side may take to introduce itself, TLS
	// included. Who dials gives up earlier.
	greetingTimeout = 3 * time.Second
	// maxGreetings bounds the connections whose other side is not known yet. One more ends
	// the oldest: a node needs milliseconds.
	maxGreetings = 64
	// maxInbound bounds the connections that others have opened: each node has a few.
	maxInbound = 1024
)

var errFull = fmt.Errorf("this node has %d connections from others already", maxInbound)

// accept is the goroutine that takes connections in.
func (p *Port) accept() {
	wait := time.Duration(0)
	for {
		raw, err := p.listener.Accept()
		if err != nil {
			if p.run.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of files, most likely: it passes, or others will say so.
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			p.noise.warn("", "connection not accepted", "error", err)
			select {
			case <-time.After(wait):
			case <-p.run.Done():
				return
			}
			continue
		}
		wait = 0
		p.mu.Lock()
		if !p.closed {
			if len(p.greetings) >= maxGreetings {
				_ = p.greetings[0].Close()
				p.greetings = p.greetings[1:]
			}
			p.greetings = append(p.greetings, raw)
		}
		p.mu.Unlock()
		if !p.begin(func() { p.greet(raw) }) {
			_ = raw.Close()
		}
	}
}

// greet settles who is at the other side of a connection, and hands it on.
func (p *Port) greet(raw net.Conn) {
	c, err := p.receive(raw)
	p.mu.Lock()
	for i, g := range p.greetings {
		if g == raw {
			p.greetings = append(p.greetings[:i:i], p.greetings[i+1:]...)
			break
		}
	}
	p.mu.Unlock()
	if err != nil {
		p.refused(raw, err)
		_ = raw.Close()
		return
	}
	if c.carries == carriesCalls {
		newLine(c).work()
		return
	}
	p.working.Add(1)
	s := &incoming{conn: c, done: p.working.Done}
	select {
	case p.streams <- s:
	case <-p.run.Done():
		_ = s.Close()
	}
}

// receive reads a preface and answers it.
func (p *Port) receive(raw net.Conn) (*conn, error) {
	if err := raw.SetDeadline(time.Now().Add(greetingTimeout)); err != nil {
		return nil, err
	}
	c := &conn{Conn: raw, raw: raw, port: p}
	if p.cfg.ServerTLS != nil {
		secure := tls.Server(raw, p.cfg.ServerTLS)
		if err := secure.HandshakeContext(p.run); err != nil {
			return nil, p.explain(raw, err)
		}
		if len(secure.ConnectionState().PeerCertificates) == 0 {
			return nil, errNoCertificate
		}
		c.Conn = secure
	}
	body, err := readPreface(c.Conn)
	var hello preface
	if err == nil {
		hello, err = decodePreface(body)
	}
	here := p.identity()
	answer := verdict{identity: here}
	if err == nil {
		c.carries, c.peer, c.told = hello.carries, hello.identity, here.cluster
		if differ(here.cluster, hello.cluster) {
			answer.decision, err = refusedOtherCluster, otherCluster(here, hello.identity)
		} else if err = p.remember(c); err != nil {
			answer.decision = refusedOtherwise
		}
	} else if answer.decision = refusedOtherwise; errors.As(err, new(versionError)) {
		answer.decision = refusedVersion
	}
	if err != nil {
		answer.reason = err.Error()
		p.dismiss(raw, c.Conn, answer, err)
		return nil, err
	}
	if _, err = c.Conn.Write(answer.encode()); err == nil {
		err = c.SetDeadline(time.Time{})
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// dismiss tells the other side why it is refused.
func (p *Port) dismiss(raw, over net.Conn, answer verdict, why error) {
	if raw.SetDeadline(time.Now().Add(lingering)) != nil {
		return
	}
	if s := (strangerError{}); errors.As(why, &s) && s.http() {
		text := "this port is for the nodes of a cluster; the API has one of its own\n"
		_, _ = fmt.Fprintf(over, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(text), text)
	} else {
		_, _ = over.Write(answer.encode()) // who has gone need not be told
	}
	linger(raw)
}

// explain makes sense of a TLS handshake that was no such thing, and tells who is there.
func (p *Port) explain(raw net.Conn, err error) error {
	var record tls.RecordHeaderError
	if !errors.As(err, &record) || record.Conn == nil {
		return err
	}
	begin := record.RecordHeader[:]
	if string(begin) == magic[:len(begin)] {
		err = errPlain
	} else {
		err = strangerError{begin}
	}
	p.dismiss(raw, raw, verdict{decision: refusedOtherwise, identity: identity{node: p.cfg.NodeID, address: p.cfg.Advertise}, reason: err.Error()}, err)
	return err
}

var (
	errPlain         = errors.New("the other side came without TLS, which this node demands: give all nodes the same TLS settings")
	errNoCertificate = errors.New("the other side has shown no certificate")
)

// linger lets the other side read why it is refused: a connection that is closed while
// something of it is unread is cut off, and what was said last is lost.
func linger(raw net.Conn) {
	half, ok := raw.(interface{ CloseWrite() error })
	if !ok || raw.SetDeadline(time.Now().Add(lingering)) != nil || half.CloseWrite() != nil {
		return
	}
	buf := make([]byte, 4096)
	for left := 64 << 10; left > 0; {
		n, err := raw.Read(buf)
		if left -= n; err != nil {
			return
		}
	}
}

// lingering is how long linger lasts at most.
const lingering = time.Second

// refused counts and logs a connection that came to nothing.
func (p *Port) refused(raw net.Conn, err error) {
	reason := reasonOf(err)
	if p.run.Err() != nil {
		return // it is this node that stops
	}
	p.metrics.refuse(reason)
	if reason == reasonGone {
		return // a port scan, or a health check of a load balancer
	}
	from := raw.RemoteAddr().String()
	host, _, _ := net.SplitHostPort(from) // whose port is another each time
	p.noise.warn(host+" "+reason, "connection refused", "from", from, "reason", reason, "error", err)
}
