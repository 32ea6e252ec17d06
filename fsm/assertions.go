package fsm

import "bytes"

// writeAssertions replaces a model's assertions. They stand with the store's newest
// state alone: they say what somebody expects of a model, and decide nothing.
func (t *tx) writeAssertions(c *Command, st *storeIndex, b *WriteAssertions) *Refusal {
	if _, ok := st.model(b.Model); !ok {
		return &Refusal{Reason: ErrModelNotFound, Index: -1, Name: b.Model.String()}
	}
	key := assertionsKey(st.id, b.Model)
	old, found := st.assertions.Get(assertionsItem{model: b.Model})
	if found {
		t.touch(st)
		t.remove(st, key, old.row.encode())
	}
	if len(b.Content) > 0 {
		t.touch(st)
		row := assertionsRow{revision: t.rev, content: bytes.Clone(b.Content)}
		t.insert(st, key, row.encode())
		st.assertions.ReplaceOrInsert(assertionsItem{b.Model, row})
		t.change(st, c, &Change{Kind: AssertionsWritten, Model: b.Model})
	} else if found {
		st.assertions.Delete(assertionsItem{model: b.Model})
		t.change(st, c, &Change{Kind: AssertionsRemoved, Model: b.Model})
	}
	return nil
}
