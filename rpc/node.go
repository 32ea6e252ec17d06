package rpc

import (
	"context"
	"encoding/hex"
	"math"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// nodeService answers remit.v1.NodeService.
type nodeService struct {
	reader  *reader
	version string // the program's
}

// GetNode tells about this node.
func (s *nodeService) GetNode(context.Context, *remitv1.GetNodeRequest) (*remitv1.GetNodeResponse, error) {
	config := s.reader.Config
	root := config.State.Current()
	epoch, hash := backend.EpochOf(root), root.Hash().Bytes()
	res := &remitv1.GetNodeResponse{
		NodeId:    config.Node.ID(),
		Epoch:     hex.EncodeToString(epoch[:]),
		LeaderId:  config.Node.Leader(),
		Revision:  uint64(root.Revision()),
		StateHash: hex.EncodeToString(hash[:]),
		Version:   s.version,
	}
	status := config.Node.Status()
	for _, m := range status.Members {
		switch {
		case m.ID != status.ID:
		case status.Serving:
			res.Role = remitv1.GetNodeResponse_ROLE_LEADER
		case m.Voter:
			res.Role = remitv1.GetNodeResponse_ROLE_FOLLOWER
		default:
			res.Role = remitv1.GetNodeResponse_ROLE_REPLICA
		}
	}
	if stale := config.Node.Staleness(); stale > 0 && stale < math.MaxInt64 {
		res.Staleness = durationpb.New(stale)
	}
	return res, nil
}
