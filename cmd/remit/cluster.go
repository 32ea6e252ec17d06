package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

func (a *app) clusterCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Show and change the members of a cluster, and who leads them",
		Long: `A cluster is nodes that hold the same stores: those with a vote agree on every write, the
others follow. Nodes join by themselves when serve is told where others are; these commands
show how they are, and are for what people decide. They need the grant cluster.

Give the addresses of several nodes with --addr, and one that is down is no obstacle. A
member is named by its id, by the beginning of its id if no other begins so, or by one of
its addresses.`,
		GroupID: groupRun,
		Args:    cobra.NoArgs,
	}
	cmd.AddCommand(a.clusterStatusCommand(), a.clusterJoinCommand(), a.clusterRemoveCommand(),
		a.clusterPromoteCommand(), a.clusterDemoteCommand(), a.clusterTransferCommand(), a.clusterAutopilotCommand(), a.clusterRecoverCommand())
	return cmd
}

// memberNamed finds a member by what people call it.
func (a *app) memberNamed(ctx context.Context, c *services, name string) (*remitv1.Member, *remitv1.GetClusterResponse, error) {
	if name == "" {
		return nil, nil, errors.New(`the member has no name; "remit cluster status" shows the id of each`)
	}
	res, err := call(ctx, a, c.clusters.GetCluster, &remitv1.GetClusterRequest{})
	if err != nil {
		return nil, nil, err
	}
	var begins []*remitv1.Member
	for _, m := range res.GetMembers() {
		switch {
		case m.GetKind() == remitv1.Member_KIND_UNSPECIFIED:
		case name == m.GetId(), name == m.GetPeerAddr(), name == m.GetAddr(), name == m.GetGrpcAddr():
			return m, res, nil
		case strings.HasPrefix(m.GetId(), name):
			begins = append(begins, m)
		}
	}
	switch len(begins) {
	case 0:
		return nil, nil, fmt.Errorf(`%s is no member of the cluster; "remit cluster status" shows who is`, visible(name))
	case 1:
		return begins[0], res, nil
	}
	ids := make([]string, len(begins))
	for i, m := range begins {
		ids[i] = m.GetId()
	}
	return nil, nil, fmt.Errorf("the ids of several members begin with %s: %s", visible(name), strings.Join(ids, ", "))
}
