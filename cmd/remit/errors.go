package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"

	"connectrpc.com/connect/v2"

	"github.com/remit-authz/remit/cmd/remit/storefile"
	"github.com/remit-authz/remit/rpc/client"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// errorText is an error as people read it: what is wrong, where, and what to do. Codes
// and wrapping are left out.
func (a *app) errorText(err error) string {
	var partial *partialError
	if errors.As(err, &partial) {
		return a.errorText(partial.err) + "\n  before that, " + partial.done
	}
	var help *advised
	if errors.As(err, &help) {
		return a.errorText(help.err) + "\n  " + help.advice
	}
	var ours *ownError
	if errors.As(err, &ours) {
		return "remit: " + ours.err.Error()
	}
	var callErr *connect.Error
	if errors.As(err, &callErr) {
		return "remit: " + a.callText(err, callErr)
	}
	var faults *storefile.Error
	switch {
	case errors.Is(err, context.Canceled) && a.wasInterrupted():
		return "remit: interrupted"
	case errors.Is(err, context.DeadlineExceeded):
		return "remit: " + a.timeoutText()
	case errors.As(err, &faults) && len(faults.Faults) > 1:
		return err.Error() // one a line, each with its place
	}
	return "remit: " + strings.TrimSpace(err.Error())
}

func (a *app) wasInterrupted() bool { return a.interrupted != nil && a.interrupted() }

// A partialError ends work of several steps of which some were done.
type partialError struct {
	done string
	err  error
}

func (e *partialError) Error() string { return e.done + ", then: " + e.err.Error() }
func (e *partialError) Unwrap() error { return e.err }

// An advised error says what to do about it.
type advised struct {
	err    error
	advice string
}

func (e *advised) Error() string { return e.err.Error() + "\n  " + e.advice }
func (e *advised) Unwrap() error { return e.err }

// An ownError is one of this program's, in whatever the client makes of it.
type ownError struct{ err error }

func (e *ownError) Error() string { return e.err.Error() }
func (e *ownError) Unwrap() error { return e.err }

// own marks an error of this program for which a call is not made, and not repeated.
func own(err error) error {
	return connect.NewError(connect.CodeInvalidArgument, err.Error()).WithCause(&ownError{err})
}

// placed takes an error apart that the client has given the address it comes from.
func (a *app) placed(e *connect.Error) (base string, bare *connect.Error, ok bool) {
	if e.IsRemote() || !errors.As(e.Unwrap(), &bare) {
		return "", nil, false
	}
	for _, base := range a.bases {
		if strings.HasPrefix(e.Message(), base+": ") {
			return base, bare, true
		}
	}
	return "", nil, false
}

func (a *app) callText(err error, e *connect.Error) string {
	if base, bare, ok := a.placed(e); ok {
		all := a.asked
		defer func() { a.asked = all }()
		if a.asked, err, e = base, bare, bare; unreachable(bare) {
			a.asked = all // nobody answers at any of them
		}
	}
	var dns *net.DNSError
	if text, ok := a.tlsText(err); ok && !e.IsRemote() {
		return text
	}
	switch {
	case errors.As(err, &dns):
		return fmt.Sprintf("no server can be found at %s: %s is unknown", a.asked, dns.Name)
	case unreachable(e):
		return fmt.Sprintf("no server answers at %s; start one with \"remit serve\" (while it waits for other nodes, its log says for which), or name another with --addr or REMIT_ADDR", a.asked)
	case !e.IsRemote() && e.Code() == connect.CodeCanceled && a.wasInterrupted():
		return "interrupted" // a transport cancels on its own accord, too
	case !e.IsRemote() && e.Code() == connect.CodeDeadlineExceeded:
		return a.timeoutText()
	case strings.Contains(err.Error(), "malformed HTTP response"), strings.HasSuffix(err.Error(), "415 Unsupported Media Type"):
		return fmt.Sprintf("the server at %s answers otherwise than expected; if that is its gRPC port, name the other one with --addr", a.asked)
	case e.Code() == connect.CodeUnimplemented:
		return fmt.Sprintf("the server at %s cannot do that; it is another version, or no Remit server", a.asked)
	}
	message := e.Message()
	if message == "" {
		message = strings.ReplaceAll(e.Code().String(), "_", " ")
	}
	detail := client.Detail(e)
	switch {
	case detail == nil && !e.IsRemote():
		return fmt.Sprintf("the server at %s: %s", a.asked, message)
	case detail == nil:
		return message
	}
	message = a.inOurWords(message, detail.GetField())
	if detail.GetReason() == remitv1.ErrorReason_ERROR_REASON_UNAUTHENTICATED && !a.credentials.given() {
		return fmt.Sprintf("the server at %s asks who calls; give a key with --token-file or REMIT_TOKEN_FILE, or a client certificate with --client-cert", a.asked)
	}
	var b strings.Builder
	if detail.GetLine() > 0 {
		place := fmt.Sprintf("%d:%d: ", detail.GetLine(), detail.GetColumn())
		if file := detail.GetFile(); file != "" {
			place = file + ":" + place
		} else {
			place = "line " + place
		}
		if !strings.Contains(message, strings.TrimPrefix(strings.TrimSuffix(place, ": "), "line ")) {
			b.WriteString(place)
		}
	}
	b.WriteString(message)
	if missing := detail.GetMissing(); len(missing) > 0 {
		var fields []string
		for _, name := range missing {
			fields = append(fields, fmt.Sprintf("%q: …", name))
		}
		fmt.Fprintf(&b, "\n  give them with --context '{%s}'", strings.Join(fields, ", "))
	}
	return b.String()
}

// unreachable reports whether nobody listens, or the way there is closed.
func unreachable(e *connect.Error) bool {
	var dial *net.OpError
	return !e.IsRemote() && (errors.Is(e, syscall.ECONNREFUSED) || errors.As(e, &dial) && dial.Op == "dial")
}

// apiWords are advice for callers of the API, and what it means for the command line.
var apiWords = strings.NewReplacer("set scope.at instead", "use --at instead", "touch it instead if that is meant", "without --create it would be written anew",
	"with the OrganisationService or remit org", "with remit org")

// inOurWords replaces what a message says in terms of the API: paths of fields, for which
// the command line has flags and tuples.
func (a *app) inOurWords(message, field string) string {
	message, ofField := strings.CutPrefix(message, field+": ")
	if rest, ok := strings.CutPrefix(message, "invalid request: "); ok {
		message = rest
		if ofField || !strings.HasPrefix(rest, field+": ") { // as the rules of a message begin
			message = a.flagOf(field) + rest
		}
	}
	for of, flag := range map[string]string{"subject_type": "--kind", "subject_relation": "--kind", "depth": "--depth"} {
		if rest, ok := strings.CutPrefix(message, of); ok && strings.HasPrefix(field, of) {
			message = flag + rest
		}
	}
	if name, ok := strings.CutPrefix(field, "autopilot."); ok {
		if rest, ok := strings.CutPrefix(message, field); ok {
			message = "--" + strings.ReplaceAll(name, "_", "-") + rest
		}
	}
	message = apiWords.Replace(message)
	if fault, ok := strings.CutPrefix(message, "invalid organisation:\n  "); ok && !strings.Contains(fault, "\n") {
		message = fault
	}
	var i int
	if _, err := fmt.Sscanf(field, "operations[%d]", &i); err == nil && i >= 0 && i < len(a.operations) {
		t := a.operations[i].GetTuple()
		if text := t.GetObject() + "#" + t.GetRelation() + "@" + t.GetSubject(); !strings.Contains(message, text) {
			message = text + ": " + message
		}
	}
	return message
}

// flagOf is the flag behind a field, to stand before what is wrong with it; empty if the
// message has to do without.
func (a *app) flagOf(field string) string {
	of, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(field, "scope."), "filter."), ".")
	switch of {
	case "consistency":
		if a.consistency != "" {
			return "--consistency: "
		}
		return "--as-of: "
	case "at":
		return "--at: "
	case "since_revision", "until_revision":
		return "--" + strings.TrimSuffix(of, "_revision") + ": "
	case "from", "to", "since", "until":
		return "--" + of + ": "
	case "expires_at":
		return "--expires: "
	}
	return ""
}

func (a *app) timeoutText() string {
	if a.asked == "" {
		return "it took too long"
	}
	return fmt.Sprintf("the server at %s did not answer within %s; see --timeout", a.asked, a.timeout)
}

// hasReason reports whether the server refused for a certain reason.
func hasReason(err error, reason remitv1.ErrorReason) bool { return client.Reason(err) == reason }

// fileReason is an error of the file system as a sentence about the file.
func fileReason(name string, err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	return fmt.Errorf("%s: %w", name, err)
}
