package rpc

import (
	"context"
	"fmt"
	"strings"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/rpc/backend"
	"github.com/remit-authz/remit/rpc/gate"
	"github.com/remit-authz/remit/rpc/identity"
)

// organisationService answers remit.v1.OrganisationService. What makes and changes an
// organisation stands in organisationcreate.go and organisationchange.go, what reads it in
// organisationlist.go, what a seat is shown of it in organisationsight.go, and the questions in
// organisationask.go.
type organisationService struct {
	streamer
	writer *backend.Writer
	lanes  *lanes
}

func newOrganisationService(s streamer, w *backend.Writer) *organisationService {
	return &organisationService{streamer: s, writer: w, lanes: newLanes()}
}

// loginOf is whose seats are the caller's own: the subject of the identity provider's
// token, or nobody. A key or a certificate sits nowhere, whatever its name: who makes keys
// would otherwise choose whose seat to take.
func loginOf(ctx context.Context) string {
	login, ok := strings.CutPrefix(identity.Principal(ctx), gate.PrefixOIDC)
	if !ok {
		return ""
	}
	return login
}

// administers reports whether the caller may do everything with a store.
func administers(ctx context.Context, store fsm.StoreID) bool {
	c := identity.CallOf(ctx)
	return c == nil || c.Caller.Grants.On(store).Has(identity.Admin)
}

// forbidden refuses for want of a right, in words.
func forbidden(format string, args ...any) error {
	return fmt.Errorf("%w: %s", identity.ErrForbidden, fmt.Sprintf(format, args...))
}
