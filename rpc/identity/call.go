package identity

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
)

// A Call is one call of an authenticated caller.
type Call struct {
	Caller *Caller
	// Need is what the call does with each store that it opens; 0 for a call that opens
	// none.
	Need Permissions
	// Lasting says that the call goes on after it was judged, as streams do: then it
	// remembers for which stores, and Lost can judge it anew.
	Lasting bool

	asked atomic.Bool

	mu     sync.Mutex
	stores map[Store]struct{} // what a lasting call was permitted; guarded by mu
}

type callKey struct{}

// WithCall says on whose behalf a context works.
func WithCall(ctx context.Context, c *Call) context.Context {
	return context.WithValue(ctx, callKey{}, c)
}

// CallOf is the call of a context; nil on a server that asks nobody who they are.
func CallOf(ctx context.Context) *Call {
	c, _ := ctx.Value(callKey{}).(*Call)
	return c
}

// Principal names the caller of a context; empty on a server that asks nobody.
func Principal(ctx context.Context) string {
	if c := CallOf(ctx); c != nil {
		return c.Caller.Principal
	}
	return ""
}

// Authorize reports whether the call may do with a store what it is for. Whether there is
// such a store makes no difference to who may not know of it.
func Authorize(ctx context.Context, store Store) error {
	if c := CallOf(ctx); c != nil {
		return c.Authorize(store)
	}
	return nil
}

// Permitted is Authorize for one store of many, which is passed over if it is not permitted.
func Permitted(ctx context.Context, store Store) bool {
	c := CallOf(ctx)
	return c == nil || c.permitted(store)
}

// AuthorizeUnknown reports what a caller may know of a store that does not exist: only who
// may do the same with every store is told that it does not.
func AuthorizeUnknown(ctx context.Context) error { return Authorize(ctx, Store{}) }

// Visible reports whether the caller of a context may know that a store exists: any
// permission will do.
func Visible(ctx context.Context, store Store) bool {
	c := CallOf(ctx)
	if c == nil {
		return true
	}
	c.asked.Store(true)
	return c.Caller.Grants.On(store) != 0
}

// Authorize is the function of that name, for one call.
func (c *Call) Authorize(store Store) error {
	if c.permitted(store) {
		return nil
	}
	return c.forbidden()
}

// Filtered says that whatever the caller of a context is shown from here on is passed
// through Visible or Permitted, so that it is judged even if there is nothing to show.
func Filtered(ctx context.Context) {
	if c := CallOf(ctx); c != nil {
		c.asked.Store(true)
	}
}

func (c *Call) permitted(store Store) bool {
	if !c.asked.Load() {
		c.asked.Store(true)
	}
	if c.Need == 0 || !c.Caller.Grants.On(store).Has(c.Need) {
		return false
	}
	if c.Lasting {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.stores == nil {
			c.stores = map[Store]struct{}{}
		}
		c.stores[store] = struct{}{}
	}
	return true
}

// Asked reports whether anything was authorized: a call that needs a permission and never
// was judged must not be answered.
func (c *Call) Asked() bool { return c.asked.Load() }

// Lost reports whether a lasting call was permitted something that its caller, with these
// grants instead, may not do any more.
func (c *Call) Lost(now *Grants) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for store := range c.stores {
		if !now.On(store).Has(c.Need) {
			return c.forbidden()
		}
	}
	return nil
}

func (c *Call) forbidden() error {
	return fmt.Errorf("%w: %s needs the permission %s on this store", ErrForbidden, c.Caller.Principal, c.Need)
}
