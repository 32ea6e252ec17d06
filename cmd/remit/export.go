package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/remit-authz/remit/cmd/remit/storefile"
	"github.com/remit-authz/remit/graph"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// An exporting is one export: what the flags say, and how far it is.
type exporting struct {
	app    *app
	client *services
	format string // the extension of the format
	to     string // the file; empty: standard output
	again  bool   // go on with a file that was begun

	request  *remitv1.ExportRequest
	out      io.Writer
	file     *os.File // the part of the file that is there
	writer   storefile.TupleWriter
	sorted   []graph.Tuple // of a store that is small enough to be sorted
	sort     bool
	progress *progress
	sent     uint64
	saved    time.Time
}

// sortedTuples is up to how many tuples an export is sorted by name: the server's order
// depends on the store's history, and two exports should be comparable. More than these
// are written as they come, so that no store is too large.
const sortedTuples = 50_000

// saveInterval is how often an export notes how far it is: what was written since is
// fetched again.
const saveInterval = 2 * time.Second

func (a *app) storeExportCommand() *cobra.Command {
	e := &exporting{app: a}
	format := ""
	cmd := &cobra.Command{
		Use:   "export [STORE]",
		Short: "Write a store to a file",
		Long: `Export prints all tuples of a store at one revision, whatever is written meanwhile.

As a store file (.fga.yaml) it holds the newest model and the tuples; import and
OpenFGA's command line read it. Two things only Remit reads: a tuple's expiry, written
as expires_at, and a model that the modelling language cannot express, written as JSON.
As CSV or JSON lines it holds the tuples alone.

Up to 50,000 tuples are sorted by name, so that two exports can be compared. A larger
store is written as it comes, in bounded memory.

With --file nothing stands under the file's name before all of it is written; until then
it is FILE.part. An export that was interrupted goes on with --resume, at the same
revision, as long as the server keeps that.`,
		Example: `  remit store export shop >shop.fga.yaml
  remit store export --file shop.fga.yaml
  remit store export shop --file shop.csv
  remit store export shop --file shop.csv --resume`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.storeCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				a.store = args[0]
			}
			if e.to == "-" {
				e.to = ""
			}
			if e.again && e.to == "" {
				return errors.New("--resume goes on with a file; name it with --file")
			}
			var err error
			if e.format, err = exportFormat(format, e.to); err != nil {
				return err
			}
			c, scope, err := a.ask(cmd, &circumstance{})
			if err != nil {
				return err
			}
			e.client, e.request = c, &remitv1.ExportRequest{Store: scope.GetStore(), Consistency: scope.GetConsistency()}
			return e.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&e.to, "file", "f", "", "write to a `file` instead of standard output")
	flags.StringVar(&format, "format", "", "the `format`, if the file's name does not tell: yaml, csv or jsonl (default yaml)")
	flags.BoolVar(&e.again, "resume", false, "go on with the file where it was interrupted")
	complete(cmd, "format", "yaml", "csv", "jsonl")
	return cmd
}

// exportFormat is the extension of the format to write.
func exportFormat(format, file string) (string, error) {
	extension := "." + strings.TrimPrefix(format, ".")
	if format == "" {
		if extension = filepath.Ext(file); extension == "" {
			extension = ".yaml"
		}
	}
	switch extension {
	case ".yaml", ".yml":
		return ".yaml", nil
	case ".csv", ".jsonl":
		return extension, nil
	}
	return "", fmt.Errorf("cannot write %q; choose yaml, csv or jsonl with --format", strings.TrimPrefix(extension, "."))
}

// An exportState is how far an export to a file is, beside the part that is there.
type exportState struct {
	StoreID string `json:"storeId"`
	Format  string `json:"format"`
	Resume  string `json:"resume"`
	Bytes   int64  `json:"bytes"`
	Sent    uint64 `json:"sent"`
}

func (e *exporting) part() string  { return e.to + ".part" }
func (e *exporting) state() string { return e.to + ".part.json" }

func (e *exporting) run(ctx context.Context) error {
	e.out = e.app.stdout
	if e.to != "" {
		if err := e.openPart(ctx); err != nil {
			return err
		}
	}
	err := e.app.following(ctx, 0, func(ctx context.Context, alive func()) error { return e.receive(ctx, alive) })
	if e.progress != nil {
		e.progress.done()
	}
	if err == nil {
		err = e.finish()
	}
	if e.file == nil {
		return err
	}
	return e.closePart(err)
}

// openPart opens the part of the file that is there, or begins it.
func (e *exporting) openPart(ctx context.Context) error {
	var err error
	if e.again {
		var state exportState
		text, err := os.ReadFile(e.state())
		if err != nil {
			return fmt.Errorf("there is no export to %s to go on with: %w", e.to, fileReason(e.state(), err))
		}
		if err := json.Unmarshal(text, &state); err != nil {
			return fmt.Errorf("%s: %w", e.state(), err)
		}
		found, err := call(ctx, e.app, e.client.stores.GetStore, &remitv1.GetStoreRequest{Store: e.request.GetStore()})
		if err != nil {
			return err
		}
		if found.GetStore().GetId() != state.StoreID || state.Format != e.format {
			return fmt.Errorf("the export to %s that was interrupted is of store %s, as %s", e.to, state.StoreID, strings.TrimPrefix(state.Format, "."))
		}
		if e.file, err = os.OpenFile(e.part(), os.O_RDWR, 0); err != nil {
			return fileReason(e.part(), err)
		}
		if err := e.file.Truncate(state.Bytes); err != nil {
			return fileReason(e.part(), err)
		}
		if _, err := e.file.Seek(state.Bytes, io.SeekStart); err != nil {
			return fileReason(e.part(), err)
		}
		e.request.Resume, e.request.Consistency, e.sent = state.Resume, nil, state.Sent
		e.out = e.file
		if e.format == ".yaml" {
			e.writer = storefile.ContinueWriter(e.file)
			return nil
		}
		e.writer, err = storefile.NewTupleWriter(e.file, e.format, true)
		return err
	}
	if err := errors.Join(absent(os.Remove(e.state())), absent(os.Remove(e.part()))); err != nil {
		return err
	}
	if e.file, err = os.OpenFile(e.part(), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666); err != nil {
		return fileReason(e.part(), err)
	}
	e.out = e.file
	return nil
}

// absent is an error of a removal, but that there was nothing to remove.
func absent(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// closePart gives the file its name if all of it was written. What was interrupted stays,
// to be gone on with; what cannot be written goes: half a file is of no use to anybody.
func (e *exporting) closePart(err error) error {
	if err == nil {
		if err = e.file.Sync(); err != nil {
			err = fileReason(e.part(), err)
		}
	}
	if closed := e.file.Close(); err == nil && closed != nil {
		err = fileReason(e.part(), closed)
	}
	if err == nil {
		if err = os.Rename(e.part(), e.to); err != nil {
			return fileReason(e.to, err)
		}
		return absent(os.Remove(e.state()))
	}
	_, noState := os.Stat(e.state())
	if noState == nil && !errors.Is(err, syscall.ENOSPC) && !isPathError(err) &&
		!hasReason(err, remitv1.ErrorReason_ERROR_REASON_CURSOR_EXPIRED) && !hasReason(err, remitv1.ErrorReason_ERROR_REASON_REVISION_UNAVAILABLE) {
		return fmt.Errorf("%s\n%s tuples are in %s; go on with\n  remit store export %s --file %s --resume",
			strings.TrimPrefix(e.app.errorText(err), "remit: "), thousands(int(e.sent)), e.part(), shellWord(e.request.GetStore()), shellWord(e.to))
	}
	return errors.Join(err, absent(os.Remove(e.state())), absent(os.Remove(e.part())))
}

func isPathError(err error) bool {
	var pathErr *os.PathError
	return errors.As(err, &pathErr)
}

// receive reads one stream, from where the last one ended.
func (e *exporting) receive(ctx context.Context, alive func()) error {
	stream, err := e.client.transfers.Export(ctx, e.request)
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }() // it has ended, or the context ends it
	for {
		res, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		alive()
		if err := e.take(res); err != nil {
			return &finalError{err}
		}
		if res.GetResume() == "" {
			return nil
		}
		e.request.Resume, e.request.Consistency = res.GetResume(), nil
		if time.Since(e.saved) > saveInterval {
			if err := e.save(); err != nil {
				return &finalError{err}
			}
		}
	}
}

// take writes a message's tuples.
func (e *exporting) take(res *remitv1.ExportResponse) error {
	if e.progress == nil {
		e.progress = newProgress(e.app.stderr, int(res.GetTotal()), "tuples exported")
		e.saved = time.Now()
	}
	if e.writer == nil {
		if e.format == ".yaml" {
			e.writer = storefile.NewWriter(e.out, res.GetStore().GetName(), firstOf(res.GetModel().GetDsl(), res.GetModel().GetJson()))
		} else {
			var err error
			if e.writer, err = storefile.NewTupleWriter(e.out, e.format, false); err != nil {
				return err
			}
		}
		e.sort = res.GetTotal() <= sortedTuples && (res.GetTotal() > 0 || res.GetResume() == "")
	}
	if s := res.GetStore(); s != nil {
		e.request.Store = s.GetId() // whatever becomes of its name
	}
	for _, m := range res.GetTuples() {
		t, err := tupleOf(m)
		if err != nil {
			return fmt.Errorf("the server sent a tuple that cannot be read: %w", err)
		}
		if e.sort {
			e.sorted = append(e.sorted, t)
		} else if err := e.writer.Tuple(t); err != nil {
			return e.unwritten(err)
		}
	}
	e.sent = res.GetSent()
	e.progress.at(int(e.sent))
	return nil
}

// unwritten names the file that could not be written.
func (e *exporting) unwritten(err error) error {
	if e.file == nil {
		return err
	}
	return fileReason(e.part(), err)
}

// save notes how far the export is.
func (e *exporting) save() error {
	e.saved = time.Now()
	if e.file == nil || e.sort {
		return nil
	}
	if err := errors.Join(e.writer.Flush(), e.file.Sync()); err != nil {
		return e.unwritten(err)
	}
	size, err := e.file.Seek(0, io.SeekCurrent)
	if err != nil {
		return e.unwritten(err)
	}
	text, err := json.Marshal(exportState{
		StoreID: e.request.GetStore(), Format: e.format, Resume: e.request.GetResume(), Bytes: size, Sent: e.sent,
	})
	if err != nil {
		return err
	}
	next := e.state() + ".new"
	if err := os.WriteFile(next, text, 0o666); err != nil {
		return fileReason(next, err)
	}
	if err := os.Rename(next, e.state()); err != nil {
		return fileReason(e.state(), err)
	}
	return nil
}

// finish writes what is left.
func (e *exporting) finish() error {
	slices.SortFunc(e.sorted, func(x, y graph.Tuple) int {
		return cmp.Or(strings.Compare(x.Object.String(), y.Object.String()), strings.Compare(x.Relation, y.Relation), strings.Compare(x.Subject.String(), y.Subject.String()))
	})
	for _, t := range e.sorted {
		if err := e.writer.Tuple(t); err != nil {
			return e.unwritten(err)
		}
	}
	if err := e.writer.Close(); err != nil {
		return e.unwritten(err)
	}
	return nil
}
