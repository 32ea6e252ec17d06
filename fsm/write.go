package fsm

import (
	"bytes"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/condition"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/graph/value"
)

// write checks the whole command against the store and then applies its operations.
func (t *tx) write(c *Command, st *storeIndex, w *Write) *Refusal {
	if f := t.checkScopes(st, c.Requires); f != nil {
		return f
	}
	for i := range c.Preconditions {
		if f := t.checkPrecondition(st, i, &c.Preconditions[i]); f != nil {
			return f
		}
	}
	contexts, f := t.checkOperations(st, w.Operations)
	if f != nil {
		return f
	}
	t.touch(st)
	t.bumpScopes(st, c.Bumps)
	for i := range w.Operations {
		o := &w.Operations[i]
		switch o.Kind {
		case CreateTuple, TouchTuple:
			t.putTuple(c, st, o, contexts[i])
		case EnsureTuple:
			if !t.present(st, &o.Tuple) { // what is present is equal, as was checked
				t.putTuple(c, st, o, contexts[i])
			}
		case DeleteTuple, RemoveTuple:
			t.deleteTuple(c, st, o)
		case PutDocument:
			t.putDocument(c, st, o)
		case DeleteDocument:
			t.deleteDocument(c, st, o)
		}
	}
	return nil
}

// bumpScopes raises the version of scopes by one.
func (t *tx) bumpScopes(st *storeIndex, scopes []string) {
	for _, scope := range scopes {
		old := st.scope(scope)
		if old != 0 {
			t.remove(st, scopeKey(st.id, scope), encodeNumber(old))
		}
		t.insert(st, scopeKey(st.id, scope), encodeNumber(old+1))
		st.scopes.ReplaceOrInsert(scopeItem{scope, old + 1})
	}
}

func (t *tx) checkScopes(st *storeIndex, required []ScopeVersion) *Refusal {
	for i, r := range required {
		if v := st.scope(r.Scope); v != r.Version {
			return &Refusal{Reason: ErrScope, Index: i, Name: r.Scope, Version: v}
		}
	}
	return nil
}

func (t *tx) checkPrecondition(st *storeIndex, i int, p *Precondition) *Refusal {
	switch p.Kind {
	case TuplePresent, TupleAbsent:
		if t.present(st, &p.Tuple) != (p.Kind == TuplePresent) {
			return refuseAt(ErrPrecondition, i)
		}
	case DocumentVersion:
		if v := documentVersion(st, p.Entity); v != p.Version {
			return &Refusal{Reason: ErrPrecondition, Index: i, Version: v}
		}
	case TupleRevision:
		// Of a tuple that is not there, the zero item tells so.
		if item, _ := t.find(st, &p.Tuple); uint64(item.created) != p.Version {
			return &Refusal{Reason: ErrPrecondition, Index: i, Version: uint64(item.created)}
		}
	}
	return nil
}

// documentVersion is 0 for a document that does not exist, or no longer.
func documentVersion(st *storeIndex, e Entity) uint64 {
	n, ok := st.lookup(e.Type, e.Name)
	if !ok {
		return 0
	}
	row, ok := st.document(n.id)
	if !ok || row.deleted {
		return 0
	}
	return row.version
}

// checkTuple judges an operation by the tuple that it finds.
func (t *tx) checkTuple(st *storeIndex, o *Operation, ctx *condition.Context) error {
	item, ok := t.find(st, &o.Tuple)
	present := ok && !item.expiredAt(t.now)
	switch {
	case o.Kind == CreateTuple && present:
		return ErrTupleExists
	case o.Kind == EnsureTuple && present && !item.equals(o, ctx):
		return ErrTupleDiffers
	case o.Kind == RemoveTuple && !present:
		return ErrTupleNotFound
	}
	return nil
}

// equals reports whether the tuple is as the operation would make it. Contexts have one
// encoding, so their bytes are compared.
func (t *tupleItem) equals(o *Operation, ctx *condition.Context) bool {
	e := t.edge()
	return e.Condition == o.Condition && e.Expires == o.Expires && bytes.Equal(contextBytes(e.Context), contextBytes(ctx))
}

// present reports whether the tuple exists and has not expired at the entry's time: a
// tuple that no longer counts must not stand in the way of its successor.
func (t *tx) present(st *storeIndex, k *TupleKey) bool {
	item, ok := t.find(st, k)
	return ok && !item.expiredAt(t.now)
}

func (t *tx) find(st *storeIndex, k *TupleKey) (tupleItem, bool) {
	object, ok := st.lookup(k.Object.Type, k.Object.Name)
	if !ok {
		return tupleItem{}, false
	}
	subject, ok := st.lookup(k.Subject.Type, k.Subject.Name)
	if !ok {
		return tupleItem{}, false
	}
	return st.tuple(
		graph.Userset{Object: object.id, Relation: k.Relation},
		graph.Subject{ID: subject.id, Relation: k.SubjectRelation},
	)
}

// checkOperations finds the first operation that cannot be applied, and decodes the
// contexts of those that can.
func (t *tx) checkOperations(st *storeIndex, ops []Operation) ([]*condition.Context, *Refusal) {
	contexts := make([]*condition.Context, len(ops))
	tuples := make(map[TupleKey]struct{}, len(ops))
	documents := make(map[Entity]struct{})
	for i := range ops {
		o := &ops[i]
		switch {
		case o.Kind.onTuple():
			if !knownSymbols(st.symbols, o) {
				return nil, refuseAt(ErrSymbol, i)
			}
			if _, ok := tuples[o.Tuple]; ok {
				return nil, refuseAt(ErrDuplicate, i)
			}
			tuples[o.Tuple] = struct{}{}
			ctx, err := condition.DecodeContext(bytes.Clone(o.Context))
			if reason := t.checkTuple(st, o, ctx); reason != nil {
				return nil, refuseAt(reason, i)
			}
			if err != nil {
				return nil, refuseAt(ErrInvalid, i)
			}
			contexts[i] = ctx
		case o.Kind == PutDocument, o.Kind == DeleteDocument:
			if st.symbols.TypeName(o.Entity.Type) == "" {
				return nil, refuseAt(ErrSymbol, i)
			}
			if _, ok := documents[o.Entity]; ok {
				return nil, refuseAt(ErrDuplicate, i)
			}
			documents[o.Entity] = struct{}{}
			if o.Kind == PutDocument {
				if _, err := value.Decode(o.Fields); err != nil {
					return nil, refuseAt(ErrInvalid, i)
				}
			}
		}
		if st.erasesOperand(o) {
			return nil, refuseAt(ErrErasing, i)
		}
		if t.exhausted(st, o, len(ops)) {
			return nil, refuseAt(ErrExhausted, i)
		}
	}
	return contexts, nil
}

func knownSymbols(s *model.Table, o *Operation) bool {
	k := &o.Tuple
	if owner, name := s.RelationName(k.Relation); name == "" || owner != k.Object.Type {
		return false
	}
	if s.TypeName(k.Subject.Type) == "" {
		return false
	}
	if k.SubjectRelation != 0 {
		if owner, name := s.RelationName(k.SubjectRelation); name == "" || owner != k.Subject.Type {
			return false
		}
	}
	return o.Condition == 0 || s.ConditionName(o.Condition) != ""
}

// exhausted is careful rather than exact: each operation names two entities at most.
func (t *tx) exhausted(st *storeIndex, o *Operation, ops int) bool {
	room := func(typ model.TypeID) bool {
		s, _ := st.sequences.Get(sequenceItem{typ: typ})
		return s.last+2*uint64(ops) <= graph.MaxSequence
	}
	switch o.Kind {
	case CreateTuple, TouchTuple, EnsureTuple:
		return !room(o.Tuple.Object.Type) || !room(o.Tuple.Subject.Type)
	case PutDocument:
		return !room(o.Entity.Type)
	}
	return false
}

// entity finds an entity or gives it the next id of its type.
func (t *tx) entity(st *storeIndex, e Entity) graph.ID {
	if n, ok := st.lookup(e.Type, e.Name); ok {
		return n.id
	}
	seq, known := st.sequences.Get(sequenceItem{typ: e.Type})
	if known {
		t.remove(st, sequenceKey(st.id, e.Type), encodeNumber(seq.last))
	}
	seq = sequenceItem{e.Type, seq.last + 1}
	t.insert(st, sequenceKey(st.id, e.Type), encodeNumber(seq.last))
	st.sequences.ReplaceOrInsert(seq)
	id := graph.MakeID(e.Type, seq.last)
	t.insert(st, nameKey(st.id, e.Type, e.Name), encodeNameRow(id, t.rev))
	t.insert(st, entityKey(st.id, id), encodeEntityRow(e.Name, t.rev))
	st.addEntity(e.Type, e.Name, id, t.rev)
	return id
}

func (t *tx) putTuple(c *Command, st *storeIndex, o *Operation, ctx *condition.Context) {
	u := graph.Userset{Object: t.entity(st, o.Tuple.Object), Relation: o.Tuple.Relation}
	sub := graph.Subject{ID: t.entity(st, o.Tuple.Subject), Relation: o.Tuple.SubjectRelation}
	if old, ok := st.tuple(u, sub); ok {
		t.dropTuple(st, &old)
	}
	edge := graph.Edge{Subject: sub, Condition: o.Condition, Context: ctx, Expires: o.Expires}
	item := newTupleItem(u, edge, t.rev, t.now)
	t.insert(st, forwardKey(st.id, u, sub), item.value())
	t.insert(st, reverseKey(st.id, u, sub), nil)
	if o.Expires != 0 {
		t.set(expiryKey(st.id, o.Expires, u, sub), nil)
	}
	st.putTuple(item)
	st.touch(u.Object.Type(), t.rev)
	st.tally.tuples++
	t.change(st, c, &Change{Kind: TuplePut, Tuple: item.row()})
}

// deleteTuple leaves no change if there is nothing to delete: unknown names have no
// ids that a change could carry.
func (t *tx) deleteTuple(c *Command, st *storeIndex, o *Operation) {
	if item, ok := t.find(st, &o.Tuple); ok {
		t.dropTuple(st, &item)
		t.change(st, c, &Change{Kind: TupleDeleted, Tuple: item.row()})
	}
}

// dropTuple takes a tuple out of the head. What an earlier entry left goes to the
// history, unless it tells of what is being erased; what this entry made was never
// published and leaves no trace there.
func (t *tx) dropTuple(st *storeIndex, item *tupleItem) {
	u, sub := item.userset(), item.subject()
	v := item.value()
	t.remove(st, forwardKey(st.id, u, sub), v)
	t.remove(st, reverseKey(st.id, u, sub), nil)
	if expires := item.expires(); expires != 0 {
		t.delete(expiryKey(st.id, expires, u, sub))
	}
	if item.created < t.rev && !st.erasesTuple(item) {
		t.set(forwardPastKey(st.id, u, sub, t.rev), v)
		t.set(reversePastKey(st.id, u, sub, t.rev), nil)
		t.set(cleanupTupleKey(st.id, t.rev, u, sub), nil)
		st.nextCleanup = min(st.nextCleanup, t.rev)
	}
	st.removeTuple(u, sub)
	st.touch(u.Object.Type(), t.rev)
	st.tally.tuples--
}

func (t *tx) putDocument(c *Command, st *storeIndex, o *Operation) {
	id := t.entity(st, o.Entity)
	old, _ := st.document(id)
	row := documentRow{created: t.rev, version: old.version + 1, fields: bytes.Clone(o.Fields)}
	t.replaceDocument(st, id, row)
	t.change(st, c, &Change{Kind: DocumentPut, Entity: id, Version: row.version, Fields: row.fields})
}

func (t *tx) deleteDocument(c *Command, st *storeIndex, o *Operation) {
	n, ok := st.lookup(o.Entity.Type, o.Entity.Name)
	if !ok {
		return
	}
	old, ok := st.document(n.id)
	if !ok || old.deleted {
		return
	}
	t.replaceDocument(st, n.id, documentRow{created: t.rev, version: old.version, deleted: true})
	t.change(st, c, &Change{Kind: DocumentDeleted, Entity: n.id, Version: old.version})
}

// replaceDocument keeps the history as dropTuple does.
func (t *tx) replaceDocument(st *storeIndex, id graph.ID, row documentRow) {
	if old, ok := st.document(id); ok {
		v := old.encode()
		t.remove(st, documentKey(st.id, id), v)
		if old.created < t.rev && !st.erasesDocument(id, old.fields) {
			t.set(documentPastKey(st.id, id, t.rev), v)
			t.set(cleanupDocumentKey(st.id, t.rev, id), nil)
			st.nextCleanup = min(st.nextCleanup, t.rev)
		}
	}
	t.insert(st, documentKey(st.id, id), row.encode())
	st.documents.put(st.generation, uint64(id), row)
}
