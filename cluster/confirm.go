package cluster

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
)

// A position is what a leader found about its log: in which term, and the commit index
// before it made sure that no later leader existed.
type position struct{ term, index uint64 }

func (p position) encode() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, p.term), p.index)
}

func decodePosition(data []byte) (position, error) {
	if len(data) != 16 {
		return position{}, fmt.Errorf("%w: a position of %d bytes, want 16", errLost, len(data))
	}
	return position{binary.BigEndian.Uint64(data), binary.BigEndian.Uint64(data[8:])}, nil
}

// rounds lets many readers share one proof. A reader may rely only on a round that began
// after it came, so who comes while one is under way waits for the next.
type rounds struct {
	mu      sync.Mutex
	running bool   // guarded by mu
	next    *round // guarded by mu; nil when nobody waits for it
}

type round struct {
	done chan struct{} // closed when the rest is set
	at   position
	err  error
}

// join waits for a round of prove that begins after the call.
func (r *rounds) join(ctx context.Context, n *Node, prove func(context.Context) (position, error)) (position, error) {
	r.mu.Lock()
	if r.next == nil {
		r.next = &round{done: make(chan struct{})}
	}
	mine := r.next
	if !r.running {
		if err := n.enter(); err != nil {
			r.next = nil
			r.mu.Unlock()
			return position{}, err
		}
		r.running = true
		// A round is nobody's own: it does not end with the caller who began it.
		run, cancel := n.whileRunning(context.WithoutCancel(ctx))
		go func() {
			defer n.calls.Done()
			defer cancel()
			r.run(run, prove)
		}()
	}
	r.mu.Unlock()
	select {
	case <-mine.done:
		return mine.at, mine.err
	case <-ctx.Done():
		return position{}, ctx.Err()
	}
}

// run is the goroutine that holds one round after the other, as long as somebody waits.
func (r *rounds) run(ctx context.Context, prove func(context.Context) (position, error)) {
	for {
		r.mu.Lock()
		now := r.next
		r.next, r.running = nil, now != nil
		r.mu.Unlock()
		if now == nil {
			return
		}
		now.at, now.err = prove(ctx)
		close(now.done)
	}
}

// confirm takes the commit index and then proves that no later leader existed at that
// moment: a quorum, asked afterwards, knows of no later term. A later leader would have
// been elected by another quorum, whose members keep its term before they vote, and the
// two have a member in common.
//
// Raft's VerifyLeader proves less: it counts answers to messages that were sent before.
func (n *Node) confirm(ctx context.Context) (position, error) {
	term := n.tenure.serving()
	if term == 0 || n.draining.Load() {
		return position{}, n.idle()
	}
	at := position{term, n.raft.CommitIndex()}
	if err := n.stillLeads(ctx, term); err != nil {
		return position{}, err
	}
	return at, nil
}

// stillLeads asks the voters.
func (n *Node) stillLeads(ctx context.Context, term uint64) error {
	e := n.electorate()
	if needed := e.needed(); needed > 0 { // this node's own word is below
		if n.cfg.Peers == nil {
			return fmt.Errorf("%w: there are other voters, and no way to ask them", ErrNoLeader)
		}
		if err := n.askTerms(ctx, term, e.others, needed); err != nil {
			return err
		}
	}
	if !n.leads(term) {
		return n.idle()
	}
	return nil
}

// askTerms returns when needed of the voters have said that they know of no later term.
func (n *Node) askTerms(ctx context.Context, term uint64, voters []Peer, needed int) error {
	nonce := binary.BigEndian.AppendUint64(nil, n.counters.rounds.Add(1))
	// A quorum that takes longer will have elected somebody else.
	ctx, cancel := context.WithTimeout(ctx, n.cfg.ElectionTimeout)
	type answer struct {
		term uint64
		err  error
	}
	answers := make(chan answer, len(voters))
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	for _, v := range voters {
		asking.Go(func() {
			data, err := n.ask(ctx, v, askTerm, nonce)
			if err == nil && (len(data) != 16 || string(data[:8]) != string(nonce)) {
				err = fmt.Errorf("%w: node %s answered another question", errLost, v.ID)
			}
			if err != nil {
				answers <- answer{err: err}
				return
			}
			answers <- answer{term: binary.BigEndian.Uint64(data[8:])}
		})
	}
	for left := len(voters); needed > 0; left-- {
		if left < needed {
			return fmt.Errorf("%w: term %d is not confirmed by a quorum", ErrNoLeader, term)
		}
		switch a := <-answers; {
		case a.err != nil:
		case a.term > term:
			return fmt.Errorf("%w: there is a later term than %d, %d", ErrNoLeader, term, a.term)
		default:
			needed--
		}
	}
	return nil
}

// askPosition has the leader confirm its position.
func (n *Node) askPosition(ctx context.Context) (position, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*n.cfg.ElectionTimeout) // a round may have to wait for another
	defer cancel()
	n.counters.asks.Add(1)
	data, err := n.askLeader(ctx, askRead, nil)
	if err != nil {
		return position{}, err
	}
	return decodePosition(data)
}
