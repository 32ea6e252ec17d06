package conformance

import (
	"context"
	"strings"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
)

// known names the entry of KNOWN.md that explains a difference, or returns "".
func known(ctx context.Context, d *difference, _, peerPlace *place) string {
	if _, ok := d.question.(*openfgav1.ReadChangesRequest); ok && d.got == inOnePage(ctx, peerPlace, d) {
		return "known: changes of one millisecond come twice or never"
	}
	return ""
}

// inOnePage is what OpenFGA answers if it need not find where a page ended.
func inOnePage(ctx context.Context, p *place, d *difference) string {
	r, err := p.client.ReadChanges(ctx, &openfgav1.ReadChangesRequest{StoreId: p.store, Type: d.question.(*openfgav1.ReadChangesRequest).GetType()})
	if err != nil {
		return refusal(err)
	}
	var b strings.Builder
	for _, c := range r.GetChanges() {
		b.WriteString(changeText(c) + "\n")
	}
	return b.String() + "the token is the same"
}
