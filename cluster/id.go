package cluster

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/raft"
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

// keyNode is where the log says whose it is, in the stable store. Never change it.
var keyNode = []byte("RemitNode")

// identify returns the id of the node whose log this is, and makes one for a node without
// history. The id stands in the log and in a file beside it, first in the log: so a file
// alone means that the log is gone, and with it what this node has voted and acknowledged.
func identify(dir string, stable raft.StableStore, f found) (string, error) {
	kept, err := loadID(dir)
	if err != nil {
		return "", err
	}
	marked, err := stable.Get(keyNode)
	if err != nil && err.Error() != "not found" {
		return "", fmt.Errorf("read whose log this is: %w", err)
	}
	mark := string(marked)
	switch {
	case kept == "" && !f.fresh():
		return "", f.refuse("there is data but no node id, and under a new one this node could not use its log; " +
			"restore the file " + idFile + " beside it")
	case kept != "" && mark != "" && kept != mark:
		return "", f.refuse(fmt.Sprintf("the file %s names node %s, but the log is that of node %s; restore the one that belongs to the other",
			idFile, kept, mark))
	// A term says that this is the log that the node began with, of a release which did
	// not mark it.
	case kept != "" && mark == "" && f.fresh() && f.term == 0:
		return "", f.refuse("there is the id of a node, " + kept + ", but nothing else of it, so it has forgotten what it voted and acknowledged; " +
			"restore the data directory, or remove it whole: then a new node can be joined in its place")
	case mark == "":
		mark = kept
		if mark == "" {
			mark = rand.Text()
		}
		if err := stable.Set(keyNode, []byte(mark)); err != nil {
			return "", fmt.Errorf("mark the log as that of node %s: %w", mark, err)
		}
	}
	if kept == "" {
		return mark, keepID(dir, mark)
	}
	return kept, nil
}

// Identify returns the id of the node in Config.Dir and makes it one if there is nothing
// yet, so that those who are to begin a cluster can tell each other before Open. Of cfg,
// Dir, Snapshots and DurableIndex are used.
func Identify(cfg Config) (id string, err error) {
	if err := createDir(cfg.Dir); err != nil {
		return "", fmt.Errorf("create data directory: %w", err)
	}
	store, err := openLog(cfg.Dir, false)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	f, err := look(store, store, cfg.Snapshots, cfg.DurableIndex())
	if err != nil {
		return "", err
	}
	return identify(cfg.Dir, store, f)
}

// keepID keeps an id in dir: the file appears whole and durable, or not at all.
func keepID(dir, id string) error {
	name := filepath.Join(dir, idFile)
	f, err := os.CreateTemp(dir, idFile+".*.tmp")
	if err != nil {
		return fmt.Errorf("create node id: %w", err)
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
		return errors.Join(fmt.Errorf("create node id: %w", err), removeIfThere(f.Name()))
	}
	return nil
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
