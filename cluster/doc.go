// Package cluster runs one Raft node: it gets commands into the log, keeps the
// log, and proves what a read may rely on. What the commands mean is the
// business of the state machine that Config brings; here they are bytes.
//
// What holds:
//
//   - An answer from Propose means that the command is in the log of a quorum,
//     synced, and applied on the leader. Nothing is acknowledged earlier.
//   - Of its errors, ErrUnknownOutcome alone leaves open whether the command
//     takes effect. After any other the command did not happen.
//   - A leader serves only after the entry that opens its term is applied, so
//     its state holds all that was acknowledged before.
//   - ReadIndex returns an index no lower than that of any write acknowledged
//     before it was called, and readers see that index when it returns.
//   - A node never starts on data that contradicts itself, never makes a new
//     cluster over old data, and never uses a log under another name.
//   - A write of the log that fails is the last: no entry commits after it.
//   - Close refuses, lets entries in the log finish, stops Raft, closes the log.
//     Only then may the state machine be closed.
//
// DESIGN.md tells why.
package cluster
