package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/remit-authz/remit/cluster"
)

var (
	_ cluster.Transport = (*Port)(nil)
	_ cluster.Peers     = (*Port)(nil)
)

// transport is the part of a Port that hashicorp/raft implements on our connections.
type transport interface {
	raft.Transport
	raft.WithPreVote
}

// A Port is where a node is reached by the others, and from where it reaches them. It
// implements cluster.Transport and cluster.Peers. Its methods may be called from any
// goroutine.
type Port struct {
	transport
	cfg      Config
	network  *raft.NetworkTransport
	listener net.Listener
	streams  chan *incoming // to Raft's transport
	noise    noise
	metrics  *metrics
	serve    atomic.Pointer[func(context.Context, byte, []byte) []byte] // nil: nobody serves

	run     context.Context //nolint:containedctx // ends with Close, and with it what goroutines of no caller do
	stop    context.CancelFunc
	working sync.WaitGroup // all goroutines; Add under mu while not closed
	once    sync.Once

	mu        sync.Mutex
	closed    bool            // guarded by mu
	conns     map[*conn]*line // guarded by mu; those that are settled; nil for one of Raft's
	inbound   int             // guarded by mu; of conns, those that others dialled
	greetings []net.Conn      // guarded by mu; those whose other side is not known yet, oldest first
	lines     map[string]*way // guarded by mu; by address
}

// Listen opens a port. It runs until Close, also after ctx has ended.
func Listen(ctx context.Context, c Config) (*Port, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	listener, err := (&net.ListenConfig{KeepAliveConfig: keepAlive, Control: control}).Listen(ctx, "tcp", c.Bind)
	if err != nil {
		return nil, fmt.Errorf("listen for peers: %w", err)
	}
	if c.Advertise == "" {
		c.Advertise = listener.Addr().String()
	}
	p := &Port{
		cfg: c, listener: listener, streams: make(chan *incoming),
		noise: newNoise(c.Log), conns: map[*conn]*line{}, lines: map[string]*way{},
	}
	p.run, p.stop = context.WithCancel(context.WithoutCancel(ctx))
	if p.metrics, err = newMetrics(c.Metrics); err != nil {
		return nil, errors.Join(fmt.Errorf("register the metrics of the peers' port: %w", err), listener.Close())
	}
	p.network = raft.NewNetworkTransportWithConfig(p.raftConfig())
	p.network.TimeoutScale = timeoutScale
	p.transport = p.network
	p.working.Go(p.accept)
	p.working.Go(p.watch)
	return p, nil
}

// Addr returns the address that the port listens at; LocalAddr is the one that others are
// told.
func (p *Port) Addr() net.Addr { return p.listener.Addr() }

// Close ends all connections and waits for everything that was under way, the requests
// included that others have sent: their contexts end. It may be called more than once.
func (p *Port) Close() error {
	var err error
	p.once.Do(func() {
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.stop()
		// This closes the listener, too.
		err = p.network.Close()
		p.mu.Lock()
		ending := append([]net.Conn(nil), p.greetings...)
		for c := range p.conns {
			ending = append(ending, c.raw)
		}
		p.mu.Unlock()
		for _, c := range ending {
			_ = c.Close() // whoever owns it meets the end
		}
	})
	p.working.Wait()
	return err
}

// begin runs a goroutine that Close waits for, unless it is too late for it.
func (p *Port) begin(work func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.working.Go(work)
	return true
}

// identity is how this node introduces itself now.
func (p *Port) identity() identity {
	return identity{cluster: p.cfg.Cluster(), node: p.cfg.NodeID, address: p.cfg.Advertise}
}

// remember adds a connection that is settled. It returns why it cannot be.
func (p *Port) remember(c *conn) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return ErrClosed
	case !c.dialled && p.inbound >= maxInbound:
		return errFull
	}
	p.conns[c] = nil
	if !c.dialled {
		p.inbound++
	}
	p.metrics.opened(c, 1)
	return nil
}

func (p *Port) forget(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.conns[c]; !ok {
		return
	}
	delete(p.conns, c)
	if !c.dialled {
		p.inbound--
	}
	p.metrics.opened(c, -1)
}

const (
	// beat is how often each side of a connection for calls says that it is there.
	beat = time.Second
	// silence is how many beats without a byte make a connection a dead one: fewer than
	// callers would wait, more than a process stands still for in its usual troubles.
	silence = 4
	// idle is after how many beats a connection without calls is closed.
	idle = 60
)

// watch looks after the connections: whether the other side is still there, and still is
// one to talk to.
func (p *Port) watch() {
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-p.run.Done():
			return
		}
		p.mu.Lock()
		conns, ways := maps.Clone(p.conns), maps.Clone(p.lines)
		p.mu.Unlock()
		own := p.cfg.Cluster()
		for c, l := range conns {
			p.look(c, l, own)
		}
		for address, w := range ways {
			if w.unused() {
				p.mu.Lock()
				delete(p.lines, address) // who has got hold of it just now does no harm
				p.mu.Unlock()
			}
		}
	}
}

// look does for one connection what watch does.
func (p *Port) look(c *conn, l *line, own uint64) {
	switch {
	case differ(own, c.peer.cluster):
		here := p.identity()
		p.noise.warn("connection to a node of another cluster closed", "error", otherCluster(here, c.peer))
		p.metrics.refuse(reasonOtherCluster)
		if l != nil {
			l.fail(otherCluster(here, c.peer))
		}
		_ = c.Close()
	case l != nil:
		if c.unsettled(own) {
			l.retire()
		}
		l.tick()
	case c.unsettled(own):
		// Raft sends again what it loses, over a new connection.
		_ = c.Close()
	}
}

// listens and TLS in one place: what a stranger gets.
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
			p.noise.warn("connection not accepted", "error", err)
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
		err = c.Conn.SetDeadline(time.Time{})
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
	p.noise.warn("connection refused", "from", raw.RemoteAddr().String(), "reason", reason, "error", err)
}
