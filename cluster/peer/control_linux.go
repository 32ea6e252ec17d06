package peer

import (
	"errors"
	"syscall"
	"time"
)

// Options of TCP that package syscall does not name.
const (
	tcpUserTimeout  = 0x12 // TCP_USER_TIMEOUT
	tcpNotSentLowat = 0x19 // TCP_NOTSENT_LOWAT
)

const (
	// unacknowledged is how long what was sent may stay without an acknowledgement before
	// the connection ends. Keepalive does not look while something is on its way, and the
	// system would try for a quarter of an hour.
	unacknowledged = 15 * time.Second
	// notSent is how much may wait in the system beside what is on its way: what waits
	// there is never overtaken by a small message.
	notSent = 128 << 10
)

// control sets what package net does not.
func control(_, _ string, c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) {
		err = errors.Join(
			syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(unacknowledged.Milliseconds())),
			syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotSentLowat, notSent),
		)
	}); e != nil {
		return e
	}
	return err
}
