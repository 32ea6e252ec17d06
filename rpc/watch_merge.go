package rpc

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// mergedChanges is how many changes a merge holds, over all stores, and storeChanges how
// many at least of each: enough that a store that has much to tell is read in long pages.
const (
	mergedChanges = 10_000
	storeChanges  = 16
)

// A merge sends the changes of several stores in the order in which they took effect.
type merge struct {
	*watch
	until graph.Revision // the last revision to send
	feeds []*feed        // in the order of the stores' ids

	deleted []fsm.StoreID // since the place; told at the last revision
	at      time.Time     // the time of the last revision

	res       *remitv1.WatchChanges    // the message under way …
	revision  *remitv1.RevisionChanges // … and its last revision
	count     int
	bytes     int
	lastPlace watchPlace // behind the last change in the message
}

// A feed is one store's changes, read page by page.
type feed struct {
	store   fsm.StoreID
	changes []*fsm.Change
	next    fsm.Place
	more    bool
	names   *fsm.Store // knows the names in the changes
}

// run sends everything until the last revision, and leaves the place there.
func (m *merge) run(ctx context.Context) error {
	for {
		revision, ok, err := m.first(ctx)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		for _, f := range m.feeds {
			if err := m.take(ctx, f, revision); err != nil {
				return err
			}
		}
		if revision == m.until {
			break
		}
		m.revision = nil
		m.lastPlace = watchPlace{revision: revision}
		if m.count >= messageTuples || m.bytes >= messageBytes {
			if err := m.flush(); err != nil {
				return err
			}
		}
		if err := m.beatDue(); err != nil {
			return err
		}
	}
	for _, id := range m.deleted {
		m.begin(m.until, m.at)
		m.revision.Changes = append(m.revision.Changes, &remitv1.Change{Kind: remitv1.Change_KIND_STORE_DELETED, StoreId: id.String()})
	}
	m.lastPlace = watchPlace{revision: m.until}
	if err := m.flush(); err != nil {
		return err
	}
	m.place = m.lastPlace
	return nil
}

// beatDue sends a sign of life if all that is found is of no interest.
func (m *merge) beatDue() error {
	if m.count > 0 || time.Now().Before(m.beat) {
		return nil
	}
	m.place = m.lastPlace
	return m.sendBeat()
}

// first finds the first revision that any of the stores has changes at.
func (m *merge) first(ctx context.Context) (revision graph.Revision, ok bool, err error) {
	for _, f := range m.feeds {
		c, err := m.head(ctx, f)
		if err != nil {
			return 0, false, err
		}
		if c != nil && (!ok || c.Revision < revision) {
			revision, ok = c.Revision, true
		}
	}
	return revision, ok, nil
}

// head is a store's next change, nil if it has none until the last revision.
func (m *merge) head(ctx context.Context, f *feed) (*fsm.Change, error) {
	for len(f.changes) == 0 && f.more {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if f.next.Revision > m.until {
			f.more = false
			break
		}
		page, err := m.service.reader.Config.State.Changes(f.store, fsm.ChangeQuery{
			After: f.next, Limit: max(storeChanges, mergedChanges/len(m.feeds)),
		})
		if errors.Is(err, fsm.ErrStoreNotFound) {
			f.more = false // that it has been deleted is told at the end
			break
		}
		if err != nil {
			return nil, err
		}
		f.changes, f.next, f.more = page.Changes, page.Next, page.More
		f.names, _ = page.Root.Store(f.store)
	}
	if len(f.changes) == 0 || f.changes[0].Revision > m.until {
		return nil, nil //nolint:nilnil // no change is an answer
	}
	return f.changes[0], nil
}

// take adds a store's changes at a revision to the message.
func (m *merge) take(ctx context.Context, f *feed, revision graph.Revision) error {
	for {
		c, err := m.head(ctx, f)
		if err != nil {
			return err
		}
		if c == nil || c.Revision != revision {
			return nil
		}
		message, err := m.message(f, c)
		if err != nil {
			return err
		}
		f.changes = f.changes[1:]
		if message == nil {
			continue
		}
		if err := m.add(c, f.store, message); err != nil {
			return err
		}
	}
}

// add puts a change into the message. A revision that is too large for one is continued
// in the next, and says so.
func (m *merge) add(c *fsm.Change, store fsm.StoreID, message *remitv1.Change) error {
	size := tupleSize(message.Tuple)
	if m.revision != nil && m.bytes+size > maxRevisionBytes {
		m.revision.More = true
		if err := m.flush(); err != nil {
			return err
		}
	}
	m.begin(c.Revision, time.UnixMilli(c.Time))
	m.revision.Changes = append(m.revision.Changes, message)
	m.count++
	m.bytes += size
	m.lastPlace = watchPlace{revision: c.Revision, inside: true, store: store, ordinal: c.Ordinal}
	return nil
}

// begin makes sure that there is a revision to add changes to.
func (m *merge) begin(revision graph.Revision, at time.Time) {
	if m.res == nil {
		m.res = &remitv1.WatchChanges{}
	}
	if m.revision == nil {
		m.revision = &remitv1.RevisionChanges{Revision: uint64(revision), Time: timestamppb.New(at)}
		m.res.Revisions = append(m.res.Revisions, m.revision)
	}
}

// maxRevisionBytes is what a message may grow to for the sake of a revision that shall
// not be split. It stays below the 4 MiB that clients take by default.
const maxRevisionBytes = 2 << 20

// flush sends the message under way.
func (m *merge) flush() error {
	if m.res == nil {
		return nil
	}
	m.place = m.lastPlace
	res := &remitv1.WatchResponse{Event: &remitv1.WatchResponse_Changes{Changes: m.res}}
	m.res, m.revision, m.count, m.bytes = nil, nil, 0, 0
	return m.sendEvent(res)
}

// message writes a change for the wire; nil if it is none that the reader asked for.
func (m *merge) message(f *feed, c *fsm.Change) (*remitv1.Change, error) {
	message := &remitv1.Change{
		StoreId: f.store.String(),
		Reason:  c.Reason, RequestId: c.RequestID, Principal: c.Principal, Actor: c.Actor,
	}
	switch c.Kind {
	case fsm.TuplePut:
		message.Kind = remitv1.Change_KIND_TUPLE_PUT
	case fsm.TupleDeleted:
		message.Kind = remitv1.Change_KIND_TUPLE_DELETED
	case fsm.TupleExpired:
		message.Kind = remitv1.Change_KIND_TUPLE_EXPIRED
	case fsm.ModelWritten:
		message.Kind, message.ModelId = remitv1.Change_KIND_MODEL_WRITTEN, c.Model.String()
		return message, nil
	case fsm.StoreCreated:
		message.Kind, message.StoreName = remitv1.Change_KIND_STORE_CREATED, c.Name
		return message, nil
	case fsm.EntityErased:
		message.Kind = remitv1.Change_KIND_ENTITY_ERASED
		return message, nil
	default:
		return nil, nil //nolint:nilnil // no message is an answer
	}
	t, err := m.filter.tuple(f.names.Symbols(), f.names, &c.Tuple)
	if t == nil {
		return nil, err
	}
	message.Tuple = t
	return message, nil
}
