package main

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

// A server is killed again and again while it erases somebody and rewrites its files,
// under load. Each life goes on where the one before was cut off; in the end no byte of
// the name is left in the data directory, and nothing that was acknowledged is lost.
func TestKilledWhileItErasesLeavesNoByte(t *testing.T) {
	var inside int
	for range volume(1, 20) {
		inside += killErasing(t)
	}
	t.Logf("%d kills in the midst of a rewriting", inside)
}

// killErasing gives how many kills came while files were being rewritten.
func killErasing(t *testing.T) (inside int) {
	r := newCrashRun(t, "--snapshot-threshold=40", "--snapshot-interval=15ms", "--trailing-logs=8")
	r.snapshots = true
	name := "ANNA." + crand.Text()
	p := r.start()
	r.prepare(p)
	people := r.mentionEverywhere(p, name)
	found := placesOf(t, r.dir, name)
	for _, place := range []string{"raft/raft.db", "state/gen-", "state/snapshots"} {
		if !strings.Contains(fmt.Sprint(found), place) {
			t.Errorf("%s does not hold the name, so nothing can be shown of it: it is in %v", place, found)
		}
	}

	kills := volume(3, 6)
	for done := false; !done; {
		ctx, stop := context.WithCancel(t.Context())
		r.load.gone.Store(false)
		loaded, erased := make(chan error, 1), make(chan error, 1)
		go func() { loaded <- r.load.run(ctx, p) }()
		go func() { erased <- r.erase(ctx, p, people, name) }()
		var cut <-chan time.Time // never, when it was killed often enough
		if r.kills < kills {
			cut = time.After(time.Duration(r.rng.IntN(120)) * time.Millisecond)
		}
		select {
		case <-cut:
		case err := <-erased:
			if done = err == nil; !done {
				t.Fatalf("erase: %v\n%s", err, indent(p.stderr.String()))
			}
			if found := placesOf(t, r.dir, name); len(found) > 0 {
				t.Errorf("Erase has ended, and the name is still in %v", found)
			}
		}
		r.load.gone.Store(true)
		r.kill(p)
		r.kills++
		if r.rewriting() {
			inside++
		}
		if err := <-loaded; err != nil {
			t.Fatal(err)
		}
		stop()
		p = r.start()
		r.verify(p)
	}
	r.kill(p)
	if found := placesOf(t, r.dir, name); len(found) > 0 {
		t.Errorf("the name is in %v", found)
	}
	if found := placesOf(t, r.dir, "BERT"); len(found) == 0 {
		t.Error("another name is not found either, so the search finds nothing")
	}
	t.Logf("%d kills; %s", r.kills, r.load.tally())
	return inside
}

// rewriting says whether the server was killed between the first step of a rewriting and
// the removal of the last old file.
func (r *crashRun) rewriting() bool {
	r.t.Helper()
	generations, err := filepath.Glob(r.stateFiles("gen-*"))
	if err != nil {
		r.t.Fatal(err)
	}
	_, err = os.Stat(filepath.Join(r.dir, "raft", "raft.db.new"))
	return len(generations) > 1 || err == nil
}

// erase asks for the erasure and waits for its end.
func (r *crashRun) erase(ctx context.Context, p *crashServer, store, name string) error {
	c := remitv1connect.NewEraseServiceClient(connect.NewClient(connecthttp.NewTransport(&http.Client{Transport: p.transport}, "http://"+p.addr)))
	stream, err := c.Erase(ctx, &remitv1.EraseRequest{Store: store, Entity: "user:" + name})
	if err != nil {
		return err
	}
	var last *remitv1.EraseResponse
	for {
		res, err := stream.Receive()
		if err != nil {
			if last.GetReport() != nil {
				return nil
			}
			return err
		}
		last = res
	}
}

// mentionEverywhere writes of somebody in a store of its own, until the name is in the
// log, in the state, and in snapshots.
func (r *crashRun) mentionEverywhere(p *crashServer, name string) (store string) {
	r.t.Helper()
	ctx := r.t.Context()
	made, err := p.stores.CreateStore(ctx, &remitv1.CreateStoreRequest{Name: "people"})
	if err != nil {
		r.t.Fatal(err)
	}
	store = made.GetStore().GetId()
	_, err = p.models.WriteModel(ctx, &remitv1.WriteModelRequest{
		Store: store, Source: &remitv1.ModelSource{Source: &remitv1.ModelSource_Dsl{Dsl: crashModel}},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	touch := func(i int, subject string) {
		_, err := p.tuples.Write(ctx, &remitv1.WriteRequest{
			Store: store, Reason: "asked for by " + subject,
			Operations: []*remitv1.Operation{{
				Kind:  remitv1.Operation_KIND_TOUCH,
				Tuple: &remitv1.Tuple{Object: fmt.Sprintf("document:d%d", i), Relation: "viewer", Subject: "user:" + subject},
			}},
		})
		if err != nil {
			r.t.Fatal(err)
		}
	}
	for i := 0; len(placesOf(r.t, filepath.Join(r.dir, "state", "snapshots"), name)) == 0 || i < 100; i++ {
		if i == 10_000 {
			r.t.Fatal("no snapshot holds the name")
		}
		touch(i, name)
		touch(i, "BERT")
	}
	return store
}

// placesOf are the files under a directory that hold some text, tables looked into.
func placesOf(t *testing.T, dir, text string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return ignoreGone(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return ignoreGone(err)
		}
		holds := bytes.Contains(b, []byte(text))
		if !holds && strings.HasSuffix(path, ".sst") {
			if holds, err = tableHolds(path, text); err != nil {
				return ignoreGone(err)
			}
		}
		if holds {
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// ignoreGone is for what a running server removes while it is looked at.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// tableHolds looks at every row of a table, deleted ones included.
func tableHolds(path, text string) (holds bool, err error) {
	f, err := vfs.Default.Open(path)
	if err != nil {
		return false, err
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return false, errors.Join(err, f.Close())
	}
	r, err := sstable.NewReader(context.Background(), readable, sstable.ReaderOptions{Comparer: pebble.DefaultComparer})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	it, err := r.NewIter(sstable.NoTransforms, nil, nil, sstable.AssertNoBlobHandles)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for row := it.First(); row != nil; row = it.Next() {
		value, _, err := row.Value(nil)
		if err != nil {
			return false, err
		}
		if bytes.Contains(row.K.UserKey, []byte(text)) || bytes.Contains(value, []byte(text)) {
			return true, nil
		}
	}
	return false, it.Error()
}
