package client

import (
	"context"
	"sync"

	"connectrpc.com/connect/v2"

	"github.com/remit-authz/remit/rpc/token"
)

// tokens keeps the newest token that any answer brought.
type tokens struct {
	mu     sync.Mutex
	newest token.Token
	text   string // of the newest
}

// saw notes the token of an answer. One of another epoch replaces all before it: the
// cluster was restored, and what they stood for is gone or is another's.
func (t *tokens) saw(text string) {
	if text == "" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if text == t.text {
		return
	}
	seen, err := token.Parse(text)
	if err != nil {
		return // of a newer server, whose tokens this client cannot compare
	}
	if t.text == "" || seen.Epoch != t.newest.Epoch || seen.Revision > t.newest.Revision {
		t.newest, t.text = seen, text
	}
}

// freshest is the newest token, or the given one if it is not older or cannot be compared.
func (t *tokens) freshest(given string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if given == "" || given == t.text || t.text == "" {
		return max(given, t.text)
	}
	theirs, err := token.Parse(given)
	if err == nil && theirs.Epoch == t.newest.Epoch && theirs.Revision < t.newest.Revision {
		return t.text
	}
	return given
}

// intercept adds the newest token to every call, unless the caller set one that is newer,
// and learns from its answers.
func (t *tokens) intercept(next connect.ClientFunc) connect.ClientFunc {
	return func(ctx context.Context, spec connect.Spec) (connect.ClientStream, error) {
		if info, ok := connect.CallInfoForClientContext(ctx); ok {
			header := info.RequestHeader()
			if text := t.freshest(header.Get(token.Header)); text != "" {
				header.Set(token.Header, text)
			}
		}
		stream, err := next(ctx, spec)
		if err != nil {
			return nil, err
		}
		return &seeing{stream, t}, nil
	}
}

// A seeing stream notes the tokens of what it receives.
type seeing struct {
	connect.ClientStream
	tokens *tokens
}

// Receive reads an answer.
func (s *seeing) Receive(msg any) error {
	err := s.ClientStream.Receive(msg)
	if m, ok := msg.(interface{ GetToken() string }); ok && err == nil {
		s.tokens.saw(m.GetToken())
	}
	return err
}
