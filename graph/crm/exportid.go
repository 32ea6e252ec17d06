package crm

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

const (
	// maxExportedID is how long an id may be in an export, in bytes. OpenFGA takes 256
	// characters of an object and 512 bytes of a user; with the longest type and the
	// longest relation this stays within both.
	maxExportedID = 200

	// longID begins what stands for a longer one. No escaped id begins so.
	longID = "%~"
)

// ExportID is an id as an export writes it. OpenFGA takes no ':' in an id, and no '*' in
// that of a userset, so both are escaped as in a URL, and '%' with them: ImportID gives
// the id back. An id that would be longer than 200 bytes is replaced by a digest, from
// which nothing is given back; exports name those in a note.
func ExportID(id string) string {
	escaped := exportEscaper.Replace(id)
	if len(escaped) <= maxExportedID {
		return escaped
	}
	digest := sha256.Sum256([]byte(id))
	return longID + hex.EncodeToString(digest[:])
}

var exportEscaper = strings.NewReplacer("%", "%25", "*", "%2A", ":", "%3A")

// ImportID is the id that ExportID wrote. It is an error if none can have been.
func ImportID(text string) (string, error) {
	var b strings.Builder
	for rest := text; ; {
		plain, escape, found := strings.Cut(rest, "%")
		b.WriteString(plain)
		if !found {
			break
		}
		if len(escape) < 2 {
			return "", fmt.Errorf("%.60q ends within an escape", text)
		}
		c, err := strconv.ParseUint(escape[:2], 16, 8)
		if err != nil {
			return "", fmt.Errorf("%.60q has %%%s, which is no escape", text, escape[:2])
		}
		b.WriteByte(byte(c))
		rest = escape[2:]
	}
	id := b.String()
	if ExportID(id) != text {
		return "", fmt.Errorf("%.60q is no id of an export", text)
	}
	return id, nil
}
