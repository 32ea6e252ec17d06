package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

func (a *app) deleteCommand() *cobra.Command {
	var f writing
	d := &deleting{app: a}
	cmd := &cobra.Command{
		Use:   "delete [TUPLE...]",
		Short: "Delete tuples, or all that match a filter",
		Long: `Delete removes tuples, all at once or none, whatever their condition. One that does
not exist is as good as deleted.

With a filter, which is that of read, it removes all that match, however many: it shows
how many that are and some of them, asks, and deletes step by step while others go on
writing. What is written after it has shown them stays. If it is interrupted, the same
command does the rest. Where nobody can be asked, --preview shows, and --yes together
with --expect N deletes, unless more than N match.`,
		Example: `  remit delete deal:plan#owner@user:ann
  remit delete --file leavers.csv --reason "left the company"
  remit delete --subject user:ann --reason "left the company"
  remit delete --object deal --relation viewer --preview
  remit delete --object deal --relation viewer --yes --expect 1200`,
		GroupID: groupChange,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !d.filtered(cmd) {
				return a.write(cmd, args, &f, remitv1.Operation_KIND_DELETE, func(*remitv1.Tuple) error { return nil })
			}
			if len(args) > 0 || cmd.Flags().Changed("file") {
				return errors.New("give tuples or a filter, not both")
			}
			for _, name := range []string{"format", "key", "if-present", "if-absent"} {
				if cmd.Flags().Changed(name) {
					return fmt.Errorf("--%s is for tuples that are named, not for a filter", name)
				}
			}
			d.request.Reason = f.reason
			return d.run(cmd)
		},
	}
	f.register(cmd)
	d.register(cmd)
	return cmd
}

// A deleting is the deletion of what matches a filter.
type deleting struct {
	app     *app
	request remitv1.DeleteTuplesRequest
	filter  remitv1.TupleFilter
	sure    bool
	expect  uint64

	client *services
	before uint64 // what streams that broke off have deleted
	last   *remitv1.DeleteTuplesResponse
}

func (d *deleting) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	registerFilter(cmd, &d.filter)
	flags.BoolVar(&d.request.Everything, "all", false, "every tuple of the store")
	flags.BoolVar(&d.request.Preview, "preview", false, "only show what the filter matches")
	flags.BoolVarP(&d.sure, "yes", "y", false, "do not ask; needs --expect")
	flags.Uint64Var(&d.expect, "expect", 0, "delete nothing if more than this `number` match the filter")
}

// filtered reports whether what to delete is given by a filter.
func (d *deleting) filtered(cmd *cobra.Command) bool {
	for _, name := range []string{"object", "relation", "subject", "all", "preview", "yes", "expect"} {
		if cmd.Flags().Changed(name) {
			return true
		}
	}
	return false
}

func (d *deleting) run(cmd *cobra.Command) error {
	if err := d.app.checkOutput(); err != nil {
		return err
	}
	empty := proto.Size(&d.filter) == 0
	switch expects := cmd.Flags().Changed("expect"); {
	case empty && !d.request.Everything:
		return errors.New("that would delete every tuple of the store; narrow it down with --object, --relation or --subject, or say --all")
	case !empty && d.request.Everything:
		return errors.New("--all is every tuple; leave it out, or the filter")
	case d.request.Preview && (d.sure || expects):
		return errors.New("--preview deletes nothing, so it goes without --yes and --expect")
	case d.sure && !expects:
		return errors.New("--yes needs --expect NUMBER, so that no more goes than you know of; --preview counts")
	}
	var err error
	if d.client, err = d.app.client(); err != nil {
		return err
	}
	if d.request.Store, err = d.app.storeName(cmd.Context(), d.client); err != nil {
		return err
	}
	d.request.Filter = &d.filter
	if d.request.Preview {
		seen, err := d.preview(cmd.Context())
		if err != nil {
			return err
		}
		return d.app.print(seen, func(w io.Writer) error { return d.show(w, seen) })
	}
	return d.confirmed(cmd.Context(), cmd.Flags().Changed("expect"))
}

// confirmed shows what would go, asks, and deletes it.
func (d *deleting) confirmed(ctx context.Context, expects bool) error {
	seen, err := d.preview(ctx)
	if err != nil {
		return err
	}
	matched := counted(int(seen.GetMatched()), "tuple")
	if expects && seen.GetMatched() > d.expect {
		return fmt.Errorf("the filter matches %s, more than the %s expected; nothing was deleted", matched, thousands(int(d.expect)))
	}
	if !d.sure && seen.GetMatched() > 0 {
		if err := d.show(d.app.stderr, seen); err != nil {
			return err
		}
		if !isTerminal(d.app.stdin) {
			return fmt.Errorf("there is nobody to ask; confirm with --yes --expect %d", seen.GetMatched())
		}
		if err := d.app.confirm("Delete "+matched+"?", "nothing was deleted"); err != nil {
			return err
		}
	}
	d.request.ExpectedCount, d.request.Token = &seen.Matched, seen.GetToken()
	progress := newProgress(d.app.stderr, int(seen.GetMatched()), "tuples deleted")
	err = d.app.following(ctx, 0, func(ctx context.Context, alive func()) error {
		d.before += d.last.GetDeleted()
		d.last = nil
		return d.receive(ctx, func() {
			alive()
			progress.at(int(d.before + d.last.GetDeleted()))
		})
	})
	progress.done()
	done := d.before + d.last.GetDeleted()
	if err != nil && d.app.wasInterrupted() {
		printf(d.app.stderr, "remit: interrupted; %s of %s were deleted, the same command deletes the rest\n", thousands(int(done)), matched)
		return errTold
	}
	if err != nil && done > 0 {
		return &partialError{done: counted(int(done), "tuple") + " of " + thousands(int(seen.GetMatched())) + " were deleted; the same command deletes the rest", err: err}
	}
	if err != nil {
		return err
	}
	d.last.Matched, d.last.Deleted, d.last.Gone = seen.GetMatched(), done, seen.GetMatched()-done
	return d.app.print(d.last, func(w io.Writer) error {
		printf(w, "%s deleted", counted(int(done), "tuple"))
		if n := d.last.GetGone(); n > 0 {
			printf(w, ", %s had gone by then", thousands(int(n)))
		}
		if n := d.last.GetNewer(); n > 0 {
			printf(w, ", %s written meanwhile stay", thousands(int(n)))
		}
		_, err := fmt.Fprintln(w)
		return err
	})
}

// preview asks what the filter matches.
func (d *deleting) preview(ctx context.Context) (*remitv1.DeleteTuplesResponse, error) {
	request := proto.CloneOf(&d.request)
	request.Preview = true
	var seen *remitv1.DeleteTuplesResponse
	err := d.app.following(ctx, 0, func(ctx context.Context, _ func()) error {
		stream, err := d.client.tuples.DeleteTuples(ctx, request)
		if err != nil {
			return err
		}
		defer func() { _ = stream.Close() }() // it has one message
		seen, err = stream.Receive()
		return err
	})
	return seen, err
}

// show writes what a preview has found.
func (d *deleting) show(w io.Writer, seen *remitv1.DeleteTuplesResponse) error {
	if err := writeTuples(w, seen.GetSample()); err != nil {
		return err
	}
	more := int(seen.GetMatched()) - len(seen.GetSample())
	if more > 0 && len(seen.GetSample()) > 0 {
		printf(w, "and %s more: ", thousands(more))
	}
	verb := "match"
	if seen.GetMatched() == 1 {
		verb = "matches"
	}
	_, err := fmt.Fprintf(w, "%s %s\n", counted(int(seen.GetMatched()), "tuple"), verb)
	return err
}

// receive reads one stream to its end.
func (d *deleting) receive(ctx context.Context, came func()) error {
	stream, err := d.client.tuples.DeleteTuples(ctx, &d.request)
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }() // it has ended, or the context ends it
	for {
		res, err := stream.Receive()
		switch {
		case errors.Is(err, io.EOF):
			return errors.New("the server ended the deletion without saying that it is done")
		case err != nil:
			return err
		}
		d.last = res
		came()
		if res.GetDone() {
			return nil
		}
	}
}
