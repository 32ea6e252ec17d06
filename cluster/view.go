package cluster

import (
	"fmt"
	"slices"
	"strings"
)

// A view is what a node that forms knows of itself and of the others.
//
// A node promises once in its life with whom it begins, and keeps that on disk. Only when
// all of a set have promised that very set does one of them begin with it. So two sets
// that begin have no node in common, or are the same: none is ever counted twice.
type view struct {
	self    Peer
	expect  int
	promise []Peer  // by id; nil if the node has not promised
	others  []hello // by id, this node not among them
	copies  []string
}

// A step is what a node that forms does next: promise to begin with voters, begin with
// them, wait to be joined, or go on asking.
type step struct {
	promise bool
	voters  []Peer
	join    bool
	why     string // it goes on
	wrong   bool   // and it takes a person to end that
}

// what names a kind of step, for who tells only what is new.
func (s step) what() string { return fmt.Sprint(s.wrong) }

// waiting is the step of a node that waits for others.
func waiting(format string, args ...any) step { return step{why: fmt.Sprintf(format, args...)} }

// stuck is the step of a node that waits for a person.
func stuck(format string, args ...any) step {
	return step{why: fmt.Sprintf(format, args...), wrong: true}
}

// seen is with whom the node would begin, as far as it sees: itself and all who form, want
// as many, and have not promised to begin with others.
func (v view) seen() []Peer {
	all := []Peer{v.self}
	for _, h := range v.others {
		if h.Fresh && h.Expect == v.expect && (!h.Promised || among(h.Seen, v.self.ID)) {
			all = append(all, h.Peer)
		}
	}
	slices.SortFunc(all, func(a, b Peer) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// among says whether all include the node with the id.
func among(all []Peer, id string) bool {
	return slices.ContainsFunc(all, func(p Peer) bool { return p.ID == id })
}

// names lists nodes for people.
func names(all []Peer) string {
	var texts []string
	for _, p := range all {
		texts = append(texts, p.ID+" at "+p.Address)
	}
	return strings.Join(texts, ", ")
}

// next says what the node may do.
func (v view) next() step {
	if len(v.copies) > 0 {
		return stuck("node %s runs more than once, or two nodes have a copy of its data directory; "+
			"stop one of them, and empty its directory if it is to be a node of its own", v.copies[0])
	}
	// Who is named in a first configuration begins with it. Whoever else began with it has
	// the promise of this node, save where an operator named the voters.
	for _, h := range v.others {
		if !among(h.First, v.self.ID) {
			continue
		}
		if v.promise == nil || slices.Equal(v.promise, h.First) {
			return step{voters: h.First}
		}
		return stuck("node %s at %s has begun with %s, but this node has promised to begin with %s; "+
			"empty the data directory of this node, which holds nothing else, and start it again",
			h.ID, h.Address, names(h.First), names(v.promise))
	}
	for _, h := range v.others {
		// After a promise only those to whom it was given say whether it is still good: they
		// may have begun, and count this node.
		if !h.Fresh && (v.promise == nil || among(v.promise, h.ID)) {
			return step{join: true}
		}
	}
	if v.promise != nil {
		return v.keep()
	}
	return v.agree()
}

// keep says what follows from this node's promise: it begins when all have given theirs.
func (v view) keep() step {
	var missing []Peer
	for _, p := range v.promise {
		i := slices.IndexFunc(v.others, func(h hello) bool { return h.ID == p.ID })
		switch {
		case p.ID == v.self.ID:
		case i < 0 || !v.others[i].Promised:
			missing = append(missing, p)
		case !slices.Equal(v.others[i].Seen, v.promise):
			return stuck("this node has promised to begin with %s, but node %s with %s; "+
				"empty the data directory of one of the two, which holds nothing else, and start it again",
				names(v.promise), p.ID, names(v.others[i].Seen))
		}
	}
	if len(missing) == 0 {
		return step{voters: v.promise}
	}
	return waiting("%s agreed to begin together, and have to be heard again: %s; if one of them is gone for good, "+
		"empty the data directories of the others, which hold nothing else, and start them again",
		names(v.promise), names(missing))
}

// agree says with whom this node may promise to begin.
func (v view) agree() step {
	var offered, without []Peer
	for _, h := range v.others {
		switch {
		case !h.Fresh || !h.Promised:
		case !among(h.Seen, v.self.ID):
			without = h.Seen
		case offered != nil && !slices.Equal(offered, h.Seen):
			return stuck("some nodes agreed to begin with %s, others with %s, and both count this one; "+
				"empty the data directories of the nodes that are too many, which hold nothing else", names(offered), names(h.Seen))
		default:
			offered = h.Seen
		}
	}
	switch {
	case len(offered) == v.expect:
		return step{promise: true, voters: offered}
	case offered != nil:
		return stuck("%s agreed to begin as %d voters, but this node expects %d; give every node the same --bootstrap-expect",
			names(offered), len(offered), v.expect)
	case without != nil:
		return waiting("%s begin without this node, which is joined when they have", names(without))
	}
	for _, h := range v.others {
		if h.Fresh && h.Expect != 0 && h.Expect != v.expect {
			return stuck("this node expects %d voters, but node %s at %s expects %d; give every node the same --bootstrap-expect",
				v.expect, h.ID, h.Address, h.Expect)
		}
	}
	seen := v.seen()
	switch {
	case len(seen) > v.expect:
		return stuck("there are %d nodes that would begin a cluster of %d: %s; stop those that are too many and start them "+
			"without --bootstrap-expect when the others have begun, or raise it on all", len(seen), v.expect, names(seen))
	case len(seen) < v.expect && len(seen) == 1:
		return waiting("no other node that would begin a cluster is reached; %d are expected", v.expect)
	case len(seen) < v.expect:
		return waiting("%d of %d nodes are there: %s", len(seen), v.expect, names(seen))
	}
	for i, p := range seen {
		for _, q := range seen[:i] {
			if p.Address == q.Address {
				return stuck("nodes %s and %s both say that they are at %s; give each the address that the others reach it by (--peer-advertise)",
					q.ID, p.ID, p.Address)
			}
		}
	}
	for _, h := range v.others {
		if among(seen, h.ID) && !slices.Equal(h.Seen, seen) {
			return waiting("node %s does not see all yet: it sees %s", h.ID, names(h.Seen))
		}
	}
	return step{promise: true, voters: seen}
}
