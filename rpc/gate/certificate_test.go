package gate

import (
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/remit-authz/remit/rpc/gate/gatetest"
	"github.com/remit-authz/remit/rpc/identity"
)

// A poolJudge knows the clients of a CA, and counts how often it is asked.
type poolJudge struct {
	roots *x509.CertPool
	asked int
}

func (j *poolJudge) Generation() any { return j.roots }

func (j *poolJudge) Known(chain []*x509.Certificate) error {
	j.asked++
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: j.roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return err
}

func TestWhoseACertificateIs(t *testing.T) {
	ca, clock := gatetest.NewCA(t, "ours"), newHandClock()
	judge := &poolJudge{roots: ca.Pool()}
	c := NewCertificates(judge, clock.Now)
	for _, test := range []struct {
		name       string
		of         gatetest.Certificate
		want, fail string
	}{
		{"a URI goes first", gatetest.Certificate{CommonName: "cn", DNS: []string{"a.test"}, URIs: []string{"spiffe://a/b", "spiffe://c"}}, "cert:spiffe://a/b", ""},
		{"then a DNS name", gatetest.Certificate{CommonName: "cn", DNS: []string{"a.test", "b.test"}}, "cert:a.test", ""},
		{"then the common name", gatetest.Certificate{CommonName: "the application"}, "cert:the application", ""},
		{"no name", gatetest.Certificate{}, "", "the name in the client's certificate is empty"},
		{"a URI in the place of a common name", gatetest.Certificate{CommonName: "spiffe://a/b"}, "", "is a URI, and does not stand where its URIs do"},
		{"a URI in the place of a DNS name", gatetest.Certificate{DNS: []string{"spiffe://a/b"}}, "", "is a URI, and does not stand where its URIs do"},
		{"a name over two lines", gatetest.Certificate{CommonName: "a\nroot"}, "", "holds characters that cannot be seen"},
	} {
		chain := []*x509.Certificate{ca.Client(test.of).TLS(t).Leaf}
		caller, err := c.Authenticate(t.Context(), chain)
		switch {
		case test.fail != "":
			if !errors.Is(err, identity.ErrUnauthenticated) || !strings.Contains(err.Error(), test.fail) {
				t.Errorf("%s: %v, want %s", test.name, err, test.fail)
			}
		case err != nil:
			t.Errorf("%s: %v", test.name, err)
		case caller.Principal != test.want || !caller.Expires.Equal(chain[0].NotAfter) || !caller.Grants.None():
			t.Errorf("%s: %+v, want %s", test.name, caller, test.want)
		}
	}
}

// A certificate is worth nothing after the end of one between it and its CA.
func TestACertificateEndsWithItsChain(t *testing.T) {
	ca, clock := gatetest.NewCA(t, "ours"), newHandClock()
	c := NewCertificates(&poolJudge{roots: ca.Pool()}, clock.Now)
	between := &x509.Certificate{NotAfter: clock.Now().Add(time.Hour)}
	chain := []*x509.Certificate{ca.Client(gatetest.Certificate{CommonName: "app"}).TLS(t).Leaf, between}
	caller, err := c.Authenticate(t.Context(), chain)
	if err != nil || !caller.Expires.Equal(between.NotAfter) {
		t.Errorf("%+v, %v, want one until %s", caller, err, between.NotAfter)
	}
}

// A connection outlives neither its certificate nor the CA that has signed it.
func TestACertificateIsJudgedAgain(t *testing.T) {
	ca, clock := gatetest.NewCA(t, "ours"), newHandClock()
	judge := &poolJudge{roots: ca.Pool()}
	c := NewCertificates(judge, clock.Now)
	chain := []*x509.Certificate{ca.Client(gatetest.Certificate{CommonName: "app"}).TLS(t).Leaf}
	for range 3 {
		if _, err := c.Authenticate(t.Context(), chain); err != nil {
			t.Fatal(err)
		}
	}
	if judge.asked != 1 {
		t.Errorf("it is verified %d times", judge.asked)
	}
	judge.roots = gatetest.NewCA(t, "theirs").Pool()
	if _, err := c.Authenticate(t.Context(), chain); !errors.Is(err, identity.ErrUnauthenticated) || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("when its CA was removed: %v", err)
	}
	judge.roots = ca.Pool()
	clock.pass(25 * time.Hour)
	if _, err := c.Authenticate(t.Context(), chain); !errors.Is(err, identity.ErrExpired) {
		t.Errorf("after its end: %v", err)
	}
}
