package main

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/remit-authz/remit/cmd/remit/orgfile"
)

func (a *app) orgCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "org",
		Short: "Organisations: who works where, what they own, and who reaches it",
		Long: `An organisation is people with roles and profiles, what they own, and the rules by which
others reach it. It is written in a file that people can read (*.org.yaml), with tests.`,
		GroupID: groupStores,
	}
	cmd.AddCommand(a.orgTestCommand(), a.orgSchemaCommand())
	return cmd
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
