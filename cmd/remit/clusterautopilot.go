package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

func (a *app) clusterAutopilotCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "autopilot",
		Short: "Show or set what the leader does about members by itself",
		Long: `Autopilot gives new members a vote when they have been healthy for a while, and removes
dead ones if it is told to. Without a subcommand it shows what is set, for the whole
cluster, and what the leader thinks of the members.`,
		Example: "  remit cluster autopilot\n  remit cluster autopilot -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.checkOutput(); err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			res, err := call(cmd.Context(), a, c.clusters.GetAutopilot, &remitv1.GetAutopilotRequest{})
			if err != nil {
				return err
			}
			return a.print(res, func(w io.Writer) error { return printAutopilot(w, res) })
		},
	}
	cmd.AddCommand(a.clusterAutopilotSetCommand())
	return cmd
}

func printAutopilot(w io.Writer, res *remitv1.GetAutopilotResponse) error {
	if err := autopilotColumns(w, res.GetAutopilot()); err != nil {
		return err
	}
	if res.GetSetAt() != nil {
		printf(w, "set by %s at %s (version %d)\n", firstOf(visible(res.GetSetBy()), "anybody"), instantText(res.GetSetAt().AsTime()), res.GetVersion())
	}
	printLine(w, "")
	h := res.GetHealth()
	if h == nil {
		printLine(w, "no leader says what it thinks of the members")
		return nil
	}
	if h.GetRefusal() != "" {
		printf(w, "writes are refused: %s\n", visible(h.GetRefusal()))
	}
	return columns(w, func(w io.Writer) {
		printLine(w, "NODE\tROLE\tHEALTHY\tSINCE\tLAG")
		for _, m := range h.GetMembers() {
			role := "non-voter"
			switch {
			case m.GetId() == h.GetLeaderId():
				role = "leader *"
			case m.GetVoter():
				role = "voter"
			case m.GetReplica():
				role = "replica"
			case m.GetDemoted():
				role = "demoted"
			}
			healthy, since := "no", "-"
			if m.GetHealthy() {
				healthy = "yes"
			}
			if m.GetUnreachable() != nil {
				healthy = "no answer for " + m.GetUnreachable().AsDuration().Round(time.Second).String()
			}
			if m.GetSince() != nil {
				since = instantText(m.GetSince().AsTime().Truncate(time.Second))
			}
			printf(w, "%s\t%s\t%s\t%s\t%d\n", m.GetId(), role, healthy, since, m.GetLag())
		}
	})
}

// autopilotColumns writes a configuration under the names of the flags that set it.
func autopilotColumns(w io.Writer, p *remitv1.Autopilot) error {
	return columns(w, func(w io.Writer) {
		printf(w, "off\t%t\n", p.GetOff())
		printf(w, "cleanup-dead-servers\t%t\n", p.GetCleanupDeadServers())
		printf(w, "min-quorum\t%d\n", p.GetMinQuorum())
		printf(w, "dead-after\t%s\n", p.GetDeadAfter().AsDuration())
		printf(w, "last-contact-threshold\t%s\n", p.GetLastContactThreshold().AsDuration())
		printf(w, "max-trailing-logs\t%d\n", p.GetMaxTrailingLogs())
		printf(w, "server-stabilization-time\t%s\n", p.GetServerStabilizationTime().AsDuration())
	})
}

func (a *app) clusterAutopilotSetCommand() *cobra.Command {
	var off, cleanup, defaults bool
	var quorum, trailing uint64
	var dead, contact, stable time.Duration
	cmd := &cobra.Command{
		Use:   "set",
		Short: "Set what the leader does about members by itself",
		Long: `Set changes what the flags name and leaves the rest as it is; with --defaults the rest
gets its defaults. It holds for the whole cluster at once. If somebody else sets something
meanwhile, nothing is changed.`,
		Example: `  remit cluster autopilot set --cleanup-dead-servers --min-quorum 3
  remit cluster autopilot set --off --reason "the network is being rebuilt"
  remit cluster autopilot set --defaults`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.checkOutput(); err != nil {
				return err
			}
			changed, given := cmd.Flags().Changed, defaults
			for _, name := range []string{"off", "cleanup-dead-servers", "min-quorum", "dead-after", "last-contact-threshold", "max-trailing-logs", "server-stabilization-time"} {
				given = given || changed(name)
			}
			if !given {
				return errors.New("say what to set, such as --cleanup-dead-servers; see remit cluster autopilot set --help")
			}
			if quorum > 1000 {
				return fmt.Errorf("--min-quorum is %d, want at most 1000", quorum)
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			now, err := call(cmd.Context(), a, c.clusters.GetAutopilot, &remitv1.GetAutopilotRequest{})
			if err != nil {
				return err
			}
			p := now.GetAutopilot()
			if defaults {
				p = &remitv1.Autopilot{}
			}
			if changed("off") {
				p.Off = off
			}
			if changed("cleanup-dead-servers") {
				p.CleanupDeadServers = cleanup
			}
			if changed("min-quorum") {
				n := uint32(quorum)
				p.MinQuorum = &n
			}
			if changed("max-trailing-logs") {
				p.MaxTrailingLogs = &trailing
			}
			for _, f := range []struct {
				name  string
				value time.Duration
				to    **durationpb.Duration
			}{
				{"dead-after", dead, &p.DeadAfter},
				{"last-contact-threshold", contact, &p.LastContactThreshold},
				{"server-stabilization-time", stable, &p.ServerStabilizationTime},
			} {
				if changed(f.name) {
					*f.to = durationpb.New(f.value)
				}
			}
			version := now.GetVersion()
			res, err := call(cmd.Context(), a, c.clusters.SetAutopilot, &remitv1.SetAutopilotRequest{
				Autopilot: p, Version: &version, Reason: a.provenance.given(),
			})
			if err != nil {
				return err
			}
			return a.print(res, func(w io.Writer) error { return autopilotColumns(w, res.GetAutopilot()) })
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&off, "off", false, "leave everything to people")
	flags.BoolVar(&cleanup, "cleanup-dead-servers", false, "remove dead members")
	flags.Uint64Var(&quorum, "min-quorum", 0, "how many `voters` removal leaves at least (default 3)")
	flags.DurationVar(&dead, "dead-after", 0, "the `time` for which the leader has not reached a dead member (default 10m)")
	flags.DurationVar(&contact, "last-contact-threshold", 0, "the `time` since a healthy member heard of the leader, at most (default 3s)")
	flags.Uint64Var(&trailing, "max-trailing-logs", 0, "how many `entries` a healthy member is behind at most (default 1000)")
	flags.DurationVar(&stable, "server-stabilization-time", 0, "the `time` for which a new member is healthy before it gets a vote (default 10s)")
	flags.BoolVar(&defaults, "defaults", false, "give what no other flag names its default")
	return cmd
}
