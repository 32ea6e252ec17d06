package gate

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/remit-authz/remit/rpc/identity"
)

type certificatesKey struct{}

// WithTLS notes the client's certificate of a connection, if the handshake has verified
// one, so that every call over it can be recognised by it.
func WithTLS(ctx context.Context, state *tls.ConnectionState) context.Context {
	if state == nil || len(state.VerifiedChains) == 0 || len(state.VerifiedChains[0]) == 0 {
		return ctx
	}
	return context.WithValue(ctx, certificatesKey{}, state.VerifiedChains[0])
}

// certificates is the chain of the client's certificate; nil if there is none.
func certificates(ctx context.Context) []*x509.Certificate {
	chain, _ := ctx.Value(certificatesKey{}).([]*x509.Certificate)
	return chain
}

// Certified notes the client certificates of an HTTP server's connections.
func Certified(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ctx := WithTLS(r.Context(), r.TLS); ctx != r.Context() {
			r = r.WithContext(ctx)
		}
		next.ServeHTTP(w, r)
	})
}

type admittedKey struct{}

// admittedCaller is who calls, if Admit has found that out already.
func admittedCaller(ctx context.Context) (*identity.Caller, bool) {
	c, ok := ctx.Value(admittedKey{}).(*identity.Caller)
	return c, ok
}

// Admit says who makes an HTTP request before any of its body is read, for a handler that
// reads it before it calls a procedure. The context that it returns spares the procedure
// to ask again. On a server that asks nobody it does nothing.
func (g *Gate) Admit(ctx context.Context, header http.Header) (context.Context, error) {
	if !g.Enabled() {
		return ctx, nil
	}
	authorization, err := oneOf(header.Values(headerAuthorization))
	if err != nil {
		return nil, err
	}
	caller, err := g.authenticate(ctx, authorization)
	if err != nil {
		return nil, err
	}
	return context.WithValue(ctx, admittedKey{}, caller), nil
}

// Know reports whether a call is made by anybody with an identity: what serves no
// procedure of a face, such as reflection, asks this. The values are those of the header
// Authorization.
func (g *Gate) Know(ctx context.Context, values []string) error {
	if !g.Enabled() {
		return nil
	}
	authorization, err := oneOf(values)
	if err == nil {
		_, err = g.authenticate(ctx, authorization)
	}
	return err
}

// Guard lets a plain HTTP handler be used by anybody with an identity.
func (g *Gate) Guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := g.Know(r.Context(), r.Header.Values(headerAuthorization))
		if err == nil {
			next.ServeHTTP(w, r)
			return
		}
		status, text := http.StatusInternalServerError, "internal error"
		if errors.Is(err, identity.ErrUnauthenticated) {
			status, text = http.StatusUnauthorized, err.Error()
			w.Header().Set(HeaderChallenge, Challenge)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		// Two strings, and a client that may have gone.
		_ = json.NewEncoder(w).Encode(map[string]string{"code": "unauthenticated", "message": text})
	})
}
