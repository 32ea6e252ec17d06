package backend

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/value"
	"github.com/remit-authz/remit/rpc/identity"
)

// A KeyringChange is a change of keys or of grants, in words: it holds no secret, and no
// hash of one.
type KeyringChange struct {
	Key       bool   // of a key; else of a principal
	Removed   bool   // it is there no longer
	Principal string // whose key, or who; empty for a key that is gone
	Text      string // what it is now
}

// TellKeyring tells a change of the system store. It is false for one that is neither of
// keys nor of grants.
func TellKeyring(store *fsm.Store, c *fsm.Change) (told KeyringChange, ok bool, err error) {
	if c.Kind != fsm.DocumentPut && c.Kind != fsm.DocumentDeleted {
		return told, false, nil
	}
	name, err := ObjectName(store.Symbols(), store, c.Entity)
	if err != nil {
		return told, false, err
	}
	told.Removed = c.Kind == fsm.DocumentDeleted
	d := graph.Document{Version: c.Version}
	if !told.Removed {
		if d.Fields, err = value.Decode(c.Fields); err != nil {
			return told, false, err
		}
	}
	switch name.Type {
	case typeKey:
		err = told.tellKey(name.ID, d)
	case typePrincipal:
		err = told.tellPrincipal(name.ID, d)
	default:
		return told, false, nil
	}
	return told, true, err
}

func (t *KeyringChange) tellKey(id string, d graph.Document) error {
	t.Key, t.Text = true, "key "+id
	if t.Removed {
		return nil
	}
	k, err := decodeKey(id, d)
	if err != nil {
		return err
	}
	t.Principal = k.principal
	if !k.expires.IsZero() {
		t.Text += " until " + k.expires.Format(time.RFC3339)
	}
	return nil
}

func (t *KeyringChange) tellPrincipal(name string, d graph.Document) error {
	t.Principal = name
	if t.Removed {
		t.Text = "may do nothing"
		return nil
	}
	p, err := decodePrincipal(name, d)
	if err != nil {
		return err
	}
	t.Text = grantsText(&p.grants)
	switch n := len(p.keys); n {
	case 0:
	case 1:
		t.Text += "; has key " + p.keys[0]
	default:
		t.Text += fmt.Sprintf("; has %d keys", n)
	}
	return nil
}

// grantsText is what somebody may do, for people.
func grantsText(g *identity.Grants) string {
	if g.Cluster {
		return "may do everything"
	}
	var parts []string
	if g.All != 0 {
		parts = append(parts, g.All.String()+" on every store")
	}
	for _, store := range slices.SortedFunc(maps.Keys(g.Stores), func(a, b identity.Store) int { return slices.Compare(a[:], b[:]) }) {
		if p := g.Stores[store]; p != 0 {
			parts = append(parts, p.String()+" on store "+fsm.StoreID(store).String())
		}
	}
	if len(parts) == 0 {
		return "may do nothing"
	}
	return "may " + strings.Join(parts, ", ")
}
