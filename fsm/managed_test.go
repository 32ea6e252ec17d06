package fsm

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/remit-authz/remit/graph/value"
)

// planned is a command of a planner.
func planned(c *Command) *Command {
	c.Planned = true
	return c
}

// managed makes a managed store with the declared symbols.
func (m *machine) managed(n byte) StoreID {
	m.t.Helper()
	id := storeNumber(n)
	m.do(&Command{Body: &SetClusterVersion{Version: ClusterVersion}})
	m.do(&Command{Store: id, Body: &CreateStore{Name: "acme", Managed: true}})
	m.do(planned(&Command{Store: id, Body: &WriteModel{ID: modelNumber(n), Source: []byte("model"), Declarations: declared}}))
	return id
}

func (m *machine) isManaged(store StoreID) bool {
	m.t.Helper()
	st, ok := m.s.Current().Store(store)
	if !ok {
		m.t.Fatalf("store %v is missing", store)
	}
	return st.Managed()
}

func TestAManagedStoreTakesWhatItsPlannerWrites(t *testing.T) {
	m := newMachine(t)
	org, shop := m.managed(1), m.store(2)
	put := Operation{Kind: PutDocument, Entity: Entity{typeUser, "anna"}, Fields: mustFields(t, value.Map{"a": int64(1)})}
	m.do(planned(write(org, create(viewer("plan", "anna")), put)))
	if !m.isManaged(org) || m.isManaged(shop) {
		t.Fatalf("the stores are managed: %v, %v", m.isManaged(org), m.isManaged(shop))
	}
	for _, tt := range []struct {
		name    string
		command *Command
		refused bool
	}{
		{"tuples", write(org, touch(viewer("plan", "bert"))), true},
		{"the end of a tuple", write(org, remove(viewer("plan", "anna"))), true},
		{"a document", write(org, put), true},
		{"nothing", write(org), true},
		{"scopes", &Command{Store: org, Bumps: []string{"roles"}, Body: &Write{}}, true},
		{"a model", &Command{Store: org, Body: &WriteModel{ID: modelNumber(9), Declarations: declared}}, true},
		{"an entity in use", &Command{Store: org, Body: &Erase{ID: erasureNumber(1), Entity: Entity{typeUser, "anna"}}}, true},
		{"a plan for another store", planned(write(shop, touch(viewer("plan", "bert")))), true},
		{"a planned model for another store", planned(&Command{Store: shop, Body: &WriteModel{ID: modelNumber(9), Declarations: declared}}), true},
		{"a plan", planned(write(org, touch(viewer("plan", "bert")))), false},
		{"a planned model", planned(&Command{Store: org, Body: &WriteModel{ID: modelNumber(9), Declarations: declared}}), false},
		{"another store", write(shop, touch(viewer("plan", "bert"))), false},
		{"assertions", assertions(org, modelNumber(1), "x"), false},
		{"a retention", &Command{Store: org, Body: &SetRetention{Retention: Forever}}, false},
		{"expiry", &Command{Store: org, Body: &AdvanceExpiry{Horizon: epochMs}}, false},
		{"history", &Command{Store: org, Body: &AdvanceHistory{Horizon: 1}}, false},
		{"the end of the store", &Command{Store: org, Body: &DeleteStore{}}, false},
	} {
		_, before := m.s.StateHash()
		r := m.apply(tt.command)[0]
		_, after := m.s.StateHash()
		switch {
		case !tt.refused && r.Err != nil:
			t.Errorf("%s: %v", tt.name, r.Err)
		case tt.refused && !errors.Is(r.Err, ErrManaged):
			t.Errorf("%s: %v, want %v", tt.name, r.Err, ErrManaged)
		case tt.refused && after != before:
			t.Errorf("%s was refused and changed the state", tt.name)
		}
	}
	m.checkHash()
}

// Nodes that do not know managed stores would stop at them, so nobody makes one before all
// nodes do.
func TestManagedStoresWaitForTheClusterVersion(t *testing.T) {
	m := newMachine(t)
	m.do(&Command{Body: &SetClusterVersion{Version: ManagedVersion - 1}})
	shop := m.store(2)
	managed := &Command{Store: storeNumber(1), Body: &CreateStore{Name: "acme", Managed: true}}
	for _, c := range []*Command{managed, planned(write(shop, touch(viewer("plan", "anna"))))} {
		if c.ClusterVersion() != ManagedVersion {
			t.Errorf("%T needs cluster version %d, want %d", c.Body, c.ClusterVersion(), ManagedVersion)
		}
		r := m.apply(c)[0]
		var f *Refusal
		if !errors.Is(r.Err, ErrVersion) || !errors.As(r.Err, &f) || f.Version != ManagedVersion-1 {
			t.Errorf("%T: %v, want %v", c.Body, r.Err, ErrVersion)
		}
	}
	if c := write(shop); c.ClusterVersion() != 0 {
		t.Errorf("a plain write needs cluster version %d", c.ClusterVersion())
	}
	m.do(&Command{Body: &SetClusterVersion{Version: ManagedVersion}})
	m.do(managed)
}

func TestOnlyWritesArePlanned(t *testing.T) {
	for _, body := range []Body{
		&CreateStore{Name: "acme"},
		&CreateStore{Name: "acme", Managed: true},
		&DeleteStore{},
		&WriteAssertions{Model: modelNumber(1)},
		&SetRetention{},
		&AdvanceExpiry{},
		&AdvanceHistory{},
		&Erase{ID: erasureNumber(1)},
	} {
		if _, err := planned(&Command{Store: storeNumber(1), Body: body}).Encode(); !errors.Is(err, ErrInvalid) {
			t.Errorf("Encode of a planned %T = %v, want %v", body, err, ErrInvalid)
		}
	}
}

func TestWhatIsManagedCountsForRetries(t *testing.T) {
	m := newMachine(t)
	org := m.managed(1)
	keyed := func(c *Command) *Command { c.Key = "k"; return c }
	first := m.do(keyed(planned(write(org, touch(viewer("plan", "anna"))))))
	// An answer is found whoever asks, so that a retry can be told from a write.
	other := keyed(write(org, touch(viewer("plan", "anna"))))
	if r := m.apply(other)[0]; !errors.Is(r.Err, ErrIdempotencyConflict) {
		t.Errorf("the same write without a plan = %v, want %v", r.Err, ErrIdempotencyConflict)
	}
	other.Hash = [32]byte{1}
	m.do(&Command{Store: org, Principal: "p", Key: "k", Planned: true, Hash: other.Hash, Body: &Write{}})
	if r := m.apply(&Command{Store: org, Principal: "p", Key: "k", Hash: other.Hash, Body: &Write{}})[0]; r.Err != nil || !r.Replayed {
		t.Errorf("a question for an answer = %v, replayed %v", r.Err, r.Replayed)
	}
	if r := m.apply(keyed(planned(write(org, touch(viewer("plan", "anna"))))))[0]; r.Err != nil || !r.Replayed || r.Revision != first.Revision {
		t.Errorf("a retry = %v at %d, replayed %v, want the first answer of %d", r.Err, r.Revision, r.Replayed, first.Revision)
	}
	made := m.do(&Command{Store: storeNumber(7), Key: "s", Body: &CreateStore{Name: "acme", Managed: true}})
	again := m.apply(
		&Command{Store: storeNumber(8), Key: "s", Body: &CreateStore{Name: "acme", Managed: true}},
		&Command{Store: storeNumber(9), Key: "s", Body: &CreateStore{Name: "acme"}})
	if r := again[0]; r.Err != nil || !r.Replayed || r.Store != made.Store {
		t.Errorf("a retry made %v, %v, want %v", r.Store, r.Err, made.Store)
	}
	if r := again[1]; !errors.Is(r.Err, ErrIdempotencyConflict) {
		t.Errorf("another kind of store = %v, want %v", r.Err, ErrIdempotencyConflict)
	}
}

// The right to be forgotten goes as far as nothing is torn: who has left the organisation
// can be erased, with all that tells of them.
func TestWhoHasLeftAManagedStoreCanBeErased(t *testing.T) {
	m := newMachine(t)
	org := m.managed(1)
	anna := Entity{typeUser, "anna"}
	put := Operation{Kind: PutDocument, Entity: anna, Fields: mustFields(t, value.Map{"name": "Anna"})}
	short := touch(viewer("plan", "anna"))
	short.Expires = m.now + 5
	for _, step := range []struct {
		name string
		add  *Command
		take *Command
	}{
		{"a document", write(org, put), write(org, Operation{Kind: DeleteDocument, Entity: anna})},
		{"a subject", write(org, touch(viewer("plan", "anna"))), write(org, remove(viewer("plan", "anna")))},
		{"a tuple that has expired", write(org, short), nil},
	} {
		m.do(planned(step.add))
		if st, _ := m.s.Current().Store(org); !st.InUse(anna) {
			t.Errorf("%s is no use", step.name)
		}
		m.now += 10
		erase := &Command{Store: org, Body: &Erase{ID: erasureNumber(1), Entity: anna}}
		if r := m.apply(erase)[0]; !errors.Is(r.Err, ErrManaged) {
			t.Errorf("erasing with %s = %v, want %v", step.name, r.Err, ErrManaged)
		}
		if step.take != nil {
			m.do(planned(step.take))
			continue
		}
		m.do(&Command{Store: org, Body: &AdvanceExpiry{Horizon: m.now}})
	}
	if st, _ := m.s.Current().Store(org); st.InUse(anna) || st.InUse(Entity{typeUser, "nobody"}) {
		t.Error("who has left is in use")
	}
	erase := &Erase{ID: erasureNumber(1), Entity: anna, Limit: 3}
	for m.do(&Command{Store: org, Body: erase}).Remaining {
		erase = &Erase{ID: erasureNumber(1), Limit: 3}
		if r := m.apply(planned(write(org, put)))[0]; !errors.Is(r.Err, ErrErasing) {
			t.Fatalf("a write of who is being erased = %v, want %v", r.Err, ErrErasing)
		}
	}
	if rows := rowsWith(t, m.s, "anna"); len(rows) > 0 {
		t.Errorf("the name stands in %q", rows)
	}
	m.checkHash()
}

// A version counts the changes of a document for as long as the store knows the name. Whoever
// rests on one of an entity that is erased, and made again, is told so by the scope.
func TestAPlanFromBeforeAnErasureIsRefused(t *testing.T) {
	for _, limit := range []uint64{0, 1, 2} {
		m := newMachine(t)
		org := m.managed(1)
		anna := Entity{typeUser, "anna"}
		erased := func() uint64 {
			t.Helper()
			st, _ := m.s.Current().Store(org)
			return st.ScopeVersion(ErasedScope)
		}
		write := func(o ...Operation) *Command { return planned(write(org, o...)) }
		put := Operation{Kind: PutDocument, Entity: anna, Fields: mustFields(t, value.Map{"name": "Anna"})}
		m.do(write(put, touch(viewer("plan", "anna"))))
		if v := erased(); v != 0 {
			t.Fatalf("before any erasure the scope is %d", v)
		}

		// It rests on anna's first document, and on nothing else.
		stale := write(put, touch(viewer("memo", "anna")))
		stale.Preconditions = []Precondition{{Kind: DocumentVersion, Entity: anna, Version: 1}}
		guarded := *stale
		guarded.Requires = []ScopeVersion{{ErasedScope, erased()}}

		m.do(write(remove(viewer("plan", "anna")), Operation{Kind: DeleteDocument, Entity: anna}))
		step := begin(org, 1, anna)
		step.Body.(*Erase).Limit = limit
		for steps := 1; ; steps++ {
			r := m.do(step)
			if r := m.apply(&guarded)[0]; !errors.Is(r.Err, ErrScope) {
				t.Fatalf("steps of %d, after %d: the plan = %v, want %v", limit, steps, r.Err, ErrScope)
			}
			// Who erases does not stand in the way of who plans meanwhile, but for the first step.
			now := write() // what it wrote would have to be looked at, too, without end
			now.Requires = []ScopeVersion{{ErasedScope, 1}}
			m.do(now)
			if !r.Remaining {
				break
			}
			step = &Command{Store: org, Body: &Erase{ID: erasureNumber(1), Limit: limit}}
		}
		m.do(step) // a step that comes again, when all is over
		m.do(write(put))
		if r := m.apply(&guarded)[0]; !errors.Is(r.Err, ErrScope) {
			t.Errorf("steps of %d: the plan of the one who was erased = %v, want %v", limit, r.Err, ErrScope)
		}
		if r := m.apply(stale)[0]; r.Err != nil {
			t.Errorf("steps of %d: without the scope = %v: another version tells them apart already", limit, r.Err)
		}
		if v := erased(); v != 1 {
			t.Errorf("steps of %d: one erasure makes the scope %d", limit, v)
		}
		m.checkHash()
	}
}

// A scope tells of erasures only where a plan can rest on what they forget.
func TestTheScopeOfErasuresRisesForWhatIsForgotten(t *testing.T) {
	m := newMachine(t)
	org, shop := m.managed(1), m.store(2)
	anna, bert := Entity{typeUser, "anna"}, Entity{typeUser, "bert"}
	put := Operation{Kind: PutDocument, Entity: anna, Fields: mustFields(t, nil)}
	m.do(planned(write(org, put, touch(viewer("plan", "bert")))))
	m.do(planned(write(org, Operation{Kind: DeleteDocument, Entity: anna}, remove(viewer("plan", "bert")))))
	m.do(write(shop, put))
	for i, tt := range []struct {
		name  string
		store StoreID
		who   Entity
		want  uint64
	}{
		{"a name that the store does not know", org, Entity{typeUser, "nobody"}, 0},
		{"who had tuples alone", org, bert, 0},
		{"who had a document", org, anna, 1},
		{"the same name, which is no more", org, anna, 1},
		{"who has a document in a store of tuples", shop, anna, 0},
	} {
		m.eraseAll(begin(tt.store, byte(i+1), tt.who), 1)
		if st, _ := m.s.Current().Store(tt.store); st.ScopeVersion(ErasedScope) != tt.want {
			t.Errorf("after %s the scope is %d, want %d", tt.name, st.ScopeVersion(ErasedScope), tt.want)
		}
	}
	m.checkHash()
	m.reopen()
	m.checkHash()
	if st, _ := m.s.Current().Store(org); st.ScopeVersion(ErasedScope) != 1 {
		t.Errorf("after a restart the scope is %d, want 1", st.ScopeVersion(ErasedScope))
	}
}

func TestAManagedStoreStaysManaged(t *testing.T) {
	m := newMachine(t)
	org := m.managed(1)
	m.store(2)
	m.do(planned(write(org, touch(viewer("plan", "anna")))))
	m.do(&Command{Store: org, Body: &SetRetention{Retention: Forever}})
	m.do(&Command{Store: org, Body: &SetRetention{}})
	m.do(&Command{Store: org, Body: &AdvanceExpiry{Horizon: m.now}})
	raw := write(org, touch(viewer("plan", "bert")))
	refused := func(what string, m *machine) {
		t.Helper()
		if r := m.apply(raw)[0]; !errors.Is(r.Err, ErrManaged) || !m.isManaged(org) || m.isManaged(storeNumber(2)) {
			t.Errorf("%s: a raw write = %v, managed %v; want %v", what, r.Err, m.isManaged(org), ErrManaged)
		}
	}
	refused("as it was made", m)
	m.reopen()
	refused("after a restart", m)

	meta := snapshot(t, m.s, m.index)
	other := newMachine(t)
	id, err := receive(other.s, meta.Index, meta.Term, stream(t, m.s, meta.ID))
	if err != nil {
		t.Fatal(err)
	}
	restore(t, other.s, id)
	other.index, other.now = m.index, m.now
	refused("after a snapshot", other)

	if err := m.s.Fork("fork"); err != nil {
		t.Fatal(err)
	}
	s, err := Open(Config{Dir: "fork", FS: m.fs, CacheBytes: 1 << 20, MemTableBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	refused("in a fork", &machine{t: t, s: s, index: m.index, now: m.now})

	d := &BackupDir{fs: m.fs, dir: "far/backups"}
	saved, _, _ := save(t, m.s, d, 0, false)
	if err := d.Verify(t.Context(), nil, nil); err != nil {
		t.Error(err)
	}
	refused("in a backup", &machine{t: t, s: restored(t, d, saved), index: m.index, now: m.now})

	// Another node comes to the same by the same log.
	replayed := openState(t, vfs.NewMem())
	for _, l := range m.logs {
		replayed.Apply(l)
	}
	if err := sameHash(m.s, replayed); err != nil {
		t.Error(err)
	}
}
