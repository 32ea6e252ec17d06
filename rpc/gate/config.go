package gate

import (
	"context"
	"crypto/x509"
	"errors"
	"time"

	"github.com/remit-authz/remit/rpc/identity"
)

// Config is who is let in. The zero value asks nobody, as a server for development on
// loopback does.
type Config struct {
	// Required says that callers are asked who they are. It is what Enabled returns once
	// one way of answering is configured, and may be set without any: then the keys that
	// were made are the only way in.
	Required bool
	// Root is the key of the operator, who may do everything; nil: there is none.
	Root *RootKey
	// Bearers recognise the tokens that are no keys of ours, in turn.
	Bearers []BearerAuthenticator
	// Certificates recognises client certificates; nil: they are none's credentials.
	Certificates CertificateAuthenticator
}

// Enabled reports whether callers are asked who they are.
func (c *Config) Enabled() bool {
	return c.Required || c.Root != nil || len(c.Bearers) > 0 || c.Certificates != nil
}

// Validate reports every fault.
func (c *Config) Validate() error {
	for _, b := range c.Bearers {
		if b == nil {
			return errors.New("an authenticator of bearer tokens is missing")
		}
	}
	return nil
}

// A BearerAuthenticator recognises tokens of others, such as an identity provider's.
type BearerAuthenticator interface {
	// Authenticate says who brings a token, and until when it is valid. The caller's grants
	// are those that the token itself gives, if any: the gate adds those that are stored
	// for the principal. An error that is identity.ErrUnauthenticated says what is wrong
	// with the token, without its text; identity.ErrNotMine leaves it to the next.
	Authenticate(ctx context.Context, token string) (*identity.Caller, error)
}

// A CertificateAuthenticator says whose a client's certificate is.
type CertificateAuthenticator interface {
	// Authenticate gets a chain that the handshake has verified, the client's own
	// certificate first. It answers as a BearerAuthenticator does.
	Authenticate(ctx context.Context, chain []*x509.Certificate) (*identity.Caller, error)
}

// A Keyring knows the keys that were given out, and what principals may do.
type Keyring interface {
	// Authenticate says who brings a key. identity.ErrNotMine says that the token has not
	// the form of one.
	Authenticate(token string) (*identity.Caller, error)
	// Grants is what a principal may do, as far as it is stored.
	Grants(principal string) (identity.Grants, error)
	// Now is the time by which credentials expire.
	Now() time.Time
}
