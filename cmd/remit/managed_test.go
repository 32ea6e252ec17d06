package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/cmd/remit/server"
	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph/model"
)

// managedData makes a node's directory with a managed store, org, in which doc:plan is owned
// by person:eva.
func managedData(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	state, err := fsm.Open(fsm.Config{Dir: filepath.Join(dir, "state")})
	if err != nil {
		t.Fatal(err)
	}
	node, err := cluster.Open(t.Context(), cluster.Config{
		Dir: filepath.Join(dir, "raft"), NoSync: true, // nobody cuts the power
		FSM: state, Snapshots: state.Snapshots(), Seal: fsm.Seal, SplitAnswers: fsm.SplitAnswers,
		TermStart: fsm.TermStart, DurableIndex: state.DurableIndex, Published: state.Published,
	})
	if err != nil {
		t.Fatal(err)
	}
	m, err := model.ParseDSL("", "model\n  schema 1.1\ntype person\ntype doc\n  relations\n    define owner: [person]\n")
	if err != nil {
		t.Fatal(err)
	}
	source, err := m.JSON()
	if err != nil {
		t.Fatal(err)
	}
	store := fsm.StoreID{0: 1, 15: 1}
	symbols := model.NewTable()
	symbols.Define(m.Declarations())
	person, _ := symbols.TypeID("person")
	doc, _ := symbols.TypeID("doc")
	owner, _ := symbols.RelationID(doc, "owner")
	for _, c := range []*fsm.Command{
		{Body: &fsm.SetClusterVersion{Version: fsm.ClusterVersion}},
		{Store: store, Body: &fsm.CreateStore{Name: "org", Managed: true}},
		{Store: store, Planned: true, Body: &fsm.WriteModel{ID: fsm.ModelID{15: 1}, Source: source, Declarations: m.Declarations()}},
		{Store: store, Planned: true, Body: &fsm.Write{Operations: []fsm.Operation{{Kind: fsm.CreateTuple, Tuple: fsm.TupleKey{
			Object: fsm.Entity{Type: doc, Name: "plan"}, Relation: owner, Subject: fsm.Entity{Type: person, Name: "eva"},
		}}}}},
	} {
		encoded, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		answer, err := node.Propose(t.Context(), encoded)
		if err != nil {
			t.Fatal(err)
		}
		if result, err := fsm.DecodeResult(answer); err != nil || result.Err != nil {
			t.Fatal(result, err)
		}
	}
	if err := node.Close(); err != nil {
		t.Fatal(err)
	}
	if err := state.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Every command that would write to an organisation's store says which to use instead; those
// that do not write work as ever.
func TestAManagedStoreIsChangedByItsOrganisationAlone(t *testing.T) {
	dir := managedData(t)
	startServer(t, func(c *server.Config) { c.DataDir = dir })
	file := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const model = "model\n  schema 1.1\ntype person\ntype doc\n  relations\n    define owner: [person]\n    define reader: [person]\n"
	const advice = "belong to an organisation; change that instead, with remit org"
	for _, args := range [][]string{
		{"write", "person:max", "owner", "doc:plan", "--store", "org"},
		{"delete", "person:eva", "owner", "doc:plan", "--store", "org"},
		{"delete", "--object", "doc:plan", "--store", "org", "--yes", "--expect", "5"},
		{"model", "write", file("model.fga", model), "--store", "org"},
		{"store", "import", file("more.fga.yaml", "tuples:\n  - {user: \"person:max\", relation: owner, object: \"doc:plan\"}\n"), "--into", "org"},
		{"store", "import", file("more.csv", "user_type,user_id,relation,object_type,object_id\nperson,max,owner,doc,plan\n"), "--into", "org"},
	} {
		refused(t, advice, args...)
	}
	refused(t, "person:eva is still in the organisation that store org belongs to; delete it there first", "erase", "person:eva", "--store", "org", "--yes", "--leave-mentions")

	if out := must(t, "check", "person:eva", "owner", "doc:plan", "--store", "org"); out != "allowed\n" {
		t.Errorf("check says %q", out)
	}
	if out := must(t, "store", "export", "org"); !strings.Contains(out, "person:eva") {
		t.Errorf("the export is\n%s", out)
	}
	if out := must(t, "store", "get", "org"); !strings.Contains(out, "managed    yes; change it with remit org\n") {
		t.Errorf("store get says\n%s", out)
	}
	must(t, "store", "create", "shop")
	if out := must(t, "store", "get", "shop"); strings.Contains(out, "managed") {
		t.Errorf("store get of another store says\n%s", out)
	}
	if out := must(t, "store", "list", "--name", "shop"); strings.Contains(out, "MANAGED") {
		t.Errorf("store list of other stores says\n%s", out)
	}
	lines := strings.Split(must(t, "store", "list"), "\n")
	if len(lines) != 4 || !strings.HasSuffix(lines[0], "MANAGED") || !strings.HasSuffix(lines[1], "yes") || !strings.HasSuffix(lines[2], "no") {
		t.Errorf("store list says\n%s", strings.Join(lines, "\n"))
	}
	must(t, "store", "set-retention", "org", "forever", "--yes")
	must(t, "store", "delete", "org", "--yes")
}

// A node that is alone has nobody to wait for: it takes an organisation as soon as it serves.
func TestANewNodeKnowsManagedStores(t *testing.T) {
	startServer(t)
	if out := must(t, "cluster", "status"); !strings.Contains(out, ", version 2: ") {
		t.Errorf("cluster status says\n%s", out)
	}
}
