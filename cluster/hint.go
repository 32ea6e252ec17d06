package cluster

// hinted takes the leader's word of how far the log is committed.
func (n *Node) hinted([]byte) error { return nil }
