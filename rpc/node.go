package rpc

import (
	"context"
	"encoding/hex"

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
	return &remitv1.GetNodeResponse{
		NodeId:    config.Node.ID(),
		Epoch:     hex.EncodeToString(epoch[:]),
		LeaderId:  config.Node.Leader(),
		Revision:  uint64(root.Revision()),
		StateHash: hex.EncodeToString(hash[:]),
		Version:   s.version,
	}, nil
}
