package backend

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"connectrpc.com/connect/v2"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/rpc/identity"
)

// Headers by which a request says what its changes are recorded with, on every face.
const (
	// HeaderRequestID names the request.
	HeaderRequestID = "X-Request-Id"
	// HeaderActor names whom the caller acts for, such as the user of an application. It
	// is the caller's word: nobody checks it.
	HeaderActor = "Remit-Actor"
	// HeaderReason says why, for a request that has no field of its own for that.
	HeaderReason = "Remit-Reason"
)

// maxProvenance bounds what each of the headers may hold, in bytes.
const maxProvenance = 1024

// stamp completes what a command says of its origin. What the command says already stays.
func stamp(ctx context.Context, c *fsm.Command) error {
	if c.Principal == "" {
		c.Principal = identity.Principal(ctx)
	}
	info, ok := connect.CallInfoForServerContext(ctx)
	if !ok {
		return nil
	}
	header := info.RequestHeader()
	for _, f := range []struct {
		name string
		to   *string
	}{{HeaderActor, &c.Actor}, {HeaderReason, &c.Reason}} {
		if *f.to != "" {
			continue
		}
		switch given := header.Get(f.name); {
		case len(given) > maxProvenance:
			return At(f.name, fmt.Errorf("%w: the header has %d bytes, more than %d", ErrRequest, len(given), maxProvenance))
		case !utf8.ValidString(given):
			return At(f.name, fmt.Errorf("%w: the header is not UTF-8", ErrRequest))
		default:
			*f.to = given
		}
	}
	if c.RequestID == "" {
		// It is a name for people, and not worth refusing a change for. But no answer can hold
		// what is no text: a change recorded with it could be shown to nobody.
		id := header.Get(HeaderRequestID)
		c.RequestID = strings.ToValidUTF8(id[:min(len(id), 128)], "")
	}
	return nil
}
