// Package fsm is the replicated state machine, the one place where tuples change.
//
// Raft feeds every node the same entries in the same order. These rules make every
// node reach the same state, and let every reader trust what it sees:
//
//   - Apply reads only its entry and the state: no clock, no randomness, no map order.
//     The leader stamps the time into the entry; ids are given out in apply order.
//   - A command that is refused is a Result, equal on every node, and changes nothing.
//   - All rows of an entry, its index, its time and the state hash commit in one Pebble
//     batch, so a restart resumes behind an entry, never inside one.
//   - What Apply gives depends on the entries alone, never on how Raft groups them.
//   - A Root is one revision. It is published after its rows are in Pebble, by one
//     atomic store, and never changes.
//   - The index in memory is derived from Pebble and nothing else; the state hash, equal
//     on all nodes at equal index, is the sum over all live rows, so it can be recounted.
//   - A storage fault or an entry of an unknown format panics: a node that cannot follow
//     must stop, not diverge.
package fsm
