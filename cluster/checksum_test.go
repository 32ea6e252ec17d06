package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hashicorp/raft"

	"github.com/remit-authz/remit/cluster/clustertest"
)

// The checksum stands in logs and travels between nodes of different releases.
func TestBytesOfAnEntrysChecksum(t *testing.T) {
	e := summed(&raft.Log{Index: 300, Term: 4, Type: raft.LogConfiguration, Data: []byte("data")})
	if got, want := fmt.Sprintf("%x", e.Extensions), "017f88db7c"; got != want {
		t.Errorf("the extensions are %s, want %s", got, want)
	}
	for _, damaged := range []raft.Log{
		{Index: 301, Term: 4, Type: raft.LogConfiguration, Data: []byte("data"), Extensions: e.Extensions},
		{Index: 300, Term: 5, Type: raft.LogConfiguration, Data: []byte("data"), Extensions: e.Extensions},
		{Index: 300, Term: 4, Type: raft.LogNoop, Data: []byte("data"), Extensions: e.Extensions},
		{Index: 300, Term: 4, Type: raft.LogConfiguration, Data: []byte("dat"), Extensions: e.Extensions},
	} {
		if err := verify(&damaged); !errors.Is(err, errDamaged) {
			t.Errorf("verify(%+v) = %v", damaged, err)
		}
	}
	for _, other := range [][]byte{nil, {2, 1, 2, 3, 4}, []byte("another layer's")} {
		if err := verify(&raft.Log{Index: 1, Extensions: other}); err != nil {
			t.Errorf("an entry with the extensions %x: %v", other, err)
		}
	}
}

func TestOldEntriesAreTakenAndDamagedOnesEndTheNode(t *testing.T) {
	old := raft.NewInmemStore()
	must(t, old.StoreLog(&raft.Log{Index: 1, Data: []byte("of an older release")}))
	var failed error
	logs := &checked{LogStore: old, fail: func(err error) { failed = err }}
	stored := &raft.Log{Index: 2, Data: []byte("summed")}
	must(t, logs.StoreLog(stored))
	if len(stored.Extensions) != 0 {
		t.Error("the caller's entry was changed")
	}
	var e raft.Log
	must(t, logs.GetLog(1, &e))
	must(t, logs.GetLog(2, &e))
	if len(e.Extensions) != sumLen {
		t.Errorf("entry 2 has the extensions %x", e.Extensions)
	}
	if err := logs.GetLog(3, &e); !errors.Is(err, raft.ErrLogNotFound) || failed != nil {
		t.Errorf("an entry that is not there: %v, %v", err, failed)
	}
	e.Data = []byte("sumned")
	must(t, old.StoreLog(&e))
	if err := logs.GetLog(2, &e); !errors.Is(err, errDamaged) || !errors.Is(failed, errDamaged) || !strings.Contains(failed.Error(), "join a new node") {
		t.Errorf("a damaged entry: %v, %v", err, failed)
	}
}

func TestEveryNodeKeepsTheSameChecksums(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newPeers(t, 1, 3)
		for i := range 20 {
			c.leader().propose(fmt.Sprint(i))
		}
		c.same()
		leader := c.leader()
		last, err := leader.logs.LastIndex()
		must(t, err)
		for _, p := range c.all {
			for i := uint64(1); i <= last; i++ {
				var own, leaders raft.Log
				must(t, errors.Join(p.logs.GetLog(i, &own), leader.logs.GetLog(i, &leaders)))
				if len(own.Extensions) != sumLen || !bytes.Equal(own.Extensions, leaders.Extensions) {
					t.Fatalf("node %s has entry %d with %x, the leader with %x", p.ID, i, own.Extensions, leaders.Extensions)
				}
			}
		}
	})
}

func TestAnEntryThatChangedOnItsWayIsRefused(t *testing.T) {
	_, transport := raft.NewInmemTransport("here")
	in := newInbox(transport)
	whole := summed(&raft.Log{Index: 1, Term: 1, Data: []byte("whole")})
	torn := *whole
	torn.Data = []byte("while")
	answer := make(chan raft.RPCResponse, 1)
	if !in.damaged(raft.RPC{RespChan: answer}, &raft.AppendEntriesRequest{Entries: []*raft.Log{whole, &torn}}) {
		t.Fatal("a damaged entry is taken")
	}
	if a := <-answer; !errors.Is(a.Error, errDamaged) {
		t.Errorf("the sender is told %v", a.Error)
	}
	if in.damaged(raft.RPC{RespChan: answer}, &raft.AppendEntriesRequest{Entries: []*raft.Log{whole}}) {
		t.Error("a whole entry is refused")
	}
	must(t, transport.Close())
}

// logBytes is the file of a log with entries of all sizes, and the entries.
func logBytes(t *testing.T) (file []byte, entries []raft.Log) {
	t.Helper()
	dir := t.TempDir()
	_, n := diskRig(t, dir, clustertest.NewDisk())
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 300 {
		size := rng.IntN(200)
		if i%20 == 0 {
			size = 9000 // pages of its own
		}
		propose(t, n, strings.Repeat("x", size))
	}
	must(t, n.Close())
	store, err := openLog(dir, true)
	must(t, err)
	last, err := store.LastIndex()
	must(t, err)
	for i := uint64(1); i <= last; i++ {
		var e raft.Log
		must(t, store.GetLog(i, &e))
		entries = append(entries, e)
	}
	must(t, store.Close())
	file, err = os.ReadFile(filepath.Join(dir, logFile))
	must(t, err)
	return file, entries
}

// readAll opens a log as a start does, and reads it.
func readAll(dir string) (entries []raft.Log, err error) {
	store, err := openLog(dir, true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	f, err := look(store, store, raft.NewDiscardSnapshotStore(), 0)
	if err != nil {
		return nil, err
	}
	if err := f.verifyLog(store); err != nil {
		return nil, err
	}
	_, err = checkLog(store, f.first, f.last, func(e *raft.Log) error {
		entries = append(entries, *e)
		return nil
	})
	return entries, err
}

func TestNoDamagedByteOfALogIsTaken(t *testing.T) {
	file, want := logBytes(t)
	rng := rand.New(rand.NewPCG(3, 4))
	dir := t.TempDir()
	name := filepath.Join(dir, logFile)
	refused := 0
	try := func(what string, damaged []byte) {
		must(t, os.WriteFile(name, damaged, 0o600))
		got, err := readAll(dir)
		if err != nil {
			if !errors.Is(err, errDamaged) && !strings.Contains(err.Error(), "damaged") {
				t.Errorf("%s: %v", what, err)
			}
			if !strings.Contains(err.Error(), adviceLog) {
				t.Errorf("%s: the error does not say what to do: %v", what, err)
			}
			refused++
			return
		}
		if len(got) != len(want) {
			t.Fatalf("%s: %d entries are taken, want %d", what, len(got), len(want))
		}
		for i, e := range got {
			if w := want[i]; e.Index != w.Index || e.Term != w.Term || e.Type != w.Type || !bytes.Equal(e.Data, w.Data) {
				t.Fatalf("%s: entry %d is taken as %+v", what, w.Index, e)
			}
		}
	}
	// The file is longer than what is used of it.
	used := len(bytes.TrimRight(file, "\x00"))
	for range 400 {
		at := rng.IntN(used)
		damaged := bytes.Clone(file[:used+1<<14])
		damaged[at] ^= 1 << rng.IntN(8)
		try(fmt.Sprintf("byte %d", at), damaged)
	}
	for i := range 20 {
		cut := 1 + used*i/20
		try(fmt.Sprintf("cut off at %d", cut), file[:cut])
	}
	for page := range used / 4096 {
		damaged := bytes.Clone(file[:used+1<<14])
		clear(damaged[page*4096 : (page+1)*4096])
		try(fmt.Sprintf("page %d empty", page), damaged)
	}
	if refused < 200 {
		t.Errorf("only %d were refused", refused)
	}
}

func TestADamagedLogIsLeftAsItIs(t *testing.T) {
	dir, disk := t.TempDir(), clustertest.NewDisk()
	m, n := diskRig(t, dir, disk)
	propose(t, n, "secretsecretsecret")
	must(t, n.Close())
	must(t, m.journal.Close())
	name := filepath.Join(dir, logFile)
	file, err := os.ReadFile(name)
	must(t, err)
	at := bytes.Index(file, []byte(secret))
	file[at+3] ^= 1
	must(t, os.WriteFile(name, file, 0o600))

	m = openToy(t, disk)
	cfg := toyConfig(m, toySnapshots{disk})
	cfg.Dir = dir
	var refusal *StartError
	if _, err := Open(t.Context(), cfg); !errors.As(err, &refusal) || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("Open = %v, want a StartError", err)
	}
	f, err := os.Open(name)
	must(t, err)
	left, err := io.ReadAll(f)
	must(t, errors.Join(err, f.Close()))
	// The file's descriptions may have changed places: bbolt writes one of them at each opening.
	if len(left) != len(file) || left[at+3] != file[at+3] {
		t.Error("the refused log was changed")
	}
	must(t, m.journal.Close())
}
