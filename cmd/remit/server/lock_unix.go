//go:build unix

package server

import (
	"os"
	"syscall"
)

// tryLock takes an exclusive lock, or fails at once.
func tryLock(file *os.File) error {
	return syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}
