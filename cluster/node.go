package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	autopilot "github.com/hashicorp/raft-autopilot"
)

// A Node is one running member of a cluster. Its methods may be called from any
// goroutine.
type Node struct {
	cfg       Config
	id        string
	run       string // a name for this run of the node, which no other has
	log       *slog.Logger
	raft      *raft.Raft
	transport Transport
	logs      *guarded
	logFile   io.Closer // nil when the caller brought the log; a rewriting changes it
	machine   *machine
	inbox     *inbox // nil for a node that is alone
	proposer  *proposer
	tenure    tenure
	counters  counters
	metrics   *metrics
	running   atomic.Bool // Raft and the proposer are there

	outbox     *outbox // nil for a node that is alone
	fresh      freshness
	stalled    atomic.Int64   // for how many nanoseconds a write of the log has hung
	truncating atomic.Bool    // a rewriting takes its snapshot
	reloading  sync.Mutex     // held to change Raft's configuration
	unwatch    func()         // ends watchWrites
	watching   sync.WaitGroup // watchWrites

	// elections tells lead what Raft decided. Raft waits for room in it, so it
	// holds more than can happen while lead waits for one entry.
	elections chan bool

	rewriting sync.Mutex    // held by the Rewrite under way
	changing  chan struct{} // holds one token while a change of members is under way

	confirmations rounds      // of this node as the leader
	questions     rounds      // to another node that leads
	draining      atomic.Bool // leadership is being handed over

	lookout lookout                    // of this node as the leader
	helm    cell[*autopilot.Autopilot] // that of the tenure, nil for none; of oversee
	yielded time.Time                  // when it last handed over because it could not write; of oversee
	vote    franchise

	// whileRunning gives a context that also ends when Close has answered all proposals.
	// Raft's goroutines and those of other nodes' requests come in without it.
	whileRunning func(context.Context) (context.Context, context.CancelFunc)

	cause    atomic.Pointer[error] // why the node failed
	failures chan struct{}         // closed then

	mu         sync.Mutex
	closed     bool           // guarded by mu
	calls      sync.WaitGroup // calls into Raft that Close waits for; Add under mu while not closed
	cancel     context.CancelFunc
	leader     sync.WaitGroup // lead, and what else a leader does by itself
	delivering sync.WaitGroup // inbox.run
	ended      chan struct{}  // closed when Close is through
	err        error          // of Close, set before ended is closed
}

// ID returns the node's id.
func (n *Node) ID() string { return n.id }

// Leader returns the id of the node that leads as far as this one knows, or ""
// when it knows of none. It is a hint.
func (n *Node) Leader() string {
	_, id := n.raft.LeaderWithID()
	return string(id)
}

// Counters returns how often things happened since Open.
func (n *Node) Counters() Counters { return n.counters.read() }

// WaitReady waits until the node serves: it leads, or it sees everything that was
// acknowledged before this call. It returns ErrShuttingDown when it never will.
func (n *Node) WaitReady(ctx context.Context) error {
	told := time.Now()
	for {
		term, changed := n.tenure.watch()
		if err := n.refusal(); err != nil {
			return err
		}
		if term != 0 {
			return nil
		}
		var again <-chan time.Time
		if n.cfg.Peers != nil {
			_, err := n.ReadIndex(ctx)
			if err == nil {
				return nil
			}
			if time.Since(told) >= readyTold && ctx.Err() == nil {
				n.log.WarnContext(ctx, "waiting for a leader that this node reaches", "node", n.id, "address", n.transport.LocalAddr(), "error", err)
				told = time.Now()
			}
			again = time.After(readyInterval)
		}
		select {
		case <-changed:
		case <-again:
		case <-n.failures:
		case <-n.ended:
		case <-ctx.Done():
			return fmt.Errorf("wait for node to serve: %w", ctx.Err())
		}
	}
}

// readyInterval is how often a node that does not lead asks whether it is up to date:
// often beside the second or two that an election takes.
const readyInterval = 50 * time.Millisecond

// readyTold is how often such a node says why it is not: after any election.
const readyTold = 10 * time.Second

// Propose commits command and returns the state machine's answer to it. When it
// returns an answer, the command is in the log of a quorum, synced, and applied
// on the leader: here, or on the node that this one has asked, and then it is applied
// here a little later. An error that wraps ErrUnknownOutcome leaves both open; any other
// error means that the command did not happen. The command must not be changed, even
// after Propose has returned.
func (n *Node) Propose(ctx context.Context, command []byte) (answer []byte, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if n.tenure.serving() != 0 || n.cfg.Peers == nil {
		return n.proposeHere(ctx, command)
	}
	if err := n.fits(command); err != nil {
		return nil, err
	}
	n.counters.forwarded.Add(1)
	answer, err = n.askLeader(ctx, askPropose, command)
	if err = changes(ctx, err); errors.Is(err, ErrUnknownOutcome) {
		n.counters.unknown.Add(1)
	}
	return answer, err
}

// proposeHere proposes on the leader.
func (n *Node) proposeHere(ctx context.Context, command []byte) (answer []byte, err error) {
	if err := n.fits(command); err != nil {
		return nil, err
	}
	if n.tenure.serving() == 0 {
		return nil, n.idle()
	}
	if err := n.hangs(); err != nil {
		return nil, err
	}
	answer, err = n.proposer.propose(ctx, command)
	if errors.Is(err, ErrUnknownOutcome) {
		n.counters.unknown.Add(1)
	}
	return answer, err
}

func (n *Node) fits(command []byte) error {
	if len(command) > n.cfg.MaxCommandBytes {
		return fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, len(command), n.cfg.MaxCommandBytes)
	}
	return nil
}

// ReadIndex returns an index such that a reader who sees it sees every write
// that was acknowledged before the call, on any node, and waits until readers
// here do. Callers who come at about the same time share its cost.
func (n *Node) ReadIndex(ctx context.Context) (uint64, error) {
	var at position
	var err error
	switch {
	case n.cfg.Peers == nil:
		at, err = n.confirm(ctx)
	case n.tenure.serving() != 0:
		at, err = n.confirmations.join(ctx, n, n.confirm)
	default:
		at, err = n.questions.join(ctx, n, n.askPosition)
		err = changesNothing(ctx, err)
	}
	if err != nil {
		return 0, err
	}
	if err := n.cfg.Published(ctx, at.index); err != nil {
		return 0, fmt.Errorf("wait for revision %d: %w", at.index, err)
	}
	return at.index, nil
}

// Forward brings request to the leader's Config.Handler and returns its answer. Of the
// handler's own errors another node gets the text; what more it has to tell belongs into
// the answer. The errors that a Node has mean what they mean for Propose.
func (n *Node) Forward(ctx context.Context, request []byte) ([]byte, error) {
	if n.tenure.serving() != 0 || n.cfg.Peers == nil {
		return n.handleHere(ctx, request)
	}
	answer, err := n.askLeader(ctx, askForward, request)
	return answer, changes(ctx, err)
}

// handleHere has the leader's handler answer.
func (n *Node) handleHere(ctx context.Context, request []byte) ([]byte, error) {
	if n.cfg.Handler == nil {
		return nil, errors.New("this node handles no forwarded requests")
	}
	if n.tenure.serving() == 0 {
		return nil, n.idle()
	}
	return n.cfg.Handler(ctx, request)
}

// Snapshot takes a snapshot of the state machine now and truncates the log
// behind it. When ctx ends first, the snapshot goes on by itself.
func (n *Node) Snapshot(ctx context.Context) error {
	if err := n.enter(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		defer n.calls.Done()
		done <- n.raft.Snapshot().Error()
	}()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("snapshot: %w", err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("snapshot: %w", ctx.Err())
	}
}

// enter counts a call into Raft that Close must wait for.
func (n *Node) enter() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return ErrShuttingDown
	}
	n.calls.Add(1)
	return nil
}

// idle returns why the node does not serve.
func (n *Node) idle() error {
	if err := n.refusal(); err != nil {
		return err
	}
	return ErrNoLeader
}

// refusal returns why the node will never serve again, nil if it may.
func (n *Node) refusal() error {
	if cause := n.failed(); cause != nil {
		return fmt.Errorf("%w: it has failed: %w", ErrShuttingDown, cause)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return ErrShuttingDown
	}
	return nil
}

func (n *Node) failed() error {
	if cause := n.cause.Load(); cause != nil {
		return *cause
	}
	return nil
}

// fail ends the node's service for good. It is called from Raft's goroutines,
// where the entry that failed is still unanswered: if Fatal ends the process,
// nobody is told that it succeeded, and if it returns, the guarded log lets no
// later entry be committed.
func (n *Node) fail(err error) {
	if !n.cause.CompareAndSwap(nil, &err) {
		return
	}
	close(n.failures)
	n.tenure.set(0)
	n.cfg.Fatal(err)
}

// halt stops Raft and what brings messages to it.
func (n *Node) halt() error {
	err := n.raft.Shutdown().Error()
	if n.unwatch != nil {
		n.unwatch() // not before: a write that hangs keeps Raft from stopping
		n.watching.Wait()
	}
	if n.inbox != nil {
		close(n.inbox.stop)
		n.delivering.Wait()
	}
	return err
}

// Close stops the node: it refuses new commands and those that wait, lets the
// entries in the log be applied and answered, stops Raft and closes the log. The
// caller closes the state machine afterwards. A second Close waits for the first.
func (n *Node) Close() error {
	n.mu.Lock()
	first := !n.closed
	n.closed = true
	n.mu.Unlock()
	if !first {
		<-n.ended
		return n.err
	}
	n.proposer.close()
	n.cancel()
	n.leader.Wait()
	n.tenure.set(0)
	// Raft may leave a change of members without an answer when it stops, so those under
	// way end first, and none begins any more.
	n.changing <- struct{}{}
	n.err = n.halt()
	<-n.changing
	if n.cfg.Peers != nil {
		n.cfg.Peers.Handle(nil)
	}
	n.calls.Wait()
	n.logs.close()
	if n.logFile != nil {
		n.err = errors.Join(n.err, n.logFile.Close())
	}
	close(n.ended)
	return n.err
}
