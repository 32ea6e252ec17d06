package rpc

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// identityService answers remit.v1.IdentityService; grants stand in grants.go. Each of its
// procedures judges by itself what its caller may do, since none is about one store.
type identityService struct {
	reader  *reader
	keyring *backend.Keyring
}

// defaultOverlap is how long rotated keys stay valid if the request does not say: long
// enough to take the new one everywhere by hand.
const defaultOverlap = 24 * time.Hour

// CreateKey makes a key of a new name.
func (s *identityService) CreateKey(ctx context.Context, req *remitv1.CreateKeyRequest) (*remitv1.CreateKeyResponse, error) {
	grants, err := s.readGrants(ctx, req.Grants)
	if err != nil {
		return nil, err
	}
	expires, err := s.expiry(req.ExpiresAt)
	if err != nil {
		return nil, err
	}
	key, secret, err := s.keyring.Create(ctx, backend.KeyRequest{IdempotencyKey: req.IdempotencyKey, Reason: req.Reason}, req.Name, grants, expires)
	if err != nil {
		return nil, err
	}
	return &remitv1.CreateKeyResponse{Key: s.message(key), Secret: secret}, nil
}

// RotateKey makes another key of a name.
func (s *identityService) RotateKey(ctx context.Context, req *remitv1.RotateKeyRequest) (*remitv1.RotateKeyResponse, error) {
	expires, err := s.expiry(req.ExpiresAt)
	if err != nil {
		return nil, err
	}
	overlap := defaultOverlap
	if req.Overlap != nil {
		overlap = req.Overlap.AsDuration()
	}
	key, secret, err := s.keyring.Rotate(ctx, backend.KeyRequest{IdempotencyKey: req.IdempotencyKey, Reason: req.Reason}, req.Name, overlap, expires)
	if err != nil {
		return nil, err
	}
	return &remitv1.RotateKeyResponse{Key: s.message(key), Secret: secret}, nil
}

// expiry reads when a key is to expire. One that had expired already would be a mistake.
func (s *identityService) expiry(t *timestamppb.Timestamp) (time.Time, error) {
	if t == nil {
		return time.Time{}, nil
	}
	if err := t.CheckValid(); err != nil {
		return time.Time{}, at("expires_at", fmt.Errorf("%w: %w", backend.ErrRequest, err))
	}
	expires := t.AsTime().Truncate(time.Millisecond)
	if now := s.keyring.Now(); !now.Before(expires) {
		return time.Time{}, at("expires_at", fmt.Errorf("%w: %s is past", backend.ErrRequest, expires.Format(time.RFC3339)))
	}
	return expires, nil
}

// ListKeys pages through the keys that the caller may manage.
func (s *identityService) ListKeys(ctx context.Context, req *remitv1.ListKeysRequest) (*remitv1.ListKeysResponse, error) {
	p, err := beginKeyPage(cursorKeys, req.PageSize, req.Cursor)
	if err != nil {
		return nil, err
	}
	res := &remitv1.ListKeysResponse{}
	err = s.keyring.Keys(ctx, p.after, func(place uint64, key *backend.Key) bool {
		m := s.message(key)
		if req.Name != "" && m.Name != req.Name {
			return true
		}
		return p.take(place, func() { res.Keys = append(res.Keys, m) })
	})
	res.Cursor = p.cursor()
	return res, err
}

// RevokeKey ends keys.
func (s *identityService) RevokeKey(ctx context.Context, req *remitv1.RevokeKeyRequest) (*remitv1.RevokeKeyResponse, error) {
	ids, err := s.keyring.Revoke(ctx, backend.KeyRequest{IdempotencyKey: req.IdempotencyKey, Reason: req.Reason}, req.GetId(), req.GetName())
	return &remitv1.RevokeKeyResponse{Ids: ids}, err
}

func (s *identityService) message(k *backend.Key) *remitv1.Key {
	_, name, _ := strings.Cut(k.Principal, ":")
	m := &remitv1.Key{
		Id: k.ID, Name: name, Grants: grantMessages(&k.Grants),
		CreatedAt: timestamppb.New(k.Created), CreatedBy: k.Creator,
	}
	if !k.Expires.IsZero() {
		m.ExpiresAt = timestamppb.New(k.Expires)
		m.Expired = !s.keyring.Now().Before(k.Expires)
	}
	return m
}
