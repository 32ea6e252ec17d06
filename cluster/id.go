package cluster

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// idFile holds the node's id, one line, in Config.Dir.
const idFile = "node-id"

// idLen is the length of an id: 26 letters and digits of base 32 carry 130
// random bits, so two nodes never share one.
const idLen = 26

// loadID returns the id kept in dir, or "" when there is none yet.
func loadID(dir string) (string, error) {
	data, err := os.ReadFile(filepath.Join(dir, idFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read node id: %w", err)
	}
	id, ok := strings.CutSuffix(string(data), "\n")
	if !ok || len(id) != idLen || strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
		return "", fmt.Errorf("node id %q in %s is damaged: want %d letters A-Z or digits 2-7 and a newline",
			data, filepath.Join(dir, idFile), idLen)
	}
	return id, nil
}

// createID makes an id and keeps it in dir before anyone can see it: the file
// appears whole and durable, or not at all.
func createID(dir string) (string, error) {
	id := rand.Text()
	name := filepath.Join(dir, idFile)
	f, err := os.CreateTemp(dir, idFile+".*.tmp")
	if err != nil {
		return "", fmt.Errorf("create node id: %w", err)
	}
	_, err = f.WriteString(id + "\n")
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("create node id: %w", err), removeIfThere(f.Name()))
	}
	return id, nil
}

// createDir makes dir and everything above it durable.
func createDir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := createDir(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(parent)
}

// syncDir makes the names in dir durable: syncing a file does not promise that
// its name survives.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func removeIfThere(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
