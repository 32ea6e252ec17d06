package crm

import (
	"encoding/binary"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// An ownerLook is what owners with the same tuples of their own have in common, which is
// all that their records depend on.
type ownerLook struct {
	who  []*crowd // by kind: for whom what is asked of the owner, or of the module, differs
	keys [][]byte // by kind: which crowds they are
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

// drift is for whom a kind's module differs, or one of those below.
func (r *previewRun) drift(c *census, k *recordKind) *crowd {
	who := r.spread.drift[k.index]
	for _, below := range k.below {
		who = c.combine(crowdUnion, who, r.spread.drift[below.index])
	}
	return who
}
