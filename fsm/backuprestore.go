package fsm

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"math"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Restore makes of a backup a directory that Open takes as a state's. There must not be
// one yet. Every file is compared with the manifest on its way and the state hash is
// counted anew; then the state gets another epoch, so that nobody mistakes a revision
// that follows for one of the history that the backup was taken from. After an error, or
// a crash, the directory holds no state, and must be removed. The bytes that progress is
// told are those of the backup.
func (d *BackupDir) Restore(ctx context.Context, m *BackupManifest, dir string, epoch uint64, progress func(done, total uint64)) error {
	if epoch == 0 || epoch == m.Epoch {
		return fmt.Errorf("restore backup %s: %x is no epoch for it", m.Name(), epoch)
	}
	if m.ClusterVersion > ClusterVersion {
		return fmt.Errorf("restore backup %s: %w", m.Name(), &formatError{"cluster", m.ClusterVersion})
	}
	if _, err := d.fs.Stat(dir); err == nil || !errors.Is(err, iofs.ErrNotExist) {
		return errors.Join(fmt.Errorf("restore backup %s: %s exists", m.Name(), dir), err)
	}
	err := d.restore(ctx, m, dir, epoch, progress)
	if err != nil {
		return fmt.Errorf("restore backup %s: %w", m.Name(), err)
	}
	return nil
}

func (d *BackupDir) restore(ctx context.Context, m *BackupManifest, dir string, epoch uint64, progress func(done, total uint64)) error {
	const first = 1
	generation := generationDir(d.fs, dir, first)
	if err := makeDir(d.fs, generation); err != nil {
		return err
	}
	var done uint64
	room := make([]byte, backupChunk)
	for i := range m.Files {
		f := &m.Files[i]
		err := d.bring(f, d.fs.PathJoin(generation, f.Name), room, func(n int) error {
			done += uint64(n)
			if progress != nil {
				progress(done, max(done, m.Size()))
			}
			return ctx.Err()
		})
		if err != nil {
			return err
		}
	}
	if err := syncDir(d.fs, generation); err != nil {
		return err
	}
	cfg := Config{Dir: dir, FS: d.fs}
	cfg.fill()
	db, err := openPebble(&cfg, generation)
	if err != nil {
		return err
	}
	if err := errors.Join(m.begin(db, epoch), db.Close()); err != nil {
		return err
	}
	return writeCurrent(d.fs, dir, first)
}

// bring copies one file to where Pebble wants it.
func (d *BackupDir) bring(f *BackupFile, to string, room []byte, tell func(n int) error) error {
	out, err := d.fs.Create(to, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	err = d.fill(f, out, room, tell)
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

func (d *BackupDir) fill(f *BackupFile, out vfs.File, room []byte, tell func(n int) error) error {
	if f.Size == 0 {
		return nil
	}
	in, err := d.fs.Open(d.path(backupFiles, f.Sum.String()), vfs.SequentialReadsOption)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	place := fmt.Sprintf("%s (%s)", d.fs.PathJoin(backupFiles, f.Sum.String()), f.Name)
	sums, err := sumReader(in, room, func(n int) error {
		if _, err := out.Write(append([]byte(nil), room[:n]...)); err != nil {
			return err
		}
		return tell(n)
	})
	if err == nil {
		err = f.compare(place, sums.file(f.Name))
	}
	return errors.Join(err, in.Close())
}

// begin verifies a state that was brought, and gives it its own epoch.
func (m *BackupManifest) begin(db *pebble.DB, epoch uint64) error {
	if err := m.verifyRows(db); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	sum, err := recount(db)
	if err != nil {
		return err
	}
	if sum != m.applied.hash {
		return fmt.Errorf("%w: the rows hash to %v, the manifest says %v", ErrCorrupt, sum, m.applied.hash)
	}
	if m.applied.index == 0 || m.applied.index == math.MaxUint64 || m.applied.term == 0 {
		return fmt.Errorf("%w: a state at revision %d of term %d", ErrCorrupt, m.applied.index, m.applied.term)
	}
	b := db.NewBatch()
	applied := m.applied
	if err := replaceEpoch(db, b, &applied, m.Epoch, epoch, restoredReason); err != nil {
		return errors.Join(err, b.Close())
	}
	if err := b.Set(metaKey(metaApplied), applied.encode(), nil); err != nil {
		return errors.Join(err, b.Close())
	}
	return b.Commit(pebble.Sync)
}
