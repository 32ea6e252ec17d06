package rpc

import (
	"context"
	"errors"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
	"github.com/remit-authz/remit/rpc/limit"
	"github.com/remit-authz/remit/rpc/token"
)

// streamedKinds are the kinds in the order of a stream, before records.
var streamedKinds = []remitv1.EntityKind{
	remitv1.EntityKind_ENTITY_KIND_SETTINGS, remitv1.EntityKind_ENTITY_KIND_MODULE, remitv1.EntityKind_ENTITY_KIND_PROFILE,
	remitv1.EntityKind_ENTITY_KIND_FIELD, remitv1.EntityKind_ENTITY_KIND_ROLE, remitv1.EntityKind_ENTITY_KIND_SHIFT,
	remitv1.EntityKind_ENTITY_KIND_SEAT, remitv1.EntityKind_ENTITY_KIND_GROUP, remitv1.EntityKind_ENTITY_KIND_TEAM,
	remitv1.EntityKind_ENTITY_KIND_RULE,
}

// StreamEntities sends a whole organisation.
func (s *organisationService) StreamEntities(ctx context.Context, req *remitv1.StreamEntitiesRequest, stream remitv1connect.OrganisationServiceStreamEntitiesServerStream) error {
	return s.streamEntities(ctx, req, stream)
}

// An entitiesSender takes the responses of a StreamEntities.
type entitiesSender interface {
	Send(res *remitv1.StreamEntitiesResponse) error
}

func (s *organisationService) streamEntities(ctx context.Context, req *remitv1.StreamEntitiesRequest, to entitiesSender) error {
	ctx, out, done := s.outlet(ctx)
	defer done()
	e := &entityStream{outlet: out, to: to, early: map[graph.ObjectName]bool{}}
	err := e.begin(ctx, s, req)
	if err == nil {
		err = e.run(ctx, req.WithoutRecords)
	}
	if err != nil {
		return e.end(ctx, err)
	}
	return nil
}

// An entityStream is one StreamEntities under way. It goes through the kinds in their order
// and through each in the order of the store, but for what must come ahead of its turn.
type entityStream struct {
	*outlet
	to    entitiesSender
	pin   pin
	org   *organisation
	types []string // in the order of the stream

	turn  int                       // which of the types is under way
	at    graph.ID                  // which entity of it has its turn
	early map[graph.ObjectName]bool // sent ahead of their turn, which has not come yet

	pending *remitv1.StreamEntitiesResponse
	bytes   int
}

// begin finds the state.
func (e *entityStream) begin(ctx context.Context, s *organisationService, req *remitv1.StreamEntitiesRequest) error {
	org, err := s.open(ctx, "store", req.Store, "consistency", req.Consistency)
	if err != nil {
		return err
	}
	if own, err := org.who(ctx, "", ""); err != nil {
		return err
	} else if own != nil && !administers(ctx, org.Head.ID()) {
		return forbidden("a whole organisation is for applications, and for who may administer the store; the seat %s can list what it may see", own.ID)
	}
	e.org = org
	root := s.reader.Config.State.Current()
	e.pin = s.reader.pin(root, org.Head.ID())
	// The snapshot may be of an older root than the newest, or of the past.
	e.pin.head, _ = org.Base.(*fsm.Store)
	e.pin.revision = org.Base.Revision()
	e.pending = &remitv1.StreamEntitiesResponse{
		Token: token.Token{Epoch: backend.EpochOf(root), Revision: uint64(e.pin.revision)}.String(),
	}
	return nil
}

// run sends everything. The last message may be empty; there always is one.
func (e *entityStream) run(ctx context.Context, withoutRecords bool) error {
	defer limit.Leave(ctx)
	for _, kind := range streamedKinds {
		e.types = append(e.types, entityKinds[kind].typ)
	}
	if !withoutRecords {
		modules, err := e.modules()
		if err != nil {
			return err
		}
		e.types = append(e.types, modules...)
	}
	for e.turn = range e.types {
		e.at = 0
		if err := e.kind(ctx, e.types[e.turn]); err != nil {
			return err
		}
	}
	return e.flush(true)
}

// modules are those of the organisation, each behind those whose records may stand above
// its own, unless they go round.
func (e *entityStream) modules() ([]string, error) {
	r, _, err := e.reader()
	if err != nil {
		return nil, err
	}
	ids, err := r.Keys(entityKinds[remitv1.EntityKind_ENTITY_KIND_MODULE].typ, "", 0)
	if err != nil {
		return nil, err
	}
	var order []string
	seen := map[string]bool{}
	var add func(id string) error
	add = func(id string) error {
		if seen[id] {
			return nil
		}
		seen[id] = true
		m, _, err := r.Entity((&crm.Module{ID: id}).Key())
		if err != nil {
			return err
		}
		if m, ok := m.(*crm.Module); ok {
			for _, parent := range m.Parents {
				if err := add(parent); err != nil {
					return err
				}
			}
		}
		order = append(order, id)
		return nil
	}
	for _, id := range ids {
		if err := add(id); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// reader reads the state for a while.
func (e *entityStream) reader() (*crm.Reader, graph.View, error) {
	view, _, err := e.pin.page()
	if err != nil {
		return nil, nil, err
	}
	return crm.NewReader(view, e.org.Plan.Plan), view, nil
}

// kind sends the entities of a type.
func (e *entityStream) kind(ctx context.Context, typ string) error {
	after := ""
	for {
		r, view, err := e.reader()
		if err != nil {
			return err
		}
		ids, err := r.Keys(typ, after, walkPage)
		if err != nil {
			return err
		}
		for _, id := range ids {
			after = id
			key := graph.ObjectName{Type: typ, ID: id}
			if e.at, err = e.id(view, key); err != nil {
				return err
			}
			if e.early[key] {
				delete(e.early, key)
				continue
			}
			if err := e.entity(ctx, r, view, key); err != nil {
				return err
			}
		}
		if len(ids) < walkPage {
			return nil
		}
	}
}

func (e *entityStream) id(view graph.View, key graph.ObjectName) (graph.ID, error) {
	t, ok := e.org.Plan.Type(key.Type)
	if !ok {
		return 0, nil
	}
	id, _, err := view.Lookup(t.ID, key.ID)
	return id, err
}

// A waiting is an entity that has its turn when those above it have been sent.
type waiting struct {
	key     graph.ObjectName
	of      crm.Entity // nil: it must be read, once more for what waits, since a path can be very long
	version uint64
	looked  bool               // whether above is known
	above   []graph.ObjectName // that have not had their turn
}

// entity sends one entity, behind those that it is below. It keeps the path to those in a list
// of its own: chains of managers and of records have no bound, and a stack has.
func (e *entityStream) entity(ctx context.Context, r *crm.Reader, view graph.View, key graph.ObjectName) error {
	path := []waiting{{key: key}}
	for len(path) > 0 {
		w := &path[len(path)-1]
		if w.of == nil {
			if err := limit.Pace(ctx); err != nil {
				return err
			}
			var err error
			if w.of, w.version, err = r.Entity(w.key); err != nil {
				return err
			}
			if w.of == nil { // what a later edge names and is not there yet is not of this organisation
				path = path[:len(path)-1]
				continue
			}
			if !w.looked {
				w.above, w.looked = above(w.of), true
			}
		}
		next, waits, err := e.unsent(view, w)
		if err != nil {
			return err
		}
		if waits {
			e.early[next] = true // before it is sent: whatever goes round comes to an end
			w.of = nil
			path = append(path, waiting{key: next})
			continue
		}
		if err := e.add(w.of, w.version); err != nil {
			return err
		}
		path = path[:len(path)-1]
	}
	return nil
}

// unsent is the next of those above an entity that has not been sent.
func (e *entityStream) unsent(view graph.View, w *waiting) (graph.ObjectName, bool, error) {
	for len(w.above) > 0 {
		next := w.above[0]
		w.above = w.above[1:]
		if sent, err := e.sent(view, next); err != nil || !sent {
			return next, err == nil, err
		}
	}
	return graph.ObjectName{}, false, nil
}

// add puts an entity into the message that is pending, or the next one.
func (e *entityStream) add(of crm.Entity, version uint64) error {
	m, err := entityMessage(of, version)
	if err != nil {
		return err
	}
	if len(e.pending.Entities) >= messageTuples || e.bytes >= messageBytes {
		if err := e.flush(false); err != nil {
			return err
		}
	}
	e.pending.Entities = append(e.pending.Entities, m)
	e.bytes += proto.Size(m)
	return nil
}

// sent reports whether an entity has been sent, in its turn or ahead of it, or is about to.
func (e *entityStream) sent(view graph.View, key graph.ObjectName) (bool, error) {
	if e.early[key] {
		return true, nil
	}
	turn := slices.Index(e.types, key.Type)
	if turn != e.turn {
		return turn < e.turn, nil
	}
	id, err := e.id(view, key)
	return id <= e.at, err
}

// above are the entities that one stands below or contains.
func above(of crm.Entity) []graph.ObjectName {
	var keys []graph.ObjectName
	switch of := of.(type) {
	case *crm.Role:
		if of.Parent != "" {
			keys = append(keys, (&crm.Role{ID: of.Parent}).Key())
		}
	case *crm.Seat:
		if of.Manager != "" {
			keys = append(keys, (&crm.Seat{ID: of.Manager}).Key())
		}
	case *crm.Module:
		for _, p := range of.Parents {
			keys = append(keys, (&crm.Module{ID: p}).Key())
		}
	case *crm.Group:
		for _, m := range of.Members {
			if m.Kind == crm.MembersOf {
				keys = append(keys, (&crm.Group{ID: m.ID}).Key())
			}
		}
	case *crm.Record:
		for _, p := range of.Parents {
			keys = append(keys, p.Key())
		}
	}
	return keys
}

// flush sends what is pending.
func (e *entityStream) flush(last bool) error {
	res := e.pending
	e.pending, e.bytes = &remitv1.StreamEntitiesResponse{Token: res.Token}, 0
	err := e.send("", func() error { return e.to.Send(res) })
	if last && errors.Is(err, ErrSlowReader) {
		return nil // it has everything
	}
	return err
}
