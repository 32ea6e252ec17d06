package backend

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/remit-authz/remit/graph"
)

// ErrToken says that a consistency token is not one that a node gave out: it was
// altered, cut, or made up.
var ErrToken = errors.New("the token is not one that this service gave out")

// A Token names a state that a client has seen. Clients keep it as an opaque string
// and pass it on to see no older state.
//
// The encoding is fixed for ever, since clients store tokens: a format byte, a kind
// byte, the 16 bytes of the epoch, the revision and the counter as uvarints, and the
// CRC-32C of all that in big-endian order, in unpadded base64url. The checksum guards
// against mistakes, not against forgery: a token grants nothing, it only asks for a
// state that its bearer could ask for by time as well.
type Token struct {
	// Epoch is the cluster's: it changes when revisions begin to mean other states.
	Epoch [16]byte
	// Revision is the state.
	Revision graph.Revision
	// Counter is room for the second dimension that states will have once a store can
	// move between groups. It is 0.
	Counter uint64
}

const (
	tokenFormat    = 1
	tokenKind      = 1                                             // a state of the cluster; other kinds are unknown yet
	tokenBytes     = 2 + 16 + 2*binary.MaxVarintLen64 + crc32.Size // at most
	tokenMinimum   = 2 + 16 + 2                                    // format, kind, epoch, two one-byte uvarints
	tokenMaxLength = (tokenBytes*4 + 2) / 3                        // in base64
)

// String encodes the token.
func (t Token) String() string {
	var buf [tokenBytes]byte
	b := append(buf[:0], tokenFormat, tokenKind)
	b = append(b, t.Epoch[:]...)
	b = binary.AppendUvarint(b, uint64(t.Revision))
	b = binary.AppendUvarint(b, t.Counter)
	return Seal(b)
}

// ParseToken decodes a token. Any fault is ErrToken.
func ParseToken(s string) (Token, error) {
	if len(s) > tokenMaxLength {
		return Token{}, fmt.Errorf("%w: it is %d bytes long", ErrToken, len(s))
	}
	body, ok := Unseal(s)
	if !ok || len(body) < tokenMinimum {
		return Token{}, fmt.Errorf("%w: it is cut, altered or made up", ErrToken)
	}
	if body[0] != tokenFormat || body[1] != tokenKind {
		return Token{}, fmt.Errorf("%w: format %d, kind %d is unknown", ErrToken, body[0], body[1])
	}
	var t Token
	body = body[2+copy(t.Epoch[:], body[2:]):]
	revision, n := binary.Uvarint(body)
	if n <= 0 {
		return Token{}, fmt.Errorf("%w: it has no revision", ErrToken)
	}
	counter, m := binary.Uvarint(body[n:])
	if m <= 0 || n+m != len(body) {
		return Token{}, fmt.Errorf("%w: it has no counter", ErrToken)
	}
	t.Revision, t.Counter = graph.Revision(revision), counter
	// Long-winded uvarints and the line breaks that base64 skips decode as well; only
	// the text that String writes is a token.
	if t.String() != s {
		return Token{}, fmt.Errorf("%w: it is written in another way", ErrToken)
	}
	return t, nil
}
