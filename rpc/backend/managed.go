package backend

import (
	"fmt"

	"github.com/remit-authz/remit/fsm"
)

// Unmanaged refuses a managed store to who writes tuples or models as they are: the field
// names the store. The state machine refuses them, too, whatever is forgotten here; this
// says so before anything is read, planned or streamed.
func Unmanaged(field string, store *fsm.Store) error {
	if !store.Managed() {
		return nil
	}
	return At(field, fmt.Errorf("%w: the tuples and models of %q belong to an organisation; change that instead, with the OrganisationService or remit org",
		fsm.ErrManaged, store.StoreName()))
}

// supported refuses a command that some node of the cluster might not know.
func supported(root *fsm.Root, command *fsm.Command) error {
	have, need := root.ClusterVersion(), command.ClusterVersion()
	if have >= need {
		return nil
	}
	return fmt.Errorf("%w: it is %d, and %d is needed; it rises by itself, at most some minutes after every node runs a release that knows it (remit cluster status)",
		fsm.ErrVersion, have, need)
}
