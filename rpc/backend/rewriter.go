package backend

import (
	"context"

	"github.com/remit-authz/remit/graph"
)

// A Rewriter knows how far this node has rewritten its files. A row or an entry that is
// deleted stays in the files for a while, as bytes that nobody reads any more; a
// rewriting puts what is still there into fresh files and removes the old ones.
type Rewriter interface {
	// Rewritten is the revision up to which nothing that was deleted is left in any file
	// of the node's data directory.
	Rewritten() graph.Revision

	// WaitRewritten waits until Rewritten is at least a revision. Somebody must have asked
	// for that: an erasure asks every node, Rewrite asks this one.
	WaitRewritten(ctx context.Context, revision graph.Revision) error

	// Rewrite rewrites the files up to the newest revision, and says which that was.
	Rewrite(ctx context.Context) (graph.Revision, error)

	// Rewriting tells what is going on; ok is false if nothing is.
	Rewriting() (progress RewriteProgress, ok bool)
}

// RewriteProgress tells how far a rewriting is.
type RewriteProgress struct {
	// Part names what is being rewritten: "state", "log" or "snapshots", in that order.
	Part string
	// Rows is how many rows of the state have been copied or compared, of Total, which is
	// an estimate.
	Rows, Total uint64
	// Attempt counts from 1, and Err is why the attempt before failed.
	Attempt int
	Err     error
}
