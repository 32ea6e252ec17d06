package rpc

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A ClientAuth is whether clients show certificates.
type ClientAuth string

// What clients may be asked.
const (
	ClientAuthOff      ClientAuth = "off"      // nobody is asked for one
	ClientAuthOptional ClientAuth = "optional" // one that is shown must be good
	ClientAuthRequired ClientAuth = "required" // there is no connection without
)

// ClientAuths are all there are.
func ClientAuths() []string {
	return []string{string(ClientAuthOff), string(ClientAuthOptional), string(ClientAuthRequired)}
}

// TLSConfig names the files by which connections are secured. The zero value is no TLS.
type TLSConfig struct {
	// CertFile holds the server's certificate and those between it and its CA, KeyFile
	// the private key, both as PEM.
	CertFile, KeyFile string
	// ClientCAFile holds the certificates of the CAs whose clients are known.
	ClientCAFile string
	// ClientAuth is whether clients show certificates. Default: ClientAuthOff.
	ClientAuth ClientAuth
}

// Enabled reports whether there is TLS.
func (c *TLSConfig) Enabled() bool { return c.CertFile != "" || c.KeyFile != "" }

// AsksClients reports whether clients may show certificates.
func (c *TLSConfig) AsksClients() bool {
	return c.ClientAuth == ClientAuthOptional || c.ClientAuth == ClientAuthRequired
}

// Validate reports every fault of the settings by themselves; it opens no file.
func (c *TLSConfig) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	switch {
	case c.CertFile != "" && c.KeyFile == "":
		fault("tls-cert is given without tls-key, the file of its private key")
	case c.CertFile == "" && c.KeyFile != "":
		fault("tls-key is given without tls-cert, the file of its certificate")
	}
	if c.ClientAuth != "" && !slices.Contains(ClientAuths(), string(c.ClientAuth)) {
		fault("tls-client-auth is %q, must be one of %s", c.ClientAuth, strings.Join(ClientAuths(), ", "))
		return errors.Join(faults...)
	}
	switch {
	case c.AsksClients() && c.ClientCAFile == "":
		fault("tls-client-auth is %s without tls-client-ca, the file of the CAs whose clients are known", c.ClientAuth)
	case !c.AsksClients() && c.ClientCAFile != "":
		fault("tls-client-ca is given, but tls-client-auth is off: it must be optional or required")
	}
	if c.ClientCAFile != "" && !c.Enabled() {
		fault("tls-client-ca is given without tls-cert and tls-key: only TLS asks for certificates")
	}
	return errors.Join(faults...)
}

// certificatePoll is how often the files are looked at. A certificate is renewed days
// before it is needed; one that was stolen is replaced within a breath.
const certificatePoll = 3 * time.Second

// Certificates are those of a server, as the files have them: files that change are read
// again, without a connection being cut.
type Certificates struct {
	config  TLSConfig
	log     *slog.Logger
	clock   func() time.Time
	current atomic.Pointer[certificates]
	refused *prometheus.CounterVec
	noise   handshakeLog

	mu     sync.Mutex        // guards what follows
	broken [sha256.Size]byte // the contents that were last found at fault
	told   bool              // and whether that was logged
}

// certificates are what the files held at one time.
type certificates struct {
	sum     [sha256.Size]byte // of their contents
	pair    tls.Certificate
	clients *x509.CertPool // nil: nobody is asked
}

// LoadCertificates reads the files. The configuration must be valid, and enabled.
func LoadCertificates(config TLSConfig, clock func() time.Time, log *slog.Logger) (*Certificates, error) {
	c := &Certificates{config: config, log: log, clock: clock, refused: newRefusedConnections(), noise: newHandshakeLog(log)}
	sum, files, err := config.read()
	if err != nil {
		return nil, err
	}
	loaded, err := config.parse(sum, files)
	if err != nil {
		return nil, err
	}
	c.use(loaded)
	return c, nil
}

// use makes certificates those of the connections from now on.
func (c *Certificates) use(loaded *certificates) {
	c.current.Store(loaded)
	leaf := loaded.pair.Leaf
	if now := c.clock(); now.After(leaf.NotAfter) || now.Before(leaf.NotBefore) {
		c.log.Warn("the server's certificate is not valid now", "file", c.config.CertFile,
			"not_before", leaf.NotBefore, "not_after", leaf.NotAfter)
	}
}

// Run looks after the files until ctx is done.
func (c *Certificates) Run(ctx context.Context) {
	ticker := time.NewTicker(certificatePoll)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			c.reload(false)
		}
	}
}

// Reload reads the files now. Ones at fault are logged, and leave everything as it is.
func (c *Certificates) Reload() { c.reload(true) }

// reload uses files that have changed. Files are replaced one after the other, and do not
// go together for a moment: unless somebody asks, a fault is told when it has lasted.
func (c *Certificates) reload(asked bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sum, files, err := c.config.read()
	if err == nil && sum == c.current.Load().sum {
		c.broken, c.told = [sha256.Size]byte{}, false
		return
	}
	var loaded *certificates
	if err == nil {
		loaded, err = c.config.parse(sum, files)
	} else {
		sum = sha256.Sum256([]byte(err.Error()))
	}
	if err != nil {
		if asked || sum == c.broken && !c.told {
			c.told = true
			c.log.Error("changed TLS files cannot be used; those read before stay in use", "error", err)
		} else if sum != c.broken {
			c.told = false
		}
		c.broken = sum
		return
	}
	c.broken, c.told = [sha256.Size]byte{}, false
	c.use(loaded)
	c.log.Info("TLS files read anew", "not_after", loaded.pair.Leaf.NotAfter)
}

// maxTLSFile bounds a file: the CAs of a whole operating system take a third of it.
const maxTLSFile = 1 << 20

// tlsFiles are the contents of the files.
type tlsFiles struct{ cert, key, clients []byte }

// read reads the files, and tells their contents from others.
func (c *TLSConfig) read() ([sha256.Size]byte, tlsFiles, error) {
	var files tlsFiles
	hash := sha256.New()
	var faults []error
	for _, f := range []struct {
		setting, name string
		to            *[]byte
	}{{"tls-cert", c.CertFile, &files.cert}, {"tls-key", c.KeyFile, &files.key}, {"tls-client-ca", c.ClientCAFile, &files.clients}} {
		if f.name == "" {
			continue
		}
		data, err := readBounded(f.name, maxTLSFile)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", f.setting, err))
			continue
		}
		*f.to = data
		own := sha256.Sum256(data)
		hash.Write(own[:])
	}
	return [sha256.Size]byte(hash.Sum(nil)), files, errors.Join(faults...)
}

// readBounded reads a file that is not too long.
func readBounded(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fileFault(name, err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, fileFault(name, err)
	}
	if int64(len(data)) > most {
		return nil, fmt.Errorf("%s is longer than %d bytes", name, most)
	}
	return data, nil
}

// fileFault is an error of the file system as a sentence about the file.
func fileFault(name string, err error) error {
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	return fmt.Errorf("%s: %w", name, err)
}

// parse makes certificates of files. Its errors tell nothing of a key.
func (c *TLSConfig) parse(sum [sha256.Size]byte, files tlsFiles) (*certificates, error) {
	pair, err := tls.X509KeyPair(files.cert, files.key)
	if err != nil {
		return nil, fmt.Errorf("tls-cert %s and tls-key %s: %w", c.CertFile, c.KeyFile, err)
	}
	loaded := &certificates{sum: sum, pair: pair}
	if c.AsksClients() {
		if loaded.clients, err = parsePool(files.clients); err != nil {
			return nil, fmt.Errorf("tls-client-ca %s: %w", c.ClientCAFile, err)
		}
	}
	return loaded, nil
}

// parsePool reads the certificates of CAs. One that cannot be read is a fault, not left
// out: its clients would be refused, and nobody would know why.
func parsePool(data []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	found := 0
	for rest := bytes.TrimSpace(data); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", found+1, err)
		}
		pool.AddCert(cert)
		found++
	}
	if found == 0 {
		return nil, errors.New("there is no certificate in it; PEM is expected")
	}
	return pool, nil
}

// Server is what a port needs that speaks certain protocols. Clients are asked as the
// configuration says, or at most as lenient says: on a port where not all need one.
func (c *Certificates) Server(lenient bool, protocols ...string) *tls.Config {
	config := &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: protocols,
		// A session that is resumed would bring a client back whose CA has been removed.
		SessionTicketsDisabled: c.config.AsksClients(),
	}
	of := func(now *certificates) *tls.Config {
		current := config.Clone()
		current.Certificates = []tls.Certificate{now.pair}
		current.ClientCAs = now.clients
		switch {
		case now.clients == nil:
		case c.config.ClientAuth == ClientAuthRequired && !lenient:
			current.ClientAuth = tls.RequireAndVerifyClientCert
		default:
			current.ClientAuth = tls.VerifyClientCertIfGiven
		}
		return current
	}
	outer := config.Clone()
	outer.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return of(c.current.Load()), nil }
	return outer
}

// Known reports why a client's certificate is not, or no longer, good: its connection may
// be older than the list of CAs, and than its end.
func (c *Certificates) Known(chain []*x509.Certificate) error {
	clients := c.current.Load().clients
	if clients == nil || len(chain) == 0 {
		return errors.New("no certificates of clients are taken")
	}
	between := x509.NewCertPool()
	for _, cert := range chain[1:] {
		between.AddCert(cert)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: clients, Intermediates: between, CurrentTime: c.clock(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return err
}

// NotAfter is when the certificate that is shown now expires.
func (c *Certificates) NotAfter() time.Time { return c.current.Load().pair.Leaf.NotAfter }

// Generation changes when other files are in use. What Known said of a certificate holds
// for as long as it is the same, and the certificate has not expired.
func (c *Certificates) Generation() any { return c.current.Load() }

// expiry describes the metric of the certificate's end.
var expiry = prometheus.NewDesc("remit_tls_certificate_expiry_timestamp_seconds",
	"When the server's certificate expires, in seconds since 1970.", nil, nil)

// Describe implements prometheus.Collector.
func (c *Certificates) Describe(to chan<- *prometheus.Desc) {
	to <- expiry
	c.refused.Describe(to)
}

// Collect implements prometheus.Collector.
func (c *Certificates) Collect(to chan<- prometheus.Metric) {
	end := c.current.Load().pair.Leaf.NotAfter
	to <- prometheus.MustNewConstMetric(expiry, prometheus.GaugeValue, float64(end.Unix()))
	c.refused.Collect(to)
}
