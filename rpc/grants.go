package rpc

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/identity"
)

// permissionBits are the permissions of the API in the order of their numbers.
var permissionBits = [...]identity.Permissions{
	remitv1.Permission_PERMISSION_READ:  identity.Read,
	remitv1.Permission_PERMISSION_WRITE: identity.Write,
	remitv1.Permission_PERMISSION_MODEL: identity.Model,
	remitv1.Permission_PERMISSION_ADMIN: identity.Admin,
}

// readGrants finds the stores that grants name. The caller learns of those alone that it
// administers.
func (s *identityService) readGrants(ctx context.Context, messages []*remitv1.Grant) (identity.Grants, error) {
	var grants identity.Grants
	for i, m := range messages {
		var permissions identity.Permissions
		for _, p := range m.Permissions {
			permissions |= permissionBits[p]
		}
		switch target := m.Target.(type) {
		case *remitv1.Grant_Cluster:
			grants.Cluster = true
		case *remitv1.Grant_AllStores:
			grants.All |= permissions
		case *remitv1.Grant_Store:
			store, err := s.findStore(ctx, indexed("grants", i)+".store", target.Store)
			if err != nil {
				return identity.Grants{}, err
			}
			if grants.Stores == nil {
				grants.Stores = map[identity.Store]identity.Permissions{}
			}
			grants.Stores[store.ID()] |= permissions
		}
	}
	return grants, nil
}

// findStore finds a store that a grant names. One that this node does not know may have
// been made on another a moment ago.
func (s *identityService) findStore(ctx context.Context, field, name string) (*fsm.Store, error) {
	store, err := backend.FindStore(ctx, s.reader.Config.State.Current(), field, name)
	if err == nil {
		return store, nil
	}
	if err := s.reader.CatchUp(ctx); err != nil {
		return nil, err
	}
	return backend.FindStore(ctx, s.reader.Config.State.Current(), field, name)
}

// grantMessages describe grants, the widest first.
func grantMessages(g *identity.Grants) []*remitv1.Grant {
	var messages []*remitv1.Grant
	if g.Cluster {
		messages = append(messages, &remitv1.Grant{Target: &remitv1.Grant_Cluster{Cluster: true}})
	}
	if g.All != 0 {
		messages = append(messages, &remitv1.Grant{Target: &remitv1.Grant_AllStores{AllStores: true}, Permissions: permissionNumbers(g.All)})
	}
	for _, id := range slices.SortedFunc(maps.Keys(g.Stores), func(a, b identity.Store) int { return bytes.Compare(a[:], b[:]) }) {
		if p := g.Stores[id]; p != 0 {
			messages = append(messages, &remitv1.Grant{Target: &remitv1.Grant_Store{Store: fsm.StoreID(id).String()}, Permissions: permissionNumbers(p)})
		}
	}
	return messages
}

func permissionNumbers(p identity.Permissions) []remitv1.Permission {
	var numbers []remitv1.Permission
	for number, bit := range permissionBits {
		if p&bit != 0 {
			numbers = append(numbers, remitv1.Permission(number))
		}
	}
	return numbers
}

// SetGrants replaces what a principal may do.
func (s *identityService) SetGrants(ctx context.Context, req *remitv1.SetGrantsRequest) (*remitv1.SetGrantsResponse, error) {
	grants, err := s.readGrants(ctx, req.Grants)
	if err != nil {
		return nil, err
	}
	now, version, err := s.keyring.SetGrants(ctx, backend.KeyRequest{IdempotencyKey: req.IdempotencyKey, Reason: req.Reason}, req.Principal, grants, req.Version)
	if err != nil {
		return nil, err
	}
	return &remitv1.SetGrantsResponse{Granted: &remitv1.PrincipalGrants{Principal: req.Principal, Grants: grantMessages(&now), Version: version}}, nil
}

// ListGrants pages through the principals to whom something is granted.
func (s *identityService) ListGrants(ctx context.Context, req *remitv1.ListGrantsRequest) (*remitv1.ListGrantsResponse, error) {
	if req.Principal != "" {
		grants, version, err := s.keyring.PrincipalGrants(ctx, req.Principal)
		if err != nil || grants.None() {
			return &remitv1.ListGrantsResponse{}, err
		}
		return &remitv1.ListGrantsResponse{Principals: []*remitv1.PrincipalGrants{
			{Principal: req.Principal, Grants: grantMessages(&grants), Version: version},
		}}, nil
	}
	p, err := beginKeyPage(cursorGrants, req.PageSize, req.Cursor)
	if err != nil {
		return nil, err
	}
	res := &remitv1.ListGrantsResponse{}
	err = s.keyring.Principals(ctx, p.after, func(place uint64, principal string, grants identity.Grants, version uint64) bool {
		return p.take(place, func() {
			res.Principals = append(res.Principals, &remitv1.PrincipalGrants{Principal: principal, Grants: grantMessages(&grants), Version: version})
		})
	})
	res.Cursor = p.cursor()
	return res, err
}

// WhoAmI says who calls.
func (s *identityService) WhoAmI(ctx context.Context, _ *remitv1.WhoAmIRequest) (*remitv1.WhoAmIResponse, error) {
	call := identity.CallOf(ctx)
	if call == nil {
		return &remitv1.WhoAmIResponse{Grants: grantMessages(&identity.Grants{Cluster: true})}, nil
	}
	res := &remitv1.WhoAmIResponse{Principal: call.Caller.Principal, Grants: grantMessages(&call.Caller.Grants)}
	if !call.Caller.Expires.IsZero() {
		res.ExpiresAt = timestamppb.New(call.Caller.Expires)
	}
	return res, nil
}

// keyPage is a page of a list whose elements have numbers in the order of their making.
// Such a list is not pinned: what is added meanwhile stands at its end.
type keyPage struct {
	kind  cursorKind
	after uint64
	room  int
	more  bool
}

func beginKeyPage(kind cursorKind, size int32, text string) (*keyPage, error) {
	p := &keyPage{kind: kind, room: pageSize(size, defaultKeys)}
	if text == "" {
		return p, nil
	}
	c, err := parseCursor(text, kind, 0)
	if err != nil {
		return nil, at("cursor", err)
	}
	if len(c.position) != 8 {
		return nil, at("cursor", fmt.Errorf("%w: it has no place", ErrCursor))
	}
	p.after = binary.BigEndian.Uint64(c.position)
	return p, nil
}

// take takes an element if there is room, and reports whether to go on.
func (p *keyPage) take(place uint64, add func()) bool {
	if p.room == 0 {
		p.more = true
		return false
	}
	p.room--
	p.after = place
	add()
	return true
}

// cursor is where the next page begins; empty if there is none.
func (p *keyPage) cursor() string {
	if !p.more {
		return ""
	}
	c := cursor{kind: p.kind, position: binary.BigEndian.AppendUint64(nil, p.after)}
	return c.String()
}
