package cluster

import (
	"io"

	"github.com/hashicorp/raft"
)

// A Transport carries Raft's messages between nodes.
type Transport interface {
	raft.Transport
	raft.WithPreVote
	io.Closer
}

// inProcess returns the transport of a node that is alone. Its address is the
// node's id: the address is written into the log with the first configuration,
// so it must be the same after a restart.
func inProcess(id string) Transport {
	_, t := raft.NewInmemTransport(raft.ServerAddress(id))
	return t
}
