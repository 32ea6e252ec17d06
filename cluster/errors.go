package cluster

import (
	"errors"
	"fmt"
)

var (
	// ErrNoLeader is returned when this node is not the leader, or is not ready
	// to serve as one yet. Nothing happened: the caller may try again, here or at
	// another node.
	ErrNoLeader = errors.New("no leader")

	// ErrUnknownOutcome is returned when a command was handed to Raft and its
	// answer did not arrive: it may or may not take effect. The caller retries
	// with the same idempotency key and then learns which.
	ErrUnknownOutcome = errors.New("outcome unknown")

	// ErrTooLarge is returned for a command over Config.MaxCommandBytes. Nothing
	// happened, and a retry would not help.
	ErrTooLarge = errors.New("command too large")

	// ErrOverloaded is returned when the queue in front of Raft is full. Nothing
	// happened: the caller waits a little and tries again.
	ErrOverloaded = errors.New("too many commands are waiting")

	// ErrMembership is returned for a change of the members that cannot be made as they
	// are. Nothing happened.
	ErrMembership = errors.New("members not changed")

	// ErrReadOnly is returned when the cluster commits nothing at present, for a reason that
	// the error tells: no space on disk, or a clock that is ahead. Nothing happened: the
	// caller may try again when an operator has seen to it.
	ErrReadOnly = errors.New("writes are refused")

	// ErrShuttingDown is returned once Close has begun, or once the node has
	// failed and cannot commit any more. Nothing happened.
	ErrShuttingDown = errors.New("node is shutting down")
)

// A StartError says why a node refused to start on the data it found. Starting
// all the same could lose acknowledged writes or split the history, so it takes
// a person to decide.
type StartError struct {
	Problem string // what was found, and what to do about it

	Durable     uint64 // the state machine's durable index
	Snapshot    uint64 // the newest snapshot's index, 0 for none
	First, Last uint64 // the log's first and last index, 0 for an empty log
}

// Error returns the problem and the indexes that led to it.
func (e *StartError) Error() string {
	return fmt.Sprintf("%s (state machine at %d, newest snapshot at %d, log from %d to %d)",
		e.Problem, e.Durable, e.Snapshot, e.First, e.Last)
}

// unknown marks cause as leaving the outcome open.
func unknown(cause error) error {
	return fmt.Errorf("%w: %w", ErrUnknownOutcome, cause)
}
