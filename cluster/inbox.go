package cluster

import (
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// An inbox stands between the transport and Raft, and keeps from Raft what would take the
// node back. A leader that missed our answers asks us to begin where it last heard of us.
// By then it may have nothing left but a snapshot that is older than our state, and Raft
// would install it: readers would see the past again, and if our own log begins later
// still, Raft would look for entries that are gone and panic.
//
// What is committed here is in every later leader's log, and is the same. So a snapshot of
// no more than that is answered as installed, and of the entries that a message brings,
// those are left out, with the question whether the entry before them agrees.
type inbox struct {
	Transport
	id   string // of this node
	log  *slog.Logger
	raft chan raft.RPC // to Raft
	stop chan struct{}

	node   *Node // set before run
	hints  hints
	timing sync.WaitGroup // of timed
	passed position       // the last entry that Raft was given, and by a leader of which term; run's own
}

func newInbox(t Transport) *inbox {
	return &inbox{Transport: t, log: slog.New(slog.DiscardHandler), raft: make(chan raft.RPC), stop: make(chan struct{}), hints: hints{fresh: make(chan struct{}, 1)}}
}

// Consumer gives Raft its messages. Heartbeats do not come this way.
func (i *inbox) Consumer() <-chan raft.RPC { return i.raft }

// run is the goroutine that brings messages to Raft, one after the other. known says up to
// where the log is known to be committed, and member whether it names any members.
func (i *inbox) run(known func() uint64, member func() bool) {
	defer i.timing.Wait()
	for {
		select {
		case rpc := <-i.Transport.Consumer():
			if i.misdirected(rpc) {
				continue
			}
			switch r := rpc.Command.(type) {
			case *raft.AppendEntriesRequest:
				if i.damaged(rpc, r) {
					continue
				}
				i.note(r)
				if r.Term >= i.node.raft.CurrentTerm() {
					i.node.fresh.hear(r.Term, r.LeaderCommitIndex, i.node.machine.shown(), time.Now())
				}
				rpc.Command = shorten(i.hasten(r), known())
			case *raft.InstallSnapshotRequest:
				if i.superfluous(rpc, r, known) {
					continue
				}
				rpc = i.timed(rpc)
			default:
				if !member() && withhold(rpc) {
					continue
				}
			}
			i.pass(rpc)
		case <-i.hints.fresh:
			i.advise(known())
		case <-i.stop:
			return
		}
	}
}

// withhold answers a request for a vote with no, and says whether the message was one. A
// node whose log names nobody has no part in an election. Raft would give its vote to
// whoever asks, and the voters of two clusters could count it, if one of them was told of a
// node that had the address before.
func withhold(rpc raft.RPC) bool {
	switch r := rpc.Command.(type) {
	case *raft.RequestVoteRequest:
		rpc.Respond(&raft.RequestVoteResponse{RPCHeader: ours, Term: r.Term}, nil)
	case *raft.RequestPreVoteRequest:
		rpc.Respond(&raft.RequestPreVoteResponse{RPCHeader: ours, Term: r.Term}, nil)
	case *raft.TimeoutNowRequest:
		rpc.Respond(nil, errNoMember)
	default:
		return false
	}
	return true
}

// ours is the header of an answer that Raft did not write.
var ours = raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}

// errNoMember is why a node does not lead although it is told to.
var errNoMember = errors.New("this node is a member of nothing")

// pass hands a message to Raft, or drops it when the node stops.
func (i *inbox) pass(rpc raft.RPC) bool {
	select {
	case i.raft <- rpc:
		return true
	case <-i.stop:
		return false
	}
}

// damaged refuses a message with an entry that is not what its leader stored. Raft must not
// see it: it may have removed entries of its own before it finds that it cannot store it.
func (i *inbox) damaged(rpc raft.RPC, r *raft.AppendEntriesRequest) bool {
	for _, e := range r.Entries {
		if err := verify(e); err != nil {
			i.log.Error("entry from the leader refused", "address", string(r.Addr), "error", err)
			rpc.Respond(nil, err)
			return true
		}
	}
	return false
}

// timed observes how long it takes until a message is answered that brings a snapshot.
func (i *inbox) timed(rpc raft.RPC) raft.RPC {
	start, to, answer := time.Now(), rpc.RespChan, make(chan raft.RPCResponse, 1)
	rpc.RespChan = answer
	i.timing.Go(func() {
		select {
		case a := <-answer:
			i.node.metrics.snapshotReceived(a.Error == nil, start)
			to <- a // it has room, as Raft expects
		case <-i.stop:
		}
	})
	return rpc
}

// shorten leaves out what is committed here already, and the question for such an entry:
// our log may begin right behind it, with an earlier leader's entries, and Raft could answer
// neither that nor anything after the next snapshot. It must not make Raft commit more
// than the message brings: without the question for the entry before, what follows in our
// log need not be the leader's.
func shorten(r *raft.AppendEntriesRequest, known uint64) *raft.AppendEntriesRequest {
	if known == 0 || r.PrevLogEntry > known || r.PrevLogEntry == 0 && len(r.Entries) == 0 {
		return r
	}
	short := *r
	last := r.PrevLogEntry
	if n := len(r.Entries); n > 0 {
		last = r.Entries[n-1].Index
	}
	short.LeaderCommitIndex = min(r.LeaderCommitIndex, max(last, known))
	short.PrevLogEntry, short.PrevLogTerm = 0, 0
	first := slices.IndexFunc(r.Entries, func(e *raft.Log) bool { return e.Index > known })
	if first < 0 {
		first = len(r.Entries)
	}
	short.Entries = r.Entries[first:]
	return &short
}

// superfluous answers a snapshot that brings nothing. First Raft gets an empty message of
// the same leader: so it has judged the leader's term, and has done with everything that
// came before.
func (i *inbox) superfluous(rpc raft.RPC, r *raft.InstallSnapshotRequest, known func() uint64) bool {
	answer := make(chan raft.RPCResponse, 1)
	hello := &raft.AppendEntriesRequest{RPCHeader: r.RPCHeader, Term: r.Term}
	if !i.pass(raft.RPC{Command: hello, RespChan: answer}) {
		return false
	}
	var term uint64
	select {
	case a := <-answer:
		said, ok := a.Response.(*raft.AppendEntriesResponse)
		if a.Error != nil || !ok || !said.Success || r.LastLogIndex > known() {
			return false
		}
		term = said.Term
	case <-i.stop:
		return false
	}
	// The sender expects that everything is read. Whether it can be does not matter here.
	_, _ = io.Copy(io.Discard, rpc.Reader)
	rpc.Respond(&raft.InstallSnapshotResponse{Term: term, Success: true}, nil)
	return true
}
