package cluster

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// A follower learns of a commit with the leader's next message. While entries follow each
// other that is soon. After the last one it is when Raft sends an empty message, a
// CommitTimeout later or two; and who wrote waits that long to read it at a follower. So
// when the log falls idle the leader says by Peers how far it is committed: a hint. It
// costs nothing under load, and nobody relies on it: the empty message comes anyway.

// hintDelay is how long the log must have been idle: as long as a batch lingers, so that a
// client which writes one command after the other causes no hints, and short beside the
// CommitTimeout.
const hintDelay = time.Millisecond

// hint is the goroutine that sends hints while this node serves as the leader, until ctx
// ends.
func (n *Node) hint(ctx context.Context) {
	for ctx.Err() == nil {
		term, changed := n.tenure.watch()
		if term != 0 && !n.cfg.noHints {
			n.hintIn(ctx, term, changed)
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// hintIn sends the hints of one term. When it returns, none is under way any more.
func (n *Node) hintIn(ctx context.Context, term uint64, changed <-chan struct{}) {
	ctx, cancel := context.WithCancel(ctx)
	lines := map[Peer]*hintLine{}
	var sending sync.WaitGroup
	defer sending.Wait()
	defer cancel()
	var told uint64
	n.proposer.idle.Reset(hintDelay) // for the entry that opened the term, which came another way
	for {
		select {
		case <-n.proposer.idle.C:
		case <-changed:
			return
		case <-ctx.Done():
			return
		}
		if n.proposer.busy() {
			continue // the entry that follows says it, and the log falls idle behind it again
		}
		// The commit index of a leader whose term is open is the index of an entry of that
		// term. A leader counts copies only of entries of its own term (Raft, §5.4.2), so
		// what it commits first in it is such an entry; this one has committed the one that
		// opens the term. And whatever stands behind the first entry of a term in the log of
		// that term's leader is of that term. The node led when the index was read, since it
		// still leads afterwards, and nobody leads a term twice.
		at := position{term, n.raft.CommitIndex()}
		if !n.leads(term) || at.index <= told {
			continue
		}
		told = at.index
		for _, s := range n.servers() {
			to := Peer{ID: string(s.ID), Address: string(s.Address)}
			if to.ID == n.id {
				continue
			}
			line := lines[to]
			if line == nil {
				line = new(hintLine)
				lines[to] = line
			}
			if line.offer(at.index) {
				sending.Go(func() { n.tell(ctx, to, term, line) })
			}
		}
	}
}

// A hintLine is what one member is to be told: the newest index, one at a time.
type hintLine struct {
	mu      sync.Mutex
	next    uint64 // guarded by mu; 0 for nothing
	telling bool   // guarded by mu; somebody is telling, and will tell next as well
}

// offer says whether the caller has to start telling.
func (l *hintLine) offer(index uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	start := !l.telling
	l.next, l.telling = index, true
	return start
}

// take returns what is to be told next, 0 if it was the last.
func (l *hintLine) take() (index uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	index, l.next = l.next, 0
	l.telling = index != 0
	return index
}

// tell tells one member as long as there is something new.
func (n *Node) tell(ctx context.Context, to Peer, term uint64, line *hintLine) {
	for index := line.take(); index != 0; index = line.take() {
		call, cancel := context.WithTimeout(ctx, n.cfg.HeartbeatTimeout)
		n.counters.hints.Add(1)
		// What becomes of it does not matter.
		_, _ = n.ask(call, to, askHint, position{term, index}.encode())
		cancel()
	}
}

// hinted takes the leader's word of how far the log is committed.
func (n *Node) hinted(payload []byte) error {
	at, err := decodePosition(payload)
	if err != nil || n.inbox == nil {
		return err
	}
	n.inbox.hints.put(at)
	return nil
}

// hints is the newest hint that a node got and has not used. Hints of several terms, late,
// twice and in any order, may arrive.
type hints struct {
	mu    sync.Mutex
	next  position      // guarded by mu
	fresh chan struct{} // says that there is one
}

func (h *hints) put(at position) {
	h.mu.Lock()
	newer := at.term > h.next.term || at.term == h.next.term && at.index > h.next.index
	if newer {
		h.next = at
	}
	h.mu.Unlock()
	if newer {
		signal(h.fresh)
	}
}

func (h *hints) get() position {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.next
}

// advise gives Raft the newest hint as what it is: a message that the leader could have
// sent at that moment, without entries, about the entry at its commit index. Raft compares
// that entry with its own and judges the term, so one that is late does no harm.
//
// A hint about a term that this node has not heard of from its leader yet, or about an
// entry that it was not sent, is left alone: the entry will come, and takes the hint along.
func (i *inbox) advise(known uint64) {
	at := i.hints.get()
	r := i.node.raft
	if at.index <= known || r.CurrentTerm() != at.term {
		return
	}
	last := r.LastIndex()
	if i.passed.term == at.term {
		// Raft handles messages in their order, so it has this entry before it sees ours.
		last = max(last, i.passed.index)
	}
	address, id := r.LeaderWithID()
	// A node forgets its leader before it changes its term, so this is the leader of the
	// term that it had before and after.
	if at.index > last || id == "" || string(id) == i.node.id || r.CurrentTerm() != at.term {
		return
	}
	i.node.counters.hinted.Add(1)
	i.pass(raft.RPC{
		Command: &raft.AppendEntriesRequest{
			RPCHeader:    raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(id), Addr: i.EncodePeer(id, address)},
			Term:         at.term,
			PrevLogEntry: at.index, PrevLogTerm: at.term, LeaderCommitIndex: at.index,
		},
		RespChan: make(chan raft.RPCResponse, 1), // nobody waits for the answer
	})
}

// hasten adds to a message with entries what a hint of the same leader has told already:
// the leader could send it like that now. Raft takes a commit index for its whole log, so
// it is no more than the message reaches.
func (i *inbox) hasten(r *raft.AppendEntriesRequest) *raft.AppendEntriesRequest {
	at := i.hints.get()
	if at.term != r.Term || len(r.Entries) == 0 {
		return r
	}
	commit := min(at.index, r.Entries[len(r.Entries)-1].Index)
	if commit <= r.LeaderCommitIndex {
		return r
	}
	hastened := *r
	hastened.LeaderCommitIndex = commit
	return &hastened
}

// note keeps what was passed to Raft.
func (i *inbox) note(r *raft.AppendEntriesRequest) {
	if len(r.Entries) == 0 {
		return
	}
	last := position{r.Term, r.Entries[len(r.Entries)-1].Index}
	if last.term > i.passed.term || last.term == i.passed.term && last.index > i.passed.index {
		i.passed = last
	}
}
