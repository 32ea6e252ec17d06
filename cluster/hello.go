package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// A hello is how nodes introduce themselves before they know each other. It goes both
// ways: who asks says as much of itself as who answers.
type hello struct {
	Peer
	Run    string `json:"run"`              // of the process; two of them with one id are two copies of a node
	Fresh  bool   `json:"fresh"`            // it is a member of nothing
	Expect int    `json:"expect,omitempty"` // of a fresh node that forms: how many voters are to begin
	Leader Peer   `json:"leader,omitzero"`
	Knows  bool   `json:"knows,omitempty"` // the one who asks is a member, as far as this node knows

	// Seen is, of a fresh node that forms, those with whom it would begin, itself among
	// them, by id; if it has Promised, it begins with them or with nobody.
	Seen     []Peer `json:"seen,omitempty"`
	Promised bool   `json:"promised,omitempty"`

	// First is the first configuration, if there is nothing else in the log. A node that it
	// names and that is fresh may begin with it, too: the entry is the same then. A later
	// one would not do: it is another entry.
	First []Peer `json:"first,omitempty"`

	Supports uint64 `json:"supports,omitempty"` // About.Supports
}

// hello answers another node's hello.
func (n *Node) hello(payload []byte) ([]byte, error) {
	var from hello
	if err := json.Unmarshal(payload, &from); err != nil && len(payload) > 0 {
		return nil, fmt.Errorf("a hello: %w", err)
	}
	h := n.present()
	h.Knows = slices.ContainsFunc(n.servers(), func(s raft.Server) bool { return string(s.ID) == from.ID })
	return json.Marshal(h)
}

// present is what this node says of itself while Raft runs.
func (n *Node) present() hello {
	address, id := n.raft.LeaderWithID()
	return hello{
		Peer: n.self(), Run: n.run, Fresh: len(n.servers()) == 0, First: n.first(),
		Leader: Peer{ID: string(id), Address: string(address)}, Supports: n.supports(),
	}
}

// self is this node as others reach it.
func (n *Node) self() Peer { return Peer{ID: n.id, Address: string(n.transport.LocalAddr())} }

// servers returns the members as this node's log has them, none if it has none.
func (n *Node) servers() []raft.Server { return n.raft.GetConfiguration().Configuration().Servers }

func (n *Node) supports() uint64 {
	if n.cfg.About == nil {
		return 0
	}
	return n.cfg.About().Supports
}

// first returns those whom the first configuration names if the log is that and no more.
func (n *Node) first() []Peer {
	if n.raft.LastIndex() != 1 {
		return nil
	}
	return n.founders()
}

// founders returns those whom the first configuration names, nobody if it is not in the log.
// It is read from the log: the latest configuration may be one that is not there any more.
func (n *Node) founders() []Peer {
	var entry raft.Log
	if err := n.logs.GetLog(1, &entry); err != nil || verify(&entry) != nil || entry.Type != raft.LogConfiguration {
		return nil
	}
	var all []Peer
	for _, s := range raft.DecodeConfiguration(entry.Data).Servers {
		all = append(all, Peer{ID: string(s.ID), Address: string(s.Address)})
	}
	return all
}

// A greeting is what came of a hello to an address.
type greeting struct {
	address string
	hello   hello
	err     error
}

// helloTimeout is how long one hello may take: long beside a connection to the other end
// of the world, short beside the patience of who waits for a cluster.
const helloTimeout = time.Second

// greet says hello to all addresses at once.
func greet(ctx context.Context, peers Peers, addresses []string, h hello) []greeting {
	payload, err := json.Marshal(h)
	all := make([]greeting, len(addresses))
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	var asking sync.WaitGroup
	for i, address := range addresses {
		asking.Go(func() {
			g := greeting{address: address, err: err}
			if g.err == nil {
				g.hello, g.err = greetOne(ctx, peers, address, payload)
			}
			all[i] = g
		})
	}
	asking.Wait()
	return all
}

func greetOne(ctx context.Context, peers Peers, address string, payload []byte) (h hello, err error) {
	answer, err := peers.Call(ctx, raft.ServerAddress(address), askHello, frame("", payload))
	if err != nil {
		return hello{}, err
	}
	if answer, err = ended("at "+address, answer); err != nil {
		return hello{}, err
	}
	if err := json.Unmarshal(answer, &h); err != nil {
		return hello{}, fmt.Errorf("the hello of the node at %s: %w", address, err)
	}
	if h.ID == "" || h.Address == "" {
		return hello{}, fmt.Errorf("the node at %s does not say who it is", address)
	}
	return h, nil
}

// maxAddresses bounds how many addresses are asked at once, whoever tells of them.
const maxAddresses = 64

// find returns what Config.Find knows within a moment. An error does not hide addresses.
func (n *Node) find(ctx context.Context) ([]string, error) {
	if n.cfg.Find == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*helloTimeout)
	defer cancel()
	return n.cfg.Find(ctx)
}
