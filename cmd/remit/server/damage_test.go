package server

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectinprocess"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

// stoppedNode is the data directory of a server that has one store, with a snapshot behind
// it if wanted, and another store in the log.
func stoppedNode(t *testing.T, snapshot bool) string {
	t.Helper()
	dir := t.TempDir()
	s, stop := running(t, Config{DataDir: dir})
	createStore(t, s, "acme")
	if snapshot {
		if err := s.node.Snapshot(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	createStore(t, s, "storeinthelog")
	stop()
	return dir
}

// onlyIn finds the one file under a directory that ends so.
func onlyIn(t *testing.T, dir, suffix string) string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if strings.HasSuffix(path, suffix) {
			found = append(found, path)
		}
		return err
	})
	if err != nil || len(found) == 0 {
		t.Fatalf("%d files %s in %s: %v", len(found), suffix, dir, err)
	}
	return found[0]
}

// alter changes a file.
func alter(t *testing.T, name string, f func(content []byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, f(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

// flip turns a bit of the byte behind a text.
func flip(t *testing.T, text string) func([]byte) []byte {
	return func(b []byte) []byte {
		at := bytes.LastIndex(b, []byte(text))
		if at < 0 {
			t.Fatalf("no %q in %d bytes", text, len(b))
		}
		b[at] ^= 1
		return b
	}
}

// contents are the files of a directory, but for what each start writes.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		all[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestDamagedDataIsRefused(t *testing.T) {
	const advice = "join a new node with an empty data directory in its place"
	for name, test := range map[string]struct {
		snapshot bool
		damage   func(t *testing.T, dir string) (file string)
		want     []string
	}{
		"an entry of the log": {
			damage: func(t *testing.T, dir string) string {
				file := filepath.Join(dir, raftDir, "raft.db")
				alter(t, file, flip(t, "storeinthelog"))
				return file
			},
			want: []string{"has the checksum", advice},
		},
		"a log that is cut off": {
			damage: func(t *testing.T, dir string) string {
				file := filepath.Join(dir, raftDir, "raft.db")
				if err := os.Truncate(file, 20_000); err != nil {
					t.Fatal(err)
				}
				return file
			},
			want: []string{"raft.db: it is cut off", advice},
		},
		"a page of the log": {
			damage: func(t *testing.T, dir string) string {
				file := filepath.Join(dir, raftDir, "raft.db")
				alter(t, file, func(b []byte) []byte {
					clear(b[2*4096:])
					return b
				})
				return file
			},
			want: []string{"raft.db: page", advice},
		},
		"a log that is empty": {
			damage: func(t *testing.T, dir string) string {
				file := filepath.Join(dir, raftDir, "raft.db")
				if err := os.Truncate(file, 0); err != nil {
					t.Fatal(err)
				}
				return ""
			},
			want: []string{"the state machine is ahead of the log"},
		},
		"a table of the state": {
			snapshot: true,
			damage: func(t *testing.T, dir string) string {
				file := onlyIn(t, filepath.Join(dir, stateDir, "gen-000001"), ".sst")
				alter(t, file, func(b []byte) []byte {
					b[20] ^= 1
					return b
				})
				return file
			},
			want: []string{"corrupt data", filepath.Join("state", "gen-000001"), advice},
		},
		"the state's file of what counts": {
			damage: func(t *testing.T, dir string) string {
				file := filepath.Join(dir, stateDir, "CURRENT")
				if err := os.WriteFile(file, []byte("gen-\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				return file
			},
			want: []string{"corrupt data", "CURRENT", advice},
		},
		"the id of the node": {
			damage: func(t *testing.T, dir string) string {
				file := filepath.Join(dir, raftDir, "node-id")
				alter(t, file, func(b []byte) []byte { return b[1:] })
				return file
			},
			want: []string{"node id", "is damaged"},
		},
		"the log of another node": {
			damage: func(t *testing.T, dir string) string {
				file := filepath.Join(dir, raftDir, "raft.db")
				b, err := os.ReadFile(filepath.Join(stoppedNode(t, false), raftDir, "raft.db"))
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, b, 0o600); err != nil {
					t.Fatal(err)
				}
				return ""
			},
			want: []string{"but the log is that of node", "restore the one that belongs to the other"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := stoppedNode(t, test.snapshot)
			if test.snapshot {
				// With another start and stop the state is in a table, not in its WAL alone.
				_, stop := running(t, Config{DataDir: dir})
				stop()
			}
			file := test.damage(t, dir)
			before := contents(t, dir)
			for range 2 { // a refusal does not make it better
				s, err := Open(t.Context(), Config{DataDir: dir, Addr: "127.0.0.1:0", GRPCAddr: "127.0.0.1:0"})
				if err == nil {
					t.Fatal("it is opened", s.Close())
				}
				for _, want := range test.want {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("Open = %v\nwant %q", err, want)
					}
				}
			}
			if file != "" && !strings.HasSuffix(file, "raft.db") {
				if after := contents(t, dir); after[file] != before[file] {
					t.Errorf("%s was changed", file)
				}
			}
			if _, err := Recover(t.Context(), RecoverConfig{DataDir: dir}); err == nil {
				t.Error("it is recovered")
			}
		})
	}
}

// A snapshot is needed only by who lacks what is in it: the node itself starts without, as
// long as its state and its log have everything.
func TestAnAlteredSnapshotIsNotSent(t *testing.T) {
	dir := stoppedNode(t, true)
	manifest := onlyIn(t, filepath.Join(dir, stateDir, "snapshots"), "MANIFEST.remit")
	alter(t, manifest, func(b []byte) []byte {
		b[len(b)/2] ^= 1
		return b
	})
	s, stop := running(t, Config{DataDir: dir})
	defer stop()
	stores := remitv1connect.NewStoreServiceClient(connect.NewClient(connectinprocess.New(s.Connect())))
	list, err := stores.ListStores(t.Context(), &remitv1.ListStoresRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, store := range list.GetStores() {
		names = append(names, store.GetName())
	}
	if !slices.Contains(names, "acme") || !slices.Contains(names, "storeinthelog") {
		t.Errorf("the stores are %v", names)
	}
	if list, err := s.state.Snapshots().List(); err != nil || len(list) != 0 {
		t.Errorf("%d snapshots would be sent, %v", len(list), err)
	}
}
