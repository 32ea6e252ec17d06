package peer

import (
	"errors"
	"fmt"
)

var (
	// ErrOtherCluster is returned when the node at an address belongs to another cluster.
	// Nothing was sent to it.
	ErrOtherCluster = errors.New("the node belongs to another cluster")

	// ErrTooLarge is returned for a request of more than 8 MiB, or when an answer has more.
	ErrTooLarge = errors.New("message too large")

	// ErrClosed is returned when the port is closed.
	ErrClosed = errors.New("the peers' port is closed")
)

var (
	errSilent  = errors.New("nothing is heard of the other node any more")
	errRetired = errors.New("the connection is replaced")
	errBusy    = errors.New("too many requests are on their way to this node")
)

// A callError is why Call has no answer.
type callError struct {
	to     string
	unsent bool
	err    error
}

// Error names the address.
func (e *callError) Error() string { return fmt.Sprintf("call %s: %v", e.to, e.err) }

// Unwrap returns the cause.
func (e *callError) Unwrap() error { return e.err }

// Unsent says whether the request did not arrive, for certain.
func (e *callError) Unsent() bool { return e.unsent }

// otherCluster says whose address is wrong, to whoever reads it on either side.
func otherCluster(here, there identity) error {
	return fmt.Errorf("%w: node %s at %s is of cluster %016x, this node, %s at %s, of cluster %016x: "+
		"either an address in a list of nodes is wrong, or one of the two runs on the data directory of another cluster",
		ErrOtherCluster, there.node, there.address, there.cluster, here.node, here.address, here.cluster)
}

// differ says whether two sides know that they do not belong together.
func differ(a, b uint64) bool { return a != 0 && b != 0 && a != b }
