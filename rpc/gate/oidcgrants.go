package gate

import (
	"fmt"
	"strings"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/rpc/identity"
)

// The texts of grants that are about more than one store.
const (
	grantCluster  = "cluster"
	grantAllStore = "*"
)

// parseGrants reads grants: cluster, or a store's id or *, a colon, and permissions with
// commas between them. A text that is none is a fault: passed over, it would be missed only
// when something is refused.
func parseGrants(texts []string) (identity.Grants, error) {
	var g identity.Grants
	for _, text := range texts {
		if text == grantCluster {
			g.Cluster = true
			continue
		}
		store, names, ok := strings.Cut(text, ":")
		if !ok {
			return g, fmt.Errorf("%w: %q must be cluster, or STORE_ID:PERMISSIONS, or *:PERMISSIONS", identity.ErrGrant, shown(text))
		}
		permissions, err := identity.ParsePermissions(names)
		if err != nil {
			return g, fmt.Errorf("%q: %w", shown(text), err)
		}
		if store == grantAllStore {
			g.All |= permissions
			continue
		}
		id, err := fsm.ParseStoreID(store)
		if err != nil {
			return g, fmt.Errorf("%w: %q does not begin with the id of a store", identity.ErrGrant, shown(text))
		}
		if g.Stores == nil {
			g.Stores = map[identity.Store]identity.Permissions{}
		}
		g.Stores[identity.Store(id)] |= permissions
	}
	return g, nil
}

// shown bounds what of a text is repeated.
func shown(text string) string {
	const most = 64
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}
