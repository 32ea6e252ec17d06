package crm

import (
	"context"
	"encoding/binary"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// A previewPass is one worker on its way through the owners.
//
// Most records of a module differ in nothing but who owns them, and most owners of a role
// in nothing but who they are. So records are decided by classes: those whose owners'
// relations are the same crowds and whose own tuples are the same flags. A class is
// decided once, anonymously; for the owner, and the author of a note, each record is
// decided by itself if anything differs for that person at all. Records with tuples of
// other forms, such as shares, are decided one by one.
type previewPass struct {
	*census
	run   *previewRun
	focus *crowd // nil: everybody

	crew   *panel // anonymous: for classes
	single *panel // for single records and persons

	looks   map[string]*ownerLook
	classes map[string]*recordClass
	tally   *previewTally
	samples *previewSamples // instead, with a focus

	key    []byte
	groups []recordGroup
	cursor graph.Cursor
}

// An ownerLook is what owners with the same tuples of their own have in common, which is
// all that their records depend on.
type ownerLook struct {
	who  []*crowd // by kind: for whom what is asked of the owner, or of the module, differs
	keys [][]byte // by kind: which crowds they are
}

// A recordClass is what differs for all records of a class, except for the persons they
// belong to.
type recordClass struct {
	kind    *recordKind
	panel   *crowd
	change  accessChange
	records int // counted so far
	except  map[uint32]int
	below   map[*recordKind]*recordClass
}

// recordGroup is an owner's records of one class.
type recordGroup struct {
	flags   uint64
	records []graph.ID
}

func newPreviewPass(ctx context.Context, r *previewRun, number uint64) *previewPass {
	p := &previewPass{
		census: newCensus(ctx, r.previewWorld, number), run: r,
		looks: map[string]*ownerLook{}, classes: map[string]*recordClass{},
		tally: newPreviewTally(len(r.users), len(r.shape.kinds), r.bounds.Records),
	}
	p.frozen = r.frozen
	p.crew, p.single = newPanel(p.census, r.shape, true), newPanel(p.census, r.shape, false)
	return p
}

// turnTo makes the next pass look for samples of some users.
func (p *previewPass) turnTo(focus *crowd) {
	p.focus, p.samples = focus, newPreviewSamples(p.run.bounds.Samples)
}

// do does one piece of work.
func (p *previewPass) do(w ownerWork) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	if p.full() {
		p.flush()
		clear(p.looks)
		p.forget()
	}
	if w.edited != 0 {
		return p.alone(p.run.spread.edited[w.edited], w.edited, nil)
	}
	var look *ownerLook
	if w.all {
		var err error
		if look, err = p.look(w.owner); err != nil {
			return err
		}
	}
	for _, k := range p.run.shape.kinds {
		if k.owner == 0 || p.plans[sideBefore].TypeByID(k.id) == nil {
			continue
		}
		if err := p.owner(w, look, k); err != nil {
			return err
		}
	}
	return nil
}

// look compares what an owner's records depend on of the owner. Owners with the same
// tuples have it in common.
func (p *previewPass) look(owner graph.ID) (*ownerLook, error) {
	p.key = p.key[:0]
	for _, side := range bothSides {
		if side == sideAfter && !p.touched[owner] {
			break
		}
		for _, r := range p.run.shape.tuples {
			if err := p.print(side, owner, r); err != nil {
				return nil, err
			}
		}
	}
	if look := p.looks[string(p.key)]; look != nil {
		return look, nil
	}
	kinds := p.run.shape.kinds
	look := &ownerLook{who: make([]*crowd, len(kinds)), keys: make([][]byte, len(kinds))}
	p.looks[string(p.key)] = look
	for _, k := range kinds {
		if k.owner != 0 {
			if err := p.compare(owner, k, look); err != nil {
				return nil, err
			}
		}
	}
	return look, nil
}

// print adds an owner's tuples of a relation to the key.
func (p *previewPass) print(side previewSide, owner graph.ID, r model.RelationID) error {
	u := graph.Userset{Object: owner, Relation: r}
	view, c := p.view(side, u), &p.census.cursor
	place := len(p.key)
	p.key = append(p.key, 0, 0, 0, 0)
	c.Reset(graph.Subject{})
	for !c.Done {
		if err := p.beat(); err != nil {
			return err
		}
		if err := view.Subjects(u, c); err != nil {
			return err
		}
		for i := range c.Edges {
			e := &c.Edges[i]
			p.key = binary.AppendUvarint(p.key, uint64(e.Subject.ID))
			p.key = binary.AppendUvarint(p.key, uint64(e.Subject.Relation))
			if !e.Plain() { // it may be the only one of its kind
				p.key = binary.AppendUvarint(p.key, uint64(owner))
			}
		}
	}
	binary.BigEndian.PutUint32(p.key[place:], uint32(len(p.key)-place))
	return nil
}

// compare fills a look in for one kind of records.
func (p *previewPass) compare(owner graph.ID, k *recordKind, look *ownerLook) error {
	key := binary.AppendUvarint(nil, uint64(k.index))
	who := p.run.drift(p.census, k)
	for _, r := range k.ownerAsked {
		u := graph.Userset{Object: owner, Relation: r}
		before, err := p.of(sideBefore, u)
		if err != nil {
			return err
		}
		after := before
		if p.run.spread.owners[owner] {
			if after, err = p.of(sideAfter, u); err != nil {
				return err
			}
		}
		key = binary.AppendUvarint(binary.AppendUvarint(key, before.number()), after.number())
		who = p.combine(crowdUnion, who, p.combine(crowdDifference, before, after))
	}
	look.who[k.index], look.keys[k.index] = who, key
	return nil
}

// flush counts what the classes have collected, and forgets them.
func (p *previewPass) flush() {
	for _, c := range p.classes {
		p.count(c)
	}
	clear(p.classes)
}

func (p *previewPass) count(c *recordClass) {
	if c.records > 0 {
		p.note(c.kind, &c.change, c.records, c.except)
	}
	for _, below := range c.below {
		p.count(below)
	}
}

// note counts so many records.
func (p *previewPass) note(k *recordKind, change *accessChange, records int, except map[uint32]int) {
	for i := range change {
		for way, c := range change[i] {
			if c != nil {
				p.tally.add(columnOf(k.index, i, way), c, records, except)
			}
		}
	}
}

// found takes in what differs for single records: it counts them or names them. Some
// persons may be left out.
func (p *previewPass) found(k *recordKind, change *accessChange, records []graph.ID, but [2]uint32) error {
	if change.empty() {
		return nil
	}
	if p.samples == nil {
		p.note(k, change, len(records), nil)
		return nil
	}
	var names []string
	for i := range change {
		for way, c := range change[i] {
			if c == nil {
				continue
			}
			if names == nil {
				for _, id := range records {
					name, err := p.overlay.Name(id)
					if err != nil {
						return err
					}
					names = append(names, name)
				}
			}
			c.each(func(user uint32) {
				if user != but[0] && user != but[1] {
					p.samples.add(columnOf(k.index, i, way), user, names)
				}
			})
		}
	}
	return nil
}

// noUser as a user's number is none's.
const noUser = ^uint32(0)

// classed takes in records of a class that belong to some persons.
func (p *previewPass) classed(c *recordClass, records []graph.ID, persons [2]uint32) error {
	if p.samples != nil {
		return p.found(c.kind, &c.change, records, persons)
	}
	c.records += len(records)
	for i, person := range persons {
		if person == noUser || i == 1 && person == persons[0] || !c.panel.has(person) {
			continue
		}
		if c.except == nil {
			c.except = map[uint32]int{}
		}
		c.except[person] += len(records)
	}
	return nil
}

// owner compares an owner's records of a kind.
func (p *previewPass) owner(w ownerWork, look *ownerLook, k *recordKind) error {
	var who *crowd
	if look != nil {
		who = p.focused(look.who[k.index])
	}
	if who == nil {
		for _, record := range w.records {
			if record.Type() == k.id {
				if err := p.alone(k, record, nil); err != nil {
					return err
				}
			}
		}
		return nil
	}
	p.groups = p.groups[:0]
	p.cursor.Reset(graph.Subject{})
	for !p.cursor.Done {
		if err := p.base.Objects(k.owner, graph.Subject{ID: w.owner}, &p.cursor); err != nil {
			return err
		}
		for i := range p.cursor.Edges {
			if err := p.sort(k, p.cursor.Edges[i].Subject.ID, who); err != nil {
				return err
			}
		}
	}
	for i := range p.groups {
		p.key = append(p.key[:0], look.keys[k.index]...)
		p.key = binary.AppendUvarint(p.key, p.groups[i].flags)
		if err := p.group(w, k, &p.groups[i], who); err != nil {
			return err
		}
	}
	return nil
}

// drift is for whom a kind's module differs, or one of those below.
func (r *previewRun) drift(c *census, k *recordKind) *crowd {
	who := r.spread.drift[k.index]
	for _, below := range k.below {
		who = c.combine(crowdUnion, who, r.spread.drift[below.index])
	}
	return who
}

func (p *previewPass) focused(c *crowd) *crowd {
	if p.focus == nil {
		return c
	}
	return p.combine(crowdIntersection, c, p.focus)
}

// sort puts a record with those of its class, or decides it alone.
func (p *previewPass) sort(k *recordKind, record graph.ID, who *crowd) error {
	if p.touched[record] {
		return nil // it is a piece of work of its own
	}
	flags, plain, err := p.flags(k, record)
	if err != nil {
		return err
	}
	if !plain {
		return p.alone(k, record, who)
	}
	for i := range p.groups {
		if g := &p.groups[i]; g.flags == flags {
			g.records = append(g.records, record)
			return nil
		}
	}
	if n := len(p.groups); n < cap(p.groups) {
		p.groups = p.groups[:n+1]
		p.groups[n].flags, p.groups[n].records = flags, append(p.groups[n].records[:0], record)
	} else {
		p.groups = append(p.groups, recordGroup{flags: flags, records: []graph.ID{record}})
	}
	return nil
}

// flags are the record's own tuples, if they name nobody but everybody, and nothing comes
// from the record above.
func (p *previewPass) flags(k *recordKind, record graph.ID) (flags uint64, plain bool, err error) {
	for i, r := range k.own {
		edge, some, err := p.first(record, r)
		if err != nil {
			return 0, false, err
		}
		switch {
		case !some:
		case i < 64 && edge.Subject.ID.IsWildcard() && edge.Plain():
			flags |= 1 << i
		default:
			return 0, false, nil
		}
	}
	if k.parent == 0 {
		return flags, true, nil
	}
	base := len(p.stack)
	defer func() { p.stack = p.stack[:base] }()
	if err := p.parents(k, record); err != nil {
		return 0, false, err
	}
	for _, above := range p.stack[base:] {
		if p.touched[above.ID] {
			return 0, false, nil
		}
		for _, r := range k.parentAsked[above.ID.Type()] {
			if _, some, err := p.first(above.ID, r); some || err != nil {
				return 0, false, err
			}
		}
	}
	return flags, true, nil
}

// first is the first tuple of a relation, and whether there is one. Tuples that name
// everybody are first.
func (p *previewPass) first(object graph.ID, r model.RelationID) (graph.Edge, bool, error) {
	c := &p.census.cursor
	c.Reset(graph.Subject{})
	if err := p.beat(); err != nil {
		return graph.Edge{}, false, err
	}
	if err := p.base.Subjects(graph.Userset{Object: object, Relation: r}, c); err != nil || len(c.Edges) == 0 {
		return graph.Edge{}, false, err
	}
	if len(c.Edges) > 1 || !c.Done { // more than everybody
		return graph.Edge{}, true, nil
	}
	return c.Edges[0], true, nil
}

// parents pushes the records above one, whatever the model.
func (p *previewPass) parents(k *recordKind, record graph.ID) error {
	c := &p.census.cursor
	c.Reset(graph.Subject{})
	for !c.Done {
		if err := p.base.Subjects(graph.Userset{Object: record, Relation: k.parent}, c); err != nil {
			return err
		}
		for i := range c.Edges {
			p.stack = append(p.stack, c.Edges[i].Subject)
		}
	}
	return nil
}

// group compares an owner's records of one class, and what is below them.
func (p *previewPass) group(w ownerWork, k *recordKind, g *recordGroup, who *crowd) error {
	class := p.classes[string(p.key)]
	if class == nil {
		class = &recordClass{kind: k, panel: who}
		var err error
		if class.change, err = p.decide(p.crew, who, k, g.records[0]); err != nil {
			return err
		}
		p.classes[string(p.key)] = class
	}
	owner, ok := p.userOf[w.owner]
	if !ok {
		owner = noUser
	}
	if err := p.classed(class, g.records, [2]uint32{owner, noUser}); err != nil {
		return err
	}
	var own accessChange
	if owner != noUser && class.panel.has(owner) {
		var err error
		if own, err = p.decide(p.single, p.person(owner), k, g.records[0]); err != nil {
			return err
		}
		if err := p.found(k, &own, g.records, [2]uint32{noUser, noUser}); err != nil {
			return err
		}
	}
	for _, below := range k.below {
		if class.change.empty() && own.empty() && p.run.spread.drift[below.index] == nil {
			continue
		}
		for _, record := range g.records {
			if err := p.below(class, owner, record, below); err != nil {
				return err
			}
		}
	}
	return nil
}

// person is a crowd of one.
func (p *previewPass) person(user uint32) *crowd { return p.maker.ofList([]uint32{user}) }

// decide compares a record alone on a panel.
func (p *previewPass) decide(on *panel, who *crowd, k *recordKind, record graph.ID) (accessChange, error) {
	on.seat(who)
	on.dismiss()
	return on.decide(k, record)
}

// below compares the records of a child module below one of a class.
func (p *previewPass) below(class *recordClass, owner uint32, above graph.ID, k *recordKind) error {
	return p.objects(k.parent, graph.Subject{ID: above}, func(record graph.ID) error {
		if p.touched[record] || record.Type() != k.id {
			return nil
		}
		c := class.below[k]
		if c == nil {
			c = &recordClass{kind: k, panel: class.panel}
			var err error
			if c.change, err = p.decide(p.crew, c.panel, k, record); err != nil {
				return err
			}
			if class.below == nil {
				class.below = map[*recordKind]*recordClass{}
			}
			class.below[k] = c
		}
		author, err := p.author(k, record)
		if err != nil {
			return err
		}
		persons := [2]uint32{owner, author}
		if err := p.classed(c, []graph.ID{record}, persons); err != nil {
			return err
		}
		for i, person := range persons {
			if person == noUser || i == 1 && person == owner || !c.panel.has(person) {
				continue
			}
			change, err := p.decide(p.single, p.person(person), k, record)
			if err != nil {
				return err
			}
			if err := p.found(k, &change, []graph.ID{record}, [2]uint32{noUser, noUser}); err != nil {
				return err
			}
		}
		return nil
	})
}

// author is the number of a note's author.
func (p *previewPass) author(k *recordKind, record graph.ID) (uint32, error) {
	edge, _, err := p.first(record, k.author)
	if err != nil {
		return noUser, err
	}
	if number, ok := p.userOf[edge.Subject.ID]; ok {
		return number, nil
	}
	return noUser, nil
}

// alone compares one record and what is below it. Who are those for whom it differs
// already for its owner's sake or its module's.
func (p *previewPass) alone(k *recordKind, record graph.ID, who *crowd) error {
	who, err := p.concerned(k, record, who)
	if who == nil || err != nil {
		return err
	}
	change, err := p.decide(p.single, who, k, record)
	if err != nil {
		return err
	}
	if err := p.found(k, &change, []graph.ID{record}, [2]uint32{noUser, noUser}); err != nil {
		return err
	}
	for _, below := range k.below {
		if change.empty() && p.run.spread.drift[below.index] == nil {
			continue
		}
		err := p.objects(below.parent, graph.Subject{ID: record}, func(child graph.ID) error {
			if p.touched[child] || child.Type() != below.id {
				return nil
			}
			change, err := p.decide(p.single, who, below, child)
			if err != nil {
				return err
			}
			return p.found(below, &change, []graph.ID{child}, [2]uint32{noUser, noUser})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// concerned are those for whom a record may differ: everybody if it is written to, or one
// above it is; or else those given and those who differ in what its shares name.
func (p *previewPass) concerned(k *recordKind, record graph.ID, who *crowd) (*crowd, error) {
	if p.touched[record] {
		return p.focused(p.all), nil
	}
	base := len(p.stack)
	defer func() { p.stack = p.stack[:base] }()
	if k.parent != 0 {
		if err := p.parents(k, record); err != nil {
			return nil, err
		}
	}
	top := len(p.stack)
	for i := base; i < top; i++ {
		if p.touched[p.stack[i].ID] {
			return p.focused(p.all), nil
		}
	}
	var err error
	for _, r := range k.own {
		if who, err = p.shares(record, r, who); err != nil {
			return nil, err
		}
	}
	for i := base; i < top; i++ {
		above := p.stack[i].ID
		for _, r := range k.parentAsked[above.Type()] {
			if who, err = p.shares(above, r, who); err != nil {
				return nil, err
			}
		}
	}
	return p.focused(who), nil
}

// shares adds to a crowd those who are on one side alone in what a record's tuples name.
func (p *previewPass) shares(record graph.ID, r model.RelationID, who *crowd) (*crowd, error) {
	base := len(p.stack)
	defer func() { p.stack = p.stack[:base] }()
	c := &p.census.cursor
	c.Reset(graph.Subject{})
	for !c.Done {
		if err := p.base.Subjects(graph.Userset{Object: record, Relation: r}, c); err != nil {
			return nil, err
		}
		for i := range c.Edges {
			if s := c.Edges[i].Subject; s.Relation != 0 {
				p.stack = append(p.stack, s)
			}
		}
	}
	for i, top := base, len(p.stack); i < top; i++ {
		s := p.stack[i]
		differ, err := p.changes(graph.Userset{Object: s.ID, Relation: s.Relation})
		if err != nil {
			return nil, err
		}
		who = p.combine(crowdUnion, who, differ)
	}
	return who, nil
}
