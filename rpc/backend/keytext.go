package backend

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/rpc/identity"
)

// A key is written as remit_ID_SECRET: 26 characters that name it, and 59 that only its
// holder has: 256 bits drawn at random, and a checksum over all that is before it, which
// tells a slip of the pen from a key of another cluster. So scanners can look for keys in
// places where none should be: \bremit_[0-9A-HJKMNP-TV-Z]{26}_[0-9A-HJKMNP-TV-Z]{59}\b
const (
	keyPrefix   = "remit_"
	keyIDLength = 26
	secretBits  = 52 // characters of the secret: 5 bits each, the first 1
	checkBits   = 7  // characters of the checksum, the first 2 bits
	keyLength   = len(keyPrefix) + keyIDLength + 1 + secretBits + checkBits
)

// keyAlphabet is Crockford's, as ids have it: no letter looks like a digit.
const keyAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// newSecret draws the secret of a key, and returns the whole key and what is stored of it.
func newSecret(id fsm.StoreID) (text string, hash [sha256.Size]byte) {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // it never fails
	b := make([]byte, 0, keyLength)
	b = append(b, keyPrefix...)
	b = append(b, id.String()...)
	b = append(b, '_')
	b = appendBase32(b, raw[:], secretBits)
	check := checksum(string(b))
	b = append(b, check[:]...)
	return string(b), hashSecret(string(b))
}

// checksum is what a key ends with: the CRC-32C of what is before it.
func checksum(text string) (check [checkBits]byte) {
	sum := ^uint32(0)
	for i := range len(text) { // as crc32.Checksum does, but for a string
		sum = castagnoli[byte(sum)^text[i]] ^ sum>>8
	}
	sum = ^sum
	for i := range check { // as appendBase32 does, but for one word
		check[i] = keyAlphabet[sum>>(5*(checkBits-1-i))&31]
	}
	return check
}

// hashSecret is what is kept of a key. There is no salt and nothing slow about it: nobody
// can go through 256 bits that were drawn at random, as they could through what people
// choose.
func hashSecret(text string) [sha256.Size]byte {
	var secret [secretBits]byte // on the stack, where a conversion would not be
	copy(secret[:], text[keyLength-secretBits-checkBits:])
	return sha256.Sum256(secret[:])
}

// appendBase32 writes a number of so many characters, the highest bits first.
func appendBase32(dst, number []byte, characters int) []byte {
	for i := characters - 1; i >= 0; i-- {
		var digit byte
		for bit := i*5 + 4; bit >= i*5; bit-- {
			digit <<= 1
			if at := len(number) - 1 - bit/8; at >= 0 {
				digit |= number[at] >> (bit % 8) & 1
			}
		}
		dst = append(dst, keyAlphabet[digit])
	}
	return dst
}

// parseKey finds the id in the text of a key. identity.ErrNotMine says that it has not the
// form of one at all. No error holds any of the text.
func parseKey(text string) (id string, err error) {
	if !strings.HasPrefix(text, keyPrefix) {
		return "", identity.ErrNotMine
	}
	if len(text) != keyLength || text[len(keyPrefix)+keyIDLength] != '_' {
		return "", fmt.Errorf("%w: the key has %d characters, must have %d: it was not copied whole", identity.ErrUnauthenticated, len(text), keyLength)
	}
	check := checksum(text[:keyLength-checkBits])
	if string(check[:]) != text[keyLength-checkBits:] {
		return "", fmt.Errorf("%w: the key was not copied right: its checksum does not match", identity.ErrUnauthenticated)
	}
	return text[len(keyPrefix) : len(keyPrefix)+keyIDLength], nil
}
