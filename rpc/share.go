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
func guards(g *gate.Gate, limits *limit.Limiter) []connect.ServerInterceptor {
	return slices.Concat(g.Interceptors(), limits.Interceptors())
}

// limiter makes what keeps the server's callers out of each other's way.
func (c *Config) limiter(limits limit.Config) *limit.Limiter {
	limits.Resolve = func(store string) ([16]byte, bool) { return resolve(c.State.Current(), store) }
	return limit.New(limits)
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
