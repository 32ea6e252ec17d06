package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/remit-authz/remit/cmd/remit/orgfile"
	"github.com/remit-authz/remit/cmd/remit/storetest"
	"github.com/remit-authz/remit/graph/crm"
)

func (a *app) orgTestCommand() *cobra.Command {
	var verbose bool
	cmd := &cobra.Command{
		Use:   "test FILE...",
		Short: "Run the tests of organisation files, without a server",
		Long: `Test runs the tests of organisation files (*.org.yaml): who may do what to which record
(can), which records a user is listed (list), who reaches a record (who), which of its
fields may be read and written (fields), and who works when (on_duty). Of what fails it
prints what was expected, what came out, and why.

A test may change the organisation first, and so ask what would be: see "change" in the
schema, which "remit org schema" prints.

FILE may be a pattern, or a folder, in which every *.org.yaml is taken. A file that says
only a part of an organisation cannot be tested by itself.

Exit status: 0 if all pass, 1 if some fail, 2 if a file cannot be read.`,
		Example: `  remit org test acme.org.yaml
  remit org test ./organisations --verbose
  remit org test 'organisations/*.org.yaml' -o json`,
		Args:        cobra.MinimumNArgs(1),
		Annotations: local,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.checkOutput(); err != nil {
				return err
			}
			names, err := testFiles(args, ".org.yaml", ".org.yml")
			if err != nil {
				return err
			}
			return a.runTests(cmd.Context(), names, verbose, func(ctx context.Context, name string) (*storetest.Result, error) {
				file, err := orgfile.Read(name)
				if err != nil {
					return nil, err
				}
				if err := file.Validate(crm.DefaultLimits()); err != nil {
					return nil, err
				}
				return storetest.RunOrganisation(ctx, file, time.Now())
			})
		},
	}
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "print what passes, too")
	return cmd
}

// reasons writes why an organisation answers as it does: of a list, entry by entry.
func (t *testReport) reasons(a storetest.Assertion) {
	for _, r := range a.Reasons {
		mark, word := t.p.good("✓"), t.p.good(allowedWord(true))
		if !r.Allowed {
			mark, word = t.p.bad("✗"), t.p.bad(allowedWord(false))
		}
		if a.Expected == nil {
			printf(t.w, "        %s  %s\n", word, t.p.bold(visible(r.Question)))
		}
		for _, g := range r.Grounds {
			printf(t.w, "          %s %s\n", mark, visible(g))
		}
	}
}
