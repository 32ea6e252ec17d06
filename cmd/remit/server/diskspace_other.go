//go:build !(linux || darwin || freebsd)

package server

// freeSpace is not known here.
func freeSpace(string) (free, total uint64, err error) { return 0, 0, errNoFreeSpace }
