package yamlfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// ReadFile refuses what is no regular file but a named pipe handed over by a shell: a
// device has no end.
func ReadFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, errors.New("a folder, not a file")
	}
	if !info.Mode().IsRegular() && info.Mode()&fs.ModeNamedPipe == 0 {
		return nil, errors.New("not a file that can be read to its end")
	}
	return os.ReadFile(name)
}

// Reason is an error of the file system without the path, which the fault's place
// gives already.
func Reason(err error) string {
	if pathErr, ok := err.(*fs.PathError); ok { //nolint:errorlint // only the outermost repeats the path
		return pathErr.Err.Error()
	}
	return err.Error()
}

// Beside resolves a reference in a file: relative to its folder unless absolute.
func Beside(file, reference string) string {
	if filepath.IsAbs(reference) {
		return reference
	}
	return filepath.Join(filepath.Dir(file), filepath.FromSlash(reference))
}
