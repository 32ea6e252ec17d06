package fsm

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math/bits"
)

// A Hash is the state hash: the sum modulo 2^128 of a digest of every live row. A sum
// does not depend on the order of the rows, so it follows the state change by change.
type Hash struct{ hi, lo uint64 }

func makeHash(p [16]byte) Hash {
	return Hash{binary.BigEndian.Uint64(p[:8]), binary.BigEndian.Uint64(p[8:])}
}

// Bytes is the hash as it is stored and compared between nodes.
func (h Hash) Bytes() (p [16]byte) {
	binary.BigEndian.PutUint64(p[:8], h.hi)
	binary.BigEndian.PutUint64(p[8:], h.lo)
	return p
}

func (h Hash) bytes() []byte {
	p := h.Bytes()
	return p[:]
}

// String is the hash in hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h.bytes()) }

func (h Hash) add(o Hash) Hash {
	lo, carry := bits.Add64(h.lo, o.lo, 0)
	hi, _ := bits.Add64(h.hi, o.hi, carry)
	return Hash{hi, lo}
}

func (h Hash) sub(o Hash) Hash {
	lo, borrow := bits.Sub64(h.lo, o.lo, 0)
	hi, _ := bits.Sub64(h.hi, o.hi, borrow)
	return Hash{hi, lo}
}

// rowHash digests one row. The key's length keeps key and value apart.
func rowHash(key, value []byte) Hash {
	var room [256]byte
	b := binary.BigEndian.AppendUint32(room[:0], uint32(len(key)))
	b = append(b, key...)
	b = append(b, value...)
	sum := sha256.Sum256(b)
	return makeHash([16]byte(sum[:16]))
}
