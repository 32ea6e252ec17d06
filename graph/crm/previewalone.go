package crm

import (
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

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
