package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

func (a *app) storeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "store",
		Short:   "Create, list, delete, import and export stores",
		GroupID: groupStores,
		Args:    cobra.NoArgs,
	}
	cmd.AddCommand(
		a.storeCreateCommand(), a.storeListCommand(), a.storeGetCommand(), a.storeSetRetentionCommand(), a.storeDeleteCommand(),
		a.storeImportCommand(), a.storeExportCommand(),
	)
	return cmd
}

func (a *app) storeCreateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "create NAME",
		Short: "Create an empty store",
		Long: `Create makes an empty store. It refuses a name that another store bears, for --store
could no longer tell them apart; the API permits it.`,
		Example: "  remit store create shop",
		Args:    words(1, "NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.checkOutput(); err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			if err := a.nameIsFree(cmd.Context(), c, args[0], ""); err != nil {
				return err
			}
			answer, err := call(cmd.Context(), a, c.stores.CreateStore, &remitv1.CreateStoreRequest{Name: args[0]})
			if err != nil {
				return err
			}
			return a.print(answer, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "store %s created: %s\n", visible(answer.GetStore().GetName()), answer.GetStore().GetId())
				return err
			})
		},
	}
}

// nameIsFree refuses the name of a store that exists, with a hint what to do.
func (a *app) nameIsFree(ctx context.Context, c *services, name, hint string) error {
	if name == "" {
		return errors.New("a store's name cannot be empty")
	}
	page, err := call(ctx, a, c.stores.ListStores, &remitv1.ListStoresRequest{Name: name, PageSize: 1})
	if err == nil && len(page.GetStores()) > 0 {
		err = fmt.Errorf("a store named %s exists already%s", name, hint)
	}
	return err
}

func (a *app) storeListCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the stores of the server",
		Example: "  remit store list\n  remit store list --name shop -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.checkOutput(); err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			all := &remitv1.ListStoresResponse{}
			for {
				answer, err := call(cmd.Context(), a, c.stores.ListStores, &remitv1.ListStoresRequest{Name: name, PageSize: page, Cursor: all.GetCursor()})
				if err != nil {
					return err
				}
				all.Stores, all.Cursor = append(all.Stores, answer.GetStores()...), answer.GetCursor()
				if all.GetCursor() == "" {
					break
				}
			}
			return a.print(all, func(w io.Writer) error {
				return writeStores(w, all.GetStores())
			})
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "only stores of exactly this `name`")
	return cmd
}

// writeStores lists stores. Where none is managed nothing is said of that.
func writeStores(w io.Writer, stores []*remitv1.Store) error {
	managed := slices.ContainsFunc(stores, (*remitv1.Store).GetManaged)
	return columns(w, func(w io.Writer) {
		line := func(name, id, tuples, created, kind string) {
			if managed {
				created += "\t" + kind
			}
			printf(w, "%s\t%s\t%s\t%s\n", name, id, tuples, created)
		}
		line("NAME", "ID", "TUPLES", "CREATED", "MANAGED")
		for _, s := range stores {
			kind := "no"
			if s.GetManaged() {
				kind = "yes"
			}
			line(visible(s.GetName()), s.GetId(), thousands(int(s.GetTupleCount())), instantText(s.GetCreatedAt().AsTime()), kind)
		}
	})
}

// unmanaged refuses the store of an organisation before anything is sent to it.
func unmanaged(s *remitv1.Store) error {
	if s.GetManaged() {
		return fmt.Errorf("store %s is managed: its tuples and models belong to an organisation; change that instead, with remit org", visible(s.GetName()))
	}
	return nil
}

func (a *app) storeDeleteCommand() *cobra.Command {
	var sure bool
	cmd := &cobra.Command{
		Use:   "delete STORE",
		Short: "Delete a store with all that it holds",
		Long: `Delete removes a store, its models and its tuples. It asks first; where nobody can be
asked it wants --yes. A name that several stores bear is refused: give the id then.`,
		Example:           "  remit store delete shop\n  remit store delete 01K7Z0Q3T9V6M2N4P8R1S5W7XY --yes",
		Args:              words(1, "STORE"),
		ValidArgsFunction: a.storeCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.checkOutput(); err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			found, err := call(cmd.Context(), a, c.stores.GetStore, &remitv1.GetStoreRequest{Store: args[0]})
			if err != nil {
				return err
			}
			s := found.GetStore()
			if !sure {
				organisation := ""
				if s.GetManaged() {
					organisation = " and the whole organisation in it"
				}
				question := fmt.Sprintf("Delete store %s (%s) with its %s%s?", visible(s.GetName()), s.GetId(), counted(int(s.GetTupleCount()), "tuple"), organisation)
				if err := a.confirm(question, "nothing was deleted"); err != nil {
					return err
				}
			}
			answer, err := call(cmd.Context(), a, c.stores.DeleteStore, &remitv1.DeleteStoreRequest{StoreId: s.GetId()})
			if err != nil {
				return err
			}
			return a.print(answer, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "store %s deleted\n", visible(s.GetName()))
				return err
			})
		},
	}
	cmd.Flags().BoolVarP(&sure, "yes", "y", false, "do not ask")
	return cmd
}

// confirm asks a person; otherwise is what happened if they decline.
func (a *app) confirm(question, otherwise string) error {
	if !isTerminal(a.stdin) {
		return errors.New("there is nobody to ask; confirm with --yes")
	}
	printf(a.stderr, "%s [y/N] ", question)
	line, err := bufio.NewReader(a.stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if answer := strings.ToLower(strings.TrimSpace(line)); answer != "y" && answer != "yes" {
		return errors.New(otherwise)
	}
	return nil
}
