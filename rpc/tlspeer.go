package rpc

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// ValidatePeers reports what is missing to secure the connections between the nodes of a
// cluster, by settings of certificate, key and CAs that go by the names given. Between
// nodes each side shows a certificate and verifies the other's, so all three are needed.
func (c *TLSConfig) ValidatePeers(cert, key, ca string) error {
	var faults []error
	for _, f := range []struct{ setting, file, what string }{
		{cert, c.CertFile, "the node's certificate"},
		{key, c.KeyFile, "its private key"},
		{ca, c.ClientCAFile, "the CAs by whose certificates the nodes know each other"},
	} {
		if f.file == "" {
			faults = append(faults, fmt.Errorf("%s is missing, the file of %s: nodes secure their connections with all three of %s, %s and %s",
				f.setting, f.what, cert, key, ca))
		}
	}
	if c.ClientAuth != "" && c.ClientAuth != ClientAuthRequired {
		faults = append(faults, fmt.Errorf("nodes cannot know each other by certificates that are %s", c.ClientAuth))
	}
	return errors.Join(faults...)
}

// Peer is what the port of a cluster's node needs for connections that come in and that go
// out. The configuration must have ClientAuthRequired. Both sides show the certificate of
// the files, so it must be good for servers and for clients, and verify the other's, by the
// CAs as the files have them at that moment. With a name, every node's certificate must
// bear it. Without one, a node that is dialled must bear the host that it was dialled by;
// of one that dials no host is known, so any certificate of the CAs will do.
//
// What becomes of a certificate later does not end a connection that is there.
func (c *Certificates) Peer(name string) (server, client *tls.Config) {
	verify := func(s tls.ConnectionState, name string, usage x509.ExtKeyUsage) error {
		return c.verifyPeer(s.PeerCertificates, name, usage)
	}
	server = &tls.Config{MinVersion: tls.VersionTLS13}
	server.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		now := c.current.Load()
		return &tls.Config{
			MinVersion:   tls.VersionTLS13,
			Certificates: []tls.Certificate{now.pair},
			ClientCAs:    now.clients, // to tell the other side which certificate to show
			ClientAuth:   tls.RequireAndVerifyClientCert,
			Time:         c.clock,
			// A session that is resumed would bring a node back whose CA has been removed.
			SessionTicketsDisabled: true,
			VerifyConnection: func(s tls.ConnectionState) error {
				return verify(s, name, x509.ExtKeyUsageClientAuth)
			},
		}, nil
	}
	client = &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: name,
		Time:       c.clock,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &c.current.Load().pair, nil
		},
		// The library would verify by the CAs that were there when this was made. What this
		// leaves out, VerifyConnection does.
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			if s.ServerName == "" {
				return errors.New("the name that the other side must have is not known")
			}
			return verify(s, s.ServerName, x509.ExtKeyUsageServerAuth)
		},
	}
	return server, client
}

// verifyPeer reports why a node's certificate is not good.
func (c *Certificates) verifyPeer(chain []*x509.Certificate, name string, usage x509.ExtKeyUsage) error {
	if len(chain) == 0 {
		return errors.New("the other side has shown no certificate")
	}
	roots := c.current.Load().clients
	if roots == nil {
		return errors.New("there are no CAs to know other nodes by")
	}
	between := x509.NewCertPool()
	for _, cert := range chain[1:] {
		between.AddCert(cert)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		DNSName: name, Roots: roots, Intermediates: between, CurrentTime: c.clock(), KeyUsages: []x509.ExtKeyUsage{usage},
	})
	if err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: chain, Err: err}
	}
	return nil
}
