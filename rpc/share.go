package rpc

import (
	"slices"

	"connectrpc.com/connect/v2"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/rpc/backend"
	"github.com/remit-authz/remit/rpc/gate"
	"github.com/remit-authz/remit/rpc/limit"
)

// guards are what may refuse a call before its handler: first whoever is not let in, then
// what is too much.
func (c *Config) guards(g *gate.Gate, limits limit.Config) []connect.ServerInterceptor {
	limits.Resolve = func(store string) ([16]byte, bool) { return resolve(c.State.Current(), store) }
	return slices.Concat(g.Interceptors(), limit.New(limits).Interceptors())
}

// resolve finds the id of a store by its id or its name, as opening it does, but for what
// the caller may know of it.
func resolve(root *fsm.Root, store string) (id fsm.StoreID, ok bool) {
	if id, err := fsm.ParseStoreID(store); err == nil {
		_, ok := root.Store(id)
		return id, ok && id != backend.SystemStore
	}
	named := root.StoresNamed(store)
	if len(named) != 1 || named[0].ID() == backend.SystemStore {
		return id, false
	}
	return named[0].ID(), true
}
