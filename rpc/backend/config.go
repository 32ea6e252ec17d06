package backend

import (
	"context"
	"log/slog"
	"time"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/rpc/decision"
	"github.com/remit-authz/remit/rpc/trace"
)

// A Proposer commits a command and returns the state machine's answer.
type Proposer interface {
	Propose(ctx context.Context, command []byte) (answer []byte, err error)
}

// A Node is what the services need of the node that they run in.
type Node interface {
	Proposer

	// ReadIndex returns a log index that covers every write acknowledged before the
	// call, on whichever node.
	ReadIndex(ctx context.Context) (uint64, error)

	// ID names the node, Leader the leader as the node knows it; empty if there is none.
	ID() string
	Leader() string

	// Staleness bounds how long ago what readers of this node do not see yet was
	// acknowledged: 0 on the leader, and math.MaxInt64 if nobody can tell.
	Staleness() time.Duration
	// Status tells what the node knows of itself and the others.
	Status() cluster.Status
}

// Config is what a Reader needs. All fields are required, but for Budget, Visited,
// Decisions and Tracer.
type Config struct {
	// State answers reads, Node takes writes.
	State *fsm.State
	Node  Node

	// Budget is the number of edges that one question, or one page of a list, may
	// visit; 0 is graph.DefaultBudget.
	Budget int
	// Visited is told how many edges each question visited; nil if nobody wants to know.
	Visited func(edges int)
	// Decisions is told what was decided; nil if nobody wants to know.
	Decisions *decision.Log
	// Tracer tells of the parts of a call; nil if nobody wants to know.
	Tracer *trace.Tracer
	// Clock tells the time.
	Clock func() time.Time
	// Log receives what needs a person.
	Log *slog.Logger
}
