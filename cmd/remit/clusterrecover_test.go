package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestRecoverGoesOnFromWhatIsLeft(t *testing.T) {
	dir := t.TempDir()
	p := serveProcess(t, dir)
	must(t, "store", "import", "testdata/stores/public.fga.yaml", "--addr", p.addr)
	must(t, "write", "hall:west#open_to@visitor:ivy", "--addr", p.addr)
	refused(t, "data directory in use", "cluster", "recover", "--data-dir", dir)
	refused(t, "data directory in use", "cluster", "recover", "--data-dir", dir, "--dry-run")
	if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.ends(t)

	seen := must(t, "cluster", "recover", "--data-dir", dir, "--dry-run")
	for _, want := range []string{"term       ", "index      ", "node       ", "revision   ", "epoch      ", "members    ", " votes\n"} {
		if !strings.Contains(seen, want) {
			t.Errorf("--dry-run says\n%swant %q", seen, want)
		}
	}
	var survivor struct {
		NodeID string
		Term   uint64
		Index  uint64
		Epoch  string
	}
	if err := json.Unmarshal([]byte(must(t, "cluster", "recover", "--data-dir", dir, "--dry-run", "-o", "json")), &survivor); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(seen, survivor.NodeID) || survivor.Term == 0 || survivor.Index == 0 || len(survivor.Epoch) != 32 {
		t.Errorf("--dry-run says %+v in JSON", survivor)
	}

	out := must(t, "cluster", "recover", "--data-dir", dir)
	for _, want := range []string{"node " + survivor.NodeID + " goes on alone as node ", "remit serve --data-dir " + dir, "before-recovery-"} {
		if !strings.Contains(out, want) {
			t.Errorf("recover says\n%swant %q", out, want)
		}
	}
	if strings.Contains(out, survivor.Epoch) {
		t.Errorf("the epoch is still that of before:\n%s", out)
	}
	kept, err := filepath.Glob(filepath.Join(dir, "before-recovery-*", "state"))
	if err != nil || len(kept) != 1 {
		t.Errorf("kept is %v, %v", kept, err)
	}

	p = serveProcess(t, dir)
	if out := must(t, "who", "can_visit", "hall:west", "--kind", "visitor", "--addr", p.addr); out != "visitor:ivy\n" {
		t.Errorf("after the recovery, who says %q", out)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.ends(t)

	empty := t.TempDir()
	refused(t, "holds no node", "cluster", "recover", "--data-dir", empty)
	if left, err := os.ReadDir(empty); err != nil || len(left) > 1 { // the file of the lock
		t.Errorf("recover leaves %v, %v", left, err)
	}
	refused(t, "no such file", "cluster", "recover", "--data-dir", filepath.Join(empty, "missing"))
}
