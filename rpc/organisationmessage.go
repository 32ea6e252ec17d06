package rpc

import (
	"fmt"

	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// EntityMessage is an entity as the API carries it, with the version that it has; 0 is
// none. The error is that of an attribute that no message can hold.
func EntityMessage(e crm.Entity, version uint64) (*remitv1.Entity, error) {
	return entityMessage(e, version)
}

// EntityOf is the reverse of EntityMessage, for clients of the API. The error says which
// field cannot be read; a message that holds nothing is one, too.
func EntityOf(m *remitv1.Entity) (crm.Entity, error) {
	if kindOfMessage(m) == remitv1.EntityKind_ENTITY_KIND_UNSPECIFIED {
		return nil, at("entity", fmt.Errorf("%w: it holds no entity that is known", backend.ErrRequest))
	}
	return entityOf("entity", m)
}

// RefOf names an entity as the API does.
func RefOf(e crm.Entity) *remitv1.EntityRef { return entityRef(e.Key()) }
