// Package identity says who calls, and what they may do.
//
// A server that asks callers who they are puts a Call into the context of each. Whatever
// opens a store asks Authorize, at the one place where stores are opened; what concerns no
// store is judged before its handler begins. A context without a Call belongs to a server
// that asks nobody.
package identity

import "time"

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
