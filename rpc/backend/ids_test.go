package backend

import (
	"bytes"
	"testing"
	"time"
)

func TestIDsAreMadeInOrder(t *testing.T) {
	var source ids
	var last [16]byte
	now := time.UnixMilli(1_800_000_000_000)
	for i := range 1000 {
		at := now
		if i%3 == 1 {
			at = now.Add(-time.Hour) // the clock was set back
		}
		id, err := source.next(at)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Compare(id[:], last[:]) <= 0 {
			t.Fatalf("id %d is %x, not above %x", i, id, last)
		}
		last = id
	}
}
