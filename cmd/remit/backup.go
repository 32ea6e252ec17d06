package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/remit-authz/remit/cmd/remit/server"
	"github.com/remit-authz/remit/fsm"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

func (a *app) backupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup",
		Short: "Save, verify, inspect and restore backups of all stores",
		Long: `A backup is everything that a server holds, at one revision: all stores with their
models, tuples and history. Backups lie in a folder, where each is one file that ends in
.backup, and share the files that they have in common: save brings only what is new.
"remit serve --backup-dir DIR" saves them by itself. A folder may be copied anywhere,
as long as all of it is.`,
		GroupID: groupRun,
		Args:    cobra.NoArgs,
	}
	cmd.AddCommand(a.backupSaveCommand(), a.backupVerifyCommand(), a.backupInspectCommand(), a.backupRestoreCommand())
	return cmd
}

// A savedBackup tells what a save has done.
type savedBackup struct {
	Backup   string   `json:"backup"`
	Revision uint64   `json:"revision"`
	Files    int      `json:"files"`
	Bytes    uint64   `json:"bytes"`
	NewFiles int      `json:"newFiles"`
	NewBytes uint64   `json:"newBytes"`
	Removed  []string `json:"removed"`
}

func (a *app) backupSaveCommand() *cobra.Command {
	var full bool
	var keep int
	cmd := &cobra.Command{
		Use:   "save DIR",
		Short: "Save a backup of a running server into a folder",
		Long: `Save brings the state of the server at its newest revision into a folder of this
machine, while others go on writing. Of what the folder has from earlier backups nothing
is brought again. The backup appears in the folder once all of it is there and synced; a
save that is cut off leaves none, and what remains of it goes with the next save.`,
		Example: `  remit backup save /var/backups/remit
  remit backup save /var/backups/remit --keep 30
  remit backup save /var/backups/remit --full`,
		Args: words(1, "DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.checkOutput(); err != nil {
				return err
			}
			if cmd.Flags().Changed("keep") && keep < 1 {
				return errors.New("--keep must be 1 at least: a save never removes what it has just saved")
			}
			dir := fsm.OpenBackups(args[0])
			saved, err := a.saveBackup(cmd.Context(), dir, full)
			if err != nil {
				return err
			}
			if keep > 0 {
				if saved.Removed, _, err = dir.Prune(keep); err != nil {
					return &partialError{done: "backup " + saved.Backup + " was saved", err: err}
				}
			}
			return a.print(saved, func(w io.Writer) error {
				printf(w, "backup %s saved: revision %d, %s, %s; %s of them new, %s\n", saved.Backup, saved.Revision,
					counted(saved.Files, "file"), sizeText(saved.Bytes), thousands(saved.NewFiles), sizeText(saved.NewBytes))
				for _, name := range saved.Removed {
					printf(w, "backup %s removed\n", name)
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&full, "full", false, "bring every file anew, and so mend those in the folder that are damaged")
	cmd.Flags().IntVar(&keep, "keep", 0, "afterwards, remove all but the newest `n` backups (default: remove none)")
	return cmd
}

// maxHave is how many files a request may say that the folder has.
const maxHave = 200_000

// saveBackup streams a backup from the server into a folder.
func (a *app) saveBackup(ctx context.Context, dir *fsm.BackupDir, full bool) (saved *savedBackup, err error) {
	service, err := a.backupService()
	if err != nil {
		return nil, err
	}
	w, err := dir.Begin(full)
	if err != nil {
		return nil, err
	}
	defer func() {
		if e := w.Abort(); err == nil && e != nil {
			saved, err = nil, e
		}
	}()
	w.Trim(maxHave)
	req := &remitv1.SaveRequest{}
	for _, sum := range w.Have() {
		req.Have = append(req.Have, sum[:])
	}
	alive, stop := a.whileAlive(ctx)
	defer stop()
	stream, err := service.Save(alive.ctx, req)
	if err != nil {
		return nil, alive.reason(err)
	}
	defer func() { _ = stream.Close() }() // its error is that of the last Receive
	in := &incomingBackup{w: w, progress: newByteProgress(a.stderr)}
	defer in.progress.done()
	for {
		res, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, alive.reason(err)
		}
		alive.sign()
		if err := in.take(res); err != nil {
			return nil, err
		}
	}
	if err := in.start(); err != nil { // of a backup whose files are all there
		return nil, err
	}
	m := in.m
	saved = &savedBackup{Backup: m.Name(), Revision: uint64(m.Revision()), Files: len(m.Files), Bytes: m.Size(), NewFiles: w.Files(), Removed: []string{}}
	saved.NewBytes, _ = w.Progress()
	return saved, w.Commit()
}

// An incomingBackup puts a stream's messages into a folder.
type incomingBackup struct {
	w        *fsm.BackupWriter
	progress *byteProgress
	manifest []byte
	m        *fsm.BackupManifest
}

func (in *incomingBackup) take(res *remitv1.SaveResponse) error {
	switch part := res.GetPart().(type) {
	case *remitv1.SaveResponse_Preparation_:
		in.progress.at("prepared", part.Preparation.GetDoneBytes(), part.Preparation.GetTotalBytes())
	case *remitv1.SaveResponse_Manifest:
		in.manifest = append(in.manifest, part.Manifest...)
	case *remitv1.SaveResponse_Data:
		if err := in.start(); err != nil {
			return err
		}
		if _, err := in.w.Write(part.Data); err != nil {
			return err
		}
		written, total := in.w.Progress()
		in.progress.at("saved", written, total)
	}
	return nil
}

// start reads the manifest once it is whole.
func (in *incomingBackup) start() (err error) {
	if in.m == nil {
		in.m, err = in.w.Start(in.manifest)
	}
	return err
}

// backupService is a client that does not ask for compression: nearly all of a backup is
// compressed already.
func (a *app) backupService() (remitv1connect.BackupServiceClient, error) {
	c, err := a.connect(true)
	if err != nil {
		return nil, err
	}
	return remitv1connect.NewBackupServiceClient(c), nil
}

// An aliveness ends a stream that has shown no sign of life for --timeout.
type aliveness struct {
	ctx     context.Context //nolint:containedctx // it is made for one stream
	timer   *time.Timer
	timeout time.Duration
}

var errNoSign = errors.New("no sign of life")

func (a *app) whileAlive(ctx context.Context) (*aliveness, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	l := &aliveness{ctx: ctx, timeout: a.timeout}
	if a.timeout > 0 {
		l.timer = time.AfterFunc(a.timeout, func() { cancel(errNoSign) })
	}
	return l, func() {
		if l.timer != nil {
			l.timer.Stop()
		}
		cancel(nil)
	}
}

func (l *aliveness) sign() {
	if l.timer != nil {
		l.timer.Reset(l.timeout)
	}
}

// reason is why a stream ended.
func (l *aliveness) reason(err error) error {
	if errors.Is(context.Cause(l.ctx), errNoSign) {
		return context.DeadlineExceeded
	}
	return err
}

// backupNamed is a name as fsm wants it: the newest has none.
func backupNamed(args []string) string {
	if len(args) < 2 || args[1] == "latest" {
		return ""
	}
	return strings.TrimSuffix(args[1], ".backup")
}

// A verifiedBackups tells what a verification has found.
type verifiedBackups struct {
	Backups []string `json:"backups"`
	Bytes   uint64   `json:"bytes"`
	Damage  []string `json:"damage"`
}

func (a *app) backupVerifyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "verify DIR [NAME]",
		Short: "Read every byte of backups, and tell what is damaged",
		Long: `Verify compares every file with its checksum, opens the state in each backup and counts
its hash anew. It reads all backups of the folder, and then also tells what else lies
there; or only the one that is named, which may be called "latest". It needs no server
and writes nothing.

Exit status: 0 if all is whole, 1 if something is damaged, missing or foreign, 2 if that
could not be found out.`,
		Example:     "  remit backup verify /var/backups/remit\n  remit backup verify /var/backups/remit latest",
		Args:        oneOrTwo("DIR [NAME]"),
		Annotations: local,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.checkOutput(); err != nil {
				return err
			}
			dir := fsm.OpenBackups(args[0])
			stored, err := dir.List()
			if err != nil {
				return err
			}
			var names []string
			found := &verifiedBackups{Damage: []string{}}
			if len(args) == 2 {
				name := backupNamed(args)
				if name == "" && len(stored) > 0 {
					name = stored[len(stored)-1].Name
				}
				names, found.Backups = []string{name}, []string{name}
			} else {
				for _, s := range stored {
					found.Backups = append(found.Backups, s.Name)
				}
			}
			p := newByteProgress(a.stderr)
			err = dir.Verify(cmd.Context(), names, func(done, total uint64) {
				found.Bytes = done
				p.at("read", done, total)
			})
			p.done()
			if err != nil && !onlyDamage(err) {
				return err
			}
			if err != nil {
				found.Damage = strings.Split(err.Error(), "\n")
			}
			err = a.print(found, func(w io.Writer) error {
				for _, d := range found.Damage {
					printf(w, "damaged: %s\n", d)
				}
				if len(found.Damage) == 0 {
					printf(w, "%s: %s, %s\n", args[0], wholeText(found.Backups), sizeText(found.Bytes))
				}
				return nil
			})
			if err == nil && len(found.Damage) > 0 {
				err = errNo
			}
			return err
		},
	}
}

func wholeText(names []string) string {
	if len(names) == 1 {
		return "backup " + names[0] + " is whole"
	}
	return counted(len(names), "backup") + " are whole"
}

// onlyDamage reports whether an error is about damage and nothing else.
func onlyDamage(err error) bool {
	if joined, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // the outermost error alone is looked at
		for _, e := range joined.Unwrap() {
			if !onlyDamage(e) {
				return false
			}
		}
		return true
	}
	var damage *fsm.DamageError
	return errors.As(err, &damage)
}

// oneOrTwo demands one argument or two, and says what they are.
func oneOrTwo(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < 1 || len(args) > 2 {
			return fmt.Errorf("expected %s, got %s", what, counted(len(args), "argument"))
		}
		return nil
	}
}

func (a *app) backupRestoreCommand() *cobra.Command {
	var dataDir string
	cmd := &cobra.Command{
		Use:   "restore DIR [NAME]",
		Short: "Make a data directory of a backup",
		Long: `Restore makes a data directory that "remit serve" starts from, of the newest backup in
a folder or of the one that is named. Every file is compared with its checksum on its
way, and the state hash is counted anew. The data directory must be empty, or not be
there; a restore that is cut off leaves one that no server takes, and that a restore
begins anew.

What is restored is a new node with an epoch of its own: the history goes on at the
backup's revision, and what the old server did after it is gone. So of what clients keep
from the old server

  - a token still does for at_least_as_fresh, and asks for the newest state; for
    at_exact_snapshot it is refused;
  - a cursor has expired, and so have resume points of watch and export: begin anew;
  - a continuation token of OpenFGA's ReadChanges goes on at the time of the last change
    that was read, which may come again; what was lost is not told, so a copy that is
    kept from changes should be made anew;
  - an idempotency key of a write up to the backup still holds.

Stop the old server first, or let no client reach it: there would be two histories.`,
		Example: `  remit backup restore /var/backups/remit --data-dir /var/lib/remit
  remit backup restore /var/backups/remit 20260301T220000.000Z-48213 --data-dir ./then`,
		Args:        oneOrTwo("DIR [NAME]"),
		Annotations: local,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := errors.Join(a.checkOutput(), fromEnvironment(cmd, "data-dir")); err != nil {
				return err
			}
			p := newByteProgress(a.stderr)
			restored, err := server.Restore(cmd.Context(), server.RestoreConfig{
				Backups: fsm.OpenBackups(args[0]), Backup: backupNamed(args), DataDir: dataDir,
				Progress: func(done, total uint64) {
					p.at("restored", done, total)
					if done == total && total >= longState {
						p.done()
						printLine(a.stderr, "all files are there; counting the state's hash and building its index")
					}
				},
			})
			p.done()
			if err != nil {
				return err
			}
			m := restored.Manifest
			answer := map[string]any{
				"backup": m.Name(), "dataDir": dataDir, "revision": uint64(m.Revision()),
				"nodeId": restored.NodeID, "epoch": epochText(restored.Epoch), "bytes": m.Size(),
			}
			return a.print(answer, func(w io.Writer) error {
				printf(w, "backup %s restored to %s: revision %d of %s, epoch %s\nstart it with\n  remit serve --data-dir %s\n",
					m.Name(), dataDir, m.Revision(), instantText(m.Time()), epochText(restored.Epoch), shellWord(dataDir))
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", "./data", "the `folder` to make, or $REMIT_DATA_DIR")
	return cmd
}

// longState is from where on a state's hash and index take seconds, so that silence would
// worry.
const longState = 32 << 20

// epochText is an epoch as NodeService has it.
func epochText(epoch uint64) string { return fmt.Sprintf("%032x", epoch) }

// A byteProgress tells how far work is whose size is known in bytes: on a terminal in one
// line that is rewritten, otherwise in a line every few seconds, for logs.
type byteProgress struct {
	w        io.Writer
	terminal bool
	drawn    bool
	next     time.Time
}

func newByteProgress(w io.Writer) *byteProgress {
	return &byteProgress{w: w, terminal: isTerminal(w), next: time.Now().Add(progressInterval)}
}

func (p *byteProgress) at(what string, done, total uint64) {
	now := time.Now()
	if p.terminal && !p.drawn {
		p.next = now
	}
	if now.Before(p.next) || total == 0 {
		return
	}
	line := fmt.Sprintf("%s of %s %s (%d%%)", sizeText(done), sizeText(total), what, done*100/total)
	if !p.terminal {
		printLine(p.w, line)
		p.next = now.Add(progressInterval)
		return
	}
	printf(p.w, "\r%-60s", line)
	p.drawn, p.next = true, now.Add(100*time.Millisecond)
}

func (p *byteProgress) done() {
	if p.drawn {
		printLine(p.w, "")
		p.drawn = false
	}
}

// sizeText is a number of bytes for people.
func sizeText(n uint64) string {
	if n < 1000 {
		return counted(int(n), "byte")
	}
	size := float64(n)
	for _, unit := range []string{"kB", "MB", "GB"} {
		if size /= 1000; size < 999.95 {
			return fmt.Sprintf("%.1f %s", size, unit)
		}
	}
	return fmt.Sprintf("%.1f TB", size/1000)
}
