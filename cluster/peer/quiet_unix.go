//go:build unix

package peer

import (
	"errors"
	"net"
	"syscall"
)

// quiet says whether a connection is open and nothing has come over it, as it should be
// between an answer and the next message. It takes nothing of what may have come.
func quiet(c net.Conn) bool {
	tcp, ok := c.(syscall.Conn)
	if !ok {
		return true // it cannot be known
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return false
	}
	nothing := false
	err = raw.Read(func(fd uintptr) bool {
		var one [1]byte
		_, _, e := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK)
		nothing = errors.Is(e, syscall.EAGAIN)
		return true
	})
	return err == nil && nothing
}
