package gate

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"strings"

	"github.com/remit-authz/remit/rpc/identity"
)

// RootPrincipal is the principal of the root key.
const RootPrincipal = "root"

// MinRootKey is how many bytes a root key has at least: 128 bits, written as hex.
const MinRootKey = 32

// A RootKey is the operator's key, for the beginning and for emergencies. It holds a hash:
// the secret is drawn at random, and so cannot be found by trying what people choose.
type RootKey struct{ hash [sha256.Size]byte }

var rootCaller = &identity.Caller{Principal: RootPrincipal, Grants: identity.Grants{Cluster: true}}

// NewRootKey reads a root key as it stands in a file: what is around it in white space does
// not count. The error does not tell what was given.
func NewRootKey(secret string) (*RootKey, error) {
	secret = strings.TrimSpace(secret)
	if len(secret) < MinRootKey {
		return nil, fmt.Errorf("the root key has %d characters, must have %d at least: draw it at random, as openssl rand -hex 32 does", len(secret), MinRootKey)
	}
	for _, c := range []byte(secret) {
		if c <= ' ' || c > '~' {
			return nil, fmt.Errorf("the root key must be one word of ASCII, on one line")
		}
	}
	return &RootKey{sha256.Sum256([]byte(secret))}, nil
}

// is reports whether a token is the key, in a time that does not depend on it.
func (k *RootKey) is(token string) bool {
	var room [128]byte // on the stack, if the token fits
	hash := sha256.Sum256(append(room[:0], token...))
	return subtle.ConstantTimeCompare(hash[:], k.hash[:]) == 1
}

// LogValue keeps even the hash out of logs.
func (*RootKey) LogValue() slog.Value { return slog.StringValue("(hidden)") }

// String hides the hash.
func (*RootKey) String() string { return "(hidden)" }

// GoString hides the hash.
func (*RootKey) GoString() string { return "(hidden)" }
