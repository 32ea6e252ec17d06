package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/remit-authz/remit/cmd/remit/orgfile"
	"github.com/remit-authz/remit/cmd/remit/storefile"
	"github.com/remit-authz/remit/graph/crm"
)

// exportHorizon is for how long an export writes working hours down, from the day on which
// it is made.
const exportHorizon = 365 * 24 * time.Hour

func (a *app) orgExportCommand() *cobra.Command {
	var q circumstance
	var without, fga bool
	to := ""
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write an organisation to a file",
		Long: `Export prints an organisation as a file, in an order that depends on its ids alone, so
that two exports can be compared. Applied again, the file changes nothing. With
--without-records it has no section of records, and so leaves them alone.

With --fga it writes an ordinary store instead, which OpenFGA reads, too: a model and
tuples, with working hours written down for a year. What cannot be kept is told.`,
		Example: `  remit org export >acme.org.yaml
  remit org export --store acme --without-records --file structure.org.yaml
  remit org export --as-of 2026-03-03T22:00Z
  remit org export --fga --file acme.fga.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("output") {
				return errors.New("an export is YAML; to write it to a file, name that with --file")
			}
			if fga && without {
				return errors.New("--fga writes everything; leave out --without-records")
			}
			consistency, err := a.requirement(q.asOf)
			if err != nil {
				return err
			}
			c, store, err := a.organisation(cmd.Context())
			if err != nil {
				return err
			}
			state, err := a.readOrganisation(cmd.Context(), c, store, consistency, without)
			if err != nil {
				return err
			}
			var out bytes.Buffer
			if fga {
				err = a.writeFGA(&out, state.Organisation)
			} else {
				err = writeOrganisation(&out, state.Organisation, without)
			}
			if err != nil {
				return err
			}
			if to == "" || to == "-" {
				_, err = a.stdout.Write(out.Bytes())
				return err
			}
			return writeWhole(to, out.Bytes())
		},
	}
	q.registerAsOf(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&to, "file", "f", "", "write to a `file` instead of standard output")
	flags.BoolVar(&without, "without-records", false, "leave the records out")
	flags.BoolVar(&fga, "fga", false, "write a store file for OpenFGA")
	return cmd
}

// writeOrganisation writes an organisation file.
func writeOrganisation(w io.Writer, o *crm.Organisation, withoutRecords bool) error {
	if !withoutRecords {
		return orgfile.Write(w, o)
	}
	o.Sort()
	out := orgfile.NewWriter(w, slices.DeleteFunc(orgfile.Sections(), func(s orgfile.Section) bool { return s == orgfile.Records })...)
	for e := range o.Entities() {
		if err := out.Entity(e); err != nil {
			return err
		}
	}
	return out.Close()
}

// writeFGA writes an organisation as an ordinary store, and says what that cannot keep.
func (a *app) writeFGA(w io.Writer, o *crm.Organisation) error {
	today := time.Now().UTC().Truncate(24 * time.Hour)
	x, err := crm.Export(o, crm.Period{From: today, Until: today.Add(exportHorizon)})
	if err != nil {
		return err
	}
	for _, n := range x.Notes {
		printf(a.stderr, "remit: %s\n", visible(n.String()))
	}
	return storefile.WriteExport(w, o.Name, x, nil)
}

// writeWhole writes a file under its name only once all of it is there.
func writeWhole(name string, text []byte) error {
	part := name + ".part"
	if err := os.WriteFile(part, text, 0o666); err != nil {
		return errors.Join(fileReason(part, err), absent(os.Remove(part)))
	}
	if err := os.Rename(part, name); err != nil {
		return fileReason(name, err)
	}
	return nil
}
