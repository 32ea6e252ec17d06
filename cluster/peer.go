package cluster

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

// What a node asks another. The numbers are between nodes of different releases: never
// change one.
const (
	askTerm    byte = 1 // a nonce; the answer is the nonce and the term
	askRead    byte = 2 // nothing; the answer is a position that a quorum has confirmed
	askPropose byte = 3 // a command; the answer is the state machine's
	askForward byte = 4 // a request and its answer are those of Config.Handler
	askChange  byte = 5 // a change of the members as JSON; the answer is empty
	askHello   byte = 6 // a hello as JSON, and so is the answer; the one request to whatever node is there
	askStatus  byte = 7 // nothing; the answer is a MemberStatus as JSON
	askHint    byte = 8 // the leader's term and commit index; the answer is empty
	askHealth  byte = 9 // nothing; the answer is a Health as JSON
)

// How a request ended, the first byte of an answer. The rest is the answer proper, or the
// text of the error. Never change a number.
const (
	endedWell     byte = 0
	endedNoLeader byte = 1 // nothing happened: it does not lead, or it is another node
	endedUnknown  byte = 2
	endedTooLarge byte = 3
	endedOverload byte = 4
	endedContext  byte = 5 // nothing happened: the caller left, as far as the node knows
	endedRefused  byte = 6 // nothing happened: no such change of members is possible
	endedHandler  byte = 7 // Config.Handler's own error, of which the text is left
	endedReadOnly byte = 8
)

// endings maps errors to how they cross, most telling first: an unknown outcome is one
// whatever else is known about it.
var endings = []struct {
	err    error
	ending byte
}{
	{ErrUnknownOutcome, endedUnknown},
	{ErrTooLarge, endedTooLarge},
	{ErrOverloaded, endedOverload},
	{ErrMembership, endedRefused},
	{ErrReadOnly, endedReadOnly},
	{ErrNoLeader, endedNoLeader},
	{ErrShuttingDown, endedNoLeader}, // it is that node that stops, not the one that asked
	{context.Canceled, endedContext},
	{context.DeadlineExceeded, endedContext},
}

// frame makes a request to a node: its id, so that another one that has come by its
// address does not answer in its name, and the payload.
func frame(to string, payload []byte) []byte {
	request := make([]byte, 0, 1+len(to)+len(payload))
	request = append(request, byte(len(to)))
	request = append(request, to...)
	return append(request, payload...)
}

// unframe takes a request apart.
func unframe(request []byte) (to string, payload []byte, err error) {
	if len(request) == 0 || len(request) < 1+int(request[0]) {
		return "", nil, fmt.Errorf("a request of %d bytes names no node", len(request))
	}
	n := 1 + int(request[0])
	return string(request[1:n]), request[n:], nil
}

// ending encodes how a request ended.
func ending(answer []byte, err error) []byte {
	if err == nil {
		return append([]byte{endedWell}, answer...)
	}
	for _, e := range endings {
		if errors.Is(err, e.err) {
			return append([]byte{e.ending}, err.Error()...)
		}
	}
	return append([]byte{endedHandler}, err.Error()...)
}

// errLost is why nobody knows what became of a request to another node.
var errLost = errors.New("no answer arrived")

// A remoteError is one that another node told: its text, and the meaning it has here.
type remoteError struct {
	node    string
	text    string
	meaning error // nil for one that only the handler knows
}

// Error says which node told it.
func (e *remoteError) Error() string { return fmt.Sprintf("node %s: %s", e.node, e.text) }

// Unwrap returns the meaning.
func (e *remoteError) Unwrap() error { return e.meaning }

// ended decodes how a request to a node ended.
func ended(node string, answer []byte) ([]byte, error) {
	if len(answer) == 0 {
		return nil, fmt.Errorf("%w: node %s answered nothing", errLost, node)
	}
	e := &remoteError{node: node, text: string(answer[1:])}
	switch answer[0] {
	case endedWell:
		return answer[1:], nil
	case endedNoLeader, endedContext:
		// The context was that node's. Whose is here goes on, and may try again.
		e.meaning = ErrNoLeader
	case endedUnknown:
		e.meaning = ErrUnknownOutcome
	case endedTooLarge:
		e.meaning = ErrTooLarge
	case endedOverload:
		e.meaning = ErrOverloaded
	case endedRefused:
		e.meaning = ErrMembership
	case endedReadOnly:
		e.meaning = ErrReadOnly
	case endedHandler:
	default:
		return nil, fmt.Errorf("%w: node %s answered in a way that this release does not know (%d)", errLost, node, answer[0])
	}
	return nil, e
}

// ask puts a request to another node. An error is the node's, or errLost, or ErrNoLeader
// if the request never left; or it is the context's, if that had ended before.
func (n *Node) ask(ctx context.Context, to Peer, kind byte, payload []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	answer, err := n.cfg.Peers.Call(ctx, raft.ServerAddress(to.Address), kind, frame(to.ID, payload))
	switch {
	case err == nil:
		return ended(to.ID, answer)
	case unsent(err):
		return nil, fmt.Errorf("%w: node %s at %s is not reached: %w", ErrNoLeader, to.ID, to.Address, err)
	default:
		return nil, fmt.Errorf("%w: node %s at %s: %w", errLost, to.ID, to.Address, err)
	}
}

// askLeader puts a request to the leader, once: whoever is asked does not ask on.
func (n *Node) askLeader(ctx context.Context, kind byte, payload []byte) ([]byte, error) {
	if err := n.refusal(); err != nil {
		return nil, err
	}
	address, id := n.raft.LeaderWithID()
	if n.cfg.Peers == nil || id == "" || string(id) == n.id {
		return nil, ErrNoLeader
	}
	return n.ask(ctx, Peer{ID: string(id), Address: string(address)}, kind, payload)
}

// changes gives an error of askLeader its meaning for a request that changes something.
func changes(ctx context.Context, err error) error {
	if !errors.Is(err, errLost) {
		return err
	}
	if e := ctx.Err(); e != nil {
		return unknown(e)
	}
	return unknown(err)
}

// changesNothing gives an error of askLeader its meaning for a request that only asks.
func changesNothing(ctx context.Context, err error) error {
	if e := ctx.Err(); err != nil && e != nil {
		return e
	}
	if errors.Is(err, errLost) {
		return fmt.Errorf("%w: %w", ErrNoLeader, err)
	}
	return err
}

// serve answers what other nodes ask.
func (n *Node) serve(ctx context.Context, kind byte, request []byte) []byte {
	if err := n.enter(); err != nil {
		return ending(nil, err)
	}
	defer n.calls.Done()
	ctx, cancel := n.whileRunning(ctx)
	defer cancel()
	to, payload, err := unframe(request)
	if err == nil && to != n.id && kind != askHello {
		err = fmt.Errorf("%w: this is node %s, the request is for %s", ErrNoLeader, n.id, to)
	}
	if err != nil {
		return ending(nil, err)
	}
	return ending(n.answer(ctx, kind, payload))
}

func (n *Node) answer(ctx context.Context, kind byte, payload []byte) ([]byte, error) {
	switch kind {
	case askTerm:
		// Read after the nonce has arrived: that is the whole point.
		return binary.BigEndian.AppendUint64(payload[:len(payload):len(payload)], n.raft.CurrentTerm()), nil
	case askRead:
		if n.tenure.serving() == 0 {
			return nil, n.idle()
		}
		at, err := n.confirmations.join(ctx, n, n.confirm)
		return at.encode(), err
	case askPropose:
		return n.proposeHere(ctx, payload)
	case askForward:
		return n.handleHere(ctx, payload)
	case askHello:
		return n.hello(payload)
	case askStatus:
		return json.Marshal(n.status())
	case askHealth:
		h, err := n.healthHere(ctx)
		if err != nil {
			return nil, err
		}
		return json.Marshal(h)
	case askHint:
		return nil, n.hinted(payload)
	case askChange:
		var c change
		if err := json.Unmarshal(payload, &c); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMembership, err)
		}
		return nil, n.changeHere(ctx, c)
	default:
		return nil, fmt.Errorf("%w: this release knows no request of kind %d", ErrNoLeader, kind)
	}
}
