package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/oklog/ulid/v2"
	"github.com/spf13/cobra"

	"github.com/remit-authz/remit/cmd/remit/storefile"
	"github.com/remit-authz/remit/graph"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

func (a *app) storeImportCommand() *cobra.Command {
	var name, into string
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Load a store file: a model and tuples",
		Long: `Import reads a store file (*.fga.yaml, the format of OpenFGA's command line), creates
a store of its name, and writes the model and the tuples. The whole file is validated
first: if anything is wrong with it, nothing is written.

With --into it adds to a store that exists; tuples already there get the condition and
expiry of the file. So an import that was cut off can be repeated.`,
		Example: `  remit store import shop.fga.yaml
  remit store import shop.fga.yaml --name shop-test
  remit store import more.fga.yaml --into shop`,
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
			return a.print(imported, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "store %s (%s): %s written, %s\n",
					imported.Name, imported.StoreID, counted(imported.Tuples, "tuple"), judgedBy(imported.ModelID))
				return err
			})
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
	Tuples  int    `json:"tuples"`
	Token   string `json:"token"`
}

// importFile writes a store file that was read, and so validated, to the server. Every
// step has an idempotency key, so a step whose outcome is unknown is simply repeated.
func (a *app) importFile(ctx context.Context, c *client, file *storefile.File, name, into string) (*imported, error) {
	operations := make([]*remitv1.Operation, 0, len(file.Tuples))
	for _, t := range file.Tuples {
		message, err := tupleMessage(t.Tuple)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.Place, err)
		}
		operations = append(operations, &remitv1.Operation{Kind: remitv1.Operation_KIND_TOUCH, Tuple: message})
	}
	key := "import/" + ulid.Make().String()
	store, err := a.importTarget(ctx, c, key, name, into)
	if err != nil {
		return nil, err
	}
	done := &imported{Name: store.GetName(), StoreID: store.GetId(), Tuples: len(operations)}
	if file.Model != nil {
		answer, err := repeated(ctx, a, c.models.WriteModel, &remitv1.WriteModelRequest{
			Store: store.GetId(), Source: sourceMessage(file.Source), IdempotencyKey: key + "/model", Reason: "import of " + file.Path,
		})
		if err != nil {
			return nil, a.halfDone(err, store, into, file.Path)
		}
		done.ModelID, done.Token = answer.GetModelId(), answer.GetToken()
	}
	if len(operations) > 0 {
		w := &batchWriter{app: a, client: c, store: store.GetId(), reason: "import of " + file.Path, key: key}
		answer, err := w.write(ctx, operations, "written")
		if err != nil {
			return nil, a.halfDone(err, store, into, file.Path)
		}
		done.Token = answer.GetToken()
	}
	return done, nil
}

// importTarget finds the store to add to, or creates one. It does not create a second
// store of a name: --store would no longer tell them apart.
func (a *app) importTarget(ctx context.Context, c *client, key, name, into string) (*remitv1.Store, error) {
	if into != "" {
		found, err := call(ctx, a, c.stores.GetStore, &remitv1.GetStoreRequest{Store: into})
		return found.GetStore(), err
	}
	hint := fmt.Sprintf("; add to it with --into %s, or choose another name with --name", shellWord(name))
	if err := a.nameIsFree(ctx, c, name, hint); err != nil {
		return nil, err
	}
	created, err := repeated(ctx, a, c.stores.CreateStore, &remitv1.CreateStoreRequest{Name: name, IdempotencyKey: key})
	return created.GetStore(), err
}

// halfDone tells how to go on after a store was created.
func (a *app) halfDone(err error, store *remitv1.Store, into, path string) error {
	if into != "" {
		return err
	}
	return fmt.Errorf("%s\nstore %s was created; once that is mended, go on with\n  remit store import %s --into %s",
		strings.TrimPrefix(a.errorText(err), "remit: "), store.GetName(), shellWord(path), store.GetId())
}

func (a *app) storeExportCommand() *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "export [STORE]",
		Short: "Write a store as a store file",
		Long: `Export prints a store's newest model and all its tuples, at one revision and in the
order of their names, as a store file that import and OpenFGA's command line read. Two
things only Remit reads: a tuple's expiry, written as expires_at, and a model that the
modelling language cannot express, written as JSON.`,
		Example:           "  remit store export shop >shop.fga.yaml\n  remit store export --file shop.fga.yaml",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.storeCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				a.store = args[0]
			}
			c, scope, err := a.ask(cmd, &circumstance{})
			if err != nil {
				return err
			}
			if to == "" || to == "-" {
				return a.export(cmd.Context(), c, scope, a.stdout)
			}
			f, err := os.Create(to)
			if err != nil {
				return fileReason(to, err)
			}
			return errors.Join(a.export(cmd.Context(), c, scope, f), f.Close())
		},
	}
	cmd.Flags().StringVarP(&to, "file", "f", "", "write to a `file` instead of standard output")
	return cmd
}

func (a *app) export(ctx context.Context, c *client, scope *remitv1.Scope, out io.Writer) error {
	found, err := call(ctx, a, c.stores.GetStore, &remitv1.GetStoreRequest{Store: scope.GetStore()})
	if err != nil {
		return err
	}
	store := found.GetStore()
	dsl := ""
	newest, err := call(ctx, a, c.models.GetModel, &remitv1.GetModelRequest{Store: store.GetId()})
	switch {
	case err == nil:
		dsl = firstOf(newest.GetModel().GetDsl(), newest.GetModel().GetJson())
	case !hasReason(err, remitv1.ErrorReason_ERROR_REASON_MODEL_NOT_FOUND):
		return err
	}
	tuples, err := a.allTuples(ctx, c, store.GetId(), scope.GetConsistency())
	if err != nil {
		return err
	}
	w := storefile.NewWriter(out, store.GetName(), dsl)
	for _, t := range tuples {
		if err := w.Tuple(t); err != nil {
			return err
		}
	}
	return w.Close()
}

// allTuples reads every tuple of a store, in the order of their names: the server's own
// order depends on the store's history, and two exports should be comparable.
func (a *app) allTuples(ctx context.Context, c *client, store string, consistency *remitv1.Consistency) ([]graph.Tuple, error) {
	type named struct {
		graph.Tuple
		object, subject string
	}
	var all []named
	for cursor := ""; ; {
		answer, err := call(ctx, a, c.tuples.Read, &remitv1.ReadRequest{
			Store: store, Consistency: consistency, PageSize: maxOperations, Cursor: cursor,
		})
		if err != nil {
			return nil, err
		}
		for _, s := range answer.GetTuples() {
			t, err := tupleOf(s.GetTuple())
			if err != nil {
				return nil, fmt.Errorf("the server sent a tuple that cannot be read: %w", err)
			}
			all = append(all, named{t, s.GetTuple().GetObject(), s.GetTuple().GetSubject()})
		}
		if cursor = answer.GetCursor(); cursor == "" {
			break
		}
	}
	slices.SortFunc(all, func(x, y named) int {
		return cmp.Or(strings.Compare(x.object, y.object), strings.Compare(x.Relation, y.Relation), strings.Compare(x.subject, y.subject))
	})
	tuples := make([]graph.Tuple, 0, len(all))
	for _, n := range all {
		tuples = append(tuples, n.Tuple)
	}
	return tuples, nil
}
