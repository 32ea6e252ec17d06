//go:build linux || darwin || freebsd

package server

import "syscall"

// freeSpace returns what this process may still write to the file system of a directory,
// without what is kept for root, and the size of that.
func freeSpace(dir string) (free, total uint64, err error) {
	var s syscall.Statfs_t
	for {
		if err = syscall.Statfs(dir, &s); err != syscall.EINTR { //nolint:errorlint // the system call's own number
			break
		}
	}
	if err != nil {
		return 0, 0, err
	}
	block := uint64(s.Bsize)
	// FreeBSD counts below zero what root has taken of its share.
	return uint64(max(int64(s.Bavail), 0)) * block, s.Blocks * block, nil
}
