package peer

import (
	"syscall"
	"time"
)

const (
	// tcpUserTimeout is the option TCP_USER_TIMEOUT, which package syscall does not name.
	tcpUserTimeout = 0x12
	// unacknowledged is how long what was sent may stay without an acknowledgement before
	// the connection ends. Keepalive does not look while something is on its way, and the
	// system would try for a quarter of an hour.
	unacknowledged = 15 * time.Second
)

// control sets what package net does not.
func control(_, _ string, c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(unacknowledged.Milliseconds()))
	}); e != nil {
		return e
	}
	return err
}
