package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// A page is how many answers one call brings while a list is read to its end.
const page = 1000

func (a *app) listObjectsCommand() *cobra.Command {
	var q circumstance
	var limit int
	cmd := &cobra.Command{
		Use:     "list-objects SUBJECT RELATION TYPE",
		Aliases: []string{"what"},
		Short:   "List what a subject has a relation to",
		Long: `List-objects prints the objects of a type that a subject has a relation to, one a
line. It is complete unless --limit cuts it, and then it says so.`,
		Example: `  remit what user:ann can_view deal
  remit list-objects group:sales#member can_edit account -o json`,
		GroupID: groupAsk,
		Args:    words(3, "SUBJECT RELATION TYPE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, scope, err := a.ask(cmd, &q)
			if err != nil {
				return err
			}
			all := &remitv1.ListObjectsResponse{}
			for {
				answer, err := call(cmd.Context(), a, c.access.ListObjects, &remitv1.ListObjectsRequest{
					Scope: scope, Subject: args[0], Relation: args[1], Type: args[2],
					PageSize: pageSize(limit, len(all.GetIds())), Cursor: all.GetCursor(),
				})
				if err != nil {
					return err
				}
				all.Ids = append(all.Ids, answer.GetIds()...)
				all.Cursor, all.Token, all.AsOf = answer.GetCursor(), answer.GetToken(), answer.GetAsOf()
				if all.GetCursor() == "" || limit > 0 && len(all.GetIds()) >= limit {
					break
				}
			}
			a.tellCut(all.GetCursor(), limit)
			return a.print(all, func(w io.Writer) error {
				for _, id := range all.GetIds() {
					printf(w, "%s:%s\n", args[2], id)
				}
				return nil
			})
		},
	}
	q.register(cmd)
	cmd.Flags().IntVar(&limit, "limit", 0, "stop after so many (default: list all)")
	return cmd
}

func (a *app) listSubjectsCommand() *cobra.Command {
	var q circumstance
	var kind string
	var limit int
	cmd := &cobra.Command{
		Use:     "list-subjects RELATION OBJECT",
		Aliases: []string{"who"},
		Short:   "List who has a relation to an object",
		Long: `List-subjects prints the subjects of a kind that have a relation to an object, one a
line. A wildcard, such as user:*, stands for everyone of its type but those named
behind it; others are listed beside it only if something grants it to them by name.`,
		Example: `  remit who can_view deal:plan
  remit who can_view deal:plan --kind group#member
  remit list-subjects deal:plan#can_view --at 2026-03-29T22:00:00Z
  remit who can_view deal:plan --as-of 2026-03-03T22:00Z`,
		GroupID: groupAsk,
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			object, relation, err := parseUserset(args)
			if err != nil {
				return err
			}
			c, scope, err := a.ask(cmd, &q)
			if err != nil {
				return err
			}
			subjectType, subjectRelation, _ := strings.Cut(kind, "#")
			all := &remitv1.ListSubjectsResponse{}
			for {
				answer, err := call(cmd.Context(), a, c.access.ListSubjects, &remitv1.ListSubjectsRequest{
					Scope: scope, Object: object, Relation: relation,
					SubjectType: subjectType, SubjectRelation: subjectRelation,
					PageSize: pageSize(limit, len(all.GetSubjects())), Cursor: all.GetCursor(),
				})
				if err != nil {
					return err
				}
				all.Subjects = append(all.Subjects, answer.GetSubjects()...)
				all.Cursor, all.Token, all.AsOf = answer.GetCursor(), answer.GetToken(), answer.GetAsOf()
				if all.GetCursor() == "" || limit > 0 && len(all.GetSubjects()) >= limit {
					break
				}
			}
			a.tellCut(all.GetCursor(), limit)
			return a.print(all, func(w io.Writer) error {
				for _, s := range all.GetSubjects() {
					printLine(w, subjectText(s))
				}
				return nil
			})
		},
	}
	q.register(cmd)
	cmd.Flags().StringVar(&kind, "kind", "user", "the `kind` of subject: a type, or TYPE#RELATION for usersets")
	cmd.Flags().IntVar(&limit, "limit", 0, "stop after so many (default: list all)")
	return cmd
}

// subjectText is a listed subject with those excluded from it.
func subjectText(s *remitv1.ListedSubject) string {
	if len(s.GetExcluded()) == 0 {
		return s.GetSubject()
	}
	subjectType, _, _ := strings.Cut(s.GetSubject(), ":")
	var but []string
	for _, id := range s.GetExcluded() {
		but = append(but, subjectType+":"+id)
	}
	return s.GetSubject() + " but not " + strings.Join(but, ", ")
}

func (a *app) listActionsCommand() *cobra.Command {
	var q circumstance
	var only []string
	cmd := &cobra.Command{
		Use:     "list-actions SUBJECT OBJECT",
		Aliases: []string{"can"},
		Short:   "List the relations that a subject has to an object",
		Example: `  remit can user:ann deal:plan
  remit can user:ann deal:plan --only can_view,can_edit,can_delete`,
		GroupID: groupAsk,
		Args:    words(2, "SUBJECT OBJECT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, scope, err := a.ask(cmd, &q)
			if err != nil {
				return err
			}
			answer, err := call(cmd.Context(), a, c.access.ListActions, &remitv1.ListActionsRequest{
				Scope: scope, Subject: args[0], Object: args[1], Relations: only,
			})
			if err != nil {
				return err
			}
			return a.print(answer, func(w io.Writer) error {
				for _, r := range answer.GetRelations() {
					printLine(w, r)
				}
				return nil
			})
		},
	}
	q.register(cmd)
	cmd.Flags().StringSliceVar(&only, "only", nil, "ask only these `relations` (default: all of the object's type)")
	return cmd
}

// words demands so many arguments and says what they are.
func words(n int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != n {
			return fmt.Errorf("expected %s, got %s", what, counted(len(args), "argument"))
		}
		return nil
	}
}

// parseUserset reads RELATION OBJECT, or OBJECT#RELATION. Two words are told apart in
// either order, for a relation has no colon.
func parseUserset(args []string) (object, relation string, err error) {
	switch {
	case len(args) == 2 && strings.Contains(args[0], ":") && !strings.Contains(args[1], ":"):
		return args[0], args[1], nil
	case len(args) == 2:
		return args[1], args[0], nil
	}
	object, relation, ok := strings.Cut(args[0], "#")
	if !ok || relation == "" {
		return "", "", errors.New("expected RELATION OBJECT, or OBJECT#RELATION")
	}
	return object, relation, nil
}

func pageSize(limit, have int) int32 {
	if limit <= 0 {
		return page
	}
	return int32(min(page, max(1, limit-have)))
}

// tellCut says that a list is not all there is.
func (a *app) tellCut(cursor string, limit int) {
	if cursor != "" {
		printf(a.stderr, "remit: there are more than %s; see --limit\n", thousands(limit))
	}
}
