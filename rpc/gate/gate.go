package gate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/remit-authz/remit/rpc/identity"
)

// headerAuthorization is where a call brings its token.
const headerAuthorization = "Authorization"

// HeaderChallenge tells an HTTP client that it must say who it is, and Challenge how.
const (
	HeaderChallenge = "Www-Authenticate"
	Challenge       = `Bearer realm="remit"`
)

// recheckInterval is how often a stream is judged again: it ends that long after its
// credentials were revoked, or a little later.
const recheckInterval = time.Second

// A Gate stands before the handlers of every face. It is safe for concurrent use.
type Gate struct {
	config  Config
	keyring Keyring
	recheck time.Duration
}

// New makes a gate. The configuration must be valid.
func New(config Config, keyring Keyring) *Gate {
	return &Gate{config: config, keyring: keyring, recheck: recheckInterval}
}

// Enabled reports whether callers are asked who they are. A nil gate asks nobody.
func (g *Gate) Enabled() bool { return g != nil && g.config.Enabled() }

// Interceptors are what a face puts behind its own mapping of errors and before
// everything that reads messages; none on a server that asks nobody.
func (g *Gate) Interceptors() []connect.ServerInterceptor {
	if !g.Enabled() {
		return nil
	}
	return []connect.ServerInterceptor{g.intercept}
}

func (g *Gate) intercept(next connect.ServerFunc) connect.ServerFunc {
	return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
		r, ok := procedures[spec.Procedure]
		switch {
		case !ok:
			return fmt.Errorf("%w: nobody has said who may call %s", identity.ErrForbidden, spec.Procedure)
		case r.kind == public:
			return next(ctx, spec, stream)
		}
		info, ok := connect.CallInfoForServerContext(ctx)
		if !ok {
			info = &connect.CallInfo{} // a handler that a test calls by itself
		}
		authorization, err := oneOf(info.RequestHeader().Values(headerAuthorization))
		caller, admitted := admittedCaller(ctx)
		if err == nil && !admitted {
			caller, err = g.authenticate(ctx, authorization)
		}
		if err != nil {
			info.ResponseHeader().Set(HeaderChallenge, Challenge)
			return err
		}
		s := &session{
			ServerStream: stream,
			gate:         g, rule: r, authorization: authorization,
			call: identity.Call{Caller: caller, Need: r.need, Lasting: spec.StreamType != connect.StreamTypeUnary},
		}
		if err := s.admit(spec.Procedure); err != nil {
			return err
		}
		ctx = identity.WithCall(ctx, &s.call)
		if s.call.Lasting {
			return s.last(ctx, spec, next)
		}
		return next(ctx, spec, s)
	}
}

// authenticate says who calls: whose token it is that the call brings, or else whose
// certificate the connection has.
func (g *Gate) authenticate(ctx context.Context, authorization string) (*identity.Caller, error) {
	caller, err := g.recognise(ctx, authorization)
	if err != nil {
		return nil, err
	}
	if !caller.Expires.IsZero() && !g.keyring.Now().Before(caller.Expires) {
		return nil, identity.Expired(caller.Expires)
	}
	return caller, nil
}

func (g *Gate) recognise(ctx context.Context, authorization string) (*identity.Caller, error) {
	if authorization == "" {
		chain := certificates(ctx)
		if chain == nil || g.config.Certificates == nil {
			return nil, identity.ErrNoCredentials
		}
		caller, err := g.config.Certificates.Authenticate(ctx, chain)
		return g.granted(caller, err)
	}
	token, ok := bearer(authorization)
	if !ok {
		return nil, errMalformed
	}
	caller, err := g.keyring.Authenticate(token)
	if !errors.Is(err, identity.ErrNotMine) {
		return caller, err
	}
	if g.config.Root != nil && g.config.Root.is(token) {
		return rootCaller, nil
	}
	for _, b := range g.config.Bearers {
		if caller, err = b.Authenticate(ctx, token); !errors.Is(err, identity.ErrNotMine) {
			return g.granted(caller, err)
		}
	}
	return nil, errUnknown
}

// oneOf is what the header Authorization says; empty if it is not there. Of two values this
// server might judge one, and what stands before it the other.
func oneOf(values []string) (string, error) {
	if len(values) == 0 {
		return "", nil
	}
	for _, other := range values[1:] {
		if other != values[0] {
			return "", errSeveral
		}
	}
	return values[0], nil
}

var (
	errSeveral   = fmt.Errorf("%w: the header Authorization is there more than once, each time with another value", identity.ErrUnauthenticated)
	errMalformed = fmt.Errorf("%w: the header Authorization must be: Bearer, a space, and one token", identity.ErrUnauthenticated)
	errUnknown   = fmt.Errorf("%w: the token is none that this server knows", identity.ErrUnauthenticated)
)

// granted adds what is stored for a principal to what the credentials give.
func (g *Gate) granted(caller *identity.Caller, err error) (*identity.Caller, error) {
	if err != nil {
		return nil, err
	}
	stored, err := g.keyring.Grants(caller.Principal)
	switch {
	case err != nil:
		return nil, err
	case stored.None():
		return caller, nil
	}
	more := *caller
	more.Grants = caller.Grants.Union(stored)
	return &more, nil
}

// bearer takes the token out of the value of the header.
func bearer(authorization string) (string, bool) {
	const scheme = "Bearer "
	if len(authorization) <= len(scheme) || !equalFold(authorization[:len(scheme)], scheme) {
		return "", false
	}
	token := authorization[len(scheme):]
	for len(token) > 0 && token[0] == ' ' {
		token = token[1:]
	}
	for i := range len(token) {
		if token[i] <= ' ' || token[i] > '~' {
			return "", false
		}
	}
	return token, token != ""
}

// equalFold compares ASCII, whose case does not count in the name of a scheme.
func equalFold(a, b string) bool {
	for i := range len(b) {
		x, y := a[i], b[i]
		if x != y && x|0x20 != y|0x20 {
			return false
		}
	}
	return true
}
