package main

import (
	"errors"
	"fmt"
	"io"
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
	subject, relation, object string
	*remitv1.AccessDifference
}

func (a *app) diffAccessCommand() *cobra.Command {
	d := &accessDiff{}
	cmd := &cobra.Command{
		Use:   "diff-access SUBJECT|OBJECT",
		Short: "Say what access was gained and lost between two moments, and by which change",
		Long: `Diff-access compares two moments. Of a subject it says which objects it gained (+) or
lost (-) a relation to, of an object which subjects; and for each the change that brought
it about: when, by whom, and the tuples written (+) or removed (-). What a model made
different, or time alone, such as an expiry or a schedule, is said to be that.

What may be both is compared as both, unless --type (of the objects, for a subject) or
--kind (of the subjects, for an object) says as which. Without --relation every relation
is compared.

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
	flags.StringVar(&d.kind, "kind", "", "of an object: compare this `kind` of subject, a type, or TYPE#RELATION for usersets (default user)")
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
	symbols := model.NewTable()
	symbols.Define(parsed.Declarations())
	plan, err := parsed.Compile("", symbols)
	if err != nil {
		return err
	}
	questions, err := d.questions(plan, entity, name)
	if err != nil {
		return err
	}
	if len(questions) == 0 {
		return fmt.Errorf("the model has no relation %sof or to %s that could be compared", spaced(d.relation), entity)
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
func (d *accessDiff) questions(plan *model.Plan, entity string, name graph.SubjectName) (questions []*remitv1.DiffAccessRequest, err error) {
	if d.objects != "" && d.kind != "" {
		return nil, errors.New("--type is of a subject's objects, and --kind of an object's subjects: give one of them")
	}
	types := plan.Types()
	if d.objects != "" {
		t, ok := plan.Type(d.objects)
		if !ok {
			return nil, fmt.Errorf("the model has no type %s", d.objects)
		}
		types = []*model.Type{t}
	}
	own, ok := plan.Type(name.Type)
	if !ok {
		return nil, fmt.Errorf("the model has no type %s", name.Type)
	}
	wanted := func(r *model.Relation) bool { return d.relation == "" || r.Name == d.relation }
	if d.kind == "" && (d.objects != "" || named(plan, own)) {
		for _, t := range types {
			for _, r := range t.Relations {
				if wanted(r) {
					questions = append(questions, &remitv1.DiffAccessRequest{Of: &remitv1.DiffAccessRequest_Subject{
						Subject: &remitv1.SubjectAccess{Subject: entity, Relation: r.Name, Type: t.Name},
					}})
				}
			}
		}
	}
	if d.objects == "" && name.Relation == "" {
		subjectType, subjectRelation, _ := strings.Cut(firstOf(d.kind, "user"), "#")
		if _, ok := plan.Type(subjectType); !ok && d.kind == "" {
			return questions, nil // nothing is of the kind that was not even asked for
		}
		for _, r := range own.Relations {
			if wanted(r) {
				questions = append(questions, &remitv1.DiffAccessRequest{Of: &remitv1.DiffAccessRequest_Object{
					Object: &remitv1.ObjectAccess{Object: entity, Relation: r.Name, SubjectType: subjectType, SubjectRelation: subjectRelation},
				}})
			}
		}
	}
	return questions, nil
}

// named reports whether tuples may have subjects of a type.
func named(plan *model.Plan, t *model.Type) bool {
	for _, other := range plan.Types() {
		for _, r := range other.Relations {
			for i := range r.Allowed {
				if r.Allowed[i].Type == t {
					return true
				}
			}
		}
	}
	return false
}

// compareAccess reads one relation to its end, or to the limit.
func (a *app) compareAccess(cmd *cobra.Command, c *services, d *accessDiff, q *remitv1.DiffAccessRequest) error {
	described := func(m *remitv1.AccessDifference) accessDifference {
		if of := q.GetSubject(); of != nil {
			return accessDifference{of.GetSubject(), of.GetRelation(), m.GetName(), m}
		}
		of := q.GetObject()
		return accessDifference{m.GetName(), of.GetRelation(), of.GetObject(), m}
	}
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
			d.differences = append(d.differences, described(difference))
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
			fields := m.(map[string]any)
			fields["subject"], fields["relation"], fields["object"] = difference.subject, difference.relation, difference.object
			delete(fields, "name") // it is one of them
			list[i] = fields
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
				printf(w, "%s %s\t%s\t%s\t%s\n", sign, difference.subject, difference.relation, difference.object, causeText(difference.GetCause()))
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
	if who := whoText(c.GetPrincipal(), c.GetActor()); who != "" {
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
		fmt.Fprintf(&text, " (%s)", visible(c.GetReason()))
	}
	if c.GetPerhapsNotLast() {
		text.WriteString("; it may have come and gone since")
	}
	return text.String()
}

// spaced is a word with a space behind it, or nothing.
func spaced(word string) string {
	if word == "" {
		return ""
	}
	return word + " "
}
