package fsm

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/remit-authz/remit/graph/model"
)

// Times of leaders in the tests count from here, in milliseconds.
const epochMs = int64(1_700_000_000_000)

// declared are the symbols of every test store: ids are given out in this order.
var declared = model.Declarations{
	Types: []model.TypeDeclaration{
		{Name: "user"},
		{Name: "group", Relations: []string{"member"}},
		{Name: "document", Relations: []string{"viewer", "editor"}},
	},
	Conditions: []string{"cond"},
}

const (
	typeUser     model.TypeID      = 1
	typeGroup    model.TypeID      = 2
	typeDocument model.TypeID      = 3
	relMember    model.RelationID  = 1
	relViewer    model.RelationID  = 2
	relEditor    model.RelationID  = 3
	conditionOne model.ConditionID = 1
)

// A machine drives a State as Raft does, with entries of its own.
type machine struct {
	t     testing.TB
	s     *State
	fs    vfs.FS
	index uint64
	now   int64
	logs  []*raft.Log // everything applied, for replays
}

func newMachine(t testing.TB) *machine {
	t.Helper()
	fs := vfs.NewMem()
	m := &machine{t: t, fs: fs, s: openState(t, fs), now: epochMs}
	return m
}

func openState(t testing.TB, fs vfs.FS) *State {
	t.Helper()
	s, err := Open(Config{Dir: "data", FS: fs, CacheBytes: 1 << 20, MemTableBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// reopen closes the state and opens it again, as a restart does.
func (m *machine) reopen() {
	m.t.Helper()
	if err := m.s.Close(); err != nil {
		m.t.Fatal(err)
	}
	m.s = openState(m.t, m.fs)
}

func storeNumber(n byte) StoreID { return StoreID{0: 1, 15: n} }
func modelNumber(n byte) ModelID { return ModelID{0: 2, 15: n} }

func erasureNumber(n byte) ErasureID { return ErasureID{0: 3, 15: n} }

func (m *machine) entry(data []byte) *raft.Log {
	m.index++
	l := &raft.Log{Index: m.index, Term: 1, Type: raft.LogCommand, Data: data}
	m.logs = append(m.logs, l)
	return l
}

// apply puts the commands into one entry, a millisecond later, and gives their results.
func (m *machine) apply(commands ...*Command) []*Result {
	m.t.Helper()
	m.now++
	encoded := make([][]byte, len(commands))
	for i, c := range commands {
		var err error
		if encoded[i], err = c.Encode(); err != nil {
			m.t.Fatal(err)
		}
	}
	return m.results(m.s.Apply(m.entry(Seal(encoded, time.UnixMilli(m.now)))))
}

func (m *machine) results(response any) []*Result {
	m.t.Helper()
	return decodeResults(m.t, response)
}

func decodeResults(t testing.TB, response any) []*Result {
	t.Helper()
	answers, err := SplitAnswers(response.([]byte))
	if err != nil {
		t.Fatal(err)
	}
	results := make([]*Result, len(answers))
	for i, a := range answers {
		if results[i], err = DecodeResult(a); err != nil {
			t.Fatal(err)
		}
	}
	return results
}

// do applies one command, which must take effect.
func (m *machine) do(c *Command) *Result {
	m.t.Helper()
	r := m.apply(c)[0]
	if r.Err != nil {
		m.t.Fatalf("apply %T: %v", c.Body, r.Err)
	}
	return r
}

// store makes a store with the declared symbols.
func (m *machine) store(n byte) StoreID {
	m.t.Helper()
	id := storeNumber(n)
	m.do(&Command{Store: id, Body: &CreateStore{Name: "acme"}})
	m.do(&Command{Store: id, Body: &WriteModel{ID: modelNumber(n), Source: []byte("model"), Declarations: declared}})
	return id
}

func write(store StoreID, ops ...Operation) *Command {
	return &Command{Store: store, Body: &Write{Operations: ops}}
}

func viewer(doc, user string) TupleKey {
	return TupleKey{Object: Entity{typeDocument, doc}, Relation: relViewer, Subject: Entity{typeUser, user}}
}

func create(k TupleKey) Operation { return Operation{Kind: CreateTuple, Tuple: k} }
func touch(k TupleKey) Operation  { return Operation{Kind: TouchTuple, Tuple: k} }
func remove(k TupleKey) Operation { return Operation{Kind: DeleteTuple, Tuple: k} }
func take(k TupleKey) Operation   { return Operation{Kind: RemoveTuple, Tuple: k} }

func ensure(k TupleKey, with ...func(*Operation)) Operation {
	o := Operation{Kind: EnsureTuple, Tuple: k}
	for _, f := range with {
		f(&o)
	}
	return o
}

func assertions(store StoreID, id ModelID, content string) *Command {
	return &Command{Store: store, Body: &WriteAssertions{Model: id, Content: []byte(content)}}
}

// checkHash compares the rolling hash with a recount.
func (m *machine) checkHash() {
	m.t.Helper()
	checkHash(m.t, m.s)
}

func checkHash(t testing.TB, s *State) {
	t.Helper()
	_, rolling := s.StateHash()
	recounted, err := s.Recount()
	if err != nil {
		t.Fatal(err)
	}
	if rolling != recounted {
		t.Fatalf("state hash %x, recount %x", rolling, recounted)
	}
}
