package server

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// ErrDirInUse says that another process serves the same data directory.
var ErrDirInUse = errors.New("data directory in use")

// A dirLock keeps a second server out of a data directory. The operating system frees
// it when the process ends, however it ends.
type dirLock struct{ file *os.File }

// lockFile holds the lock, and the number of the process that has it, for people.
const lockFile = "remit.lock"

func lockDir(dir string) (*dirLock, error) {
	name := filepath.Join(dir, lockFile)
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if err := tryLock(file); err != nil {
		owner, readErr := io.ReadAll(io.LimitReader(file, 64))
		err = fmt.Errorf("%w: another remit (process %s) serves %s; stop it, or choose another --data-dir",
			ErrDirInUse, processOf(owner, readErr), dir)
		return nil, errors.Join(err, file.Close())
	}
	if err := file.Truncate(0); err != nil {
		return nil, errors.Join(fmt.Errorf("lock data directory: %w", err), file.Close())
	}
	if _, err := file.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0); err != nil {
		return nil, errors.Join(fmt.Errorf("lock data directory: %w", err), file.Close())
	}
	return &dirLock{file: file}, nil
}

func processOf(owner []byte, err error) string {
	if number := strings.TrimSpace(string(owner)); err == nil && number != "" {
		return number
	}
	return "unknown"
}

// release frees the directory. The file stays: to remove it would let two servers lock
// two files of the same name.
func (l *dirLock) release() error { return l.file.Close() }
