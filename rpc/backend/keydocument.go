package backend

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/value"
	"github.com/remit-authz/remit/rpc/identity"
)

// The types of the system store. A key belongs to a principal, and what it may do is
// granted to that: so a key that takes the place of another may do the same.
const (
	typeKey       = "key"
	typePrincipal = "principal"
	typeMember    = "member"    // what was asked for of a member of the cluster
	typeAutopilot = "autopilot" // what the leader does about members by itself
)

// systemModel declares the types, and systemModelID is its version's. Whoever adds a type
// gives it a new id, and has prepared look for the type: a store that an older release made
// gets the new version beside its own, which had the id {15: 1}.
const systemModel = "model\n  schema 1.1\n\ntype " + typeKey + "\n\ntype " + typePrincipal +
	"\n\ntype " + typeMember + "\n\ntype " + typeAutopilot + "\n"

var systemModelID = fsm.ModelID{15: 2}

// The fields of documents, as they are stored; never renamed.
const (
	fieldHash      = "hash"      // of a key: SHA-256 of its secret, hex
	fieldPrincipal = "principal" // of a key: whose it is
	fieldCreated   = "created"   // milliseconds since 1970 UTC
	fieldCreator   = "creator"   // the principal who made it
	fieldExpires   = "expires"   // of a key: milliseconds since 1970 UTC; absent: never
	fieldLifetime  = "lifetime"  // of a key: how long it was to live when it was made, in milliseconds; absent: for ever
	fieldRequest   = "request"   // of a key: what names the request that made it, if anything does

	fieldCluster = "cluster" // of a principal: may do everything
	fieldAll     = "all"     // of a principal: permissions on every store
	fieldStores  = "stores"  // of a principal: permissions by store
	fieldKeys    = "keys"    // of a principal: the ids of its keys, oldest first
)

// A storedKey is a key as it is stored.
type storedKey struct {
	id        string
	hash      []byte
	principal string
	created   time.Time
	creator   string
	expires   time.Time // zero: never
	lifetime  time.Duration
	request   string
}

func (k *storedKey) encode() ([]byte, error) {
	m := value.Map{
		fieldHash: hex.EncodeToString(k.hash), fieldPrincipal: k.principal,
		fieldCreated: k.created.UnixMilli(), fieldCreator: k.creator,
	}
	if !k.expires.IsZero() {
		m[fieldExpires] = k.expires.UnixMilli()
	}
	if k.lifetime != 0 {
		m[fieldLifetime] = k.lifetime.Milliseconds()
	}
	if k.request != "" {
		m[fieldRequest] = k.request
	}
	return value.Encode(m)
}

// decodeKey reads a key. One that cannot be read is an error and never a key.
func decodeKey(id string, d graph.Document) (*storedKey, error) {
	k := &storedKey{id: id}
	f := fields{of: d.Fields}
	hash, err := hex.DecodeString(f.text(fieldHash))
	k.hash = hash
	k.principal, k.creator, k.request = f.text(fieldPrincipal), f.text(fieldCreator), f.text(fieldRequest)
	k.created, k.expires = f.time(fieldCreated), f.time(fieldExpires)
	if ms, ok := d.Fields[fieldLifetime].(int64); ok {
		k.lifetime = time.Duration(ms) * time.Millisecond
	}
	if f.fault == nil && (err != nil || len(hash) != 32 || k.principal == "") {
		f.fault = fmt.Errorf("%w: its hash or its principal", fsm.ErrCorrupt)
	}
	if f.fault != nil {
		return nil, fmt.Errorf("key %s: %w", id, f.fault)
	}
	return k, nil
}

// A storedPrincipal is somebody to whom something is granted.
type storedPrincipal struct {
	name    string
	version uint64 // of the document; 0: there is none
	grants  identity.Grants
	keys    []string
}

func (p *storedPrincipal) encode() ([]byte, error) {
	m := value.Map{}
	if p.grants.Cluster {
		m[fieldCluster] = true
	}
	if p.grants.All != 0 {
		m[fieldAll] = p.grants.All.String()
	}
	stores := value.Map{}
	for store, permissions := range p.grants.Stores {
		if permissions != 0 {
			stores[fsm.StoreID(store).String()] = permissions.String()
		}
	}
	if len(stores) > 0 {
		m[fieldStores] = stores
	}
	if len(p.keys) > 0 {
		keys := make(value.List, len(p.keys))
		for i, id := range p.keys {
			keys[i] = id
		}
		m[fieldKeys] = keys
	}
	return value.Encode(m)
}

// decodePrincipal reads a principal. What cannot be read grants nothing: it is an error.
func decodePrincipal(name string, d graph.Document) (*storedPrincipal, error) {
	p := &storedPrincipal{name: name, version: d.Version}
	f := fields{of: d.Fields}
	p.grants.Cluster, _ = d.Fields[fieldCluster].(bool)
	p.grants.All = f.permissions(d.Fields[fieldAll])
	if stores, ok := d.Fields[fieldStores].(value.Map); ok {
		p.grants.Stores = make(map[identity.Store]identity.Permissions, len(stores))
		for text, permissions := range stores {
			id, err := fsm.ParseStoreID(text)
			f.fail(err)
			p.grants.Stores[id] = f.permissions(permissions)
		}
	}
	if keys, ok := d.Fields[fieldKeys].(value.List); ok {
		for _, key := range keys {
			id, ok := key.(string)
			if !ok {
				f.fail(fmt.Errorf("%w: an id of a key is a %T", fsm.ErrCorrupt, key))
			}
			p.keys = append(p.keys, id)
		}
	}
	if f.fault != nil {
		return nil, fmt.Errorf("principal %s: %w", name, f.fault)
	}
	return p, nil
}

// without drops keys.
func (p *storedPrincipal) without(ids ...string) {
	p.keys = slices.DeleteFunc(slices.Clone(p.keys), func(id string) bool { return slices.Contains(ids, id) })
}

// holdsKeys reports whether a principal is one that keys are made for.
func holdsKeys(principal string) bool { return strings.HasPrefix(principal, keyPrincipal) }

// fields reads the fields of a document and keeps the first fault.
type fields struct {
	of    value.Map
	fault error
}

func (f *fields) fail(err error) {
	if f.fault == nil {
		f.fault = err
	}
}

func (f *fields) text(name string) string {
	text, _ := f.of[name].(string)
	return text
}

func (f *fields) time(name string) time.Time {
	switch ms := f.of[name].(type) {
	case nil:
		return time.Time{}
	case int64:
		return time.UnixMilli(ms).UTC()
	default:
		f.fail(fmt.Errorf("%w: the field %s is a %T", fsm.ErrCorrupt, name, ms))
		return time.Time{}
	}
}

func (f *fields) permissions(v value.Value) identity.Permissions {
	text, ok := v.(string)
	if v == nil {
		return 0
	}
	if !ok {
		f.fail(fmt.Errorf("%w: permissions are a %T", fsm.ErrCorrupt, v))
		return 0
	}
	p, err := identity.ParsePermissions(text)
	f.fail(err)
	return p
}
