package graph_test

import (
	"testing"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/graphtest"
	"github.com/remit-authz/remit/graph/model"
)

func TestRandomMemory(t *testing.T)  { graphtest.Run(t, random(t), graphtest.Memory) }
func TestRandomOverlay(t *testing.T) { graphtest.Run(t, random(t), openOverlay) }

func TestRandomReasons(t *testing.T) {
	c := random(t)
	c.Models, c.ChecksPerModel, c.ListsPerModel, c.ReasonsPerModel = (c.Models+3)/4, 10, 0, 10
	graphtest.Run(t, c, graphtest.Memory)
}

func random(t *testing.T) graphtest.Config { return graphtest.Volume(t, "graph", 1, 100) }

// openOverlay gives all tuples as a request would: over an empty store.
func openOverlay(t testing.TB, s *graphtest.Store) (graphtest.Opened, error) {
	opened, err := graphtest.Memory(t, &graphtest.Store{Written: s.Written, Asked: s.Asked})
	if err != nil {
		return opened, err
	}
	o := graph.NewOverlay(opened.View)
	opened.View = o
	for _, step := range s.Steps { // what was removed remains known by name
		for _, name := range []graph.ObjectName{step.Tuple.Object, {Type: step.Tuple.Subject.Type, ID: step.Tuple.Subject.ID}} {
			typ, err := graph.ResolveType(opened.Written, "object", name.Type)
			if err != nil {
				return opened, err
			}
			if _, err := o.Entity(typ.ID, name.ID); err != nil {
				return opened, err
			}
		}
	}
	for _, tuple := range s.Tuples() {
		if err := o.PutTuple(opened.Written, tuple); err != nil {
			return opened, err
		}
	}
	return opened, nil
}

// What an exclusion subtracts can lead back to the userset that is explained.
func TestExplainWhatIsSubtractedLeadsBack(t *testing.T) {
	m, err := model.ParseDSL("model.fga", `model
  schema 1.1
type user
type group
  relations
    define listed: [user]
    define banned: [user]
    define owner: [user, group#member]
    define member: listed but not (owner and banned)
`)
	if err != nil {
		t.Fatal(err)
	}
	store := &graphtest.Store{Written: m, Asked: m}
	for _, text := range []string{"group:1#owner@group:1#member", "group:1#listed@user:anna"} {
		tuple, err := graph.ParseTuple(text)
		if err != nil {
			t.Fatal(err)
		}
		store.Steps = append(store.Steps, graphtest.Step{Tuple: tuple})
	}
	opened, err := graphtest.Memory(t, store)
	if err != nil {
		t.Fatal(err)
	}
	group, _ := opened.Asked.Type("group")
	user, _ := opened.Asked.Type("user")
	member, _ := group.Relation("member")
	q := graph.Query{View: opened.View, Plan: opened.Asked}
	e, err := q.Explain(t.Context(),
		graph.Userset{Object: graph.MakeID(group.ID, 1), Relation: member.ID},
		graph.Subject{ID: graph.MakeID(user.ID, 1)})
	if err != nil {
		t.Fatal(err)
	}
	if !e.Allowed || len(e.Proof) != 1 {
		t.Errorf("Explain = %v with %d tuples, want true with 1", e.Allowed, len(e.Proof))
	}
}
