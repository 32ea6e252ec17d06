package discover

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/memberlist"
)

// keyLen is how long a key is: AES-256.
const keyLen = 32

// readKeys reads a file of keys: base64, one a line; lines that are empty or begin with #
// are left out. There is one at least. Errors tell no key.
func readKeys(file string) ([][]byte, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read gossip keys: %w", err)
	}
	var keys [][]byte
	for i, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(key) != keyLen {
			return nil, fmt.Errorf("%s:%d: want a key, %d bytes in base64; make one with: openssl rand -base64 %d", file, i+1, keyLen, keyLen)
		}
		if !slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, key) }) {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s holds no key; make one with: openssl rand -base64 %d", file, keyLen)
	}
	return keys, nil
}

// install puts these keys on the ring, the first one for what is sent, and removes all
// others. It says whether anything changed.
func install(ring *memberlist.Keyring, keys [][]byte) (changed bool, err error) {
	if slices.EqualFunc(ring.GetKeys(), keys, bytes.Equal) {
		return false, nil
	}
	for _, key := range keys {
		if err := ring.AddKey(key); err != nil {
			return false, err
		}
	}
	// RemoveKey moves the keys behind the one it removes, in the very array that is being
	// read by who decrypts, without a lock. So those that go are put last first: each use
	// puts a key in front, in an array of its own.
	for _, key := range slices.Backward(keys) {
		if err := ring.UseKey(key); err != nil {
			return false, err
		}
	}
	for {
		all := ring.GetKeys()
		if len(all) <= len(keys) {
			return true, nil
		}
		if err := ring.RemoveKey(all[len(all)-1]); err != nil {
			return false, err
		}
	}
}
