package peer

import (
	"bytes"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// compare lets go-cmp see unexported fields.
var compare = cmp.AllowUnexported(preface{}, verdict{}, identity{})

var (
	somePreface = preface{carries: carriesRaft, identity: identity{cluster: 0x0102030405060708, node: "n1", address: "a:1"}, meant: "b:2"}
	someVerdict = verdict{decision: refusedOtherCluster, identity: identity{node: "n2", address: "b:2"}, reason: "why"}
)

// Prefaces written by this release must be readable by all later ones.
func TestPrefacesKeepTheirForm(t *testing.T) {
	for _, test := range []struct {
		got  []byte
		want string
	}{
		{somePreface.encode(), "\xf1remit/p" + "\x01" + "\x00\x17" + "\x01" + "\x01\x02\x03\x04\x05\x06\x07\x08" + "\x00\x02n1" + "\x00\x03a:1" + "\x00\x03b:2"},
		{someVerdict.encode(), "\xf1remit/p" + "\x01" + "\x00\x17" + "\x01" + "\x00\x00\x00\x00\x00\x00\x00\x00" + "\x00\x02n2" + "\x00\x03b:2" + "\x00\x03why"},
	} {
		if string(test.got) != test.want {
			t.Errorf("it is %q, want %q", test.got, test.want)
		}
	}
}

func FuzzPreface(f *testing.F) {
	f.Add([]byte{})
	f.Add(somePreface.encode())
	f.Add(someVerdict.encode())
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		body, err := readPreface(iotest.OneByteReader(bytes.NewReader(data)))
		if err != nil {
			if err.Error() == "" {
				t.Error("an error says nothing")
			}
			return
		}
		if len(body) > maxPreface {
			t.Errorf("a body of %d bytes is kept", len(body))
		}
		if p, err := decodePreface(body); err == nil && utf8.Valid(body) {
			again, err := decodePreface(p.encode()[prefaceHeader:])
			if diff := cmp.Diff(p, again, compare); err != nil || diff != "" {
				t.Errorf("decoded, encoded and decoded again: %v\n%s", err, diff)
			}
		}
		if v, err := decodeVerdict(body); err == nil && utf8.Valid(body) && len(v.reason) <= maxReason {
			again, err := decodeVerdict(v.encode()[prefaceHeader:])
			if diff := cmp.Diff(v, again, compare); err != nil || diff != "" {
				t.Errorf("decoded, encoded and decoded again: %v\n%s", err, diff)
			}
		}
	})
}
