package clustertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Network connects nodes in memory, and can be as bad as a real one: messages take time,
// overtake each other, arrive twice or not at all, in one direction or both. What it
// decides by chance comes from its seed.
type Network struct {
	mu    sync.Mutex
	rng   *rand.Rand                        // guarded by mu
	ports map[raft.ServerAddress]*Endpoint  // guarded by mu; who is there now
	links map[[2]raft.ServerAddress]Quality // guarded by mu; from, to
	usual Quality                           // guarded by mu
}

// Quality is what a message meets on its way from one node to another.
type Quality struct {
	Cut       bool          // nothing arrives
	Delay     time.Duration // what every message takes
	Jitter    time.Duration // what it takes beside that, at most
	Duplicate int           // how many of a hundred of Raft's messages arrive twice
}

// answerTimeout is how long a node waits for an answer. It is shorter than an election.
const answerTimeout = 500 * time.Millisecond

// NewNetwork returns a network without nodes on which every message takes usual.
func NewNetwork(seed uint64, usual Quality) *Network {
	return &Network{
		rng: rand.New(rand.NewPCG(seed, 2)), usual: usual,
		ports: map[raft.ServerAddress]*Endpoint{}, links: map[[2]raft.ServerAddress]Quality{},
	}
}

// Set changes the link from one node to another, in this direction only.
func (n *Network) Set(from, to raft.ServerAddress, q Quality) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links[[2]raft.ServerAddress{from, to}] = q
}

// Heal gives every link what is usual again.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.links)
}

// Join returns the place of a node in the network. Who was at this address before is cut
// off for good.
func (n *Network) Join(address raft.ServerAddress) *Endpoint {
	e := &Endpoint{network: n, address: address, consumer: make(chan raft.RPC), gone: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	if old := n.ports[address]; old != nil {
		old.leave()
	}
	n.ports[address] = e
	return e
}

// meet decides what a message meets, and who is at its end: nobody if it is lost. It is
// refused if there is a way, but nobody at its end.
func (n *Network) meet(from *Endpoint, to raft.ServerAddress) (delay time.Duration, twice, refused bool, at *Endpoint) {
	n.mu.Lock()
	defer n.mu.Unlock()
	q, ok := n.links[[2]raft.ServerAddress{from.address, to}]
	if !ok {
		q = n.usual
	}
	delay = q.Delay
	if q.Jitter > 0 {
		delay += time.Duration(n.rng.Int64N(int64(q.Jitter)))
	}
	at = n.ports[to]
	if q.Cut || n.ports[from.address] != from {
		return delay, false, false, nil
	}
	return delay, n.rng.IntN(100) < q.Duplicate, at == nil, at
}

// Endpoint is the place of one node. It is a cluster.Transport and cluster.Peers.
type Endpoint struct {
	network  *Network
	address  raft.ServerAddress
	consumer chan raft.RPC
	once     sync.Once
	gone     chan struct{} // closed by leave

	mu        sync.Mutex
	heartbeat func(raft.RPC) // guarded by mu
	serve     func(ctx context.Context, kind byte, request []byte) []byte
}

// leave ends all that the node sends and gets.
func (e *Endpoint) leave() { e.once.Do(func() { close(e.gone) }) }

// Leave cuts the node off for good: nothing that it sends or answers from now on arrives.
func (e *Endpoint) Leave() {
	e.network.mu.Lock()
	defer e.network.mu.Unlock()
	if e.network.ports[e.address] == e {
		delete(e.network.ports, e.address)
	}
	e.leave()
}

// Close implements cluster.Transport.
func (e *Endpoint) Close() error { e.Leave(); return nil }

// Consumer implements raft.Transport.
func (e *Endpoint) Consumer() <-chan raft.RPC { return e.consumer }

// LocalAddr implements raft.Transport.
func (e *Endpoint) LocalAddr() raft.ServerAddress { return e.address }

// EncodePeer implements raft.Transport.
func (e *Endpoint) EncodePeer(_ raft.ServerID, a raft.ServerAddress) []byte { return []byte(a) }

// DecodePeer implements raft.Transport.
func (e *Endpoint) DecodePeer(b []byte) raft.ServerAddress { return raft.ServerAddress(b) }

// SetHeartbeatHandler implements raft.Transport.
func (e *Endpoint) SetHeartbeatHandler(handle func(raft.RPC)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.heartbeat = handle
}

// Handle implements cluster.Peers.
func (e *Endpoint) Handle(serve func(ctx context.Context, kind byte, request []byte) []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.serve = serve
}

// errTimeout is what becomes of a message that is lost, or whose answer is.
var errTimeout = errors.New("no answer in time")

// An unsentError is about a request that did not arrive, for certain.
type unsentError struct{ to raft.ServerAddress }

func (e unsentError) Error() string { return fmt.Sprintf("nobody listens at %s", e.to) }

// Unsent says so.
func (unsentError) Unsent() bool { return true }

// wait lets a message travel. It returns false if ctx ends or e leaves on the way.
func (e *Endpoint) wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	case <-e.gone:
		return false
	}
}

// lost is what a caller sees of a message that is lost.
func (e *Endpoint) lost(ctx context.Context) error {
	e.wait(ctx, answerTimeout)
	if err := ctx.Err(); err != nil {
		return err
	}
	return errTimeout
}

// Call implements cluster.Peers. A request does not arrive twice.
func (e *Endpoint) Call(ctx context.Context, to raft.ServerAddress, kind byte, request []byte) ([]byte, error) {
	delay, _, refused, at := e.network.meet(e, to)
	if refused {
		return nil, unsentError{to}
	}
	if at == nil {
		return nil, e.lost(ctx)
	}
	if !e.wait(ctx, delay) {
		return nil, errors.Join(errTimeout, ctx.Err())
	}
	at.mu.Lock()
	serve := at.serve
	at.mu.Unlock()
	if serve == nil {
		return nil, unsentError{to}
	}
	answered, lost := make(chan []byte, 1), make(chan struct{})
	go func() {
		answer := serve(ctx, kind, append([]byte(nil), request...))
		// What the answer meets is decided when it is sent.
		delay, _, _, back := e.network.meet(at, e.address)
		if back == e && at.wait(ctx, delay) {
			answered <- answer
			return
		}
		close(lost)
	}()
	select {
	case answer := <-answered:
		return answer, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-lost:
		return nil, e.lost(ctx)
	case <-at.gone:
		return nil, e.lost(ctx)
	case <-e.gone:
		return nil, errTimeout
	}
}

// send carries one of Raft's messages and its answer.
func (e *Endpoint) send(to raft.ServerAddress, timeout time.Duration, command any, data []byte) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	delay, twice, _, at := e.network.meet(e, to)
	if at == nil {
		return nil, e.lost(ctx)
	}
	// A snapshot comes over a connection of its own, so it cannot come twice.
	if twice && data == nil {
		late, _, _, _ := e.network.meet(e, to)
		go func() {
			if e.wait(context.Background(), delay+late) {
				at.take(context.Background(), command, data, timeout) //nolint:errcheck // nobody waits for this answer
			}
		}()
	}
	if !e.wait(ctx, delay) {
		return nil, errTimeout
	}
	answer, err := at.take(ctx, command, data, timeout)
	back, _, _, home := e.network.meet(at, e.address)
	if home != e {
		return nil, e.lost(ctx)
	}
	if !at.wait(ctx, back) {
		return nil, errTimeout
	}
	return answer, err
}

// take hands a message to the node here and returns its answer.
func (e *Endpoint) take(ctx context.Context, command any, data []byte, timeout time.Duration) (any, error) {
	answer := make(chan raft.RPCResponse, 1)
	rpc := raft.RPC{Command: command, RespChan: answer}
	if data != nil {
		rpc.Reader = bytes.NewReader(data)
	}
	e.mu.Lock()
	heartbeat := e.heartbeat
	e.mu.Unlock()
	late := time.NewTimer(timeout)
	defer late.Stop()
	if a, ok := command.(*raft.AppendEntriesRequest); ok && heartbeat != nil && isHeartbeat(a) {
		heartbeat(rpc)
	} else {
		select {
		case e.consumer <- rpc:
		case <-ctx.Done():
			return nil, errTimeout
		case <-late.C:
			return nil, errTimeout
		case <-e.gone:
			return nil, errTimeout
		}
	}
	select {
	case r := <-answer:
		return r.Response, r.Error
	case <-ctx.Done():
		return nil, errTimeout
	case <-late.C:
		return nil, errTimeout
	case <-e.gone:
		return nil, errTimeout
	}
}

// isHeartbeat tells the messages that Raft lets overtake the others.
func isHeartbeat(a *raft.AppendEntriesRequest) bool {
	return a.Term != 0 && a.Addr != nil && a.PrevLogEntry == 0 && a.PrevLogTerm == 0 && len(a.Entries) == 0 && a.LeaderCommitIndex == 0
}

// AppendEntriesPipeline implements raft.Transport: there is none.
func (e *Endpoint) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

// AppendEntries implements raft.Transport.
func (e *Endpoint) AppendEntries(_ raft.ServerID, to raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	return exchange(e, to, answerTimeout, args, resp, nil)
}

// RequestVote implements raft.Transport.
func (e *Endpoint) RequestVote(_ raft.ServerID, to raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	return exchange(e, to, answerTimeout, args, resp, nil)
}

// RequestPreVote implements raft.WithPreVote.
func (e *Endpoint) RequestPreVote(_ raft.ServerID, to raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	return exchange(e, to, answerTimeout, args, resp, nil)
}

// TimeoutNow implements raft.Transport.
func (e *Endpoint) TimeoutNow(_ raft.ServerID, to raft.ServerAddress, args *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	return exchange(e, to, answerTimeout, args, resp, nil)
}

// InstallSnapshot implements raft.Transport.
func (e *Endpoint) InstallSnapshot(_ raft.ServerID, to raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	all, err := io.ReadAll(data)
	if err != nil {
		return err
	}
	return exchange(e, to, 10*answerTimeout, args, resp, append([]byte{}, all...))
}

// exchange sends a copy of args, since the receiver may keep it, and copies the answer.
func exchange[A, R any](e *Endpoint, to raft.ServerAddress, timeout time.Duration, args *A, resp *R, data []byte) error {
	request := *args
	answer, err := e.send(to, timeout, &request, data)
	if r, ok := answer.(*R); ok && r != nil {
		*resp = *r
	}
	return err
}
