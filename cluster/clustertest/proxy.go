package clustertest

import (
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy stands between nodes that are processes of their own, and can be as bad as a real
// network: for the bytes that travel from one node to another, in this direction only.
//
// Every node listens where it likes and advertises the address that Front returns for it,
// so all that others send to it comes by here. Who dials is known by the node id with which
// a connection of a peer.Port begins; call it by the id, or by a name given with Name. With
// TLS that cannot be read: then only faults of Anybody's bytes take effect.
type Proxy struct {
	t testing.TB

	mu      sync.Mutex
	fronts  map[string]*front         // guarded by mu; by name
	names   map[string]string         // guarded by mu; by node id
	faults  map[[2]string]Fault       // guarded by mu; from, to
	changed chan struct{}             // guarded by mu; closed when faults change
	pairs   map[*pair]struct{}        // guarded by mu
	greets  map[*net.TCPConn]struct{} // guarded by mu; whose node is not known yet
	closed  chan struct{}
	working sync.WaitGroup
}

// Anybody stands for every node, known or not, in Set. What is set for a node itself counts
// before it.
const Anybody = "*"

// Fault is what bytes meet on their way from one node to another. The zero Fault is none.
type Fault struct {
	// Cut lets nothing arrive, not even that a connection has ended, and nobody is told. As
	// with a real cut, what was sent meanwhile arrives when it heals, if both sides have
	// kept the connection.
	Cut bool
	// Reset ends connections in the way that a firewall would, those there are and new ones.
	Reset bool
	// HalfOpen lets bytes arrive, but not the end of a connection: as when a machine loses
	// its power.
	HalfOpen bool
	// Delay is what all bytes take, and Jitter what they take beside that, at most. They
	// keep their order.
	Delay, Jitter time.Duration
	// Rate is how many bytes a second there is room for on one connection. 0: no limit.
	Rate int
}

// front is where a node is reached.
type front struct {
	name     string
	listener *net.TCPListener
	target   string // guarded by the proxy's mu
}

// NewProxy returns a proxy without faults. It ends with the test.
func NewProxy(t testing.TB) *Proxy {
	p := &Proxy{
		t: t, fronts: map[string]*front{}, names: map[string]string{}, faults: map[[2]string]Fault{},
		changed: make(chan struct{}), pairs: map[*pair]struct{}{}, greets: map[*net.TCPConn]struct{}{}, closed: make(chan struct{}),
	}
	t.Cleanup(p.close)
	return p
}

// Front returns the address by which others reach the node of a name, which listens at
// target. Called again it changes the target, and the address stays.
func (p *Proxy) Front(name, target string) (addr string) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if f := p.fronts[name]; f != nil {
		f.target = target
		return f.listener.Addr().String()
	}
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		p.t.Fatal(err)
	}
	f := &front{name: name, listener: listener, target: target}
	p.fronts[name] = f
	p.working.Go(func() { p.accept(f) })
	return listener.Addr().String()
}

// Name says what the node of an id is called here. A node without a name goes by its id.
func (p *Proxy) Name(nodeID, name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.names[nodeID] = name
	p.changes()
}

// Set says what bytes meet on their way from one node to another, whoever of the two has
// opened the connection.
func (p *Proxy) Set(from, to string, f Fault) {
	p.mu.Lock()
	p.faults[[2]string{from, to}] = f
	p.changes()
	p.mu.Unlock()
}

// Isolate cuts a node off, in both directions.
func (p *Proxy) Isolate(name string) {
	p.Set(name, Anybody, Fault{Cut: true})
	p.Set(Anybody, name, Fault{Cut: true})
}

// Heal removes all faults.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.faults)
	p.changes()
}

// changes tells everyone who waits that the faults are others. The caller holds mu.
func (p *Proxy) changes() {
	close(p.changed)
	p.changed = make(chan struct{})
	for c := range p.pairs {
		there, back := p.fault(c.from, c.to), p.fault(c.to, c.from)
		if there.Reset || back.Reset {
			c.reset()
		}
	}
}

// fault returns what bytes meet. The caller holds mu. A node may get its name when it is
// connected already.
func (p *Proxy) fault(from, to string) Fault {
	if name := p.names[from]; name != "" {
		from = name
	}
	if name := p.names[to]; name != "" {
		to = name
	}
	for _, link := range [][2]string{{from, to}, {from, Anybody}, {Anybody, to}, {Anybody, Anybody}} {
		if f, ok := p.faults[link]; ok {
			return f
		}
	}
	return Fault{}
}

// meet returns what bytes meet now, and when to ask again.
func (p *Proxy) meet(from, to string) (Fault, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fault(from, to), p.changed
}

// pass waits until whatever holds is not true of the faults on a way. It returns false if
// the proxy or the connection ends before.
func (p *Proxy) pass(c *pair, from, to string, holds func(Fault) bool) bool {
	for {
		f, changed := p.meet(from, to)
		if !holds(f) {
			return true
		}
		select {
		case <-changed:
		case <-c.ended:
			return false
		case <-p.closed:
			return false
		}
	}
}

// close ends everything.
func (p *Proxy) close() {
	p.mu.Lock()
	close(p.closed)
	for _, f := range p.fronts {
		_ = f.listener.Close()
	}
	for c := range p.greets {
		_ = c.Close()
	}
	for c := range p.pairs {
		c.reset()
	}
	p.mu.Unlock()
	p.working.Wait()
}

// accept takes in connections to a node.
func (p *Proxy) accept(f *front) {
	for {
		c, err := f.listener.AcceptTCP()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				p.t.Errorf("proxy of %s: %v", f.name, err)
			}
			return
		}
		p.mu.Lock()
		select {
		case <-p.closed:
			_ = c.Close()
		default:
			p.greets[c] = struct{}{}
			p.working.Go(func() { p.connect(f, c) })
		}
		p.mu.Unlock()
	}
}

// connect finds out who dials, and connects them.
func (p *Proxy) connect(f *front, dialler *net.TCPConn) {
	first, id := greeting(dialler)
	c := &pair{proxy: p, from: id, to: f.name, dialler: dialler, ended: make(chan struct{})}
	p.mu.Lock()
	delete(p.greets, dialler)
	select {
	case <-p.closed:
		p.mu.Unlock()
		_ = dialler.Close()
		return
	default:
	}
	p.pairs[c] = struct{}{}
	if p.fault(c.from, c.to).Reset || p.fault(c.to, c.from).Reset {
		c.reset()
	}
	target := f.target
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.pairs, c)
		c.reset()
	}()

	if !p.pass(c, c.from, c.to, func(f Fault) bool { return f.Cut }) {
		return
	}
	listener, err := net.Dial("tcp", target) //nolint:noctx // to a process of the test on this machine
	if err != nil {
		p.pass(c, c.to, c.from, func(f Fault) bool { return f.Cut })
		return // and the dialler is told
	}
	// They may have ended in between, and then it is of no use.
	_ = errors.Join(dialler.SetReadBuffer(buffered), listener.(*net.TCPConn).SetReadBuffer(buffered))
	c.mu.Lock()
	c.listener = listener.(*net.TCPConn)
	over := c.over
	c.mu.Unlock()
	if over {
		_ = listener.Close()
		return
	}
	var ways sync.WaitGroup
	ways.Go(func() { c.carry(c.from, c.to, c.dialler, c.listener, first) })
	ways.Go(func() { c.carry(c.to, c.from, c.listener, c.dialler, nil) })
	ways.Wait()
}

// A pair is a connection of a node to the proxy and its continuation.
type pair struct {
	proxy    *Proxy
	from, to string // who dialled whom
	dialler  *net.TCPConn

	mu       sync.Mutex
	listener *net.TCPConn  // guarded by mu until both ways are carried
	over     bool          // guarded by mu
	ended    chan struct{} // closed by reset
}

// reset ends both halves at once, without a goodbye.
func (c *pair) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	c.over = true
	close(c.ended)
	for _, half := range []*net.TCPConn{c.dialler, c.listener} {
		if half != nil {
			_ = half.SetLinger(0)
			_ = half.Close()
		}
	}
}

// A parcel is what was read at once, or the end.
type parcel struct {
	data []byte
	at   time.Time
	err  error // the end: io.EOF, or what else
}

const (
	// parcels is how many may be on their way in one direction, of 32 KiB at most each.
	parcels = 16
	// buffered is how much the system may keep in front of the proxy and behind it: a slow
	// link is no large store.
	buffered = 64 << 10
)

// carry brings what comes in to where it goes, until the end of one of them.
func (c *pair) carry(from, to string, in, out *net.TCPConn, first []byte) {
	queue := make(chan parcel, parcels)
	var reading sync.WaitGroup
	defer reading.Wait()
	reading.Go(func() {
		defer close(queue)
		if len(first) > 0 {
			queue <- parcel{data: first, at: time.Now()}
		}
		for {
			data := make([]byte, 32<<10)
			n, err := in.Read(data)
			select {
			case queue <- parcel{data: data[:n], at: time.Now(), err: err}:
			case <-c.ended:
				return
			}
			if err != nil {
				return
			}
		}
	})
	var last time.Time // when the parcel before was due
	for p := range queue {
		if !c.deliver(from, to, out, p, &last) {
			// Whoever sent it would be told that nobody takes it any more.
			if c.proxy.pass(c, to, from, func(f Fault) bool { return f.Cut || f.HalfOpen }) {
				c.reset()
			}
			return
		}
	}
}

// deliver brings one parcel on. It returns false if there is nobody to take it.
func (c *pair) deliver(from, to string, out *net.TCPConn, p parcel, last *time.Time) bool {
	f, _ := c.proxy.meet(from, to)
	due := p.at.Add(f.Delay)
	if f.Jitter > 0 {
		due = due.Add(rand.N(f.Jitter))
	}
	if due.Before(*last) {
		due = *last
	}
	if f.Rate > 0 {
		if now := time.Now(); due.Before(now) {
			due = now
		}
		due = due.Add(time.Duration(len(p.data)) * time.Second / time.Duration(f.Rate))
	}
	*last = due
	if wait := time.Until(due); wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-c.ended:
			return false
		}
	}
	if len(p.data) > 0 {
		if !c.proxy.pass(c, from, to, func(f Fault) bool { return f.Cut }) {
			return false
		}
		if _, err := out.Write(p.data); err != nil {
			return false
		}
	}
	if p.err == nil {
		return true
	}
	if !c.proxy.pass(c, from, to, func(f Fault) bool { return f.Cut || f.HalfOpen }) {
		return false
	}
	if !errors.Is(p.err, io.EOF) {
		c.reset()
		return true
	}
	_ = out.CloseWrite() // who has gone need not be told
	return true
}

// greeting reads how a connection begins and returns what it has read, and the id of the
// node that dials, "" if it does not say. The form is that of package cluster/peer.
func greeting(c *net.TCPConn) (first []byte, id string) {
	const (
		magic  = "\xf1remit/p"
		header = len(magic) + 3 // a version and the length of the body
		before = header + 1 + 8 // what is carried and the cluster's id
	)
	buf := make([]byte, 0, 4096)
	for {
		n, err := c.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if common := min(len(buf), len(magic)); err != nil || string(buf[:common]) != magic[:common] {
			return buf, ""
		}
		if len(buf) < before+2 {
			continue
		}
		length := int(binary.BigEndian.Uint16(buf[before:]))
		if end := before + 2 + length; len(buf) >= end {
			return buf, string(buf[before+2 : end])
		} else if end > cap(buf) {
			return buf, ""
		}
	}
}
