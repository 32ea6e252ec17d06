package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

func (a *app) eraseCommand() *cobra.Command {
	e := &eraseRun{app: a}
	cmd := &cobra.Command{
		Use:   "erase SUBJECT",
		Short: "Remove somebody from a store, its past and its files",
		Long: `Erase removes a person, or whatever else has a name, from a store as if it had never
been there: all tuples and documents with their past, all that the audit trail tells of
it, and the name itself. It ends when the server has rewritten its files, so that no byte
of the name is left in them, and says what was removed and what it does not reach.

It shows first what there is, and wants the name typed again, or --yes. Others may
mention the name, in the context of a tuple or in a document; that is theirs, so erase
refuses until they are gone, or is told with --leave-mentions that they may stay.

An erasure that was interrupted goes on with the same command. Nothing brings back what
was erased but a backup taken before: those are not touched.`,
		Example: `  remit erase user:ann --preview
  remit erase user:ann --reason "request 2026-114"
  remit erase user:ann --store shop --yes -o json`,
		GroupID: groupChange,
		Args:    words(1, "SUBJECT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.checkOutput(); err != nil {
				return err
			}
			e.request.Entity = args[0]
			var err error
			if e.client, err = a.client(); err != nil {
				return err
			}
			if e.request.Store, err = a.storeName(cmd.Context(), e.client); err != nil {
				return err
			}
			return e.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&e.request.Preview, "preview", false, "only show what there is")
	flags.BoolVar(&e.request.LeaveMentions, "leave-mentions", false, "erase although others mention the name; what they say stays")
	flags.StringVar(&e.request.Reason, "reason", "", "why, for the audit `trail`; without the name")
	flags.BoolVarP(&e.sure, "yes", "y", false, "do not ask")
	return cmd
}

// An eraseRun is one call of erase.
type eraseRun struct {
	app     *app
	client  *services
	request remitv1.EraseRequest
	sure    bool

	last  *remitv1.EraseResponse
	told  time.Time // when the last line of progress was written
	drawn bool
}

func (e *eraseRun) run(ctx context.Context) error {
	seen, err := e.preview(ctx)
	if err != nil {
		return err
	}
	found := seen.GetFound()
	e.request.ErasureId = seen.GetErasureId() // of one that broke off
	if e.request.Preview {
		return e.app.print(found, func(w io.Writer) error { return e.show(w, found) })
	}
	// Who mentions it and whether one is sure matters only once nothing else is in the way.
	if held := found.GetDocument() || found.GetTuplesAsSubject()+found.GetTuplesAsObject()+found.GetTuplesAsUserset() > 0; held && e.request.ErasureId == "" {
		answer, err := call(ctx, e.app, e.client.stores.GetStore, &remitv1.GetStoreRequest{Store: e.request.GetStore()})
		if err != nil {
			return err
		}
		if answer.GetStore().GetManaged() {
			return fmt.Errorf("%s is still in the organisation that store %s belongs to; delete it there first, with remit org; nothing was erased",
				e.request.GetEntity(), visible(answer.GetStore().GetName()))
		}
	}
	if found.GetMentions() > 0 && !e.request.LeaveMentions && e.request.ErasureId == "" {
		if err := e.show(e.app.stderr, found); err != nil {
			return err
		}
		return errors.New("others mention it, so its name would remain; remove what they say, or leave it with --leave-mentions; nothing was erased")
	}
	if !e.sure {
		if err := e.confirm(found); err != nil {
			return err
		}
	}
	e.told = time.Now()
	err = e.app.following(ctx, 0, e.receive)
	if e.drawn {
		printLine(e.app.stderr, "")
	}
	begun := e.request.GetErasureId() != ""
	switch {
	case err != nil && begun && e.app.wasInterrupted():
		printLine(e.app.stderr, "remit: interrupted; the erasure has begun, the same command goes on with it")
		return errTold
	case err != nil && begun:
		return &partialError{done: "the erasure has begun; the same command goes on with it", err: err}
	case err != nil:
		return err
	}
	e.last.Found = found
	return e.app.print(e.last, e.report)
}

// preview asks what there is.
func (e *eraseRun) preview(ctx context.Context) (*remitv1.EraseResponse, error) {
	request := proto.CloneOf(&e.request)
	request.Preview = true
	var seen *remitv1.EraseResponse
	err := e.app.following(ctx, 0, func(ctx context.Context, _ func()) error {
		stream, err := e.client.erasures.Erase(ctx, request)
		if err != nil {
			return err
		}
		defer func() { _ = stream.Close() }() // it has one message
		seen, err = stream.Receive()
		return err
	})
	return seen, err
}

// show writes what there is.
func (e *eraseRun) show(w io.Writer, found *remitv1.EraseFindings) error {
	tuples := found.GetTuplesAsSubject() + found.GetTuplesAsObject() + found.GetTuplesAsUserset()
	printf(w, "%s in store %s\n", e.request.GetEntity(), e.request.GetStore())
	if !found.GetKnown() {
		printLine(w, "  the store does not know it; its audit trail may")
	}
	printf(w, "  %s: %s as subject, %s as object, %s as userset\n", counted(int(tuples), "tuple"),
		thousands(int(found.GetTuplesAsSubject())), thousands(int(found.GetTuplesAsObject())), thousands(int(found.GetTuplesAsUserset())))
	if found.GetDocument() {
		printLine(w, "  1 document")
	}
	if e.request.GetErasureId() != "" {
		printLine(w, "  its erasure has begun, and goes on with this command")
	}
	return showMentions(w, "mentioned by others", found.GetMentions(), found.GetMentioned())
}

// mentionWords say where a mention is.
var mentionWords = map[remitv1.Mention_Kind]string{
	remitv1.Mention_KIND_STORE_NAME: "the name of the store",
	remitv1.Mention_KIND_MODEL:      "the source of model",
	remitv1.Mention_KIND_ASSERTIONS: "the assertions of model",
	remitv1.Mention_KIND_SCOPE:      "the scope",
	remitv1.Mention_KIND_NAME:       "the name of",
	remitv1.Mention_KIND_DOCUMENT:   "the document of",
	remitv1.Mention_KIND_TUPLE:      "the context of",
}

func showMentions(w io.Writer, what string, n uint64, places []*remitv1.Mention) error {
	if n == 0 {
		return nil
	}
	printf(w, "  %s: %s\n", what, counted(int(n), "time"))
	for _, m := range places {
		printf(w, "    %s %s\n", firstOf(mentionWords[m.GetKind()], "elsewhere:"), m.GetPlace())
	}
	if more := int(n) - len(places); more > 0 {
		printf(w, "    and %s more\n", thousands(more))
	}
	return nil
}

// confirm wants the name typed again.
func (e *eraseRun) confirm(found *remitv1.EraseFindings) error {
	if !isTerminal(e.app.stdin) {
		return errors.New("there is nobody to ask; confirm with --yes")
	}
	if err := e.show(e.app.stderr, found); err != nil {
		return err
	}
	printf(e.app.stderr, "All of it goes with its past, and nothing brings it back. Type %s to go on: ", e.request.GetEntity())
	line, err := bufio.NewReader(e.app.stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if strings.TrimSpace(line) != e.request.GetEntity() {
		if e.request.GetErasureId() != "" {
			return errors.New("that is another name; the erasure that has begun was not gone on with")
		}
		return errors.New("that is another name; nothing was erased")
	}
	return nil
}

// receive reads one stream to the report.
func (e *eraseRun) receive(ctx context.Context, alive func()) error {
	stream, err := e.client.erasures.Erase(ctx, &e.request)
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }() // it has ended, or the context ends it
	for {
		res, err := stream.Receive()
		switch {
		case errors.Is(err, io.EOF):
			return errors.New("the server ended the erasure without a report")
		case err != nil:
			return err
		}
		alive()
		if id := res.GetErasureId(); id != "" {
			e.request.ErasureId = id // by which a new stream goes on, and counts what was done
		}
		if res.GetReport() != nil {
			e.last = res
			return nil
		}
		e.progress(res)
	}
}

// progress tells how far a long erasure is.
func (e *eraseRun) progress(res *remitv1.EraseResponse) {
	if time.Since(e.told) < progressInterval {
		return
	}
	e.told = time.Now()
	line := thousands(int(res.GetErased().GetExamined())) + " rows looked at"
	if r := res.GetRewriting(); r != nil {
		line = "rewriting files: " + firstOf(r.GetPart(), "waiting")
		if r.GetTotal() > 0 {
			line += fmt.Sprintf(", %s of about %s rows", thousands(int(r.GetRows())), thousands(int(r.GetTotal())))
		}
		if r.GetFailure() != "" {
			line += fmt.Sprintf(" (attempt %d; before that: %s)", r.GetAttempt(), r.GetFailure())
		}
	}
	if isTerminal(e.app.stderr) {
		printf(e.app.stderr, "\r%s\x1b[K", line)
		e.drawn = true
		return
	}
	printLine(e.app.stderr, line)
}

// report writes the end for people.
func (e *eraseRun) report(w io.Writer) error {
	d, r := e.last.GetErased(), e.last.GetReport()
	var parts []string
	for _, p := range []struct {
		n    uint64
		what string
	}{
		{d.GetTuples(), "tuple"},
		{d.GetDocuments(), "document"},
		{d.GetVersions(), "past version"},
		{d.GetChanges(), "change"},
		{d.GetTexts(), "text"},
		{d.GetKeys(), "idempotency key"},
	} {
		if p.n > 0 {
			parts = append(parts, counted(int(p.n), p.what))
		}
	}
	if len(parts) == 0 {
		printf(w, "nothing was left of %s in store %s: it was never there, or an erasure that is over took it,\n"+
			"of which \"remit audit --kind entity_erased\" tells without the name\n", e.request.GetEntity(), e.request.GetStore())
	} else {
		printf(w, "%s is erased from store %s: %s\n", e.request.GetEntity(), e.request.GetStore(), strings.Join(parts, ", "))
	}
	for _, n := range r.GetNodes() {
		if n.GetRewrittenRevision() == 0 {
			printf(w, "  node %s does not tell whether its files are rewritten\n", n.GetNodeId())
		} else {
			printf(w, "  the files of node %s are rewritten up to revision %d\n", n.GetNodeId(), n.GetRewrittenRevision())
		}
	}
	if err := showMentions(w, "bytes of the name remain, mentioned by others", r.GetMentions(), r.GetMentioned()); err != nil {
		return err
	}
	if len(r.GetBackups()) > 0 {
		printf(w, "  backups that still hold it: %s\n", strings.Join(r.GetBackups(), ", "))
	}
	_, err := fmt.Fprintf(w, "  not reached: %s\n", strings.Join(r.GetBeyond(), "; "))
	return err
}
