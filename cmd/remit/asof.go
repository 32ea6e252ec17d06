package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/token"
)

// asOfHelp says how a moment of the past is written.
const asOfHelp = `A moment is an instant (2026-03-03T22:00Z, or without a zone in the local one, as
2026-03-03 22:00 or 2026-03-03), a duration ago (90m, 7d), the number of a revision, or a
token.`

func (q *circumstance) registerAsOf(cmd *cobra.Command) { registerAsOf(cmd, &q.asOf) }

func registerAsOf(cmd *cobra.Command, asOf *string) {
	cmd.Flags().StringVar(asOf, "as-of", "", "ask what was known at this `moment` of the past: an instant, as 2026-03-03T22:00Z or\n\"2026-03-03 22:00\" (local time), a duration ago, as 7d, a revision, or a token")
}

// requirement is what --as-of says, or else --consistency.
func (a *app) requirement(asOf string) (*remitv1.Consistency, error) {
	if asOf == "" {
		return parseConsistency(a.consistency)
	}
	if a.consistency != "" {
		return nil, errors.New("--as-of names an exact state; it cannot be combined with --consistency")
	}
	c, err := parseMoment(asOf)
	if err != nil {
		return nil, fmt.Errorf("--as-of: %w", err)
	}
	return c, nil
}

// parseMoment reads an instant, a duration ago, a revision or a token.
func parseMoment(text string) (*remitv1.Consistency, error) {
	if text != "" && strings.Trim(text, "0123456789") == "" {
		revision, err := strconv.ParseUint(text, 10, 64)
		if err != nil || revision == 0 {
			return nil, fmt.Errorf("%s is no revision; they count from 1", text)
		}
		return &remitv1.Consistency{Requirement: &remitv1.Consistency_AtExactRevision{AtExactRevision: revision}}, nil
	}
	if instant, ok := parsePast(text); ok {
		return &remitv1.Consistency{Requirement: &remitv1.Consistency_AtExactTime{AtExactTime: timestamppb.New(instant)}}, nil
	}
	if _, err := token.Parse(text); err == nil {
		return &remitv1.Consistency{Requirement: &remitv1.Consistency_AtExactSnapshot{AtExactSnapshot: text}}, nil
	}
	return nil, fmt.Errorf("%q is no instant such as 2026-03-03T22:00Z or \"2026-03-03 22:00\", no duration such as 90m or 7d, no revision such as 1234, and no token", text)
}

// parsePast reads an instant, or how long ago it was.
func parsePast(text string) (time.Time, bool) {
	if instant, ok := parseMomentInstant(text); ok {
		return instant, true
	}
	ago := text
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			ago = fmt.Sprint(n*24, "h")
		}
	}
	if d, err := time.ParseDuration(ago); err == nil && d >= 0 {
		return time.Now().Add(-d), true
	}
	return time.Time{}, false
}

// parseMomentInstant reads an instant. Without a zone it is one of the machine's own: a
// moment of the past is asked about by people, who mean their own clocks.
func parseMomentInstant(text string) (time.Time, bool) {
	if t, err := parseInstant(text); err == nil {
		return t, true
	}
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}
