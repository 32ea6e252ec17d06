package identity

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

// Permissions is a set of what may be done with a store.
type Permissions uint8

// The permissions. Administering a store is whatever can be done with it: it includes the
// others. None of the others includes another: who writes may be one who must not read.
const (
	Read  Permissions = 1 << iota // ask, list, explain, watch, export; models and their assertions too
	Write                         // write and delete tuples, import
	Model                         // write models and their assertions
	Admin                         // delete the store, set its retention, erase, make keys for it, read its audit
)

const everything = Read | Write | Model | Admin

// permissionNames are the names of the permissions, in the order of their bits.
var permissionNames = [...]string{"read", "write", "model", "admin"}

// String lists the permissions: read,write.
func (p Permissions) String() string {
	names := make([]string, 0, bits.OnesCount8(uint8(p)))
	for i, name := range permissionNames {
		if p&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// ParsePermissions reads what String writes.
func ParsePermissions(text string) (Permissions, error) {
	var p Permissions
	for name := range strings.SplitSeq(text, ",") {
		i := slices.Index(permissionNames[:], name)
		if i < 0 {
			return 0, fmt.Errorf("%w: %q is no permission; there are %s", ErrGrant, name, strings.Join(permissionNames[:], ", "))
		}
		p |= 1 << i
	}
	return p, nil
}

// Has reports whether the set has all that is needed.
func (p Permissions) Has(needed Permissions) bool {
	return p&needed == needed || p&Admin != 0
}

// A Store is a store's id.
type Store = [16]byte

// Grants is what a caller may do. The zero value is nothing. It is not changed once it is
// part of a Caller.
type Grants struct {
	// Cluster is everything: all stores, making new ones, and what concerns the whole
	// cluster, such as backups and keys.
	Cluster bool
	// All is what may be done with every store, those of the future included.
	All Permissions
	// Stores is what may be done with some, besides.
	Stores map[Store]Permissions
}

// On is what may be done with a store.
func (g *Grants) On(store Store) Permissions {
	if g.Cluster {
		return everything
	}
	return g.All | g.Stores[store]
}

// Includes reports whether whoever has these grants may give others away: one gives no
// more than one may administer oneself.
func (g *Grants) Includes(others *Grants) bool {
	switch {
	case g.Cluster || g.All.Has(Admin) && !others.Cluster:
		return true
	case others.Cluster || others.All != 0:
		return false
	}
	for store, p := range others.Stores {
		if p != 0 && !g.On(store).Has(Admin) {
			return false
		}
	}
	return true
}

// None reports whether nothing is granted.
func (g *Grants) None() bool {
	if g.Cluster || g.All != 0 {
		return false
	}
	for _, p := range g.Stores {
		if p != 0 {
			return false
		}
	}
	return true
}

// Union is what two grants permit together.
func (g Grants) Union(other Grants) Grants {
	u := Grants{Cluster: g.Cluster || other.Cluster, All: g.All | other.All}
	if len(g.Stores)+len(other.Stores) > 0 {
		u.Stores = make(map[Store]Permissions, len(g.Stores)+len(other.Stores))
		for _, from := range []map[Store]Permissions{g.Stores, other.Stores} {
			for store, p := range from {
				u.Stores[store] |= p
			}
		}
	}
	return u
}
