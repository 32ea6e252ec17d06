package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// erasable is the model of the tests of erasing: persons are objects too, and conditions
// can mention them.
const erasable = `name: club
model: |
  model
    schema 1.1
  type person
    relations
      define friend: [person]
  type circle
    relations
      define member: [person, circle#member, person#friend, person with known]
  condition known(host: string) {
    host != ""
  }
tuples:
  - {user: person:bea, relation: member, object: circle:tea}
  - {user: person:cyd, relation: member, object: circle:tea}
`

const (
	erased     = "zelda-quartz-77"
	erasedName = "person:" + erased
)

// bytesOf finds the files below a folder that hold a text: as they are, or in a row of a
// table, whose blocks are compressed.
func bytesOf(t *testing.T, dir, text string) (places []string) {
	t.Helper()
	tables := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if bytes.Contains(content, []byte(text)) || strings.Contains(name, text) {
			places = append(places, name)
		}
		// Backups name their tables by a checksum, so every file is asked what it is.
		rows, err := tableRows(path)
		if err != nil {
			return nil //nolint:nilerr // it is no table
		}
		tables++
		if bytes.Contains(rows, []byte(text)) {
			places = append(places, name+" (in a row)")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %d tables, %q is in %q", filepath.Base(dir), tables, text, places)
	return places
}

// tableRows are all keys and values of a table, those that are deleted or overwritten too.
func tableRows(path string) (all []byte, err error) {
	f, err := vfs.Default.Open(path)
	if err != nil {
		return nil, err
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	r, err := sstable.NewReader(context.Background(), readable, (&pebble.Options{}).MakeReaderOptions())
	if err != nil {
		return nil, err // which closes the file
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	it, err := r.NewIter(sstable.NoTransforms, nil, nil, sstable.AssertNoBlobHandles)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for kv := it.First(); kv != nil; kv = it.Next() {
		value, _, err := kv.Value(nil)
		if err != nil {
			return nil, err
		}
		all = append(append(append(append(all, kv.K.UserKey...), '|'), value...), '\n')
	}
	return all, it.Error()
}

// aClub fills a server with a person: in tuples, of now and of the past, as object, subject
// and userset, in what others said once, as the author of changes, in reasons and keys. It
// gives the revision at which all of that was so.
func aClub(t *testing.T, extra int) uint64 {
	t.Helper()
	file := filepath.Join(t.TempDir(), "club.fga.yaml")
	if err := os.WriteFile(file, []byte(erasable), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, "store", "import", file)
	must(t, "write", "circle:tea#member@"+erasedName, erasedName+"#friend@person:bea", "circle:tea#member@"+erasedName+"#friend", "--reason", "for "+erased, "--key", erased+"/1")
	c, err := (&app{}).client()
	if err != nil {
		t.Fatal(err)
	}
	// What others say of the person, who does it.
	ctx, info := connect.NewClientContext(t.Context())
	info.RequestHeader().Set("Remit-Actor", erasedName)
	info.RequestHeader().Set("X-Request-Id", erased+"/2")
	host, err := structpb.NewStruct(map[string]any{"host": erased})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := c.tuples.Write(ctx, &remitv1.WriteRequest{Store: "club", Operations: []*remitv1.Operation{
		{Kind: remitv1.Operation_KIND_TOUCH, Tuple: &remitv1.Tuple{
			Object: "circle:chess", Relation: "member", Subject: "person:bea", Condition: &remitv1.Condition{Name: "known", Context: host},
		}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("user_type,user_id,relation,object_type,object_id\n")
	for i := range extra {
		fmt.Fprintf(&b, "person,%s,member,circle,c%d\n", erased, i)
	}
	many := filepath.Join(t.TempDir(), "many.csv")
	if err := os.WriteFile(many, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, "store", "import", many, "--into", "club")
	var seen remitv1.ReadResponse
	if err := protojson.Unmarshal([]byte(must(t, "read", "--consistency", "at_exact_snapshot="+answer.GetToken(), "-o", "json", "--limit", "1")), &seen); err != nil {
		t.Fatal(err)
	}
	must(t, "delete", "circle:tea#member@"+erasedName+"#friend")
	return seen.GetAsOf().GetRevision()
}

// others is what a store says, now and at a revision, of all but the erased.
func others(t *testing.T, revision uint64) string {
	t.Helper()
	var b strings.Builder
	for _, when := range [][]string{nil, {"--as-of", strconv.FormatUint(revision, 10)}} {
		for _, question := range [][]string{
			{"read"},
			{"check", "person:bea", "member", "circle:tea"},
			{"check", "person:cyd", "member", "circle:chess"},
			{"who", "member", "circle:tea", "--kind", "person"},
			{"what", "person:bea", "member", "circle", "--context", `{"host": "x"}`},
		} {
			for line := range strings.Lines(must(t, append(question, when...)...)) {
				// What others said of the person in the past, at chess, goes with them.
				if !strings.Contains(line, erased) && line != "circle:chess\n" {
					b.WriteString(line)
				}
			}
		}
	}
	return b.String()
}

// Whatever a node has of a person, erase leaves no byte of the name in its data directory,
// and changes nothing about others.
func TestEraseLeavesNoByte(t *testing.T) {
	for _, name := range []string{"REMIT_STORE", "REMIT_TOKEN"} {
		t.Setenv(name, "")
	}
	dir, old, fresh := t.TempDir(), filepath.Join(t.TempDir(), "old"), filepath.Join(t.TempDir(), "fresh")
	flags := []string{"--snapshot-threshold=20", "--snapshot-interval=15ms", "--trailing-logs=8", "--log-level=warn"}
	begin := func(more ...string) (stop func()) {
		p := serveProcess(t, dir, append(flags, more...)...)
		t.Setenv("REMIT_ADDR", p.addr)
		return func() {
			t.Helper()
			if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			if s := p.ends(t); !s.Success() {
				t.Fatalf("serve ends with %s\n%s", s, p.stderr.String())
			}
		}
	}
	stop := begin()
	past := aClub(t, 50)
	for i := range 60 { // several snapshots
		must(t, "write", fmt.Sprintf("circle:c%d#member@person:bea", i), "--reason", "no matter")
	}
	stop()
	if len(bytesOf(t, dir, erased)) < 2 {
		t.Error("before, the name is hardly there")
	}
	stop = begin("--backup-dir", old, "--backup-interval", "1h")
	awaitBackup(t, old)

	// A live mention stands in the way.
	refused(t, "others mention it", "erase", erasedName, "--yes")
	refused(t, "there is nobody to ask; confirm with --yes", "erase", erasedName, "--leave-mentions")
	must(t, "write", "circle:chess#member@person:bea", "--condition", "known", "--context", `{"host": "nobody"}`)
	refused(t, "reason holds the name that is to be erased", "erase", erasedName, "--yes", "--reason", "for "+erased)
	if out := must(t, "erase", erasedName, "--preview"); !strings.Contains(out, "52 tuples: 51 as subject, 1 as object, 0 as userset\n") {
		t.Errorf("the preview says %s", out)
	}
	before := others(t, past)
	var answer remitv1.EraseResponse
	if err := protojson.Unmarshal([]byte(must(t, "erase", erasedName, "--yes", "--reason", "request 114", "-o", "json")), &answer); err != nil {
		t.Fatal(err)
	}
	t.Log(&answer)
	if e, r := answer.GetErased(), answer.GetReport(); e.GetTuples() != 52 || e.GetVersions() < 2 || e.GetChanges() < 54 || e.GetKeys() != 1 || r.GetMentions() != 0 ||
		len(r.GetNodes()) != 1 || r.GetNodes()[0].GetRewrittenRevision() < r.GetRevision() || len(r.GetBackups()) != 1 {
		t.Errorf("erase says %v", &answer)
	}
	if after := others(t, past); after != before {
		t.Errorf("others are told\n%s\nwere told\n%s", after, before)
	}
	must(t, "backup", "save", fresh)
	if out := must(t, "erase", erasedName, "--yes"); !strings.Contains(out, "nothing was left of "+erasedName) {
		t.Errorf("the second erase says %s", out)
	}
	stop()
	if places := bytesOf(t, dir, erased); len(places) > 0 {
		t.Errorf("after the erasure the name is in %q", places)
	}
	if places := bytesOf(t, fresh, erased); len(places) > 0 {
		t.Errorf("a backup made afterwards has the name in %q", places)
	}
	if len(bytesOf(t, old, erased)) == 0 {
		t.Error("the backup made before does not have the name: the search proves nothing")
	}
	stop = begin()
	if after := others(t, past); after != before {
		t.Errorf("after a restart others are told\n%s\nwere told\n%s", after, before)
	}
	stop()
	if places := bytesOf(t, dir, erased); len(places) > 0 {
		t.Errorf("after a restart the name is in %q", places)
	}
}

// awaitBackup waits until a folder has a backup.
func awaitBackup(t *testing.T, folder string) {
	t.Helper()
	for {
		if found, err := filepath.Glob(filepath.Join(folder, "*.backup")); err != nil || len(found) > 0 {
			return
		}
		must(t, "store", "list") // until it is there
	}
}

// eraseUntil follows an erasure for some messages, and reports whether it had begun.
func eraseUntil(t *testing.T, messages int) (begun bool) {
	t.Helper()
	c, err := (&app{}).client()
	if err != nil {
		t.Fatal(err)
	}
	stream, err := c.erasures.Erase(t.Context(), &remitv1.EraseRequest{Store: "club", Entity: erasedName})
	for range messages {
		var res *remitv1.EraseResponse
		if err == nil {
			res, err = stream.Receive()
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		begun = begun || res.GetErasureId() != ""
	}
	return begun
}

// An erasure survives the death of the server at any moment: the same command goes on.
func TestEraseSurvivesKills(t *testing.T) {
	for _, name := range []string{"REMIT_STORE", "REMIT_TOKEN"} {
		t.Setenv(name, "")
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	dir := t.TempDir()
	begin := func() *process {
		p := serveProcess(t, dir, "--log-level=warn")
		t.Setenv("REMIT_ADDR", p.addr)
		return p
	}
	p := begin()
	aClub(t, 6000)
	must(t, "write", "circle:chess#member@person:bea") // no mention
	begun, kills := 0, 4
	if os.Getenv("REMIT_TEST_ALL") != "" {
		kills = 25
	}
	for range kills {
		if eraseUntil(t, 1+rng.IntN(6)) {
			begun++
		}
		<-time.After(time.Duration(rng.IntN(20)) * time.Millisecond) // the moment is to be any
		if err := p.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = p.cmd.Wait()
		p = begin()
	}
	if begun == 0 {
		t.Error("no kill met an erasure that had begun")
	}
	out := must(t, "erase", erasedName, "--yes")
	t.Logf("%d of %d kills met an erasure that had begun; then %s", begun, kills, out)
	if left := must(t, "read", "--subject", "person"); strings.Contains(left, erased) || !strings.Contains(left, "circle:tea#member@person:bea") {
		t.Errorf("left is\n%.500s", left)
	}
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait()
	if places := bytesOf(t, dir, erased); len(places) > 0 {
		t.Errorf("after the erasure the name is in %q", places)
	}
	begin()
	if out := must(t, "erase", erasedName, "--preview", "-o", "json"); !json.Valid([]byte(out)) || !strings.Contains(out, `"known": false`) {
		t.Errorf("afterwards the preview says %s", out)
	}
}
