package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/remit-authz/remit/cmd/remit/server"
	"github.com/remit-authz/remit/rpc"
	"github.com/remit-authz/remit/rpc/gate"
)

// securitySettings are those of who is let in, and over which connections. None of them
// is a secret: they name files, and the files are.
func securitySettings(s *settings, c *server.Config) {
	s.text(&c.TLS.CertFile, "tls-cert", "", "serve TLS with the certificate in this `file`, as PEM, followed by those up to its CA")
	s.text(&c.TLS.KeyFile, "tls-key", "", "the `file` of the certificate's private key, as PEM")
	s.text(&c.TLS.ClientCAFile, "tls-client-ca", "", "the `file` of the CAs whose client certificates are taken, as PEM")
	s.choice((*string)(&c.TLS.ClientAuth), "tls-client-auth", string(rpc.ClientAuthOff), rpc.ClientAuths(), "`whether` clients show certificates: off, optional or required")
	s.text(&c.Identity.RootKeyFile, "root-key-file", "", "ask callers who they are, and take the key in this `file` as the operator's")
	s.boolean(&c.Identity.Required, "authenticate", false, "ask callers who they are, even without --root-key-file, --oidc-issuer and --tls-client-auth")
	s.text(&c.Identity.OIDC.Issuer, "oidc-issuer", "", "take tokens of the identity provider at this `URL`")
	s.text(&c.Identity.OIDC.Audience, "oidc-audience", "", "take tokens for this `audience` alone")
	s.text(&c.Identity.OIDC.SubjectClaim, "oidc-subject-claim", gate.DefaultSubjectClaim, "the `claim` that says whose a token is")
	s.text(&c.Identity.OIDC.GrantsClaim, "oidc-grants-claim", "", "the `claim` that lists what a token grants; without it, what is stored for its principal counts")
}

// reloadOnHangup reads the files of TLS and of keys again when the process is told to,
// until ctx is done. Without any, a hangup ends the process as it does any other.
func reloadOnHangup(ctx context.Context, s *server.Server, config *server.Config) {
	if !config.TLS.Enabled() && !config.Peers.TLS.Enabled() && config.Peers.Gossip.KeyFile == "" {
		return
	}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	go func() {
		defer signal.Stop(hangups)
		for {
			select {
			case <-hangups:
				s.Reload(ctx)
			case <-ctx.Done():
				return
			}
		}
	}()
}
