package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"connectrpc.com/connect/v2"
	"github.com/oklog/ulid/v2"
	"github.com/spf13/cobra"

	"github.com/remit-authz/remit/cmd/remit/storefile"
	"github.com/remit-authz/remit/rpc/client"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

func (a *app) storeImportCommand() *cobra.Command {
	var name, into string
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Load a file into a store: a model and tuples",
		Long: `Import reads a store file (*.fga.yaml, the format of OpenFGA's command line), creates
a store of its name, and writes the model and the tuples. The whole file is validated
first: if anything is wrong with it, nothing is written.

With --into it adds to a store that exists; tuples already there get the condition and
expiry of the file. There, tuple files in CSV (*.csv) and JSON lines (*.jsonl) of any
size can be imported, too: the file is read once to see that it is well formed, and
then written piece by piece.

An import that was cut off is simply repeated: what is there already is passed over.`,
		Example: `  remit store import shop.fga.yaml
  remit store import shop.fga.yaml --name shop-test
  remit store import more.fga.yaml --into shop
  remit store import tuples.csv --into shop`,
		Args: words(1, "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.checkOutput(); err != nil {
				return err
			}
			if name != "" && into != "" {
				return errors.New("--name is for a new store, --into for one that exists; give one of them")
			}
			if a.store != "" {
				return errors.New("--store does not say where to import to: --into adds to a store that exists, --name names a new one")
			}
			if storefile.Streams(filepath.Ext(args[0])) {
				return a.importTuples(cmd.Context(), args[0], into)
			}
			file, err := storefile.Read(args[0])
			if err != nil {
				return err
			}
			a.warn(file.Warnings)
			if file.Model == nil && into == "" {
				return fmt.Errorf("%s holds no model, which a new store needs; add tuples to a store that has one with --into", args[0])
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			imported, err := a.importFile(cmd.Context(), c, file, firstOf(name, file.Name, baseName(args[0])), into)
			if err != nil {
				return err
			}
			return a.print(imported, imported.table)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&name, "name", "", "the new store's `name` (default: the file's name key, or its file name)")
	flags.StringVar(&into, "into", "", "add to this `store` instead of creating one")
	if err := cmd.RegisterFlagCompletionFunc("into", a.storeCompletions); err != nil {
		panic(fmt.Sprintf("complete --into: %v", err)) // no such flag: our own mistake
	}
	return cmd
}

// judgedBy tells which model an import has written.
func judgedBy(model string) string {
	if model == "" {
		return "the model as it was"
	}
	return "model " + model
}

// baseName is a store file's name without its folder and extensions.
func baseName(file string) string {
	base := filepath.Base(file)
	for _, extension := range []string{".fga.yaml", ".fga.yml", ".yaml", ".yml"} {
		if strings.HasSuffix(base, extension) && base != extension {
			return strings.TrimSuffix(base, extension)
		}
	}
	return base
}

// An imported tells what an import has done.
type imported struct {
	Name    string `json:"name"`
	StoreID string `json:"storeId"`
	ModelID string `json:"modelId"`
	// Tuples are those of the file, Unchanged those of them that were there already.
	Tuples    int    `json:"tuples"`
	Unchanged int    `json:"unchanged"`
	Token     string `json:"token"`
}

// table writes it for people.
func (i *imported) table(w io.Writer) error {
	text := counted(i.Tuples, "tuple") + " written"
	if i.Unchanged > 0 {
		text = fmt.Sprintf("%s written, %s there already", counted(i.Tuples-i.Unchanged, "tuple"), thousands(i.Unchanged))
	}
	_, err := fmt.Fprintf(w, "store %s (%s): %s, %s\n", visible(i.Name), i.StoreID, text, judgedBy(i.ModelID))
	return err
}

// importFile writes a store file that was read, and so validated, to the server. Every
// step can be repeated, so one whose outcome is unknown is.
func (a *app) importFile(ctx context.Context, c *services, file *storefile.File, name, into string) (*imported, error) {
	key := "import/" + ulid.Make().String()
	store, err := a.importTarget(ctx, c, key, name, into)
	if err != nil {
		return nil, err
	}
	done := &imported{Name: store.GetName(), StoreID: store.GetId(), Tuples: len(file.Tuples)}
	if file.Model != nil {
		answer, err := call(ctx, a, c.models.WriteModel, &remitv1.WriteModelRequest{
			Store: store.GetId(), Source: sourceMessage(file.Source), IdempotencyKey: key + "/model", Reason: firstOf(a.provenance.given(), "import of "+file.Path),
		})
		if err != nil {
			return nil, a.halfDone(err, store, into, file.Path)
		}
		done.ModelID, done.Token = answer.GetModelId(), answer.GetToken()
	}
	w := &importer{app: a, client: c, done: done, reason: firstOf(a.provenance.given(), "import of "+file.Path)}
	w.progress = newProgress(a.stderr, len(file.Tuples), "tuples written")
	if err := w.write(ctx, file.Tuples); err != nil {
		return nil, a.halfDone(err, store, into, file.Path)
	}
	w.progress.done()
	return done, nil
}

// importTarget finds the store to add to, or creates one. It does not create a second
// store of a name: --store would no longer tell them apart.
func (a *app) importTarget(ctx context.Context, c *services, key, name, into string) (*remitv1.Store, error) {
	if into != "" {
		found, err := call(ctx, a, c.stores.GetStore, &remitv1.GetStoreRequest{Store: into})
		if err == nil {
			err = unmanaged(found.GetStore())
		}
		return found.GetStore(), err
	}
	hint := fmt.Sprintf("; add to it with --into %s, or choose another name with --name", shellWord(name))
	if err := a.nameIsFree(ctx, c, name, hint); err != nil {
		return nil, err
	}
	created, err := call(ctx, a, c.stores.CreateStore, &remitv1.CreateStoreRequest{Name: name, IdempotencyKey: key})
	return created.GetStore(), err
}

// halfDone tells how to go on after a store was created.
func (a *app) halfDone(err error, store *remitv1.Store, into, path string) error {
	if into != "" {
		return err
	}
	return fmt.Errorf("%s\nstore %s was created; once that is mended, go on with\n  remit store import %s --into %s",
		strings.TrimPrefix(a.errorText(err), "remit: "), visible(store.GetName()), shellWord(path), store.GetId())
}

// An importer writes tuples to a store.
type importer struct {
	app      *app
	client   *services
	done     *imported
	reason   string
	progress *progress
	written  int // and those that were there
}

// How many tuples go into one message and into one stream. The end of a stream tells that
// all of it is written, so a stream is what is repeated when the connection breaks.
const (
	messageTuples = 5000
	streamTuples  = 50_000
)

// importTuples reads a tuple file piece by piece.
func (a *app) importTuples(ctx context.Context, name, into string) error {
	if into == "" {
		return fmt.Errorf("%s holds no model, which a new store needs; add tuples to a store that has one with --into", name)
	}
	// Once to see that it is well formed, so that a slip on its last line does not leave
	// half of it written.
	total := 0
	if err := a.eachPiece(name, func(tuples []storefile.Tuple) error {
		total += len(tuples)
		return ctx.Err()
	}, true); err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	found, err := call(ctx, a, c.stores.GetStore, &remitv1.GetStoreRequest{Store: into})
	if err == nil {
		err = unmanaged(found.GetStore())
	}
	if err != nil {
		return err
	}
	w := &importer{
		app: a, client: c, reason: firstOf(a.provenance.given(), "import of "+filepath.Base(name)), progress: newProgress(a.stderr, total, "tuples written"),
		done: &imported{Name: found.GetStore().GetName(), StoreID: found.GetStore().GetId(), Tuples: total},
	}
	err = a.eachPiece(name, func(tuples []storefile.Tuple) error { return w.write(ctx, tuples) }, false)
	w.progress.done()
	if err != nil {
		return fmt.Errorf("%s\n%s of %s are written; once that is mended, repeat the import: what is there is passed over",
			strings.TrimPrefix(a.errorText(err), "remit: "), thousands(w.written), counted(total, "tuple"))
	}
	return a.print(w.done, w.done.table)
}

// eachPiece reads a tuple file.
func (a *app) eachPiece(name string, take func([]storefile.Tuple) error, warn bool) error {
	f, err := os.Open(name)
	if err != nil {
		return fileReason(name, err)
	}
	defer func() { _ = f.Close() }() // it was only read
	scanner, err := storefile.NewScanner(name, filepath.Ext(name), f)
	if err != nil {
		return err
	}
	for {
		tuples, err := scanner.Next(streamTuples)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := take(tuples); err != nil {
			return err
		}
	}
	if warn {
		a.warn(scanner.Warnings())
	}
	return nil
}

// write writes tuples, a stream at a time.
func (w *importer) write(ctx context.Context, tuples []storefile.Tuple) error {
	for len(tuples) > 0 {
		n := min(len(tuples), streamTuples)
		var answer *remitv1.ImportResponse
		err := w.app.following(ctx, 0, func(ctx context.Context, alive func()) error {
			var err error
			answer, err = w.stream(ctx, tuples[:n], alive)
			return err
		})
		if err != nil {
			return w.placed(err, tuples[:n])
		}
		w.done.Unchanged += int(answer.GetUnchanged())
		w.done.Token = answer.GetToken()
		w.written += n
		w.progress.at(w.written)
		tuples = tuples[n:]
	}
	return nil
}

// stream writes tuples as one stream.
func (w *importer) stream(ctx context.Context, tuples []storefile.Tuple, alive func()) (*remitv1.ImportResponse, error) {
	stream, err := w.client.transfers.Import(ctx)
	if err != nil {
		return nil, err
	}
	request := &remitv1.ImportRequest{Store: w.done.StoreID, Reason: w.reason}
	size := 0
	for i, t := range tuples {
		message, err := tupleMessage(t.Tuple)
		if err != nil {
			return nil, &finalError{fmt.Errorf("%s: %w", t.Place, err)}
		}
		request.Tuples = append(request.Tuples, message)
		size += sizeOf(message)
		if i < len(tuples)-1 && len(request.Tuples) < messageTuples && size < maxStepBytes {
			continue
		}
		if err := stream.Send(request); err != nil {
			break // what is wrong comes with the answer
		}
		alive()
		request, size = &remitv1.ImportRequest{}, 0
	}
	return stream.CloseAndReceive()
}

// placed finds the tuple at fault in the file.
func (w *importer) placed(err error, tuples []storefile.Tuple) error {
	var e *connect.Error
	if !errors.As(err, &e) {
		return err
	}
	i := 0
	if _, scanErr := fmt.Sscanf(client.Detail(e).GetField(), "tuples[%d]", &i); scanErr != nil || i < 0 || i >= len(tuples) {
		return err
	}
	return fmt.Errorf("%s: %s: %s", tuples[i].Place, tuples[i].Tuple, strings.TrimPrefix(w.app.errorText(err), "remit: "))
}
