package backend

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/rpc/identity"
)

var (
	// ErrKeyNotFound says that there is no such key, or none that the caller may know of.
	ErrKeyNotFound = errors.New("key not found")
	// ErrKeyExists says that there is a key of that name already.
	ErrKeyExists = errors.New("a key of this name exists")
)

// keyPrincipal is before the name of a key in its principal.
const keyPrincipal = "key:"

// A Keyring holds the keys that were given out, what principals may do, and what operators
// ask of the cluster. All of these are documents of the system store: so they are on every
// node, in every backup, and each change of them says who made it. It is safe for
// concurrent use.
type Keyring struct {
	reader *Reader
	writer *Writer // the only one that writes to the system store

	decoded atomic.Pointer[ring]
}

// NewKeyring makes a keyring.
func NewKeyring(r *Reader) *Keyring {
	return &Keyring{reader: r, writer: &Writer{reader: r, system: true}}
}

// A ring is what was decoded of one content of the system store. Another content gets
// another ring, so nothing outlives a change that this node has applied.
type ring struct {
	content fsm.Content

	mu     sync.RWMutex
	keys   map[string]*heldKey        // by id; guarded by mu
	grants map[string]identity.Grants // by principal, those that have some; guarded by mu
}

// A heldKey is a key as it is compared.
type heldKey struct {
	hash   [sha256.Size]byte
	caller *identity.Caller
}

// absentKey is compared when there is no key, so that this takes as long as if there were.
// Nobody has a secret with such a hash.
var absentKey heldKey

// Now is the time by which keys expire.
func (k *Keyring) Now() time.Time { return k.reader.Now() }

// Authenticate says who brings a key. Every error but identity.ErrNotMine and faults of
// the store itself is identity.ErrUnauthenticated.
func (k *Keyring) Authenticate(token string) (*identity.Caller, error) {
	id, err := parseKey(token)
	if err != nil {
		return nil, err
	}
	held := &absentKey
	root := k.reader.Config.State.Current()
	if content, ok := root.Content(SystemStore); ok {
		found, err := k.ring(content).key(root, id)
		if err != nil {
			return nil, err
		}
		if found != nil {
			held = found
		}
	}
	hash := hashSecret(token)
	if subtle.ConstantTimeCompare(hash[:], held.hash[:]) != 1 || held.caller == nil {
		return nil, errUnknownKey
	}
	if c := held.caller; !c.Expires.IsZero() && !k.Now().Before(c.Expires) {
		return nil, identity.Expired(c.Expires)
	}
	return held.caller, nil
}

var errUnknownKey = fmt.Errorf("%w: the key is not known here, or was revoked", identity.ErrUnauthenticated)

// Grants is what a principal may do, as far as it is stored.
func (k *Keyring) Grants(principal string) (identity.Grants, error) {
	store, ok := k.reader.Config.State.Current().Store(SystemStore)
	if !ok {
		return identity.Grants{}, nil
	}
	r := k.ring(store.Content())
	r.mu.RLock()
	grants, ok := r.grants[principal]
	r.mu.RUnlock()
	if ok {
		return grants, nil
	}
	p, err := principalIn(store, principal)
	if err != nil || p.version == 0 {
		return identity.Grants{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.grants[principal] = p.grants
	return p.grants, nil
}

// ring is what was decoded of a content.
func (k *Keyring) ring(content fsm.Content) *ring {
	if r := k.decoded.Load(); r != nil && r.content == content {
		return r
	}
	r := &ring{content: content, keys: map[string]*heldKey{}, grants: map[string]identity.Grants{}}
	k.decoded.Store(r)
	return r
}

// key finds a key by its id; nil if there is none. What is not there is not remembered:
// anybody can make up ids.
func (r *ring) key(root *fsm.Root, id string) (*heldKey, error) {
	r.mu.RLock()
	held := r.keys[id]
	r.mu.RUnlock()
	if held != nil {
		return held, nil
	}
	store, ok := root.Store(SystemStore)
	if !ok {
		return nil, nil
	}
	stored, err := keyIn(store, id)
	if err != nil || stored == nil {
		return nil, err
	}
	p, err := principalIn(store, stored.principal)
	if err != nil {
		return nil, err
	}
	held = &heldKey{caller: &identity.Caller{Principal: stored.principal, Grants: p.grants, Expires: stored.expires}}
	copy(held.hash[:], stored.hash)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys[id] = held
	return held, nil
}

// documentIn finds a document of the system store by the name of its entity.
func documentIn(store *fsm.Store, typ, name string) (graph.Document, bool, error) {
	t, ok := store.Symbols().TypeID(typ)
	if !ok {
		return graph.Document{}, false, nil
	}
	id, ok, err := store.Lookup(t, name)
	if err != nil || !ok {
		return graph.Document{}, false, err
	}
	return store.Document(id)
}

// keyIn finds a key by its id; nil if there is none.
func keyIn(store *fsm.Store, id string) (*storedKey, error) {
	d, ok, err := documentIn(store, typeKey, id)
	if err != nil || !ok {
		return nil, err
	}
	return decodeKey(id, d)
}

// principalIn finds a principal. One without a document has nothing, and version 0.
func principalIn(store *fsm.Store, name string) (*storedPrincipal, error) {
	d, ok, err := documentIn(store, typePrincipal, name)
	if err != nil || !ok {
		return &storedPrincipal{name: name}, err
	}
	return decodePrincipal(name, d)
}
