package client_test

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/rpc"
	"github.com/remit-authz/remit/rpc/client"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// A rig is one node with as many servers before it as a test needs: to a client they are
// the nodes of a cluster that is never behind.
type rig struct {
	t     testing.TB
	state *fsm.State
	node  *cluster.Node
}

func newRig(t testing.TB) *rig {
	t.Helper()
	state, node, err := openNode(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := node.Close(); err != nil {
			t.Error(err)
		}
		if err := state.Close(); err != nil {
			t.Error(err)
		}
	})
	return &rig{t: t, state: state, node: node}
}

func openNode(ctx context.Context, dir string) (*fsm.State, *cluster.Node, error) {
	state, err := fsm.Open(fsm.Config{Dir: filepath.Join(dir, "state")})
	if err != nil {
		return nil, nil, err
	}
	node, err := cluster.Open(ctx, cluster.Config{
		Dir: filepath.Join(dir, "raft"), NodeID: "node", NoSync: true, // nobody cuts the power
		FSM: state, Snapshots: state.Snapshots(), Seal: fsm.Seal, SplitAnswers: fsm.SplitAnswers,
		TermStart: fsm.TermStart, DurableIndex: state.DurableIndex, Published: state.Published,
	})
	if err != nil {
		return state, node, err
	}
	// As remit serve does by itself, for organisations.
	version := &fsm.Command{Body: &fsm.SetClusterVersion{Version: fsm.ClusterVersion}}
	command, err := version.Encode()
	if err == nil {
		_, err = node.Propose(ctx, command)
	}
	return state, node, err
}

// serve starts a server, and returns its address and what stops it.
func (r *rig) serve(change ...func(*rpc.Config)) (addr string, stop func()) {
	r.t.Helper()
	config := rpc.Config{Addr: "127.0.0.1:0", GRPCAddr: "127.0.0.1:0", State: r.state, Node: r.node}
	for _, f := range change {
		f(&config)
	}
	server, err := rpc.Listen(r.t.Context(), config)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	})
	r.t.Cleanup(stop)
	return server.Addr().String(), stop
}

// client makes a client with short pauses.
func (r *rig) client(addrs ...string) *client.Client {
	r.t.Helper()
	return newClient(r.t, client.Config{Addrs: addrs, Pause: 1e6})
}

func newClient(t testing.TB, config client.Config) *client.Client {
	t.Helper()
	c, err := client.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

const museum = `model
  schema 1.1
type user
type exhibit
  relations
    define curator: [user]
    define visitor: [user] or curator
`

// store makes a store with a model.
func (r *rig) store(c *client.Client, name string) string {
	r.t.Helper()
	made, err := c.Stores.CreateStore(r.t.Context(), &remitv1.CreateStoreRequest{Name: name})
	if err != nil {
		r.t.Fatal(err)
	}
	id := made.GetStore().GetId()
	_, err = c.Models.WriteModel(r.t.Context(), &remitv1.WriteModelRequest{Store: id, Source: &remitv1.ModelSource{Source: &remitv1.ModelSource_Dsl{Dsl: museum}}})
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

func create(object, relation, subject string) *remitv1.Operation {
	return &remitv1.Operation{
		Kind:  remitv1.Operation_KIND_CREATE,
		Tuple: &remitv1.Tuple{Object: object, Relation: relation, Subject: subject},
	}
}

// A relay stands between a client and a server, and can be told to cut what it carries.
type relay struct {
	listener net.Listener
	server   string
	// lose cuts so many connections as soon as the server's answer begins to come back:
	// what was asked is done, and nobody hears of it.
	lose atomic.Int32
	lost atomic.Int32

	mu   sync.Mutex
	open map[net.Conn]struct{}
}

func newRelay(t testing.TB, server string) *relay {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: listener, server: server, open: map[net.Conn]struct{}{}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { r.carry(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		r.cut()
		running.Wait()
	})
	return r
}

func (r *relay) addr() string { return r.listener.Addr().String() }

// cut ends all connections.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for conn := range r.open {
		_ = conn.Close()
	}
}

func (r *relay) keep(conn net.Conn) func() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open[conn] = struct{}{}
	return func() {
		_ = conn.Close()
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.open, conn)
	}
}

func (r *relay) carry(from net.Conn) {
	defer r.keep(from)()
	to, err := net.Dial("tcp", r.server) //nolint:noctx // ends with the connection
	if err != nil {
		return
	}
	defer r.keep(to)()
	go func() {
		_, _ = io.Copy(to, from)
		_ = to.Close()
	}()
	buf := make([]byte, 32<<10)
	for {
		n, err := to.Read(buf)
		if n > 0 {
			if r.lose.Load() > 0 && r.lose.Add(-1) >= 0 {
				r.lost.Add(1)
				return
			}
			if _, err := from.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
