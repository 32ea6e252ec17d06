package rpc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
	"github.com/remit-authz/remit/rpc/limit"
)

// An ownedStream sends the responses of a WatchOwned.
type ownedStream interface {
	Send(res *remitv1.WatchOwnedResponse) error
}

// ownedPage is how many changes of documents are held at once, and ownedNotices how many
// notices a message has at most, about.
const (
	ownedPage    = 256
	ownedNotices = 500
)

// An ownedWatch is one WatchOwned under way. Like a watch it holds nothing but its place in
// the changelog. What a change means to an owner it finds out by the states before and after
// it: a record is changed by at most one command of a revision, for whatever is planned rests
// on what has been shown.
type ownedWatch struct {
	*outlet
	service *organisationService
	stream  ownedStream
	every   time.Duration
	beat    time.Time // when the next sign of life is due

	store   fsm.StoreID
	as      string // the seat that asks; empty: an application
	owner   string // who is told; empty: every owner
	request uint64 // fingerprint of what a resumption must repeat
	epoch   [16]byte

	place fsm.Place  // up to where everything has been looked at
	seen  *fsm.Store // as of the place; nil: it must be read

	notices []*remitv1.OwnerNotice // up to the place, that have not been sent
}

// WatchOwned tells owners what others do with their records, until the caller goes, the node
// stops, or the reader does not keep up.
func (s *organisationService) WatchOwned(ctx context.Context, req *remitv1.WatchOwnedRequest, stream remitv1connect.OrganisationServiceWatchOwnedServerStream) error {
	return s.watchOwned(ctx, req, stream, defaultHeartbeat)
}

func (s *organisationService) watchOwned(ctx context.Context, req *remitv1.WatchOwnedRequest, stream ownedStream, every time.Duration) error {
	ctx, out, done := s.outlet(ctx)
	defer done()
	w := &ownedWatch{outlet: out, service: s, stream: stream, every: every}
	err := w.begin(ctx, req)
	if err == nil {
		err = w.run(ctx)
	}
	return w.end(ctx, err)
}

// begin reads the request and sends the first message.
func (w *ownedWatch) begin(ctx context.Context, req *remitv1.WatchOwnedRequest) error {
	r := w.service.reader
	var resumed *cursor
	if req.Token != "" {
		var err error
		if resumed, err = decodeCursor(req.Token); err != nil {
			return at("token", err)
		}
		if resumed.epoch != r.Epoch() {
			return at("token", backend.ErrOtherEpoch)
		}
		if err = r.WaitFor(ctx, resumed.revision); err != nil { // it may be ahead of this node
			return at("token", err)
		}
	}
	root := r.Config.State.Current()
	w.epoch = backend.EpochOf(root)
	store, err := backend.FindStore(ctx, root, "store", req.Store)
	if err != nil {
		return err
	}
	w.store = store.ID()
	o, err := w.service.organisation("store", backend.HeadOf(store))
	if err != nil {
		return err
	}
	if err := w.askedBy(ctx, o, req); err != nil {
		return err
	}
	if w.request, err = fingerprint(&remitv1.WatchOwnedRequest{User: w.owner}); err != nil {
		return err
	}
	w.place = fsm.EndOf(root.Revision())
	if resumed != nil {
		if err := w.goOn(resumed, store); err != nil {
			return at("token", err)
		}
	}
	return w.sendNotices()
}

// askedBy finds out who asks, and about whom.
func (w *ownedWatch) askedBy(ctx context.Context, o *organisation, req *remitv1.WatchOwnedRequest) error {
	a, err := o.actor(ctx, "as", req.As)
	if err != nil {
		return err
	}
	w.as, w.owner = a.seat, req.User
	switch {
	case w.as == "" && w.owner != "":
		_, err = o.seat("user", w.owner)
		return err
	case w.as == "":
		return nil
	case w.owner != "" && w.owner != w.as:
		return at("user", forbidden("the seat %s is told about its own records, and not about those of %q", w.as, w.owner))
	}
	w.owner = w.as
	return nil
}

// goOn takes the place from where an earlier watch ended, if its changes are still kept.
func (w *ownedWatch) goOn(c *cursor, store *fsm.Store) error {
	if c.kind != cursorOwned || c.request != w.request || c.store != [16]byte(w.store) {
		return fmt.Errorf("%w: store and owner must be as they were", ErrCursor)
	}
	d := decoder{b: c.position}
	w.place = fsm.Place{Revision: c.revision, Ordinal: d.uint32()}
	if !d.done() {
		return ErrCursor
	}
	if h := store.HistoryHorizon(); h > store.CreatedRevision() && w.place.Revision < h {
		return fmt.Errorf("%w: what changed behind revision %d; store %s begins at %d. Begin anew without a token", fsm.ErrRevisionGone, w.place.Revision, w.store, h)
	}
	return nil
}

// run tells what happens for ever.
func (w *ownedWatch) run(ctx context.Context) error {
	state := w.service.reader.Config.State
	for {
		root := state.Current()
		if backend.EpochOf(root) != w.epoch {
			return backend.ErrOtherEpoch
		}
		store, ok := root.Store(w.store)
		if !ok {
			return fmt.Errorf("%w: store %s has been deleted meanwhile", fsm.ErrStoreNotFound, w.store)
		}
		if w.seen == nil || !w.seen.Same(store) {
			if err := w.advance(ctx, root.Revision()); err != nil {
				return err
			}
		}
		w.place, w.seen = fsm.EndOf(max(w.place.Revision, root.Revision())), store
		if len(w.notices) > 0 || !time.Now().Before(w.beat) {
			if err := w.tell(ctx); err != nil {
				return err
			}
		}
		limit.Leave(ctx)
		bound, cancel := context.WithDeadline(ctx, w.beat)
		err := state.Published(bound, uint64(w.place.Revision)+1)
		expired := bound.Err() != nil && ctx.Err() == nil
		cancel()
		if err != nil && !expired {
			return err
		}
	}
}

// advance looks at what has changed behind the place up to a revision.
func (w *ownedWatch) advance(ctx context.Context, until graph.Revision) error {
	var t turning
	for more := true; more; {
		page, err := w.service.reader.Config.State.Changes(w.store, fsm.ChangeQuery{
			After: w.place, Until: until, Limit: ownedPage,
			Filter: &fsm.ChangeFilter{Kinds: []fsm.ChangeKind{fsm.DocumentPut, fsm.DocumentDeleted}},
		})
		if err != nil {
			return err
		}
		for _, c := range page.Changes {
			if err := limit.Pace(ctx); err != nil {
				return err
			}
			if err := w.change(ctx, &t, c); err != nil {
				return err
			}
			w.place = fsm.Place{Revision: c.Revision, Ordinal: c.Ordinal}
			if len(w.notices) >= ownedNotices || !time.Now().Before(w.beat) {
				if err := w.tell(ctx); err != nil {
					return err
				}
			}
		}
		w.place, more = page.Next, page.More
		if !time.Now().Before(w.beat) { // it looks for few among many
			if err := w.tell(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// tell sends what there is to tell, if the seat that asks still may be told.
func (w *ownedWatch) tell(ctx context.Context) error {
	if w.as != "" {
		store, err := backend.OpenStore(ctx, w.service.reader.Config.State.Current(), w.store)
		if err != nil {
			return err
		}
		o, err := w.service.organisation("store", backend.HeadOf(store))
		if err != nil {
			return err
		}
		if _, err := o.actor(ctx, "as", w.as); err != nil {
			return err
		}
	}
	return w.sendNotices()
}

// sendNotices sends a message that ends at the watch's place.
func (w *ownedWatch) sendNotices() error {
	c := cursor{
		kind: cursorOwned, epoch: w.epoch, store: w.store, revision: w.place.Revision,
		position: binary.BigEndian.AppendUint32(nil, w.place.Ordinal), request: w.request,
	}
	res := &remitv1.WatchOwnedResponse{Notices: w.notices, Token: c.String()}
	w.notices, w.beat = nil, time.Now().Add(w.every)
	return w.send(res.Token, func() error { return w.stream.Send(res) })
}

// A turning is an organisation before and after a revision, as far as it has been asked
// for.
type turning struct {
	revision      graph.Revision
	at            time.Time
	before, after *organisation
	active        map[string]bool // seats, after
}

// change finds out what the change of a document means to owners.
func (w *ownedWatch) change(ctx context.Context, t *turning, c *fsm.Change) error {
	if t.revision != c.Revision {
		*t = turning{revision: c.Revision, at: time.UnixMilli(c.Time).UTC(), active: map[string]bool{}}
	}
	by := strings.TrimPrefix(c.Actor, (&crm.Seat{}).Key().String())
	if w.owner != "" && by == w.owner {
		return nil
	}
	store, err := backend.OpenStore(ctx, w.service.reader.Config.State.Current(), w.store)
	if err != nil {
		return err
	}
	key, err := backend.ObjectName(store.Symbols(), store, c.Entity)
	if errors.Is(err, graph.ErrUnknownEntity) {
		return nil // nobody is told about what has been erased
	}
	if err != nil || !crm.IsRecord(key) {
		return err
	}
	if err := w.open(ctx, t); err != nil {
		return err
	}
	before, err := recordAt(t.before, key)
	if before == nil || err != nil {
		return err
	}
	after, err := recordAt(t.after, key)
	if err != nil {
		return err
	}
	for _, n := range crm.Notices(before, after, by, t.at) {
		if w.owner != "" && n.Owner != w.owner {
			continue
		}
		told, err := t.tells(ctx, key, &n)
		if err != nil {
			return err
		}
		if told {
			w.notices = append(w.notices, &remitv1.OwnerNotice{
				Kind: remitv1.OwnerNotice_Kind(n.Kind), Owner: n.Owner, Record: key.String(), By: by,
				At: timestamppb.New(t.at), Text: n.Text(), Revision: uint64(c.Revision),
			})
		}
	}
	return nil
}

// open reads the organisation before and after a revision. There is none before the one in
// which it was made.
func (w *ownedWatch) open(ctx context.Context, t *turning) (err error) {
	if t.after != nil {
		return nil
	}
	if t.after, err = w.service.asOf(ctx, w.store, t.revision); err != nil {
		return err
	}
	t.before, err = w.service.asOf(ctx, w.store, t.revision-1)
	if errors.Is(err, ErrNoOrganisation) {
		t.before, err = nil, nil
	}
	for _, o := range []*organisation{t.before, t.after} {
		if o != nil {
			o.At = t.at
		}
	}
	return err
}

func recordAt(o *organisation, key graph.ObjectName) (*crm.Record, error) {
	if o == nil {
		return nil, nil //nolint:nilnil // no record is an answer
	}
	e, _, err := o.entities.Entity(key)
	r, _ := e.(*crm.Record)
	return r, err
}

// tells reports whether an owner is told, and takes from the notice what the owner may not
// know.
func (t *turning) tells(ctx context.Context, key graph.ObjectName, n *crm.Notice) (bool, error) {
	active, known := t.active[n.Owner]
	if !known {
		e, _, err := t.after.entities.Entity((&crm.Seat{ID: n.Owner}).Key())
		if err != nil {
			return false, err
		}
		seat, ok := e.(*crm.Seat)
		active = ok && !seat.Suspended
		t.active[n.Owner] = active
	}
	if !active || n.Away {
		return active, nil
	}
	o := t.after
	if n.Kind == crm.NoticeDeleted {
		o = t.before
	}
	return o.atWork(ctx, n.Owner, func() (bool, error) {
		visible, err := o.may(ctx, n.Owner, key, crm.ActionView.Relation())
		if err != nil || !visible || n.Kind != crm.NoticeChanged {
			return visible, err
		}
		r := crm.Record{Module: key.Type, ID: key.ID}
		for _, name := range n.Fields {
			insert(&r.Fields, name, any(true))
		}
		readable, err := o.readable(ctx, n.Owner, &r)
		fields := n.Fields[:0]
		for _, name := range n.Fields {
			if _, ok := readable[name]; ok {
				fields = append(fields, name)
			}
		}
		n.Fields = fields
		return n.Above || len(fields) > 0, err
	})
}

// atWork judges what a seat may do; if it may not, and that may be because it is outside its
// working hours, as it will be when it works next.
func (o *organisation) atWork(ctx context.Context, seat string, judge func() (bool, error)) (bool, error) {
	allowed, err := judge()
	if err != nil || allowed {
		return allowed, err
	}
	if member, err := o.may(ctx, seat, o.key, "member"); err != nil || member {
		return false, err
	}
	user, ok, err := o.Base.Lookup(o.Plan.Deeds.User.ID, seat)
	if err != nil || !ok {
		return false, err
	}
	roster, err := crm.NewRoster(o.Base, o.Plan.Deeds, o.At)
	if err != nil {
		return false, err
	}
	next, ok, err := roster.Next(user, time.Time{})
	if err != nil || !ok {
		return false, err
	}
	now := o.At
	o.At = next
	defer func() { o.At = now }()
	return judge()
}
