// Package token names states of a cluster, as clients keep them: opaque texts that ask
// for no older state than the one they came with.
package token

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// ErrInvalid says that a consistency token is not one that a node gave out: it was
// altered, cut, or made up.
var ErrInvalid = errors.New("the token is not one that this service gave out")

// Header is the header by which a request says, as a token, how fresh its answer must be at
// least, on every face and for every call; OpenFGA's face answers with the token of the
// state that was read or written in it.
const Header = "Remit-Token"

// StalenessHeader is the header by which the answer to a read says, in milliseconds, how
// long before it what it does not reflect can have been acknowledged at most. A leader's
// answers lack it.
const StalenessHeader = "Remit-Staleness"

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
	Revision uint64
	// Counter is room for the second dimension that states will have once a store can
	// move between groups. It is 0.
	Counter uint64
}

const (
	format    = 1
	stateKind = 1                                             // a state of the cluster; other kinds are unknown yet
	maxBytes  = 2 + 16 + 2*binary.MaxVarintLen64 + crc32.Size // at most
	minBytes  = 2 + 16 + 2                                    // format, kind, epoch, two one-byte uvarints
	maxLength = (maxBytes*4 + 2) / 3                          // in base64
)

// String encodes the token.
func (t Token) String() string {
	var buf [maxBytes]byte
	b := append(buf[:0], format, stateKind)
	b = append(b, t.Epoch[:]...)
	b = binary.AppendUvarint(b, t.Revision)
	b = binary.AppendUvarint(b, t.Counter)
	return Seal(b)
}

// Parse decodes a token. Any fault is ErrInvalid.
func Parse(s string) (Token, error) {
	if len(s) > maxLength {
		return Token{}, fmt.Errorf("%w: it is %d bytes long", ErrInvalid, len(s))
	}
	body, ok := Unseal(s)
	if !ok || len(body) < minBytes {
		return Token{}, fmt.Errorf("%w: it is cut, altered or made up", ErrInvalid)
	}
	if body[0] != format || body[1] != stateKind {
		return Token{}, fmt.Errorf("%w: format %d, kind %d is unknown", ErrInvalid, body[0], body[1])
	}
	var t Token
	body = body[2+copy(t.Epoch[:], body[2:]):]
	revision, n := binary.Uvarint(body)
	if n <= 0 {
		return Token{}, fmt.Errorf("%w: it has no revision", ErrInvalid)
	}
	counter, m := binary.Uvarint(body[n:])
	if m <= 0 || n+m != len(body) {
		return Token{}, fmt.Errorf("%w: it has no counter", ErrInvalid)
	}
	t.Revision, t.Counter = revision, counter
	// Long-winded uvarints and the line breaks that base64 skips decode as well; only
	// the text that String writes is a token.
	if t.String() != s {
		return Token{}, fmt.Errorf("%w: it is written in another way", ErrInvalid)
	}
	return t, nil
}
