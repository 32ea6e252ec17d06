package cluster

import "sync/atomic"

// Counters is how often things happened since Open.
type Counters struct {
	Commands   uint64 // commands put into an entry
	Entries    uint64 // entries handed to Raft, those that open a term left out
	Bytes      uint64 // of these entries
	Unknown    uint64 // commands whose outcome stayed open
	Overloaded uint64 // commands refused because the queue was full
	Terms      uint64 // terms in which this node began to serve
}

// counters are the live values behind Counters.
type counters struct {
	commands, entries, bytes, unknown, overloaded, terms atomic.Uint64
}

func (c *counters) read() Counters {
	return Counters{
		Commands:   c.commands.Load(),
		Entries:    c.entries.Load(),
		Bytes:      c.bytes.Load(),
		Unknown:    c.unknown.Load(),
		Overloaded: c.overloaded.Load(),
		Terms:      c.terms.Load(),
	}
}
