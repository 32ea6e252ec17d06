package rpc

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

// ErrMentioned says that an entity was not erased because others mention it, and nobody
// said that this may stay.
var ErrMentioned = errors.New("others mention the entity")

// errInOrganisation refuses to erase who is still in an organisation, of which half would
// stay.
var errInOrganisation = fmt.Errorf("%w: an organisation still has the entity; delete it there first, with the OrganisationService or remit org, "+
	"and erase it then; what has merely expired goes by itself, a day later", fsm.ErrManaged)

const (
	// eraseRows is how many rows a step of an erasure looks at: other writers wait behind
	// it. It costs about as much as a transaction of a deletion.
	eraseRows = 600

	// eraseRetries and erasePause are how often and when a step is proposed again whose
	// outcome is unknown, as for a deletion.
	eraseRetries = 6
	erasePause   = 50 * time.Millisecond

	// rewriteTell is how often a client is told how far the rewriting of files is.
	rewriteTell = 500 * time.Millisecond

	// shownMentions is how many places of mentions an answer names.
	shownMentions = 10
)

// beyondErasing is what holds a name and is out of reach.
var beyondErasing = []string{
	"backups taken before, wherever they are",
	"request and decision logs written before",
	"exports, and what others have read or watched",
	"other stores, the names of stores, those deleted included, and credentials that bear the name",
}

// eraseService answers remit.v1.EraseService.
type eraseService struct {
	streamer
	writer  *backend.Writer
	files   backend.Rewriter                                                   // nil: nobody knows how far files are rewritten
	backups func(ctx context.Context, before graph.Revision) ([]string, error) // as in Config
}

// An eraseStream sends the responses of an Erase.
type eraseStream interface {
	Send(res *remitv1.EraseResponse) error
}

// An erasing is one Erase under way. None of its errors holds the name, but for those that
// refuse it: it shall not stand in anybody's log.
type erasing struct {
	*eraseService
	*outlet
	stream  eraseStream
	request *remitv1.EraseRequest

	store  fsm.StoreID
	entity fsm.Entity    // zero: only the id is known
	id     fsm.ErasureID // zero: it has not begun
	done   *fsm.Erased
}

// Erase removes an entity from a store and waits until the files are rewritten.
func (s *eraseService) Erase(ctx context.Context, req *remitv1.EraseRequest, stream remitv1connect.EraseServiceEraseServerStream) error {
	return s.erase(ctx, req, stream)
}

func (s *eraseService) erase(ctx context.Context, req *remitv1.EraseRequest, stream eraseStream) error {
	ctx, out, done := s.outlet(ctx)
	defer done()
	e := &erasing{eraseService: s, outlet: out, stream: stream, request: req}
	if err := e.run(ctx); err != nil {
		return e.end(ctx, err)
	}
	return nil
}

func (e *erasing) run(ctx context.Context) error {
	if err := e.reader.CatchUp(ctx); err != nil {
		return err
	}
	store, err := e.begin(ctx)
	if err != nil {
		return err
	}
	if e.entity != (fsm.Entity{}) {
		found, err := e.find(ctx, store)
		if err != nil {
			return err
		}
		if err := e.tell(&remitv1.EraseResponse{Found: found}); err != nil || e.request.Preview {
			return err
		}
		if store.Managed() && store.InUse(e.entity) && e.id.IsZero() {
			return at("entity", errInOrganisation)
		}
		// Of one that is under way the report says what is left: others may mention the
		// entity after it began, and it cannot be taken back.
		if found.Mentions > 0 && !e.request.LeaveMentions && e.id.IsZero() {
			return at("leave_mentions", fmt.Errorf("%w in %d places; a preview shows ten; remove them, or say that they may stay", ErrMentioned, found.Mentions))
		}
	}
	revision, err := e.remove(ctx)
	if err != nil {
		return err
	}
	if err := e.awaitFiles(ctx); err != nil {
		return err
	}
	return e.finish(ctx, revision)
}

// begin reads the request.
func (e *erasing) begin(ctx context.Context) (*fsm.Store, error) {
	store, err := backend.FindStore(ctx, e.reader.Config.State.Current(), "store", e.request.Store)
	if err != nil {
		return nil, err
	}
	e.store = store.ID()
	switch {
	case e.request.ErasureId != "" && e.request.Preview:
		return nil, at("preview", fmt.Errorf("%w: an erasure that has begun cannot be previewed", backend.ErrRequest))
	case e.request.ErasureId != "":
		if e.id, err = fsm.ParseErasureID(e.request.ErasureId); err != nil {
			return nil, at("erasure_id", fmt.Errorf("%w: it is not the id of an erasure", backend.ErrRequest))
		}
	case e.request.Entity == "":
		return nil, at("entity", fmt.Errorf("%w: say whom to erase, as type:id", backend.ErrRequest))
	}
	if e.request.Entity == "" {
		return store, nil
	}
	name, err := graph.ParseObject(e.request.Entity)
	if err != nil {
		return nil, at("entity", err)
	}
	e.entity.Name = name.ID
	if e.entity.Type, err = backend.StoredType(store.Symbols(), name.Type); err != nil {
		return nil, at("entity", err)
	}
	if e.id.IsZero() {
		// One that is under way already is gone on with, without naming its entity again.
		for _, other := range store.Erasures() {
			if other.Entity == e.entity {
				e.id = other.ID
			}
		}
	}
	return store, e.checkTexts(ctx)
}

// checkTexts refuses to record a name together with its erasure.
func (e *erasing) checkTexts(ctx context.Context) error {
	texts := map[string]string{"reason": e.request.Reason}
	if info, ok := connect.CallInfoForServerContext(ctx); ok {
		for _, header := range []string{backend.HeaderActor, backend.HeaderReason, backend.HeaderRequestID} {
			texts[header] = info.RequestHeader().Get(header)
		}
	}
	for field, text := range texts {
		if fsm.Mentioned(text, e.entity.Name) {
			return at(field, fmt.Errorf("%w: %s holds the name that is to be erased", backend.ErrRequest, field))
		}
	}
	return nil
}

// find says what the newest state holds of the entity.
func (e *erasing) find(ctx context.Context, store *fsm.Store) (*remitv1.EraseFindings, error) {
	head := backend.HeadOf(store)
	found := &remitv1.EraseFindings{}
	typeName := head.Symbols.TypeName(e.entity.Type)
	count := func(n *uint64, p backend.Pattern) error {
		f, err := backend.NewFilter(&head, p)
		if err != nil {
			return err
		}
		return f.Each(ctx, func(*graph.Row) error { *n++; return nil })
	}
	if err := count(&found.TuplesAsObject, backend.Pattern{ObjectType: typeName, ObjectID: e.entity.Name, HasObjectID: true}); err != nil {
		return nil, err
	}
	subject := backend.Pattern{SubjectType: typeName, SubjectID: e.entity.Name, HasSubjectID: true}
	if err := count(&found.TuplesAsSubject, subject); err != nil {
		return nil, err
	}
	for _, r := range head.Symbols.All().Relations {
		if r.Type != e.entity.Type {
			continue
		}
		subject.SubjectRelation = r.Name
		if err := count(&found.TuplesAsUserset, subject); err != nil {
			return nil, err
		}
	}
	id, known, err := store.Lookup(e.entity.Type, e.entity.Name)
	if err != nil {
		return nil, err
	}
	if found.Known = known; known {
		if _, found.Document, err = store.Document(id); err != nil {
			return nil, err
		}
	}
	found.Mentions, found.Mentioned, err = e.mentions(ctx, store)
	return found, err
}

// mentions counts what others say of the entity, and names the first places.
func (e *erasing) mentions(ctx context.Context, store *fsm.Store) (n uint64, first []*remitv1.Mention, err error) {
	for c := (fsm.MentionCursor{}); !c.Done; {
		if err := ctx.Err(); err != nil {
			return 0, nil, err
		}
		if err := store.Mentions(e.entity, &c); err != nil {
			return 0, nil, err
		}
		n += uint64(len(c.Mentions))
		for i := range c.Mentions {
			if len(first) == shownMentions {
				break
			}
			m, err := mentionMessage(store, &c.Mentions[i])
			if err != nil {
				return 0, nil, err
			}
			first = append(first, m)
		}
	}
	return n, first, nil
}

// mentionKinds are the places of mentions, as messages have them.
var mentionKinds = map[fsm.MentionKind]remitv1.Mention_Kind{
	fsm.MentionInStoreName:  remitv1.Mention_KIND_STORE_NAME,
	fsm.MentionInModel:      remitv1.Mention_KIND_MODEL,
	fsm.MentionInAssertions: remitv1.Mention_KIND_ASSERTIONS,
	fsm.MentionInScope:      remitv1.Mention_KIND_SCOPE,
	fsm.MentionInName:       remitv1.Mention_KIND_NAME,
	fsm.MentionInDocument:   remitv1.Mention_KIND_DOCUMENT,
	fsm.MentionInTuple:      remitv1.Mention_KIND_TUPLE,
}

func mentionMessage(store *fsm.Store, m *fsm.Mention) (*remitv1.Mention, error) {
	message := &remitv1.Mention{Kind: mentionKinds[m.Kind]}
	switch m.Kind {
	case fsm.MentionInStoreName:
		message.Place = store.StoreName()
	case fsm.MentionInModel, fsm.MentionInAssertions:
		message.Place = m.Model.String()
	case fsm.MentionInScope:
		message.Place = m.Scope
	case fsm.MentionInName, fsm.MentionInDocument:
		name, err := store.Name(m.Entity)
		if err != nil {
			return nil, err
		}
		message.Place = graph.ObjectName{Type: store.Symbols().TypeName(m.Entity.Type()), ID: name}.String()
	case fsm.MentionInTuple:
		t, err := backend.RowTuple(store.Symbols(), store, &m.Tuple)
		if err != nil {
			return nil, err
		}
		message.Place = keyOf(t).String()
	}
	return message, nil
}

// remove drives the erasure to its end, and says at which revision this node shows that.
func (e *erasing) remove(ctx context.Context) (graph.Revision, error) {
	step := &fsm.Erase{ID: e.id, Limit: eraseRows}
	if e.id.IsZero() {
		id, err := e.reader.NewID()
		if err != nil {
			return 0, err
		}
		step.ID, step.Entity = id, e.entity
	}
	for {
		begin := time.Now()
		result, err := e.propose(ctx, &fsm.Command{Store: e.store, Reason: e.request.Reason, Body: step})
		switch {
		case errors.Is(err, fsm.ErrErasureNotFound):
			return 0, at("erasure_id", fmt.Errorf("%w: the store has no such erasure", backend.ErrRequest))
		case errors.Is(err, fsm.ErrManaged): // it was not in use a moment ago
			return 0, at("entity", errInOrganisation)
		}
		if err != nil {
			return 0, err
		}
		e.done, e.id = result.Erased, result.Erased.ID
		if err := e.tell(&remitv1.EraseResponse{}); err != nil {
			return 0, err
		}
		if !result.Remaining {
			return result.Revision, e.reader.WaitFor(ctx, result.Revision)
		}
		giveWay(ctx, begin)
		step = &fsm.Erase{ID: e.id, Limit: eraseRows}
	}
}

// propose proposes a step, again if need be: one that comes twice does no harm.
func (e *erasing) propose(ctx context.Context, command *fsm.Command) (*fsm.Result, error) {
	pause := erasePause
	for attempt := 0; ; attempt++ {
		result, err := e.writer.Do(ctx, func(*fsm.Root) (*fsm.Command, error) { return command, nil })
		again := errors.Is(err, cluster.ErrUnknownOutcome) || errors.Is(err, cluster.ErrNoLeader) || errors.Is(err, cluster.ErrOverloaded)
		if !again || attempt == eraseRetries || ctx.Err() != nil {
			return result, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(pause):
			pause *= 2
		}
	}
}

// awaitFiles waits until the node's files are free of what was erased.
func (e *erasing) awaitFiles(ctx context.Context) error {
	if e.files == nil {
		return nil
	}
	revision := e.reader.Config.State.Current().RewriteRequired()
	for {
		bound, cancel := context.WithTimeout(ctx, rewriteTell)
		err := e.files.WaitRewritten(bound, revision)
		cancel()
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		p, _ := e.files.Rewriting()
		m := &remitv1.FileRewriting{Part: p.Part, Rows: p.Rows, Total: p.Total, Attempt: int32(p.Attempt)}
		if p.Err != nil {
			m.Failure = p.Err.Error()
		}
		if err := e.tell(&remitv1.EraseResponse{Rewriting: m}); err != nil {
			return err
		}
	}
}

// finish sends the report.
func (e *erasing) finish(ctx context.Context, revision graph.Revision) error {
	report := &remitv1.EraseReport{
		Revision: uint64(e.done.Revision), Token: e.reader.Token(revision), Beyond: beyondErasing,
		Nodes: []*remitv1.NodeFiles{{NodeId: e.reader.Config.Node.ID()}},
	}
	rewritten := graph.Revision(math.MaxUint64) // as far as backups go, if nobody knows
	if e.files != nil {
		rewritten = e.files.Rewritten()
		report.Nodes[0].RewrittenRevision = uint64(rewritten)
	}
	if e.backups != nil {
		var err error
		if report.Backups, err = e.backups(ctx, rewritten); err != nil {
			return err
		}
	}
	if e.entity != (fsm.Entity{}) {
		store, err := backend.OpenStore(ctx, e.reader.Config.State.Current(), e.store)
		if err != nil {
			return err
		}
		if report.Mentions, report.Mentioned, err = e.mentions(ctx, store); err != nil {
			return err
		}
	}
	err := e.tell(&remitv1.EraseResponse{Report: report})
	if errors.Is(err, ErrSlowReader) {
		return nil // it has everything
	}
	return err
}

// tell sends a message, with what has been done so far.
func (e *erasing) tell(res *remitv1.EraseResponse) error {
	if !e.id.IsZero() {
		res.ErasureId = e.id.String()
	}
	if e.done != nil {
		res.Erased = &remitv1.Erased{
			Tuples: e.done.Tuples, Documents: e.done.Documents, Versions: e.done.Versions,
			Changes: e.done.Changes, Texts: e.done.Texts, Keys: e.done.Keys, Examined: e.done.Examined,
		}
	}
	return e.send("", func() error { return e.stream.Send(proto.CloneOf(res)) })
}
