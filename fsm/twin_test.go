package fsm

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/condition"
	"github.com/remit-authz/remit/graph/model"
)

// A twin is the plain model of the state machine: maps, copied whole at every revision.
type twin struct {
	stores map[StoreID]*twinStore
	past   map[graph.Revision]map[StoreID]*twinStore
	times  map[graph.Revision]int64
}

type twinStore struct {
	tuples        map[TupleKey]twinTuple
	since         map[TupleKey]graph.Revision // of tuples, and of those that are gone
	documents     map[Entity]twinDocument
	versions      map[Entity]uint64
	scopes        map[string]uint64
	assertions    map[ModelID]string
	horizon       graph.Revision
	expiryHorizon int64
	retention     int64
	model         bool
	managed       bool
	changes       []twinChange
	erasing       *Entity
}

type twinChange struct {
	revision graph.Revision
	kind     ChangeKind
	object   model.TypeID // of tuples
	who      string

	about   []Entity
	content string // of a context or a document

	anywhere bool // at the revision: ids order what expires
}

func (c twinChange) String() string { return fmt.Sprint(c.revision, " ", c.kind, " by ", c.who) }

type twinTuple struct {
	condition uint32
	context   string
	expires   int64
	written   int64
}

type twinDocument struct {
	version uint64
	fields  string
}

func newTwin() *twin {
	return &twin{stores: map[StoreID]*twinStore{}, past: map[graph.Revision]map[StoreID]*twinStore{}, times: map[graph.Revision]int64{}}
}

func (s *twinStore) copy() *twinStore {
	return &twinStore{
		tuples: maps.Clone(s.tuples), since: maps.Clone(s.since), documents: maps.Clone(s.documents), versions: maps.Clone(s.versions),
		scopes: maps.Clone(s.scopes), assertions: maps.Clone(s.assertions), horizon: s.horizon, model: s.model, changes: slices.Clone(s.changes),
	}
}

func (w *twin) record(rev graph.Revision, now int64) {
	all := map[StoreID]*twinStore{}
	for id, s := range w.stores {
		all[id] = s.copy()
	}
	w.past[rev], w.times[rev] = all, now
}

// apply does what the command says, or gives the reason why it is refused.
func (w *twin) apply(c *Command, rev graph.Revision, now int64) error {
	before := 0
	if s := w.stores[c.Store]; s != nil {
		before = len(s.changes)
	}
	err := w.carryOut(c, rev, now)
	if s := w.stores[c.Store]; s != nil {
		for i := min(before, len(s.changes)); i < len(s.changes); i++ {
			s.changes[i].who = c.Principal
		}
	}
	return err
}

func (w *twin) carryOut(c *Command, rev graph.Revision, now int64) error {
	s := w.stores[c.Store]
	if _, makes := c.Body.(*CreateStore); s == nil && !makes {
		return ErrStoreNotFound
	}
	switch c.Body.(type) {
	case *Write, *WriteModel:
		if c.Planned != s.managed {
			return ErrManaged
		}
	}
	switch b := c.Body.(type) {
	case *CreateStore:
		if s != nil {
			return ErrStoreExists
		}
		w.stores[c.Store] = &twinStore{
			tuples: map[TupleKey]twinTuple{}, since: map[TupleKey]graph.Revision{}, documents: map[Entity]twinDocument{}, versions: map[Entity]uint64{},
			scopes: map[string]uint64{}, assertions: map[ModelID]string{}, horizon: rev, managed: b.Managed,
		}
		w.stores[c.Store].note(rev, StoreCreated, 0)
	case *DeleteStore:
		delete(w.stores, c.Store)
	case *WriteModel:
		if s.model {
			return ErrModelExists
		}
		s.model = true
		s.note(rev, ModelWritten, 0)
	case *WriteAssertions:
		if !s.model || b.Model != modelNumber(1) {
			return ErrModelNotFound
		}
		if _, ok := s.assertions[b.Model]; len(b.Content) > 0 {
			s.assertions[b.Model] = string(b.Content)
			s.note(rev, AssertionsWritten, 0)
		} else if ok {
			delete(s.assertions, b.Model)
			s.note(rev, AssertionsRemoved, 0)
		}
	case *AdvanceHistory:
		if b.Horizon > rev || s.retention == Forever && b.Horizon > s.horizon {
			return ErrHorizon
		}
		s.horizon = max(s.horizon, b.Horizon)
	case *SetRetention:
		if s.retention != b.Retention {
			s.retention = b.Retention
			s.note(rev, RetentionSet, 0)
		}
	case *AdvanceExpiry:
		if b.Horizon > now {
			return ErrHorizon
		}
		if b.Horizon < s.expiryHorizon {
			return nil // what expired before and was written since waits for the next
		}
		s.expiryHorizon = b.Horizon
		for k, t := range s.tuples {
			if t.expires != 0 && t.expires <= b.Horizon {
				delete(s.tuples, k)
				c := s.note(rev, TupleExpired, k.Object.Type)
				c.of(t.context, k.Object, k.Subject)
				c.anywhere = true
			}
		}
	case *Write:
		return s.write(c, b, rev, now)
	default:
		return ErrInvalid
	}
	return nil
}

// plan makes a random command one of the store's planner, if the store has one; now and then
// it is one that the store does not take.
func (w *twin) plan(r *chance, c *Command) *Command {
	switch b := c.Body.(type) {
	case *CreateStore:
		b.Managed = r.IntN(2) == 0
	case *Write:
		s := w.stores[c.Store]
		c.Planned = (s != nil && s.managed) != (r.IntN(20) == 0)
	}
	return c
}

// uses reports whether the head has something of an entity's own.
func (s *twinStore) uses(e Entity) bool {
	_, found := s.documents[e]
	for k := range s.tuples {
		found = found || k.Object == e || k.Subject == e
	}
	return found
}

func (s *twinStore) note(rev graph.Revision, kind ChangeKind, object model.TypeID) *twinChange {
	s.changes = append(s.changes, twinChange{revision: rev, kind: kind, object: object})
	return &s.changes[len(s.changes)-1]
}

// of says whom a change tells of.
func (c *twinChange) of(content string, about ...Entity) { c.content, c.about = content, about }

func (s *twinStore) write(c *Command, b *Write, rev graph.Revision, now int64) error {
	present := func(k TupleKey) bool {
		t, ok := s.tuples[k]
		return ok && (t.expires == 0 || t.expires > now)
	}
	for _, r := range c.Requires {
		if s.scopes[r.Scope] != r.Version {
			return ErrScope
		}
	}
	for _, p := range c.Preconditions {
		switch {
		case p.Kind == TuplePresent && !present(p.Tuple), p.Kind == TupleAbsent && present(p.Tuple):
			return ErrPrecondition
		case p.Kind == TupleRevision && uint64(s.revision(p.Tuple)) != p.Version:
			return ErrPrecondition
		case p.Kind == DocumentVersion && s.documents[p.Entity].version != p.Version:
			return ErrPrecondition
		}
	}
	seen := map[any]bool{}
	var again []TupleKey // what is ensured and there already
	for _, o := range b.Operations {
		var name any = o.Tuple
		if o.Kind == PutDocument || o.Kind == DeleteDocument {
			name = o.Entity
		}
		switch old := s.tuples[o.Tuple]; {
		case !s.model:
			return ErrSymbol
		case seen[name]:
			return ErrDuplicate
		case o.Kind == CreateTuple && present(o.Tuple):
			return ErrTupleExists
		case o.Kind == RemoveTuple && !present(o.Tuple):
			return ErrTupleNotFound
		case o.Kind == EnsureTuple && present(o.Tuple):
			if old != (twinTuple{uint32(o.Condition), string(o.Context), o.Expires, old.written}) {
				return ErrTupleDiffers
			}
			again = append(again, o.Tuple)
		case s.erasing != nil && named(&o, *s.erasing):
			return ErrErasing
		}
		seen[name] = true
	}
	for _, scope := range c.Bumps {
		s.scopes[scope]++
	}
	for _, o := range b.Operations {
		switch o.Kind {
		case CreateTuple, TouchTuple, EnsureTuple:
			if !slices.Contains(again, o.Tuple) {
				s.tuples[o.Tuple] = twinTuple{uint32(o.Condition), string(o.Context), o.Expires, now}
				s.since[o.Tuple] = rev
				s.note(rev, TuplePut, o.Tuple.Object.Type).of(string(o.Context), o.Tuple.Object, o.Tuple.Subject)
			}
		case DeleteTuple, RemoveTuple:
			if old, ok := s.tuples[o.Tuple]; ok {
				delete(s.tuples, o.Tuple)
				s.note(rev, TupleDeleted, o.Tuple.Object.Type).of(old.context, o.Tuple.Object, o.Tuple.Subject)
			}
		case PutDocument:
			s.versions[o.Entity]++
			s.documents[o.Entity] = twinDocument{s.versions[o.Entity], string(o.Fields)}
			s.note(rev, DocumentPut, 0).of(string(o.Fields), o.Entity)
		case DeleteDocument:
			if _, ok := s.documents[o.Entity]; ok {
				delete(s.documents, o.Entity)
				s.note(rev, DocumentDeleted, 0).of("", o.Entity)
			}
		}
	}
	return nil
}

// revision is that of the write that made a tuple as it is, 0 if it is not there.
func (s *twinStore) revision(k TupleKey) graph.Revision {
	if _, ok := s.tuples[k]; !ok {
		return 0
	}
	return s.since[k]
}

// snapshotOf reads a whole view into the shape of the twin, by every way there is, and
// fails if the ways disagree.
func snapshotOf(t testing.TB, v graph.Scanner) (map[TupleKey]twinTuple, map[Entity]twinDocument) {
	t.Helper()
	entity := func(id graph.ID) Entity {
		name, err := v.Name(id)
		if err != nil {
			t.Fatal(err)
		}
		back, ok, err := v.Lookup(id.Type(), name)
		if err != nil || !ok || back != id {
			t.Fatalf("Lookup(%q) = %v %v %v, want %v", name, back, ok, err, id)
		}
		return Entity{id.Type(), name}
	}
	tuples := map[TupleKey]twinTuple{}
	type forwardList map[graph.Userset][]graph.Edge
	type heldBy struct {
		relation model.RelationID
		subject  graph.Subject
	}
	subjects, objects := forwardList{}, map[heldBy][]graph.Edge{}
	var last *graph.Row
	c := &graph.RowCursor{}
	for !c.Done {
		if err := v.Rows(c); err != nil {
			t.Fatal(err)
		}
		for _, row := range c.Rows {
			if last != nil && bytes.Compare(forwardSuffix(nil, last.Userset, last.Edge.Subject), forwardSuffix(nil, row.Userset, row.Edge.Subject)) >= 0 {
				t.Fatalf("rows out of order: %v then %v", last, row)
			}
			row := row
			last = &row
			e := row.Edge
			k := TupleKey{entity(row.Userset.Object), row.Userset.Relation, entity(e.Subject.ID), e.Subject.Relation}
			tuples[k] = twinTuple{uint32(e.Condition), string(contextBytes(e.Context)), e.Expires, row.Written}
			subjects[row.Userset] = append(subjects[row.Userset], e)
			back := e
			back.Subject = graph.Subject{ID: row.Userset.Object}
			at := heldBy{row.Userset.Relation, e.Subject}
			objects[at] = append(objects[at], back)
			got, ok, err := v.Contains(row.Userset, e.Subject)
			if err != nil || !ok {
				t.Fatalf("Contains(%v, %v) = %v, %v", row.Userset, e.Subject, ok, err)
			}
			if diff := gocmp.Diff([]graph.Edge{e}, []graph.Edge{got}, compareEdges); diff != "" {
				t.Fatalf("Contains (-want +got):\n%s", diff)
			}
		}
	}
	for u, want := range subjects {
		got := pages(t, func(c *graph.Cursor) error { return v.Subjects(u, c) })
		if diff := gocmp.Diff(want, got, compareEdges); diff != "" {
			t.Fatalf("Subjects(%v) (-want +got):\n%s", u, diff)
		}
	}
	for at, want := range objects {
		slices.SortFunc(want, func(a, b graph.Edge) int { return cmp.Compare(a.Subject.ID, b.Subject.ID) })
		got := pages(t, func(c *graph.Cursor) error { return v.Objects(at.relation, at.subject, c) })
		if diff := gocmp.Diff(want, got, compareEdges); diff != "" {
			t.Fatalf("Objects(%v) (-want +got):\n%s", at, diff)
		}
	}
	documents := map[Entity]twinDocument{}
	for _, name := range []string{"plan", "x", "a|b/c.d@e"} {
		id, ok, err := v.Lookup(typeDocument, name)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			continue
		}
		d, ok, err := v.Document(id)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			documents[Entity{typeDocument, name}] = twinDocument{d.Version, string(mustFields(t, d.Fields))}
		}
	}
	return tuples, documents
}

var compareEdges = gocmp.Comparer(func(a, b *condition.Context) bool { return string(contextBytes(a)) == string(contextBytes(b)) })

// pages reads everything through small pages.
func pages(t testing.TB, read func(*graph.Cursor) error) []graph.Edge {
	t.Helper()
	var all []graph.Edge
	c := &graph.Cursor{}
	for !c.Done {
		c.Buffer = nil
		if err := read(c); err != nil {
			t.Fatal(err)
		}
		all = append(all, c.Edges...)
	}
	return all
}

func (w *twinStore) compare(t testing.TB, what string, v graph.Scanner) {
	t.Helper()
	tuples, documents := snapshotOf(t, v)
	opts := gocmp.AllowUnexported(twinTuple{}, twinDocument{})
	if diff := gocmp.Diff(w.tuples, tuples, opts); diff != "" {
		t.Fatalf("%s: tuples (-want +got):\n%s", what, diff)
	}
	if diff := gocmp.Diff(w.documents, documents, opts); diff != "" {
		t.Fatalf("%s: documents (-want +got):\n%s", what, diff)
	}
}

// compareAll compares the head, and every revision that is kept.
func (w *twin) compareAll(t testing.TB, s *State) {
	t.Helper()
	root := s.Current()
	for id, want := range w.stores {
		st, ok := root.Store(id)
		if !ok {
			t.Fatalf("store %v is missing", id)
		}
		want.compare(t, "head", st.View())
		if got := st.TupleCount(); got != uint64(len(want.tuples)) {
			t.Fatalf("tuple count %d, want %d", got, len(want.tuples))
		}
		if got := st.Retention(); got != want.retention && (want.retention != 0 || got != DefaultRetention) {
			t.Fatalf("retention %d, want %d", got, want.retention)
		}
		if st.Managed() != want.managed {
			t.Fatalf("store %v is managed: %v, want %v", id, st.Managed(), want.managed)
		}
		for scope, v := range want.scopes {
			if got := st.ScopeVersion(scope); got != v {
				t.Fatalf("scope %s at %d, want %d", scope, got, v)
			}
		}
		if got, ok := st.Assertions(modelNumber(1)); string(got) != want.assertions[modelNumber(1)] || ok != (len(want.assertions) > 0) {
			t.Fatalf("assertions %q, %v, want %v", got, ok, want.assertions)
		}
		for rev := want.horizon; rev <= root.revision; rev++ {
			then, ok := w.past[rev][id]
			if !ok {
				continue
			}
			p, err := s.ViewAt(id, rev)
			if err != nil {
				t.Fatal(err)
			}
			if got := p.Time().UnixMilli(); got != w.times[rev] {
				t.Fatalf("time at %d is %d, want %d", rev, got, w.times[rev])
			}
			then.compare(t, fmt.Sprintf("store %v at %d", id, rev), p)
		}
		if want.horizon > 0 {
			if _, err := s.ViewAt(id, want.horizon-1); err == nil {
				t.Fatalf("revision %d is still shown", want.horizon-1)
			}
		}
		w.compareChanges(t, s, st, want.changes)
	}
	checkHash(t, s)
}

// compareChanges reads the kept changes whole, and by page of each filter, from the
// horizon and from instants.
func (w *twin) compareChanges(t testing.TB, s *State, st *Store, all []twinChange) {
	t.Helper()
	horizon := st.HistoryHorizon()
	for _, q := range []ChangeQuery{
		{After: EndOf(horizon)},
		{After: EndOf(horizon), Limit: 3},
		{After: EndOf(horizon), Tuples: true, Limit: 2},
		{After: EndOf(horizon), Type: typeDocument, Limit: 1},
		{After: EndOf(horizon), Type: typeGroup},
		{After: EndOf(horizon), Type: typeUser},
	} {
		compareLines(t, s, st.ID(), q, all, func(c twinChange) bool { return c.revision > horizon })
	}
	latest := w.times[s.Current().revision]
	for at := latest - 5; at <= latest+1; at++ {
		before := graph.Revision(0)
		for rev, ms := range w.times {
			if ms < at {
				before = max(before, rev)
			}
		}
		q := ChangeQuery{Since: time.UnixMilli(at), Limit: 2}
		if before < horizon && horizon > st.CreatedRevision() {
			if _, err := s.Changes(st.ID(), q); !errors.Is(err, ErrRevisionGone) {
				t.Fatalf("Changes since %d = %v, want %v", at, err, ErrRevisionGone)
			}
			continue
		}
		compareLines(t, s, st.ID(), q, all, func(c twinChange) bool { return w.times[c.revision] >= at })
	}
}

func compareLines(t testing.TB, s *State, id StoreID, q ChangeQuery, all []twinChange, kept func(twinChange) bool) {
	t.Helper()
	var expect, got []string
	unordered := map[graph.Revision]bool{}
	for _, c := range all {
		unordered[c.revision] = unordered[c.revision] || c.anywhere
	}
	add := func(lines []string, c twinChange) []string {
		lines = append(lines, c.String())
		for i := len(lines) - 1; unordered[c.revision] && i > 0 && lines[i] < lines[i-1] && strings.HasPrefix(lines[i-1], fmt.Sprint(c.revision, " ")); i-- {
			lines[i], lines[i-1] = lines[i-1], lines[i]
		}
		return lines
	}
	for _, c := range all {
		if kept(c) && (q.Type == 0 || c.object == q.Type) && (!q.Tuples || c.object != 0) {
			expect = add(expect, c)
		}
	}
	for _, c := range allChanges(t, s, id, q) {
		got = add(got, twinChange{revision: c.Revision, kind: c.Kind, who: c.Principal})
	}
	if diff := gocmp.Diff(expect, got); diff != "" {
		t.Fatalf("changes of %+v (-want +got):\n%s", q, diff)
	}
}

// allChanges reads page by page, and names whatever stands in them.
func allChanges(t testing.TB, s *State, id StoreID, q ChangeQuery) (all []*Change) {
	t.Helper()
	for {
		page, err := s.Changes(id, q)
		if err != nil {
			t.Fatal(err)
		}
		st, _ := page.Root.Store(id)
		for _, c := range page.Changes {
			for _, e := range []graph.ID{c.Tuple.Userset.Object, c.Tuple.Edge.Subject.ID, c.Entity} {
				if name, err := st.Name(e); e != 0 && (err != nil || name == "") {
					t.Fatalf("change %+v: the name of %v is %q, %v", c, e, name, err)
				}
			}
		}
		if q.Limit > 0 && len(page.Changes) > q.Limit {
			t.Fatalf("a page of %d changes, want %d at most", len(page.Changes), q.Limit)
		}
		all = append(all, page.Changes...)
		q.After, q.Since = page.Next, time.Time{}
		if !page.More {
			return all
		}
	}
}

func volume(small, all int) int {
	if os.Getenv("REMIT_TEST_ALL") != "" {
		return all
	}
	return small
}

func TestStateAgreesWithItsTwin(t *testing.T) {
	for range volume(4, 100) {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) { runTwin(t, seed, volume(120, 400)) })
	}
}

func runTwin(t *testing.T, seed uint64, entries int) {
	r := &chance{rand.New(rand.NewPCG(seed, 0)), t}
	m, w := newMachine(t), newTwin()
	x := &eraser{chance: r, twin: w, done: map[ErasureID]bool{}}
	restart := r.IntN(entries)
	due := false // a comparison, which waits for an erasure
	m.do(&Command{Body: &SetClusterVersion{Version: ManagedVersion}})
	for i := 0; i < entries || x.active(); i++ {
		rev := graph.Revision(m.index + 1)
		m.now += int64(r.IntN(3))
		now := max(m.now+1, m.s.Current().Time().UnixMilli())
		var commands []*Command
		for _, n := range []byte{0, 1} {
			if s := w.stores[storeNumber(n)]; s == nil || !s.model {
				managed := r.IntN(2) == 0
				commands = append(commands,
					&Command{Store: storeNumber(n), Body: &CreateStore{Name: "acme", Managed: managed}},
					&Command{Store: storeNumber(n), Planned: managed, Body: &WriteModel{ID: modelNumber(1), Source: []byte("m"), Declarations: declared}})
			}
		}
		steps := x.commands(i < entries)
		for range 1 + r.IntN(3) {
			commands = append(commands, x.avoid(w.plan(r, r.command(rev, now))))
			if len(steps) > 0 && r.IntN(2) == 0 {
				commands, steps = append(commands, steps[0]), steps[1:]
			}
		}
		commands = append(commands, steps...)
		results := m.apply(commands...)
		for j, c := range commands {
			var want error
			if _, ok := c.Body.(*Erase); ok {
				want = x.apply(c, results[j], rev)
			} else {
				want = w.apply(c, rev, now)
			}
			if got := results[j].Err; !errors.Is(got, want) {
				t.Fatalf("entry %d command %d (%T): %v, want %v", i, j, c.Body, got, want)
			}
		}
		w.record(rev, now)
		if i == restart {
			m.reopen()
		}
		if due = due || i%40 == 0; due && !x.active() {
			w.compareAll(t, m.s)
			due = false
		}
	}
	w.compareAll(t, m.s)
	replay(t, m, r)
}

// replay applies the same log in batches and entry by entry, with restarts in between:
// each way must end in the same state, answers included.
func replay(t *testing.T, m *machine, r *chance) {
	t.Helper()
	_, want := m.s.StateHash()
	for _, size := range []int{1, 7, len(m.logs)} {
		fs := vfs.NewMem()
		s := openState(t, fs)
		for logs := m.logs; len(logs) > 0; {
			n := min(1+r.IntN(size), len(logs))
			if size == len(m.logs) {
				n = size
			}
			s.ApplyBatch(logs[:n])
			logs = logs[n:]
			if r.IntN(20) == 0 {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = openState(t, fs)
			}
		}
		if _, got := s.StateHash(); got != want {
			t.Fatalf("replay in batches of %d: hash %x, want %x", size, got, want)
		}
		checkHash(t, s)
		sameRows(t, m.s, s)
	}
}

// sameRows compares every row but those that depend on how entries were batched.
func sameRows(t *testing.T, a, b *State) {
	t.Helper()
	dump := func(s *State) map[string]string {
		rows := map[string]string{}
		err := scan(s.db, []byte{byte(spaceGroup)}, []byte{byte(spaceEnd)}, func(key, value []byte) (bool, error) {
			rows[fmt.Sprintf("%x", key)] = fmt.Sprintf("%x", value)
			return true, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return rows
	}
	if diff := gocmp.Diff(dump(a), dump(b)); diff != "" {
		t.Fatalf("rows differ (-want +got):\n%s", diff)
	}
}

// Keys are forgotten by entries, however these come in batches: some are used again after
// they are forgotten, some as long as they are kept, and some never, of which at times more
// are due than an entry forgets.
func TestIdempotencyRowsDoNotDependOnBatches(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	used := map[string]bool{}
	under := func(key string) *Command {
		c := write(store, touch(viewer("plan", fmt.Sprint(len(used)%7))))
		c.Key, used[key] = key, true
		return c
	}
	var last *Command
	for i := range 300 {
		m.now += idempotencyRetention / 100
		if i%9 > 5 || i > 270 { // nothing is changed, and so nothing is forgotten
			m.apply(last)
			continue
		}
		last = under(fmt.Sprint("again", i%90))
		commands := []*Command{last, last, under(fmt.Sprint("late", i%110))}
		for n := 0; i%70 == 0 && n < 3*idempotencyPerEntry; n++ {
			commands = append(commands, under(fmt.Sprint("once", i, n)))
		}
		m.apply(commands...)
	}
	rows := 0
	prefix := storePrefix(spaceIdempotency, store)
	if err := scan(m.s.db, prefix, prefixEnd(prefix), func(_, _ []byte) (bool, error) { rows++; return true, nil }); err != nil {
		t.Fatal(err)
	}
	if rows == 0 || rows > len(used)-3*idempotencyPerEntry {
		t.Errorf("%d of %d keys are remembered, want some to be forgotten", rows, len(used))
	}
	replay(t, m, &chance{rand.New(rand.NewPCG(1, 1)), t})
}

func TestRevisionAt(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	a := m.do(write(store, create(viewer("plan", "anna"))))
	m.now += 100
	b := m.do(write(store, create(viewer("plan", "bert"))))
	for _, tt := range []struct {
		at   int64
		want graph.Revision
	}{{a.Time, a.Revision}, {b.Time - 1, a.Revision}, {b.Time, b.Revision}, {b.Time + 5, b.Revision}} {
		got, err := m.s.RevisionAt(time.UnixMilli(tt.at))
		if err != nil || got != tt.want {
			t.Errorf("RevisionAt(%d) = %d, %v, want %d", tt.at, got, err, tt.want)
		}
	}
	if _, err := m.s.RevisionAt(time.UnixMilli(1)); err == nil {
		t.Error("an instant before everything has a revision")
	}
}
