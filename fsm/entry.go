package fsm

import (
	"fmt"
	"time"
)

// entryFormat is the version of the encoding of log entries.
const entryFormat = 1

// The kinds of entries; never renumbered.
const (
	entryCommands  = 1
	entryTermStart = 2
)

// maxEntryCommands bounds the commands of one entry: a decoder must not trust a length.
const maxEntryCommands = 1 << 20

// Seal joins encoded commands into one log entry, stamped with the leader's time.
func Seal(commands [][]byte, now time.Time) []byte {
	size := 32
	for _, c := range commands {
		size += len(c) + 4
	}
	e := &encoder{b: make([]byte, 0, size)}
	e.byte(entryFormat)
	e.byte(entryCommands)
	e.varint(now.UnixMilli())
	e.uvarint(uint64(len(commands)))
	for _, c := range commands {
		e.bytes(c)
	}
	return e.b
}

// TermStart is the entry with which a leader begins its term. It changes nothing.
func TermStart(term uint64) []byte {
	e := &encoder{}
	e.byte(entryFormat)
	e.byte(entryTermStart)
	e.uvarint(term)
	return e.b
}

// An entry is a decoded log entry.
type entry struct {
	kind     byte
	now      int64
	term     uint64
	commands [][]byte
}

func decodeEntry(b []byte) (*entry, error) {
	d := &decoder{b: b}
	if v := d.byte(); d.err == nil && v != entryFormat {
		return nil, &formatError{"entry", uint64(v)}
	}
	e := &entry{kind: d.byte()}
	switch e.kind {
	case entryCommands:
		e.now = d.varint()
		n := d.count(maxEntryCommands)
		e.commands = make([][]byte, n)
		for i := range e.commands {
			e.commands[i] = d.bytes(1 << 30)
		}
	case entryTermStart:
		e.term = d.uvarint()
	default:
		if d.err == nil {
			return nil, &formatError{"entry kind", uint64(e.kind)}
		}
	}
	if err := d.done(); err != nil {
		return nil, fmt.Errorf("decode entry: %w", err)
	}
	return e, nil
}
