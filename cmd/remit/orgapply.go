package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/oklog/ulid/v2"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/remit-authz/remit/cmd/remit/orgchange"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// stepEdits is how many edits a step has where one change cannot hold all: some thousand
// operations, as a rule. One that is still too large is halved, and then they grow again.
const stepEdits = 1000

// An applied is what an apply has done.
type applied struct {
	Made    int    `json:"made"`
	Changed int    `json:"changed"`
	Deleted int    `json:"deleted"`
	Tuples  int64  `json:"tuples"`
	Steps   int    `json:"steps"`
	Token   string `json:"token"`
}

func (a *app) orgApplyCommand() *cobra.Command {
	p := &planning{app: a}
	var sure, create bool
	cmd := &cobra.Command{
		Use:   "apply FILE",
		Short: "Change an organisation into what a file says",
		Long: `Apply shows what a file would change, as plan does, asks, and does it. With --yes it
does not ask, nor work out who gains and loses access.

` + planHelp + `

Everything is changed at once or not at all, up to 10,000 tuples and entities. What is
larger is done in steps, what is referred to first and deletions last; after each of them
the organisation is whole. If it is interrupted, the same command does the rest. What
somebody else has changed meanwhile is not overwritten: it says which entity that is.

With --create it makes the organisation first, in a store of the organisation's name or of
the name that --store gives, unless it is there.`,
		Example: `  remit org apply acme.org.yaml
  remit org apply acme.org.yaml --yes --reason "the new sales region"
  remit org apply acme.org.yaml --create --yes`,
		Args: words(1, "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := p.begin(cmd.Context(), args[0], create); err != nil {
				return err
			}
			if len(p.edits) == 0 {
				return a.printApplied(&applied{})
			}
			if !sure {
				plan, err := p.preview(cmd.Context(), p.withoutAccess)
				if err != nil {
					return err
				}
				if err := p.show(a.stderr, plan); err != nil {
					return err
				}
				if err := a.confirm("Apply this?", "nothing was applied"); err != nil {
					return err
				}
			}
			done, err := p.apply(cmd.Context())
			if err != nil {
				return err
			}
			return a.printApplied(done)
		},
	}
	p.register(cmd)
	cmd.Flags().BoolVarP(&sure, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&create, "create", false, "make the organisation if it is not there")
	return cmd
}

func (a *app) printApplied(d *applied) error {
	return a.print(d, func(w io.Writer) error {
		if d.Steps == 0 {
			_, err := fmt.Fprintln(w, "nothing to change")
			return err
		}
		in := "in one change"
		if d.Steps > 1 {
			in = "in " + counted(d.Steps, "change")
		}
		_, err := fmt.Fprintf(w, "applied: %s made, %s changed, %s deleted, %s written or deleted %s\n",
			thousands(d.Made), thousands(d.Changed), thousands(d.Deleted), counted(int(d.Tuples), "tuple"), in)
		return err
	})
}

// apply carries the edits out: all at once, or step by step if that is too much.
func (p *planning) apply(ctx context.Context) (*applied, error) {
	done := &applied{}
	for _, e := range p.edits {
		switch {
		case e.Before == nil:
			done.Made++
		case e.After == nil:
			done.Deleted++
		default:
			done.Changed++
		}
	}
	key := ulid.Make().String()
	if len(p.edits) <= maxOperations {
		err := p.change(ctx, p.edits, key, done)
		if !tooLarge(err) {
			return done, conflictAdvice(err)
		}
	}
	return done, p.steps(ctx, key, done)
}

// steps carries the edits out some at a time.
func (p *planning) steps(ctx context.Context, key string, done *applied) error {
	groups := orgchange.Stepwise(p.edits)
	total := 0
	for _, g := range groups {
		total += len(g)
	}
	progress := newLong(p.app.stderr, total, "edits applied")
	size, at := stepEdits, 0
	var err error
	for len(groups) > 0 && err == nil {
		step, n := groups[0], 1
		for n < len(groups) && len(step)+len(groups[n]) <= size {
			step = append(step[:len(step):len(step)], groups[n]...)
			n++
		}
		err = p.change(ctx, step, fmt.Sprintf("%s-%d-%d", key, at, len(step)), done)
		switch {
		case err == nil:
			groups = groups[n:]
			at += len(step)
			progress.at(at)
			size = min(2*size, stepEdits)
		case len(step) > 1 && tooLarge(err):
			err = nil
			size = len(step) / 2
			if n == 1 { // it has to be divided
				groups = append([][]orgchange.Edit{step[:size], step[size:]}, groups[1:]...)
			}
		case tooLarge(err):
			if first, rest, ok := orgchange.Parts(step[0]); ok {
				err = nil
				total++
				progress.total = total
				groups = append([][]orgchange.Edit{{first}, {rest}}, groups[1:]...)
			}
		}
	}
	progress.done()
	switch {
	case err == nil:
		return nil
	case p.app.wasInterrupted():
		printf(p.app.stderr, "remit: interrupted; %s of %s edits were applied, the same command applies the rest\n", thousands(at), thousands(total))
		return errTold
	case at == 0:
		return conflictAdvice(err)
	}
	return &partialError{done: thousands(at) + " of " + thousands(total) + " edits were applied; the same command applies the rest", err: conflictAdvice(err)}
}

// errTooLarge says that a request would be too large to be sent.
var errTooLarge = errors.New("too large for one request")

// tooLarge reports whether fewer edits at a time may do.
func tooLarge(err error) bool {
	return errors.Is(err, errTooLarge) || hasReason(err, remitv1.ErrorReason_ERROR_REASON_TOO_LARGE)
}

// change carries some edits out at once.
func (p *planning) change(ctx context.Context, edits []orgchange.Edit, key string, done *applied) error {
	request := &remitv1.ChangeRequest{Store: p.store, As: p.as, IdempotencyKey: key, Reason: p.app.provenance.given()}
	for _, e := range edits {
		m, err := e.Message(p.state.Versions[e.Key()])
		if err != nil {
			return err
		}
		request.Edits = append(request.Edits, m)
	}
	if proto.Size(request) > maxRequestBytes && len(edits) > 1 {
		return errTooLarge
	}
	answer, err := call(ctx, p.app, p.client.organisations.Change, request)
	if err != nil {
		return err
	}
	for i, version := range answer.GetVersions() {
		if version > 0 {
			p.state.Versions[edits[i].Key()] = version
		}
	}
	done.Tuples += answer.GetTuples()
	done.Steps++
	done.Token = answer.GetToken()
	return nil
}
