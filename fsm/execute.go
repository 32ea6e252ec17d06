package fsm

import (
	"bytes"
	"time"

	"github.com/remit-authz/remit/graph/model"
)

// idempotencyRetention is how long a key is remembered, in milliseconds of leader time.
const idempotencyRetention = int64(24 * time.Hour / time.Millisecond)

// group is the zero store, which holds what belongs to no store.
func (t *tx) group() *storeIndex { return t.stores[StoreID{}] }

// execute does what the command says and completes the result. Everything that can be
// refused is checked before anything changes.
func (t *tx) execute(c *Command, res *Result) {
	// The keys of commands that make or remove a store outlive the store.
	keys := t.group()
	var st *storeIndex
	switch c.Body.(type) {
	case *CreateStore, *DeleteStore, *SetClusterVersion, *SetEpoch, *HashCheck:
		st = t.stores[c.Store]
	default:
		if st = t.stores[c.Store]; st == nil {
			res.Err = &Refusal{Reason: ErrStoreNotFound, Index: -1, Name: c.Store.String()}
			return
		}
		keys = st
	}
	if c.Key != "" && t.replay(keys, c, res) {
		return
	}
	if c.Key != "" && t.keyNames(keys, c) {
		res.Err = refuse(ErrErasing)
		return
	}
	f := t.managed(c, st)
	if f == nil {
		f = t.body(c, st, res)
	}
	if f != nil {
		res.Err = f
		return
	}
	if c.Key != "" {
		t.remember(keys, c, res)
	}
}

func (t *tx) body(c *Command, st *storeIndex, res *Result) *Refusal {
	switch b := c.Body.(type) {
	case *CreateStore:
		return t.createStore(c, st, b, res)
	case *DeleteStore:
		return t.deleteStore(c, st)
	case *WriteModel:
		return t.writeModel(c, st, b, res)
	case *WriteAssertions:
		return t.writeAssertions(c, st, b)
	case *Write:
		return t.write(c, st, b)
	case *AdvanceExpiry:
		return t.advanceExpiry(c, st, b, res)
	case *AdvanceHistory:
		return t.advanceHistory(st, b, res)
	case *SetRetention:
		t.setRetention(c, st, b)
	case *Erase:
		return t.erase(c, st, b, res)
	case *SetClusterVersion:
		if b.Version > ClusterVersion {
			must(&formatError{"cluster", b.Version})
		}
		if b.Version < t.version {
			return &Refusal{Reason: ErrHorizon, Index: -1, Version: t.version}
		}
		if b.Version != t.version {
			t.change(t.group(), c, &Change{Kind: ClusterVersionSet, From: t.version, To: b.Version})
		}
		t.setGroup(groupClusterVer, &t.version, b.Version)
	case *SetEpoch:
		if b.From != t.epoch {
			return &Refusal{Reason: ErrHorizon, Index: -1, Version: t.epoch}
		}
		if b.To != t.epoch {
			t.change(t.group(), c, &Change{Kind: EpochSet, From: t.epoch, To: b.To})
		}
		t.setGroup(groupEpoch, &t.epoch, b.To)
	case *HashCheck:
		if h, ok := t.recent.get(uint64(b.Index)); ok && h.Bytes() != b.Hash {
			err := &DivergenceError{Revision: b.Index, Have: h, Want: makeHash(b.Hash)}
			t.cfg.Fatal(err)
			must(err) // Fatal may return before the process ends: nothing more is answered
		}
	}
	return nil
}

// replay completes the result if the key was used within the retention.
func (t *tx) replay(keys *storeIndex, c *Command, res *Result) bool {
	v, ok := t.get(idempotencyKey(keys.id, c.Principal, c.Key))
	if !ok {
		return false
	}
	row, err := decodeIdempotencyRow(v)
	must(err)
	if row.time <= t.now-idempotencyRetention {
		return false
	}
	first, err := DecodeResult(row.answer)
	must(err)
	if row.hash != c.Hash {
		res.Err = &Refusal{Reason: ErrIdempotencyConflict, Index: -1, Revision: first.Revision}
		return true
	}
	*res = *first
	res.Replayed = true
	return true
}

// remember keeps the answer for retries, in place of one that is past its retention.
func (t *tx) remember(keys *storeIndex, c *Command, res *Result) {
	t.touch(keys)
	key := idempotencyKey(keys.id, c.Principal, c.Key)
	if v, ok := t.get(key); ok {
		row, err := decodeIdempotencyRow(v)
		must(err)
		t.remove(keys, key, v)
		t.delete(idempotencyAtKey(keys.id, row.time, c.Principal, c.Key))
	}
	row := idempotencyRow{hash: c.Hash, time: t.now, answer: res.Encode()}
	t.insert(keys, key, row.encode())
	t.set(idempotencyAtKey(keys.id, t.now, c.Principal, c.Key), nil)
	keys.nextIdempotency = min(keys.nextIdempotency, t.now)
}

// setGroup changes one of the group's numbers; 0 is no row.
func (t *tx) setGroup(name byte, field *uint64, v uint64) {
	if *field == v {
		return
	}
	g := t.group()
	t.touch(g)
	if *field != 0 {
		t.remove(g, groupKey(name), encodeNumber(*field))
	}
	if v != 0 {
		t.insert(g, groupKey(name), encodeNumber(v))
	}
	*field = v
}

func (t *tx) createStore(c *Command, st *storeIndex, b *CreateStore, res *Result) *Refusal {
	if st != nil {
		return &Refusal{Reason: ErrStoreExists, Index: -1, Name: c.Store.String()}
	}
	st = newStoreIndex(c.Store)
	st.loaded = t.rev
	st.row = storeRow{name: b.Name, created: t.rev, createdTime: t.now, historyHorizon: t.rev, managed: b.Managed}
	t.stores[c.Store] = st
	t.touch(st)
	t.insert(st, storeKey(c.Store), st.row.encode())
	t.index.named.ReplaceOrInsert(namedStore{b.Name, c.Store})
	t.change(st, c, &Change{Kind: StoreCreated, Name: b.Name})
	t.change(t.group(), c, &Change{Kind: StoreAdded, Store: c.Store, Name: b.Name})
	res.Store = c.Store
	return nil
}

func (t *tx) deleteStore(c *Command, st *storeIndex) *Refusal {
	if st == nil {
		return &Refusal{Reason: ErrStoreNotFound, Index: -1, Name: c.Store.String()}
	}
	t.change(t.group(), c, &Change{Kind: StoreDeleted, Store: c.Store, Name: st.row.name, Tuples: st.tally.tuples})
	if len(st.erasing) > 0 {
		t.requireRewrite() // their names go with the store, and stand in the log
		delete(t.erasing, st.id)
	}
	for sp := spaceStore; sp < spaceEnd; sp++ {
		prefix := storePrefix(sp, c.Store)
		t.deleteRange(prefix, prefixEnd(prefix))
	}
	t.applied.hash = t.applied.hash.sub(st.tally.hash)
	delete(t.stores, c.Store)
	delete(t.touched, c.Store)
	t.index.stores.Delete(storeItem{id: c.Store})
	t.index.named.Delete(namedStore{st.row.name, c.Store})
	return nil
}

func (t *tx) writeModel(c *Command, st *storeIndex, b *WriteModel, res *Result) *Refusal {
	if f := t.checkScopes(st, c.Requires); f != nil {
		return f
	}
	if _, ok := st.model(b.ID); ok {
		return &Refusal{Reason: ErrModelExists, Index: -1, Name: b.ID.String()}
	}
	if st.symbols.Fits(b.Declarations) != nil {
		return refuse(ErrExhausted)
	}
	t.touch(st)
	t.bumpScopes(st, c.Bumps)
	t.insertSymbols(st, st.symbols.Define(b.Declarations))
	m := &Model{
		ID: b.ID, Revision: t.rev, Created: time.UnixMilli(t.now).UTC(),
		Source: bytes.Clone(b.Source), ordinal: uint64(len(st.models)),
	}
	t.insert(st, modelKey(st.id, m.ID), m.row().encode())
	st.models = append(st.models, m)
	t.change(st, c, &Change{Kind: ModelWritten, Model: m.ID})
	res.Model = m.ID
	return nil
}

func (t *tx) insertSymbols(st *storeIndex, added model.Additions) {
	for _, a := range added.Types {
		t.insert(st, symbolKey(st.id, symbolType, uint32(a.ID)), encodeSymbol(0, a.Name))
	}
	for _, a := range added.Relations {
		t.insert(st, symbolKey(st.id, symbolRelation, uint32(a.ID)), encodeSymbol(a.Type, a.Name))
	}
	for _, a := range added.Conditions {
		t.insert(st, symbolKey(st.id, symbolCondition, uint32(a.ID)), encodeSymbol(0, a.Name))
	}
}

// setStore replaces the store's own row.
func (t *tx) setStore(st *storeIndex, row storeRow) {
	t.touch(st)
	t.remove(st, storeKey(st.id), st.row.encode())
	st.row = row
	t.insert(st, storeKey(st.id), row.encode())
}
