//go:build !unix

package server

import "os"

// tryLock leaves it to the stores inside the directory, which lock their own files.
func tryLock(*os.File) error { return nil }
