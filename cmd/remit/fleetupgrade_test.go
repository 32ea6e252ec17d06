package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/remit-authz/remit/rpc/client"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// earlierRemit builds the program as of a release that knows one cluster version less.
func earlierRemit(t *testing.T) (path string) {
	t.Helper()
	dir := t.TempDir()
	source, err := filepath.Abs(filepath.Join("..", "..", "fsm", "command.go"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	const known, earlier = "const ClusterVersion = 2\n", "const ClusterVersion = 1\n"
	if bytes.Count(text, []byte(known)) != 1 {
		t.Fatalf("%s does not say %q", source, known)
	}
	changed, overlay := filepath.Join(dir, "command.go"), filepath.Join(dir, "overlay.json")
	files, err := json.Marshal(map[string]map[string]string{"Replace": {source: changed}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{changed: bytes.Replace(text, []byte(known), []byte(earlier), 1), overlay: files} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path = filepath.Join(dir, "remit")
	build := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlay, "-o", path, ".")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", build, err, said)
	}
	return path
}

// A cluster is upgraded node by node under load: nobody notices, and what the new release
// alone knows is refused until the last node has it. Then there is no way back.
func TestFleetUpgradesNodeByNode(t *testing.T) {
	f := newFleet(t, 3, 0)
	earlier := earlierRemit(t)
	for _, n := range f.nodes {
		n.program = earlier
	}
	f.startAll()
	store := f.prepare()
	c := f.client(client.Config{})
	version := func() uint64 {
		res, err := c.Cluster.GetCluster(t.Context(), &remitv1.GetClusterRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return res.GetClusterVersion()
	}
	organise := func() error {
		_, err := c.Organisations.CreateOrganisation(t.Context(), &remitv1.CreateOrganisationRequest{
			Name: "office", Id: "office", SuperAdmin: &remitv1.Seat{Id: "ann", Name: "Ann", Login: "ann@example.org"},
		})
		return err
	}
	f.awaitFor("the cluster has the version that all know", time.Minute, func() bool { return version() == 1 })

	writer := f.writer(f.client(client.Config{Attempts: 4}), store, "w")
	stop := probing(t, time.Millisecond, writer)
	for _, n := range f.nodes {
		if err := organise(); client.Reason(err) != remitv1.ErrorReason_ERROR_REASON_CLUSTER_VERSION {
			t.Errorf("an organisation before node %s is upgraded: %v", n.name, err)
		}
		if got := version(); got != 1 {
			t.Errorf("the cluster version is %d before node %s is upgraded, want 1", got, n.name)
		}
		n.stop()
		n.program = ""
		n.start()
		n.awaitReady()
	}
	f.awaitFor("the version rises", 3*time.Minute, func() bool { return version() == 2 })
	stop()
	if err := writer.errors(); err != nil {
		t.Error(err)
	}
	t.Logf("%d writes, none failed", writer.count())
	if err := organise(); err != nil {
		t.Errorf("an organisation when every node is upgraded: %v", err)
	}
	f.wantEqual()

	last := f.others(f.leader())[0]
	last.stop()
	last.program = earlier
	if said := f.refuses(last); !strings.Contains(said, "this program is too old") {
		t.Errorf("the earlier release on a node of the upgraded cluster says %q", said)
	}
	last.program = ""
	last.start()
	last.awaitReady()
	f.wantEqual()
}
