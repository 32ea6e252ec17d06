package cluster

import (
	"context"
	"errors"
	"io"

	"github.com/hashicorp/raft"
)

// A Transport carries Raft's messages between nodes.
type Transport interface {
	raft.Transport
	raft.WithPreVote
	io.Closer
}

// Peers carries what nodes ask each other beside Raft. It belongs to a Transport, and
// the two can share a port: what makes a connection a peer's, be it a certificate or the
// cluster's id, is checked when it begins and is the same for both.
type Peers interface {
	// Call brings a request to the node at an address and returns its answer. A request
	// arrives at most once. Call returns when ctx ends, and also, within seconds, when the
	// other node is gone or cannot be heard any more: a caller need not have a deadline. Of
	// an error nobody knows whether the request arrived, unless it has a method `Unsent()
	// bool` that says true. A kind is a small number by which requests can be counted and
	// bounded.
	Call(ctx context.Context, to raft.ServerAddress, kind byte, request []byte) (answer []byte, err error)

	// Handle has serve answer what others ask, each request in a goroutine of its own.
	// Its ctx ends when the caller has left. Before Handle, and after Handle(nil), no
	// request arrives. It is called when Raft has begun and when it has stopped, and before
	// that by a node that forms a cluster; the last call counts.
	Handle(serve func(ctx context.Context, kind byte, request []byte) (answer []byte))
}

// unsent says whether an error of Peers.Call means that the request did not arrive.
func unsent(err error) bool {
	var e interface{ Unsent() bool }
	return errors.As(err, &e) && e.Unsent()
}

// A Peer is a node as others reach it.
type Peer struct {
	ID      string `json:"id"`
	Address string `json:"address"`
}

// inProcess returns the transport of a node that is alone. Its address is the
// node's id: the address is written into the log with the first configuration,
// so it must be the same after a restart.
func inProcess(id string) Transport {
	_, t := raft.NewInmemTransport(raft.ServerAddress(id))
	return t
}
