package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

func (a *app) clusterStatusCommand() *cobra.Command {
	var check bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how every member is",
		Long: `Status asks one node, which asks all others, and shows what they say: who leads, what
their readers see, how many entries they lag behind, how long ago they heard of the leader,
and by how much their clocks differ from that of the node that was asked. Below that stands
what a person should know of: members that do not answer, lag, should not write, or have
another state at the same revision, which must never happen.

A node tells only when it is ready; one that waits for others, to begin a cluster or to be
joined to one, says in its log which they are.

With --check the exit status is 1 unless all is well, for scripts that go from node to node.`,
		Example: "  remit cluster status\n  remit cluster status --check --addr n1:8080,n2:8080,n3:8080\n  remit cluster status -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.checkOutput(); err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			res, err := call(cmd.Context(), a, c.clusters.GetCluster, &remitv1.GetClusterRequest{})
			if err != nil {
				return err
			}
			if err := a.print(res, func(w io.Writer) error { return a.printCluster(w, res) }); err != nil {
				return err
			}
			if check && !res.GetHealthy() {
				return errNo
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "exit with 1 if something is wrong")
	return cmd
}

// printCluster writes a cluster for people.
func (a *app) printCluster(w io.Writer, res *remitv1.GetClusterResponse) error {
	paint := colours(a.stdout)
	printf(w, "cluster %s, version %d: %s\n\n", res.GetEpoch(), res.GetClusterVersion(), toleranceText(res))
	err := columns(w, func(w io.Writer) {
		printLine(w, "NODE\tROLE\tADDRESS\tHEALTH\tREVISION\tLAG\tTERM\tCONTACT\tCLOCK\tVERSION")
		for _, m := range res.GetMembers() {
			address := dash(firstOf(m.GetAddr(), m.GetPeerAddr()))
			if !m.GetReachable() {
				printf(w, "%s\t%s\t%s\t%s\t-\t-\t-\t-\t-\t-\n", m.GetId(), roleText(m), address, healthText(res, m))
				continue
			}
			printf(w, "%s\t%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\t%s\n", m.GetId(), roleText(m), address, healthText(res, m),
				m.GetRevision(), m.GetLag(), m.GetTerm(), contactText(m), clockText(m), dash(visible(m.GetVersion())))
		}
	})
	if err != nil {
		return err
	}
	printLine(w, "")
	for _, p := range res.GetProblems() {
		text := visible(p.GetText())
		if p.GetNodeId() != "" {
			text = p.GetNodeId() + ": " + text
		}
		printLine(w, paint.bad("! "+text))
	}
	if res.GetHealthy() {
		printLine(w, paint.good("all is well"))
	}
	return nil
}

// toleranceText says who votes, and what may happen to them.
func toleranceText(res *remitv1.GetClusterResponse) string {
	switch voters, tolerance := int(res.GetVoters()), int(res.GetFailureTolerance()); {
	case voters == 0:
		return "the node that was asked is no member yet"
	case len(res.GetMembers()) == 1 && tolerance == 0:
		return "one node, alone"
	case tolerance < 0:
		return fmt.Sprintf("%s, and %d more must answer before anything can be written", counted(voters, "voter"), -tolerance)
	case tolerance == 0:
		return fmt.Sprintf("%s, none of which may fail", counted(voters, "voter"))
	default:
		return fmt.Sprintf("%s, of which %d may fail", counted(voters, "voter"), tolerance)
	}
}

func roleText(m *remitv1.Member) string {
	if m.GetLeader() {
		return "leader *"
	}
	switch m.GetKind() {
	case remitv1.Member_KIND_VOTER:
		return "voter"
	case remitv1.Member_KIND_NON_VOTER:
		return "non-voter"
	case remitv1.Member_KIND_REPLICA:
		return "replica"
	}
	return "no member"
}

// healthText is what is wrong with a member, in a word each.
func healthText(res *remitv1.GetClusterResponse, m *remitv1.Member) string {
	var words []string
	for _, p := range res.GetProblems() {
		word := strings.ReplaceAll(kindName(p.GetKind().String()), "_", "-")
		if p.GetNodeId() == m.GetId() && !slices.Contains(words, word) {
			words = append(words, word)
		}
	}
	if len(words) == 0 {
		return "healthy"
	}
	return strings.Join(words, ",")
}

// contactText is how long ago a member heard of the leader.
func contactText(m *remitv1.Member) string {
	if m.GetLastContact() == nil {
		return "-"
	}
	return m.GetLastContact().AsDuration().Round(time.Millisecond).String()
}

// clockText is by how much a member's clock is ahead. What may be the way of the answer alone
// is not told.
func clockText(m *remitv1.Member) string {
	offset := m.GetClockOffset().AsDuration()
	if offset.Abs() <= max(m.GetRoundTrip().AsDuration()/2, 10*time.Millisecond) {
		return "0s"
	}
	text := offset.Round(time.Millisecond).String()
	if offset > 0 {
		text = "+" + text
	}
	return text
}
