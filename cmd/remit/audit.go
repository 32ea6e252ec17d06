package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// An auditing is one run of remit audit: what the flags say, and what has been told.
type auditing struct {
	app     *app
	filter  remitv1.AuditFilter
	since   string
	until   string
	kinds   []string
	cluster bool
	newest  bool
	most    int
	actor   string

	paint  palette
	told   int
	looked *remitv1.AuditProgress
}

func (a *app) auditCommand() *cobra.Command {
	w := &auditing{app: a}
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Who changed what, when and why",
		Long: `Audit prints the changes of a store, or with --cluster those of no store alone: stores
that were created and deleted, keys, grants. A line has the time, the revision, who (and
for whom), what, and why. With -o json every line is a change as the API has it.

The changes of a store are kept as long as its past: see "remit store set-retention". At its
end, audit says since when they are. A moment is an instant (2026-03-03T22:00Z, or in
local time 2026-03-03 22:00 or 2026-03-03), a duration ago (90m, 7d) or a revision.`,
		Example: `  remit audit --store shop --since 7d
  remit audit --object deal:plan -n 20
  remit audit --principal key:backend --actor ann --subject user:bob --relation owner
  remit audit --kind model_written --newest-first
  remit audit --cluster -o json`,
		GroupID: groupAsk,
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return w.run(cmd.Context()) },
	}
	flags := cmd.Flags()
	flags.StringVar(&w.filter.Principal, "principal", "", "only by this `principal`, such as key:NAME")
	flags.StringVar(&w.actor, "actor", "", "only for this `actor`, as it was recorded")
	flags.StringVar(&w.filter.RequestId, "request-id", "", "only of the request with this `id`")
	flags.StringVar(&w.filter.Object, "object", "", "only of a `type`, or of an object TYPE:ID")
	flags.StringVar(&w.filter.Relation, "relation", "", "only tuples of a `relation`")
	flags.StringVar(&w.filter.Subject, "subject", "", "only tuples of a `type`, an entity TYPE:ID (with its usersets), TYPE:*,\nor a userset TYPE:ID#RELATION")
	flags.StringVar(&w.since, "since", "", "from this `moment` on")
	flags.StringVar(&w.until, "until", "", "up to this `moment`")
	flags.StringSliceVar(&w.kinds, "kind", nil, "only of this `kind` (may be repeated):\n"+wrapped(auditKinds()))
	flags.BoolVar(&w.cluster, "cluster", false, "what concerns no store alone: stores, keys, grants")
	flags.BoolVar(&w.newest, "newest-first", false, "the newest first")
	flags.IntVarP(&w.most, "number", "n", 0, "only the newest `N`, the newest first")
	complete(cmd, "kind", auditKinds()...)
	return cmd
}

// auditKinds are the names of the kinds of changes.
func auditKinds() []string {
	var names []string
	for n, name := range remitv1.AuditChange_Kind_name {
		if n != 0 {
			names = append(names, kindName(name))
		}
	}
	slices.Sort(names)
	return names
}

// wrapped lists words in lines for a help text.
func wrapped(words []string) string {
	var b strings.Builder
	line := 0
	for i, word := range words {
		if i > 0 {
			b.WriteByte(',')
			if line += len(word) + 2; line > 70 {
				b.WriteByte('\n')
				line = 0
			} else {
				b.WriteByte(' ')
			}
		}
		b.WriteString(word)
	}
	return b.String()
}

func kindName(name string) string { return strings.ToLower(strings.TrimPrefix(name, "KIND_")) }

// read makes the filter of the flags.
func (w *auditing) read() error {
	if w.app.output != "table" && w.app.output != "json" && w.app.output != "" {
		return fmt.Errorf("--output %s is not for audit; it is table or json", w.app.output)
	}
	if w.most < 0 {
		return fmt.Errorf("-n %d: it is a number of changes", w.most)
	}
	if w.cluster && firstOf(w.filter.Object, w.filter.Relation, w.filter.Subject) != "" {
		return errors.New("--cluster is about no tuples; --object, --relation and --subject are for a store")
	}
	w.filter.Actor = w.actor
	for _, k := range w.kinds {
		value, ok := remitv1.AuditChange_Kind_value["KIND_"+strings.ToUpper(k)]
		if !ok || value == 0 {
			return fmt.Errorf("--kind %s is unknown; it is %s", k, strings.Join(auditKinds(), ", "))
		}
		w.filter.Kinds = append(w.filter.Kinds, remitv1.AuditChange_Kind(value))
	}
	if w.since != "" {
		instant, revision, err := auditMoment(w.since)
		switch {
		case err != nil:
			return fmt.Errorf("--since: %w", err)
		case revision != 0:
			w.filter.From = &remitv1.AuditFilter_SinceRevision{SinceRevision: revision}
		default:
			w.filter.From = &remitv1.AuditFilter_Since{Since: timestamppb.New(instant)}
		}
	}
	if w.until != "" {
		instant, revision, err := auditMoment(w.until)
		switch {
		case err != nil:
			return fmt.Errorf("--until: %w", err)
		case revision != 0:
			w.filter.To = &remitv1.AuditFilter_UntilRevision{UntilRevision: revision}
		default:
			w.filter.To = &remitv1.AuditFilter_Until{Until: timestamppb.New(instant)}
		}
	}
	return nil
}

// auditMoment reads an instant, a duration ago, or a revision.
func auditMoment(text string) (instant time.Time, revision uint64, err error) {
	if text != "" && strings.Trim(text, "0123456789") == "" {
		if revision, err = strconv.ParseUint(text, 10, 64); err != nil || revision == 0 {
			return instant, 0, fmt.Errorf("%s is no revision; they count from 1", text)
		}
		return instant, revision, nil
	}
	if instant, ok := parsePast(text); ok {
		return instant, 0, nil
	}
	return instant, 0, fmt.Errorf("%q is no instant such as 2026-03-03T22:00Z or \"2026-03-03 22:00\", no duration such as 90m or 7d, and no revision", text)
}

func (w *auditing) run(ctx context.Context) error {
	if err := w.read(); err != nil {
		return err
	}
	w.paint = colours(w.app.stdout)
	c, err := w.app.client()
	if err != nil {
		return err
	}
	store := ""
	if !w.cluster {
		if store, err = w.app.storeName(ctx, c); err != nil {
			return err
		}
	}
	cursor := ""
	for {
		size := int32(1000)
		if w.most > 0 {
			size = int32(min(1000, w.most-w.told))
		}
		var changes []*remitv1.AuditChange
		var err error
		if changes, cursor, err = w.page(ctx, c, store, cursor, size); err != nil {
			return err
		}
		for _, change := range changes {
			if err := w.print(change); err != nil {
				return err
			}
		}
		w.told += len(changes)
		if cursor == "" || w.most > 0 && w.told >= w.most {
			break
		}
	}
	w.end()
	return nil
}

// page asks for one page. It may be asked for again without harm.
func (w *auditing) page(ctx context.Context, c *services, store, cursor string, size int32) ([]*remitv1.AuditChange, string, error) {
	newest := w.newest || w.most > 0
	if w.cluster {
		res, err := call(ctx, w.app, c.audits.ListClusterChanges, &remitv1.ListClusterChangesRequest{
			Filter: proto.CloneOf(&w.filter), NewestFirst: newest, PageSize: size, Cursor: cursor,
		})
		w.looked = res.GetProgress()
		return res.GetChanges(), res.GetCursor(), err
	}
	res, err := call(ctx, w.app, c.audits.ListChanges, &remitv1.ListChangesRequest{
		Store: store, Filter: proto.CloneOf(&w.filter), NewestFirst: newest, PageSize: size, Cursor: cursor,
	})
	w.looked = res.GetProgress()
	return res.GetChanges(), res.GetCursor(), err
}

// end says what was found, and since when nothing is missing.
func (w *auditing) end() {
	if w.app.output == "json" {
		return
	}
	text := counted(w.told, "change")
	if since := w.looked.GetKeptSince(); since != nil {
		text += fmt.Sprintf("; all changes are kept since %s (revision %d)", since.GetAt().AsTime().UTC().Format(time.RFC3339), since.GetRevision())
	}
	printLine(w.app.stderr, text)
}

// print writes a change in one line.
func (w *auditing) print(c *remitv1.AuditChange) error {
	if w.app.output == "json" {
		plain, err := plainValue(c)
		if err != nil {
			return err
		}
		e := json.NewEncoder(w.app.stdout)
		e.SetEscapeHTML(false)
		return e.Encode(plain)
	}
	who := firstOf(whoText(c.GetPrincipal(), c.GetActor()), "-")
	line := fmt.Sprintf("%s  %8d  %-24s  %s", w.paint.faint(c.GetTime().AsTime().UTC().Format("2006-01-02T15:04:05.000Z")), c.GetRevision(), who, w.what(c))
	if c.GetReason() != "" {
		line += w.paint.faint("  (" + visible(c.GetReason()) + ")")
	}
	if c.GetRequestId() != "" {
		line += w.paint.faint("  [" + visible(c.GetRequestId()) + "]")
	}
	_, err := fmt.Fprintln(w.app.stdout, line)
	return err
}

// whoText is on whose behalf a change was made; empty if nobody said.
func whoText(principal, actor string) string {
	who := visible(principal)
	if actor != "" {
		who = firstOf(who, "-") + " for " + visible(actor)
	}
	return who
}

// what is a change in words.
func (w *auditing) what(c *remitv1.AuditChange) string {
	switch c.GetKind() {
	case remitv1.AuditChange_KIND_TUPLE_PUT:
		return w.paint.good("+") + " " + visible(tupleText(c.GetTuple()))
	case remitv1.AuditChange_KIND_TUPLE_DELETED:
		return w.paint.bad("-") + " " + visible(tupleText(c.GetTuple()))
	case remitv1.AuditChange_KIND_TUPLE_EXPIRED:
		return w.paint.bad("~") + " " + visible(tupleText(c.GetTuple()))
	case remitv1.AuditChange_KIND_DOCUMENT_PUT:
		return fmt.Sprintf("* document %s, version %d", visible(c.GetObject()), c.GetVersion())
	case remitv1.AuditChange_KIND_DOCUMENT_DELETED:
		return "* document " + visible(c.GetObject()) + " deleted"
	case remitv1.AuditChange_KIND_MODEL_WRITTEN:
		return "* model " + c.GetModelId()
	case remitv1.AuditChange_KIND_ASSERTIONS_WRITTEN:
		return "* assertions of model " + c.GetModelId()
	case remitv1.AuditChange_KIND_ASSERTIONS_REMOVED:
		return "* no assertions of model " + c.GetModelId()
	case remitv1.AuditChange_KIND_RETENTION_SET:
		if c.GetRetention().GetForever() {
			return "* the past is kept for ever"
		}
		return "* the past is kept for " + c.GetRetention().GetPeriod().AsDuration().String()
	case remitv1.AuditChange_KIND_STORE_CREATED:
		return fmt.Sprintf("* store %s created (%s)", visible(c.GetStoreName()), c.GetStoreId())
	case remitv1.AuditChange_KIND_STORE_DELETED:
		return fmt.Sprintf("* store %s deleted (%s), with %s", visible(c.GetStoreName()), c.GetStoreId(), counted(int(c.GetTupleCount()), "tuple"))
	case remitv1.AuditChange_KIND_CLUSTER_VERSION_SET:
		return fmt.Sprintf("* cluster version %d", c.GetClusterVersion())
	case remitv1.AuditChange_KIND_EPOCH_SET:
		return "* another history begins"
	case remitv1.AuditChange_KIND_KEY_PUT:
		return "* " + visible(c.GetText()) + " of " + visible(c.GetSubject())
	case remitv1.AuditChange_KIND_KEY_REVOKED:
		return "* " + visible(c.GetText()) + " revoked"
	case remitv1.AuditChange_KIND_PRINCIPAL_PUT, remitv1.AuditChange_KIND_PRINCIPAL_REMOVED:
		return "* " + visible(c.GetSubject()) + " " + visible(c.GetText())
	case remitv1.AuditChange_KIND_CHANGE_ERASED:
		return "* what was done has been erased"
	default:
		return strings.TrimSpace("* " + kindName(c.GetKind().String()) + " " + visible(c.GetText()))
	}
}
