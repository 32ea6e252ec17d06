package crm

import (
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

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
