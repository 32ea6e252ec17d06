package peer

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// On a connection that carries calls, both sides send frames:
//
//	length    4 bytes, of the payload, big-endian as all numbers are
//	checksum  4 bytes, CRC-32C of all that follows
//	type      1 byte
//	more      1 byte, 1 if the message goes on in a later frame, else 0
//	id        8 bytes, of the call
//	payload
//
// A message longer than a frame is sent in several, between which those of others have
// their turn: a small request is never behind more than one frame of a large one.
const (
	frameHeader = 18
	// maxChunk bounds a frame's payload: how long a small message waits for a large one.
	maxChunk = 32 << 10
	// maxMessage bounds a request and an answer.
	maxMessage = 8 << 20
)

// A frameType says what a frame is for. Never change a value.
type frameType byte

const (
	frameRequest  frameType = 1 // the kind, one byte, and the request
	frameAnswer   frameType = 2 // the answer
	frameUnserved frameType = 3 // of a request that was given to nobody; why, as text
	frameFailed   frameType = 4 // of a request that has no answer all the same; why, as text
	frameCancel   frameType = 5 // the caller has left; empty
	framePing     frameType = 6 // the sender is there; empty, and the id is 0
	frameRetire   frameType = 7 // no more requests here, dial again; empty, and the id is 0
)

// A frame is one as it was read. Its payload is valid until the next is read.
type frame struct {
	kind    frameType
	more    bool
	id      uint64
	payload []byte
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	errChecksum = errors.New("a message is damaged")
	errProtocol = errors.New("what was sent makes no sense")
)

// appendFrame appends a frame to a buffer. The payload comes in two parts.
func appendFrame(to []byte, kind frameType, more bool, id uint64, head, payload []byte) []byte {
	at := len(to)
	to = binary.BigEndian.AppendUint32(to, uint32(len(head)+len(payload)))
	to = append(to, 0, 0, 0, 0, byte(kind), 0)
	if more {
		to[len(to)-1] = 1
	}
	to = binary.BigEndian.AppendUint64(to, id)
	to = append(append(to, head...), payload...)
	binary.BigEndian.PutUint32(to[at+4:], crc32.Checksum(to[at+8:], castagnoli))
	return to
}

// newFrameReader is large enough for readFrame.
func newFrameReader(c *conn) *bufio.Reader { return bufio.NewReaderSize(c, frameHeader+maxChunk) }

// readFrame reads a frame. The reader's buffer must hold one.
func readFrame(r *bufio.Reader) (frame, error) {
	header, err := r.Peek(frameHeader)
	if err != nil {
		return frame{}, err
	}
	length := binary.BigEndian.Uint32(header)
	if length > maxChunk {
		return frame{}, fmt.Errorf("%w: a frame of %d bytes, at most %d are allowed", errProtocol, length, maxChunk)
	}
	whole, err := r.Peek(frameHeader + int(length))
	if err != nil {
		return frame{}, err
	}
	if crc32.Checksum(whole[8:], castagnoli) != binary.BigEndian.Uint32(whole[4:]) {
		return frame{}, errChecksum
	}
	f := frame{kind: frameType(whole[8]), more: whole[9] == 1, id: binary.BigEndian.Uint64(whole[10:]), payload: whole[frameHeader:]}
	if whole[9] > 1 || f.more && length == 0 {
		return frame{}, fmt.Errorf("%w: a frame that neither ends nor goes on", errProtocol)
	}
	_, err = r.Discard(len(whole)) // what was peeked at stays until the next read
	return f, err
}
