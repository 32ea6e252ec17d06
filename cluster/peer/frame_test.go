package peer

import (
	"bufio"
	"bytes"
	"testing"
	"testing/iotest"
)

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{})
	f.Add(appendFrame(nil, frameRequest, false, 1, []byte{3}, []byte("payload")))
	f.Add(appendFrame(appendFrame(nil, frameAnswer, true, 1, nil, []byte("a")), frameAnswer, false, 1, nil, []byte("b")))
	f.Add(appendFrame(nil, framePing, false, 0, nil, nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bufio.NewReaderSize(iotest.HalfReader(bytes.NewReader(data)), frameHeader+maxChunk)
		var again []byte
		parts := assembly{}
		for {
			got, err := readFrame(r)
			if err != nil {
				break
			}
			again = appendFrame(again, got.kind, got.more, got.id, nil, got.payload)
			if whole, err := parts.add(got); err != nil || got.more != (whole == nil) {
				t.Fatalf("a frame that goes on: %v, makes the message %q, %v", got.more, whole, err)
			}
		}
		if !bytes.HasPrefix(data, again) {
			t.Errorf("of %x, %x is read", data, again)
		}
		kept := 0
		for _, part := range parts.parts {
			kept += len(part)
		}
		if kept != parts.bytes {
			t.Errorf("%d bytes are kept, %d counted", kept, parts.bytes)
		}
	})
}

// Frames written by this release must be readable by all later ones.
func TestFramesKeepTheirForm(t *testing.T) {
	got := appendFrame(nil, frameRequest, true, 0x0102030405060708, []byte{9}, []byte("abc"))
	want := "\x00\x00\x00\x04" + "\xad\xde\xee\x18" + "\x01\x01" + "\x01\x02\x03\x04\x05\x06\x07\x08" + "\x09abc"
	if string(got) != want {
		t.Errorf("a frame is %q, want %q", got, want)
	}
}
