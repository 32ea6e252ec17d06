package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/remit-authz/remit/cmd/remit/storefile"
	"github.com/remit-authz/remit/graph"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// maxOperations is the server's limit for one write.
const maxOperations = 10_000

// A writing is the flags that write and delete share.
type writing struct {
	file    string
	format  string
	reason  string
	key     string
	present []string
	absent  []string
}

func (f *writing) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&f.file, "file", "f", "", "read tuples from a `file`: .yaml, .json, .jsonl or .csv; - is standard input")
	flags.StringVar(&f.format, "format", "", "the `format` of the file, if its name does not tell: yaml, json, jsonl or csv")
	flags.StringVar(&f.reason, "reason", "", "why, for the audit `trail`")
	flags.StringVar(&f.key, "key", "", "idempotency `key`: a second write with the same key and content does nothing")
	flags.StringArrayVar(&f.present, "if-present", nil, "only if this `tuple` is present (may be repeated)")
	flags.StringArrayVar(&f.absent, "if-absent", nil, "only if this `tuple` is absent (may be repeated)")
	complete(cmd, "format", "yaml", "json", "jsonl", "csv")
}

func (a *app) writeCommand() *cobra.Command {
	var f writing
	var create bool
	var condition, conditionContext, until string
	cmd := &cobra.Command{
		Use:   "write TUPLE...",
		Short: "Write tuples",
		Long: `Write adds tuples, all at once or none; a tuple that exists already gets the
condition and expiry given now. A tuple is OBJECT#RELATION@SUBJECT, or the three words
SUBJECT RELATION OBJECT.

A file of more than 10,000 tuples is written in several steps.`,
		Example: `  remit write deal:plan#owner@user:ann
  remit write user:ann owner deal:plan
  remit write group:sales#member@user:bob --until 2026-12-31T23:59:59Z
  remit write report:q3#viewer@user:ann --condition from_office --context '{"net": "10.0.0.0/8"}'
  remit write --file tuples.csv
  remit write deal:plan#owner@user:bob --if-absent deal:plan#owner@user:ann`,
		GroupID: groupChange,
		RunE: func(cmd *cobra.Command, args []string) error {
			kind := remitv1.Operation_KIND_TOUCH
			if create {
				kind = remitv1.Operation_KIND_CREATE
			}
			return a.write(cmd, args, &f, kind, func(t *remitv1.Tuple) error {
				return decorate(t, condition, conditionContext, until)
			})
		},
	}
	f.register(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&create, "create", false, "refuse if one of the tuples exists")
	flags.StringVar(&condition, "condition", "", "the `name` of the condition under which the tuples count")
	flags.StringVar(&conditionContext, "context", "", "parameters stored for the condition, as a `JSON` object")
	flags.StringVar(&until, "until", "", "the `instant` from which the tuples no longer count")
	return cmd
}

// decorate adds what the flags say to a tuple.
func decorate(t *remitv1.Tuple, condition, conditionContext, until string) error {
	if conditionContext != "" && condition == "" {
		return errors.New("--context needs --condition: it is stored for a condition")
	}
	if condition != "" {
		fields, err := parseContext(conditionContext)
		if err != nil {
			return err
		}
		t.Condition = &remitv1.Condition{Name: condition, Context: fields}
	}
	if until != "" {
		instant, err := parseInstant(until)
		if err != nil {
			return fmt.Errorf("--until: %w", err)
		}
		timestamp, err := tupleMessage(graph.Tuple{Expires: instant})
		if err != nil {
			return err
		}
		t.ExpiresAt = timestamp.ExpiresAt
	}
	return nil
}

func (a *app) write(cmd *cobra.Command, args []string, f *writing, kind remitv1.Operation_Kind, change func(*remitv1.Tuple) error) error {
	if err := a.checkOutput(); err != nil {
		return err
	}
	tuples, err := a.tuplesToWrite(args, f)
	if err != nil {
		return err
	}
	operations := make([]*remitv1.Operation, 0, len(tuples))
	for _, t := range tuples {
		message, err := tupleMessage(t)
		if err != nil {
			return err
		}
		if err := change(message); err != nil {
			return err
		}
		operations = append(operations, &remitv1.Operation{Kind: kind, Tuple: message})
	}
	preconditions, err := f.preconditions()
	if err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	store, err := a.storeName(cmd.Context(), c)
	if err != nil {
		return err
	}
	w := &batchWriter{app: a, client: c, store: store, reason: f.reason, key: f.key, preconditions: preconditions}
	verb := "written"
	if kind == remitv1.Operation_KIND_DELETE {
		verb = "deleted"
	}
	answer, err := w.write(cmd.Context(), operations, verb)
	if err != nil {
		return err
	}
	return a.print(answer, func(out io.Writer) error {
		_, err := fmt.Fprintf(out, "%s %s\n", counted(len(operations), "tuple"), verb)
		return err
	})
}

func (f *writing) preconditions() ([]*remitv1.Precondition, error) {
	var all []*remitv1.Precondition
	add := func(flag string, kind remitv1.Precondition_Kind, texts []string) error {
		for _, text := range texts {
			t, err := graph.ParseTuple(text)
			if err != nil {
				return fmt.Errorf("--%s: %w", flag, err)
			}
			message, err := tupleMessage(t)
			if err != nil {
				return err
			}
			all = append(all, &remitv1.Precondition{Kind: kind, Tuple: message})
		}
		return nil
	}
	if err := add("if-present", remitv1.Precondition_KIND_TUPLE_PRESENT, f.present); err != nil {
		return nil, err
	}
	return all, add("if-absent", remitv1.Precondition_KIND_TUPLE_ABSENT, f.absent)
}

// tuplesToWrite reads the tuples of the arguments and of the file.
func (a *app) tuplesToWrite(args []string, f *writing) ([]graph.Tuple, error) {
	tuples, err := parseTuples(args)
	if err != nil {
		return nil, err
	}
	if f.file != "" {
		placed, warnings, err := a.tupleFile(f.file, f.format)
		if err != nil {
			return nil, err
		}
		a.warn(warnings)
		for _, t := range placed {
			tuples = append(tuples, t.Tuple)
		}
	}
	if len(tuples) == 0 {
		return nil, errors.New("no tuples; give OBJECT#RELATION@SUBJECT, or --file")
	}
	return tuples, nil
}

// tupleFile reads a tuple file, or standard input.
func (a *app) tupleFile(name, format string) ([]storefile.Tuple, []storefile.Fault, error) {
	extension := filepath.Ext(name)
	if format != "" {
		extension = "." + strings.TrimPrefix(format, ".")
	}
	if name != "-" {
		if format == "" {
			return storefile.ReadTuples(name)
		}
		data, err := readInput(name, a.stdin)
		if err != nil {
			return nil, nil, err
		}
		return storefile.ParseTuples(name, extension, data)
	}
	if format == "" {
		extension = ".yaml" // reads JSON too
	}
	data, err := io.ReadAll(a.stdin)
	if err != nil {
		return nil, nil, err
	}
	return storefile.ParseTuples("standard input", extension, data)
}

// parseTuples reads tuples from arguments: each OBJECT#RELATION@SUBJECT, or three that
// are SUBJECT RELATION OBJECT. A relation has no colon, and a tuple has two.
func parseTuples(args []string) ([]graph.Tuple, error) {
	if len(args) == 3 && !strings.Contains(args[1], ":") {
		object, err := graph.ParseObject(args[2])
		if err != nil {
			return nil, err
		}
		subject, err := graph.ParseSubject(args[0])
		if err != nil {
			return nil, err
		}
		return []graph.Tuple{{Object: object, Relation: args[1], Subject: subject}}, nil
	}
	var tuples []graph.Tuple
	for _, arg := range args {
		t, err := graph.ParseTuple(arg)
		if err != nil {
			return nil, err
		}
		tuples = append(tuples, t)
	}
	return tuples, nil
}

// warn prints what was read and has no effect.
func (a *app) warn(warnings []storefile.Fault) {
	for i, w := range warnings {
		if i == 10 {
			printf(a.stderr, "and %s\n", counted(len(warnings)-i, "more warning"))
			return
		}
		printf(a.stderr, "%s: warning: %s\n", w.Place, w.Message)
	}
}

// A batchWriter writes any number of operations in steps that the server accepts.
type batchWriter struct {
	app           *app
	client        *services
	store         string
	reason        string
	key           string // of each step, with its number behind it; may be empty
	preconditions []*remitv1.Precondition
}

// maxStepBytes keeps a step below the server's limit for one command, 4 MiB, with room
// for its own encoding.
const maxStepBytes = 3 << 20

// write writes the operations and reports progress if there are several steps. With
// a key, a failed write can be repeated: the steps done already do nothing again.
func (w *batchWriter) write(ctx context.Context, operations []*remitv1.Operation, verb string) (*remitv1.WriteResponse, error) {
	progress := newProgress(w.app.stderr, len(operations), "tuples "+verb)
	defer progress.done()
	answer := &remitv1.WriteResponse{}
	for step, done := 0, 0; done < len(operations); step++ {
		n, size := 0, 0
		for n < maxOperations && done+n < len(operations) {
			size += sizeOf(operations[done+n])
			if n > 0 && size > maxStepBytes {
				break
			}
			n++
		}
		request := &remitv1.WriteRequest{
			Store: w.store, Operations: operations[done : done+n],
			Preconditions: w.preconditions, Reason: w.reason,
		}
		if w.key != "" {
			request.IdempotencyKey = w.key
			if step > 0 || done+n < len(operations) {
				request.IdempotencyKey = fmt.Sprintf("%s/%d", w.key, step)
			}
		}
		w.app.operations = request.GetOperations()
		var err error
		if w.key != "" {
			answer, err = call(ctx, w.app, w.client.tuples.Write, request)
		} else {
			answer, err = call(ctx, w.app, w.client.tuples.Write, request)
		}
		if err != nil && done > 0 {
			return nil, &partialError{done: counted(done, "tuple") + " were " + verb, err: err}
		}
		if err != nil {
			return nil, err
		}
		done += n
		progress.at(done)
	}
	return answer, nil
}
