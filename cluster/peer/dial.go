package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"
)

// dialTimeout bounds the way to a settled connection, TLS included. It is shorter than an
// election, so that one node that cannot be reached does not delay what others decide.
const dialTimeout = 900 * time.Millisecond

// keepAlive ends connections of nodes that have gone without a word, which otherwise a side
// that only listens would keep for hours.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 5}

// maxAddress bounds an address, so that a preface has room for it.
const maxAddress = 300

// dial makes a connection to the node at an address.
func (p *Port) dial(ctx context.Context, address string, carries carriage) (_ *conn, err error) {
	defer func() {
		if err != nil && p.run.Err() != nil {
			err = ErrClosed
		} else if err != nil {
			p.metrics.dialFailed()
		}
	}()
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if len(address) > maxAddress {
		return nil, fmt.Errorf("an address of %d bytes, at most %d are allowed", len(address), maxAddress)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	defer context.AfterFunc(p.run, cancel)()
	raw, err := (&net.Dialer{KeepAliveConfig: keepAlive, Control: control}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { _ = raw.Close() })()
	c, err := p.introduce(ctx, raw, host, address, carries)
	if err != nil {
		if e := ctx.Err(); e != nil && !errors.Is(err, ErrOtherCluster) {
			err = fmt.Errorf("no node introduced itself in time: %w", e)
		}
		_ = raw.Close()
		return nil, err
	}
	return c, nil
}

// introduce sends a preface and reads the verdict.
func (p *Port) introduce(ctx context.Context, raw net.Conn, host, address string, carries carriage) (*conn, error) {
	c := &conn{Conn: raw, raw: raw, port: p, carries: carries, dialled: true}
	if p.cfg.ClientTLS != nil {
		secure := tls.Client(raw, clientTLS(p.cfg.ClientTLS, host))
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, unexpected(err)
		}
		c.Conn = secure
	}
	here := p.identity()
	if _, err := c.Conn.Write(preface{carries: carries, identity: here, meant: address}.encode()); err != nil {
		return nil, err
	}
	body, err := readPreface(c.Conn)
	if err != nil {
		return nil, err
	}
	answer, err := decodeVerdict(body)
	if err != nil {
		return nil, err
	}
	c.peer, c.told = answer.identity, here.cluster
	// Where it was dialled tells more than where it believes to be.
	if c.peer.address != address {
		c.peer.address = fmt.Sprintf("%s (it says %s)", address, c.peer.address)
	}
	switch {
	case answer.decision == refusedOtherCluster || differ(here.cluster, c.peer.cluster):
		err := otherCluster(here, c.peer)
		p.noise.warn(address, "node refused", "error", err)
		return nil, err
	case answer.decision != accepted:
		return nil, fmt.Errorf("node %s at %s refuses: %s", c.peer.node, c.peer.address, answer.reason)
	}
	return c, p.remember(c)
}

// clientTLS is a configuration for one connection. The host that is dialled is the name
// that the other side must have unless the configuration gives another; for an address of
// digits the standard library tells it to its own verification alone.
func clientTLS(config *tls.Config, host string) *tls.Config {
	config = config.Clone()
	if config.ServerName == "" {
		config.ServerName = host
	}
	if verify := config.VerifyConnection; verify != nil {
		name := config.ServerName
		config.VerifyConnection = func(s tls.ConnectionState) error {
			s.ServerName = name
			return verify(s)
		}
	}
	return config
}

// unexpected explains an answer that is no TLS.
func unexpected(err error) error {
	var record tls.RecordHeaderError
	if !errors.As(err, &record) {
		return err
	}
	begin := record.RecordHeader[:]
	if string(begin) == magic[:len(begin)] {
		return errors.New("the node there has no TLS, which this one demands: give all nodes the same TLS settings")
	}
	return strangerError{begin}
}
