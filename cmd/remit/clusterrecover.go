package main

import (
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/remit-authz/remit/cmd/remit/server"
)

func (a *app) clusterRecoverCommand() *cobra.Command {
	var dataDir string
	var dry bool
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "Go on from one node whose cluster has lost its majority for good",
		Long: `Recover makes a node that stands alone of one that is left of a cluster, when so many
nodes are lost for good that the others elect no leader. No server may run on the data
directory, and none of the old cluster should run anywhere.

Look at every node that is left with --dry-run, and take the one with the greatest term, and
among those the one with the greatest index: a write that was acknowledged is on most nodes,
so the most advanced one that is left is the likeliest to have it. What it lacks is lost. Every
entry of its log counts, even one that was never acknowledged: so a write whose client was
told nothing, or of an unknown outcome, may appear.

The new node has an id and an epoch of its own. Nodes of before do not talk to it, even if
they come back with all their data, and of what clients keep

  - a token still does for at_least_as_fresh, and asks for the newest state; for
    at_exact_snapshot it is refused;
  - a cursor has expired, and so have resume points of watch and export: begin anew;
  - an idempotency key of a write that the node has still holds.

The audit log tells of the recovery. The old node is kept in the data directory, in a folder
before-recovery-TIME, until you remove it: mostly as links, so that it costs little at first,
and more the more the new one changes. What is erased from the new node stays in it.

Whatever recover is cut off in, run it again: until then the old node is as it was, or no
server starts on the directory.`,
		Example: `  remit cluster recover --data-dir /var/lib/remit --dry-run
  remit cluster recover --data-dir /var/lib/remit`,
		Args:        cobra.NoArgs,
		Annotations: local,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.checkOutput(); err != nil {
				return err
			}
			if err := fromEnvironment(cmd, "data-dir"); err != nil {
				return err
			}
			config := server.RecoverConfig{DataDir: dataDir}
			if dry {
				survivor, err := server.Examine(config)
				if err != nil {
					return err
				}
				return a.print(survivorAnswer(survivor), func(w io.Writer) error {
					survivorText(w, survivor)
					return nil
				})
			}
			p := newProgress(a.stderr, 0, "entries replayed")
			config.Progress = func(done, total uint64) {
				p.total = int(total)
				p.at(int(done))
			}
			recovered, err := server.Recover(cmd.Context(), config)
			p.done()
			if err != nil {
				return err
			}
			answer := map[string]any{
				"dataDir": dataDir, "nodeId": recovered.NodeID, "epoch": epochText(recovered.Epoch), "revision": recovered.Revision,
				"kept": recovered.Kept, "was": survivorAnswer(&recovered.Survivor),
			}
			return a.print(answer, func(w io.Writer) error {
				recoveredText(w, dataDir, recovered)
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", "./data", "the `folder` of the node that is left, or $REMIT_DATA_DIR")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only show what the node has, to compare it with others")
	return cmd
}

func survivorAnswer(s *server.Survivor) map[string]any {
	answer := map[string]any{
		"nodeId": s.ID, "term": s.Term, "index": s.Index, "known": s.Known(), "revision": s.Revision, "time": s.Time,
		"epoch": epochText(s.Epoch), "members": s.Members,
	}
	if !s.Appended.IsZero() {
		answer["appended"] = s.Appended.UTC()
	}
	return answer
}

// survivorText is what one compares nodes by, first what counts.
func survivorText(w io.Writer, s *server.Survivor) {
	printf(w, "term       %d\n", s.Term)
	printf(w, "index      %d%s\n", s.Index, appendedText(s.Appended))
	printf(w, "node       %s\n", s.ID)
	printf(w, "revision   %d of %s; %s\n", s.Revision, instantText(s.Time), uncertainText(s))
	printf(w, "epoch      %s\n", epochText(s.Epoch))
	for i, m := range s.Members {
		heading, vote := "members", "votes"
		if i > 0 {
			heading = ""
		}
		if !m.Voter {
			vote = "does not vote"
		}
		printf(w, "%-10s %s at %s %s\n", heading, m.ID, m.Address, vote)
	}
}

func appendedText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return ", of " + instantText(t)
}

// uncertainText tells of entries that nobody here knows to be committed.
func uncertainText(s *server.Survivor) string {
	if s.Uncertain() == 0 {
		return "nothing is behind it"
	}
	return entriesText(s.Uncertain()) + " behind it may or may not have been committed"
}

func entriesText(n uint64) string {
	if n == 1 {
		return "1 entry"
	}
	return thousands(int(n)) + " entries"
}

func recoveredText(w io.Writer, dataDir string, r *server.Recovered) {
	was := &r.Survivor
	printf(w, "node %s goes on alone as node %s: revision %d, epoch %s\n", was.ID, r.NodeID, r.Revision, epochText(r.Epoch))
	if n := was.Uncertain(); n > 0 {
		printf(w, "taken over from its log, although nobody knows whether it had been committed: %s\n", entriesText(n))
	}
	var others []string
	for _, m := range was.Members {
		if m.ID != was.ID {
			others = append(others, m.ID+" at "+m.Address)
		}
	}
	if len(others) > 0 {
		printf(w, "it no longer knows %s\n", strings.Join(others, ", "))
	}
	printf(w, "\nwhat it was is kept in %s; remove that when all is well\n", r.Kept)
	printf(w, "\nnext, start it with the flags of before:\n  remit serve --data-dir %s\n", shellWord(dataDir))
	printf(w, "then the other nodes, each with an empty data directory and --join to this one; with their old\n"+
		"data they are refused\n")
}
