package discover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/prometheus/client_golang/prometheus"
)

// A GossipConfig says where a node gossips, and with whom.
type GossipConfig struct {
	// Bind is where to listen, over TCP and UDP, as host:port. Required.
	Bind string
	// Advertise is where others reach this node's gossip, as host:port. Default: Bind, or a
	// private address of this machine if Bind stands for all.
	Advertise string
	// KeyFile holds the keys by which gossip is encrypted and authenticated: base64 of 32
	// bytes each, one a line. The first one is for what is sent, any for what is received.
	// Needed unless Bind is a loopback address or Insecure is set.
	KeyFile string
	// Insecure allows gossip that everybody can read and forge.
	Insecure bool
	// Label keeps clusters apart that share a network and a key, at most 255 bytes. Default:
	// remit.
	Label string
	// Seeds returns addresses of others that gossip, of which one that is reached is enough.
	// It is asked again while this node is alone, and now and then. Default: others reach
	// this node.
	Seeds Find
	// Self is what this node tells of itself. Its ID is required.
	Self Member
	// Log receives what happens. Default: nothing is logged.
	Log *slog.Logger
	// Metrics receives the gossip's metrics. Default: none are kept.
	Metrics prometheus.Registerer
}

// A Member is a node as gossip sees it. Nobody vouches for it but who has a key.
type Member struct {
	ID   string `json:"id"`
	Peer string `json:"peer,omitempty"` // where other nodes reach it, as host:port
	API  string `json:"api,omitempty"`  // where clients do
}

// Gossip is this node among those that gossip. What it learns is a suggestion: who is a
// member of the cluster is decided by the cluster's log. Its methods may be called from any
// goroutine.
type Gossip struct {
	cfg     GossipConfig
	log     *slog.Logger
	list    *memberlist.Memberlist
	ring    *memberlist.Keyring // nil if nothing is encrypted
	metrics *metrics
	meta    []byte

	reloading sync.Mutex // held by Reload

	mu    sync.Mutex
	known map[string]contact // guarded by mu; who gossips now, this node among them, by id

	stop    context.CancelFunc
	running sync.WaitGroup
	closing sync.Once
	err     error // of Close
}

// A contact is a member, and where its gossip is reached. memberlist's own nodes are changed
// while others read them; these are copies, made when it tells of a change.
type contact struct {
	Member
	address string
}

const (
	// aloneInterval is how often a node that gossips with nobody tries its seeds, and
	// mendInterval how often one that does: two groups that lost each other meet again.
	aloneInterval, mendInterval = time.Second, 30 * time.Second
	// streamTimeout bounds a connection to another node. It holds up Close.
	streamTimeout = 3 * time.Second
	// leaveTimeout is how long to wait until others have heard that this node leaves.
	leaveTimeout = time.Second
	// reclaimTime is how long a node must be gone before its id is taken at another address.
	reclaimTime = time.Second
	// maxFound bounds how many addresses gossip suggests.
	maxFound = 64
	// defaultLabel is what gossip bears unless it is told otherwise. Nodes of another label
	// are not heard, so never change it.
	defaultLabel = "remit"
)

// OpenGossip begins to gossip. It does not wait for others.
func OpenGossip(ctx context.Context, cfg GossipConfig) (*Gossip, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Label == "" {
		cfg.Label = defaultLabel
	}
	g := &Gossip{cfg: cfg, log: cfg.Log.With("component", "gossip"), known: map[string]contact{}}
	mc, err := g.configure(ctx)
	if err != nil {
		return nil, fmt.Errorf("gossip: %w", err)
	}
	g.metrics = newMetrics(g)
	mc.LogOutput = &lines{log: g.log, refused: g.metrics.refuse}
	if g.list, err = memberlist.Create(mc); err != nil {
		return nil, fmt.Errorf("gossip at %s: %w", cfg.Bind, err)
	}
	if err := g.metrics.register(cfg.Metrics); err != nil {
		return nil, errors.Join(fmt.Errorf("gossip: %w", err), g.list.Shutdown())
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	g.stop = stop
	g.running.Go(func() { g.meet(run) })
	g.log.InfoContext(ctx, "gossip begun", "address", g.Addr(), "label", cfg.Label, "encrypted", g.ring != nil)
	return g, nil
}

// configure makes memberlist's configuration.
func (g *Gossip) configure(ctx context.Context) (*memberlist.Config, error) {
	mc := memberlist.DefaultLANConfig()
	mc.Name, mc.Label = g.cfg.Self.ID, g.cfg.Label
	if mc.Name == "" {
		return nil, errors.New("the node's id is missing")
	}
	if len(mc.Label) > memberlist.LabelMaxSize {
		return nil, fmt.Errorf("the label has %d bytes, the limit is %d", len(mc.Label), memberlist.LabelMaxSize)
	}
	bind, port, err := resolve(ctx, g.cfg.Bind)
	if err != nil {
		return nil, fmt.Errorf("address to listen on: %w", err)
	}
	mc.BindAddr, mc.BindPort, mc.AdvertisePort = bind.String(), port, port
	if g.cfg.Advertise != "" {
		advertise, port, err := resolve(ctx, g.cfg.Advertise)
		if err == nil && (port == 0 || advertise.IsUnspecified()) {
			err = fmt.Errorf("nobody is reached at %s", g.cfg.Advertise)
		}
		if err != nil {
			return nil, fmt.Errorf("address that others are told: %w", err)
		}
		mc.AdvertiseAddr, mc.AdvertisePort = advertise.String(), port
	}
	switch {
	case g.cfg.KeyFile != "":
		keys, err := readKeys(g.cfg.KeyFile)
		if err != nil {
			return nil, err
		}
		if g.ring, err = memberlist.NewKeyring(keys, keys[0]); err != nil {
			return nil, err
		}
		mc.Keyring = g.ring
	case !bind.IsLoopback() && !g.cfg.Insecure:
		return nil, fmt.Errorf("%s is reached by others, and nothing keeps them from reading and forging gossip; "+
			"give a file of keys, or allow it (--insecure)", g.cfg.Bind)
	}
	mc.GossipVerifyIncoming, mc.GossipVerifyOutgoing = true, true
	mc.TCPTimeout = streamTimeout
	mc.DeadNodeReclaimTime = reclaimTime
	if g.meta, err = json.Marshal(g.cfg.Self); err != nil {
		return nil, err
	}
	if len(g.meta) > memberlist.MetaMaxSize {
		return nil, fmt.Errorf("what this node tells of itself has %d bytes, the limit is %d: %s", len(g.meta), memberlist.MetaMaxSize, g.meta)
	}
	mc.Delegate, mc.Events, mc.Conflict = delegate{g}, delegate{g}, delegate{g}
	return mc, nil
}

// resolve returns the IP address and port of host:port. Of a name with several it takes the
// first, one of IPv4 if there is any.
func resolve(ctx context.Context, address string) (netip.Addr, int, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return netip.Addr{}, 0, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return netip.Addr{}, 0, fmt.Errorf("%q is no port", text)
	}
	if host == "" {
		return netip.IPv4Unspecified(), int(port), nil
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.Addr{}, 0, err
	}
	for i := range ips {
		ips[i] = ips[i].Unmap()
	}
	slices.SortStableFunc(ips, func(a, b netip.Addr) int { return a.BitLen() - b.BitLen() })
	return ips[0], int(port), nil
}

// Addr returns where others reach this node's gossip.
func (g *Gossip) Addr() string { return g.contacts()[g.cfg.Self.ID].address }

// contacts returns who gossips now, by id.
func (g *Gossip) contacts() map[string]contact {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.known)
}

// Members returns those that gossip now, this node among them, by id.
func (g *Gossip) Members() []Member {
	var all []Member
	for _, c := range g.contacts() {
		all = append(all, c.Member)
	}
	slices.SortFunc(all, func(a, b Member) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// Find returns where the others are reached as peers. It is a Find.
func (g *Gossip) Find(context.Context) ([]string, error) {
	var all []string
	for _, m := range g.Members() {
		if _, _, err := net.SplitHostPort(m.Peer); err == nil && m.ID != g.cfg.Self.ID && len(all) < maxFound {
			all = append(all, m.Peer)
		}
	}
	return all, nil
}

// Reload reads the keys again. To change the key of a cluster, add the new one to the file
// of every node as a second line and reload; then make it the first line; then remove the
// old one. After an error the keys are what they were.
func (g *Gossip) Reload(ctx context.Context) error {
	if g.ring == nil {
		return nil
	}
	g.reloading.Lock()
	defer g.reloading.Unlock()
	keys, err := readKeys(g.cfg.KeyFile)
	if err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	changed, err := install(g.ring, keys)
	if err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	if changed {
		g.log.InfoContext(ctx, "gossip keys changed", "keys", len(keys))
	}
	return nil
}

// meet is the goroutine that looks for others to gossip with, until ctx ends.
func (g *Gossip) meet(ctx context.Context) {
	var told time.Time
	for {
		err := g.contact(ctx)
		wait := mendInterval
		if len(g.contacts()) <= 1 {
			wait = aloneInterval
			if err != nil && ctx.Err() == nil && time.Since(told) > mendInterval {
				told = time.Now()
				g.log.WarnContext(ctx, "nobody to gossip with is reached", "error", err)
			}
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// contact exchanges what is known with the seeds that do not gossip with this node yet.
func (g *Gossip) contact(ctx context.Context) error {
	if g.cfg.Seeds == nil {
		return nil
	}
	seeds, err := g.cfg.Seeds(ctx)
	faults := []error{err}
	var known []string
	for _, c := range g.contacts() {
		known = append(known, c.address)
	}
	for _, seed := range seeds {
		if ctx.Err() != nil {
			break
		}
		// Looked up here: memberlist asks DNS in a way of its own.
		ip, port, err := resolve(ctx, seed)
		address := netip.AddrPortFrom(ip, uint16(port)).String()
		if err == nil && !slices.Contains(known, address) {
			_, err = g.list.Join([]string{address})
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", seed, err))
		}
	}
	return errors.Join(faults...)
}

// Close tells the others that this node leaves, and stops. A second Close waits for the
// first.
func (g *Gossip) Close() error {
	g.closing.Do(func() {
		g.stop()
		left := g.list.Leave(leaveTimeout)
		g.err = g.list.Shutdown()
		g.running.Wait()
		if left != nil {
			g.log.Debug("gossip left without a farewell", "error", left) // they will miss it
		}
		g.metrics.unregister(g.cfg.Metrics)
	})
	return g.err
}

// A delegate is what memberlist asks and tells.
type delegate struct{ g *Gossip }

// NodeMeta is what this node tells of itself.
func (d delegate) NodeMeta(int) []byte { return d.g.meta }

// NotifyMsg, GetBroadcasts, LocalState and MergeRemoteState are for messages of which there
// are none.
func (delegate) NotifyMsg([]byte)                {}
func (delegate) GetBroadcasts(int, int) [][]byte { return nil }
func (delegate) LocalState(bool) []byte          { return nil }
func (delegate) MergeRemoteState([]byte, bool)   {}

// NotifyJoin, NotifyLeave and NotifyUpdate keep who is there. memberlist changes no node
// meanwhile.
func (d delegate) NotifyJoin(n *memberlist.Node)   { d.keep("node gossips", n) }
func (d delegate) NotifyUpdate(n *memberlist.Node) { d.keep("node gossips anew", n) }
func (d delegate) NotifyLeave(n *memberlist.Node) {
	d.g.mu.Lock()
	delete(d.g.known, n.Name)
	d.g.mu.Unlock()
	d.note("node gossips no more", n)
}

func (d delegate) keep(what string, n *memberlist.Node) {
	c := contact{address: n.Address()}
	// One that tells nothing that this release can read is still there.
	if err := json.Unmarshal(n.Meta, &c.Member); err != nil {
		c.Member = Member{}
	}
	c.ID = n.Name
	d.g.mu.Lock()
	d.g.known[n.Name] = c
	d.g.mu.Unlock()
	d.note(what, n)
}

// note logs that a node came or went.
func (d delegate) note(what string, n *memberlist.Node) {
	if n.Name != d.g.cfg.Self.ID {
		d.g.log.Info("gossip", "event", what, "node", n.Name, "address", n.Address())
	}
}

// NotifyConflict tells that two nodes have one id.
func (d delegate) NotifyConflict(existing, other *memberlist.Node) {
	d.g.log.Error("two nodes gossip under one id", "node", existing.Name, "address", existing.Address(), "other", other.Address(),
		"hint", "one of them has a copy of the other's data directory; stop it and empty the directory")
}
