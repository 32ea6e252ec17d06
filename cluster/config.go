package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
)

// Config says what a Node runs on and how. The functions are the whole of what
// the cluster knows about the state machine: it carries bytes, they give meaning.
type Config struct {
	// Dir holds the node's id and, unless Logs and Stable are given, its log. It
	// is created when missing and belongs to one process at a time. It is needed
	// unless NodeID, Logs and Stable are all given.
	Dir string

	// NodeID names the node. Default: generated on the first start and kept in
	// Dir. A voter that lost its log must never come back under its old name, so
	// only tests, whose names live and die with their logs, should set it.
	NodeID string

	// FSM is the state machine, and Snapshots holds its snapshots. An FSM that
	// takes batches also sees configuration entries, so its published index can
	// reach the commit index. Its readers see a batch when ApplyBatch returns. Both are
	// required.
	FSM       raft.BatchingFSM
	Snapshots raft.SnapshotStore

	// Seal makes one log entry of commands, stamped with the leader's time, and
	// SplitAnswers takes the FSM's result for an entry apart, one answer for each
	// command and in their order. Both are required.
	Seal         func(commands [][]byte, now time.Time) []byte
	SplitAnswers func(result []byte) ([][]byte, error)

	// TermStart makes the entry that opens a leader's term. Its result is not
	// looked at. Required.
	TermStart func(term uint64) []byte

	// DurableIndex returns the index of the last entry that the FSM holds on
	// disk, 0 for none. It is asked before Raft starts, and after a snapshot was restored.
	// Required.
	DurableIndex func() uint64

	// Published waits until readers of the FSM see at least index. Required.
	Published func(ctx context.Context, index uint64) error

	// Handler serves requests that Forward brings to the leader. Default: none,
	// and Forward is an error.
	Handler func(ctx context.Context, request []byte) ([]byte, error)

	// Log receives the node's and Raft's messages. Default: discarded.
	Log *slog.Logger

	// Metrics receives the node's metrics. Default: none are kept.
	Metrics prometheus.Registerer

	// Clock tells the time that Seal stamps. Default: time.Now.
	Clock func() time.Time

	// Fatal is called once, when the node can no longer write its log or restore
	// its state. It should end the process; when it returns, the node has
	// stopped serving for good. Default: panic.
	Fatal func(error)

	// Logs and Stable replace the log kept in Dir; give both or neither. The
	// caller closes them after Close.
	Logs   raft.LogStore
	Stable raft.StableStore

	// Transport carries Raft's messages between nodes, and Peers what else they ask each
	// other. Give both or neither. Default: the node is alone, in process, and its id is
	// its address. The node closes the transport.
	Transport Transport
	Peers     Peers

	// Bootstrap names the first voters of a cluster that is to begin, this node among
	// them and the same on each of them. It is for a node without history; on any other
	// it has no effect. Default: with Peers the node waits to be joined, and alone it is
	// a cluster of one.
	Bootstrap []Peer

	// Find returns the addresses of other nodes, as far as they are known now: those to
	// begin a cluster with, or to be joined to one through. It is asked again and again
	// until this node is a member. Default: nobody is looked for.
	Find func(ctx context.Context) ([]string, error)

	// Expect is how many voters begin a cluster. A node without history waits until it and
	// the nodes that Find finds, all without history too, are that many and agree on who
	// they are; if one of them is a member already it is joined instead. So Open may wait
	// until its ctx ends, and says in Log for whom. With 1 it begins alone, and others can
	// be joined. Default: none, and a node without history waits to be joined, with Find
	// also asking for it.
	Expect int

	// Replica says that this node is never given a vote. Default: it may be.
	Replica bool

	// About says what others may know of this node. Default: nothing.
	About func() About

	// ClusterVersion returns the cluster version that is replicated: what every member must
	// be able to follow. The leader adds no node whose About.Supports is less. Default: a
	// node is added whatever it supports.
	ClusterVersion func() uint64

	// Autopilot says what the leader does by itself about members, and is asked every
	// time. Default: what the zero AutopilotConfig says.
	Autopilot func() AutopilotConfig

	// Writable returns why this node should not write at present, nil if it can. While it
	// returns an error this node as the leader hands over if it can, and commits nothing.
	// It must not wait. Default: always.
	Writable func() error

	// MaxClockAhead is how far the clock of a leader may be ahead of a quorum's. One that
	// is further ahead commits nothing: times that it stamped could not be taken back.
	// Default: 5 s.
	MaxClockAhead time.Duration

	// StallTransfer and StallFatal are how long a write of the log may take before a
	// leader hands over, and before the node ends. Defaults: 5 s and 10 s.
	StallTransfer time.Duration
	StallFatal    time.Duration

	// TrailingBytes bounds what TrailingLogs keeps, roughly. Default: 1 GiB.
	TrailingBytes int64

	// MaxCommandBytes bounds one command. Default: 4 MiB.
	MaxCommandBytes int

	// MaxEntryBytes and MaxEntryCommands bound what is sealed into one entry. A
	// larger single command goes alone. Defaults: 256 KiB and 256.
	MaxEntryBytes    int
	MaxEntryCommands int

	// MaxOutstanding bounds the entries handed to Raft and not answered yet, so
	// that a batch can form while the log is busy. Default: 4.
	MaxOutstanding int

	// Linger is how long a batch that is not full may wait for company while the
	// log is busy. It never delays a command that finds the log idle. Default: 1 ms.
	Linger time.Duration

	// QueueCommands and QueueBytes bound the commands that wait in front of the
	// proposer; beyond them Propose returns ErrOverloaded. Defaults: 8192 and
	// 64 MiB.
	QueueCommands int
	QueueBytes    int

	// SnapshotThreshold is how many entries after the last snapshot the next one
	// is taken, looked at every SnapshotInterval to twice that. Defaults: 65,536
	// and 2 minutes.
	SnapshotThreshold uint64
	SnapshotInterval  time.Duration

	// TrailingLogs is how many entries stay in the log when a snapshot makes them
	// superfluous, so that a follower which lags a little needs no snapshot.
	// Default: 200,000.
	TrailingLogs uint64

	// KeepLog keeps every entry for ever, so that the state can be rebuilt by a
	// replay from the first one. Default: off.
	KeepLog bool

	// HeartbeatTimeout and ElectionTimeout are how long a follower and a
	// candidate wait before they act. Default: 1 s each.
	HeartbeatTimeout time.Duration
	ElectionTimeout  time.Duration

	// LeaderLeaseTimeout is how long a leader stays one without hearing from a
	// quorum, at most half of HeartbeatTimeout: the gap is what keeps a leader
	// that was cut off from outliving the next one's election. Default: 500 ms.
	LeaderLeaseTimeout time.Duration

	// CommitTimeout is how long a follower may wait, at times twice that, to hear of a
	// commit when no entry follows it and no hint arrives. Default: 50 ms.
	CommitTimeout time.Duration

	// NoSync leaves the log in Dir unsynced. UNSAFE: acknowledged writes
	// are lost when the machine loses power. It exists for the control run of
	// the power-loss test, which must fail with it.
	NoSync bool

	// rewriteStep is called between the steps that exchange the log's file, for tests.
	rewriteStep func(step string)

	// noHints and noHold are for control runs of tests: without hints of commits, and
	// without holding the log for a member that gets a snapshot.
	noHints, noHold bool
}

// Validate reports every fault of c.
func (c *Config) Validate() error {
	var faults []error
	required := func(given bool, name string) {
		if !given {
			faults = append(faults, fmt.Errorf("cluster config: %s is required", name))
		}
	}
	required(c.FSM != nil, "FSM")
	required(c.Snapshots != nil, "Snapshots")
	required(c.Seal != nil, "Seal")
	required(c.SplitAnswers != nil, "SplitAnswers")
	required(c.TermStart != nil, "TermStart")
	required(c.DurableIndex != nil, "DurableIndex")
	required(c.Published != nil, "Published")

	if (c.Logs == nil) != (c.Stable == nil) {
		faults = append(faults, errors.New("cluster config: Logs and Stable are given together or not at all"))
	}
	required(c.Dir != "" || (c.NodeID != "" && c.Logs != nil), "Dir")
	if c.NoSync && c.Logs != nil {
		faults = append(faults, errors.New("cluster config: NoSync is for the log in Dir, not for Logs"))
	}

	if (c.Transport == nil) != (c.Peers == nil) {
		faults = append(faults, errors.New("cluster config: Transport and Peers are given together or not at all"))
	}
	if len(c.Bootstrap) > 0 && c.Peers == nil {
		faults = append(faults, errors.New("cluster config: Bootstrap is for a node with Peers"))
	}
	for i, p := range c.Bootstrap {
		if p.ID == "" || p.Address == "" || len(p.ID) > maxIDLen {
			faults = append(faults, fmt.Errorf("cluster config: Bootstrap names node %q at %q, want an id of at most %d bytes and an address",
				p.ID, p.Address, maxIDLen))
		}
		for _, q := range c.Bootstrap[:i] {
			if p.ID == q.ID || p.Address == q.Address {
				faults = append(faults, fmt.Errorf("cluster config: Bootstrap names %v and %v, want ids and addresses that differ", q, p))
			}
		}
	}

	if c.Peers == nil && (c.Find != nil || c.Expect > 1) {
		faults = append(faults, errors.New("cluster config: Find and Expect are for a node with Peers"))
	}
	if c.Expect < 0 {
		faults = append(faults, fmt.Errorf("cluster config: Expect is %d, want how many voters begin a cluster", c.Expect))
	}

	d := c.withDefaults()
	for _, limit := range []struct {
		name  string
		value int64
	}{
		{"MaxCommandBytes", int64(d.MaxCommandBytes)},
		{"MaxEntryBytes", int64(d.MaxEntryBytes)},
		{"MaxEntryCommands", int64(d.MaxEntryCommands)},
		{"MaxOutstanding", int64(d.MaxOutstanding)},
		{"Linger", int64(d.Linger)},
		{"QueueCommands", int64(d.QueueCommands)},
		{"QueueBytes", int64(d.QueueBytes)},
		{"StallTransfer", int64(d.StallTransfer)},
		{"StallFatal", int64(d.StallFatal)},
		{"TrailingBytes", d.TrailingBytes},
	} {
		if limit.value < 0 {
			faults = append(faults, fmt.Errorf("cluster config: %s is %d, want a positive value", limit.name, limit.value))
		}
	}
	if d.MaxOutstanding > maxAppendEntries {
		faults = append(faults, fmt.Errorf("cluster config: MaxOutstanding is %d, want at most %d", d.MaxOutstanding, maxAppendEntries))
	}
	if d.QueueBytes < d.MaxCommandBytes {
		faults = append(faults, fmt.Errorf("cluster config: QueueBytes (%d) is less than one command of MaxCommandBytes (%d)",
			d.QueueBytes, d.MaxCommandBytes))
	}
	if d.LeaderLeaseTimeout > d.HeartbeatTimeout/2 {
		faults = append(faults, fmt.Errorf("cluster config: LeaderLeaseTimeout is %s, want at most half of HeartbeatTimeout (%s)",
			d.LeaderLeaseTimeout, d.HeartbeatTimeout))
	}
	// Raft judges the rest: the order of its timeouts and their lower bounds.
	if err := raft.ValidateConfig(d.raft("name", false)); err != nil {
		faults = append(faults, fmt.Errorf("cluster config: %w", err))
	}
	return errors.Join(faults...)
}

// maxAppendEntries is how many entries go into one write of the log and one
// message to a follower: with entries of 256 KiB, 4 MiB.
const maxAppendEntries = 16

// maxIDLen is the longest id that a request between nodes can name.
const maxIDLen = 255

// withDefaults returns c with its zero fields set.
func (c Config) withDefaults() Config {
	setDefault(&c.Log, slog.New(slog.DiscardHandler))
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Fatal == nil {
		c.Fatal = func(err error) { panic(err) }
	}
	setDefault(&c.MaxCommandBytes, 4<<20)
	setDefault(&c.MaxEntryBytes, 256<<10)
	setDefault(&c.MaxEntryCommands, 256)
	setDefault(&c.MaxOutstanding, 4)
	setDefault(&c.Linger, time.Millisecond)
	setDefault(&c.QueueCommands, 8192)
	setDefault(&c.QueueBytes, 64<<20)
	setDefault(&c.SnapshotThreshold, 65_536)
	setDefault(&c.SnapshotInterval, 2*time.Minute)
	setDefault(&c.TrailingLogs, 200_000)
	setDefault(&c.TrailingBytes, 1<<30)
	setDefault(&c.MaxClockAhead, 5*time.Second)
	setDefault(&c.StallTransfer, 5*time.Second)
	setDefault(&c.StallFatal, 10*time.Second)
	if c.KeepLog {
		c.TrailingLogs = math.MaxUint64
	}
	setDefault(&c.HeartbeatTimeout, time.Second)
	setDefault(&c.ElectionTimeout, time.Second)
	setDefault(&c.LeaderLeaseTimeout, 500*time.Millisecond)
	setDefault(&c.CommitTimeout, 50*time.Millisecond)
	return c
}

// raft returns Raft's own configuration for a node named id.
func (c *Config) raft(id string, restore bool) *raft.Config {
	rc := raft.DefaultConfig()
	rc.LocalID = raft.ServerID(id)
	rc.HeartbeatTimeout = c.HeartbeatTimeout
	rc.ElectionTimeout = c.ElectionTimeout
	rc.LeaderLeaseTimeout = c.LeaderLeaseTimeout
	rc.CommitTimeout = c.CommitTimeout
	rc.MaxAppendEntries = maxAppendEntries
	rc.BatchApplyCh = true // Propose treats every timeout as unknown, so a late start is no surprise
	rc.SnapshotThreshold = c.SnapshotThreshold
	rc.SnapshotInterval = c.SnapshotInterval
	rc.TrailingLogs = c.TrailingLogs
	rc.NoSnapshotRestoreOnStart = !restore
	rc.ShutdownOnRemove = false // only Close stops Raft, so that every entry handed over is answered
	rc.NoLegacyTelemetry = true
	return rc
}

// setDefault gives a zero field its default.
func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
