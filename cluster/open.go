package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// Open starts a node. One that is alone serves when Open returns: it leads, its term is
// open and everything that was committed before can be read. One with Peers takes part,
// if it is a member, and WaitReady waits for the rest; only one that is to begin a cluster
// with others (Config.Expect) waits for them first. An error, or the end of ctx, leaves
// nothing running.
func Open(ctx context.Context, cfg Config) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	n := newNode(cfg)
	if err := n.start(ctx); err != nil {
		return nil, err
	}
	if n.cfg.Peers != nil {
		return n, nil
	}
	if err := n.WaitReady(ctx); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// newNode returns a node that is to be started.
func newNode(cfg Config) *Node {
	n := &Node{
		cfg:       cfg.withDefaults(),
		run:       rand.Text(),
		elections: make(chan bool, 16),
		changing:  make(chan struct{}, 1),
		failures:  make(chan struct{}),
		ended:     make(chan struct{}),
	}
	n.log = n.cfg.Log
	n.fresh.epoch = time.Now()
	return n
}

// start brings the node up, and leaves nothing open when it fails.
func (n *Node) start(ctx context.Context) error {
	s := &starting{Node: n, logs: n.cfg.Logs, stable: n.cfg.Stable}
	for _, step := range []func(context.Context) error{
		s.openStores, s.judge, s.begin, s.assemble, s.runRaft, s.deliver, s.verify,
	} {
		if err := step(ctx); err != nil {
			return errors.Join(err, s.undo())
		}
	}
	n.work(context.WithoutCancel(ctx))
	if n.checkAlone() == nil {
		n.hasten(ctx)
	}
	return nil
}

// starting is a node on its way up: what its start alone needs.
type starting struct {
	*Node
	logs    raft.LogStore    // as they lie on disk, without guard, cache and checksums
	stable  raft.StableStore // the same
	found   found
	restore bool // Raft must restore the newest snapshot
	config  *raft.Config
}

// openStores opens the log, unless it came with the Config.
func (s *starting) openStores(context.Context) error {
	if s.cfg.Dir != "" {
		if err := createDir(s.cfg.Dir); err != nil {
			return fmt.Errorf("create data directory: %w", err)
		}
	}
	if s.logs != nil {
		return nil
	}
	store, err := openLog(s.cfg.Dir, s.cfg.NoSync)
	if err != nil {
		return err
	}
	s.logs, s.stable, s.logFile = store, store, store
	return nil
}

// judge looks at what is there, and refuses what contradicts itself.
func (s *starting) judge(context.Context) (err error) {
	if s.found, err = look(s.logs, s.stable, s.cfg.Snapshots, s.cfg.DurableIndex()); err != nil {
		return err
	}
	if s.id = s.cfg.NodeID; s.id == "" {
		if s.id, err = identify(s.cfg.Dir, s.stable, s.found); err != nil {
			return err
		}
	}
	if s.found.fresh() || s.cfg.Peers != nil && s.found.blank() {
		return nil
	}
	if s.restore, err = s.found.restore(); err != nil {
		return err
	}
	return s.found.verifyLog(s.logs)
}

// begin gives a node without history its first configuration, if it is to have one.
func (s *starting) begin(ctx context.Context) error {
	if s.transport = s.cfg.Transport; s.transport == nil {
		s.transport = inProcess(s.id)
	}
	s.config = s.cfg.raft(s.id, s.restore)
	s.config.Logger, s.config.NotifyCh = RaftLog(s.log), s.elections
	// Longer by next to nothing, so that hasten can shorten them.
	s.config.HeartbeatTimeout++
	s.config.ElectionTimeout++
	if !s.found.fresh() {
		return nil
	}
	voters, err := s.firstVoters(ctx, s.stable, s.transport.LocalAddr())
	if err != nil {
		return err
	}
	if len(voters) == 0 {
		s.log.InfoContext(ctx, "waiting to be joined", "node", s.id, "address", s.transport.LocalAddr())
		return nil
	}
	if err := bootstrap(s.config, s.logs, s.stable, s.cfg.Snapshots, s.transport, voters); err != nil {
		return err
	}
	s.log.InfoContext(ctx, "cluster created", "node", s.id, "voters", len(voters))
	return nil
}

// assemble puts together what stands around Raft:
//
//	Raft ─▶ checked ─▶ cache ─▶ guarded ─▶ log
//	Raft ─▶ machine ─▶ state machine
//	Raft ◀─▶ inbox ◀─▶ outbox ◀─▶ transport
func (s *starting) assemble(context.Context) error {
	n := s.Node
	n.metrics = newMetrics(n.cfg.Metrics, n)
	n.logs = &guarded{logs: s.logs, stable: s.stable, fail: n.fail, metrics: n.metrics, keep: n.keep}
	n.logs.sizes.sample(s.logs, s.found.first, s.found.last)
	n.machine = &machine{
		BatchingFSM: n.cfg.FSM, fail: n.fail, metrics: n.metrics, fresh: &n.fresh,
		members: n.votes, known: s.found.last, before: n.trail, holds: n.cfg.DurableIndex,
	}
	n.machine.durable.Store(s.found.durable)
	if n.cfg.Peers != nil {
		n.outbox = &outbox{
			Transport: n.transport, metrics: n.metrics,
			fetches: &fetches{last: func() uint64 { return n.raft.LastIndex() }},
		}
		n.inbox = newInbox(n.outbox)
		n.inbox.node, n.inbox.id, n.inbox.log = n, n.id, n.log
		n.transport = n.inbox
	}
	return nil
}

// runRaft starts Raft.
func (s *starting) runRaft(context.Context) error {
	cache, err := raft.NewLogCache(logCache, s.Node.logs)
	if err != nil {
		return err
	}
	s.raft, err = raft.NewRaft(s.config, s.machine, &checked{LogStore: cache, fail: s.fail}, s.Node.logs, s.cfg.Snapshots, s.transport)
	if err != nil {
		return errors.Join(fmt.Errorf("start raft: %w", err), s.machine.refused)
	}
	s.machine.started.Store(true)
	return nil
}

// deliver begins to bring messages to Raft.
func (s *starting) deliver(context.Context) error {
	if s.inbox != nil {
		n, durable := s.Node, s.found.durable
		n.delivering.Go(func() {
			n.inbox.run(func() uint64 { return max(n.raft.CommitIndex(), n.raft.AppliedIndex(), durable) },
				func() bool { return len(n.servers()) > 0 })
		})
	}
	return nil
}

// verify compares what Raft has come up with, with what must be.
func (s *starting) verify(context.Context) error {
	s.votes(s.raft.GetConfiguration().Configuration())
	if s.cfg.Peers == nil {
		if err := s.checkAlone(); err != nil {
			return err
		}
	}
	if durable := s.cfg.DurableIndex(); s.restore && durable < s.found.snapshot {
		return fmt.Errorf("the restored state machine is at %d, its snapshot at %d", durable, s.found.snapshot)
	}
	return nil
}

// undo ends what a start that failed has begun.
func (s *starting) undo() (err error) {
	if s.raft != nil {
		err = s.halt()
	} else if s.transport != nil {
		err = s.transport.Close()
	}
	if s.cfg.Peers != nil {
		s.cfg.Peers.Handle(nil) // form has others answered
	}
	if s.Node.logs != nil {
		s.Node.logs.close()
	}
	if s.logFile != nil {
		err = errors.Join(err, s.logFile.Close())
	}
	return err
}

// work starts what the node does by itself until it is closed.
func (n *Node) work(ctx context.Context) {
	run, cancel := context.WithCancel(ctx)
	n.cancel = cancel
	n.whileRunning = func(ctx context.Context) (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancel(ctx)
		stop := context.AfterFunc(run, cancel)
		return ctx, func() { stop(); cancel() }
	}
	watch, unwatch := context.WithCancel(ctx)
	n.unwatch = unwatch
	n.proposer = newProposer(&n.cfg, &n.counters,
		func(entry []byte) raft.ApplyFuture { return n.raft.Apply(entry, 0) },
		func() bool { return n.tenure.serving() != 0 })
	n.proposer.metrics, n.proposer.stamp = n.metrics, n.stamp
	n.watching.Go(func() { n.watchWrites(watch) })
	n.leader.Go(func() { n.lead(run) })
	n.leader.Go(func() { n.oversee(run) })
	n.running.Store(true)
	if n.cfg.Peers == nil {
		return
	}
	n.cfg.Peers.Handle(n.serve)
	n.leader.Go(func() { n.hint(run) })
	n.leader.Go(func() { n.join(run) })
}

// hasten has a node that is alone hold its first election at once. Raft waits a heartbeat's
// time for a leader before it does, but such a node has nobody to wait for, and shortening
// the timeout of a running follower, be it by a nanosecond, makes it look.
func (n *Node) hasten(ctx context.Context) {
	err := n.reload(func(rc *raft.ReloadableConfig) {
		rc.HeartbeatTimeout, rc.ElectionTimeout = n.cfg.HeartbeatTimeout, n.cfg.ElectionTimeout
	})
	if err != nil {
		// Only slower: the election comes when the heartbeat's time is over.
		n.log.WarnContext(ctx, "first election not hastened", "error", err)
	}
}

// checkAlone says why this node is not the only member, nil if it is.
func (n *Node) checkAlone() error { return checkAlone(n.raft.GetConfiguration().Configuration(), n.id) }

// logCache is how many of the newest entries stay in memory for followers: eight
// messages' worth. At the usual cap of 256 KiB an entry that is at most 32 MiB.
const logCache = 8 * maxAppendEntries
