package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

func (a *app) storeGetCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "get STORE",
		Short: "Show a store, and since when its past can be asked about",
		Long: `Get shows a store's id and size, for how long its past is kept, and the earliest
moment that a query may name with --as-of.`,
		Example:           "  remit store get shop\n  remit store get shop -o json",
		Args:              words(1, "STORE"),
		ValidArgsFunction: a.storeCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.checkOutput(); err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			answer, err := call(cmd.Context(), a, c.stores.GetStore, &remitv1.GetStoreRequest{Store: args[0]})
			if err != nil {
				return err
			}
			return a.print(answer, func(w io.Writer) error { return writeStore(w, answer.GetStore()) })
		},
	}
}

func writeStore(w io.Writer, s *remitv1.Store) error {
	return columns(w, func(w io.Writer) {
		printf(w, "name\t%s\n", visible(s.GetName()))
		printf(w, "id\t%s\n", s.GetId())
		printf(w, "created\t%s\n", instantText(s.GetCreatedAt().AsTime()))
		printf(w, "tuples\t%s\n", thousands(int(s.GetTupleCount())))
		printf(w, "retention\t%s\n", retentionText(s.GetRetention()))
		printf(w, "earliest\t%s, revision %d\n", instantText(s.GetEarliestAt().AsTime()), s.GetEarliestRevision())
		if s.GetManaged() {
			printLine(w, "managed\tyes; change it with remit org")
		}
	})
}

func (a *app) storeSetRetentionCommand() *cobra.Command {
	var sure bool
	cmd := &cobra.Command{
		Use:   "set-retention STORE PERIOD",
		Short: "Say for how long a store's past is kept",
		Long: `Set-retention says for how long what was replaced or removed can still be asked about:
a period such as 90d, 36h or 90m, or "forever". A new store has 30d.

A shorter retention gives up what is older within minutes, and that does not come back;
so it asks first, or wants --yes where nobody can be asked.`,
		Example: `  remit store set-retention shop 90d
  remit store set-retention shop forever
  remit store set-retention shop 24h --yes`,
		Args:              words(2, "STORE PERIOD"),
		ValidArgsFunction: a.storeCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.checkOutput(); err != nil {
				return err
			}
			retention, err := parseRetention(args[1])
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			found, err := call(cmd.Context(), a, c.stores.GetStore, &remitv1.GetStoreRequest{Store: args[0]})
			if err != nil {
				return err
			}
			s := found.GetStore()
			if !sure && shorter(retention, s.GetRetention()) {
				question := fmt.Sprintf("Give up what store %s (%s) keeps beyond %s (now %s)?", visible(s.GetName()), s.GetId(), retentionText(retention), retentionText(s.GetRetention()))
				if err := a.confirm(question, "nothing was changed"); err != nil {
					return err
				}
			}
			answer, err := call(cmd.Context(), a, c.stores.SetRetention, &remitv1.SetRetentionRequest{Store: s.GetId(), Retention: retention})
			if err != nil {
				return err
			}
			return a.print(answer, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "store %s keeps its past: %s\n", visible(answer.GetStore().GetName()), retentionText(answer.GetStore().GetRetention()))
				return err
			})
		},
	}
	cmd.Flags().BoolVarP(&sure, "yes", "y", false, "do not ask")
	return cmd
}

// shorter reports whether a retention keeps less than another.
func shorter(a, b *remitv1.Retention) bool {
	switch {
	case a.GetForever():
		return false
	case b.GetForever():
		return true
	}
	x, y := a.GetPeriod(), b.GetPeriod()
	return x.GetSeconds() < y.GetSeconds() || x.GetSeconds() == y.GetSeconds() && x.GetNanos() < y.GetNanos()
}

const secondsPerDay = 24 * 60 * 60

// parseRetention reads 90d, 36h, 1h30m or forever.
func parseRetention(text string) (*remitv1.Retention, error) {
	if text == "forever" {
		return &remitv1.Retention{Kind: &remitv1.Retention_Forever{Forever: true}}, nil
	}
	period := &durationpb.Duration{}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return nil, retentionFault(text)
		}
		period.Seconds = int64(n) * secondsPerDay
	} else {
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 {
			return nil, retentionFault(text)
		}
		period = durationpb.New(d)
	}
	return &remitv1.Retention{Kind: &remitv1.Retention_Period{Period: period}}, nil
}

func retentionFault(text string) error {
	return fmt.Errorf("%q is no period; write it as 90d, 36h or 1h30m, or forever", text)
}

func retentionText(r *remitv1.Retention) string {
	switch period := r.GetPeriod(); {
	case r.GetForever():
		return "forever"
	case period.GetNanos() == 0 && period.GetSeconds()%secondsPerDay == 0:
		return fmt.Sprintf("%dd", period.GetSeconds()/secondsPerDay)
	default:
		return period.AsDuration().String()
	}
}
