package token

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
)

var (
	// opaque refuses padding and spare bits, so that one value has one text.
	opaque     = base64.RawURLEncoding.Strict()
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// Seal makes bytes that a client keeps for us into text: the bytes and their CRC-32C in
// big-endian order, in unpadded base64url. The checksum guards against mistakes, not
// against forgery. It may write behind the end of b.
func Seal(b []byte) string {
	return opaque.EncodeToString(binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)))
}

// Unseal is the reverse of Seal. It is false if the text was cut, altered or made up. Line
// breaks pass, as base64 has it: who needs one text for one value compares.
func Unseal(text string) ([]byte, bool) {
	b, err := opaque.DecodeString(text)
	if err != nil || len(b) < crc32.Size {
		return nil, false
	}
	body, sum := b[:len(b)-crc32.Size], b[len(b)-crc32.Size:]
	return body, crc32.Checksum(body, castagnoli) == binary.BigEndian.Uint32(sum)
}
