// Package gatetest makes credentials for tests: certificates of a CA of their own, and
// tokens of an identity provider that listens on loopback.
package gatetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A CA signs certificates.
type CA struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA makes a CA that nobody else knows.
func NewCA(t *testing.T, name string) *CA {
	t.Helper()
	ca := &CA{t: t}
	ca.cert, ca.key = ca.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return ca
}

// sign signs a certificate, by itself if there is no CA yet.
func (ca *CA) sign(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	ca.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		ca.t.Fatal(err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100)); err != nil {
		ca.t.Fatal(err)
	}
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-time.Hour)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(24 * time.Hour)
	}
	parent, by := ca.cert, ca.key
	if parent == nil {
		parent, by = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		ca.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		ca.t.Fatal(err)
	}
	return cert, key
}

// A Certificate says what a certificate is to hold. By default it is valid for a day.
type Certificate struct {
	CommonName          string
	DNS, URIs           []string
	NotBefore, NotAfter time.Time
}

// Server is a certificate for this machine's loopback addresses, and for more names.
func (ca *CA) Server(c Certificate) Pair {
	ca.t.Helper()
	return ca.pair(c, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, net.IPv4(127, 0, 0, 1), net.IPv6loopback)
}

// Node is a certificate for a node of a cluster on this machine's loopback addresses: others
// dial it, and it dials others.
func (ca *CA) Node(c Certificate) Pair {
	ca.t.Helper()
	return ca.pair(c, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, net.IPv4(127, 0, 0, 1), net.IPv6loopback)
}

// Client is a certificate for a client.
func (ca *CA) Client(c Certificate) Pair {
	ca.t.Helper()
	return ca.pair(c, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth})
}

func (ca *CA) pair(c Certificate, usages []x509.ExtKeyUsage, ips ...net.IP) Pair {
	ca.t.Helper()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: c.CommonName}, DNSNames: c.DNS, IPAddresses: ips, NotBefore: c.NotBefore, NotAfter: c.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: usages,
	}
	for _, text := range c.URIs {
		u, err := url.Parse(text)
		if err != nil {
			ca.t.Fatal(err)
		}
		template.URIs = append(template.URIs, u)
	}
	cert, key := ca.sign(template)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		ca.t.Fatal(err)
	}
	return Pair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
	}
}

// PEM is the CA's own certificate.
func (ca *CA) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})
}

// Pool holds the CA alone.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// A Pair is a certificate and its key, as PEM.
type Pair struct{ Cert, Key []byte }

// TLS is the pair for a connection.
func (p Pair) TLS(t *testing.T) tls.Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// Files writes the pair into a folder, in the place of those that stand there under the
// same name.
func (p Pair) Files(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	return File(t, dir, name+".crt", p.Cert), File(t, dir, name+".key", p.Key)
}

// File writes a file that nobody else may read, in the place of one that stands there.
func File(t *testing.T, dir, name string, data []byte) string {
	t.Helper()
	name = filepath.Join(dir, name)
	if err := os.WriteFile(name+".new", data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
	return name
}
