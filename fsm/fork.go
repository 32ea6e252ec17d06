package fsm

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Fork makes a directory that Open takes as a state's, of this state as it is now; what is
// done to one of them from then on does not show in the other. dir must not exist yet.
// Tables are linked if dir is on the same file system, and no snapshot comes along. After
// an error, or a crash, the directory holds no state and must be removed.
func (s *State) Fork(dir string) error {
	const first = 1
	s.applying.Lock()
	defer s.applying.Unlock()
	fs := s.cfg.FS
	err := s.read(func(db *pebble.DB) error {
		if err := makeDir(fs, dir); err != nil {
			return err
		}
		return db.Checkpoint(generationDir(fs, dir, first), pebble.WithFlushedWAL())
	})
	if err == nil {
		err = syncDir(fs, dir)
	}
	if err == nil {
		err = writeCurrent(fs, dir, first)
	}
	if err != nil {
		return fmt.Errorf("fork state into %s: %w", dir, err)
	}
	return nil
}

// BeginHistory gives the state another epoch, durably: what is applied from now on is
// another history than the one that it comes from. The group's changelog tells of it with
// the reason. It returns the term of the last entry that was applied. Raft must not run.
func (s *State) BeginHistory(epoch uint64, reason string) (term uint64, err error) {
	s.applying.Lock()
	defer s.applying.Unlock()
	applied := s.applied
	switch {
	case epoch == 0 || epoch == s.epoch:
		return 0, fmt.Errorf("begin another history: %x is no epoch for it", epoch)
	case applied.index == 0:
		return 0, errors.New("begin another history: nothing was ever applied")
	case len(reason) > MaxTextSize:
		return 0, fmt.Errorf("begin another history: a reason of %d bytes exceeds %d", len(reason), MaxTextSize)
	}
	b := s.db.NewBatch()
	err = replaceEpoch(s.db, b, &applied, s.epoch, epoch, reason)
	if err == nil {
		err = b.Set(metaKey(metaApplied), applied.encode(), nil)
	}
	if err != nil {
		return 0, errors.Join(fmt.Errorf("begin another history: %w", err), b.Close())
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return 0, fmt.Errorf("begin another history: %w", err)
	}
	l, err := s.build(s.db)
	if err != nil {
		return 0, fmt.Errorf("begin another history: %w", err)
	}
	s.dbMu.Lock()
	defer s.dbMu.Unlock()
	s.install(l)
	return applied.term, nil
}
