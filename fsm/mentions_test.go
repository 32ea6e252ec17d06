package fsm

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/value"
)

func allMentions(t *testing.T, s *State, store StoreID, e Entity) (all []Mention, pages int) {
	t.Helper()
	st, _ := s.Current().Store(store)
	c := &MentionCursor{}
	for ; !c.Done; pages++ {
		if err := st.Mentions(e, c); err != nil {
			t.Fatal(err)
		}
		all = append(all, c.Mentions...)
	}
	return all, pages
}

// What an erasure leaves, the mentions show: once they are gone, so is the name.
func TestMentionsAreWhatAnErasureLeaves(t *testing.T) {
	m := newMachine(t)
	store := storeNumber(1)
	anna := Entity{typeUser, canary}
	mention := mustFields(t, value.Map{"deputy": "user:" + canary})
	m.do(&Command{Store: store, Body: &CreateStore{Name: "of " + canary}})
	m.do(&Command{Store: store, Body: &WriteModel{ID: modelNumber(1), Source: []byte("x" + canary + "x"), Declarations: declared}})
	m.do(&Command{Store: store, Body: &WriteModel{ID: modelNumber(2), Source: []byte("model")}})
	m.do(assertions(store, modelNumber(2), "x"+canary+"x"))
	scoped := write(store,
		touch(viewer("plan", canary)),
		touch(viewer("of "+canary, "bert")),
		Operation{Kind: TouchTuple, Tuple: viewer("plan", "bert"), Condition: conditionOne, Context: mention},
		Operation{Kind: TouchTuple, Tuple: viewer("memo", canary), Condition: conditionOne, Context: mention},
		Operation{Kind: PutDocument, Entity: Entity{typeDocument, "plan"}, Fields: mention},
		Operation{Kind: PutDocument, Entity: anna, Fields: mention})
	scoped.Bumps = []string{"a", "seat/" + canary, "z"}
	m.do(scoped)
	for _, erased := range []bool{false, true} {
		all, _ := allMentions(t, m.s, store, anna)
		st, _ := m.s.Current().Store(store)
		plan, _, _ := st.Lookup(typeDocument, "plan")
		of, _, _ := st.Lookup(typeDocument, "of "+canary)
		bert, _, _ := st.Lookup(typeUser, "bert")
		tuple, _ := st.index.tuple(graph.Userset{Object: plan, Relation: relViewer}, graph.Subject{ID: bert})
		want := []Mention{
			{Kind: MentionInStoreName},
			{Kind: MentionInModel, Model: modelNumber(1)},
			{Kind: MentionInAssertions, Model: modelNumber(2)},
			{Kind: MentionInScope, Scope: "seat/" + canary},
			{Kind: MentionInName, Entity: of},
			{Kind: MentionInDocument, Entity: plan},
			{Kind: MentionInTuple, Tuple: tuple.row()},
		}
		if diff := cmp.Diff(want, all, compareEdges); diff != "" {
			t.Errorf("erased %v: mentions (-want +got):\n%s", erased, diff)
		}
		if !erased {
			m.eraseAll(begin(store, 1, anna), 0)
		}
	}
}

func TestAPageOfMentionsLooksAtSoMuch(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	ops := make([]Operation, 9_000)
	for i := range ops {
		ops[i] = Operation{Kind: TouchTuple, Tuple: viewer(fmt.Sprint(i), "bert")}
		if i%1000 == 0 {
			ops[i].Condition, ops[i].Context = conditionOne, mustFields(t, value.Map{"c": "anna"})
		}
	}
	m.do(write(store, ops...))
	all, pages := allMentions(t, m.s, store, Entity{typeUser, "anna"})
	seen := map[graph.ID]bool{}
	for _, x := range all {
		seen[x.Tuple.Userset.Object] = true
	}
	if len(all) != 9 || len(seen) != 9 || pages != 2 {
		t.Errorf("%d mentions of %d objects on %d pages, want 9 on 2", len(all), len(seen), pages)
	}
}
