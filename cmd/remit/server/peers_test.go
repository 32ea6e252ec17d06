package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/remit-authz/remit/rpc/gate/gatetest"
)

// peerConfig is testConfig with a port for other nodes.
func peerConfig(t *testing.T) Config {
	config := testConfig(t)
	config.Peers.Addr = "127.0.0.1:0"
	return config
}

// A node whose peers' settings cannot be used says which, and leaves nothing open.
func TestPeersThatCannotBeMetAreAFaultOfASetting(t *testing.T) {
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	dir := t.TempDir()
	for want, change := range map[string]func(*Config){
		"peer-addr: listen on " + taken.Addr().String():   func(c *Config) { c.Peers.Addr = taken.Addr().String() },
		"gossip-addr: listen on " + taken.Addr().String(): func(c *Config) { c.Peers.Gossip.Addr = taken.Addr().String() },
		"peer-tls-cert": func(c *Config) {
			c.Peers.TLS.CertFile, c.Peers.TLS.KeyFile = filepath.Join(dir, "none.crt"), filepath.Join(dir, "none.key")
			c.Peers.TLS.ClientCAFile = gatetest.File(t, dir, "ca.crt", gatetest.NewCA(t, "ours").PEM())
		},
		"short.key:1: want a key": func(c *Config) {
			c.Peers.Gossip.Addr = "127.0.0.1:0"
			c.Peers.Gossip.KeyFile = gatetest.File(t, dir, "short.key", []byte("short"))
		},
		"join names only this node": func(c *Config) {
			c.Peers.Expect, c.Peers.Advertise, c.Peers.Join = 3, "127.0.0.1:7400", []string{"127.0.0.1:7400"}
		},
	} {
		config := peerConfig(t)
		change(&config)
		s, err := Open(t.Context(), config)
		if err == nil {
			t.Errorf("opened, want %s: %v", want, s.Close())
			continue
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
		if s, err = Open(t.Context(), testConfig(t)); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A node that waits for others is not ready, says so, and stops when it is told to.
func TestANodeThatWaitsForOthersSaysSo(t *testing.T) {
	config := peerConfig(t)
	config.AdminAddr = unused(t)
	config.Peers.Expect, config.Peers.Join = 2, []string{unused(t)}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	opened := make(chan error, 1)
	go func() {
		s, err := Open(ctx, config)
		if err == nil {
			err = errors.Join(errors.New("opened"), s.Close())
		}
		opened <- err
	}()
	for asked := false; !asked; {
		select {
		case err := <-opened:
			t.Fatalf("it does not wait: %v", err)
		case <-time.After(5 * time.Millisecond):
		}
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", config.AdminAddr)
		if err != nil {
			continue // not yet
		}
		// While nobody listens there, the system may give a connection the port that it seeks.
		itself := conn.LocalAddr().String() == conn.RemoteAddr().String()
		if _ = conn.Close(); itself {
			continue
		}
		status, body := get(t, "http://"+config.AdminAddr+"/readyz")
		if asked = true; status != http.StatusServiceUnavailable || !strings.Contains(body, "the node is starting") {
			t.Errorf("/readyz is %d %s", status, body)
		}
	}
	stop()
	if err := <-opened; !errors.Is(err, context.Canceled) {
		t.Errorf("it ends with %v, want %v", err, context.Canceled)
	}
}

// unused is an address of this machine at which nobody listens.
func unused(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}
