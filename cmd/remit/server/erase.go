package server

import (
	"context"
	"errors"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
)

// staleBackups names the backups in the node's folder that are older than a revision, and
// those of which that cannot be said: they hold what was erased since.
func (s *Server) staleBackups(_ context.Context, before graph.Revision) ([]string, error) {
	if s.config.Backup.Dir == "" {
		return nil, nil
	}
	stored, err := fsm.OpenBackups(s.config.Backup.Dir).List()
	if errors.Is(err, fsm.ErrNoBackup) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	epoch := s.state.Current().Epoch()
	var names []string
	for _, b := range stored {
		if b.Manifest == nil || b.Manifest.Epoch != epoch || b.Manifest.Revision() < before {
			names = append(names, b.Name)
		}
	}
	return names, nil
}
