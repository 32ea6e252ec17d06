package backend

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/rpc/identity"
)

// MaxKeys is how many keys one name may have at a time, those included that run out: a
// rotation drops what has expired, so only rotating faster than that meets it.
const MaxKeys = 100

// A Key is what is told of a key: all but its secret.
type Key struct {
	ID        string
	Principal string
	Grants    identity.Grants
	Created   time.Time
	Creator   string
	Expires   time.Time // zero: never
}

// A KeyRequest names one attempt to change keys, so that it can be made again.
type KeyRequest struct {
	// IdempotencyKey is the client's; empty: none. Reason goes to the changelog.
	IdempotencyKey, Reason string
}

// Create makes a key of a new name. The secret is the whole key, and it is empty if this
// is a retry: it was in the first answer, and is stored nowhere.
func (k *Keyring) Create(ctx context.Context, req KeyRequest, name string, grants identity.Grants, expires time.Time) (key *Key, secret string, err error) {
	switch {
	case grants.None():
		return nil, "", fmt.Errorf("%w: a key must be granted something", identity.ErrGrant)
	case administers(ctx, &grants) != nil:
		return nil, "", administers(ctx, &grants)
	}
	h := NewContentHash("create key")
	h.String(name)
	hashGrants(h, &grants)
	h.Int(milliseconds(expires))
	made, err := k.newKey(ctx, req, keyPrincipal+name)
	if err != nil {
		return nil, "", err
	}
	if made.key.expires = expires; !expires.IsZero() {
		made.key.lifetime = expires.Sub(made.key.created)
	}
	return k.make(ctx, req, h.Done(), made, func(_ *fsm.Store, p *storedPrincipal) ([]fsm.Operation, error) {
		if p.version != 0 {
			return nil, fmt.Errorf("%w: %s; rotate it, or revoke it first", ErrKeyExists, name)
		}
		p.grants = grants
		return nil, nil
	})
}

// Rotate makes a new key with the principal and the grants of those that have the name.
// They remain valid for the overlap, unless they expire sooner. The new one lives as long
// as the newest of them was to live, unless it is told when to expire. The secret is as
// Create has it.
func (k *Keyring) Rotate(ctx context.Context, req KeyRequest, name string, overlap time.Duration, expires time.Time) (key *Key, secret string, err error) {
	h := NewContentHash("rotate key")
	h.String(name)
	h.Int(int64(overlap))
	h.Int(milliseconds(expires))
	if !administersAny(ctx) {
		return nil, "", ErrKeyNotFound
	}
	made, err := k.newKey(ctx, req, keyPrincipal+name)
	if err != nil {
		return nil, "", err
	}
	return k.make(ctx, req, h.Done(), made, func(s *fsm.Store, p *storedPrincipal) (operations []fsm.Operation, err error) {
		if err := manageable(ctx, p); err != nil {
			return nil, err
		}
		made.key.expires, made.key.lifetime = expires, 0
		if !expires.IsZero() {
			made.key.lifetime = expires.Sub(made.key.created)
		}
		end := made.key.created.Add(overlap)
		var gone []string
		for _, id := range p.keys {
			old, err := keyIn(s, id)
			if err != nil {
				return nil, err
			}
			if old == nil {
				continue
			}
			if expires.IsZero() {
				made.key.expires, made.key.lifetime = time.Time{}, old.lifetime
				if old.lifetime != 0 {
					made.key.expires = made.key.created.Add(old.lifetime)
				}
			}
			switch {
			case !old.expires.IsZero() && !made.key.created.Before(old.expires):
				gone = append(gone, id)
				operations = append(operations, deleteDocument(s, typeKey, id))
			case old.expires.IsZero() || end.Before(old.expires):
				old.expires = end
				put, err := putDocument(s, typeKey, id, old.encode)
				if err != nil {
					return nil, err
				}
				operations = append(operations, put)
			}
		}
		p.without(gone...)
		if len(p.keys) >= MaxKeys {
			return nil, fmt.Errorf("%w: %s has %d keys that have not expired yet", ErrRequest, p.name, len(p.keys))
		}
		return operations, nil
	})
}

// A newKey is a key in the making.
type newKey struct {
	key    storedKey
	secret string
}

// newKey draws a key.
func (k *Keyring) newKey(ctx context.Context, req KeyRequest, principal string) (*newKey, error) {
	id, err := k.reader.NewID()
	if err != nil {
		return nil, err
	}
	secret, hash := newSecret(id)
	n := &newKey{secret: secret, key: storedKey{
		id: fsm.StoreID(id).String(), hash: hash[:], principal: principal,
		created: k.Now().UTC().Truncate(time.Millisecond), creator: identity.Principal(ctx),
	}}
	if req.IdempotencyKey != "" {
		h := NewContentHash("request")
		h.String(n.key.creator)
		h.String(req.IdempotencyKey)
		sum := h.Done()
		n.key.request = hex.EncodeToString(sum[:sha256.Size/2])
	}
	return n, k.prepare(ctx)
}

// make writes a key. Change completes its principal, and says what else changes.
func (k *Keyring) make(ctx context.Context, req KeyRequest, hash [32]byte, made *newKey, change func(*fsm.Store, *storedPrincipal) ([]fsm.Operation, error)) (*Key, string, error) {
	name := made.key.principal
	var grants identity.Grants
	result, err := k.change(ctx, req, hash, name, func(s *fsm.Store, p *storedPrincipal) ([]fsm.Operation, error) {
		operations, err := change(s, p)
		if err != nil {
			return nil, err
		}
		p.keys = append(slices.Clone(p.keys), made.key.id)
		grants = p.grants
		key, err := putDocument(s, typeKey, made.key.id, made.key.encode)
		if err != nil {
			return nil, err
		}
		principal, err := putDocument(s, typePrincipal, name, p.encode)
		return append(operations, key, principal), err
	})
	if result != nil && !result.Replayed {
		return made.key.told(grants), made.secret, nil // now or never, whether this node shows it in time or not
	}
	if err != nil {
		return nil, "", err
	}
	key, err := k.madeBy(ctx, name, made.key.request)
	if err == nil && key.ID == made.key.id {
		return key, made.secret, nil // the first attempt was this call's own, and its answer was lost
	}
	return key, "", err
}

// madeBy finds the key that an earlier attempt of a request made.
func (k *Keyring) madeBy(ctx context.Context, principal, request string) (*Key, error) {
	s, ok := k.reader.Config.State.Current().Store(SystemStore)
	if !ok {
		return nil, ErrKeyNotFound
	}
	p, err := principalIn(s, principal)
	if err != nil {
		return nil, err
	}
	if err := manageable(ctx, p); err != nil {
		return nil, err
	}
	for _, id := range p.keys {
		key, err := keyIn(s, id)
		if err != nil {
			return nil, err
		}
		if key != nil && key.request == request {
			return key.told(p.grants), nil
		}
	}
	return nil, fmt.Errorf("%w: the one that the first attempt made has gone since", ErrKeyNotFound)
}

// told is what is told of a key.
func (k *storedKey) told(grants identity.Grants) *Key {
	return &Key{ID: k.id, Principal: k.principal, Grants: grants, Created: k.created, Creator: k.creator, Expires: k.expires}
}

// Revoke ends keys at once: one by its id, or all of a name. It returns their ids, but
// none if this is a retry.
func (k *Keyring) Revoke(ctx context.Context, req KeyRequest, id, name string) (revoked []string, err error) {
	if !administersAny(ctx) {
		return nil, ErrKeyNotFound
	}
	if err := k.prepare(ctx); err != nil {
		return nil, err
	}
	h := NewContentHash("revoke key")
	h.String(id)
	h.String(name)
	principal := keyPrincipal + name
	if id != "" {
		if principal, err = k.holder(ctx, id); err != nil {
			return nil, err
		}
	}
	result, err := k.change(ctx, req, h.Done(), principal, func(s *fsm.Store, p *storedPrincipal) ([]fsm.Operation, error) {
		if err := manageable(ctx, p); err != nil {
			return nil, err
		}
		revoked = slices.Clone(p.keys)
		if id != "" {
			revoked = slices.DeleteFunc(revoked, func(other string) bool { return other != id })
		}
		if len(revoked) == 0 {
			return nil, ErrKeyNotFound
		}
		p.without(revoked...)
		var operations []fsm.Operation
		for _, id := range revoked {
			operations = append(operations, deleteDocument(s, typeKey, id))
		}
		if len(p.keys) == 0 {
			// Who makes a key of this name later says anew what it may do.
			return append(operations, deleteDocument(s, typePrincipal, p.name)), nil
		}
		put, err := putDocument(s, typePrincipal, p.name, p.encode)
		return append(operations, put), err
	})
	if err != nil || result.Replayed {
		return nil, err
	}
	return revoked, nil
}

// holder finds whose a key is; empty if there is no such key.
func (k *Keyring) holder(ctx context.Context, id string) (string, error) {
	s, _ := k.reader.Config.State.Current().Store(SystemStore)
	key, err := keyIn(s, id)
	if err == nil && key == nil {
		// Another node may have made it a moment ago.
		if err := k.reader.CatchUp(ctx); err != nil {
			return "", err
		}
		s, _ = k.reader.Config.State.Current().Store(SystemStore)
		key, err = keyIn(s, id)
	}
	if err != nil || key == nil {
		return "", err
	}
	return key.principal, nil
}

// SetGrants replaces what a principal may do, as far as the caller administers it: what
// lies beyond stays as it is. The version, if it is not nil, is the one that the grants
// must have, 0 if there must be none. It returns what the caller may see of the result.
func (k *Keyring) SetGrants(ctx context.Context, req KeyRequest, principal string, grants identity.Grants, version *uint64) (identity.Grants, uint64, error) {
	if err := administers(ctx, &grants); err != nil {
		return identity.Grants{}, 0, err
	}
	if !administersAny(ctx) {
		return identity.Grants{}, 0, fmt.Errorf("%w: %s administers nothing", identity.ErrForbidden, identity.Principal(ctx))
	}
	if err := k.prepare(ctx); err != nil {
		return identity.Grants{}, 0, err
	}
	h := NewContentHash("set grants")
	h.String(principal)
	hashGrants(h, &grants)
	if version != nil {
		h.Int(int64(*version))
	}
	_, err := k.change(ctx, req, h.Done(), principal, func(s *fsm.Store, p *storedPrincipal) ([]fsm.Operation, error) {
		if holdsKeys(principal) {
			// Whoever made a key must be able to revoke it: so nobody else adds to what it may do.
			if err := manageable(ctx, p); err != nil {
				return nil, err
			}
		}
		if version != nil && *version != p.version {
			return nil, fmt.Errorf("%w: the grants of %s are at version %d, not %d", fsm.ErrPrecondition, principal, p.version, *version)
		}
		p.grants = replaced(ctx, &p.grants, &grants)
		if p.grants.None() && len(p.keys) == 0 {
			return []fsm.Operation{deleteDocument(s, typePrincipal, principal)}, nil
		}
		put, err := putDocument(s, typePrincipal, principal, p.encode)
		return []fsm.Operation{put}, err
	})
	if err != nil {
		return identity.Grants{}, 0, err
	}
	return k.PrincipalGrants(ctx, principal)
}

// change writes what a plan makes of a principal as it is, and waits until this node shows
// it. The scope of the principal makes two changes of it come one after the other; those of
// others are not in the way.
func (k *Keyring) change(ctx context.Context, req KeyRequest, hash [32]byte, principal string, plan func(*fsm.Store, *storedPrincipal) ([]fsm.Operation, error)) (*fsm.Result, error) {
	sum := sha256.Sum256([]byte(principal)) // which may be longer than the name of a scope
	scope := typePrincipal + "/" + hex.EncodeToString(sum[:])
	return k.commit(ctx, req, hash, scope, func(s *fsm.Store) ([]fsm.Operation, error) {
		p, err := principalIn(s, principal)
		if err != nil {
			return nil, err
		}
		return plan(s, p)
	})
}

// commit writes what a plan makes of the system store as it is, and waits until this node
// shows it: if it does not in time, there is both a result and ErrNotReached. Two changes of
// one scope come one after the other. The store must be prepared.
func (k *Keyring) commit(ctx context.Context, req KeyRequest, hash [32]byte, scope string, plan func(*fsm.Store) ([]fsm.Operation, error)) (*fsm.Result, error) {
	var unplanned error
	result, err := k.writer.Do(ctx, func(root *fsm.Root) (*fsm.Command, error) {
		s, ok := root.Store(SystemStore)
		if !ok {
			return nil, errors.New("the system store has gone")
		}
		operations, err := plan(s)
		if unplanned = err; err != nil {
			return nil, err
		}
		return &fsm.Command{
			Store: SystemStore, Key: req.IdempotencyKey, Hash: hash, Reason: req.Reason,
			Requires: []fsm.ScopeVersion{{Scope: scope, Version: s.ScopeVersion(scope)}},
			Bumps:    []string{scope},
			Body:     &fsm.Write{Operations: operations},
		}, nil
	})
	if unplanned != nil && !errors.Is(unplanned, identity.ErrForbidden) {
		// What the first attempt wrote may be what is in the way of the second, which must get
		// the first one's answer.
		first, found, replayErr := k.writer.Replayed(ctx, SystemStore, req.IdempotencyKey, hash)
		switch {
		case replayErr != nil:
			return nil, replayErr
		case found:
			result, err = first, nil
		}
	}
	if err != nil {
		return nil, err
	}
	return result, k.reader.WaitFor(ctx, result.Revision)
}

// prepare makes the system store if there is none yet. Several nodes may do so at once:
// each step is one that only the first of them takes.
func (k *Keyring) prepare(ctx context.Context) error {
	if s, ok := k.reader.Config.State.Current().Store(SystemStore); ok && prepared(s) {
		return nil
	}
	if err := k.reader.CatchUp(ctx); err != nil {
		return err
	}
	parsed, err := model.ParseDSL("", systemModel)
	if err != nil {
		return err
	}
	source, err := parsed.JSON()
	if err != nil {
		return err
	}
	for {
		root := k.reader.Config.State.Current()
		s, ok := root.Store(SystemStore)
		command := &fsm.Command{Store: SystemStore, Reason: "for keys, grants and members"}
		switch {
		case !ok:
			command.Body = &fsm.CreateStore{Name: "remit"}
		case s.Retention() != fsm.Forever:
			command.Body = &fsm.SetRetention{Retention: fsm.Forever}
		case !prepared(s):
			command.Body = &fsm.WriteModel{ID: systemModelID, Source: source, Declarations: parsed.Declarations()}
		default:
			return nil
		}
		result, err := k.writer.propose(ctx, command)
		if err != nil {
			return err
		}
		if result.Err != nil && !errors.Is(result.Err, fsm.ErrStoreExists) && !errors.Is(result.Err, fsm.ErrModelExists) {
			return result.Err
		}
		if err := k.reader.WaitFor(ctx, result.Revision); err != nil {
			return err
		}
	}
}

// prepared reports whether the system store can hold all that it is for.
func prepared(s *fsm.Store) bool {
	_, ok := s.Symbols().TypeID(typeAutopilot)
	return ok && s.Retention() == fsm.Forever
}

func putDocument(s *fsm.Store, typ, name string, encode func() ([]byte, error)) (fsm.Operation, error) {
	content, err := encode()
	return fsm.Operation{Kind: fsm.PutDocument, Entity: systemEntity(s, typ, name), Fields: content}, err
}

func deleteDocument(s *fsm.Store, typ, name string) fsm.Operation {
	return fsm.Operation{Kind: fsm.DeleteDocument, Entity: systemEntity(s, typ, name)}
}

func systemEntity(s *fsm.Store, typ, name string) fsm.Entity {
	t, _ := s.Symbols().TypeID(typ) // a prepared store has both
	return fsm.Entity{Type: t, Name: name}
}

// Keys are the keys behind a place that the caller may know of, oldest entity first. A page
// ends when visit returns false; the place is that of the last key visited.
func (k *Keyring) Keys(ctx context.Context, after uint64, visit func(place uint64, key *Key) bool) error {
	return k.scan(typeKey, after, func(s *fsm.Store, id graph.ID, name string, d graph.Document) (bool, error) {
		key, err := decodeKey(name, d)
		if err != nil {
			return false, err
		}
		p, err := principalIn(s, key.principal)
		if err != nil {
			return false, err
		}
		return manageable(ctx, p) != nil || visit(uint64(id), key.told(p.grants)), nil
	})
}

// Principals are those behind a place to whom something is granted that the caller may
// know of, as Keys are.
func (k *Keyring) Principals(ctx context.Context, after uint64, visit func(place uint64, principal string, grants identity.Grants, version uint64) bool) error {
	return k.scan(typePrincipal, after, func(_ *fsm.Store, id graph.ID, name string, d graph.Document) (bool, error) {
		p, err := decodePrincipal(name, d)
		if err != nil {
			return false, err
		}
		grants := seen(ctx, &p.grants)
		return grants.None() || visit(uint64(id), name, grants, p.version), nil
	})
}

// PrincipalGrants is what the caller may see of one principal's grants, and their version.
func (k *Keyring) PrincipalGrants(ctx context.Context, principal string) (identity.Grants, uint64, error) {
	s, ok := k.reader.Config.State.Current().Store(SystemStore)
	if !ok {
		return identity.Grants{}, 0, nil
	}
	p, err := principalIn(s, principal)
	if err != nil {
		return identity.Grants{}, 0, err
	}
	grants := seen(ctx, &p.grants)
	if grants.None() && !unbounded(ctx) {
		return grants, 0, nil // whether there are others is none of the caller's business
	}
	return grants, p.version, nil
}

// scan goes through the documents of a type.
func (k *Keyring) scan(typ string, after uint64, visit func(s *fsm.Store, id graph.ID, name string, d graph.Document) (bool, error)) error {
	s, ok := k.reader.Config.State.Current().Store(SystemStore)
	if !ok {
		return nil
	}
	t, ok := s.Symbols().TypeID(typ)
	if !ok {
		return nil
	}
	var fault error
	err := s.Documents(t, graph.ID(after), func(id graph.ID, d graph.Document) bool {
		var name string
		var more bool
		if name, fault = s.Name(id); fault == nil {
			more, fault = visit(s, id, name, d)
		}
		return more && fault == nil
	})
	return errors.Join(err, fault)
}

// unbounded reports whether the caller of a context administers everything.
func unbounded(ctx context.Context) bool {
	c := identity.CallOf(ctx)
	return c == nil || c.Caller.Grants.Cluster
}

// administers reports whether the caller of a context may give grants away.
func administers(ctx context.Context, grants *identity.Grants) error {
	c := identity.CallOf(ctx)
	if c == nil || c.Caller.Grants.Includes(grants) {
		return nil
	}
	return fmt.Errorf("%w: %s may give no more than it administers", identity.ErrForbidden, c.Caller.Principal)
}

// administersAny reports whether the caller of a context administers anything at all.
func administersAny(ctx context.Context) bool {
	c := identity.CallOf(ctx)
	if c == nil || c.Caller.Grants.Cluster || c.Caller.Grants.All.Has(identity.Admin) {
		return true
	}
	for _, p := range c.Caller.Grants.Stores {
		if p.Has(identity.Admin) {
			return true
		}
	}
	return false
}

// manageable reports whether the caller of a context may deal with a principal's keys: all
// that they may do must lie where the caller administers. To others there are none.
func manageable(ctx context.Context, p *storedPrincipal) error {
	if p.version == 0 || administers(ctx, &p.grants) != nil || p.grants.None() && !unbounded(ctx) {
		return ErrKeyNotFound
	}
	return nil
}

// seen is the part of some grants that the caller of a context administers.
func seen(ctx context.Context, grants *identity.Grants) identity.Grants {
	return pick(ctx, grants, true)
}

// replaced is some grants with the part that the caller administers replaced.
func replaced(ctx context.Context, old, part *identity.Grants) identity.Grants {
	return pick(ctx, old, false).Union(*part)
}

// pick is the part of some grants that the caller administers, or the rest.
func pick(ctx context.Context, grants *identity.Grants, administered bool) (part identity.Grants) {
	if (administers(ctx, &identity.Grants{Cluster: true}) == nil) == administered {
		part.Cluster = grants.Cluster
	}
	if (administers(ctx, &identity.Grants{All: identity.Read}) == nil) == administered {
		part.All = grants.All
	}
	part.Stores = maps.Clone(grants.Stores)
	maps.DeleteFunc(part.Stores, func(store identity.Store, _ identity.Permissions) bool {
		one := identity.Grants{Stores: map[identity.Store]identity.Permissions{store: identity.Read}}
		return (administers(ctx, &one) == nil) != administered
	})
	return part
}

// hashGrants adds grants to the digest of a request.
func hashGrants(h *ContentHash, g *identity.Grants) {
	if g.Cluster {
		h.String("cluster")
	}
	h.Int(int64(g.All))
	for _, store := range slices.SortedFunc(maps.Keys(g.Stores), func(a, b identity.Store) int { return slices.Compare(a[:], b[:]) }) {
		h.String(string(store[:]))
		h.Int(int64(g.Stores[store]))
	}
}

func milliseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
