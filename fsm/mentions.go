package fsm

import (
	"bytes"

	"github.com/remit-authz/remit/graph"
)

// A MentionKind says where an entity is mentioned.
type MentionKind byte

// The places of mentions, in the order in which they are looked into.
const (
	MentionInStoreName  MentionKind = iota + 1
	MentionInModel                  // in its source
	MentionInAssertions             // of a model
	MentionInScope                  // in the name of one
	MentionInName                   // of another entity
	MentionInDocument               // of another entity
	MentionInTuple                  // in the context of one between others
	mentionEnd
)

// A Mention is a place in a store's head that holds an entity's name without being the
// entity's own, so that Erase leaves it as it is.
type Mention struct {
	Kind   MentionKind
	Model  ModelID   // of models and assertions
	Scope  string    // of scopes
	Entity graph.ID  // that bears the name, or whose document it is
	Tuple  graph.Row // of tuples
}

// What one page of mentions looks at, at most.
const (
	mentionRows  = 10_000
	mentionBytes = 4 << 20
)

// A MentionCursor pages through the mentions of an entity, all of one Store.
type MentionCursor struct {
	// Mentions are those of the page, in a slice that the next page reuses. It can be
	// empty before the end: a page looks at so much.
	Mentions []Mention

	// Done says that no page follows.
	Done bool

	kind     MentionKind
	model    int
	scope    string
	entity   graph.ID
	tuple    tupleItem
	rows     int
	size     int
	examined uint64
}

// Examined is how many rows the pages so far have looked at.
func (c *MentionCursor) Examined() uint64 { return c.examined }

// Mentions reads the next page of what mentions an entity in the store's head, by the
// rule that Erase has for the past: a string of a document or of a stored context, a
// field's name, or a name, that holds the entity's name as a whole word. A model's source
// and assertions, whose form the state machine does not know, count if its bytes occur in
// them. What names the entity itself, its tuples, is no mention.
func (s *Store) Mentions(e Entity, c *MentionCursor) error {
	c.Mentions = c.Mentions[:0]
	c.rows, c.size = 0, 0
	c.kind = max(c.kind, MentionInStoreName)
	own, _ := s.index.lookup(e.Type, e.Name)
	r := &erasureRow{entity: e, id: own.id}
	for ; c.kind < mentionEnd; c.kind++ {
		if !s.mentions(r, c) {
			return nil
		}
	}
	c.Done = true
	return nil
}

// look reports whether the page has room for a row, and notes a mention in it.
func (c *MentionCursor) look(size int, mentioned func() bool, m Mention) bool {
	if c.rows == mentionRows || c.size >= mentionBytes {
		return false
	}
	c.rows++
	c.size += size
	c.examined++
	if mentioned() {
		m.Kind = c.kind
		c.Mentions = append(c.Mentions, m)
	}
	return true
}

// mentions goes on in the cursor's kind of places, and reports whether it is through.
func (s *Store) mentions(r *erasureRow, c *MentionCursor) (through bool) {
	x, name := s.index, r.entity.Name
	through = true
	note := func(ok bool) bool { through = ok; return ok }
	switch c.kind {
	case MentionInStoreName:
		return c.look(len(x.row.name), func() bool { return mentions(x.row.name, name) }, Mention{})
	case MentionInModel, MentionInAssertions:
		for ; c.model < len(x.models); c.model++ {
			id, text := x.models[c.model].ID, x.models[c.model].Source
			if c.kind == MentionInAssertions {
				text, _ = s.Assertions(id)
			}
			if !c.look(len(text), func() bool { return bytes.Contains(text, []byte(name)) }, Mention{Model: id}) {
				return false
			}
		}
		c.model = 0
	case MentionInScope:
		x.scopes.AscendGreaterOrEqual(scopeItem{name: c.scope}, func(i scopeItem) bool {
			c.scope = i.name
			return note(c.look(len(i.name), func() bool { return mentions(i.name, name) }, Mention{Scope: i.name}))
		})
	case MentionInName:
		x.entities.ascend(uint64(c.entity), func(key uint64, e *entityItem) bool {
			c.entity = graph.ID(key)
			return note(c.look(len(e.name), func() bool { return !r.is(c.entity) && mentions(e.name, name) }, Mention{Entity: c.entity}))
		})
		if through {
			c.entity = 0
		}
	case MentionInDocument:
		x.documents.ascend(uint64(c.entity), func(key uint64, row *documentRow) bool {
			c.entity = graph.ID(key)
			return note(c.look(len(row.fields), func() bool { return !r.is(c.entity) && r.inDocument(c.entity, row.fields) }, Mention{Entity: c.entity}))
		})
	case MentionInTuple:
		x.forward.ascendAll(c.tuple.object, c.tuple.place, func(object graph.ID, t ownedTuple) bool {
			i := tupleItem{object, t}
			c.tuple = i
			context := i.context()
			own := r.is(object) || r.is(t.end)
			return note(c.look(len(context), func() bool { return !own && fieldsMention(context, name) }, Mention{Tuple: i.row()}))
		})
	}
	return through
}
