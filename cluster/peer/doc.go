// Package peer is the port by which the nodes of a cluster reach each other: one TCP
// address for Raft's messages and for what else nodes ask, with mutual TLS, and closed to
// nodes of another cluster.
package peer
