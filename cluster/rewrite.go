package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

// ErrKeepsLog says that the log cannot be rewritten without its old entries, because
// Config.KeepLog wants them kept.
var ErrKeepsLog = errors.New("the log is to be kept whole")

// freshLogFile is what is becoming the log. As long as it has this name, it counts for
// nothing.
const freshLogFile = logFile + ".new"

// Rewrite takes a snapshot, removes every entry that is in it from the log, and puts what
// remains into a fresh file: the old one keeps the bytes of removed entries in its free
// pages. It returns the index of the snapshot: of no entry up to it any byte is left in
// the log. Older snapshots are the matter of who keeps them, and so are the files of a
// log that came with the Config.
//
// Raft waits while the file is changed, for as long as it takes to copy what was
// appended since the snapshot. A follower that lacks a removed entry gets the snapshot
// instead. When ctx ends first, the rewriting goes on by itself.
func (n *Node) Rewrite(ctx context.Context) (index uint64, err error) {
	if n.cfg.KeepLog {
		return 0, fmt.Errorf("rewrite log: %w", ErrKeepsLog)
	}
	if err := n.enter(); err != nil {
		return 0, err
	}
	type outcome struct {
		index uint64
		err   error
	}
	done := make(chan outcome, 1)
	go func() {
		defer n.calls.Done()
		index, err := n.rewrite()
		done <- outcome{index, err}
	}()
	select {
	case o := <-done:
		if o.err != nil {
			return 0, fmt.Errorf("rewrite log: %w", o.err)
		}
		return o.index, nil
	case <-ctx.Done():
		return 0, fmt.Errorf("rewrite log: %w", ctx.Err())
	}
}

func (n *Node) rewrite() (index uint64, err error) {
	n.rewriting.Lock()
	defer n.rewriting.Unlock()
	if index, err = n.truncate(); err != nil {
		return 0, err
	}
	if n.cfg.Logs != nil {
		return index, nil
	}
	begun := time.Now()
	var before, after uint64
	err = n.logs.exchange(func() (store *raftboltdb.BoltStore, err error) {
		before = n.logSize()
		store, err = rewriteLog(n.cfg.Dir, n.cfg.NoSync, n.logFile, n.cfg.rewriteStep)
		if store != nil {
			n.logFile = store
		}
		after = n.logSize()
		return store, err
	})
	if err != nil {
		return 0, err
	}
	n.log.Info("log rewritten", "index", index, "bytes", after, "bytes_before", before, "raft_waited", time.Since(begun))
	return index, nil
}

// truncate takes a snapshot that leaves nothing trailing.
func (n *Node) truncate() (uint64, error) {
	n.truncating.Store(true)
	defer n.truncating.Store(false)
	if err := n.reload(func(rc *raft.ReloadableConfig) { rc.TrailingLogs = 0 }); err != nil {
		return 0, err
	}
	err := n.raft.Snapshot().Error()
	if err := errors.Join(err, n.reload(func(rc *raft.ReloadableConfig) { rc.TrailingLogs = n.trailing() })); err != nil {
		return 0, err
	}
	list, err := n.cfg.Snapshots.List()
	if err != nil {
		return 0, err
	}
	if len(list) == 0 {
		return 0, errors.New("a snapshot was taken, but there is none")
	}
	first, err := n.logs.FirstIndex()
	if err != nil {
		return 0, err
	}
	if first != 0 && first <= list[0].Index {
		return 0, fmt.Errorf("the log begins at %d although there is a snapshot at %d", first, list[0].Index)
	}
	return list[0].Index, nil
}

// rewriteLog copies the log in dir, which old has open, into a fresh file that takes its
// place, and opens that. A crash leaves either file whole under the name that counts,
// and the two hold the same. On an error it gives the old log, opened again, or nil if
// nobody knows which file counts or it cannot be opened.
func rewriteLog(dir string, noSync bool, old interface{ Close() error }, step func(string)) (*raftboltdb.BoltStore, error) {
	if step == nil {
		step = func(string) {}
	}
	name, fresh := filepath.Join(dir, logFile), filepath.Join(dir, freshLogFile)
	if err := old.Close(); err != nil {
		return nil, err
	}
	step("closed")
	err := copyLog(name, fresh)
	if err == nil {
		step("copied")
		err = os.Rename(fresh, name)
	}
	if err != nil {
		store, e := openLogFile(dir, noSync)
		return store, errors.Join(err, e, removeIfThere(fresh))
	}
	step("renamed")
	// Nothing is appended before the name is durable. If it cannot be made so, a loss of
	// power decides which file counts.
	if err := syncDir(dir); err != nil {
		return nil, err
	}
	step("synced")
	return openLogFile(dir, noSync)
}

// copySlice is how many bytes one transaction of the copy holds.
const copySlice = 4 << 20

// copyLog copies what counts in a log's file: entries, term, vote. The copy is synced.
func copyLog(from, to string) (err error) {
	if err := removeIfThere(to); err != nil {
		return err
	}
	source, err := bbolt.Open(from, 0o600, &bbolt.Options{ReadOnly: true, Timeout: lockTimeout})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	target, err := bbolt.Open(to, 0o600, &bbolt.Options{
		Timeout: lockTimeout, NoSync: true, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	if err := bbolt.Compact(target, source, copySlice); err != nil {
		return err
	}
	return target.Sync()
}
