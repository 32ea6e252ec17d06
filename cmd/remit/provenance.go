package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"connectrpc.com/connect/v2"
	"github.com/spf13/pflag"

	"github.com/remit-authz/remit/rpc/backend"
)

// A provenance is what the changes of a command are recorded with, beside the principal,
// which the server knows itself.
type provenance struct {
	actor  string // flag --actor
	reason string // flag --reason; that of a command is the same
}

func (p *provenance) register(flags *pflag.FlagSet) {
	flags.StringVar(&p.actor, "actor", "", "`whom` you act for: recorded with each change (default $REMIT_ACTOR)")
	flags.StringVar(&p.reason, "reason", "", "`why`: recorded with each change (default $REMIT_REASON)")
}

// given is the reason that the flag or the environment gives.
func (p *provenance) given() string { return firstOf(p.reason, os.Getenv("REMIT_REASON")) }

// maxProvenance is the server's limit, in bytes.
const maxProvenance = 1024

// headers adds actor and reason to every call: the server records them with what changes.
func (p *provenance) headers(next connect.ClientFunc) connect.ClientFunc {
	values := []struct{ header, flag, value string }{
		{backend.HeaderActor, "--actor", firstOf(p.actor, os.Getenv("REMIT_ACTOR"))},
		{backend.HeaderReason, "--reason", p.given()},
	}
	return func(ctx context.Context, spec connect.Spec) (connect.ClientStream, error) {
		info, ok := connect.CallInfoForClientContext(ctx)
		for _, v := range values {
			if v.value == "" || !ok {
				continue
			}
			if err := recordable(v.value); err != nil {
				return nil, own(fmt.Errorf("%s: %w", v.flag, err))
			}
			info.RequestHeader().Set(v.header, v.value)
		}
		return next(ctx, spec)
	}
}

// recordable refuses what the server would, or what a header cannot carry.
func recordable(text string) error {
	switch {
	case len(text) > maxProvenance:
		return fmt.Errorf("it has %d bytes; at most %d are recorded", len(text), maxProvenance)
	case !utf8.ValidString(text):
		return fmt.Errorf("%q is not UTF-8", text)
	case strings.ContainsFunc(text, unicode.IsControl):
		return fmt.Errorf("%q has control characters", text)
	case strings.TrimSpace(text) != text:
		return fmt.Errorf("%q begins or ends with a space", text)
	}
	return nil
}

// visible is a text that others have written, safe for a terminal: what does not show, or
// would act on the terminal or turn the order of the text, is written as an escape.
func visible(text string) string {
	plain := func(r rune) bool { return unicode.IsPrint(r) && r != utf8.RuneError }
	if strings.IndexFunc(text, func(r rune) bool { return !plain(r) }) < 0 {
		return text
	}
	var b strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		switch {
		case plain(r):
			b.WriteRune(r)
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, text[0])
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			fmt.Fprintf(&b, `\u{%x}`, r)
		}
		text = text[size:]
	}
	return b.String()
}
