package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/rpc/client"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// A watching is one watch: what the flags say, and how far it is.
type watching struct {
	app       *app
	client    *services
	request   *remitv1.WatchRequest
	from      string
	every     bool // all stores
	filter    remitv1.TupleFilter
	heartbeat time.Duration
	paint     palette
}

func (a *app) watchCommand() *cobra.Command {
	w := &watching{app: a, request: &remitv1.WatchRequest{}}
	cmd := &cobra.Command{
		Use:   "watch [STORE...]",
		Short: "Follow changes as they happen",
		Long: `Watch prints what changes in one store, in several or in all, until it is interrupted.
A line has the time, what happened and the tuple: + for one that was put, - for one that
was deleted, ~ for one that has expired, = for one of a snapshot. With -o json every line
is a message of the API; each says where to go on.

--from says where to begin: now, snapshot (all tuples as they are, then what changes),
earliest (the oldest changes that are kept), an instant, token=TOKEN (behind the write
that returned it) or resume=POINT. When it is interrupted, watch prints the point at
which another one goes on without a gap and without anything twice.`,
		Example: `  remit watch
  remit watch shop --from snapshot
  remit watch shop --object deal --relation owner
  remit watch --all --from 2026-03-03T22:00:00Z -o json
  remit watch shop --from resume=AQYA…`,
		GroupID:           groupAsk,
		ValidArgsFunction: a.storeCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if a.output != "table" && a.output != "json" && a.output != "" {
				return fmt.Errorf("--output %s is not for watch; it is table or json", a.output)
			}
			if w.every && len(args) > 0 {
				return errors.New("--all watches every store; name none")
			}
			if w.filter.Object != "" || w.filter.Relation != "" || w.filter.Subject != "" {
				w.request.Filters = []*remitv1.TupleFilter{&w.filter}
			}
			if w.heartbeat > 0 {
				w.request.Heartbeat = durationpb.New(w.heartbeat)
			}
			if err := w.begin(); err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			w.client = c
			if w.request.Stores = args; len(args) == 0 && !w.every {
				store, err := a.storeName(cmd.Context(), c)
				if err != nil {
					return err
				}
				w.request.Stores = []string{store}
			}
			return w.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&w.from, "from", "now", "where to `begin`: now, snapshot, earliest, an instant, token=TOKEN or resume=POINT")
	flags.BoolVar(&w.every, "all", false, "watch every store, those made later included")
	flags.StringVar(&w.filter.Object, "object", "", "only tuples of a `type`, or of an object TYPE:ID")
	flags.StringVar(&w.filter.Relation, "relation", "", "only tuples of a `relation`")
	flags.StringVar(&w.filter.Subject, "subject", "", "only tuples of a `type`, an entity TYPE:ID, TYPE:*, or a userset TYPE:ID#RELATION")
	flags.DurationVar(&w.heartbeat, "heartbeat", 0, "how often the server gives a sign of life (default 15s)")
	complete(cmd, "from", "now", "snapshot", "earliest", "token=", "resume=")
	return cmd
}

// begin reads --from.
func (w *watching) begin() error {
	kind, value, given := strings.Cut(w.from, "=")
	switch {
	case w.from == "now":
		w.request.From = &remitv1.WatchRequest_Now{Now: true}
	case w.from == "snapshot":
		w.request.From = &remitv1.WatchRequest_Snapshot{Snapshot: true}
	case w.from == "earliest":
		w.request.From = &remitv1.WatchRequest_Earliest{Earliest: true}
	case given && kind == "token":
		w.request.From = &remitv1.WatchRequest_Token{Token: value}
	case given && kind == "resume":
		w.request.From = &remitv1.WatchRequest_Resume{Resume: value}
	default:
		instant, err := parseInstant(w.from)
		if err != nil {
			return fmt.Errorf("--from %s: it is now, snapshot, earliest, token=TOKEN, resume=POINT, or an instant such as 2026-03-03T22:00:00Z", w.from)
		}
		w.request.From = &remitv1.WatchRequest_Time{Time: timestamppb.New(instant)}
	}
	return nil
}

func (w *watching) run(ctx context.Context) error {
	w.paint = colours(w.app.stdout)
	// Three heartbeats may fail to come before the server is given up.
	err := w.app.following(ctx, 3*max(w.heartbeat, 15*time.Second), func(ctx context.Context, alive func()) error {
		stream, err := w.client.watches.Watch(ctx, w.request)
		if err != nil {
			return err
		}
		defer func() { _ = stream.Close() }() // it has ended, or the context ends it
		for {
			res, err := stream.Receive()
			if err != nil {
				return err
			}
			alive()
			if err := w.print(res); err != nil {
				return &finalError{err}
			}
			w.request.From = &remitv1.WatchRequest_Resume{Resume: res.GetResume()}
		}
	})
	point := w.request.GetResume()
	if point == "" || hasReason(err, remitv1.ErrorReason_ERROR_REASON_REVISION_UNAVAILABLE) || client.Detail(err).GetField() == "resume" {
		return err // from there it does not go on
	}
	if w.app.wasInterrupted() {
		err = errTold
	} else {
		printLine(w.app.stderr, w.app.errorText(err))
	}
	printf(w.app.stderr, "go on with --from resume=%s\n", point)
	if err != nil && !errors.Is(err, errTold) {
		return errTold
	}
	return err
}

// print writes a message.
func (w *watching) print(res *remitv1.WatchResponse) error {
	if w.app.output == "json" {
		plain, err := plainValue(res)
		if err != nil {
			return err
		}
		e := json.NewEncoder(w.app.stdout)
		e.SetEscapeHTML(false)
		return e.Encode(plain)
	}
	var b strings.Builder
	switch e := res.GetEvent().(type) {
	case *remitv1.WatchResponse_Snapshot:
		if s := e.Snapshot.GetStore(); s != nil {
			printf(&b, "= store %s (%s)%s\n", visible(s.GetName()), s.GetId(), modelText(e.Snapshot.GetModelId()))
		}
		for _, t := range e.Snapshot.GetTuples() {
			printf(&b, "= %s%s\n", w.store(e.Snapshot.GetStoreId()), tupleText(t))
		}
		if e.Snapshot.GetComplete() {
			printLine(&b, w.paint.faint("the snapshot is complete"))
		}
	case *remitv1.WatchResponse_Changes:
		for _, r := range e.Changes.GetRevisions() {
			for _, c := range r.GetChanges() {
				printf(&b, "%s  %s\n", w.paint.faint(r.GetTime().AsTime().UTC().Format("2006-01-02T15:04:05.000Z")), w.change(c))
			}
		}
	}
	if b.Len() == 0 {
		return nil
	}
	_, err := w.app.stdout.Write([]byte(b.String()))
	return err
}

func modelText(id string) string {
	if id == "" {
		return ", no model"
	}
	return ", model " + id
}

// store tells the store of a line, if there may be several.
func (w *watching) store(id string) string {
	if len(w.request.GetStores()) == 1 {
		return ""
	}
	return id + "  "
}

// change is a change in one line.
func (w *watching) change(c *remitv1.Change) string {
	text := ""
	switch c.GetKind() {
	case remitv1.Change_KIND_TUPLE_PUT:
		text = w.paint.good("+") + " " + w.store(c.GetStoreId()) + tupleText(c.GetTuple())
	case remitv1.Change_KIND_TUPLE_DELETED:
		text = w.paint.bad("-") + " " + w.store(c.GetStoreId()) + tupleText(c.GetTuple())
	case remitv1.Change_KIND_TUPLE_EXPIRED:
		text = w.paint.bad("~") + " " + w.store(c.GetStoreId()) + tupleText(c.GetTuple())
	case remitv1.Change_KIND_MODEL_WRITTEN:
		text = "* " + w.store(c.GetStoreId()) + "model " + c.GetModelId()
	case remitv1.Change_KIND_STORE_CREATED:
		text = "* " + w.store(c.GetStoreId()) + "store created: " + visible(c.GetStoreName())
	case remitv1.Change_KIND_STORE_DELETED:
		text = "* " + w.store(c.GetStoreId()) + "store deleted"
	case remitv1.Change_KIND_ENTITY_ERASED:
		text = "* " + w.store(c.GetStoreId()) + "an entity was erased, with its past: read the store anew for a copy of it"
	default:
		text = "? " + c.GetKind().String()
	}
	if who := whoText(c.GetPrincipal(), c.GetActor()); who != "" {
		text += w.paint.faint("  by " + who)
	}
	if c.GetReason() != "" {
		text += w.paint.faint("  (" + visible(c.GetReason()) + ")")
	}
	return text
}
