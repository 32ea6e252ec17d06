package rpc

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/oklog/ulid/v2"
	"google.golang.org/protobuf/proto"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
	"github.com/remit-authz/remit/rpc/identity"
)

// ErrUnexpectedCount says that a deletion was refused because more tuples match its filter
// than its caller expects. Nothing has been deleted.
var ErrUnexpectedCount = errors.New("more would be deleted than is expected")

const (
	// deletionTuples and deletionBytes bound a transaction of a deletion far below what a
	// command may hold: other writers wait behind it. With 1000 tuples and no pause writers
	// waited for up to half a second, on two busy processors; with fewer than 300 it takes
	// longer and nobody waits less.
	deletionTuples = 300
	deletionBytes  = 1 << 20

	// deletionRetries is how often a transaction is proposed again whose outcome is unknown
	// or for which there was no room, waiting twice as long each time: in all about as long
	// as an election takes.
	deletionRetries = 6
	deletionPause   = 50 * time.Millisecond

	// wayMost bounds how long others are given way to after a step: one that took longer
	// waited for something else than for its turn.
	wayMost = 100 * time.Millisecond

	defaultSample = 10
)

// A deleteStream sends the responses of a DeleteTuples.
type deleteStream interface {
	Send(res *remitv1.DeleteTuplesResponse) error
}

// A deletion is one DeleteTuples under way.
//
// It goes through the newest state, not through that which it began with, for which it
// would need the history. A tuple that it finds there and that was written no later than
// its state stood there in its state, too; the transaction is refused if one of them has
// been written since this node looked.
type deletion struct {
	*outlet
	stream  deleteStream
	reader  *reader
	writer  *backend.Writer
	request *remitv1.DeleteTuplesRequest
	pattern backend.Pattern

	store fsm.StoreID
	epoch uint64
	until graph.Revision // what was written later stays
	key   string         // of the transactions, before their number

	after    graph.Row // what stands up to here has been dealt with
	proposed int       // transactions
	size     int       // of the next, at most
	done     remitv1.DeleteTuplesResponse
}

// DeleteTuples deletes what matches a filter, or previews that.
func (s *tupleService) DeleteTuples(ctx context.Context, req *remitv1.DeleteTuplesRequest, stream remitv1connect.TupleServiceDeleteTuplesServerStream) error {
	return s.deleteTuples(ctx, req, stream)
}

func (s *tupleService) deleteTuples(ctx context.Context, req *remitv1.DeleteTuplesRequest, stream deleteStream) error {
	ctx, out, done := s.outlet(ctx)
	defer done()
	d := &deletion{
		outlet: out, stream: stream, reader: s.reader, writer: s.writer, request: req,
		key: "delete/" + ulid.Make().String() + "/", size: deletionTuples,
	}
	err := d.begin(ctx)
	if err == nil {
		err = d.run(ctx)
	}
	if err != nil {
		return d.end(ctx, err)
	}
	return nil
}

// begin checks the request and counts what matches.
func (d *deletion) begin(ctx context.Context) error {
	var err error
	if d.pattern, err = patternOf(d.request.Filter); err != nil {
		return err
	}
	switch all := d.pattern == (backend.Pattern{}); {
	case all && !d.request.Everything:
		return at("filter", fmt.Errorf("%w: it matches every tuple of the store; if that is meant, set everything", backend.ErrRequest))
	case !all && d.request.Everything:
		return at("everything", fmt.Errorf("%w: there is a filter; give one of them", backend.ErrRequest))
	case !d.request.Preview && d.request.ExpectedCount == nil:
		return at("expected_count", fmt.Errorf("%w: say how many tuples may go; a preview counts them", backend.ErrRequest))
	}
	if err := d.reader.CatchUp(ctx); err != nil {
		return err
	}
	if d.request.Token != "" {
		if d.until, err = d.reader.Exactly(ctx, d.request.Token); err != nil {
			return at("token", err)
		}
	}
	root := d.reader.Config.State.Current()
	store, err := backend.FindStore(ctx, root, "store", d.request.Store)
	if err == nil {
		err = backend.Unmanaged("store", store)
	}
	if err != nil {
		return err
	}
	if d.request.Token == "" {
		d.until = root.Revision()
	}
	d.store, d.epoch = store.ID(), root.Epoch()
	d.done.Token = d.reader.Token(root.Revision())
	return d.count(ctx, store)
}

// count finds out how many tuples match, and what some of them are.
func (d *deletion) count(ctx context.Context, store *fsm.Store) error {
	head := backend.HeadOf(store)
	f, err := backend.NewFilter(&head, d.pattern)
	if err != nil {
		return err
	}
	size := 0
	if d.request.Preview && mayRead(ctx, store.ID()) {
		size = pageSize(d.request.SampleSize, defaultSample)
	}
	return f.Each(ctx, func(row *graph.Row) error {
		if store.TupleRevision(row.Userset, row.Edge.Subject) > d.until {
			d.done.Newer++
			return nil
		}
		d.done.Matched++
		if len(d.done.Sample) == size {
			return nil
		}
		shown, err := storedTuple(&head, row)
		d.done.Sample = append(d.done.Sample, shown)
		return err
	})
}

// mayRead reports whether the caller may see what a store holds: who may write need not be
// one who may read.
func mayRead(ctx context.Context, store fsm.StoreID) bool {
	call := identity.CallOf(ctx)
	return call == nil || call.Caller.Grants.On(store).Has(identity.Read)
}

// run deletes what was counted, unless that was all that was asked for.
func (d *deletion) run(ctx context.Context) error {
	if d.request.Preview {
		return d.finish()
	}
	if expected := d.request.GetExpectedCount(); d.done.Matched > expected {
		return at("expected_count", fmt.Errorf("%w: %d tuples match, %d are expected; nothing was deleted", ErrUnexpectedCount, d.done.Matched, expected))
	}
	more := d.done.Matched > 0
	if more {
		d.done.Newer = 0 // they are counted anew, on the way
	}
	for more {
		if err := d.tell(); err != nil {
			return err
		}
		begin := time.Now()
		var err error
		if more, err = d.step(ctx); err != nil {
			return err
		}
		if more {
			giveWay(ctx, begin)
		}
	}
	d.done.Gone = d.done.Matched - d.done.Deleted
	return d.finish()
}

// giveWay waits as long as a step took, so that who writes step by step leaves others half
// of the time. It ends with ctx, which the next step asks.
func giveWay(ctx context.Context, begin time.Time) {
	select {
	case <-ctx.Done():
	case <-time.After(min(time.Since(begin), wayMost)):
	}
}

// finish sends the last message. Whoever is too slow for it has everything all the same.
func (d *deletion) finish() error {
	d.done.Done = true
	if err := d.tell(); !errors.Is(err, ErrSlowReader) {
		return err
	}
	return nil
}

func (d *deletion) tell() error {
	return d.send("", func() error { return d.stream.Send(proto.CloneOf(&d.done)) })
}

// A deletionStep is what one transaction deletes.
type deletionStep struct {
	command *fsm.Command
	deletes int
	newer   uint64
	after   graph.Row // the last row it looked at
	more    bool      // there may be others behind it
}

// step deletes some, and reports whether there may be more.
func (d *deletion) step(ctx context.Context) (more bool, err error) {
	s, err := d.plan(ctx)
	if err != nil {
		return false, err
	}
	if s.deletes > 0 {
		result, err := d.propose(ctx, s.command)
		if errors.Is(err, fsm.ErrPrecondition) {
			// Others have written some of these meanwhile, and what they wrote stays. With
			// fewer at a time it happens less often.
			d.size = max(s.deletes/2, 1)
			return true, d.reader.CatchUp(ctx)
		}
		if err != nil {
			return false, err
		}
		d.size = min(2*d.size, deletionTuples)
		d.done.Deleted += uint64(s.deletes)
		d.done.Token = d.reader.Token(result.Revision)
	}
	d.done.Newer += s.newer
	d.after = s.after
	return s.more, nil
}

// plan makes the next transaction by the newest state.
func (d *deletion) plan(ctx context.Context) (*deletionStep, error) {
	root := d.reader.Config.State.Current()
	if root.Epoch() != d.epoch {
		return nil, backend.ErrOtherEpoch
	}
	store, err := backend.OpenStore(ctx, root, d.store)
	if err != nil {
		return nil, err
	}
	head := backend.HeadOf(store)
	f, err := backend.NewFilter(&head, d.pattern)
	if err != nil {
		return nil, err
	}
	rows, more, err := f.Page(ctx, d.after, d.size)
	if err != nil {
		return nil, err
	}
	write := &fsm.Write{}
	s := &deletionStep{command: &fsm.Command{Store: d.store, Reason: d.request.Reason, Body: write}, after: f.After(), more: more}
	size := 0
	for i := range rows {
		written := store.TupleRevision(rows[i].Userset, rows[i].Edge.Subject)
		if written > d.until {
			s.newer++
			continue
		}
		key, err := rowKey(store, &rows[i])
		if err != nil {
			return nil, err
		}
		// The names stand in the precondition and in the operation.
		const framing = 24
		size += 2 * (framing + len(key.Object.Name) + len(key.Subject.Name))
		if size > deletionBytes && s.deletes > 0 {
			s.after, s.more = rows[i-1], true
			break
		}
		s.command.Preconditions = append(s.command.Preconditions, fsm.Precondition{Kind: fsm.TupleRevision, Tuple: key, Version: uint64(written)})
		write.Operations = append(write.Operations, fsm.Operation{Kind: fsm.DeleteTuple, Tuple: key})
		s.deletes++
	}
	return s, nil
}

// rowKey is a row by name.
func rowKey(store *fsm.Store, row *graph.Row) (fsm.TupleKey, error) {
	object, err := store.Name(row.Userset.Object)
	if err != nil {
		return fsm.TupleKey{}, err
	}
	subject, err := store.Name(row.Edge.Subject.ID)
	if err != nil {
		return fsm.TupleKey{}, err
	}
	return fsm.TupleKey{
		Object: fsm.Entity{Type: row.Userset.Object.Type(), Name: object}, Relation: row.Userset.Relation,
		Subject: fsm.Entity{Type: row.Edge.Subject.ID.Type(), Name: subject}, SubjectRelation: row.Edge.Subject.Relation,
	}, nil
}

// propose writes a transaction, once: it bears a key, so one whose outcome is unknown can
// be proposed again.
func (d *deletion) propose(ctx context.Context, command *fsm.Command) (*fsm.Result, error) {
	d.proposed++
	command.Key = d.key + strconv.Itoa(d.proposed)
	pause := deletionPause
	for attempt := 0; ; attempt++ {
		result, err := d.writer.Do(ctx, func(*fsm.Root) (*fsm.Command, error) { return command, nil })
		again := errors.Is(err, cluster.ErrUnknownOutcome) || errors.Is(err, cluster.ErrNoLeader) || errors.Is(err, cluster.ErrOverloaded)
		if !again || attempt == deletionRetries || ctx.Err() != nil {
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
