package fsm

import (
	"context"
	"errors"
	"fmt"
)

// ErrNoSnapshot says that old snapshots cannot be removed, because there is none yet
// from after the rewriting, or a newer one has just arrived from another node.
var ErrNoSnapshot = errors.New("no newer snapshot to take the place of the old ones")

// sweep removes every directory that does not hold files of a generation. It waits for
// those that are in use.
func (st *snapshotStore) sweep(ctx context.Context, generation uint64) error {
	for {
		busy, err := st.sweepOnce(generation)
		if err != nil {
			return err
		}
		if busy == nil {
			return syncDir(st.fs, st.dir)
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return fmt.Errorf("a backup or a snapshot from before is still being read: %w", ctx.Err())
		}
	}
}

// sweepOnce gives a channel that is closed when it is worth to try again, or nil when
// nothing is left.
func (st *snapshotStore) sweepOnce(generation uint64) (busy <-chan struct{}, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	names, err := st.fs.List(st.dir)
	if err != nil {
		return nil, err
	}
	newest := st.newestOf(generation)
	var wait bool
	for _, name := range names {
		made, ours := st.made[name]
		m, finished := st.all[name]
		switch {
		case ours && made == generation:
			continue
		case finished && (newest == nil || newest.index < m.index):
			return nil, fmt.Errorf("%w: snapshot %s", ErrNoSnapshot, name)
		case ours && !finished, st.open[name] > 0:
			wait = true
			continue
		}
		delete(st.all, name)
		delete(st.made, name)
		if err := st.remove(name); err != nil {
			return nil, fmt.Errorf("remove %s: %w", name, err)
		}
	}
	if !wait {
		return nil, nil
	}
	if st.changed == nil {
		st.changed = make(chan struct{})
	}
	return st.changed, nil
}

// newestOf is the newest snapshot with files of a generation, nil if there is none.
func (st *snapshotStore) newestOf(generation uint64) *manifest {
	for _, id := range st.newestFirst() {
		if st.made[id] == generation {
			return st.all[id]
		}
	}
	return nil
}
