package gate

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/remit-authz/remit/rpc/identity"
)

// PrefixCertificate begins the principals of client certificates.
const PrefixCertificate = "cert:"

// A CertificateJudge knows which clients' certificates are good now: a connection may be
// older than the list of the CAs that are known.
type CertificateJudge interface {
	// Known says what is wrong with a chain, the client's own certificate first.
	Known(chain []*x509.Certificate) error
	// Generation is another whenever Known may say otherwise of the same certificate, but
	// for the time that passes.
	Generation() any
}

// Certificates recognises clients by their certificates.
type Certificates struct {
	judge CertificateJudge
	clock func() time.Time
	known cache
}

// NewCertificates recognises the certificates that a judge takes.
func NewCertificates(judge CertificateJudge, clock func() time.Time) *Certificates {
	return &Certificates{judge: judge, clock: clock}
}

// Authenticate implements CertificateAuthenticator. A certificate that has expired, or
// whose CA is not known any more, is one of a stranger, however old its connection is.
func (c *Certificates) Authenticate(_ context.Context, chain []*x509.Certificate) (*identity.Caller, error) {
	leaf, now := chain[0], c.clock()
	if now.After(leaf.NotAfter) {
		return nil, fmt.Errorf("%w: the client's certificate; this server's clock says %s", identity.Expired(leaf.NotAfter), instant(now))
	}
	generation, key := c.judge.Generation(), sha256.Sum256(leaf.Raw)
	if caller := c.known.find(generation, key, now); caller != nil {
		return caller, nil
	}
	if err := c.judge.Known(chain); err != nil {
		return nil, fmt.Errorf("%w: the client's certificate is not taken: %w", identity.ErrUnauthenticated, err)
	}
	name, err := certificateName(leaf)
	if err != nil {
		return nil, fmt.Errorf("%w: the name in the client's certificate %w", identity.ErrUnauthenticated, err)
	}
	caller := &identity.Caller{Principal: PrefixCertificate + name, Expires: leaf.NotAfter}
	for _, cert := range chain[1:] {
		if cert.NotAfter.Before(caller.Expires) {
			caller.Expires = cert.NotAfter // the leaf is worth nothing without those above it
		}
	}
	c.known.add(generation, key, caller, now)
	return caller, nil
}

// certificateName is whom a certificate is for: its first URI, else its first DNS name,
// else its common name. The latter two are no URIs: many a CA that guards whose URI it
// signs lets everybody choose a common name.
func certificateName(cert *x509.Certificate) (string, error) {
	if len(cert.URIs) > 0 {
		name := cert.URIs[0].String()
		return name, checkName(name)
	}
	name := cert.Subject.CommonName
	if len(cert.DNSNames) > 0 {
		name = cert.DNSNames[0]
	}
	if strings.Contains(name, "://") {
		return "", errors.New("is a URI, and does not stand where its URIs do")
	}
	return name, checkName(name)
}

// maxName bounds a name that somebody else has given: it is recorded with each change.
const maxName = 256

// checkName refuses names that nobody could read in a log. The fault continues a sentence.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("is empty")
	case len(name) > maxName:
		return fmt.Errorf("is longer than %d bytes", maxName)
	case !utf8.ValidString(name):
		return errors.New("is no text")
	}
	for _, r := range name {
		if !unicode.IsGraphic(r) {
			return errors.New("holds characters that cannot be seen")
		}
	}
	return nil
}

// instant is a time as errors tell it.
func instant(t time.Time) string { return t.UTC().Format(time.RFC3339) }
