package fsm

import (
	"errors"
	"fmt"

	"github.com/remit-authz/remit/graph"
)

// Why a command or a read was refused.
var (
	// ErrInvalid: a command is malformed or exceeds a limit, whatever the state.
	ErrInvalid = errors.New("invalid command")
	// ErrTooLarge: a command has more operations or bytes than one may have.
	ErrTooLarge = errors.New("command too large")
	// ErrStoreNotFound: there is no such store, or there is no longer.
	ErrStoreNotFound = errors.New("store not found")
	// ErrStoreExists: a store with that id exists.
	ErrStoreExists = errors.New("store exists")
	// ErrModelExists: a model with that id exists in the store.
	ErrModelExists = errors.New("model exists")
	// ErrModelNotFound: the store has no model with that id.
	ErrModelNotFound = errors.New("model not found")
	// ErrSymbol: an operation uses a type, relation or condition id that the store
	// does not have.
	ErrSymbol = errors.New("unknown type, relation or condition")
	// ErrDuplicate: one write names a tuple or a document twice.
	ErrDuplicate = errors.New("duplicate operation")
	// ErrTupleExists: a create of a tuple that exists and has not expired.
	ErrTupleExists = errors.New("tuple exists")
	// ErrTupleDiffers: the tuple that is to be ensured exists and has not expired, but
	// with another condition, context or expiry.
	ErrTupleDiffers = errors.New("tuple exists with another condition or expiry")
	// ErrTupleNotFound: a removal of a tuple that does not exist, or has expired.
	ErrTupleNotFound = errors.New("tuple not found")
	// ErrPrecondition: a tuple or a document is not as the command requires.
	ErrPrecondition = errors.New("precondition failed")
	// ErrScope: a scope has moved since the command was planned; plan it again.
	ErrScope = errors.New("scope changed")
	// ErrIdempotencyConflict: the key was used for a command with other content.
	ErrIdempotencyConflict = errors.New("idempotency key used for other content")
	// ErrErasing: a write names an entity that is being erased, or a retry's key would.
	ErrErasing = errors.New("entity is being erased")
	// ErrErasureNotFound: the store has no erasure with that id to carry on with.
	ErrErasureNotFound = errors.New("erasure not found")
	// ErrManaged: a write to a managed store that its planner did not make, or one that it
	// made to a store that is not managed; or the erasure of an entity that is in use in
	// a managed store.
	ErrManaged = errors.New("store is managed")
	// ErrVersion: the cluster has not reached the version that the command needs.
	ErrVersion = errors.New("cluster version too low")
	// ErrExhausted: a type has given out all its entity ids, or a store its symbols.
	ErrExhausted = errors.New("ids exhausted")
	// ErrHorizon: a horizon, the cluster version or the epoch would move backwards, or
	// beyond what is replicated.
	ErrHorizon = errors.New("horizon out of range")

	// ErrRevisionGone: a past revision lies before the store's history horizon, or
	// before the store existed, or in a history that an operator has replaced.
	ErrRevisionGone = errors.New("revision no longer kept")
	// ErrRevisionUnknown: this node has not published that revision yet.
	ErrRevisionUnknown = errors.New("revision not reached")
	// ErrClosed: the state was closed.
	ErrClosed = errors.New("state closed")
	// ErrCorrupt: stored or received bytes are not what was written.
	ErrCorrupt = errors.New("corrupt data")
)

// A Refusal says which part of a command was refused and why. It unwraps to one of the
// errors above and is equal on every node.
type Refusal struct {
	Reason error

	// Index is the place of the operation, precondition or scope at fault, -1 if the
	// command as a whole is.
	Index int

	// Name is the scope, store or model at fault, if one is.
	Name string

	// Version is what was found where a version was required, and Revision where an
	// idempotency key was first used.
	Version  uint64
	Revision graph.Revision
}

func (r *Refusal) Error() string {
	switch {
	case r.Index >= 0 && r.Name != "":
		return fmt.Sprintf("%v: %q at index %d, found version %d", r.Reason, r.Name, r.Index, r.Version)
	case r.Index >= 0:
		return fmt.Sprintf("%v: at index %d", r.Reason, r.Index)
	case r.Name != "":
		return fmt.Sprintf("%v: %q", r.Reason, r.Name)
	default:
		return r.Reason.Error()
	}
}

// Unwrap is the reason.
func (r *Refusal) Unwrap() error { return r.Reason }

func refuse(reason error) *Refusal { return &Refusal{Reason: reason, Index: -1} }

func refuseAt(reason error, index int) *Refusal { return &Refusal{Reason: reason, Index: index} }

// reasons gives every refusal its number on the wire. Numbers are never reused.
var reasons = []struct {
	code uint64
	err  error
}{
	{1, ErrInvalid},
	{2, ErrTooLarge},
	{3, ErrStoreNotFound},
	{4, ErrStoreExists},
	{5, ErrModelExists},
	{6, ErrSymbol},
	{7, ErrDuplicate},
	{8, ErrTupleExists},
	{9, ErrPrecondition},
	{10, ErrScope},
	{11, ErrIdempotencyConflict},
	{12, ErrExhausted},
	{13, ErrHorizon},
	{14, ErrModelNotFound},
	{15, ErrTupleDiffers},
	{16, ErrTupleNotFound},
	{17, ErrErasing},
	{18, ErrErasureNotFound},
	{19, ErrManaged},
	{20, ErrVersion},
}

// A DivergenceError says that this node's state is not the leader's.
type DivergenceError struct {
	Revision   graph.Revision
	Have, Want Hash
}

func (e *DivergenceError) Error() string {
	return fmt.Sprintf("state diverged: hash at revision %d is %v, the leader's is %v", e.Revision, e.Have, e.Want)
}
