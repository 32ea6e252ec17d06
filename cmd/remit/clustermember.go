package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// A memberChanged tells which member was changed, and how.
type memberChanged struct {
	Node string `json:"node"`
	Done string `json:"done"`
}

func (a *app) printChanged(node, done string) error {
	return a.print(&memberChanged{Node: node, Done: done}, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "node %s: %s\n", visible(node), done)
		return err
	})
}

func (a *app) clusterJoinCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "join NODE ADDRESS",
		Short: "Add a node by its id and the address where members reach it",
		Long: `Join tells the cluster of a node that cannot find it by itself: it is rarely needed, for
serve --join does it from the other side. The node gets all that is stored, without a vote;
the leader gives it one when it has caught up, if autopilot is on, and else promote does.
The id is the one that the node tells when it starts, and ADDRESS its --peer-advertise.`,
		Example: "  remit cluster join 01K7Z0Q3T9V6M2N4P8R1S5W7XY n4.internal:8082 --addr n1:8080",
		Args:    words(2, "NODE ADDRESS"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeMember(cmd.Context(), func(ctx context.Context, c *services) error {
				_, err := call(ctx, a, c.clusters.AddMember, &remitv1.AddMemberRequest{Id: args[0], PeerAddr: args[1], Reason: a.provenance.given()})
				if err != nil {
					return err
				}
				return a.printChanged(args[0], "is a member at "+args[1])
			})
		},
	}
}

func (a *app) clusterRemoveCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "remove NODE",
		Short: "End the membership of a node",
		Long: `Remove ends the membership of a node that is gone, or is to go: stop it afterwards, for
it hears of nothing any more. If it leads, another one leads first. The last voter cannot be
removed. A voter that answers is only removed with --force if no further one could fail
afterwards.`,
		Example: "  remit cluster remove 01K7Z0Q3T9V6M2N4P8R1S5W7XY --reason \"the machine burned\"\n  remit cluster remove n4.internal:8080",
		Args:    words(1, "NODE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeMember(cmd.Context(), func(ctx context.Context, c *services) error {
				m, res, err := a.memberNamed(ctx, c, args[0])
				if err != nil {
					return err
				}
				if err := losesVote(res, m, force, "removed"); err != nil {
					return err
				}
				if _, err := call(ctx, a, c.clusters.RemoveMember, &remitv1.RemoveMemberRequest{Id: m.GetId(), Reason: a.provenance.given()}); err != nil {
					return err
				}
				return a.printChanged(m.GetId(), "removed")
			})
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "even if no further voter could fail then")
	return cmd
}

func (a *app) clusterPromoteCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "promote NODE",
		Short: "Give a member a vote",
		Long: `Promote gives a member a vote. It should have caught up, as status shows by its lag: else
writes may have to wait for it. With autopilot the leader does it by itself, except for
replicas and for members that were demoted.`,
		Example: "  remit cluster promote 01K7Z0Q3T9V6M2N4P8R1S5W7XY",
		Args:    words(1, "NODE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeMember(cmd.Context(), func(ctx context.Context, c *services) error {
				m, _, err := a.memberNamed(ctx, c, args[0])
				if err != nil {
					return err
				}
				if _, err := call(ctx, a, c.clusters.PromoteMember, &remitv1.PromoteMemberRequest{Id: m.GetId(), Reason: a.provenance.given()}); err != nil {
					return err
				}
				return a.printChanged(m.GetId(), "has a vote")
			})
		},
	}
}

func (a *app) clusterDemoteCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "demote NODE",
		Short: "Take a member's vote, and leave it a follower",
		Long: `Demote takes a member's vote; it goes on to follow and to answer. If it leads, another
one leads first. The last vote cannot be taken. That of a voter that answers is only taken
with --force if no further voter could fail afterwards.`,
		Example: "  remit cluster demote 01K7Z0Q3T9V6M2N4P8R1S5W7XY --reason \"its disk is slow\"",
		Args:    words(1, "NODE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeMember(cmd.Context(), func(ctx context.Context, c *services) error {
				m, res, err := a.memberNamed(ctx, c, args[0])
				if err != nil {
					return err
				}
				if err := losesVote(res, m, force, "demoted"); err != nil {
					return err
				}
				if _, err := call(ctx, a, c.clusters.DemoteMember, &remitv1.DemoteMemberRequest{Id: m.GetId(), Reason: a.provenance.given()}); err != nil {
					return err
				}
				return a.printChanged(m.GetId(), "has no vote")
			})
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "even if no further voter could fail then")
	return cmd
}

func (a *app) clusterTransferCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "transfer-leader [NODE]",
		Short: "Have another voter lead",
		Long: `Transfer-leader has the leader hand over to a voter, or to whichever has the most of the
log. Writes wait meanwhile, for some milliseconds as a rule. A node that stops in good order
does it by itself.`,
		Example: "  remit cluster transfer-leader\n  remit cluster transfer-leader 01K7Z0Q3T9V6M2N4P8R1S5W7XY",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeMember(cmd.Context(), func(ctx context.Context, c *services) error {
				id := ""
				if len(args) == 1 {
					m, _, err := a.memberNamed(ctx, c, args[0])
					if err != nil {
						return err
					}
					id = m.GetId()
				}
				res, err := call(ctx, a, c.clusters.TransferLeadership, &remitv1.TransferLeadershipRequest{Id: id, Reason: a.provenance.given()})
				if err != nil {
					return err
				}
				if id = firstOf(id, res.GetLeaderId()); id == "" {
					return errors.New("the leader has handed over, and who leads now is not known yet; see \"remit cluster status\"")
				}
				return a.printChanged(id, "leads")
			})
		},
	}
}

// changeMember does what all changes begin with.
func (a *app) changeMember(ctx context.Context, change func(context.Context, *services) error) error {
	if err := a.checkOutput(); err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	return change(ctx, c)
}

// losesVote refuses to take the last vote, and without force a vote after which no voter may
// fail any more. One that does not answer is of no use to the others: they are no worse off.
func losesVote(res *remitv1.GetClusterResponse, m *remitv1.Member, force bool, done string) error {
	voters := int(res.GetVoters())
	switch {
	case m.GetKind() != remitv1.Member_KIND_VOTER:
		return nil
	case voters == 1:
		return fmt.Errorf("node %s is the last voter, so it cannot be %s; promote another one first", m.GetId(), done)
	case force || !m.GetReachable():
		return nil
	}
	answering := int(res.GetFailureTolerance()) + int(res.GetQuorum())
	quorum := (voters-1)/2 + 1
	switch left := answering - 1 - quorum; {
	case left < 0:
		return fmt.Errorf("%s would be left, of which %d answer and %d must for anything to be written, if node %s is %s; if that is meant, repeat it with --force",
			counted(voters-1, "voter"), answering-1, quorum, m.GetId(), done)
	case left == 0:
		return fmt.Errorf("%s would be left, none of which may fail, if node %s is %s; if that is meant, repeat it with --force",
			counted(voters-1, "voter"), m.GetId(), done)
	}
	return nil
}
