package gate

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/remit-authz/remit/rpc/identity"
)

// Administers says why a request may not see what concerns the whole cluster; nil if its
// caller has the grant cluster. A server that asks nobody refuses nobody.
func (g *Gate) Administers(r *http.Request) error {
	if !g.Enabled() {
		return nil
	}
	authorization, err := oneOf(r.Header.Values(headerAuthorization))
	if err != nil {
		return err
	}
	caller, err := g.authenticate(WithTLS(r.Context(), r.TLS), authorization)
	if err == nil && !caller.Grants.Cluster {
		err = fmt.Errorf("%w: %s needs the grant cluster", identity.ErrForbidden, caller.Principal)
	}
	return err
}

// Refuse answers a request that is not permitted, in words.
func Refuse(w http.ResponseWriter, err error) {
	status, text := http.StatusInternalServerError, "internal error"
	switch {
	case errors.Is(err, identity.ErrUnauthenticated):
		status, text = http.StatusUnauthorized, err.Error()
		w.Header().Set(HeaderChallenge, Challenge)
	case errors.Is(err, identity.ErrForbidden):
		status, text = http.StatusForbidden, err.Error()
	case errors.Is(err, ErrIssuer):
		status, text = http.StatusServiceUnavailable, err.Error()
	}
	http.Error(w, text, status)
}
