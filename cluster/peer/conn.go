package peer

import (
	"net"
	"sync"
	"sync/atomic"
)

// A conn is a connection whose two sides have introduced themselves.
type conn struct {
	net.Conn
	raw     net.Conn // below TLS
	port    *Port
	carries carriage
	dialled bool     // by this node
	told    uint64   // this node's cluster, as the other side was told
	peer    identity // the other side

	heard  atomic.Bool // something was read since this was last set to false
	closed sync.Once
}

// Read counts what comes.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.heard.Store(true)
		c.port.metrics.received(c.carries, n)
	}
	return n, err
}

// Write counts what goes.
func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.port.metrics.sent(c.carries, n)
	return n, err
}

// Close ends the connection without waiting for the other side.
func (c *conn) Close() error {
	var err error
	c.closed.Do(func() {
		c.port.forget(c)
		// TLS would say goodbye, and wait for seconds where nobody takes it.
		err = c.raw.Close()
	})
	return err
}

// unsettled says that the two sides have not told each other to which cluster they belong,
// although this one knows its own by now.
func (c *conn) unsettled(own uint64) bool {
	return own != 0 && c.told != own && c.peer.cluster != own
}
