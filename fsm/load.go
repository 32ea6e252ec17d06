package fsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/oklog/ulid/v2"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// progressEvery is how many rows are loaded between two lines of the log.
const progressEvery = 1_000_000

// A loader builds the index from Pebble.
type loader struct {
	s       *State
	db      *pebble.DB
	applied appliedRow
	epoch   uint64
	version uint64
	rewrite uint64
	mark    uint64 // see State.Rewritten
	stores  map[StoreID]*storeIndex
	symbols map[StoreID]*model.Additions
	rows    int
}

// build reads everything that belongs into memory.
func (s *State) build(db *pebble.DB) (*loader, error) {
	l := &loader{s: s, db: db, stores: map[StoreID]*storeIndex{{}: newStoreIndex(StoreID{})}, symbols: map[StoreID]*model.Additions{}}
	begin := time.Now()
	if err := l.meta(); err != nil {
		return nil, err
	}
	for _, load := range []struct {
		space space
		row   func(st *storeIndex, suffix, value []byte) error
	}{
		{spaceStore, nil},
		{spaceTally, l.tally},
		{spaceSymbol, l.symbol},
		{spaceModel, l.model},
		{spaceSequence, l.sequence},
		{spaceName, l.name},
		{spaceEntity, l.entity},
		{spaceForward, l.tuple},
		{spaceDocument, l.document},
		{spaceScope, l.scope},
		{spaceAssertions, l.assertions},
		{spaceErasure, l.erasure},
	} {
		if err := l.space(load.space, load.row); err != nil {
			return nil, err
		}
	}
	if err := l.check(); err != nil {
		return nil, err
	}
	s.cfg.Log.Info("index built", "revision", l.applied.index, "stores", len(l.stores)-1, "rows", l.rows, "took", time.Since(begin))
	return l, nil
}

// install replaces everything in memory and publishes it.
func (s *State) install(l *loader) {
	s.applied, s.epoch, s.version, s.rewrite = l.applied, l.epoch, l.version, l.rewrite
	s.making.rewritten.Store(l.mark)
	s.stores, s.index, s.recent = l.stores, newIndex(), hashRing{}
	s.recent.put(s.applied.index, s.applied.hash)
	s.erasing = make(map[StoreID]*storeIndex)
	all := make([]*storeIndex, 0, len(l.stores))
	for _, st := range l.stores {
		st.loaded = graph.Revision(l.applied.index)
		s.noteErasing(st)
		all = append(all, st)
		if !st.id.IsZero() {
			s.index.named.ReplaceOrInsert(namedStore{st.row.name, st.id})
		}
	}
	s.publish(all)
}

// meta checks the layout, or writes it into an empty database.
func (l *loader) meta() error {
	v, ok, err := get(l.db, metaKey(metaLayout))
	if err != nil {
		return err
	}
	if !ok {
		if err := l.db.Set(metaKey(metaLayout), encodeNumber(layoutVersion), pebble.Sync); err != nil {
			return fmt.Errorf("write layout version: %w", err)
		}
	} else if n, err := decodeNumber(v); err != nil || n != layoutVersion {
		return errors.Join(err, fmt.Errorf("%w: layout version %d, this program knows %d", ErrCorrupt, n, layoutVersion))
	}
	if v, ok, err = get(l.db, metaKey(metaApplied)); err != nil {
		return err
	} else if ok {
		if l.applied, err = decodeApplied(v); err != nil {
			return err
		}
	}
	for _, n := range []struct {
		key   []byte
		field *uint64
	}{
		{groupKey(groupEpoch), &l.epoch},
		{groupKey(groupClusterVer), &l.version},
		{groupKey(groupRewrite), &l.rewrite},
		{metaKey(metaRewritten), &l.mark},
	} {
		v, ok, err := get(l.db, n.key)
		if err != nil {
			return err
		}
		if ok {
			if *n.field, err = decodeNumber(v); err != nil {
				return err
			}
		}
	}
	if l.version > ClusterVersion {
		return fmt.Errorf("the state is of cluster version %d, and this program follows %d at most; start the release that ran on this node before, or a later one: %w",
			l.version, ClusterVersion, &formatError{"cluster", l.version})
	}
	return nil
}

// space goes through all rows of a space. A row of a store that does not exist is a
// fault: DeleteStore leaves none.
func (l *loader) space(sp space, row func(st *storeIndex, suffix, value []byte) error) error {
	return scan(l.db, []byte{byte(sp)}, []byte{byte(sp) + 1}, func(key, value []byte) (bool, error) {
		if len(key) < prefixSize {
			return false, fmt.Errorf("%w: key %x", ErrCorrupt, key)
		}
		if l.rows++; l.rows%progressEvery == 0 {
			l.s.cfg.Log.Info("building index", "rows", l.rows)
		}
		id := StoreID(key[1:prefixSize])
		if sp == spaceStore {
			return true, l.store(id, value)
		}
		st, ok := l.stores[id]
		if !ok {
			return false, fmt.Errorf("%w: key %x of a store that does not exist", ErrCorrupt, key)
		}
		if err := row(st, key[prefixSize:], value); err != nil {
			return false, fmt.Errorf("load key %x: %w", key, err)
		}
		return true, nil
	})
}

func (l *loader) store(id StoreID, value []byte) error {
	row, err := decodeStoreRow(value)
	if err != nil {
		return err
	}
	st := newStoreIndex(id)
	st.row = row
	l.stores[id] = st
	return nil
}

func (l *loader) tally(st *storeIndex, _, value []byte) (err error) {
	st.tally, err = decodeTally(value)
	return err
}

func (l *loader) symbol(st *storeIndex, suffix, value []byte) error {
	if len(suffix) != 5 {
		return ErrCorrupt
	}
	t, name, err := decodeSymbol(value)
	if err != nil {
		return err
	}
	a := l.symbols[st.id]
	if a == nil {
		a = &model.Additions{}
		l.symbols[st.id] = a
	}
	id := binary.BigEndian.Uint32(suffix[1:])
	switch suffix[0] {
	case symbolType:
		a.Types = append(a.Types, model.TypeAddition{ID: model.TypeID(id), Name: name})
	case symbolRelation:
		a.Relations = append(a.Relations, model.RelationAddition{ID: model.RelationID(id), Type: t, Name: name})
	case symbolCondition:
		a.Conditions = append(a.Conditions, model.ConditionAddition{ID: model.ConditionID(id), Name: name})
	default:
		return fmt.Errorf("%w: symbol kind %d", ErrCorrupt, suffix[0])
	}
	return nil
}

func (l *loader) model(st *storeIndex, suffix, value []byte) error {
	if len(suffix) != len(ulid.ULID{}) {
		return ErrCorrupt
	}
	row, err := decodeModelRow(bytes.Clone(value))
	if err != nil {
		return err
	}
	if row.ordinal > 1<<31 {
		return fmt.Errorf("%w: ordinal %d", ErrCorrupt, row.ordinal)
	}
	for uint64(len(st.models)) <= row.ordinal {
		st.models = append(st.models, nil)
	}
	st.models[row.ordinal] = &Model{
		ID: ModelID(suffix), Revision: row.revision, Created: time.UnixMilli(row.time).UTC(), Source: row.source, ordinal: row.ordinal,
	}
	return nil
}

func (l *loader) sequence(st *storeIndex, suffix, value []byte) error {
	if len(suffix) != 4 {
		return ErrCorrupt
	}
	last, err := decodeNumber(value)
	st.sequences.ReplaceOrInsert(sequenceItem{model.TypeID(binary.BigEndian.Uint32(suffix)), last})
	return err
}

func (l *loader) name(st *storeIndex, suffix, value []byte) error {
	if len(suffix) < 5 {
		return ErrCorrupt
	}
	t := model.TypeID(binary.BigEndian.Uint32(suffix))
	id, created, err := decodeNameRow(t, value)
	st.putName(string(suffix[4:]), id, created)
	st.nameBytes += uint64(len(suffix) - 4)
	return err
}

// entity shares the bytes of the name with where it stands by its name.
func (l *loader) entity(st *storeIndex, suffix, value []byte) error {
	if len(suffix) != 8 {
		return ErrCorrupt
	}
	id := graph.ID(binary.BigEndian.Uint64(suffix))
	name, created, err := decodeEntityRow(value)
	if err != nil {
		return err
	}
	n, ok := st.lookup(id.Type(), name)
	if !ok || n.id != id {
		return fmt.Errorf("%w: entity %v and its name disagree", ErrCorrupt, id)
	}
	st.entities.put(st.generation, uint64(id), entityItem{n.name, created})
	return nil
}

func (l *loader) tuple(st *storeIndex, suffix, value []byte) error {
	if len(suffix) != tupleSuffixSize {
		return ErrCorrupt
	}
	row, err := decodeTupleRow(bytes.Clone(value))
	if err != nil {
		return err
	}
	u, sub := readForwardSuffix(suffix)
	edge, err := edgeOf(sub, &row)
	if err != nil {
		return err
	}
	st.putTuple(newTupleItem(u, edge, row.created, row.written))
	return nil
}

func (l *loader) document(st *storeIndex, suffix, value []byte) error {
	if len(suffix) != 8 {
		return ErrCorrupt
	}
	row, err := decodeDocumentRow(bytes.Clone(value))
	st.documents.put(st.generation, binary.BigEndian.Uint64(suffix), row)
	return err
}

func (l *loader) scope(st *storeIndex, suffix, value []byte) error {
	version, err := decodeNumber(value)
	st.scopes.ReplaceOrInsert(scopeItem{string(suffix), version})
	return err
}

func (l *loader) assertions(st *storeIndex, suffix, value []byte) error {
	if len(suffix) != len(ModelID{}) {
		return ErrCorrupt
	}
	row, err := decodeAssertionsRow(bytes.Clone(value))
	st.assertions.ReplaceOrInsert(assertionsItem{ModelID(suffix), row})
	return err
}

func (l *loader) erasure(st *storeIndex, suffix, value []byte) error {
	row, err := decodeErasureRow(bytes.Clone(value))
	if err == nil && !bytes.Equal(suffix, row.ID[:]) {
		return fmt.Errorf("%w: erasure %v", ErrCorrupt, row.ID)
	}
	st.setErasure(&row)
	return err
}

// check compares the tallies with each other and with what was loaded, and finds where
// upkeep goes on.
func (l *loader) check() error {
	var sum Hash
	for id, st := range l.stores {
		if a := l.symbols[id]; a != nil {
			if err := st.symbols.Restore(*a); err != nil {
				return fmt.Errorf("%w: symbols of store %v: %w", ErrCorrupt, id, err)
			}
		}
		sum = sum.add(st.tally.hash)
		if n := uint64(st.forward.len()); n != st.tally.tuples {
			return fmt.Errorf("%w: store %v has %d tuples, its tally says %d", ErrCorrupt, id, n, st.tally.tuples)
		}
		for _, m := range st.models {
			if m == nil {
				return fmt.Errorf("%w: store %v lacks a model", ErrCorrupt, id)
			}
		}
		if key, err := l.first(storePrefix(spaceIdempotencyAt, id)); err != nil {
			return err
		} else if key != nil {
			st.nextIdempotency = readTime(key[prefixSize:])
		}
		if key, err := l.first(storePrefix(spaceCleanup, id)); err != nil {
			return err
		} else if key != nil {
			st.nextCleanup = graph.Revision(binary.BigEndian.Uint64(key[prefixSize:]))
		}
	}
	if sum != l.applied.hash {
		return fmt.Errorf("%w: the stores' hashes sum to %v, the state's is %v", ErrCorrupt, sum, l.applied.hash)
	}
	return nil
}

func (l *loader) first(prefix []byte) (found []byte, err error) {
	err = scan(l.db, prefix, prefixEnd(prefix), func(key, _ []byte) (bool, error) {
		found = bytes.Clone(key)
		return false, nil
	})
	return found, err
}

// Recount computes the state hash anew from every live row: it equals StateHash if no
// entry is applied between the two. It reads the whole state.
func (s *State) Recount() (hash [16]byte, err error) {
	err = s.read(func(db *pebble.DB) error {
		snap := db.NewSnapshot()
		h, err := recount(snap)
		hash = h.Bytes()
		return errors.Join(err, snap.Close())
	})
	return hash, err
}

func recount(r pebble.Reader) (Hash, error) {
	var sum Hash
	for sp := spaceMeta; sp < spaceEnd; sp++ {
		if !sp.hashed() {
			continue
		}
		err := scan(r, []byte{byte(sp)}, []byte{byte(sp) + 1}, func(key, value []byte) (bool, error) {
			sum = sum.add(rowHash(key, value))
			return true, nil
		})
		if err != nil {
			return Hash{}, err
		}
	}
	return sum, nil
}
