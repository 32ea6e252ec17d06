package server

import (
	"context"
	"slices"
	"time"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/rpc"
)

// handOverTimeout bounds how long a node that stops tries to hand leadership over. It is
// more than an election takes, which is what the others need without it.
const handOverTimeout = 5 * time.Second

// retire prepares the end while calls are still answered: those who spread calls are told
// to send no more and get the time to notice, and if this node leads, another one does
// from then on, so that no write has to wait for an election. An error is why the node
// ends at once.
func (s *Server) retire(api *rpc.Server) error {
	api.Retire()
	if delay := s.config.DrainDelay; delay > 0 {
		s.config.Log.Info("no longer ready; calls are answered for a while", "delay", delay)
		select {
		case <-time.After(delay):
		case err := <-s.fatal:
			return err
		}
	}
	status := s.node.Status()
	if !status.Serving || !slices.ContainsFunc(status.Members, func(m cluster.Member) bool { return m.Voter && m.ID != status.ID }) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), handOverTimeout)
	defer cancel()
	if err := s.node.TransferLeadership(ctx, ""); err != nil {
		s.config.Log.Warn("leadership not handed over; the others will hold an election", "error", err)
	}
	return nil
}
