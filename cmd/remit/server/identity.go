package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/remit-authz/remit/rpc"
	"github.com/remit-authz/remit/rpc/gate"
)

// IdentityConfig is by what callers show who they are. With the zero value nobody is asked.
type IdentityConfig struct {
	// RootKeyFile holds the key of the operator, who may do everything. Nobody else may be
	// able to read it.
	RootKeyFile string
	// OIDC is the identity provider whose tokens are taken.
	OIDC gate.OIDCConfig
	// Required asks callers even if there is neither of them, nor a CA of clients: then the
	// keys that were made before are the only way in.
	Required bool
}

// asks reports whether callers are asked who they are.
func (c *Config) asks() bool {
	return c.Identity.Required || c.Identity.RootKeyFile != "" || c.Identity.OIDC.Enabled() || c.TLS.AsksClients()
}

// validateSecurity reports every fault of who is let in and where, without opening files.
func (c *Config) validateSecurity() error {
	api := rpc.Config{Addr: c.Addr, GRPCAddr: c.GRPCAddr, Insecure: c.Insecure, Identity: gate.Config{Required: c.asks()}}
	if c.TLS.Enabled() {
		api.TLS = &rpc.Certificates{} // as there will be
	}
	return errors.Join(c.TLS.Validate(), c.Identity.OIDC.Validate(), api.CheckAddrs(),
		rpc.CheckAddr("admin-addr", c.AdminAddr, c.Insecure || c.TLS.Enabled() && c.asks()))
}

// A security is what secures connections and recognises callers.
type security struct {
	gate         gate.Config
	certificates *rpc.Certificates // nil without TLS

	stop    context.CancelFunc
	running sync.WaitGroup // those who look after certificates and the issuer's keys
}

// openSecurity reads the files that the settings name, and looks after them until close.
func openSecurity(config *Config) (*security, error) {
	s := &security{gate: gate.Config{Required: config.Identity.Required}}
	var faults []error // every one is told at once
	if config.TLS.Enabled() {
		var err error
		if s.certificates, err = rpc.LoadCertificates(config.TLS, time.Now, config.Log); err != nil {
			faults = append(faults, err)
		}
	}
	if name := config.Identity.RootKeyFile; name != "" {
		var err error
		if s.gate.Root, err = readRootKey(name); err != nil {
			faults = append(faults, fmt.Errorf("root-key-file %s: %w", name, err))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	if config.TLS.AsksClients() {
		s.gate.Certificates = gate.NewCertificates(s.certificates, time.Now)
	}
	if s.certificates != nil {
		s.running.Go(func() { s.certificates.Run(ctx) })
	}
	if provider := config.Identity.OIDC; provider.Enabled() {
		provider.Log = config.Log
		tokens := gate.NewOIDC(provider)
		s.gate.Bearers = append(s.gate.Bearers, tokens)
		s.running.Go(func() { tokens.Run(ctx) })
	}
	if config.Insecure {
		config.warnOfInsecurity()
	}
	return s, nil
}

// warnOfInsecurity says what --insecure permits, as far as that makes a difference.
func (c *Config) warnOfInsecurity() {
	for _, addr := range []string{c.Addr, c.GRPCAddr} {
		if rpc.CheckAddr("", addr, false) == nil {
			continue // nobody else can reach it
		}
		switch {
		case !c.asks():
			c.Log.Warn("everybody who can reach this address may read and change everything", "addr", addr)
		case !c.TLS.Enabled():
			c.Log.Warn("credentials cross the network for all to read", "addr", addr)
		}
	}
}

// close stops looking after anything.
func (s *security) close() {
	s.stop()
	s.running.Wait()
}

// maxRootKeyFile bounds what is read of the file of the root key.
const maxRootKeyFile = 4096

// readRootKey reads the root key. Its errors do not tell it.
func readRootKey(name string) (*gate.RootKey, error) {
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no such file; make one with: (umask 077; openssl rand -hex 32 > %s)", name)
	}
	if err != nil {
		return nil, reasonOfFile(err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, reasonOfFile(err)
	case info.IsDir():
		return nil, errors.New("it is a folder")
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("others may read or change it (mode %04o): chmod 600 %s", info.Mode().Perm(), name)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxRootKeyFile+1))
	switch {
	case err != nil:
		return nil, reasonOfFile(err)
	case len(data) > maxRootKeyFile:
		return nil, fmt.Errorf("it is longer than %d bytes", maxRootKeyFile)
	}
	return gate.NewRootKey(string(data))
}

// reasonOfFile is an error of a file without its name, which stands before it already.
func reasonOfFile(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
