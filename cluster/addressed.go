package cluster

import (
	"fmt"
	"io"
	"strings"

	"github.com/hashicorp/raft"
)

// Raft's messages bear who sends them, and go to an address. If a disk was lost, a new node
// is at the address: it would take the log, the leader would count it as the one that was
// there, and once it had heard who the members are it would vote in the other's name, who
// may have voted or acknowledged something else. So a message that can have any effect of
// this kind also bears for whom it is, and whoever else gets it refuses.
//
// It stands in a field that Raft filled before messages had a header, and reads only of a
// message without one. Never change this: nodes of different releases tell each other so.
const addressee = "to:"

func address(id raft.ServerID) []byte { return []byte(addressee + string(id)) }

// AppendEntries sends entries, or a heartbeat, to a node and to no other.
func (i *inbox) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	addressed := *args
	addressed.Leader = address(id) //nolint:staticcheck // see addressee
	return i.Transport.AppendEntries(id, target, &addressed, resp)
}

// RequestVote asks a node and no other for its vote.
func (i *inbox) RequestVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	addressed := *args
	addressed.Candidate = address(id) //nolint:staticcheck // see addressee
	return i.Transport.RequestVote(id, target, &addressed, resp)
}

// InstallSnapshot sends a snapshot to a node and to no other.
func (i *inbox) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	addressed := *args
	addressed.Leader = address(id) //nolint:staticcheck // see addressee
	return i.Transport.InstallSnapshot(id, target, &addressed, resp, data)
}

// SetHeartbeatHandler has Raft get heartbeats at once, those that are for this node.
func (i *inbox) SetHeartbeatHandler(handle func(raft.RPC)) {
	i.Transport.SetHeartbeatHandler(func(rpc raft.RPC) {
		if !i.misdirected(rpc) {
			handle(rpc)
		}
	})
}

// misdirected refuses a message that is for another node, and says whether it was one.
func (i *inbox) misdirected(rpc raft.RPC) bool {
	var bears []byte
	switch r := rpc.Command.(type) {
	case *raft.AppendEntriesRequest:
		bears = r.Leader //nolint:staticcheck // see addressee
	case *raft.RequestVoteRequest:
		bears = r.Candidate //nolint:staticcheck // see addressee
	case *raft.InstallSnapshotRequest:
		bears = r.Leader //nolint:staticcheck // see addressee
	}
	to, ok := strings.CutPrefix(string(bears), addressee)
	if !ok || to == i.id {
		return false
	}
	err := fmt.Errorf("this is node %s, the message is for node %s; if that one is gone for good, remove it (remit cluster remove %s)", i.id, to, to)
	if rpc.Reader != nil {
		_, _ = io.Copy(io.Discard, rpc.Reader) // the sender expects that everything is read
	}
	rpc.Respond(nil, err)
	return true
}
