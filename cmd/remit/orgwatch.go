package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/spf13/cobra"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// ownedPatience is how long a watch waits for a sign of life, of which there is one every
// quarter of a minute.
const ownedPatience = 45 * time.Second

func (a *app) orgWatchCommand() *cobra.Command {
	var by acting
	request := &remitv1.WatchOwnedRequest{}
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Tell owners what others do with their records, as it happens",
		Long: `Watch prints what others do with somebody's records, until it is interrupted: they are
changed, shared, given to somebody else, deleted. With -o json every line is a message of
the API. When it is interrupted, it prints the token with which another one goes on
without a gap.`,
		Example: "  remit org watch\n  remit org watch --user rob\n  remit org watch --as rob --from-token AQEA… -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.output != "table" && a.output != "json" && a.output != "" {
				return fmt.Errorf("--output %s is not for watch; it is table or json", a.output)
			}
			c, store, err := a.organisation(cmd.Context())
			if err != nil {
				return err
			}
			request.Store, request.As, request.User = store, by.as, seatID(request.GetUser())
			err = a.following(cmd.Context(), ownedPatience, func(ctx context.Context, alive func()) error {
				return a.watchOwned(ctx, c, request, alive)
			})
			if request.GetToken() != "" {
				printf(a.stderr, "remit: go on with --from-token %s\n", request.GetToken())
			}
			if a.wasInterrupted() {
				return nil
			}
			return organisationError(store, err)
		},
	}
	by.register(cmd)
	cmd.Flags().StringVar(&request.User, "user", "", "whose records (default: everybody's, or those of --as)")
	cmd.Flags().StringVar(&request.Token, "from-token", "", "go on behind this `token`, which an earlier watch has printed")
	return cmd
}

// watchOwned reads one stream of notices until it ends.
func (a *app) watchOwned(ctx context.Context, c *services, request *remitv1.WatchOwnedRequest, alive func()) error {
	stream, err := c.organisations.WatchOwned(ctx, request)
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
		for _, n := range message.GetNotices() {
			if err := a.printNotice(n); err != nil {
				return &finalError{err}
			}
		}
		request.Token = message.GetToken()
	}
}

// printNotice writes one line.
func (a *app) printNotice(n *remitv1.OwnerNotice) error {
	if a.output == "json" {
		plain, err := plainValue(n)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(a.stdout, jsonLine(plain))
		return err
	}
	_, err := fmt.Fprintf(a.stdout, "%s  to %s: %s\n", instantText(n.GetAt().AsTime().Truncate(time.Second)), visible(n.GetOwner()), visible(n.GetText()))
	return err
}

func (a *app) orgAssignCommand() *cobra.Command {
	var by acting
	order := ""
	request := &remitv1.AssignRequest{}
	cmd := &cobra.Command{
		Use:   "assign RECORD",
		Short: "Give a record to one of those who are available",
		Long: `Assign gives a record to one of some people: active, and on duty now. Among equals it is
whoever was given one the longest ago, or with --order least_loaded who owns the fewest.
The record must be there. Two calls at once never choose by the same turn.`,
		Example: `  remit org assign deal:orion --among group:emea --fallback sam
  remit org assign deal:orion --among role:rep,user:eve --order least_loaded --ignore-shifts`,
		Args: words(1, "RECORD"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(request.GetAmong()) == 0 {
				return errors.New("say among whom, with --among PARTY: group:emea, role:rep, user:ann, everyone")
			}
			number, err := enumNumber(request.GetOrder().Descriptor(), order)
			if err != nil {
				return fmt.Errorf("--order: %w", err)
			}
			c, store, err := a.organisation(cmd.Context())
			if err != nil {
				return err
			}
			request.Store, request.As, request.Record, request.Order = store, by.as, args[0], remitv1.AssignOrder(number)
			request.Fallback = seatID(request.GetFallback())
			request.IdempotencyKey, request.Reason = ulid.Make().String(), a.provenance.given()
			answer, err := call(cmd.Context(), a, c.organisations.Assign, request)
			if err != nil {
				return organisationError(store, err)
			}
			return a.print(answer, func(w io.Writer) error {
				note := ""
				if answer.GetFellBack() {
					note = ", for nobody else is available"
				}
				printf(w, "%s assigned to %s%s\n", visible(args[0]), visible(answer.GetOwner()), note)
				writeDropped(w, answer.GetDropped())
				return nil
			})
		},
	}
	flags := cmd.Flags()
	words := enumWords(request.GetOrder().Descriptor())
	flags.StringSliceVar(&request.Among, "among", nil, "the `parties` to choose from")
	flags.StringVar(&order, "order", "round_robin", "whose turn it is: "+strings.Join(words, ", "))
	flags.StringVar(&request.Fallback, "fallback", "", "the `user` who gets it if nobody is available (default: that is an error)")
	flags.BoolVar(&request.IgnoreShifts, "ignore-shifts", false, "do not ask who is on duty")
	complete(cmd, "order", words...)
	by.register(cmd)
	return cmd
}
