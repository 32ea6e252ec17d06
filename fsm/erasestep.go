package fsm

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/remit-authz/remit/graph"
)

// What one step of an erasure looks at, at most.
const (
	rowsPerErase  = 10_000
	bytesPerErase = 4 << 20
)

// erase begins an erasure or carries one on, by as much as one step may do.
func (t *tx) erase(c *Command, st *storeIndex, b *Erase, res *Result) *Refusal {
	r, f := t.erasure(c, st, b)
	if f != nil {
		return f
	}
	if r.over() {
		if b.Entity != (Entity{}) {
			t.requireRewrite() // the log has the name again
		}
		res.Erased = &r.Erased
		return nil
	}
	t.touch(st)
	key := erasureKey(st.id, r.ID)
	if r.phase != 0 {
		t.remove(st, key, r.encode())
	} else {
		r.phase = eraseHead
	}
	// From here on nothing that is written names the entity; see change, dropTuple,
	// replaceDocument and checkOperations.
	next := *r
	st.setErasure(&next)
	t.noteErasing(st)
	s := &eraseStep{tx: t, st: st, row: &next, rows: b.Limit, bytes: bytesPerErase}
	if s.rows == 0 || s.rows > rowsPerErase {
		s.rows = rowsPerErase
	}
	s.run()
	st.setErasure(&next)
	t.noteErasing(st)
	t.insert(st, key, next.encode())
	done := next.Erased
	res.Erased, res.Remaining = &done, !next.over()
	return nil
}

// erasure finds the row of the command's erasure, or makes one that has no phase yet.
func (t *tx) erasure(c *Command, st *storeIndex, b *Erase) (*erasureRow, *Refusal) {
	for _, r := range st.erasing {
		if r.ID == b.ID && b.Entity != (Entity{}) && b.Entity != r.entity {
			return nil, &Refusal{Reason: ErrInvalid, Index: -1, Name: b.ID.String()}
		}
		if r.ID == b.ID || r.entity == b.Entity {
			return r, nil
		}
	}
	if v, ok := t.get(erasureKey(st.id, b.ID)); ok {
		r, err := decodeErasureRow(v)
		must(err)
		return &r, nil
	}
	if b.Entity == (Entity{}) {
		return nil, &Refusal{Reason: ErrErasureNotFound, Index: -1, Name: b.ID.String()}
	}
	if b.Entity.Type != 0 && st.symbols.TypeName(b.Entity.Type) == "" {
		return nil, refuse(ErrSymbol)
	}
	if st.row.managed && st.inUse(b.Entity) {
		return nil, refuse(ErrManaged)
	}
	r := &erasureRow{Erased: Erased{ID: b.ID, Type: b.Entity.Type}, entity: b.Entity, began: t.rev}
	r.by = [...]string{c.Principal, c.Actor, c.RequestID, c.Reason}
	for i, text := range r.by {
		if mentions(text, b.Entity.Name) {
			r.by[i] = ""
		}
	}
	if n, ok := st.lookup(b.Entity.Type, b.Entity.Name); ok {
		r.id = n.id
	}
	return r, nil
}

// requireRewrite says that what stands in the files of nodes until now must go from them.
func (t *tx) requireRewrite() {
	g, key := t.group(), groupKey(groupRewrite)
	t.touch(g)
	if t.rewrite != 0 {
		t.remove(g, key, encodeNumber(t.rewrite))
	}
	t.rewrite = uint64(t.rev)
	t.insert(g, key, encodeNumber(t.rewrite))
}

// noteErasing keeps the list of the stores in which something is being erased.
func (s *State) noteErasing(st *storeIndex) {
	if delete(s.erasing, st.id); len(st.erasing) > 0 {
		s.erasing[st.id] = st
	}
}

// erasures are those that rows of a store must heed: the group's rows belong to all.
func (t *tx) erasures(st *storeIndex) []*erasureRow {
	if !st.id.IsZero() {
		return st.erasing
	}
	var all []*erasureRow
	for _, other := range t.erasing { // in any order: each takes away, and none adds
		all = append(all, other.erasing...)
	}
	return all
}

// keyNames reports whether a retry's key would keep a name that is being erased.
func (t *tx) keyNames(keys *storeIndex, c *Command) bool {
	for _, r := range t.erasures(keys) {
		if mentions(c.Principal, r.entity.Name) || mentions(c.Key, r.entity.Name) {
			return true
		}
	}
	return false
}

// An eraseStep is one step of an erasure, and how much it may still look at.
type eraseStep struct {
	*tx
	st    *storeIndex
	row   *erasureRow
	rows  uint64
	bytes int
}

// spend reports whether there was room to look at a row.
func (s *eraseStep) spend(size int) bool {
	if s.rows == 0 || s.bytes <= 0 {
		return false
	}
	s.rows--
	s.bytes -= size
	s.row.Examined++
	return true
}

func (s *eraseStep) run() {
	for s.phase() {
		s.row.phase, s.row.place = s.row.phase+1, nil
	}
	if s.row.phase == eraseName {
		s.finish()
	}
}

// phase goes on with the phase, and reports whether it is through and another follows.
func (s *eraseStep) phase() bool {
	g := s.group()
	switch s.row.phase {
	case eraseHead:
		return s.head()
	case eraseTuples:
		return s.sweep(s.st, spaceForwardPast, s.pastTuple)
	case eraseDocuments:
		return s.sweep(s.st, spaceDocumentPast, s.pastDocument)
	case eraseChanges:
		return s.sweep(s.st, spaceChange, s.changed)
	case eraseGroupChanges:
		return s.sweep(g, spaceChange, s.changed)
	case eraseKeys:
		return s.sweep(s.st, spaceIdempotency, s.key)
	case eraseGroupKeys:
		return s.sweep(g, spaceIdempotency, s.key)
	}
	return false
}

// head removes the entity's tuples and its document from the head, where nobody makes
// others meanwhile.
func (s *eraseStep) head() bool {
	st, r := s.st, s.row
	if r.id == 0 {
		return true
	}
	for _, item := range st.tuplesOf(r.id, int(s.rows)+1) {
		v := item.value()
		if !s.spend(len(v)) {
			return false
		}
		s.dropTuple(st, &item)
		r.Tuples++
	}
	doc, ok := st.document(r.id)
	if !ok {
		return true
	}
	v := doc.encode()
	if !s.spend(len(v)) {
		return false
	}
	s.remove(st, documentKey(st.id, r.id), v)
	st.documents.remove(st.generation, uint64(r.id))
	if st.row.managed {
		s.bumpScopes(st, []string{ErasedScope})
	}
	if !doc.deleted {
		r.Documents++
	}
	return true
}

// tuplesOf are tuples of the head with the entity as object or subject, as many as wanted.
func (s *storeIndex) tuplesOf(id graph.ID, limit int) (found []tupleItem) {
	s.forward.ascend(id, place{}, func(t ownedTuple) bool {
		if len(found) == limit {
			return false
		}
		found = append(found, tupleItem{id, t})
		return true
	})
	s.reverse.ascend(id, place{}, func(t heldTuple) bool {
		if len(found) == limit {
			return false
		}
		if t.end != id { // found already
			owned, _ := s.forward.get(t.end, place{t.relations, id})
			found = append(found, tupleItem{t.end, owned})
		}
		return true
	})
	return found
}

// sweep looks at the rows of a space behind the place of the step before. What look says
// is done only when the rows have been seen, since it changes them.
func (s *eraseStep) sweep(st *storeIndex, sp space, look func(st *storeIndex, key, value []byte) func()) (through bool) {
	prefix := storePrefix(sp, st.id)
	lower := bytes.Clone(prefix)
	if len(s.row.place) > 0 {
		lower = append(append(lower, s.row.place...), 0)
	}
	var edits []func()
	through = true
	must(scan(s.batch, lower, prefixEnd(prefix), func(key, value []byte) (bool, error) {
		if !s.spend(len(key) + len(value)) {
			through = false
			return false, nil
		}
		s.row.place = bytes.Clone(key[prefixSize:])
		if edit := look(st, key, value); edit != nil {
			edits = append(edits, edit)
		}
		return true, nil
	}))
	for _, edit := range edits {
		edit()
	}
	return through
}

// pastTuple drops a version that has the entity in it, or mentions it.
func (s *eraseStep) pastTuple(st *storeIndex, key, value []byte) func() {
	suffix, err := suffixOf(key, tupleSuffixSize+8)
	must(err)
	row, err := decodeTupleRow(value)
	must(err)
	u, sub := readForwardSuffix(suffix)
	if !s.row.inTuple(u, sub, row.context) {
		return nil
	}
	deleted := graph.Revision(binary.BigEndian.Uint64(suffix[tupleSuffixSize:]))
	return func() {
		s.dropVersion(st, cleanupTupleKey(st.id, deleted, u, sub))
		s.row.Versions++
	}
}

func (s *eraseStep) pastDocument(st *storeIndex, key, value []byte) func() {
	suffix, err := suffixOf(key, 16)
	must(err)
	row, err := decodeDocumentRow(value)
	must(err)
	id, deleted := graph.ID(binary.BigEndian.Uint64(suffix)), graph.Revision(binary.BigEndian.Uint64(suffix[8:]))
	if !s.row.inDocument(id, row.fields) {
		return nil
	}
	return func() {
		s.dropVersion(st, cleanupDocumentKey(st.id, deleted, id))
		s.row.Versions++
	}
}

// changed rewrites a change that tells of the entity. Its place in the changelog stays,
// so that who follows it sees that something was erased.
func (s *eraseStep) changed(_ *storeIndex, key, value []byte) func() {
	ch, err := decodeChange(key, value)
	must(err)
	erased, blanked := s.row.scrub(ch)
	if !erased && !blanked {
		return nil
	}
	key, value = bytes.Clone(key), ch.encode()
	return func() {
		s.set(key, value)
		if erased {
			s.row.Changes++
		} else {
			s.row.Texts++
		}
	}
}

// key forgets an answer that is kept for a retry which names the entity.
func (s *eraseStep) key(st *storeIndex, key, value []byte) func() {
	principal, name, err := readIdempotencySuffix(key[prefixSize:])
	must(err)
	if !mentions(principal, s.row.entity.Name) && !mentions(name, s.row.entity.Name) {
		return nil
	}
	key, value = bytes.Clone(key), bytes.Clone(value)
	return func() {
		row, err := decodeIdempotencyRow(value)
		must(err)
		s.touch(st)
		s.remove(st, key, value)
		s.delete(idempotencyAtKey(st.id, row.time, principal, name))
		s.row.Keys++
	}
}

// readIdempotencySuffix reads what idempotencySuffix wrote.
func readIdempotencySuffix(b []byte) (principal, key string, err error) {
	if len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)) {
		return "", "", fmt.Errorf("%w: idempotency key %x", ErrCorrupt, b)
	}
	n := 2 + int(binary.BigEndian.Uint16(b))
	return string(b[2:n]), string(b[n:]), nil
}

// finish takes the name away, to which nothing refers any more, and says what was done.
func (s *eraseStep) finish() {
	st, r := s.st, s.row
	if r.id != 0 {
		if len(st.tuplesOf(r.id, 1)) > 0 {
			must(fmt.Errorf("%w: a tuple names an entity that was erased", ErrCorrupt))
		}
		e, ok := st.entity(r.id)
		if !ok {
			must(fmt.Errorf("%w: an entity to erase has no name", ErrCorrupt))
		}
		s.remove(st, nameKey(st.id, r.entity.Type, e.name), encodeNameRow(r.id, e.created))
		s.remove(st, entityKey(st.id, r.id), encodeEntityRow(e.name, e.created))
		st.removeEntity(r.id, e.name)
	}
	s.leaveOthers()
	r.Revision = s.rev
	done := r.Erased
	by := &Command{Principal: r.by[0], Actor: r.by[1], RequestID: r.by[2], Reason: r.by[3]}
	s.change(st, by, &Change{Kind: EntityErased, Erased: &done}) // whoever made the last step
	*r = erasureRow{Erased: done}
	s.requireRewrite()
}

// leaveOthers takes the name out of erasures that go on: who asked for one of them ends up
// in the changelog, and its place can be a retry's key that is no more. It then goes
// through its phase again.
func (s *eraseStep) leaveOthers() {
	name := s.row.entity.Name
	for _, other := range s.st.erasing {
		if other.ID == s.row.ID {
			continue
		}
		next, found := *other, false
		for i, text := range next.by {
			if mentions(text, name) {
				next.by[i], found = "", true
			}
		}
		if bytes.Contains(next.place, []byte(name)) {
			next.place, found = nil, true
		}
		if found {
			key := erasureKey(s.st.id, other.ID)
			s.remove(s.st, key, other.encode())
			s.insert(s.st, key, next.encode())
			s.st.setErasure(&next)
		}
	}
}
