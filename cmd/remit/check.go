package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

func (a *app) checkCommand() *cobra.Command {
	var q circumstance
	var explain, exitCode bool
	cmd := &cobra.Command{
		Use:   "check SUBJECT RELATION OBJECT",
		Short: "Ask whether a subject has a relation to an object",
		Long: `Check asks whether a subject has a relation to an object, and prints "allowed" or
"denied".

` + questionHelp + `

The exit status says whether the question was answered: 0 for either answer, 2 if it
could not be. With --exit-code it is 0 if allowed and 1 if denied, for scripts.

With --as-of the question is asked of what was known then, judged at that time; with
--at of what is known now, or was known as of then, judged at another time.`,
		Example: `  remit check user:ann can_view deal:plan
  remit check deal:plan#can_view@user:ann --explain
  remit check user:bob on_duty shift:night --at 2026-03-29T22:00:00Z
  remit check user:ann can_view deal:plan --as-of 2026-03-03T22:00Z
  remit check user:ann can_view report:q3 --context '{"ip": "10.0.0.7"}'
  remit check user:ann can_view deal:plan --exit-code -o json >answer.json && deploy`,
		GroupID: groupAsk,
		Args:    questionArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			question, err := parseQuestion(args)
			if err != nil {
				return err
			}
			c, scope, err := a.ask(cmd, &q)
			if err != nil {
				return err
			}
			var allowed bool
			if explain {
				allowed, err = a.explain(cmd, c, scope, question)
			} else {
				allowed, err = a.check(cmd, c, scope, question)
			}
			if err == nil && exitCode && !allowed {
				return errNo
			}
			return err
		},
	}
	q.register(cmd)
	cmd.Flags().BoolVarP(&explain, "explain", "e", false, "say why")
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with status 1 if denied")
	return cmd
}

func (a *app) check(cmd *cobra.Command, c *services, scope *remitv1.Scope, question *remitv1.Question) (bool, error) {
	answer, err := call(cmd.Context(), a, c.access.Check, &remitv1.CheckRequest{Scope: scope, Question: question})
	if err != nil {
		return false, err
	}
	return answer.GetAllowed(), a.print(answer, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, allowedText(a.stdout, answer.GetAllowed()))
		return err
	})
}

func (a *app) explainCommand() *cobra.Command {
	var q circumstance
	cmd := &cobra.Command{
		Use:   "explain SUBJECT RELATION OBJECT",
		Short: "Ask why a subject has a relation to an object, or has not",
		Long: `Explain answers as check does and says why. Of what is allowed it shows the chain of
tuples and rewrites, and the tuples that suffice. Of what is denied it shows what was
tried, and the fewest changes that would allow it.

` + questionHelp,
		Example: `  remit explain user:ann can_view deal:plan
  remit explain deal:plan#can_edit@user:bob --at 2026-03-29T22:00:00Z`,
		GroupID: groupAsk,
		Args:    questionArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			question, err := parseQuestion(args)
			if err != nil {
				return err
			}
			c, scope, err := a.ask(cmd, &q)
			if err != nil {
				return err
			}
			_, err = a.explain(cmd, c, scope, question)
			return err
		},
	}
	q.register(cmd)
	return cmd
}

func (a *app) explain(cmd *cobra.Command, c *services, scope *remitv1.Scope, question *remitv1.Question) (bool, error) {
	answer, err := call(cmd.Context(), a, c.access.Explain, &remitv1.ExplainRequest{Scope: scope, Question: question})
	if err != nil {
		return false, err
	}
	return answer.GetAllowed(), a.print(answer, func(w io.Writer) error {
		return writeExplanation(w, colours(a.stdout), question, answer)
	})
}

func (a *app) expandCommand() *cobra.Command {
	var q circumstance
	var depth int32
	cmd := &cobra.Command{
		Use:   "expand OBJECT#RELATION",
		Short: "Show how a relation of an object comes about",
		Long: `Expand shows the rewrites and tuples that define a relation of an object, without
asking about anyone.`,
		Example: `  remit expand deal:plan#can_view
  remit expand deal:plan#can_view --depth 3`,
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
			answer, err := call(cmd.Context(), a, c.access.Expand, &remitv1.ExpandRequest{
				Scope: scope, Object: object, Relation: relation, Depth: depth,
			})
			if err != nil {
				return err
			}
			return a.print(answer, func(w io.Writer) error { return writeExpansion(w, colours(a.stdout), answer.GetRoot()) })
		},
	}
	q.register(cmd)
	cmd.Flags().Int32Var(&depth, "depth", 1, "how many usersets deep to go, 1 to 25")
	return cmd
}

// errNoQuestions is what batch says of an empty input.
var errNoQuestions = errors.New("there are no questions in the input")
