package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// An app is one invocation: the streams and the options that all commands share.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer

	addrs       []string      // flag --addr
	store       string        // flag --store
	output      string        // flag --output
	consistency string        // flag --consistency
	timeout     time.Duration // flag --timeout
	credentials credentials   // several flags
	provenance  provenance    // flags --actor and --reason

	interrupted func() bool // by a signal; nil if never

	connected *connect.Client // to the servers; nil before the first call
	bases     []string        // their addresses as URLs
	asked     string          // the servers that were asked, for messages
	answered  bool            // one has done something that was asked

	operations []*remitv1.Operation // of the write under way, for messages
}

const (
	groupAsk      = "ask"
	groupChange   = "change"
	groupStores   = "stores"
	groupIdentity = "identity"
	groupRun      = "run"
)

// local marks commands that talk to no server, so that their help leaves out the flags
// for reaching one.
var local = map[string]string{"local": "true"}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "remit",
		Short: "May this user do this to that thing, now, and why?",
		Long: `Remit answers one question: may this user do this to that thing, now, and why?

It keeps an access graph: tuples such as deal:plan#owner@user:ann, and a model that
says what follows from them. "remit serve" runs the service; the other commands are
its clients, except "remit test", which needs no server.

Exit status: 0 if done, 1 if tests fail or a backup is damaged (or, with --exit-code, if a
check is denied, or with --check, if a cluster is not well), 2 if something went wrong.`,
		Example: `  remit demo
  remit store import shop.fga.yaml
  remit check user:ann can_view deal:plan --explain
  remit who can_view deal:plan
  remit what user:ann can_view deal`,
		Version:       buildVersion(),
		SilenceErrors: true,
		SilenceUsage:  true,
		CompletionOptions: cobra.CompletionOptions{
			HiddenDefaultCmd: false,
		},
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetUsageTemplate(usageTemplate)
	root.SetVersionTemplate("remit {{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w; see %s --help", flagFault(err), cmd.CommandPath())
	})
	root.AddGroup(
		&cobra.Group{ID: groupAsk, Title: "Ask:"},
		&cobra.Group{ID: groupChange, Title: "Change:"},
		&cobra.Group{ID: groupStores, Title: "Stores and models:"},
		&cobra.Group{ID: groupIdentity, Title: "Identity:"},
		&cobra.Group{ID: groupRun, Title: "Run:"},
	)
	root.Flags().Bool("version", false, "print the version")
	flags := root.PersistentFlags()
	flags.StringSliceVar(&a.addrs, "addr", nil, "the server's `address`, or a cluster's by commas (default $REMIT_ADDR, or 127.0.0.1:8080)")
	flags.StringVarP(&a.store, "store", "s", "", "the store, by `name` or id (default $REMIT_STORE, or the only one)")
	flags.StringVarP(&a.output, "output", "o", "table", "the `form` of the output: table, json or yaml")
	a.credentials.flags(flags)
	a.provenance.register(flags)
	flags.StringVar(&a.consistency, "consistency", "", "how fresh an answer must be: minimize_latency, fully_consistent,\nat_least_as_fresh=TOKEN, at_exact_snapshot=TOKEN or at_exact_time=`INSTANT`")
	flags.DurationVar(&a.timeout, "timeout", 30*time.Second, "how long to wait for each answer")

	root.AddCommand(
		a.checkCommand(), a.batchCommand(), a.listObjectsCommand(), a.listSubjectsCommand(),
		a.listActionsCommand(), a.explainCommand(), a.expandCommand(), a.diffAccessCommand(), a.auditCommand(),
		a.writeCommand(), a.deleteCommand(), a.eraseCommand(), a.readCommand(), a.watchCommand(),
		a.storeCommand(), a.modelCommand(), a.orgCommand(),
		a.keyCommand(), a.grantCommand(), a.whoamiCommand(),
		a.serveCommand(), a.configCommand(), a.backupCommand(), a.clusterCommand(), a.demoCommand(), a.testCommand(), a.versionCommand(),
	)
	root.SetHelpCommandGroupID(groupRun)
	root.SetCompletionCommandGroupID(groupRun)
	complete(root, "output", "table", "json", "yaml")
	complete(root, "consistency", "minimize_latency", "fully_consistent", "at_least_as_fresh=", "at_exact_snapshot=", "at_exact_time=")
	a.completeStores(root)
	refuseUnknown(root)
	return root
}

// isGroup is the annotation of commands that do nothing themselves.
const isGroup = "group"

// refuseUnknown has commands that only hold others refuse what they do not hold: cobra shows
// their help and is content, so that a script with a misspelt command would go on.
func refuseUnknown(root *cobra.Command) {
	for _, c := range root.Commands() {
		if c.HasSubCommands() && !c.Runnable() {
			c.Args = cobra.NoArgs
			c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
			own := map[string]string{isGroup: isGroup}
			maps.Copy(own, c.Annotations) // several commands may share theirs
			c.Annotations = own
		}
		refuseUnknown(c)
	}
}

// flagFault says what a flag wants instead of how its value could not be parsed.
func flagFault(err error) error {
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) {
		return err
	}
	kinds := map[string]kind{"int": number, "uint64": number, "float64": fraction, "bool": boolean, "duration": span}
	if k, ok := kinds[invalid.GetFlag().Value.Type()]; ok {
		return fmt.Errorf("--%s is %q, want %s", invalid.GetFlag().Name, invalid.GetValue(), k.wants())
	}
	return err
}

// complete offers fixed values for a flag.
func complete(c *cobra.Command, flag string, values ...string) {
	if err := c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(fmt.Sprintf("complete --%s: %v", flag, err)) // no such flag: our own mistake
	}
}

// usageTemplate is cobra's, but for the inherited flags: commands without a server do
// not show how to reach one, nor does a group of commands.
const usageTemplate = usageHead + usageFlags + usageTail

// What the template is made of: what stands before a command's own flags, these, and what
// stands behind them.
const (
	usageHead = `Usage:{{if and .Runnable (not .Annotations.group)}}
  {{.UseLine}}{{end}}{{if .HasAvailableSubCommands}}
  {{.CommandPath}} COMMAND{{end}}{{if gt (len .Aliases) 0}}

Aliases:
  {{.NameAndAliases}}{{end}}{{if .HasExample}}

Examples:
{{.Example}}{{end}}{{if .HasAvailableSubCommands}}{{$cmds := .Commands}}{{if eq (len .Groups) 0}}

Commands:{{range $cmds}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding }} {{.Short}}{{end}}{{end}}{{else}}{{range $group := .Groups}}

{{.Title}}{{range $cmds}}{{if (and (eq .GroupID $group.ID) .IsAvailableCommand)}}
  {{rpad .Name .NamePadding }} {{.Short}}{{end}}{{end}}{{end}}{{end}}{{end}}`
	usageFlags = `{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}`
	usageTail = `{{if and .HasAvailableInheritedFlags (not .Annotations.local)}}

Flags of every command:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableSubCommands}}

"{{.CommandPath}} COMMAND --help" says more about a command.{{end}}
`
)
