package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// A connection begins with a preface from who dialled, and the listener's verdict on it.
// Nothing else is sent before both have been read. Both have this form, and by it even
// releases that understand nothing else of each other can tell why they do not talk:
//
//	magic    8 bytes
//	version  1 byte
//	length   2 bytes, of the rest, big-endian as all numbers are
//	body     fields in order; what a reader does not know at the end, it leaves alone
const (
	// magic begins with a byte that begins neither a text nor a record of TLS.
	magic = "\xf1remit/p"
	// version is the format of all that follows on a connection. A release that can speak
	// several says the one that it uses, and begins with another when it is refused.
	version = 1
	// maxPreface bounds a body: what a stranger can make us keep.
	maxPreface = 2048
	// prefaceHeader is the length of what comes before the body.
	prefaceHeader = len(magic) + 3
)

// What a connection carries. Never change a value.
type carriage byte

const (
	carriesRaft  carriage = 1
	carriesCalls carriage = 2
)

// String is the name in logs and metrics.
func (c carriage) String() string {
	if c == carriesRaft {
		return "raft"
	}
	return "calls"
}

// An identity is how one side of a connection introduces itself.
type identity struct {
	cluster uint64 // 0 if it does not know one
	node    string
	address string // where it is reached
}

// A preface is what who dials says.
type preface struct {
	carries carriage
	identity
	meant string // the address that was dialled
}

// What becomes of a connection. Never change a value.
type decision byte

const (
	accepted            decision = 0
	refusedOtherCluster decision = 1
	refusedVersion      decision = 2
	refusedOtherwise    decision = 3 // the reason says how
)

// A verdict is what who listens says to a preface.
type verdict struct {
	decision decision
	identity
	reason string // for people, empty if accepted
}

// maxReason bounds the text of a refusal.
const maxReason = 1024

func (p preface) encode() []byte {
	return seal(version, p.append([]byte{byte(p.carries)}), p.meant)
}

func (v verdict) encode() []byte {
	return seal(version, v.append([]byte{byte(v.decision)}), v.reason[:min(len(v.reason), maxReason)])
}

func (i identity) append(to []byte) []byte {
	to = binary.BigEndian.AppendUint64(to, i.cluster)
	return appendText(appendText(to, i.node), i.address)
}

// seal makes the bytes of a body whose last field is a text.
func seal(version byte, body []byte, last string) []byte {
	body = appendText(body, last)
	out := append([]byte(magic), version)
	out = binary.BigEndian.AppendUint16(out, uint16(len(body)))
	return append(out, body...)
}

func appendText(to []byte, text string) []byte {
	return append(binary.BigEndian.AppendUint16(to, uint16(len(text))), text...)
}

func decodePreface(body []byte) (preface, error) {
	f := fields{rest: body}
	p := preface{carries: carriage(f.byte()), identity: f.identity(), meant: f.text()}
	if !f.short && p.carries != carriesRaft && p.carries != carriesCalls {
		return p, fmt.Errorf("the connection is to carry %d, which this release does not know", p.carries)
	}
	return p, f.err()
}

func decodeVerdict(body []byte) (verdict, error) {
	f := fields{rest: body}
	v := verdict{decision: decision(f.byte()), identity: f.identity(), reason: f.text()}
	return v, f.err()
}

// fields reads a body from its beginning. Once it is too short, all that follows is empty.
type fields struct {
	rest  []byte
	short bool
}

func (f *fields) take(n int) []byte {
	if f.short = f.short || len(f.rest) < n; f.short {
		return make([]byte, min(n, 8))
	}
	taken := f.rest[:n]
	f.rest = f.rest[n:]
	return taken
}

func (f *fields) byte() byte { return f.take(1)[0] }

// text reads a text. It ends up in logs, so what is no text is replaced.
func (f *fields) text() string {
	n := int(binary.BigEndian.Uint16(f.take(2)))
	if taken := f.take(n); !f.short {
		return strings.ToValidUTF8(string(taken), string(utf8.RuneError))
	}
	return ""
}

func (f *fields) identity() identity {
	return identity{cluster: binary.BigEndian.Uint64(f.take(8)), node: f.text(), address: f.text()}
}

func (f *fields) err() error {
	if f.short {
		return errors.New("the beginning of the connection is shorter than it says")
	}
	return nil
}

// A versionError is a preface of another format.
type versionError struct{ theirs byte }

func (e versionError) Error() string {
	return fmt.Sprintf("the other side speaks version %d of the protocol between nodes, this one version %d", e.theirs, version)
}

// A strangerError is a beginning that no node makes.
type strangerError struct{ first []byte }

func (e strangerError) Error() string {
	return "who is there is no node of a cluster: it begins with " + e.speaks()
}

// speaks says what a stranger seems to speak.
func (e strangerError) speaks() string {
	switch {
	case len(e.first) > 1 && e.first[0] == recordHandshake && e.first[1] == 3:
		return "TLS, which this port is not set up for"
	case e.http():
		return fmt.Sprintf("HTTP (%q); the API has a port of its own", e.first)
	default:
		return fmt.Sprintf("%q", e.first)
	}
}

// recordHandshake is the first byte of every client that speaks TLS, and 3 the second.
const recordHandshake = 0x16

func (e strangerError) http() bool {
	for _, begin := range []string{"GET ", "HEAD ", "POST ", "PUT ", "PATCH ", "DELETE ", "OPTIONS ", "CONNECT ", "PRI * ", "HTTP/"} {
		// A record of TLS shows five bytes of it.
		if n := min(len(begin), len(e.first)); n >= 3 && string(e.first[:n]) == begin[:n] {
			return true
		}
	}
	return false
}

// readPreface reads the beginning of a connection up to the end of its body. It reads no
// byte more, and keeps no more than a body may have.
func readPreface(r io.Reader) ([]byte, error) {
	header := make([]byte, prefaceHeader)
	for n := 0; n < len(magic); {
		m, err := r.Read(header[n:len(magic)])
		if n += m; string(header[:n]) != magic[:n] {
			return nil, strangerError{header[:n]}
		}
		if err != nil && n < len(magic) {
			return nil, err
		}
	}
	if _, err := io.ReadFull(r, header[len(magic):]); err != nil {
		return nil, err
	}
	length := int(binary.BigEndian.Uint16(header[len(magic)+1:]))
	if length > maxPreface {
		return nil, fmt.Errorf("the beginning of the connection has %d bytes, at most %d are read", length, maxPreface)
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, err
	}
	if v := header[len(magic)]; v != version {
		return nil, versionError{v}
	}
	return body, nil
}
