//go:build !linux

package peer

import "syscall"

// control sets nothing: keepalive and the heartbeats must do.
func control(string, string, syscall.RawConn) error { return nil }
