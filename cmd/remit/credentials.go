package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/spf13/pflag"
)

// A credentials is by what the program shows who it is, and by what it knows the server.
type credentials struct {
	token, tokenFile      string // flags --token and --token-file
	caFile                string // flag --ca-file
	clientCert, clientKey string // flags --client-cert and --client-key
}

func (c *credentials) flags(flags *pflag.FlagSet) {
	flags.StringVar(&c.token, "token", "", "bearer token for the server (default $REMIT_TOKEN)")
	flags.StringVar(&c.tokenFile, "token-file", "", "the `file` of the bearer token, read for each call (default $REMIT_TOKEN_FILE)")
	flags.StringVar(&c.caFile, "ca-file", "", "the `file` of the CAs that sign the server's certificate (default $REMIT_CA_FILE, or the system's)")
	flags.StringVar(&c.clientCert, "client-cert", "", "the `file` of a client certificate (default $REMIT_CLIENT_CERT)")
	flags.StringVar(&c.clientKey, "client-key", "", "the `file` of its private key (default $REMIT_CLIENT_KEY)")
}

// resolve takes from the environment what no flag says. A token of a flag goes before both
// variables, however it is given.
func (c *credentials) resolve() error {
	if c.token != "" && c.tokenFile != "" {
		return errors.New("--token and --token-file are both given; one is enough")
	}
	if c.token == "" && c.tokenFile == "" {
		c.token, c.tokenFile = os.Getenv("REMIT_TOKEN"), os.Getenv("REMIT_TOKEN_FILE")
		if c.token != "" && c.tokenFile != "" {
			return errors.New("REMIT_TOKEN and REMIT_TOKEN_FILE are both set; one is enough")
		}
	}
	c.caFile = firstOf(c.caFile, os.Getenv("REMIT_CA_FILE"))
	c.clientCert = firstOf(c.clientCert, os.Getenv("REMIT_CLIENT_CERT"))
	c.clientKey = firstOf(c.clientKey, os.Getenv("REMIT_CLIENT_KEY"))
	switch {
	case c.clientCert != "" && c.clientKey == "":
		return fmt.Errorf("the client certificate %s needs its private key; name it with --client-key or REMIT_CLIENT_KEY", c.clientCert)
	case c.clientCert == "" && c.clientKey != "":
		return fmt.Errorf("the private key %s needs its client certificate; name it with --client-cert or REMIT_CLIENT_CERT", c.clientKey)
	}
	return nil
}

// given reports whether there are any by which the server could know who calls.
func (c *credentials) given() bool { return c.token != "" || c.tokenFile != "" || c.clientCert != "" }

// bringsToken reports whether calls bring a token.
func (c *credentials) bringsToken() bool { return c.token != "" || c.tokenFile != "" }

// wantTLS reports whether any of it is about TLS.
func (c *credentials) wantTLS() bool { return c.caFile != "" || c.clientCert != "" }

// maxCredentials bounds a file of credentials.
const maxCredentials = 1 << 20

// bearer is the token for one call. A file is read each time: whoever renews tokens
// replaces it.
func (c *credentials) bearer() (string, error) {
	if c.tokenFile == "" {
		return c.token, nil
	}
	data, err := readCredentials(c.tokenFile)
	if err != nil {
		return "", fmt.Errorf("the token: %w", err)
	}
	token := string(bytes.TrimSpace(data))
	if token == "" || strings.ContainsAny(token, " \t\r\n") {
		return "", fmt.Errorf("the token: %s must hold one token on one line", c.tokenFile)
	}
	return token, nil
}

func readCredentials(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fileReason(name, err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxCredentials+1))
	if err != nil {
		return nil, fileReason(name, err)
	}
	if len(data) > maxCredentials {
		return nil, fmt.Errorf("%s is longer than %d bytes", name, maxCredentials)
	}
	return data, nil
}

// tls is how a connection is made secure.
func (c *credentials) tls() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.caFile != "" {
		data, err := readCredentials(c.caFile)
		if err != nil {
			return nil, fmt.Errorf("the CAs of the server: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("the CAs of the server: %s holds no certificate; PEM is expected", c.caFile)
		}
	}
	if c.clientCert != "" {
		pair, err := tls.LoadX509KeyPair(c.clientCert, c.clientKey)
		if err != nil {
			return nil, fmt.Errorf("the client certificate %s with the key %s: %w", c.clientCert, c.clientKey, err)
		}
		// It is shown whatever CAs the server names: a server that does not take it says
		// why, and one that was shown none could not.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	return config, nil
}

// refusal asks a server that has ended a connection without a word why it did. A server
// refuses a client's certificate after the client has taken the connection for secure, and
// what it says then is lost if the client is writing.
func (c *credentials) refusal(base string) error {
	const patience = 3 * time.Second
	u, err := url.Parse(base)
	if err != nil {
		return err
	}
	config, err := c.tls()
	if err != nil {
		return err
	}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", net.JoinHostPort(u.Hostname(), firstOf(u.Port(), "443")), config)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1)) // a server that is content waits, too
	return err
}

// authorize adds the token to every call.
func (c *credentials) authorize(next connect.ClientFunc) connect.ClientFunc {
	return func(ctx context.Context, spec connect.Spec) (connect.ClientStream, error) {
		token, err := c.bearer()
		if err != nil {
			return nil, own(err)
		}
		if info, ok := connect.CallInfoForClientContext(ctx); ok && token != "" {
			info.RequestHeader().Set("Authorization", "Bearer "+token)
		}
		return next(ctx, spec)
	}
}

// tlsText says what is wrong with a connection, if it is TLS that is.
func (a *app) tlsText(err error) (string, bool) {
	var otherName x509.HostnameError
	var unknownCA x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var noTLS tls.RecordHeaderError
	text := err.Error()
	switch {
	case errors.As(err, &otherName):
		return fmt.Sprintf("the certificate of the server at %s is for %s, not for %s; it may be another server", a.asked, certificateNames(otherName.Certificate), otherName.Host), true
	case errors.As(err, &unknownCA):
		return fmt.Sprintf("the certificate of the server at %s is signed by a CA that is not known here; if it is yours, name its file with --ca-file or REMIT_CA_FILE", a.asked), true
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Sprintf("the certificate of the server at %s is not valid now: %s", a.asked, validity(invalid.Cert)), true
	case errors.As(err, &invalid):
		return fmt.Sprintf("the certificate of the server at %s cannot be used: %v", a.asked, invalid), true
	case errors.As(err, &noTLS), strings.Contains(text, "server gave HTTP response to HTTPS client"):
		return fmt.Sprintf("the server at %s does not speak TLS; write http:// if that is meant", a.asked), true
	case strings.HasPrefix(a.asked, "http:") && strings.HasSuffix(text, "400 Bad Request"): // no API says so little
		return fmt.Sprintf("the server at %s takes no calls without TLS, it seems; write https://%s", a.asked, strings.TrimPrefix(a.asked, "http://")), true
	}
	if strings.HasPrefix(a.asked, "https:") && endedEarly(err) {
		if why := a.credentials.refusal(a.asked); why != nil {
			text = why.Error()
		}
	}
	if _, alert, ok := strings.Cut(text, "remote error: tls: "); ok {
		return a.alertText(alert), true
	}
	return "", false
}

// endedEarly reports whether a server has ended the connection before it answered.
func endedEarly(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) ||
		strings.Contains(err.Error(), "client conn could not be established") // net/http has no name for it
}

// alertText says what a server means that refuses a connection.
func (a *app) alertText(alert string) string {
	for _, known := range []struct{ alert, text string }{
		{"certificate required", "wants a client certificate; give one with --client-cert and --client-key"},
		{"expired certificate", "refuses the client certificate: it has expired, or is not valid yet"},
		{"unknown certificate authority", "refuses the client certificate: it does not know the CA that has signed it"},
		{"bad certificate", "refuses the client certificate; its log says why"},
		{"protocol version", "speaks other versions of TLS"},
	} {
		if strings.HasPrefix(alert, known.alert) {
			return fmt.Sprintf("the server at %s %s", a.asked, known.text)
		}
	}
	return fmt.Sprintf("the server at %s refuses the connection: %s", a.asked, alert)
}

// certificateNames are those that a certificate is for.
func certificateNames(cert *x509.Certificate) string {
	names := append([]string(nil), cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	const most = 5
	switch {
	case len(names) == 0:
		return "no name at all"
	case len(names) > most:
		names = append(names[:most], "others")
	}
	return strings.Join(names, ", ")
}

// validity says when a certificate is valid, and what time it is here.
func validity(cert *x509.Certificate) string {
	return fmt.Sprintf("it is from %s to %s, and this machine's clock says %s",
		cert.NotBefore.UTC().Format(time.RFC3339), cert.NotAfter.UTC().Format(time.RFC3339), time.Now().UTC().Format(time.RFC3339))
}
