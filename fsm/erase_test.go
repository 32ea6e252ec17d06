package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/graph/value"
)

// canary is a name that occurs nowhere by chance.
const canary = "anna-canary@example.com"

func begin(store StoreID, n byte, e Entity) *Command {
	return &Command{Store: store, Principal: "clerk", Reason: "the law", Body: &Erase{ID: erasureNumber(n), Entity: e}}
}

// eraseAll carries an erasure through, in steps of at most so many rows.
func (m *machine) eraseAll(c *Command, limit uint64) *Erased {
	m.t.Helper()
	first := *c.Body.(*Erase)
	first.Limit = limit
	step := *c
	step.Body = &first
	for {
		r := m.do(&step)
		if !r.Remaining {
			return r.Erased
		}
		step = Command{Store: c.Store, Principal: "another", Body: &Erase{ID: r.Erased.ID, Limit: limit}}
	}
}

// rowsWith are the rows of the whole state that hold some bytes.
func rowsWith(t testing.TB, s *State, text string) (found []string) {
	t.Helper()
	err := scan(s.db, nil, []byte{byte(spaceEnd)}, func(key, v []byte) (bool, error) {
		if bytes.Contains(key, []byte(text)) || bytes.Contains(v, []byte(text)) {
			found = append(found, fmt.Sprintf("%x = %q", key, v))
		}
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// traces writes of an entity wherever a name can stand, and leaves no mention of it in
// what others have in the head.
func (m *machine) traces(store StoreID, name string) {
	m.t.Helper()
	e := Entity{typeUser, name}
	fields := mustFields(m.t, value.Map{"name": name})
	mention := mustFields(m.t, value.Map{"deputy": []any{"user:" + name}})
	conditional := Operation{Kind: TouchTuple, Tuple: viewer("plan", "bert"), Condition: conditionOne, Context: mention}
	expiring := touch(viewer("memo", name))
	expiring.Expires = m.now + 1_000_000
	note := Operation{Kind: PutDocument, Entity: Entity{typeDocument, "plan"}, Fields: mention}
	for _, c := range []*Command{
		write(store, touch(viewer("plan", name)), expiring, touch(member("eng", name)), touch(viewer("plan", "cleo"))),
		write(store, Operation{Kind: PutDocument, Entity: e, Fields: fields}, conditional, note),
		write(store, touch(viewer("plan", name)), remove(member("eng", name)), Operation{Kind: PutDocument, Entity: e, Fields: fields}),
		write(store, touch(viewer("plan", "bert")), Operation{Kind: PutDocument, Entity: Entity{typeDocument, "plan"}, Fields: mustFields(m.t, nil)}),
		{Store: store, Principal: name, Body: &SetRetention{Retention: 1}},
		{Store: store, Actor: "user:" + name, RequestID: "<" + name + ">", Reason: "asked by " + name + ".", Body: &SetRetention{}},
		{Store: storeNumber(9), Principal: name, Key: "k", Body: &CreateStore{Name: "other"}},
		{Store: store, Principal: name, Key: "k", Body: &Write{Operations: []Operation{touch(viewer("plan", "dora"))}}},
		{Store: store, Principal: "app", Key: "for/" + name, Body: &Write{Operations: []Operation{touch(viewer("plan", "emma"))}}},
	} {
		m.do(c)
	}
}

func TestAnErasedNameIsNowhere(t *testing.T) {
	for _, limit := range []uint64{0, 1, 3} {
		m := newMachine(t)
		store := m.store(1)
		m.traces(store, canary)
		before := m.s.Current()
		c := begin(store, 1, Entity{typeUser, canary})
		c.Actor, c.Reason = canary, "letter of "+canary
		done := m.eraseAll(c, limit)
		m.eraseAll(begin(storeNumber(9), 1, Entity{0, canary}), limit) // who made it
		if found := rowsWith(t, m.s, canary); len(found) > 0 {
			t.Errorf("steps of %d: the name stands in %q", limit, found)
		}
		want := Erased{
			ID: erasureNumber(1), Type: typeUser, Revision: done.Revision,
			Tuples: 2, Documents: 1, Versions: 5, Changes: 9, Texts: 4, Keys: 3, Examined: done.Examined,
		}
		if *done != want {
			t.Errorf("steps of %d: erased %+v, want %+v", limit, *done, want)
		}
		if got := m.s.Current().RewriteRequired(); got != graph.Revision(m.index) || got <= done.Revision {
			t.Errorf("files must be rewritten up to %d, want %d", got, m.index)
		}
		all := allChanges(t, m.s, store, ChangeQuery{})
		last := all[len(all)-1]
		if last.Kind != EntityErased || *last.Erased != want || last.Principal != "clerk" || last.Actor != "" || last.Reason != "" {
			t.Errorf("the last change is %+v", last)
		}
		for i, ch := range all {
			if ch.Kind == ChangeErased && (ch.Tuple != (graph.Row{}) || ch.Time == 0) {
				t.Errorf("change %d holds %+v", i, ch)
			}
		}
		// Who still holds a state of before sees it whole; nobody else sees the entity.
		if st, _ := before.Store(store); st.TupleCount() != 6 {
			t.Errorf("a state of before has %d tuples", st.TupleCount())
		}
		st, _ := m.s.Current().Store(store)
		if _, ok, _ := st.Lookup(typeUser, canary); ok || st.TupleCount() != 4 || len(st.Erasures()) > 0 {
			t.Errorf("the store still knows the name, %d tuples, erasures %v", st.TupleCount(), st.Erasures())
		}
		m.checkHash()
		m.reopen()
		m.checkHash()
	}
}

// Two are erased at once, of whom one asked for the other's erasure and left a key at which
// that one stands. The one that ends first leaves no name in what the other still keeps.
func TestErasuresKeepNoNameOfOneAnother(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	m.do(write(store, touch(viewer("plan", "bert"))))
	m.do(&Command{Store: store, Principal: canary, Key: "k", Body: &Write{}})
	m.do(&Command{Store: store, Principal: "another, whose key stands behind", Key: "k", Body: &Write{}})
	first := begin(store, 1, Entity{typeUser, "bert"})
	first.Principal, first.Actor, first.RequestID, first.Reason = canary, "user:"+canary, canary+"/1", "says "+canary
	first.Body.(*Erase).Limit = 1
	step := &Command{Store: store, Body: &Erase{ID: erasureNumber(1), Limit: 1}}
	for r := m.do(first); ; r = m.do(step) {
		if !r.Remaining {
			t.Fatal("the erasure never stood at the key")
		}
		st, _ := m.s.Current().Store(store)
		if bytes.Contains(st.index.erasing[0].place, []byte(canary)) {
			break
		}
	}
	m.eraseAll(begin(store, 2, Entity{typeUser, canary}), 0)
	if found := rowsWith(t, m.s, canary); len(found) > 0 {
		t.Errorf("while the other goes on the name stands in %q", found)
	}
	m.checkHash()
	m.reopen()
	if done := m.eraseAll(step, 1); done.Tuples != 1 {
		t.Errorf("the other erased %+v, want its tuple", done)
	}
	if found := rowsWith(t, m.s, canary); len(found) > 0 {
		t.Errorf("after the other's end the name stands in %q", found)
	}
	m.checkHash()
}

// Of a name that comes back the store knows nothing.
func TestANameThatWasErasedIsAnotherEntity(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	m.do(write(store, touch(viewer("plan", "anna")), Operation{Kind: PutDocument, Entity: Entity{typeUser, "anna"}, Fields: mustFields(t, nil)}))
	old := m.s.Current()
	m.eraseAll(begin(store, 1, Entity{typeUser, "anna"}), 0)
	m.do(write(store, touch(viewer("memo", "anna")), Operation{Kind: PutDocument, Entity: Entity{typeUser, "anna"}, Fields: mustFields(t, nil)}))
	then, _ := old.Store(store)
	now, _ := m.s.Current().Store(store)
	before, _, _ := then.Lookup(typeUser, "anna")
	id, ok, _ := now.Lookup(typeUser, "anna")
	if !ok || id == before {
		t.Errorf("the id is %v, was %v", id, before)
	}
	if _, err := now.Name(before); !errors.Is(err, graph.ErrUnknownEntity) {
		t.Errorf("Name of the erased = %v, want %v", err, graph.ErrUnknownEntity)
	}
	if doc, ok, err := now.Document(id); err != nil || !ok || doc.Version != 1 {
		t.Errorf("document %+v, %v, %v, want the first version", doc, ok, err)
	}
	past, err := m.s.ViewAt(store, old.Revision())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := past.Name(before); !errors.Is(err, ErrRevisionGone) {
		t.Errorf("Name of the erased in the past = %v, want %v", err, ErrRevisionGone)
	}
	if _, ok, err := past.Lookup(typeUser, "anna"); ok || err != nil {
		t.Errorf("Lookup in the past = %v, %v, want nobody", ok, err)
	}
	if tuples, _ := snapshotOf(t, past); len(tuples) > 0 {
		t.Errorf("the past shows %v", tuples)
	}
}

// An entity can be both ends of a tuple, and a userset of it the subject of others.
func TestAnErasureFindsEveryEnd(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	eng, ops := Entity{typeGroup, "eng"}, Entity{typeGroup, "ops"}
	keys := []TupleKey{{eng, relMember, eng, relMember}, {ops, relMember, eng, relMember}, {eng, relMember, ops, relMember}}
	for _, doc := range []string{"a", "b"} {
		for _, rel := range []model.RelationID{relViewer, relEditor} {
			keys = append(keys,
				TupleKey{Entity{typeDocument, doc}, rel, eng, relMember}, TupleKey{Entity{typeDocument, doc}, rel, eng, 0},
				TupleKey{Entity{typeDocument, doc}, rel, ops, relMember})
		}
	}
	for _, limit := range []uint64{0, 1, 2, 5} {
		for range 2 { // so that each has a past version
			for i := range keys {
				m.do(write(store, touch(keys[i])))
			}
		}
		done := m.eraseAll(begin(store, byte(limit+1), eng), limit)
		if done.Tuples != 11 || done.Versions != 11 || done.Changes != 22 {
			t.Errorf("steps of %d: erased %+v, want 11 tuples with a version each", limit, *done)
		}
		st, _ := m.s.Current().Store(store)
		if tuples, _ := snapshotOf(t, st.View()); len(tuples) != 4 {
			t.Errorf("steps of %d: %v is left", limit, tuples)
		}
		m.checkHash()
	}
}

func TestWritesWaitForAnErasure(t *testing.T) {
	m := newMachine(t)
	store, other := m.store(1), m.store(2)
	anna := Entity{typeUser, "anna"}
	m.do(write(store, touch(viewer("plan", "anna")), touch(viewer("memo", "anna"))))
	first := begin(store, 1, anna)
	first.Body.(*Erase).Limit = 1
	m.do(first)
	conditional := Operation{Kind: TouchTuple, Tuple: viewer("plan", "bert"), Condition: conditionOne, Context: mustFields(t, value.Map{"c": "anna"})}
	for _, tt := range []struct {
		name string
		c    *Command
		want error
	}{
		{"a tuple", write(store, touch(viewer("x", "anna"))), ErrErasing},
		{"a tuple again", write(store, ensure(viewer("memo", "anna"))), ErrErasing},
		{"an object", write(store, touch(TupleKey{Object: Entity{typeGroup, "eng"}, Relation: relMember, Subject: anna})), ErrErasing},
		{"a document", write(store, Operation{Kind: PutDocument, Entity: anna, Fields: mustFields(t, nil)}), ErrErasing},
		{"the principal of a key", &Command{Store: store, Principal: "anna", Key: "k", Body: &Write{}}, ErrErasing},
		{"a key", &Command{Store: store, Key: "anna/1", Body: &Write{}}, ErrErasing},
		{"a key of the group", &Command{Store: storeNumber(3), Principal: "anna", Key: "k", Body: &CreateStore{Name: "x"}}, ErrErasing},
		{"a principal", &Command{Store: store, Principal: "anna", Body: &Write{Operations: []Operation{touch(viewer("x", "bert"))}}}, nil},
		{"another of the name", write(store, touch(TupleKey{Entity{typeDocument, "anna"}, relViewer, Entity{typeUser, "bert"}, 0})), nil},
		{"a removal", write(store, remove(viewer("memo", "anna"))), nil},
		{"a mention", write(store, conditional), nil},
		{"the end of a mention", write(store, remove(viewer("plan", "bert"))), nil},
		{"another store", write(other, touch(viewer("x", "anna"))), nil},
		{"another erasure's id", &Command{Store: store, Body: &Erase{ID: erasureNumber(5)}}, ErrErasureNotFound},
		{"another entity", begin(store, 1, Entity{typeUser, "bert"}), ErrInvalid},
		{"an unknown type", begin(store, 2, Entity{99, "bert"}), ErrSymbol},
	} {
		if got := m.apply(tt.c)[0].Err; !errors.Is(got, tt.want) || got != nil && tt.want == nil {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	// Another who erases the same carries on with what was begun.
	again := begin(store, 7, anna)
	again.Body.(*Erase).Limit = 1
	if r := m.do(again); r.Erased.ID != erasureNumber(1) || !r.Remaining {
		t.Errorf("erasing again is %+v, want the erasure that was begun", r.Erased)
	}
	done := m.eraseAll(&Command{Store: store, Body: &Erase{ID: erasureNumber(1)}}, 0)
	if done.Tuples != 1 || done.Type != typeUser {
		t.Errorf("erased %+v, want the one tuple that nobody removed", done)
	}
	for _, ch := range allChanges(t, m.s, store, ChangeQuery{}) {
		if mentions(ch.Principal, "anna") || len(contextBytes(ch.Tuple.Edge.Context)) > 0 {
			t.Errorf("a change still tells: %+v", ch)
		}
	}
	if n := countRows(t, m.s, spaceForwardPast, store); n != 0 {
		t.Errorf("%d past versions are left of the entity and of a mention", n)
	}
	m.do(write(store, touch(viewer("x", "anna"))))
	m.checkHash()
}

// A retry of what is over gives the same answer, and has files rewritten once more if it
// brought the name into the log again.
func TestAnErasureAnswersAfterItsEnd(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	m.do(write(store, touch(viewer("plan", "anna"))))
	anna := Entity{typeUser, "anna"}
	done := m.eraseAll(begin(store, 1, anna), 0)
	required := m.s.Current().RewriteRequired()
	m.reopen()
	if r := m.do(&Command{Store: store, Body: &Erase{ID: done.ID}}); r.Remaining || *r.Erased != *done {
		t.Errorf("the end again is %+v, want %+v", r.Erased, done)
	}
	if got := m.s.Current().RewriteRequired(); got != required {
		t.Errorf("files must be rewritten up to %d, want %d", got, required)
	}
	if r := m.do(begin(store, 1, anna)); r.Remaining || *r.Erased != *done {
		t.Errorf("the beginning again is %+v, want %+v", r.Erased, done)
	}
	if got := m.s.Current().RewriteRequired(); got != graph.Revision(m.index) {
		t.Errorf("files must be rewritten up to %d, want %d", got, m.index)
	}
	// Whom the store does not know it may have written of nevertheless.
	m.do(&Command{Store: store, Principal: "bert", Body: &SetRetention{Retention: 1}})
	if done = m.eraseAll(begin(store, 2, Entity{typeUser, "bert"}), 1); done.Texts != 1 || done.Tuples+done.Versions+done.Changes != 0 {
		t.Errorf("erased %+v, want one text", done)
	}
	if found := rowsWith(t, m.s, "bert"); len(found) > 0 {
		t.Errorf("the name stands in %q", found)
	}
	// With a store goes what is being erased in it.
	first := begin(store, 3, anna)
	first.Body.(*Erase).Limit = 1
	m.do(first)
	m.do(&Command{Store: store, Body: &DeleteStore{}})
	if got := m.s.Current().RewriteRequired(); got != graph.Revision(m.index) {
		t.Errorf("files must be rewritten up to %d, want %d", got, m.index)
	}
	if found := rowsWith(t, m.s, "anna"); len(found) > 0 {
		t.Errorf("the name stands in %q", found)
	}
	m.checkHash()
	replay(t, m, &chance{rand.New(rand.NewPCG(1, 1)), t})
}

func TestAnErasureIsRefusedWhole(t *testing.T) {
	for name, c := range map[string]*Command{
		"no id":        {Store: storeNumber(1), Body: &Erase{Entity: Entity{typeUser, "anna"}}},
		"a key":        {Store: storeNumber(1), Key: "k", Body: &Erase{ID: erasureNumber(1), Entity: Entity{typeUser, "anna"}}},
		"a wildcard":   begin(storeNumber(1), 1, Entity{typeUser, "*"}),
		"no name":      begin(storeNumber(1), 1, Entity{typeUser, ""}),
		"no such type": begin(storeNumber(1), 1, Entity{model.MaxTypeID + 1, "anna"}),
		"no store":     begin(StoreID{}, 1, Entity{typeUser, "anna"}),
		"a condition":  {Store: storeNumber(1), Preconditions: []Precondition{{Kind: TupleAbsent, Tuple: viewer("a", "b")}}, Body: &Erase{ID: erasureNumber(1)}},
		"a scope bump": {Store: storeNumber(1), Bumps: []string{"x"}, Body: &Erase{ID: erasureNumber(1)}},
	} {
		if _, err := c.Encode(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want %v", name, err, ErrInvalid)
		}
	}
	if _, err := ParseErasureID("nonsense"); !errors.Is(err, ErrInvalid) {
		t.Errorf("ParseErasureID = %v", err)
	}
	if id, err := ParseErasureID(erasureNumber(7).String()); err != nil || id != erasureNumber(7) {
		t.Errorf("ParseErasureID = %v, %v", id, err)
	}
}

func TestMentionsAreWholeWords(t *testing.T) {
	for _, tt := range []struct {
		text, name string
		want       bool
	}{
		{"anna", "anna", true},
		{"user:anna", "anna", true},
		{"user:anna#friend", "anna", true},
		{"asked by anna.", "anna", true},
		{"anna's wish, for anna", "anna", true},
		{"anna-", "anna", true},
		{"(anna)", "anna", true},
		{"annabel", "anna", false},
		{"joanna", "anna", false},
		{"ånna änna", "nna", false},
		{"anna_2 anna2", "anna", false},
		{"anna-marie", "anna", false},
		{"anna@example.com", "anna", false},
		{"dr.anna", "anna", false},
		{"annabel and anna", "anna", true},
		{"<anna@example.com>", "anna@example.com", true},
		{"x.anna@example.com", "anna@example.com", false},
		{"anna@example.com.au", "anna@example.com", false},
		{"aa", "a", false},
		{"a|b/c.d@e", "a|b/c.d@e", true},
		{"", "anna", false},
		{"\xffanna\xff", "anna", true},
	} {
		if got := mentions(tt.text, tt.name); got != tt.want {
			t.Errorf("mentions(%q, %q) = %v, want %v", tt.text, tt.name, got, tt.want)
		}
	}
	for _, tt := range []struct {
		v    value.Map
		want bool
	}{
		{value.Map{"a": "anna"}, true},
		{value.Map{"anna": int64(1)}, true},
		{value.Map{"a": []any{value.Map{"b": "to anna"}}}, true},
		{value.Map{"a": "annabel", "b": int64(7), "c": nil}, false},
		{nil, false},
	} {
		if got := fieldsMention(mustFields(t, tt.v), "anna"); got != tt.want {
			t.Errorf("fieldsMention(%v) = %v, want %v", tt.v, got, tt.want)
		}
	}
}

// Work is bounded by rows and by bytes, whatever the entity has.
func TestAnErasureTakesBoundedSteps(t *testing.T) {
	const perEntry, entries = 9_000, 3
	m := newMachine(t)
	store := m.store(1)
	for i := range entries {
		ops := make([]Operation, perEntry)
		for j := range ops {
			ops[j] = touch(viewer(fmt.Sprint(i%2, "-", j), "anna"))
		}
		m.do(write(store, ops...))
	}
	var examined uint64
	steps := 0
	step := begin(store, 1, Entity{typeUser, "anna"})
	for remaining := true; remaining; steps++ {
		r := m.do(step)
		if n := r.Erased.Examined - examined; n > rowsPerErase {
			t.Errorf("step %d looked at %d rows", steps, n)
		}
		examined, remaining = r.Erased.Examined, r.Remaining
		step = &Command{Store: store, Body: &Erase{ID: erasureNumber(1)}}
		if steps == 2 {
			m.reopen()
		}
	}
	// Two versions of each tuple in the head, one in the past, and a change for each.
	want := uint64(2*perEntry + perEntry + entries*perEntry)
	if examined < want || examined > want+10 || steps < int(want/rowsPerErase) || steps > int(want/rowsPerErase)+2 {
		t.Errorf("%d steps looked at %d rows, want about %d", steps, examined, want)
	}
	if n := pastRows(t, m.s, store); n != entries*perEntry+3 {
		t.Errorf("%d rows of the past, want the changes alone", n)
	}
	m.checkHash()
}
