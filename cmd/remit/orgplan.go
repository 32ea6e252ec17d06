package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/remit-authz/remit/cmd/remit/orgchange"
	"github.com/remit-authz/remit/cmd/remit/orgfile"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/rpc"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// A planning is a file on its way into an organisation.
type planning struct {
	app *app
	acting
	samples       int
	entities      int
	withoutAccess bool

	client *services
	store  string
	file   *orgfile.File
	state  *orgchange.State
	edits  []orgchange.Edit
}

const planHelp = `A section that the file does not have is left as it is; one that is there is the whole of
it, so what it does not name is deleted.`

func (p *planning) register(cmd *cobra.Command) {
	p.acting.register(cmd)
	flags := cmd.Flags()
	flags.IntVar(&p.samples, "samples", 5, "name at most so many users, and so many records each")
	flags.IntVar(&p.entities, "limit", 50, "name at most so many of what is made, changed or deleted; 0 is all")
	flags.BoolVar(&p.withoutAccess, "without-access", false, "do not work out who would gain and lose access")
}

func (a *app) orgPlanCommand() *cobra.Command {
	p := &planning{app: a}
	var exitCode bool
	cmd := &cobra.Command{
		Use:   "plan FILE",
		Short: "Show what an organisation file would change, and who would gain or lose access",
		Long: `Plan compares an organisation with a file and shows what would be made, changed and
deleted, and which users would gain or lose access to which records. It changes nothing.

` + planHelp + `

With --exit-code the exit status is 1 if there is something to change, for scripts.`,
		Example: `  remit org plan acme.org.yaml
  remit org plan acme.org.yaml --store acme --samples 20
  remit org plan acme.org.yaml --exit-code -o json`,
		Args: words(1, "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := p.begin(cmd.Context(), args[0], false); err != nil {
				return err
			}
			plan, err := p.preview(cmd.Context(), p.withoutAccess)
			if err != nil {
				return err
			}
			if err := a.print(plan, func(w io.Writer) error { return p.show(w, plan) }); err != nil {
				return err
			}
			if exitCode && len(p.edits) > 0 {
				return errNo
			}
			return nil
		},
	}
	p.register(cmd)
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with 1 if there is something to change")
	return cmd
}

// begin reads the file and the organisation, and compares them.
func (p *planning) begin(ctx context.Context, name string, create bool) error {
	if err := p.app.checkOutput(); err != nil {
		return err
	}
	var err error
	if p.file, err = orgfile.Read(name); err != nil {
		return err
	}
	if create {
		if p.client, err = p.app.client(); err != nil {
			return err
		}
		if p.store, err = p.app.createFor(ctx, p.client, p.app.store, p.file); err != nil {
			return err
		}
	} else if p.client, p.store, err = p.app.organisation(ctx); err != nil {
		return err
	}
	return p.compare(ctx)
}

// compare reads the organisation and finds out what the file changes. All that would be
// wrong with the result is told at once, with its place in the file.
func (p *planning) compare(ctx context.Context) error {
	var err error
	if p.state, err = p.app.readOrganisation(ctx, p.client, p.store, nil, false); err != nil {
		return err
	}
	have := p.state.Organisation
	want := p.file.Over(have)
	if want.ID != have.ID {
		return fmt.Errorf("%s is of the organisation %q, and the store holds %q; name the right one with --store", p.file.Path, want.ID, have.ID)
	}
	if err := want.Validate(crm.DefaultLimits()); err != nil {
		return p.file.Locate(err)
	}
	p.edits, err = orgchange.Difference(have, want)
	return err
}

// readOrganisation reads an organisation whole.
func (a *app) readOrganisation(ctx context.Context, c *services, store string, consistency *remitv1.Consistency, withoutRecords bool) (*orgchange.State, error) {
	var state *orgchange.State
	request := &remitv1.StreamEntitiesRequest{Store: store, Consistency: consistency, WithoutRecords: withoutRecords}
	progress := newCount(a.stderr, "entities read")
	defer progress.done()
	err := a.following(ctx, 0, func(ctx context.Context, alive func()) error {
		state = orgchange.NewState()
		stream, err := c.organisations.StreamEntities(ctx, request)
		if err != nil {
			return err
		}
		defer func() { _ = stream.Close() }() // it has ended, or the context ends it
		for {
			message, err := stream.Receive()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			alive()
			for _, e := range message.GetEntities() {
				if err := state.Add(e); err != nil {
					return &finalError{fmt.Errorf("the server sent an entity that cannot be read: %w", err)}
				}
			}
			progress.at(len(state.Versions))
		}
	})
	return state, organisationError(store, err)
}

// What one request can hold: as many edits, and as many bytes.
const (
	maxPreviewEdits = 100_000
	maxRequestBytes = 7 << 20
)

// preview asks what the edits would do. Of what is too much for one question it is told
// here what is made, changed and deleted, and not who gains or loses.
func (p *planning) preview(ctx context.Context, withoutAccess bool) (*remitv1.ChangePlan, error) {
	if len(p.edits) == 0 {
		return &remitv1.ChangePlan{}, nil
	}
	request := &remitv1.PlanChangeRequest{Store: p.store, As: p.as, Samples: int32(p.samples), WithoutAccess: withoutAccess}
	for _, e := range p.edits {
		m, err := e.Message(p.state.Versions[e.Key()])
		if err != nil {
			return nil, err
		}
		request.Edits = append(request.Edits, m)
	}
	if len(request.GetEdits()) > maxPreviewEdits || proto.Size(request) > maxRequestBytes {
		if !withoutAccess {
			printLine(p.app.stderr, "remit: there is too much to work out who would gain and lose access")
		}
		return p.summary(), nil
	}
	var plan *remitv1.ChangePlan
	var progress *counting
	defer func() { progress.done() }()
	err := p.app.following(ctx, 0, func(ctx context.Context, alive func()) error {
		stream, err := p.client.organisations.PlanChange(ctx, request)
		if err != nil {
			return err
		}
		defer func() { _ = stream.Close() }() // it has ended, or the context ends it
		for {
			message, err := stream.Receive()
			switch {
			case errors.Is(err, io.EOF):
				return errors.New("the server ended the plan without saying what would be")
			case err != nil:
				return err
			}
			alive()
			if plan = message.GetPlan(); plan != nil {
				return nil
			}
			if at := message.GetProgress(); at != nil {
				if progress == nil || progress.what != at.GetWhat() {
					progress.done()
					progress = newCount(p.app.stderr, at.GetWhat())
				}
				progress.of(int(at.GetDone()), int(at.GetTotal()))
			}
		}
	})
	return plan, conflictAdvice(err)
}

// summary is a plan as far as it can be told without the server.
func (p *planning) summary() *remitv1.ChangePlan {
	plan := &remitv1.ChangePlan{}
	for _, e := range p.edits {
		change := &remitv1.EntityChange{Kind: remitv1.EntityChange_KIND_CHANGED}
		of := e.After
		switch {
		case e.Before == nil:
			change.Kind = remitv1.EntityChange_KIND_MADE
		case e.After == nil:
			change.Kind, of = remitv1.EntityChange_KIND_DELETED, e.Before
		}
		change.Entity = rpc.RefOf(of)
		plan.Entities = append(plan.Entities, change)
	}
	return plan
}

// conflictAdvice says what to do if somebody was faster.
func conflictAdvice(err error) error {
	if hasReason(err, remitv1.ErrorReason_ERROR_REASON_PRECONDITION_FAILED) {
		return &advised{err: err, advice: "somebody changed it meanwhile; run the command again to see what is left to do"}
	}
	return err
}

// tally counts what happens to entities, in words.
func tally(changes []*remitv1.EntityChange) string {
	counts := map[remitv1.EntityChange_Kind]int{}
	for _, c := range changes {
		counts[c.GetKind()]++
	}
	var parts []string
	for _, k := range []struct {
		kind remitv1.EntityChange_Kind
		word string
	}{
		{remitv1.EntityChange_KIND_MADE, "made"},
		{remitv1.EntityChange_KIND_CHANGED, "changed"},
		{remitv1.EntityChange_KIND_DELETED, "deleted"},
	} {
		if n := counts[k.kind]; n > 0 {
			parts = append(parts, thousands(n)+" "+k.word)
		}
	}
	if len(parts) == 0 {
		return "nothing to change"
	}
	return strings.Join(parts, ", ")
}

// show writes a plan for people.
func (p *planning) show(w io.Writer, plan *remitv1.ChangePlan) error {
	paint := colours(p.app.stdout)
	changes := plan.GetEntities()
	if len(changes) == 0 {
		printLine(w, tally(changes))
		return nil
	}
	shown := changes
	if p.entities > 0 && len(shown) > p.entities {
		shown = shown[:p.entities]
	}
	for _, c := range shown {
		mark := "~"
		switch c.GetKind() {
		case remitv1.EntityChange_KIND_MADE:
			mark = paint.good("+")
		case remitv1.EntityChange_KIND_DELETED:
			mark = paint.bad("-")
		}
		printf(w, "%s %s\n", mark, paint.bold(visible(refText(c.GetEntity()))))
		for _, d := range c.GetDifferences() {
			printf(w, "    %s\n", visible(d))
		}
	}
	if more := len(changes) - len(shown); more > 0 {
		printf(w, "… and %s more; see --limit\n", thousands(more))
	}
	printf(w, "\n%s", tally(changes))
	if tuples := plan.GetTuplesWritten() + plan.GetTuplesDeleted(); tuples > 0 {
		printf(w, "; %s written, %s deleted", counted(int(plan.GetTuplesWritten()), "tuple"), thousands(int(plan.GetTuplesDeleted())))
	}
	printLine(w, "")
	// Every entity has its document, beside its tuples.
	if int(plan.GetTuplesWritten()+plan.GetTuplesDeleted())+len(changes) > maxOperations {
		printLine(w, "that is too much for one change, so it is applied in steps")
	}
	if plan.GetToken() != "" && !p.withoutAccess {
		p.showAccess(w, paint, plan)
	}
	return nil
}

// showAccess writes who gains and loses.
func (p *planning) showAccess(w io.Writer, paint palette, plan *remitv1.ChangePlan) {
	gaining, losing := int(plan.GetUsersGaining()), int(plan.GetUsersLosing())
	if gaining+losing == 0 {
		printLine(w, "nobody gains or loses access to a record")
		return
	}
	printf(w, "users who gain access: %s; who lose access: %s\n", thousands(gaining), thousands(losing))
	for _, u := range plan.GetUsers() {
		name := u.GetUser()
		if u.GetName() != "" && u.GetName() != name {
			name += " (" + u.GetName() + ")"
		}
		printf(w, "\n  %s\n", paint.bold(visible(name)))
		for _, line := range accessLines(paint.good("gains"), u, (*remitv1.ModuleDifference).GetGained, (*remitv1.ModuleDifference).GetGainedSamples) {
			printLine(w, "    "+line)
		}
		for _, line := range accessLines(paint.bad("loses"), u, (*remitv1.ModuleDifference).GetLost, (*remitv1.ModuleDifference).GetLostSamples) {
			printLine(w, "    "+line)
		}
	}
	if more := max(gaining, losing) - len(plan.GetUsers()); more > 0 {
		printf(w, "\n… and at least %s more; see --samples\n", counted(more, "user"))
	}
}

// accessLines are what a user gains, or loses, actions that concern the same together.
func accessLines(verb string, u *remitv1.UserDifference, count func(*remitv1.ModuleDifference) *remitv1.Count, samples func(*remitv1.ModuleDifference) []string) []string {
	var of []string
	actions := map[string][]string{}
	for _, m := range u.GetModules() {
		if count(m).GetCount() == 0 {
			continue
		}
		text := countText(count(m), m.GetModule(), samples(m))
		if actions[text] == nil {
			of = append(of, text)
		}
		actions[text] = append(actions[text], m.GetAction())
	}
	for i, text := range of {
		of[i] = fmt.Sprintf("%s %s of %s", verb, strings.Join(actions[text], ", "), text)
	}
	return of
}

// countText is a number of records, and some of them.
func countText(c *remitv1.Count, module string, samples []string) string {
	text := thousands(int(c.GetCount())) + " " + module
	if c.GetCount() != 1 {
		text += " records"
	} else {
		text += " record"
	}
	if c.GetAtLeast() {
		text = "at least " + text
	}
	if len(samples) == 0 {
		return text
	}
	names := slices.Clone(samples)
	for i := range names {
		names[i] = visible(names[i])
	}
	if int(c.GetCount()) > len(names) {
		names = append(names, "…")
	}
	return text + ": " + strings.Join(names, ", ")
}

// refText names an entity as the file does, by its key in the graph.
func refText(r *remitv1.EntityRef) string {
	switch r.GetKind() {
	case remitv1.EntityKind_ENTITY_KIND_SETTINGS:
		return "organisation"
	case remitv1.EntityKind_ENTITY_KIND_SEAT:
		return "user:" + r.GetId()
	case remitv1.EntityKind_ENTITY_KIND_RECORD:
		return r.GetId()
	}
	return kindWord(r.GetKind()) + ":" + r.GetId()
}

// kindWord is a kind in a word: role.
func kindWord(kind remitv1.EntityKind) string {
	return strings.ToLower(strings.TrimPrefix(kind.String(), "ENTITY_KIND_"))
}
