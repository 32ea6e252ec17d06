package rpc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/limit"
)

const (
	// defaultEntities is how many entities a page has if the request does not say.
	defaultEntities = 100

	// entitiesWork bounds the entities that one page looks at: of what the asker may not
	// see there may be very many.
	entitiesWork = 10_000

	// entityBytes is what the entities of a page may grow to, but for the last of them: one
	// record may take as much as a command.
	entityBytes = 1 << 20
)

// GetEntity finds one entity.
func (s *organisationService) GetEntity(ctx context.Context, req *remitv1.GetEntityRequest) (*remitv1.GetEntityResponse, error) {
	o, err := s.open(ctx, "store", req.Store, "consistency", req.Consistency)
	if err != nil {
		return nil, err
	}
	a, err := o.actor(ctx, "as", req.As)
	if err != nil {
		return nil, err
	}
	key, err := entityKey("entity", req.Entity, o.key.ID)
	if err != nil {
		return nil, err
	}
	e, version, err := o.entities.Entity(key)
	if err == nil && e != nil {
		e, err = o.shown(ctx, a, e)
	}
	if err != nil {
		return nil, err
	}
	if e == nil {
		return nil, at("entity.id", fmt.Errorf("%w: there is no %s %q, or none to be seen", ErrEntityNotFound, entityKinds[req.Entity.Kind].field, req.Entity.Id))
	}
	m, err := entityMessage(e, version)
	return &remitv1.GetEntityResponse{Entity: m, Token: o.Token()}, err
}

// ListEntities pages through the entities of a kind.
func (s *organisationService) ListEntities(ctx context.Context, req *remitv1.ListEntitiesRequest) (*remitv1.ListEntitiesResponse, error) {
	size, text := pageSize(req.PageSize, defaultEntities), req.Cursor
	req.Cursor, req.PageSize = "", 0
	sum, err := fingerprint(req)
	if err != nil {
		return nil, err
	}
	o, position, err := s.openPage(ctx, req, text, sum)
	if err != nil {
		return nil, err
	}
	a, err := o.actor(ctx, "as", req.As)
	if err != nil {
		return nil, err
	}
	typ, err := o.listed(req)
	if err != nil {
		return nil, err
	}
	after, err := o.behind(typ, position)
	if err != nil {
		return nil, at("cursor", err)
	}
	res := &remitv1.ListEntitiesResponse{Token: o.Token()}
	bytes, looked := 0, 0
	more, err := o.walk(ctx, typ, after, size, func(e crm.Entity, version uint64) (bool, error) {
		after = e.Key().ID
		looked++
		shown, err := o.shown(ctx, a, e)
		if err != nil {
			return false, err
		}
		if shown != nil {
			m, err := entityMessage(shown, version)
			if err != nil {
				return false, err
			}
			res.Entities = append(res.Entities, m)
			bytes += proto.Size(m)
		}
		return len(res.Entities) < size && bytes < entityBytes && looked < entitiesWork, nil
	})
	if err != nil {
		return nil, err
	}
	if more {
		if position, err = o.position(typ, after); err != nil {
			return nil, err
		}
		c := cursor{
			kind: cursorEntities, epoch: s.reader.Epoch(), store: o.Head.ID(), revision: o.Base.Revision(),
			at: o.At, model: o.Plan.ID(), position: position, request: sum,
		}
		res.Cursor = c.String()
	}
	return res, nil
}

// openPage finds the organisation that a page shows, and the position at which it begins; nil
// is the beginning. All pages are judged at the revision and the instant of the first.
func (s *organisationService) openPage(ctx context.Context, req *remitv1.ListEntitiesRequest, text string, sum uint64) (o *organisation, position []byte, err error) {
	if text == "" {
		o, err := s.open(ctx, "store", req.Store, "consistency", req.Consistency)
		return o, nil, err
	}
	c, err := parseCursor(text, cursorEntities, sum)
	if err != nil {
		return nil, nil, at("cursor", err)
	}
	snapshot, err := s.reader.pinned(ctx, "store", req.Store, c)
	if err != nil {
		return nil, nil, err
	}
	snapshot.AsOf = c.at
	o, err = s.organisation("store", snapshot)
	return o, c.position, err
}

// position is where a page ends: the number of the last entity that it looked at, for its id
// may be one that the asker shall not know.
func (o *organisation) position(typ, id string) ([]byte, error) {
	t, ok := o.Plan.Type(typ)
	if !ok {
		return nil, fmt.Errorf("the model has lost its type %s: %w", typ, crm.ErrForeign)
	}
	number, ok, err := o.View().Lookup(t.ID, id)
	if err == nil && !ok {
		err = fmt.Errorf("%s:%s: %w", typ, id, graph.ErrUnknownEntity)
	}
	return binary.BigEndian.AppendUint64(nil, uint64(number)), err
}

// behind is the entity of a type that a position is of; nil is in front of all.
func (o *organisation) behind(typ string, position []byte) (id string, err error) {
	if position == nil {
		return "", nil
	}
	d := decoder{b: position}
	number := graph.ID(d.uint64())
	if t, ok := o.Plan.Type(typ); !ok || !d.done() || number.Type() != t.ID || number.IsWildcard() {
		return "", ErrCursor
	}
	id, err = o.View().Name(number)
	if errors.Is(err, graph.ErrUnknownEntity) { // it has been erased since
		err = ErrCursorExpired
	}
	return id, err
}

// listed is the type whose entities are listed.
func (o *organisation) listed(req *remitv1.ListEntitiesRequest) (string, error) {
	switch record := req.Kind == remitv1.EntityKind_ENTITY_KIND_RECORD; {
	case record && req.Module == "":
		return "", at("module", fmt.Errorf("%w: name the module whose records to list", backend.ErrRequest))
	case !record && req.Module != "":
		return "", at("module", fmt.Errorf("%w: it is for records alone", backend.ErrRequest))
	case record:
		return o.module("module", req.Module)
	}
	return entityKinds[req.Kind].typ, nil
}

// module finds a module that a field names.
func (o *organisation) module(field, id string) (string, error) {
	key := (&crm.Module{ID: id}).Key()
	if key.Validate() == nil {
		e, _, err := o.entities.Entity(key)
		if err != nil {
			return "", err
		}
		if e != nil {
			return id, nil
		}
	}
	return "", at(field, fmt.Errorf("%w: there is no module %q", ErrEntityNotFound, id))
}

// walkPage is how many keys are read at a time.
const walkPage = 1000

// walk visits the entities of a type behind an id, in the order of the store, until it is
// told to stop, and reports whether there are more then.
func (o *organisation) walk(ctx context.Context, typ, after string, expected int, visit func(e crm.Entity, version uint64) (bool, error)) (more bool, err error) {
	stopped := false
	for {
		// One more than is wanted says whether there are any.
		size := min(expected+1, walkPage)
		ids, err := o.entities.Keys(typ, after, size)
		if err != nil {
			return false, err
		}
		for _, id := range ids {
			if stopped {
				return true, nil
			}
			if err := limit.Pace(ctx); err != nil {
				return false, err
			}
			after = id
			e, version, err := o.entities.Entity(graph.ObjectName{Type: typ, ID: id})
			if err != nil {
				return false, err
			}
			if e == nil {
				return false, fmt.Errorf("%s:%s has tuples and is no entity: %w", typ, id, crm.ErrForeign)
			}
			goOn, err := visit(e, version)
			if err != nil {
				return false, err
			}
			stopped = !goOn
		}
		if len(ids) < size {
			return false, nil
		}
		expected = walkPage
	}
}
