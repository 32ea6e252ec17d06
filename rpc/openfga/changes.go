package openfga

import (
	"context"
	"errors"
	"math"
	"time"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/rpc/backend"
)

// ReadChanges pages through what happened to the tuples of a store, oldest first. A tuple
// that was replaced is one more write of it; one that expired is a delete, at the time at
// which it was removed, which is some time after it stopped counting.
func (s *service) ReadChanges(ctx context.Context, req *openfgav1.ReadChangesRequest) (*openfgav1.ReadChangesResponse, error) {
	if p := req.GetPageSize(); p != nil && (p.GetValue() < 1 || int(p.GetValue()) > s.config.MaxChangesPage) {
		return nil, errorf(codes.InvalidArgument, "invalid ReadChangesRequest.PageSize: value must be inside range [1, %d]", s.config.MaxChangesPage)
	}
	head, root, err := s.store(ctx, req.GetStoreId(), openfgav1.ConsistencyPreference_UNSPECIFIED)
	if err != nil {
		return nil, err
	}
	respondToken(ctx, s.reader.Token(root.Revision()))
	r := &changesReader{service: s, size: pageSize(req.GetPageSize()), until: math.MaxInt64}
	if offset := s.config.ChangelogHorizonOffset; offset > 0 {
		r.until = s.reader.Now().Add(-offset).UnixMilli()
	}
	r.next.typ = req.GetType()
	if head != nil {
		r.store = head.ID()
	}
	if err := r.begin(ctx, req); err != nil {
		return nil, err
	}
	// That nothing is new leaves the client where it is.
	same := &openfgav1.ReadChangesResponse{ContinuationToken: req.GetContinuationToken()}
	if head == nil {
		return same, nil
	}
	if req.GetType() != "" {
		var ok bool
		if r.query.Type, ok = head.Symbols().TypeID(req.GetType()); !ok {
			return same, nil
		}
	}
	res := &openfgav1.ReadChangesResponse{}
	if res.Changes, err = r.read(ctx); err != nil {
		return nil, err
	}
	if !r.moved {
		return same, nil
	}
	next := continuation{kind: continueChanges, store: r.store, position: r.next.append(nil)}
	res.ContinuationToken = next.String()
	return res, nil
}

// A changesReader reads one page of changes.
type changesReader struct {
	service *service
	store   fsm.StoreID
	size    int
	until   int64 // changes after this, in milliseconds since 1970 UTC, are not shown yet

	query fsm.ChangeQuery
	next  changePosition // where the client goes on
	moved bool           // whether that is elsewhere than where it began
}

// begin finds out where the page begins: behind the last one, or else at the instant that
// the request names.
func (r *changesReader) begin(ctx context.Context, req *openfgav1.ReadChangesRequest) error {
	r.query.Tuples = true
	position, err := positionIn(req.GetContinuationToken(), continueChanges, r.store)
	if err != nil {
		return err
	}
	if position == nil {
		if start := req.GetStartTime(); start != nil && !start.AsTime().IsZero() {
			if start.AsTime().UnixMilli() < 0 {
				return errInvalidStartTime
			}
			r.query.Since = start.AsTime().Truncate(time.Millisecond)
		}
		return nil
	}
	p, err := changeAt(position)
	if err != nil {
		return err
	}
	if p.typ != r.next.typ {
		return errTokenOfOtherType
	}
	r.next = p
	if p.epoch != r.service.reader.Config.State.Current().Epoch() {
		// The cluster was restored, and the place means another one now, or none. What the
		// client has seen last still says when to go on, though it may see that again.
		r.query.Since = p.time
		return nil
	}
	r.query.After = p.place
	return r.service.reader.WaitFor(ctx, p.place.Revision)
}

// read collects the page. A restriction to a type may have to go through very many
// changes of other types: when time runs out, the client goes on from there.
func (r *changesReader) read(ctx context.Context) ([]*openfgav1.TupleChange, error) {
	var changes []*openfgav1.TupleChange
	for {
		r.query.Limit = r.size - len(changes)
		page, err := r.page()
		if err != nil {
			return nil, err
		}
		store, ok := page.Root.Store(r.store)
		if !ok {
			return nil, fsm.ErrStoreNotFound // it was there a moment ago
		}
		respondToken(ctx, r.service.reader.Token(page.Root.Revision()))
		for _, c := range page.Changes {
			if c.Time > r.until {
				return changes, nil
			}
			m, err := changeMessage(store, c)
			if err != nil {
				return nil, err
			}
			changes = append(changes, m)
			r.next.time = time.UnixMilli(c.Time)
			r.moveTo(page.Root, fsm.Place{Revision: c.Revision, Ordinal: c.Ordinal})
		}
		if len(changes) == r.size || !page.More {
			return changes, nil
		}
		r.query.After, r.query.Since = page.Next, time.Time{}
		r.moveTo(page.Root, page.Next)
		if ctx.Err() != nil {
			return changes, nil
		}
	}
}

// page reads what follows, or what is still kept of it if the client begins at a time of
// which not everything is.
func (r *changesReader) page() (*fsm.ChangePage, error) {
	state := r.service.reader.Config.State
	page, err := state.Changes(r.store, r.query)
	if !errors.Is(err, fsm.ErrRevisionGone) {
		return page, err
	}
	if r.query.After != (fsm.Place{}) && r.query.Since.IsZero() {
		return nil, newError(errInvalidContinuationToken.Code, errInvalidContinuationToken.Message+": the changes that follow it are no longer kept")
	}
	head, ok := state.Current().Store(r.store)
	if !ok {
		return nil, err
	}
	r.query.After, r.query.Since = fsm.EndOf(head.HistoryHorizon()), time.Time{}
	return state.Changes(r.store, r.query)
}

func (r *changesReader) moveTo(root *fsm.Root, place fsm.Place) {
	r.next.epoch, r.next.place, r.moved = root.Epoch(), place, true
}

// changeMessage is a change of a tuple. Of a tuple that was removed its ends alone are
// told.
func changeMessage(store *fsm.Store, c *fsm.Change) (*openfgav1.TupleChange, error) {
	named, err := backend.RowTuple(store.Symbols(), store, &c.Tuple)
	if err != nil {
		return nil, err
	}
	m := &openfgav1.TupleChange{
		Operation: openfgav1.TupleOperation_TUPLE_OPERATION_WRITE,
		Timestamp: timestamppb.New(time.UnixMilli(c.Time)),
	}
	if c.Kind != fsm.TuplePut {
		m.Operation = openfgav1.TupleOperation_TUPLE_OPERATION_DELETE
		named.Condition = ""
	}
	m.TupleKey, err = keyMessage(&named)
	return m, err
}
