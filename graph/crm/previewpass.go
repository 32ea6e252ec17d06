package crm

import (
	"context"
	"encoding/binary"

	"github.com/remit-authz/remit/graph"
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
	if p.full() || p.crew.held+p.single.held > maxPanelBytes {
		p.flush()
		clear(p.looks)
		p.forget()
		p.crew.forget()
		p.single.forget()
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

func (p *previewPass) focused(c *crowd) *crowd {
	if p.focus == nil {
		return c
	}
	return p.combine(crowdIntersection, c, p.focus)
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

// person is a crowd of one.
func (p *previewPass) person(user uint32) *crowd { return p.maker.ofList([]uint32{user}) }

// decide compares a record alone on a panel.
func (p *previewPass) decide(on *panel, who *crowd, k *recordKind, record graph.ID) (accessChange, error) {
	on.seat(who)
	on.dismiss()
	return on.decide(k, record)
}
