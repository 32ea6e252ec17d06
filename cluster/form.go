package cluster

import "encoding/json"

// A hello is how nodes introduce themselves before they know each other.
type hello struct {
	Peer
	Fresh  bool   `json:"fresh"`            // it has no history
	Expect int    `json:"expect,omitempty"` // Config.Expect
	Leader Peer   `json:"leader,omitzero"`
	Seen   []Peer `json:"seen,omitempty"`   // of a fresh node: those with whom it would begin, itself among them
}

// hello answers another node's hello.
func (n *Node) hello([]byte) ([]byte, error) {
	address, id := n.raft.LeaderWithID()
	return json.Marshal(hello{
		Peer:   Peer{ID: n.id, Address: string(n.transport.LocalAddr())},
		Leader: Peer{ID: string(id), Address: string(address)},
	})
}
