package crm

import (
	"slices"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// A panel decides access to single records for some users at once: those for whom
// anything that the record depends on differs, for nobody else's answer can. A row is
// its bitmap, by the users' places on the panel; nil is nobody.
//
// Anonymous, it leaves out that the owner of a record is its owner, and the author of a
// note its author, so that its answers hold for all records that are otherwise alike:
// for everybody except those persons, who are decided by themselves.
type panel struct {
	*census
	shape     *previewShape
	anonymous bool

	crowd  *crowd
	places []uint32 // the users, in order; nil if every user has a place, that of the number
	ones   []uint64
	leaves map[*crowd][]uint64
	rows   arena // of leaves
	held   int   // bytes of leaves

	facts   []*recordFacts // of the record being decided, and those above
	spare   []*recordFacts
	results arena
}

// recordFacts are what was found out about a record on one side.
type recordFacts struct {
	side  previewSide
	id    graph.ID
	kind  *recordKind
	known []bool // by slot
	rows  [][]uint64
	ends  []tuplesetEnds
}

// tuplesetEnds are the subjects of a tupleset.
type tuplesetEnds struct {
	relation model.RelationID
	subjects []graph.Subject
}

// An arena gives out rows that are all taken back at once.
type arena struct {
	block []uint64
	used  int
}

func (a *arena) row(words int) []uint64 {
	if a.used+words > len(a.block) {
		a.block, a.used = make([]uint64, max(2*len(a.block), 64*words, 1024)), 0
	}
	row := a.block[a.used : a.used+words : a.used+words]
	a.used += words
	clear(row)
	return row
}

func newPanel(c *census, s *previewShape, anonymous bool) *panel {
	return &panel{census: c, shape: s, anonymous: anonymous, leaves: map[*crowd][]uint64{}}
}

// seat decides who is on the panel. The crowd must not be empty. If they are many,
// everybody has a place: to pick theirs out of bitmaps takes longer than to work on whole
// ones.
func (p *panel) seat(c *crowd) {
	if p.crowd == c {
		return
	}
	p.crowd = c
	clear(p.leaves)
	p.rows.used, p.held = 0, 0
	p.dismiss()
	if c.bits != nil {
		p.places = nil
		p.ones = p.all.bits
		return
	}
	p.places = c.list
	p.ones = p.rows.row((len(c.list) + 63) / 64)
	for i := range c.list {
		p.ones[i>>6] |= 1 << (i & 63)
	}
}

// forget lets go of what the panel remembers, and of who is on it.
func (p *panel) forget() {
	p.dismiss()
	p.crowd, p.places, p.ones = nil, nil, nil
	clear(p.leaves)
	p.rows, p.held = arena{}, 0
}

// dismiss forgets the records decided so far.
func (p *panel) dismiss() {
	p.spare = append(p.spare, p.facts...)
	p.facts = p.facts[:0]
	p.results.used = 0
}

// leaf is the row of a crowd.
func (p *panel) leaf(c *crowd) []uint64 {
	switch {
	case c == nil:
		return nil
	case c == p.all:
		return p.ones
	case p.places == nil && c.bits != nil:
		return c.bits
	}
	if row, ok := p.leaves[c]; ok {
		return row
	}
	var row []uint64
	set := func(place int) {
		if row == nil {
			row = p.rows.row(len(p.ones))
		}
		row[place>>6] |= 1 << (place & 63)
	}
	switch {
	case p.places == nil:
		for _, i := range c.list {
			set(int(i))
		}
	case c.bits != nil:
		for place, i := range p.places {
			if c.bits[i>>6]&(1<<(i&63)) != 0 {
				set(place)
			}
		}
	case len(c.list) < len(p.places)/8:
		for _, i := range c.list {
			if place, ok := slices.BinarySearch(p.places, i); ok {
				set(place)
			}
		}
	case len(p.places) < len(c.list)/8:
		for place, i := range p.places {
			if _, ok := slices.BinarySearch(c.list, i); ok {
				set(place)
			}
		}
	default:
		list := c.list
		for place, i := range p.places {
			for len(list) > 0 && list[0] < i {
				list = list[1:]
			}
			if len(list) > 0 && list[0] == i {
				set(place)
			}
		}
	}
	p.leaves[c] = row
	p.held += 8 * len(row)
	return row
}

// place is the row of one user.
func (p *panel) place(id graph.ID) []uint64 {
	number, ok := p.userOf[id]
	if !ok {
		return nil
	}
	place := int(number)
	if p.places != nil {
		if place, ok = slices.BinarySearch(p.places, number); !ok {
			return nil
		}
	}
	row := p.results.row(len(p.ones))
	row[place>>6] |= 1 << (place & 63)
	return row
}

// An accessChange is who gains and who loses each action, by its place among Actions;
// lost is behind gained.
type accessChange [5][2]*crowd

const (
	gained = iota
	lost
)

func (a *accessChange) empty() bool {
	for i := range a {
		if a[i][gained] != nil || a[i][lost] != nil {
			return false
		}
	}
	return true
}

// decide compares both sides' access of the panel to a record.
func (p *panel) decide(k *recordKind, id graph.ID) (change accessChange, err error) {
	for i := range previewActions {
		var rows [2][]uint64
		for _, side := range bothSides {
			if r := k.actions[side][i]; r != nil {
				if rows[side], err = p.ask(side, k, id, r); err != nil {
					return change, err
				}
			}
		}
		if sameRow(rows[sideBefore], rows[sideAfter]) {
			continue
		}
		change[i][gained] = p.crowdOf(rows[sideAfter], rows[sideBefore])
		change[i][lost] = p.crowdOf(rows[sideBefore], rows[sideAfter])
	}
	return change, nil
}

func sameRow(a, b []uint64) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// crowdOf is who is in one row but not in the other.
func (p *panel) crowdOf(in, out []uint64) *crowd {
	if in == nil {
		return nil
	}
	row := p.combineRows(crowdExclusion, in, out)
	if !anybody(row) {
		return nil
	}
	if p.places == nil {
		return p.maker.ofBits(row)
	}
	var numbers []uint32
	eachBit(row, func(place uint32) { numbers = append(numbers, p.places[place]) })
	return p.maker.ofList(numbers)
}

func anybody(row []uint64) bool {
	for _, word := range row {
		if word != 0 {
			return true
		}
	}
	return false
}

// ask is who on the panel has a relation to a record.
func (p *panel) ask(side previewSide, k *recordKind, id graph.ID, r *model.Relation) ([]uint64, error) {
	f := p.factsOf(side, k, id)
	slot := p.shape.slots[r.ID]
	if slot < 0 {
		return nil, nil
	}
	if !f.known[slot] {
		row, err := p.rewrite(f, r, r.Rewrite)
		if err != nil {
			return nil, err
		}
		f.known[slot], f.rows[slot] = true, row
	}
	return f.rows[slot], nil
}

func (p *panel) factsOf(side previewSide, k *recordKind, id graph.ID) *recordFacts {
	for i := len(p.facts) - 1; i >= 0; i-- {
		if f := p.facts[i]; f.id == id && f.side == side {
			return f
		}
	}
	var f *recordFacts
	if n := len(p.spare); n > 0 {
		f, p.spare = p.spare[n-1], p.spare[:n-1]
	} else {
		f = &recordFacts{}
	}
	f.side, f.id, f.kind, f.ends = side, id, k, f.ends[:0]
	f.known = slices.Grow(f.known[:0], k.size)[:k.size]
	f.rows = slices.Grow(f.rows[:0], k.size)[:k.size]
	clear(f.known)
	p.facts = append(p.facts, f)
	return f
}

func (p *panel) rewrite(f *recordFacts, r *model.Relation, w *model.Rewrite) ([]uint64, error) {
	switch w.Op {
	case model.OpDirect:
		return p.named(f, r)
	case model.OpComputed:
		return p.ask(f.side, f.kind, f.id, w.Relation)
	case model.OpTupleToUserset:
		return p.above(f, w)
	}
	op := crowdUnion
	switch w.Op {
	case model.OpIntersection:
		op = crowdIntersection
	case model.OpExclusion:
		op = crowdExclusion
	}
	var row []uint64
	for i, child := range w.Children {
		part, err := p.rewrite(f, r, child)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			row = part
		} else {
			row = p.combineRows(op, row, part)
		}
		if row == nil && op != crowdUnion {
			break
		}
	}
	return row, nil
}

// named is whom the record's own tuples name.
func (p *panel) named(f *recordFacts, r *model.Relation) ([]uint64, error) {
	if p.anonymous && (r.ID == f.kind.owner || r.ID == f.kind.author) {
		return nil, nil
	}
	base := len(p.stack)
	defer func() { p.stack = p.stack[:base] }()
	if err := p.follow(f.side, f.id, r); err != nil {
		return nil, err
	}
	var row []uint64
	for i, top := base, len(p.stack); i < top; i++ {
		var part []uint64
		switch s := p.stack[i]; {
		case s.Relation != 0:
			members, err := p.of(f.side, graph.Userset{Object: s.ID, Relation: s.Relation})
			if err != nil {
				return nil, err
			}
			part = p.leaf(members)
		case s.ID.Type() != p.userID:
		case s.ID.IsWildcard():
			part = p.ones
		default:
			part = p.place(s.ID)
		}
		row = p.combineRows(crowdUnion, row, part)
	}
	return row, nil
}

// above is who has a relation to the owner, to the module, or to the record above.
func (p *panel) above(f *recordFacts, w *model.Rewrite) ([]uint64, error) {
	ends, err := p.ends(f, w.Tupleset.ID)
	if err != nil {
		return nil, err
	}
	var row []uint64
	for _, s := range ends {
		asked := askedOf(w, s)
		if asked == nil {
			continue
		}
		var part []uint64
		if k := p.shape.byType[s.ID.Type()]; k != nil {
			if part, err = p.ask(f.side, k, s.ID, asked); err != nil {
				return nil, err
			}
		} else {
			have, err := p.of(f.side, graph.Userset{Object: s.ID, Relation: asked.ID})
			if err != nil {
				return nil, err
			}
			part = p.leaf(have)
		}
		row = p.combineRows(crowdUnion, row, part)
	}
	return row, nil
}

// ends are the subjects of a record's tupleset, which several relations follow.
func (p *panel) ends(f *recordFacts, tupleset model.RelationID) ([]graph.Subject, error) {
	for i := range f.ends {
		if f.ends[i].relation == tupleset {
			return f.ends[i].subjects, nil
		}
	}
	base := len(p.stack)
	defer func() { p.stack = p.stack[:base] }()
	r := p.plans[f.side].Relation(tupleset)
	if err := p.follow(f.side, f.id, r); err != nil {
		return nil, err
	}
	n := len(f.ends)
	f.ends = slices.Grow(f.ends, 1)[:n+1] // with the room of an earlier record's
	f.ends[n].relation = tupleset
	f.ends[n].subjects = append(f.ends[n].subjects[:0], p.stack[base:]...)
	return f.ends[n].subjects, nil
}

// combineRows applies an operator. Rows do not change: where the result is one of them,
// it is that one.
func (p *panel) combineRows(op crowdOp, a, b []uint64) []uint64 {
	switch {
	case op == crowdUnion && (b == nil || sameRow(a, b) || sameRow(a, p.ones)):
		return a
	case op == crowdUnion && (a == nil || sameRow(b, p.ones)):
		return b
	case op == crowdIntersection && (a == nil || b == nil):
		return nil
	case op == crowdIntersection && (sameRow(a, b) || sameRow(b, p.ones)):
		return a
	case op == crowdIntersection && sameRow(a, p.ones):
		return b
	case op == crowdExclusion && (a == nil || sameRow(a, b) || sameRow(b, p.ones)):
		return nil
	case op == crowdExclusion && b == nil:
		return a
	}
	row := p.results.row(len(a))
	copy(row, a)
	combineWords(op, row, b)
	return row
}
