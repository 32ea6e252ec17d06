package rpc

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// auditService answers remit.v1.AuditService.
type auditService struct {
	reader *reader
	budget int // how many changes a page examines: auditWork, but for tests
}

// ListChanges pages through the changes of a store.
func (s *auditService) ListChanges(ctx context.Context, req *remitv1.ListChangesRequest) (*remitv1.ListChangesResponse, error) {
	p := auditPage{reader: s.reader, size: pageSize(req.PageSize, defaultAudit), budget: s.budget, backwards: req.NewestFirst}
	text := req.Cursor
	req.Cursor, req.PageSize = "", 0
	if err := p.open(ctx, req, text, req.Filter); err != nil {
		return nil, err
	}
	store, err := backend.FindStore(ctx, p.root, "store", req.Store)
	if err != nil {
		return nil, err
	}
	filter, nothing, err := storeFilter(store, req.Filter, &p.bounds)
	if err != nil {
		return nil, err
	}
	if err := p.resume(store.ID(), 1); err != nil {
		return nil, err
	}
	p.feeds[0].open(storeAudit{s.reader, store.ID()}, filter, nothing)
	if err := p.read(ctx); err != nil {
		return nil, err
	}
	res := &remitv1.ListChangesResponse{Changes: p.changes, Cursor: p.cursor(), Progress: p.progress()}
	res.Progress.KeptSince, err = s.keptSince(store)
	return res, err
}

// keptSince is the first revision of which a store still has all changes.
func (s *auditService) keptSince(store *fsm.Store) (*remitv1.Moment, error) {
	newer, ok := s.reader.Config.State.Current().Store(store.ID())
	if !ok {
		return nil, fsm.ErrStoreNotFound
	}
	revision, at, err := s.reader.Earliest(newer)
	return &remitv1.Moment{Revision: uint64(revision), At: timestamppb.New(at)}, err
}

// ListClusterChanges pages through what concerns no store alone.
func (s *auditService) ListClusterChanges(ctx context.Context, req *remitv1.ListClusterChangesRequest) (*remitv1.ListClusterChangesResponse, error) {
	p := auditPage{reader: s.reader, size: pageSize(req.PageSize, defaultAudit), budget: s.budget, backwards: req.NewestFirst}
	text := req.Cursor
	req.Cursor, req.PageSize = "", 0
	if err := p.open(ctx, req, text, req.Filter); err != nil {
		return nil, err
	}
	if err := onTuples(req.Filter); err != nil {
		return nil, err
	}
	if err := p.resume(fsm.StoreID{}, 2); err != nil {
		return nil, err
	}
	filter, nothing := auditFilter(req.Filter, &p.bounds, groupKinds)
	p.feeds[0].open(groupAudit{s.reader}, filter, nothing)
	filter, nothing = auditFilter(req.Filter, &p.bounds, systemKinds)
	_, keys := p.root.Store(backend.SystemStore)
	p.feeds[1].open(systemAudit{s.reader, req.Filter.GetKinds()}, filter, nothing || !keys)
	if err := p.read(ctx); err != nil {
		return nil, err
	}
	res := &remitv1.ListClusterChangesResponse{Changes: p.changes, Cursor: p.cursor(), Progress: p.progress()}
	first, err := s.reader.Config.State.GroupChanges(fsm.ChangeQuery{Limit: 1})
	if err != nil {
		return nil, err
	}
	if len(first.Changes) > 0 {
		res.Progress.KeptSince = momentOf(first.Kept, first.Changes[0].Time)
	}
	return res, nil
}

func momentOf(revision graph.Revision, ms int64) *remitv1.Moment {
	return &remitv1.Moment{Revision: uint64(revision), At: timestamppb.New(time.UnixMilli(ms))}
}

const (
	// defaultAudit is how many changes a page has if the request does not say.
	defaultAudit = 1000

	// auditWork is how many changes a page examines at most, wanted or not: the plain scan
	// goes through two to three million a second, so a page is answered in a tenth of one.
	auditWork = 200_000

	// auditBytes is what the changes of a page may grow to, but for the last of them.
	auditBytes = 1 << 20
)

// An auditPage is one page of an audit, read from one changelog or merged from several.
type auditPage struct {
	reader    *reader
	root      *fsm.Root
	size      int
	budget    int
	backwards bool
	bounds    auditBounds
	request   uint64  // fingerprint of the request
	resumed   *cursor // of the page before; nil for the first
	store     fsm.StoreID
	until     graph.Revision // all pages show changes up to this revision

	feeds   []auditFeed
	changes []*remitv1.AuditChange
	bytes   int
	work    int
}

// open finds the state that the page is read from. The first page waits for every write
// that was acknowledged before: an audit that lacks the latest would mislead.
func (p *auditPage) open(ctx context.Context, req proto.Message, text string, filter *remitv1.AuditFilter) (err error) {
	if p.request, err = fingerprint(req); err != nil {
		return err
	}
	if text == "" {
		err = p.reader.CatchUp(ctx)
	} else {
		p.resumed, err = parseCursor(text, cursorAudit, p.request)
		if err == nil && p.resumed.epoch != p.reader.Epoch() {
			err = ErrCursorExpired
		}
		if err != nil {
			return at("cursor", err)
		}
		err = p.reader.WaitFor(ctx, p.resumed.revision)
	}
	if err != nil {
		return err
	}
	p.root = p.reader.Config.State.Current()
	p.until = p.root.Revision()
	if p.resumed != nil {
		p.until = p.resumed.revision
	}
	p.bounds, err = p.reader.auditBounds(p.root, filter)
	return err
}

// resume finds where each feed goes on.
func (p *auditPage) resume(store fsm.StoreID, feeds int) error {
	p.store, p.feeds = store, make([]auditFeed, feeds)
	if p.resumed == nil {
		return nil
	}
	d := decoder{b: p.resumed.position}
	for i := range p.feeds {
		f := &p.feeds[i]
		f.begun, f.done = d.byte() != 0, d.byte() != 0
		f.next = fsm.Place{Revision: graph.Revision(d.uint64()), Ordinal: d.uint32()}
		f.time = int64(d.uint64())
	}
	if !d.done() || p.resumed.store != store {
		return at("cursor", ErrCursor)
	}
	return nil
}

// cursor is where the next page begins; empty behind the last.
func (p *auditPage) cursor() string {
	var b []byte
	over := true
	for i := range p.feeds {
		f := &p.feeds[i]
		b = append(b, flag(f.begun), flag(f.over()))
		b = binary.BigEndian.AppendUint64(b, uint64(f.next.Revision))
		b = binary.BigEndian.AppendUint32(b, f.next.Ordinal)
		b = binary.BigEndian.AppendUint64(b, uint64(f.time))
		over = over && f.over()
	}
	if over {
		return ""
	}
	c := cursor{kind: cursorAudit, epoch: backend.EpochOf(p.root), store: p.store, revision: p.until, position: b, request: p.request}
	return c.String()
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// progress says how far the page has looked: as far as every feed has that has more to
// tell, or else as far as any.
func (p *auditPage) progress() *remitv1.AuditProgress {
	m := &remitv1.AuditProgress{ExaminedChanges: uint64(p.work), Revision: uint64(p.until)}
	var at *auditFeed
	for i := range p.feeds {
		f := &p.feeds[i]
		switch {
		case f.next == (fsm.Place{}):
		case at == nil, at.over() && !f.over():
			at = f
		case at.over() == f.over() && (f.next.Revision > at.next.Revision) == (f.over() != p.backwards):
			at = f
		}
	}
	if at != nil {
		m.Examined = momentOf(at.next.Revision, at.time)
	}
	return m
}

// read fills the page.
func (p *auditPage) read(ctx context.Context) error {
	for len(p.changes) < p.size && p.bytes < auditBytes {
		next, err := p.head(ctx)
		if err != nil || next == nil {
			return err
		}
		c := next.take()
		m, err := next.log.message(next.root, c)
		if err != nil {
			return err
		}
		if m == nil {
			continue
		}
		m.Revision, m.Ordinal, m.Time = uint64(c.Revision), c.Ordinal, timestamppb.New(time.UnixMilli(c.Time))
		m.Principal, m.Actor, m.RequestId, m.Reason = c.Principal, c.Actor, c.RequestID, c.Reason
		p.changes = append(p.changes, m)
		p.bytes += proto.Size(m)
	}
	return nil
}

// head is the feed whose change comes next; nil if there is none, or none was found in
// the work of a page.
func (p *auditPage) head(ctx context.Context) (*auditFeed, error) {
	var first *auditFeed
	for i := range p.feeds {
		f := &p.feeds[i]
		for len(f.pending) == 0 && !f.done {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if p.work >= p.budget {
				return nil, nil //nolint:nilnil // that the work is done is an answer
			}
			if err := p.fill(f); err != nil {
				return nil, err
			}
		}
		if len(f.pending) == 0 {
			continue
		}
		if first == nil || p.backwards && f.pending[0].Revision >= first.pending[0].Revision ||
			!p.backwards && f.pending[0].Revision < first.pending[0].Revision {
			first = f
		}
	}
	return first, nil
}

// fill reads the next page of a feed. Only the first may begin later than it was asked
// to, at what is kept: the progress tells. Later pages must not pass over what went
// meanwhile.
func (p *auditPage) fill(f *auditFeed) error {
	page, err := f.log.changes(fsm.ChangeQuery{
		After: f.next, Kept: !f.begun, Backwards: p.backwards, From: p.bounds.from, Until: p.bounds.until(p.until),
		Filter: f.filter, Limit: p.size - len(p.changes),
	})
	if f.begun && errors.Is(err, fsm.ErrRevisionGone) {
		return at("cursor", ErrCursorExpired)
	}
	if err != nil {
		return err
	}
	f.begun, f.done = true, !page.More
	f.pending, f.root = page.Changes, page.Root
	f.last, f.lastTime = page.Next, page.Time
	p.work += page.Examined
	if len(f.pending) == 0 {
		f.advance()
	}
	return nil
}

// An auditLog is a changelog that can be audited.
type auditLog interface {
	changes(q fsm.ChangeQuery) (*fsm.ChangePage, error)
	// message tells a change, but for who made it and when; nil if it is not to be told.
	message(root *fsm.Root, c *fsm.Change) (*remitv1.AuditChange, error)
}

// An auditFeed is the rest of one changelog.
type auditFeed struct {
	log     auditLog
	filter  *fsm.ChangeFilter
	pending []*fsm.Change // that were read and not told
	root    *fsm.Root     // knows their names

	begun bool
	done  bool      // there is nothing behind last
	next  fsm.Place // behind all that were told or examined in vain
	time  int64     // of the last of these, in milliseconds since 1970 UTC

	last     fsm.Place // behind the pending
	lastTime int64
}

// open says what the feed is read from. A filter that names something unknown wants
// nothing.
func (f *auditFeed) open(log auditLog, filter *fsm.ChangeFilter, nothing bool) {
	f.log, f.filter = log, filter
	f.done = f.done || nothing
}

// take is the next of the pending.
func (f *auditFeed) take() *fsm.Change {
	c := f.pending[0]
	f.pending = f.pending[1:]
	f.next, f.time = fsm.Place{Revision: c.Revision, Ordinal: c.Ordinal}, c.Time
	if len(f.pending) == 0 {
		f.advance()
	}
	return c
}

// advance passes over what was examined behind the last pending.
func (f *auditFeed) advance() {
	if f.last != (fsm.Place{}) {
		f.next = f.last
		if f.lastTime != 0 {
			f.time = f.lastTime
		}
	}
}

// over reports whether nothing is left.
func (f *auditFeed) over() bool { return f.done && len(f.pending) == 0 }
