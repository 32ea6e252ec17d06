package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/graph"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// questionHelp says how a question is written on the command line.
const questionHelp = `The question is three words, as in "user:ann can_view deal:plan", or one:
deal:plan#can_view@user:ann.`

// parseQuestion reads SUBJECT RELATION OBJECT, or OBJECT#RELATION@SUBJECT.
func parseQuestion(args []string) (*remitv1.Question, error) {
	switch len(args) {
	case 1:
		t, err := graph.ParseTuple(args[0])
		if err != nil {
			return nil, fmt.Errorf("%w\n  write SUBJECT RELATION OBJECT, or OBJECT#RELATION@SUBJECT", err)
		}
		return &remitv1.Question{Object: t.Object.String(), Relation: t.Relation, Subject: t.Subject.String()}, nil
	case 3:
		return &remitv1.Question{Subject: args[0], Relation: args[1], Object: args[2]}, nil
	}
	return nil, errors.New("a question is SUBJECT RELATION OBJECT, or OBJECT#RELATION@SUBJECT")
}

// questionArgs accepts the arguments of parseQuestion.
func questionArgs(_ *cobra.Command, args []string) error {
	_, err := parseQuestion(args)
	return err
}

// A circumstance is the flags that queries share: at which instant, with which context
// and tuples, by which model.
type circumstance struct {
	at      string
	asOf    string
	context string
	with    []string
	model   string
}

func (q *circumstance) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&q.at, "at", "", "judge conditions, shifts and expiry at this `instant`, as 2026-03-29T22:00:00Z (default: now)")
	q.registerAsOf(cmd)
	flags.StringVar(&q.context, "context", "", "parameters of conditions, as a `JSON` object")
	flags.StringArrayVar(&q.with, "with", nil, "a `tuple` that counts for this question alone (may be repeated)")
	flags.StringVar(&q.model, "model", "", "judge by the model of this `id` (default: the newest)")
}

// scope builds what every query has in common.
func (a *app) scope(store string, q *circumstance) (*remitv1.Scope, error) {
	scope := &remitv1.Scope{Store: store, ModelId: q.model}
	var err error
	if scope.Consistency, err = a.requirement(q.asOf); err != nil {
		return nil, err
	}
	if q.at != "" {
		at, err := parseInstant(q.at)
		if err != nil {
			return nil, fmt.Errorf("--at: %w", err)
		}
		scope.At = timestamppb.New(at)
	}
	if scope.Context, err = parseContext(q.context); err != nil {
		return nil, err
	}
	for _, text := range q.with {
		t, err := graph.ParseTuple(text)
		if err != nil {
			return nil, fmt.Errorf("--with: %w", err)
		}
		message, err := tupleMessage(t)
		if err != nil {
			return nil, err
		}
		scope.ContextualTuples = append(scope.ContextualTuples, message)
	}
	return scope, nil
}

// parseInstant reads an instant with its zone: without one it would mean another moment
// on another machine.
func parseInstant(text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04Z07:00", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04Z07:00"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no instant; write it with its zone, as 2026-03-29T22:00:00Z or 2026-03-29T22:00:00+02:00", text)
}

func parseContext(text string) (*structpb.Struct, error) {
	if text == "" {
		return nil, nil
	}
	var fields map[string]any
	if err := json.Unmarshal([]byte(text), &fields); err != nil {
		return nil, fmt.Errorf(`--context: %q is no JSON object such as {"ip": "10.0.0.1"}: %w`, text, err)
	}
	s, err := structpb.NewStruct(fields)
	if err != nil {
		return nil, fmt.Errorf("--context: %w", err)
	}
	return s, nil
}

func parseConsistency(text string) (*remitv1.Consistency, error) {
	kind, value, _ := strings.Cut(text, "=")
	wrong := fmt.Errorf("--consistency %q is none of minimize_latency, fully_consistent, at_least_as_fresh=TOKEN, at_exact_snapshot=TOKEN and at_exact_time=INSTANT", text)
	if text == "" {
		return nil, nil
	}
	if named := strings.HasPrefix(kind, "at_"); named != (value != "") {
		return nil, wrong
	}
	switch kind {
	case "minimize_latency":
		return &remitv1.Consistency{Requirement: &remitv1.Consistency_MinimizeLatency{MinimizeLatency: true}}, nil
	case "fully_consistent":
		return &remitv1.Consistency{Requirement: &remitv1.Consistency_FullyConsistent{FullyConsistent: true}}, nil
	case "at_least_as_fresh":
		return &remitv1.Consistency{Requirement: &remitv1.Consistency_AtLeastAsFresh{AtLeastAsFresh: value}}, nil
	case "at_exact_snapshot":
		return &remitv1.Consistency{Requirement: &remitv1.Consistency_AtExactSnapshot{AtExactSnapshot: value}}, nil
	case "at_exact_time":
		instant, err := parseInstant(value)
		if err != nil {
			return nil, fmt.Errorf("--consistency: %w", err)
		}
		return &remitv1.Consistency{Requirement: &remitv1.Consistency_AtExactTime{AtExactTime: timestamppb.New(instant)}}, nil
	}
	return nil, wrong
}

// ask prepares a command that queries one store.
func (a *app) ask(cmd *cobra.Command, q *circumstance) (*services, *remitv1.Scope, error) {
	if err := a.checkOutput(); err != nil {
		return nil, nil, err
	}
	scope, err := a.scope("", q) // what is wrong on the command line is told before a call
	if err != nil {
		return nil, nil, err
	}
	c, err := a.client()
	if err != nil {
		return nil, nil, err
	}
	scope.Store, err = a.storeName(cmd.Context(), c)
	return c, scope, err
}

// allowedText is an answer in a word.
func allowedText(w io.Writer, allowed bool) string {
	if allowed {
		return colours(w).good("allowed")
	}
	return colours(w).bad("denied")
}
