package rpc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
	"github.com/remit-authz/remit/rpc/identity"
	"github.com/remit-authz/remit/rpc/token"
)

// watchService answers remit.v1.WatchService.
type watchService struct{ streamer }

// defaultHeartbeat is shorter than the time after which proxies give up a connection on
// which nothing happens.
const defaultHeartbeat = 15 * time.Second

// A watchStream sends the responses of a Watch.
type watchStream interface {
	Send(res *remitv1.WatchResponse) error
}

// A watch is one Watch under way. It holds no changes: the changelog is its buffer, so a
// reader that lags costs no more than one that does not.
type watch struct {
	*outlet
	service *watchService
	stream  watchStream
	filter  *matcher
	request uint64        // fingerprint of what a resumption must repeat
	chosen  []fsm.StoreID // nil: all
	epoch   [16]byte
	every   time.Duration
	beat    time.Time // when the next heartbeat is due

	place watchPlace
	seen  map[fsm.StoreID]*fsm.Store // as of the place; nil for one that must be read anew
}

// A watchPlace is up to where a watch has sent everything.
type watchPlace struct {
	// revision is the last that has been sent, but for the case that the place is inside
	// of it: then store and ordinal are those of the last change sent.
	revision graph.Revision
	inside   bool
	store    fsm.StoreID
	ordinal  uint32

	// snapshot says that the place is in the snapshot of the revision: behind a row of a
	// store.
	snapshot bool
	row      graph.Row
}

// What a watch's point of resumption begins with.
const (
	atRevision byte = iota
	insideRevision
	inSnapshot
)

// after is where the changes of a store begin that have not been sent.
func (p *watchPlace) after(store fsm.StoreID) fsm.Place {
	switch {
	case !p.inside:
		return fsm.EndOf(p.revision)
	case store.Compare(p.store) < 0:
		return fsm.EndOf(p.revision)
	case store == p.store:
		return fsm.Place{Revision: p.revision, Ordinal: p.ordinal}
	default:
		return fsm.EndOf(p.revision - 1)
	}
}

func (p *watchPlace) encode() []byte {
	switch {
	case p.snapshot:
		return appendRow(append([]byte{inSnapshot}, p.store[:]...), p.row)
	case p.inside:
		b := append([]byte{insideRevision}, p.store[:]...)
		return append(b, byte(p.ordinal>>24), byte(p.ordinal>>16), byte(p.ordinal>>8), byte(p.ordinal))
	default:
		return []byte{atRevision}
	}
}

// decodePlace is the reverse of encode.
func decodePlace(revision graph.Revision, b []byte) (p watchPlace, err error) {
	d := decoder{b: b}
	p.revision = revision
	switch d.byte() {
	case atRevision:
	case insideRevision:
		p.inside = true
		copy(p.store[:], d.take(len(p.store)))
		p.ordinal = d.uint32()
	case inSnapshot:
		p.snapshot = true
		copy(p.store[:], d.take(len(p.store)))
		if p.row, err = rowPosition(d.take(len(d.b))); err != nil {
			return p, err
		}
	default:
		d.bad = true
	}
	if !d.done() || p.inside && revision == 0 {
		return p, ErrCursor
	}
	return p, nil
}

// Watch sends what changes until the caller goes, the node stops, or the reader does not
// keep up.
func (s *watchService) Watch(ctx context.Context, req *remitv1.WatchRequest, stream remitv1connect.WatchServiceWatchServerStream) error {
	return s.watch(ctx, req, stream)
}

func (s *watchService) watch(ctx context.Context, req *remitv1.WatchRequest, stream watchStream) error {
	ctx, out, done := s.outlet(ctx)
	defer done()
	w := &watch{outlet: out, service: s, stream: stream, every: defaultHeartbeat, seen: map[fsm.StoreID]*fsm.Store{}}
	err := w.begin(ctx, req)
	if err == nil {
		err = w.run(ctx)
	}
	return w.end(ctx, err)
}

// begin reads the request, finds the place, and sends the first message.
func (w *watch) begin(ctx context.Context, req *remitv1.WatchRequest) (err error) {
	if req.Heartbeat != nil {
		w.every = req.Heartbeat.AsDuration()
	}
	if w.filter, err = matcherOf(req.Filters); err != nil {
		return err
	}
	r := w.service.reader
	// The point of resumption, or the token, may be ahead of this node.
	var resumed *cursor
	switch from := req.From.(type) {
	case *remitv1.WatchRequest_Resume:
		if resumed, err = decodeCursor(from.Resume); err != nil {
			return at("resume", err)
		}
		if resumed.epoch != r.Epoch() {
			return at("resume", backend.ErrOtherEpoch)
		}
		if err = r.WaitFor(ctx, resumed.revision); err != nil {
			return at("resume", err)
		}
	case *remitv1.WatchRequest_Token:
		if w.place.revision, err = r.Exactly(ctx, from.Token); err != nil {
			return at("token", err)
		}
	case *remitv1.WatchRequest_Time:
		var t time.Time
		if t, err = instantOf("time", from.Time); err == nil {
			if w.place.revision, err = r.RevisionAt(ctx, t); err != nil {
				err = at("time", err)
			}
		}
		if err != nil {
			return err
		}
	}
	root := r.Config.State.Current()
	w.epoch = backend.EpochOf(root)
	if err = w.choose(ctx, root, req); err != nil {
		return err
	}
	switch req.From.(type) {
	case *remitv1.WatchRequest_Resume:
		if resumed.kind != cursorWatch || resumed.request != w.request {
			return at("resume", fmt.Errorf("%w: stores and filters must be as they were", ErrCursor))
		}
		if w.place, err = decodePlace(resumed.revision, resumed.position); err != nil {
			return at("resume", err)
		}
	case *remitv1.WatchRequest_Now:
		w.place.revision = root.Revision()
	case *remitv1.WatchRequest_Snapshot:
		w.place = watchPlace{revision: root.Revision(), snapshot: true}
	case *remitv1.WatchRequest_Earliest:
		w.each(ctx, root, func(s *fsm.Store) {
			// The horizon of a store that has lost nothing is its creation.
			if h := s.HistoryHorizon(); h > s.CreatedRevision() {
				w.place.revision = max(w.place.revision, h)
			}
		})
	}
	begun := &remitv1.WatchBegun{}
	w.each(ctx, root, func(s *fsm.Store) {
		begun.StoreIds = append(begun.StoreIds, s.ID().String())
		w.seen[s.ID()] = nil
	})
	if err = w.retained(ctx, root); err != nil {
		return err
	}
	if err = w.sendEvent(&remitv1.WatchResponse{Event: &remitv1.WatchResponse_Begun{Begun: begun}}); err != nil {
		return err
	}
	if w.place.snapshot {
		return w.sendSnapshot(ctx, root)
	}
	return nil
}

// choose finds the stores of the request and takes the fingerprint of all that a
// resumption must repeat.
func (w *watch) choose(ctx context.Context, root *fsm.Root, req *remitv1.WatchRequest) (err error) {
	for i, name := range req.Stores {
		s, err := backend.FindStore(ctx, root, indexed("stores", i), name)
		if err != nil {
			return err
		}
		w.chosen = append(w.chosen, s.ID())
	}
	slices.SortFunc(w.chosen, fsm.StoreID.Compare)
	w.chosen = slices.Compact(w.chosen)
	// By id, so that a store that was renamed, or made anew, is not taken for another.
	if w.request, err = fingerprint(&remitv1.WatchRequest{Filters: req.Filters}); err != nil {
		return err
	}
	h := xxhash.New()
	var b [8]byte
	for i := range b {
		b[i] = byte(w.request >> (8 * i))
	}
	_, _ = h.Write(b[:])
	for _, id := range w.chosen {
		_, _ = h.Write(id[:])
	}
	w.request = h.Sum64()
	return nil
}

// retained refuses at once what the first page of changes would refuse: a place whose
// changes are no longer kept.
func (w *watch) retained(ctx context.Context, root *fsm.Root) (err error) {
	w.each(ctx, root, func(s *fsm.Store) {
		h := s.HistoryHorizon()
		if gone := h > s.CreatedRevision() && w.place.revision < h || w.place.snapshot && w.place.revision < h && s.CreatedRevision() <= w.place.revision; gone && err == nil {
			err = fmt.Errorf("%w: what changed behind revision %d; store %s begins at %d. Begin anew with a snapshot",
				fsm.ErrRevisionGone, w.place.revision, s.ID(), h)
		}
	})
	return err
}

// each calls f with every watched store of a state, in the order of their ids. A watch of
// all stores is one of those that its caller may read.
func (w *watch) each(ctx context.Context, root *fsm.Root, f func(*fsm.Store)) {
	if w.chosen == nil {
		backend.Stores(ctx, root, fsm.StoreID{}, func(s *fsm.Store) bool {
			if identity.Permitted(ctx, s.ID()) {
				f(s)
			}
			return true
		})
		return
	}
	for _, id := range w.chosen {
		if s, ok := root.Store(id); ok {
			f(s)
		}
	}
}

// sendEvent sends a message that ends at the watch's place.
func (w *watch) sendEvent(res *remitv1.WatchResponse) error {
	c := cursor{kind: cursorWatch, epoch: w.epoch, revision: w.place.revision, position: w.place.encode(), request: w.request}
	res.Resume = c.String()
	if !w.place.snapshot && !w.place.inside {
		res.Token = token.Token{Epoch: w.epoch, Revision: uint64(w.place.revision)}.String()
	}
	w.beat = time.Now().Add(w.every)
	return w.send(res.Resume, func() error { return w.stream.Send(res) })
}

// sendSnapshot sends the tuples at the place's revision that have not been sent, and
// leaves the place behind that revision.
func (w *watch) sendSnapshot(ctx context.Context, root *fsm.Root) error {
	begin := w.place
	var stores []*fsm.Store
	w.each(ctx, root, func(s *fsm.Store) {
		if s.CreatedRevision() <= begin.revision && s.ID().Compare(begin.store) >= 0 {
			stores = append(stores, s)
		}
	})
	res := &remitv1.WatchSnapshot{}
	for _, s := range stores {
		resumed := s.ID() == begin.store
		if len(res.Tuples) > 0 || res.Store != nil {
			if err := w.sendEvent(&remitv1.WatchResponse{Event: &remitv1.WatchResponse_Snapshot{Snapshot: res}}); err != nil {
				return err
			}
		}
		res = &remitv1.WatchSnapshot{StoreId: s.ID().String()}
		if !resumed {
			res.Store = storeMessage(s)
			for _, m := range s.Models() {
				if m.Revision <= begin.revision {
					res.ModelId = m.ID.String()
				}
			}
			w.place.store, w.place.row = s.ID(), graph.Row{}
		}
		var err error
		if res, err = w.sendRows(ctx, root, s, res); errors.Is(err, fsm.ErrStoreNotFound) && w.chosen == nil {
			continue // that it is gone is told behind the snapshot
		}
		if err != nil {
			return err
		}
	}
	w.place = watchPlace{revision: begin.revision}
	res.Complete = true
	return w.sendEvent(&remitv1.WatchResponse{Event: &remitv1.WatchResponse_Snapshot{Snapshot: res}})
}

// sendRows sends a store's part of the snapshot, but for the last message, which it
// returns.
func (w *watch) sendRows(ctx context.Context, root *fsm.Root, s *fsm.Store, res *remitv1.WatchSnapshot) (*remitv1.WatchSnapshot, error) {
	p := w.service.reader.pin(root, s.ID())
	if root.Revision() != w.place.revision {
		p.head, p.revision = nil, w.place.revision
	}
	var b batch
	err := p.rows(ctx, w.place.row, func(row *graph.Row, names *fsm.Store) error {
		t, err := w.filter.tuple(names.Symbols(), names, row)
		if err != nil {
			return err
		}
		if b.full() {
			res.Tuples = b.take()
			if err := w.sendEvent(&remitv1.WatchResponse{Event: &remitv1.WatchResponse_Snapshot{Snapshot: res}}); err != nil {
				return err
			}
			res = &remitv1.WatchSnapshot{StoreId: res.StoreId}
		}
		w.place.row = *row
		if t != nil {
			b.add(t)
		} else if time.Now().After(w.beat) { // it looks for few among many
			return w.sendBeat()
		}
		return nil
	})
	res.Tuples = b.take()
	return res, err
}

func (w *watch) sendBeat() error {
	return w.sendEvent(&remitv1.WatchResponse{Event: &remitv1.WatchResponse_Heartbeat{
		Heartbeat: &remitv1.WatchHeartbeat{Time: timestamppb.New(w.service.reader.Config.Clock())},
	}})
}

// run sends changes for ever.
func (w *watch) run(ctx context.Context) error {
	state := w.service.reader.Config.State
	for {
		root := state.Current()
		if backend.EpochOf(root) != w.epoch {
			return backend.ErrOtherEpoch
		}
		if root.Revision() > w.place.revision || w.place.inside {
			if err := w.advance(ctx, root); err != nil {
				return err
			}
		}
		if !time.Now().Before(w.beat) {
			if err := w.sendBeat(); err != nil {
				return err
			}
		}
		bound, cancel := context.WithDeadline(ctx, w.beat)
		err := state.Published(bound, uint64(w.place.revision)+1)
		expired := bound.Err() != nil && ctx.Err() == nil
		cancel()
		if err != nil && !expired {
			return err
		}
	}
}

// advance sends what has changed between the place and a state.
func (w *watch) advance(ctx context.Context, root *fsm.Root) error {
	m := merge{watch: w, until: root.Revision(), at: root.Time()}
	var known []fsm.StoreID
	w.each(ctx, root, func(s *fsm.Store) {
		known = append(known, s.ID())
		if last, ok := w.seen[s.ID()]; !ok || last == nil || !last.Same(s) {
			m.feeds = append(m.feeds, &feed{store: s.ID(), next: w.place.after(s.ID()), more: true})
		}
		w.seen[s.ID()] = s
	})
	if len(w.seen) > len(known) {
		m.deleted = w.forget(root)
	}
	if err := m.run(ctx); err != nil {
		return err
	}
	if len(known) == 0 && w.chosen != nil {
		return fmt.Errorf("%w: all that were watched have been deleted", fsm.ErrStoreNotFound)
	}
	return nil
}

// forget drops the stores that are there no longer, and returns them.
func (w *watch) forget(root *fsm.Root) []fsm.StoreID {
	var gone []fsm.StoreID
	for id := range w.seen {
		if _, ok := root.Store(id); !ok {
			gone = append(gone, id)
			delete(w.seen, id)
		}
	}
	slices.SortFunc(gone, fsm.StoreID.Compare)
	return gone
}
