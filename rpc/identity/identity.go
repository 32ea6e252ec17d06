// Package identity says who calls, and what they may do.
//
// A server that asks callers who they are puts a Call into the context of each. Whatever
// opens a store asks Authorize, at the one place where stores are opened; what concerns no
// store is judged before its handler begins. A context without a Call belongs to a server
// that asks nobody.
package identity

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

var (
	// ErrUnauthenticated says that the caller has no credentials, or none that are valid
	// here and now. Its text never holds any of them.
	ErrUnauthenticated = errors.New("not authenticated")
	// ErrForbidden says that the caller is known, and may not do this.
	ErrForbidden = errors.New("not permitted")
	// ErrGrant says that the text of a grant cannot be read.
	ErrGrant = errors.New("invalid grant")
)

// A Caller is somebody who proved who they are. It is not changed once it is made.
type Caller struct {
	// Principal is the caller's name: key:NAME of a bearer key, cert:NAME of a
	// certificate, oidc:SUBJECT of a token of the identity provider, root of the root key.
	// Changes are recorded under it.
	Principal string
	// Grants is what the caller may do.
	Grants Grants
	// Expires is when the credentials cease to be valid; zero: never.
	Expires time.Time
}

// A Call is one call of an authenticated caller.
type Call struct {
	Caller *Caller
	// Need is what the call does with each store that it opens; 0 for a call that opens
	// none.
	Need Permissions

	asked atomic.Bool
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
	c := CallOf(ctx)
	if c == nil {
		return nil
	}
	c.asked.Store(true)
	if c.Need != 0 && c.Caller.Grants.On(store).Has(c.Need) {
		return nil
	}
	return c.forbidden()
}

// Permitted is Authorize for one store of many, which is passed over if it is not permitted.
func Permitted(ctx context.Context, store Store) bool {
	c := CallOf(ctx)
	if c == nil {
		return true
	}
	c.asked.Store(true)
	return c.Need != 0 && c.Caller.Grants.On(store).Has(c.Need)
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

// Asked reports whether anything was authorized: a call that needs a permission and never
// was judged must not be answered.
func (c *Call) Asked() bool { return c.asked.Load() }

func (c *Call) forbidden() error {
	return fmt.Errorf("%w: %s needs the permission %s on this store", ErrForbidden, c.Caller.Principal, c.Need)
}
