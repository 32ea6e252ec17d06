package peer

import (
	"context"
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
	noise    *noise
	metrics  *metrics
	serve    atomic.Pointer[func(context.Context, byte, []byte) []byte] // nil: nobody serves

	run     context.Context // ends with Close, and with it what goroutines of no caller do
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
		host, _, _ := net.SplitHostPort(c.Bind) // which Validate has done before
		_, port, err := net.SplitHostPort(listener.Addr().String())
		if err != nil {
			return nil, errors.Join(err, listener.Close())
		}
		c.Advertise = net.JoinHostPort(host, port)
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
		p.noise.warn(c.peer.address, "connection to a node of another cluster closed", "error", otherCluster(here, c.peer))
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
