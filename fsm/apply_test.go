package fsm

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/hashicorp/raft"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/value"
)

// has asks the head whether a tuple is there.
func (m *machine) has(store StoreID, k TupleKey) bool {
	m.t.Helper()
	st, ok := m.s.Current().Store(store)
	if !ok {
		m.t.Fatal("store not found")
	}
	return contains(m.t, st, k)
}

func contains(t testing.TB, v graph.View, k TupleKey) bool {
	t.Helper()
	object, ok, err := v.Lookup(k.Object.Type, k.Object.Name)
	if err != nil {
		t.Fatal(err)
	}
	subject, ok2, err := v.Lookup(k.Subject.Type, k.Subject.Name)
	if err != nil {
		t.Fatal(err)
	}
	if !ok || !ok2 {
		return false
	}
	_, found, err := v.Contains(graph.Userset{Object: object, Relation: k.Relation}, graph.Subject{ID: subject, Relation: k.SubjectRelation})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestRefusals(t *testing.T) {
	plan, other, bound := viewer("plan", "anna"), viewer("plan", "bert"), viewer("bound", "anna")
	store := storeNumber(1)
	tests := []struct {
		name    string
		command *Command
		want    error
		index   int
	}{
		{"a store's id is used once", &Command{Store: store, Body: &CreateStore{Name: "x"}}, ErrStoreExists, -1},
		{"an unknown store cannot be written", write(storeNumber(9), create(plan)), ErrStoreNotFound, -1},
		{"an unknown store cannot be deleted", &Command{Store: storeNumber(9), Body: &DeleteStore{}}, ErrStoreNotFound, -1},
		{"a model's id is used once", &Command{Store: store, Body: &WriteModel{ID: modelNumber(1)}}, ErrModelExists, -1},
		{"create refuses what exists", write(store, touch(other), create(plan)), ErrTupleExists, 1},
		{"ensure refuses another condition", write(store, touch(other), ensure(plan, func(o *Operation) { o.Condition = conditionOne })), ErrTupleDiffers, 1},
		{"ensure refuses another expiry", write(store, ensure(plan, func(o *Operation) { o.Expires = 1 << 60 })), ErrTupleDiffers, 0},
		{"ensure refuses another context", write(store, ensure(bound, func(o *Operation) { o.Condition = conditionOne })), ErrTupleDiffers, 0},
		{"remove refuses what is absent", write(store, touch(other), take(viewer("none", "anna"))), ErrTupleNotFound, 1},
		{"the first fault counts", write(store, take(other), create(plan)), ErrTupleNotFound, 0},
		{"a tuple is not removed and made", write(store, take(plan), create(plan)), ErrDuplicate, 1},
		{
			"assertions belong to a model",
			&Command{Store: store, Body: &WriteAssertions{Model: modelNumber(9), Content: []byte("x")}}, ErrModelNotFound, -1,
		},
		{
			"assertions belong to a store",
			&Command{Store: storeNumber(9), Body: &WriteAssertions{Model: modelNumber(1)}}, ErrStoreNotFound, -1,
		},
		{"a tuple stands in one operation", write(store, touch(other), remove(other)), ErrDuplicate, 1},
		{
			"a document stands in one operation",
			write(store, Operation{Kind: DeleteDocument, Entity: plan.Object}, Operation{Kind: DeleteDocument, Entity: plan.Object}), ErrDuplicate, 1,
		},
		{"a relation belongs to its type", write(store, touch(TupleKey{plan.Object, relMember, plan.Subject, 0})), ErrSymbol, 0},
		{"a subject's type is known", write(store, touch(TupleKey{plan.Object, relViewer, Entity{9, "x"}, 0})), ErrSymbol, 0},
		{"a subject's relation belongs to its type", write(store, touch(TupleKey{plan.Object, relViewer, plan.Subject, relMember})), ErrSymbol, 0},
		{"a condition is known", write(store, Operation{Kind: TouchTuple, Tuple: plan, Condition: 2}), ErrSymbol, 0},
		{"a context is canonical", write(store, Operation{Kind: TouchTuple, Tuple: plan, Condition: conditionOne, Context: []byte{0xff}}), ErrInvalid, 0},
		{"a document is canonical", write(store, Operation{Kind: PutDocument, Entity: plan.Object, Fields: []byte{0xff}}), ErrInvalid, 0},
		{
			"a tuple must be absent",
			&Command{Store: store, Preconditions: []Precondition{{Kind: TupleAbsent, Tuple: plan}}, Body: &Write{}}, ErrPrecondition, 0,
		},
		{
			"a tuple must be present",
			&Command{Store: store, Preconditions: []Precondition{{Kind: TuplePresent, Tuple: other}}, Body: &Write{}}, ErrPrecondition, 0,
		},
		{
			"a document must be at its version",
			&Command{Store: store, Preconditions: []Precondition{{Kind: DocumentVersion, Entity: plan.Object, Version: 1}}, Body: &Write{}}, ErrPrecondition, 0,
		},
		{
			"a scope must be at its version",
			&Command{Store: store, Requires: []ScopeVersion{{"roles", 1}}, Body: &Write{}}, ErrScope, 0,
		},
		{"the expiry horizon follows the leader's time", &Command{Store: store, Body: &AdvanceExpiry{Horizon: 1 << 60}}, ErrHorizon, -1},
		{"the history horizon follows the revisions", &Command{Store: store, Body: &AdvanceHistory{Horizon: 1 << 60}}, ErrHorizon, -1},
		{"an epoch has one successor", &Command{Body: &SetEpoch{From: 5, To: 6}}, ErrHorizon, -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t)
			m.store(1)
			m.do(write(store, create(plan), ensure(bound, func(o *Operation) {
				o.Condition, o.Context = conditionOne, mustFields(t, value.Map{"a": int64(1)})
			})))
			_, before := m.s.StateHash()
			r := m.apply(tt.command)[0]
			if !errors.Is(r.Err, tt.want) {
				t.Fatalf("apply = %v, want %v", r.Err, tt.want)
			}
			var f *Refusal
			if !errors.As(r.Err, &f) || f.Index != tt.index {
				t.Errorf("refused at index %d, want %d", f.Index, tt.index)
			}
			if _, after := m.s.StateHash(); after != before {
				t.Error("a refused command changed the state")
			}
			if changes := allChanges(t, m.s, store, ChangeQuery{After: EndOf(r.Revision - 1)}); len(changes) != 0 {
				t.Errorf("a refused command left %d changes", len(changes))
			}
		})
	}
}

func TestInvalidCommandsAreNotEncoded(t *testing.T) {
	long := make([]byte, MaxNameSize+1)
	for name, c := range map[string]*Command{
		"no body":           {Store: storeNumber(1)},
		"no store":          {Body: &Write{}},
		"a stray store":     {Store: storeNumber(1), Body: &SetEpoch{}},
		"long name":         write(storeNumber(1), touch(viewer(string(long), "a"))),
		"empty name":        write(storeNumber(1), touch(viewer("", "a"))),
		"wildcard object":   write(storeNumber(1), touch(viewer("*", "a"))),
		"wildcard userset":  write(storeNumber(1), touch(TupleKey{Entity{typeDocument, "d"}, relViewer, Entity{typeGroup, "*"}, relMember})),
		"context alone":     write(storeNumber(1), Operation{Kind: TouchTuple, Tuple: viewer("d", "a"), Context: []byte{1}}),
		"unknown operation": write(storeNumber(1), Operation{Kind: 9}),
		"many operations":   write(storeNumber(1), make([]Operation, MaxOperations+1)...),
		"double bump":       {Store: storeNumber(1), Bumps: []string{"a", "a"}, Body: &Write{}},
		"no model":          {Store: storeNumber(1), Body: &WriteAssertions{Content: []byte("x")}},
		"long assertions":   {Store: storeNumber(1), Body: &WriteAssertions{Model: modelNumber(1), Content: make([]byte, MaxAssertionsSize+1)}},
	} {
		if _, err := c.Encode(); !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: Encode = %v, want a refusal", name, err)
		}
	}
}

func TestTouchReplacesAndDeleteForgives(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	k := viewer("plan", "anna")
	m.do(write(store, remove(k)))
	if m.has(store, k) {
		t.Fatal("deleting what is absent made it")
	}
	m.do(write(store, create(k)))
	m.do(write(store, Operation{Kind: TouchTuple, Tuple: k, Expires: m.now + 1000}))
	m.do(write(store, remove(k)))
	if m.has(store, k) {
		t.Fatal("the tuple was not deleted")
	}
	m.checkHash()
}

func TestCommandsOfOneEntrySeeEarlierOnes(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	k := viewer("plan", "anna")
	present := []Precondition{{Kind: TuplePresent, Tuple: k}}
	rs := m.apply(
		write(store, create(k)),
		write(store, create(k)),
		&Command{Store: store, Preconditions: present, Bumps: []string{"s"}, Body: &Write{Operations: []Operation{remove(k)}}},
		&Command{Store: store, Requires: []ScopeVersion{{"s", 1}}, Body: &Write{Operations: []Operation{create(k)}}},
	)
	for i, want := range []error{nil, ErrTupleExists, nil, nil} {
		if !errors.Is(rs[i].Err, want) {
			t.Errorf("command %d = %v, want %v", i, rs[i].Err, want)
		}
	}
	if rs[0].Revision != graph.Revision(m.index) || rs[3].Revision != rs[0].Revision {
		t.Errorf("revisions %d and %d, want %d", rs[0].Revision, rs[3].Revision, m.index)
	}
	if !m.has(store, k) {
		t.Error("the tuple is missing")
	}
	m.checkHash()
}

func TestATupleIsComparedByTheRevisionThatWroteIt(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	k, expired := viewer("plan", "anna"), viewer("plan", "bert")
	first := m.do(write(store, create(k), Operation{Kind: CreateTuple, Tuple: expired, Expires: m.now + 2})).Revision
	m.now += 10
	written := func(k TupleKey, revision graph.Revision) error {
		return m.apply(&Command{
			Store: store, Preconditions: []Precondition{{Kind: TupleRevision, Tuple: k, Version: uint64(revision)}}, Body: &Write{},
		})[0].Err
	}
	for _, c := range []struct {
		name     string
		tuple    TupleKey
		revision graph.Revision
		want     error
	}{
		{"as it is", k, first, nil},
		{"older", k, first - 1, ErrPrecondition},
		{"absent", k, 0, ErrPrecondition},
		{"expired and there", expired, first, nil},
		{"not there", viewer("plan", "nobody"), 0, nil},
		{"not there, wanted", viewer("plan", "nobody"), first, ErrPrecondition},
	} {
		if err := written(c.tuple, c.revision); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	second := m.do(write(store, Operation{Kind: TouchTuple, Tuple: k})).Revision
	if err := written(k, first); !errors.Is(err, ErrPrecondition) {
		t.Errorf("after another write: %v, want %v", err, ErrPrecondition)
	}
	if err := written(k, second); err != nil {
		t.Errorf("the other write: %v", err)
	}
}

func TestAnExpiredTupleDoesNotStandInTheWay(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	k := viewer("plan", "anna")
	m.do(write(store, Operation{Kind: CreateTuple, Tuple: k, Expires: m.now + 3}))
	if r := m.apply(write(store, create(k)))[0]; !errors.Is(r.Err, ErrTupleExists) {
		t.Fatalf("create before the expiry = %v", r.Err)
	}
	m.now += 10
	m.do(&Command{Store: store, Preconditions: []Precondition{{Kind: TupleAbsent, Tuple: k}}, Body: &Write{Operations: []Operation{create(k)}}})
	m.checkHash()
}

func TestIdempotencyKeys(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	keyed := func(reason string, ops ...Operation) *Command {
		c := write(store, ops...)
		c.Principal, c.Key, c.Reason = "app", "k1", reason
		return c
	}
	k := viewer("plan", "anna")
	first := m.do(keyed("once", create(k)))
	again := m.do(keyed("twice", create(k)))
	if !again.Replayed || again.Revision != first.Revision {
		t.Errorf("retry = %+v, want the answer of revision %d", again, first.Revision)
	}
	r := m.apply(keyed("other", create(viewer("plan", "bert"))))[0]
	var f *Refusal
	if !errors.Is(r.Err, ErrIdempotencyConflict) || !errors.As(r.Err, &f) || f.Revision != first.Revision {
		t.Errorf("other content = %v, want a conflict with revision %d", r.Err, first.Revision)
	}
	m.reopen()
	if again := m.do(keyed("after restart", create(k))); !again.Replayed {
		t.Error("the key was forgotten by a restart")
	}
	other := keyed("", create(viewer("plan", "cleo")))
	other.Principal = "other"
	if r := m.do(other); r.Replayed {
		t.Error("keys of two principals met")
	}
	m.checkHash()

	m.now += idempotencyRetention
	r = m.apply(keyed("a day later", create(k)))[0]
	if !errors.Is(r.Err, ErrTupleExists) {
		t.Errorf("after the retention = %v, want a fresh attempt", r.Err)
	}
	m.do(write(store, touch(k)))
	m.checkHash()
	if m.s.stores[store].nextIdempotency != never {
		t.Error("old keys were not cleaned up")
	}
}

func TestARefusedCommandDoesNotUseItsKey(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	k := viewer("plan", "anna")
	m.do(write(store, create(k)))
	c := write(store, create(k))
	c.Key = "k"
	if r := m.apply(c)[0]; !errors.Is(r.Err, ErrTupleExists) {
		t.Fatal(r.Err)
	}
	m.do(write(store, remove(k)))
	if r := m.do(c); r.Replayed {
		t.Error("the refusal was replayed")
	}
}

func TestKeysOfStoresOutliveThem(t *testing.T) {
	m := newMachine(t)
	first := m.do(&Command{Store: storeNumber(1), Key: "make", Body: &CreateStore{Name: "acme"}})
	again := m.do(&Command{Store: storeNumber(2), Key: "make", Body: &CreateStore{Name: "acme"}})
	if !again.Replayed || again.Store != first.Store {
		t.Errorf("retry of CreateStore made %v, want %v", again.Store, first.Store)
	}
	del := &Command{Store: storeNumber(1), Key: "drop", Body: &DeleteStore{}}
	m.do(del)
	if again := m.do(del); !again.Replayed {
		t.Error("the retry of DeleteStore was not recognised")
	}
	m.checkHash()
}

func TestDeletingAStoreLeavesNoRow(t *testing.T) {
	m := newMachine(t)
	keep := m.store(1)
	m.do(write(keep, create(viewer("plan", "anna"))))
	_, before := m.s.StateHash()
	gone := m.store(2)
	for i := range 5 {
		m.do(write(gone, touch(viewer("plan", fmt.Sprint(i))), touch(viewer("plan", "anna"))))
	}
	m.do(assertions(gone, modelNumber(2), "x"))
	if got := len(m.s.Current().StoresNamed("acme")); got != 2 {
		t.Fatalf("%d stores are named acme, want 2", got)
	}
	m.do(&Command{Store: gone, Body: &DeleteStore{}})
	if _, after := m.s.StateHash(); after != before {
		t.Error("the hash differs from before the store")
	}
	for sp := spaceGroup; sp < spaceEnd; sp++ {
		prefix := storePrefix(sp, gone)
		err := scan(m.s.db, prefix, prefixEnd(prefix), func(key, _ []byte) (bool, error) {
			t.Errorf("row %x is left", key)
			return true, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := m.s.Current().Store(gone); ok || len(m.s.Current().StoresNamed("acme")) != 1 {
		t.Error("the store can still be found")
	}
	if _, err := m.s.ViewAt(gone, 5); !errors.Is(err, ErrStoreNotFound) {
		t.Errorf("ViewAt = %v, want %v", err, ErrStoreNotFound)
	}
	m.checkHash()
	m.reopen()
	m.checkHash()
	if !m.has(keep, viewer("plan", "anna")) {
		t.Error("the other store lost a tuple")
	}
}

func TestDocumentVersionsGoOn(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	e := Entity{typeDocument, "plan"}
	put := func(v int64) Operation {
		b, err := value.Encode(value.Map{"n": v})
		if err != nil {
			t.Fatal(err)
		}
		return Operation{Kind: PutDocument, Entity: e, Fields: b}
	}
	document := func() (graph.Document, bool) {
		st, _ := m.s.Current().Store(store)
		id, ok, _ := st.Lookup(e.Type, e.Name)
		if !ok {
			return graph.Document{}, false
		}
		d, ok, err := st.Document(id)
		if err != nil {
			t.Fatal(err)
		}
		return d, ok
	}
	m.do(write(store, put(1)))
	m.do(write(store, put(2)))
	if d, ok := document(); !ok || d.Version != 2 || d.Fields["n"] != int64(2) {
		t.Fatalf("document = %+v, %v", d, ok)
	}
	m.do(write(store, Operation{Kind: DeleteDocument, Entity: e}))
	if d, ok := document(); ok {
		t.Fatalf("deleted document = %+v", d)
	}
	absent := []Precondition{{Kind: DocumentVersion, Entity: e}}
	m.do(&Command{Store: store, Preconditions: absent, Body: &Write{Operations: []Operation{put(3)}}})
	if d, ok := document(); !ok || d.Version != 3 {
		t.Fatalf("document = %+v, %v, want version 3", d, ok)
	}
	m.checkHash()
}

func TestLeaderTimeNeverGoesBack(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	m.do(write(store, create(viewer("plan", "anna"))))
	now := m.s.Current().Time()
	m.now -= 1000
	r := m.do(write(store, create(viewer("plan", "bert"))))
	if r.Time != now.UnixMilli() || !m.s.Current().Time().Equal(now) {
		t.Errorf("time %d, want %d", r.Time, now.UnixMilli())
	}
}

func TestEntriesThatAreNotCommandsAdvanceTheIndex(t *testing.T) {
	m := newMachine(t)
	m.store(1)
	m.index++
	if got := m.s.ApplyBatch([]*raft.Log{{Index: m.index, Term: 2, Type: raft.LogConfiguration, Data: []byte("x")}}); got[0] != nil {
		t.Errorf("response %v, want nil", got[0])
	}
	if got := m.s.DurableIndex(); got != m.index {
		t.Errorf("durable index %d, want %d", got, m.index)
	}
	m.index++
	m.results(m.s.Apply(&raft.Log{Index: m.index, Term: 2, Type: raft.LogCommand, Data: TermStart(2)}))
	if err := m.s.Published(t.Context(), m.index); err != nil {
		t.Error(err)
	}
	if got := m.s.Apply(&raft.Log{Index: m.index, Term: 2, Type: raft.LogCommand, Data: []byte("skipped")}); got != nil {
		t.Errorf("an applied entry was applied again: %v", got)
	}
	m.reopen()
	if got := m.s.DurableIndex(); got != m.index {
		t.Errorf("durable index after restart %d, want %d", got, m.index)
	}
}

func TestPublishedWaits(t *testing.T) {
	m := newMachine(t)
	done := make(chan error, 1)
	go func() { done <- m.s.Published(t.Context(), 2) }()
	m.store(1)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	go func() { done <- m.s.Published(t.Context(), 1000) }()
	if err := m.s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("Published = %v, want %v", err, ErrClosed)
	}
}

func TestUnknownFormatsStopTheNode(t *testing.T) {
	command, err := write(storeNumber(1), create(viewer("d", "a"))).Encode()
	if err != nil {
		t.Fatal(err)
	}
	newer := append([]byte{managedFormat + 1}, command[1:]...)
	// A kind that a later release adds within the format must not be refused here while
	// nodes of that release apply it.
	kinds := func(p PreconditionKind, o OperationKind) []byte {
		c := write(storeNumber(1), create(viewer("d", "a")))
		c.Preconditions = []Precondition{{Kind: p, Tuple: viewer("d", "a")}}
		c.Body.(*Write).Operations[0].Kind = o
		return c.encode(c.contentHash())
	}
	for name, data := range map[string][]byte{
		"entry":      {entryFormat + 1, entryCommands},
		"entry kind": {entryFormat, 9},
		"command":    Seal([][]byte{newer}, time.UnixMilli(1)),
		"garbage":    {entryFormat, entryCommands, 0xff},

		"command kind":      Seal([][]byte{append([]byte{commandFormat, byte(kindEnd)}, command[2:]...)}, time.UnixMilli(1)),
		"operation kind":    Seal([][]byte{kinds(TuplePresent, RemoveTuple+1)}, time.UnixMilli(1)),
		"precondition kind": Seal([][]byte{kinds(TupleRevision+1, CreateTuple)}, time.UnixMilli(1)),
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			defer func() {
				if recover() == nil {
					t.Error("the node went on")
				}
			}()
			m.s.Apply(m.entry(data))
		})
	}
}

func TestMalformedCommandsAreRefused(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	good, err := write(store, create(viewer("d", "a"))).Encode()
	if err != nil {
		t.Fatal(err)
	}
	m.now++
	rs := m.results(m.s.Apply(m.entry(Seal([][]byte{good[:len(good)-1], append(good, 0), make([]byte, MaxCommandSize+1), good}, time.UnixMilli(m.now)))))
	for i, want := range []error{ErrInvalid, ErrInvalid, ErrTooLarge, nil} {
		if !errors.Is(rs[i].Err, want) {
			t.Errorf("command %d = %v, want %v", i, rs[i].Err, want)
		}
	}
}

func TestHashCheckFindsDivergence(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	var fatal error
	m.s.cfg.Fatal = func(err error) { fatal = err }
	rev, hash := m.s.StateHash()
	m.do(write(store, create(viewer("plan", "anna"))))
	m.do(&Command{Body: &HashCheck{Index: rev, Hash: hash}})
	if fatal != nil {
		t.Fatalf("an equal hash was fatal: %v", fatal)
	}
	hash[0]++
	before := m.s.Current()
	err := attempt(func() error {
		m.do(&Command{Body: &HashCheck{Index: rev, Hash: hash}})
		return nil
	})
	var d *DivergenceError
	if !errors.As(fatal, &d) || d.Revision != rev {
		t.Errorf("fatal = %v, want a divergence at %d", fatal, rev)
	}
	// Fatal may return, as it does when it only asks the process to end.
	if !errors.Is(err, errPanic) || m.s.Current() != before {
		t.Errorf("after the divergence: %v, revision %d", err, m.s.Current().Revision())
	}
}

func TestEpochAndClusterVersion(t *testing.T) {
	m := newMachine(t)
	m.do(&Command{Body: &SetEpoch{To: 77}})
	m.do(&Command{Body: &SetClusterVersion{Version: ClusterVersion}})
	if r := m.apply(&Command{Body: &SetClusterVersion{Version: ClusterVersion - 1}})[0]; !errors.Is(r.Err, ErrHorizon) {
		t.Errorf("lowering the version = %v", r.Err)
	}
	m.checkHash()
	m.reopen()
	if root := m.s.Current(); root.Epoch() != 77 || root.ClusterVersion() != ClusterVersion {
		t.Errorf("epoch %d, version %d", root.Epoch(), root.ClusterVersion())
	}
}

// The cluster version cannot be lowered, so one that no program knows would switch on all
// that will ever be gated by it.
func TestAClusterVersionBeyondThisProgramIsNotProposed(t *testing.T) {
	c := &Command{Body: &SetClusterVersion{Version: ClusterVersion + 1}}
	if _, err := c.Encode(); !errors.Is(err, ErrInvalid) {
		t.Errorf("Encode = %v, want %v", err, ErrInvalid)
	}
	m := newMachine(t)
	newer := Seal([][]byte{c.encode(c.contentHash())}, time.UnixMilli(epochMs))
	if err := attempt(func() error { m.s.Apply(m.entry(newer)); return nil }); !errors.Is(err, errPanic) {
		t.Errorf("Apply of a newer cluster's version = %v, want a stop", err)
	}
}

func TestAStateOfANewerClusterIsNotOpened(t *testing.T) {
	m := newMachine(t)
	if err := m.s.db.Set(groupKey(groupClusterVer), encodeNumber(ClusterVersion+1), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if err := m.s.Close(); err != nil {
		t.Fatal(err)
	}
	var unknown *formatError
	if _, err := Open(Config{Dir: "data", FS: m.fs}); !errors.As(err, &unknown) || !strings.Contains(err.Error(), "start the release that ran") {
		t.Errorf("Open = %v, want that it is unknown and what to do", err)
	}
}
