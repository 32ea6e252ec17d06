package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// An accessDiff is one diff-access.
type accessDiff struct {
	from, to       string // flags of these names
	relation, kind string
	objects        string // --type
	model, context string
	limit          int

	differences []accessDifference
	begin, end  *remitv1.Moment
	incomplete  bool // there are more than the limit
}

// An accessDifference is one of a relation.
type accessDifference struct {
	relation string
	*remitv1.AccessDifference
}

func (a *app) diffAccessCommand() *cobra.Command {
	d := &accessDiff{}
	cmd := &cobra.Command{
		Use:   "diff-access SUBJECT|OBJECT",
		Short: "Say what access was gained and lost between two moments, and by which change",
		Long: `Diff-access compares two moments. Of an object it says which subjects gained (+) or
lost (-) a relation to it, of a subject which objects; and for each the change that
brought it about: when, by whom, and the tuples written (+) or removed (-). What a model
made different, or time alone, such as an expiry or a schedule, is said to be that.

The argument is an object if its type has relations, and a subject otherwise, or if
--type names the objects to compare. Without --relation every relation is compared.

` + asOfHelp + `
Both ends must be kept still: see "remit store get".`,
		Example: `  remit diff-access user:ann --from 2026-03-01
  remit diff-access user:ann --type deal --relation can_view --from 2026-03-01 --to "2026-03-03 22:00"
  remit diff-access deal:plan --relation can_view --from 1200 --to 1300
  remit diff-access group:sales#member --type deal --from 2026-03-01 -o json`,
		GroupID: groupAsk,
		Args:    words(1, "SUBJECT|OBJECT"),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.diffAccess(cmd, d, args[0]) },
	}
	flags := cmd.Flags()
	flags.StringVar(&d.from, "from", "", "the earlier `moment`")
	flags.StringVar(&d.to, "to", "", "the later `moment` (default: now)")
	flags.StringVar(&d.relation, "relation", "", "compare this `relation` alone (default: every one)")
	flags.StringVar(&d.objects, "type", "", "of a subject: compare the objects of this `type` alone (default: every type)")
	flags.StringVar(&d.kind, "kind", "user", "of an object: the `kind` of subject, a type, or TYPE#RELATION for usersets")
	flags.StringVar(&d.context, "context", "", "parameters of conditions, as a `JSON` object")
	flags.StringVar(&d.model, "model", "", "judge both moments by the model of this `id` (default: each by the newest then)")
	flags.IntVar(&d.limit, "limit", 0, "stop after so many (default: list all)")
	if err := cmd.MarkFlagRequired("from"); err != nil {
		panic(fmt.Sprintf("diff-access: %v", err)) // no such flag: our own mistake
	}
	return cmd
}

func (a *app) diffAccess(cmd *cobra.Command, d *accessDiff, entity string) error {
	if a.consistency != "" {
		return errors.New("--from and --to name exact states; they cannot be combined with --consistency")
	}
	base := &remitv1.DiffAccessRequest{ModelId: d.model}
	var err error
	if base.From, err = parseMoment(d.from); err != nil {
		return fmt.Errorf("--from: %w", err)
	}
	if d.to != "" {
		if base.To, err = parseMoment(d.to); err != nil {
			return fmt.Errorf("--to: %w", err)
		}
	}
	if base.Context, err = parseContext(d.context); err != nil {
		return err
	}
	name, err := graph.ParseSubject(entity)
	if err != nil {
		return err
	}
	c, scope, err := a.ask(cmd, &circumstance{})
	if err != nil {
		return err
	}
	base.Store = scope.GetStore()
	newest, err := call(cmd.Context(), a, c.models.GetModel, &remitv1.GetModelRequest{Store: base.Store, ModelId: d.model})
	if err != nil {
		return err
	}
	parsed, err := model.ParseJSON("model", []byte(newest.GetModel().GetJson()))
	if err != nil {
		return err
	}
	questions, err := d.questions(parsed.Declarations().Types, entity, name)
	if err != nil {
		return err
	}
	for _, q := range questions {
		q.Store, q.From, q.To, q.Context, q.ModelId = base.Store, base.From, base.To, base.Context, base.ModelId
		if err := a.compareAccess(cmd, c, d, q); err != nil {
			return err
		}
		if base.To == nil { // every relation is compared at the same moment
			base.To = &remitv1.Consistency{Requirement: &remitv1.Consistency_AtExactTime{AtExactTime: d.end.GetAt()}}
		}
		if d.incomplete {
			break
		}
	}
	if d.incomplete {
		printf(a.stderr, "remit: there are more than %s; see --limit\n", thousands(d.limit))
	}
	return a.printDifferences(d)
}

// questions are the relations to compare. The newest model says which there are.
func (d *accessDiff) questions(types []model.TypeDeclaration, entity string, name graph.SubjectName) (questions []*remitv1.DiffAccessRequest, err error) {
	own := slices.IndexFunc(types, func(t model.TypeDeclaration) bool { return t.Name == name.Type })
	ofObject := d.objects == "" && name.Relation == "" && own >= 0 && len(types[own].Relations) > 0
	for _, t := range types {
		if ofObject && t.Name != name.Type || d.objects != "" && t.Name != d.objects {
			continue
		}
		for _, relation := range t.Relations {
			if d.relation != "" && relation != d.relation {
				continue
			}
			q := &remitv1.DiffAccessRequest{}
			if ofObject {
				subjectType, subjectRelation, _ := strings.Cut(d.kind, "#")
				q.Of = &remitv1.DiffAccessRequest_Object{Object: &remitv1.ObjectAccess{
					Object: entity, Relation: relation, SubjectType: subjectType, SubjectRelation: subjectRelation,
				}}
			} else {
				q.Of = &remitv1.DiffAccessRequest_Subject{Subject: &remitv1.SubjectAccess{Subject: entity, Relation: relation, Type: t.Name}}
			}
			questions = append(questions, q)
		}
	}
	switch {
	case len(questions) > 0:
		return questions, nil
	case d.objects != "" && !slices.ContainsFunc(types, func(t model.TypeDeclaration) bool { return t.Name == d.objects }):
		return nil, fmt.Errorf("the model has no type %s", d.objects)
	case d.relation != "":
		return nil, fmt.Errorf("the model has no relation %s that could be compared", d.relation)
	}
	return nil, errors.New("the model has no relation that could be compared")
}

// compareAccess reads one relation to its end, or to the limit.
func (a *app) compareAccess(cmd *cobra.Command, c *client, d *accessDiff, q *remitv1.DiffAccessRequest) error {
	relation := firstOf(q.GetSubject().GetRelation(), q.GetObject().GetRelation())
	for {
		answer, err := call(cmd.Context(), a, c.access.DiffAccess, q)
		if err != nil {
			return err
		}
		d.begin, d.end = answer.GetFrom(), answer.GetTo()
		for _, difference := range answer.GetDifferences() {
			if d.limit > 0 && len(d.differences) == d.limit {
				d.incomplete = true
				return nil
			}
			d.differences = append(d.differences, accessDifference{relation, difference})
		}
		if q.Cursor = answer.GetCursor(); q.Cursor == "" {
			return nil
		}
	}
}

func (a *app) printDifferences(d *accessDiff) error {
	plain := map[string]any{"differences": []any{}, "complete": !d.incomplete}
	if a.output == "json" || a.output == "yaml" {
		list := make([]any, len(d.differences))
		for i, difference := range d.differences {
			m, err := plainValue(difference.AccessDifference)
			if err != nil {
				return err
			}
			m.(map[string]any)["relation"] = difference.relation
			list[i] = m
		}
		plain["differences"] = list
		for key, moment := range map[string]*remitv1.Moment{"from": d.begin, "to": d.end} {
			m, err := plainValue(moment)
			if err != nil {
				return err
			}
			plain[key] = m
		}
	}
	return a.print(plain, func(w io.Writer) error {
		p := colours(a.stdout)
		return columns(w, func(w io.Writer) {
			for _, difference := range d.differences {
				sign := p.good("+")
				if difference.GetKind() == remitv1.AccessDifference_KIND_LOST {
					sign = p.bad("-")
				}
				printf(w, "%s %s\t%s\t%s\n", sign, difference.GetName(), difference.relation, causeText(difference.GetCause()))
			}
		})
	})
}

// causeText says in one line what brought a difference about.
func causeText(c *remitv1.AccessCause) string {
	if c.GetKind() == remitv1.AccessCause_KIND_UNKNOWN {
		return "unknown: too much was changed in between, or it could not be decided"
	}
	var text strings.Builder
	text.WriteString(instantText(c.GetAt().AsTime()))
	if who := firstOf(c.GetActor(), c.GetPrincipal()); who != "" {
		text.WriteString(" by " + who)
	}
	var changes []string
	for _, change := range c.GetChanges() {
		sign := "+"
		if change.GetKind() == remitv1.TupleChange_KIND_REMOVE {
			sign = "-"
		}
		changes = append(changes, sign+tupleText(change.GetTuple()))
	}
	switch c.GetKind() {
	case remitv1.AccessCause_KIND_TIME:
		text.WriteString(": by time alone")
		if len(changes) > 0 {
			text.WriteString(", expired")
		}
	case remitv1.AccessCause_KIND_MODEL:
		text.WriteString(": model " + c.GetModelId())
	default:
		text.WriteString(":")
	}
	if len(changes) > 0 {
		text.WriteString(" " + strings.Join(changes, ", "))
	}
	if c.GetMoreChanges() {
		text.WriteString(" and more")
	}
	if c.GetReason() != "" {
		fmt.Fprintf(&text, " (%s)", c.GetReason())
	}
	if c.GetPerhapsNotLast() {
		text.WriteString("; it may have come and gone since")
	}
	return text.String()
}
