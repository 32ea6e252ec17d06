package rpc

import (
	"context"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/rpc/backend"
	"github.com/remit-authz/remit/rpc/limit"
)

const (
	// scanChunk is how many entities a scan asks about at a time, several of them at once.
	scanChunk = 512

	// scanWork bounds how many one page asks about: of a million there may be one that the
	// page is looking for.
	scanWork = 50_000
)

// A scan lists entities by asking about each that comes into question, in the order of their
// ids. It goes on from page to page, and so never needs more than a page may cost.
type scan struct {
	edges func(c *graph.Cursor) error                          // those that come into question
	asks  func(ctx context.Context, id graph.ID) (bool, error) // is called several times at once
	emit  func(id graph.ID) error                              // is told what is in the list
	after graph.ID                                             // the last that was asked about
}

// take emits up to size elements and reports whether there may be more: it also stops after
// having asked about scanWork entities.
func (s *scan) take(ctx context.Context, size int) (more bool, err error) {
	var c graph.Cursor
	c.Reset(graph.Subject{ID: s.after})
	var answers [scanChunk]bool
	for looked := 0; !c.Done; {
		if err := s.edges(&c); err != nil {
			return false, err
		}
		for edges := c.Edges; len(edges) > 0; {
			chunk := edges[:min(len(edges), scanChunk)]
			edges = edges[len(chunk):]
			err := backend.Each(ctx, len(chunk), serialBatch, func(ctx context.Context, i int) (err error) {
				answers[i], err = s.asks(ctx, chunk[i].Subject.ID)
				return err
			})
			if err != nil {
				return false, err
			}
			for i := range chunk {
				if answers[i] {
					if size == 0 {
						return true, nil
					}
					if err := s.emit(chunk[i].Subject.ID); err != nil {
						return false, err
					}
					size--
				}
				s.after = chunk[i].Subject.ID
			}
			if looked += len(chunk); looked >= scanWork && (len(edges) > 0 || !c.Done) {
				return true, nil
			}
			if err := limit.Pace(ctx); err != nil {
				return false, err
			}
		}
	}
	return false, nil
}
