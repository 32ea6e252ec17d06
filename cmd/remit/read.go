package main

import (
	"io"
	"os"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

func (a *app) readCommand() *cobra.Command {
	var filter remitv1.TupleFilter
	var q circumstance
	var limit int
	cmd := &cobra.Command{
		Use:   "read",
		Short: "Read the tuples that match a filter",
		Long: `Read prints the tuples that are stored, not what follows from them. Without a filter
it prints all. The list is complete unless --limit cuts it, and then it says so.`,
		Example: `  remit read --object deal:plan
  remit read --object deal --relation owner
  remit read --subject user:ann -o json
  remit read --object deal:plan --as-of 2026-03-03T22:00Z`,
		GroupID: groupAsk,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, scope, err := a.ask(cmd, &q)
			if err != nil {
				return err
			}
			all := &remitv1.ReadResponse{}
			for {
				answer, err := call(cmd.Context(), a, c.tuples.Read, &remitv1.ReadRequest{
					Store: scope.GetStore(), Consistency: scope.GetConsistency(), Filter: &filter,
					PageSize: pageSize(limit, len(all.GetTuples())), Cursor: all.GetCursor(),
				})
				if err != nil {
					return err
				}
				all.Tuples = append(all.Tuples, answer.GetTuples()...)
				all.Cursor, all.Token, all.AsOf = answer.GetCursor(), answer.GetToken(), answer.GetAsOf()
				if all.GetCursor() == "" || limit > 0 && len(all.GetTuples()) >= limit {
					break
				}
			}
			a.tellCut(all.GetCursor(), limit)
			return a.print(all, func(w io.Writer) error { return writeTuples(w, all.GetTuples()) })
		},
	}
	flags := cmd.Flags()
	registerFilter(cmd, &filter)
	q.registerAsOf(cmd)
	flags.IntVar(&limit, "limit", 0, "stop after so many (default: read all)")
	return cmd
}

// registerFilter adds the flags that make a filter of tuples.
func registerFilter(cmd *cobra.Command, filter *remitv1.TupleFilter) {
	flags := cmd.Flags()
	flags.StringVar(&filter.Object, "object", "", "a `type`, or an object TYPE:ID")
	flags.StringVar(&filter.Relation, "relation", "", "a `relation`")
	flags.StringVar(&filter.Subject, "subject", "", "a `type`, an entity TYPE:ID, TYPE:*, or a userset TYPE:ID#RELATION")
}

func writeTuples(w io.Writer, tuples []*remitv1.StoredTuple) error {
	return columns(w, func(w io.Writer) {
		for _, s := range tuples {
			t := s.GetTuple()
			printf(w, "%s#%s@%s", t.GetObject(), t.GetRelation(), t.GetSubject())
			if c := t.GetCondition(); c != nil {
				printf(w, "\twith %s", contextText(c))
			}
			if t.GetExpiresAt() != nil {
				printf(w, "\tuntil %s", instantText(t.GetExpiresAt().AsTime()))
			}
			printLine(w, "")
		}
	})
}

// readInput reads a file, or standard input for "-".
func readInput(name string, stdin io.Reader) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(stdin)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fileReason(name, err)
	}
	return data, nil
}

func sizeOf(m proto.Message) int { return proto.Size(m) }
