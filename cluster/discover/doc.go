// Package discover finds the addresses of other nodes: from a list, from DNS, or from
// gossip among the nodes themselves. What it finds are suggestions; who is a member is
// decided by the cluster's log alone.
package discover
