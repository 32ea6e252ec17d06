package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/remit-authz/remit/cmd/remit/orgfile"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

func (a *app) orgCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "org",
		Short: "Organisations: who works where, what they own, and who reaches it",
		Long: `An organisation is people with roles and profiles, what they own, and the rules by which
others reach it. It lives in a store of its own, and it is written in a file that people
can read (*.org.yaml), with tests: "plan" shows what a file would change and who would
gain or lose access, "apply" does it, "export" gives the file back. Single things are
changed by what they are: "remit org user set ann --role rep".

Who acts is the application that calls, or with --as one of the organisation's people,
whose rights then decide.`,
		Example: `  remit org init acme --super-admin ada --name "Ada Ames" --modules deal,account
  remit org plan acme.org.yaml
  remit org apply acme.org.yaml
  remit org why rob view deal:orion`,
		GroupID: groupStores,
	}
	cmd.AddGroup(
		&cobra.Group{ID: orgWhole, Title: "The whole:"},
		&cobra.Group{ID: orgAsk, Title: "Ask:"},
		&cobra.Group{ID: orgParts, Title: "Its parts:"},
	)
	whole := []*cobra.Command{
		a.orgInitCommand(), a.orgPlanCommand(), a.orgApplyCommand(), a.orgExportCommand(), a.orgTestCommand(), a.orgSchemaCommand(),
	}
	ask := []*cobra.Command{
		a.orgCanCommand(), a.orgFieldsCommand(), a.orgActionsCommand(), a.orgListCommand(), a.orgWhoCommand(),
		a.orgWhyCommand(), a.orgOnDutyCommand(), a.orgSeatsCommand(), a.orgWatchCommand(),
	}
	for group, commands := range map[string][]*cobra.Command{orgWhole: whole, orgAsk: ask, orgParts: append(a.nounCommands(), a.orgAssignCommand())} {
		for _, c := range commands {
			c.GroupID = group
			cmd.AddCommand(c)
		}
	}
	return cmd
}

// The groups of commands.
const (
	orgWhole = "whole"
	orgAsk   = "ask"
	orgParts = "parts"
)

// An acting is on whose behalf a command asks or changes.
type acting struct{ as string }

func (f *acting) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.as, "as", "", "act as this `user`, whose rights decide (default: the application that calls)")
}

// organisation prepares a command that works on the store of an organisation: that of
// --store or $REMIT_STORE, or the only managed one.
func (a *app) organisation(ctx context.Context) (*services, string, error) {
	if err := a.checkOutput(); err != nil {
		return nil, "", err
	}
	c, err := a.client()
	if err != nil {
		return nil, "", err
	}
	if name := firstOf(a.store, os.Getenv("REMIT_STORE")); name != "" {
		return c, name, nil
	}
	var found []*remitv1.Store
	request := &remitv1.ListStoresRequest{PageSize: page}
	for {
		answer, err := call(ctx, a, c.stores.ListStores, request)
		if err != nil {
			return nil, "", err
		}
		for _, s := range answer.GetStores() {
			if s.GetManaged() {
				found = append(found, s)
			}
		}
		if request.Cursor = answer.GetCursor(); request.GetCursor() == "" || len(found) > 1 {
			break
		}
	}
	switch len(found) {
	case 0:
		return nil, "", errors.New(`the server has no organisation yet; make one with "remit org init" or "remit org apply FILE --create"`)
	case 1:
		return c, found[0].GetId(), nil
	}
	return nil, "", fmt.Errorf("say which organisation with --store or REMIT_STORE; the server has %s, %s and maybe more",
		visible(found[0].GetName()), visible(found[1].GetName()))
}

// organisationError gives what a call to an organisation failed for in the words of the
// command line.
func organisationError(store string, err error) error {
	if hasReason(err, remitv1.ErrorReason_ERROR_REASON_NO_ORGANISATION) {
		return fmt.Errorf(`store %s holds no organisation; make one with "remit org init" or "remit org apply FILE --create"`, visible(store))
	}
	return err
}

func (a *app) orgSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of organisation files",
		Long: `Schema prints the JSON Schema of organisation files, for editors. Those that know the
YAML language server take it from the first line of a file:

  # yaml-language-server: $schema=org.schema.json`,
		Example:     "  remit org schema > org.schema.json",
		Args:        cobra.NoArgs,
		Annotations: local,
		RunE: func(*cobra.Command, []string) error {
			e := json.NewEncoder(a.stdout)
			e.SetIndent("", "  ")
			e.SetEscapeHTML(false)
			return e.Encode(orgfile.Schema())
		},
	}
}
