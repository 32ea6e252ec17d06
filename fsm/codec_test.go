package fsm

import (
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/hashicorp/raft"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/value"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// golden compares lines "name hex" with a file: bytes that must never change, because
// they lie on disks and in logs.
func golden(t *testing.T, file string, lines []string) {
	t.Helper()
	path := filepath.Join("testdata", file)
	got := strings.Join(lines, "\n") + "\n"
	if *rewrite {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func mustFields(t testing.TB, m value.Map) []byte {
	t.Helper()
	b, err := value.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sampleCommands has one of each kind, with every field set somewhere.
func sampleCommands(t testing.TB) map[string]*Command {
	fields := mustFields(t, value.Map{"a": int64(1)})
	k := viewer("plan", "anna")
	full := &Command{
		Store: storeNumber(1), Principal: "app", Key: "key", RequestID: "req", Actor: "anna", Reason: "why",
		Preconditions: []Precondition{
			{Kind: TuplePresent, Tuple: k},
			{Kind: TupleAbsent, Tuple: k},
			{Kind: DocumentVersion, Entity: Entity{typeDocument, "plan"}, Version: 300},
		},
		Requires: []ScopeVersion{{"roles", 7}},
		Bumps:    []string{"roles", "groups"},
		Body: &Write{Operations: []Operation{
			{Kind: CreateTuple, Tuple: k, Condition: conditionOne, Context: fields, Expires: epochMs},
			{Kind: TouchTuple, Tuple: TupleKey{Entity{typeDocument, "p|/.@"}, relEditor, Entity{typeGroup, "eng"}, relMember}, Expires: -5},
			{Kind: DeleteTuple, Tuple: TupleKey{Entity{typeDocument, "plan"}, relViewer, Entity{typeUser, "*"}, 0}},
			{Kind: PutDocument, Entity: Entity{typeUser, "anna"}, Fields: fields},
			{Kind: DeleteDocument, Entity: Entity{typeUser, "bert"}},
		}},
	}
	return map[string]*Command{
		"create-store":        {Store: storeNumber(1), Body: &CreateStore{Name: "acme"}},
		"delete-store":        {Store: storeNumber(1), Body: &DeleteStore{}},
		"write-model":         {Store: storeNumber(1), Body: &WriteModel{ID: modelNumber(1), Source: []byte("model"), Declarations: declared}},
		"write":               full,
		"advance-expiry":      {Store: storeNumber(1), Body: &AdvanceExpiry{Horizon: epochMs}},
		"advance-history":     {Store: storeNumber(1), Body: &AdvanceHistory{Horizon: 300}},
		"set-cluster-version": {Body: &SetClusterVersion{Version: 1}},
		"set-epoch":           {Body: &SetEpoch{From: 1, To: 1 << 63}},
		"set-retention":       {Store: storeNumber(1), Body: &SetRetention{Retention: 90 * DefaultRetention}},
		"retain-for-ever":     {Store: storeNumber(1), Body: &SetRetention{Retention: Forever}},
		"erase":               {Store: storeNumber(1), Reason: "why", Body: &Erase{ID: erasureNumber(1), Entity: Entity{typeUser, "anna"}}},
		"erase-on":            {Store: storeNumber(1), Body: &Erase{ID: erasureNumber(1), Limit: 300}},
		"hash-check":          {Body: &HashCheck{Index: 300, Hash: [16]byte{1, 2, 3}}},
		"write-assertions":    {Store: storeNumber(1), Body: &WriteAssertions{Model: modelNumber(1), Content: []byte("assertions")}},
		"ensure-and-remove": write(storeNumber(1),
			Operation{Kind: EnsureTuple, Tuple: k, Condition: conditionOne, Context: fields, Expires: epochMs},
			Operation{Kind: RemoveTuple, Tuple: viewer("plan", "bert")}),
		"create-managed":      {Store: storeNumber(1), Body: &CreateStore{Name: "acme", Managed: true}},
		"write-planned":       {Store: storeNumber(1), Planned: true, Bumps: []string{"roles"}, Body: &Write{Operations: []Operation{{Kind: DeleteTuple, Tuple: k}}}},
		"write-model-planned": {Store: storeNumber(1), Planned: true, Body: &WriteModel{ID: modelNumber(1), Source: []byte("model"), Declarations: declared}},
		"tuple-revision": {
			Store:         storeNumber(1),
			Preconditions: []Precondition{{Kind: TupleRevision, Tuple: k, Version: 300}, {Kind: TupleRevision, Tuple: viewer("plan", "bert")}},
			Body:          &Write{Operations: []Operation{{Kind: DeleteTuple, Tuple: k}}},
		},
	}
}

var sampleErased = Erased{
	ID: erasureNumber(1), Type: typeUser, Revision: 300,
	Tuples: 1, Documents: 2, Versions: 3, Changes: 4, Texts: 5, Keys: 6, Examined: 700,
}

var sampleErasure = erasureRow{
	Erased: Erased{ID: erasureNumber(1), Type: typeUser, Examined: 7},
	entity: Entity{typeUser, "anna"}, id: graph.MakeID(typeUser, 300), began: 4, by: [4]string{"p", "a", "r", "w"}, phase: eraseChanges, place: []byte{1, 2},
}

var commandOrder = []string{
	"create-store", "delete-store", "write-model", "write", "advance-expiry", "advance-history",
	"set-cluster-version", "set-epoch", "hash-check", "write-assertions", "ensure-and-remove",
	"set-retention", "retain-for-ever", "tuple-revision",
	"erase", "erase-on",
	"create-managed", "write-planned", "write-model-planned",
}

func TestCommandBytes(t *testing.T) {
	var lines []string
	samples := sampleCommands(t)
	for _, name := range commandOrder {
		c := samples[name]
		b, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, name+" "+hex.EncodeToString(b))
		back, err := DecodeCommand(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c, back, cmpopts.IgnoreFields(Command{}, "Hash"), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		for n := range b {
			if _, err := DecodeCommand(b[:n]); err == nil {
				t.Fatalf("%s: the first %d of %d bytes decode", name, n, len(b))
			}
		}
		if _, err := DecodeCommand(append(b, 0)); err == nil {
			t.Errorf("%s: a trailing byte decodes", name)
		}
	}
	golden(t, "commands", lines)
}

func TestContentHashIgnoresWhatRetriesChange(t *testing.T) {
	hash := func(c *Command) [32]byte {
		b, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodeCommand(b)
		if err != nil {
			t.Fatal(err)
		}
		return back.Hash
	}
	a, b := sampleCommands(t)["write"], sampleCommands(t)["write"]
	b.RequestID, b.Actor, b.Reason = "other", "other", "other"
	if hash(a) != hash(b) {
		t.Error("request id, actor or reason count")
	}
	b.Body.(*Write).Operations[0].Expires++
	if hash(a) == hash(b) {
		t.Error("an expiry does not count")
	}
	a, b = sampleCommands(t)["write-model"], sampleCommands(t)["write-model"]
	b.Body.(*WriteModel).ID = modelNumber(9)
	if hash(a) != hash(b) {
		t.Error("the id of a model counts")
	}
	a, b = sampleCommands(t)["create-store"], sampleCommands(t)["create-store"]
	b.Store = storeNumber(9)
	if hash(a) != hash(b) {
		t.Error("the id of a new store counts")
	}
	b.Body.(*CreateStore).Name = "other"
	if hash(a) == hash(b) {
		t.Error("the name of a store does not count")
	}
}

func TestEntryAndResultBytes(t *testing.T) {
	results := map[string]*Result{
		"ok":      {Revision: 300, Time: epochMs, Store: storeNumber(1), Model: modelNumber(1), Remaining: true},
		"refused": {Revision: 300, Time: epochMs, Replayed: true, Err: &Refusal{Reason: ErrScope, Index: 3, Name: "roles", Version: 9, Revision: 7}},

		"erased":          {Revision: 300, Time: epochMs, Erased: &sampleErased},
		"model-not-found": {Revision: 300, Err: &Refusal{Reason: ErrModelNotFound, Index: -1, Name: modelNumber(1).String()}},
		"tuple-differs":   {Revision: 300, Err: refuseAt(ErrTupleDiffers, 3)},
		"tuple-not-found": {Revision: 300, Err: refuseAt(ErrTupleNotFound, 3)},
		"managed":         {Revision: 300, Err: refuse(ErrManaged)},
		"version":         {Revision: 300, Err: &Refusal{Reason: ErrVersion, Index: -1, Version: 1}},
	}
	lines := []string{
		"entry " + hex.EncodeToString(Seal([][]byte{{1, 2}, nil, {3}}, time.UnixMilli(epochMs))),
		"term-start " + hex.EncodeToString(TermStart(300)),
		"answers " + hex.EncodeToString(joinAnswers([][]byte{{1, 2}, {3}})),
	}
	for _, name := range []string{"ok", "refused", "model-not-found", "tuple-differs", "tuple-not-found", "erased", "managed", "version"} {
		b := results[name].Encode()
		lines = append(lines, "result-"+name+" "+hex.EncodeToString(b))
		back, err := DecodeResult(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(results[name], back, cmpopts.EquateErrors()); diff != "" && results[name].Err == nil {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if results[name].Err != nil && back.Err.Error() != results[name].Err.Error() {
			t.Errorf("error %v, want %v", back.Err, results[name].Err)
		}
	}
	golden(t, "entries", lines)
	for _, r := range reasons {
		res := &Result{Err: refuse(r.err)}
		back, err := DecodeResult(res.Encode())
		if err != nil || back.Err.Error() != r.err.Error() {
			t.Errorf("%v comes back as %v, %v", r.err, back, err)
		}
	}
}

func TestManifestBytes(t *testing.T) {
	m := &manifest{
		version: 1, index: 300, term: 4, configurationIndex: 2, source: 299, local: true,
		configuration: raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{{ID: "n1", Address: "a:1"}}}),
		applied:       appliedRow{index: 298, term: 3, time: epochMs, hash: Hash{1, 2}}, epoch: 77,
		files: []manifestFile{{"000001.sst", 1000, 5}, {"MANIFEST-000002", 10, 6}},
	}
	b := m.encode()
	golden(t, "manifest", []string{
		"manifest " + hex.EncodeToString(b),
		"stream " + hex.EncodeToString(newSnapshotReader(nil, "", m).head),
	})
	back, err := decodeManifest(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, back, cmp.AllowUnexported(manifest{}, manifestFile{}, appliedRow{}, Hash{})); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
	for i := range b {
		bad := append([]byte(nil), b...)
		bad[i] ^= 0x40
		if _, err := decodeManifest(bad); err == nil {
			t.Errorf("a flipped bit at %d decodes", i)
		}
	}
	m.files[0].name = "../escape"
	if _, err := decodeManifest(m.encode()); err == nil {
		t.Error("a path in a manifest decodes")
	}
}

// Nodes of different releases compare these, so they are as fixed as what is stored.
func TestHashBytes(t *testing.T) {
	m := &manifest{index: 300, source: 200, term: 4, epoch: 77}
	golden(t, "hashes", []string{
		"row " + rowHash(scopeKey(storeNumber(1), "roles"), encodeNumber(300)).String(),
		"sum " + Hash{1, 1<<64 - 1}.add(Hash{1, 2}).String(),
		fmt.Sprintf("epoch-of-a-restore %016x", nextEpoch(m)),
	})
}

// A row of a later format must stop the node, and not be read as one of this.
func TestRowsOfAnotherFormatAreNotRead(t *testing.T) {
	row := (&storeRow{name: "acme"}).encode()
	var unknown *formatError
	for _, format := range []byte{0, managedStoreFormat + 1} {
		row[0] = format
		if _, err := decodeStoreRow(row); !errors.As(err, &unknown) {
			t.Errorf("decode of format %d = %v, want that it is unknown", format, err)
		}
	}
	// One content has one encoding, or nodes would differ in their hashes.
	row[0] = storeFormat
	if _, err := decodeStoreRow(append(row, 0)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("decode of a row that names no retention = %v, want %v", err, ErrCorrupt)
	}
}

func FuzzDecodeCommand(f *testing.F) {
	for _, c := range sampleCommands(f) {
		b, err := c.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := DecodeCommand(b)
		if err != nil {
			return
		}
		// Not Encode: it refuses versions of the cluster that it does not know.
		if again := c.encode(c.Hash); string(again) != string(b) {
			t.Errorf("%x encodes as %x", b, again)
		}
	})
}

func FuzzDecoders(f *testing.F) {
	f.Add(Seal([][]byte{{1}}, time.UnixMilli(epochMs)))
	f.Add(TermStart(1))
	f.Add((&Result{Err: refuse(ErrInvalid)}).Encode())
	f.Add((&manifest{}).encode())
	f.Add((&assertionsRow{revision: 300, content: []byte("assertions")}).encode())
	f.Add((&storeRow{name: "acme", retention: Forever}).encode())
	f.Add((&storeRow{name: "acme", managed: true}).encode())
	f.Add((&Change{Kind: RetentionSet, Retention: 1}).encode())
	f.Add((&Change{Kind: AssertionsWritten, Model: modelNumber(1)}).encode())
	f.Add((&Change{Kind: EntityErased, Erased: &sampleErased}).encode())
	f.Add((&erasureRow{Erased: sampleErased}).encode())
	f.Add(sampleErasure.encode())
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = decodeEntry(b)
		_, _ = DecodeResult(b)
		_, _ = SplitAnswers(b)
		_, _ = decodeManifest(b)
		_, _ = decodeChange(changeKey(StoreID{}, 1, 1), b)
		_, _ = decodeApplied(b)
		_, _ = decodeStoreRow(b)
		_, _ = decodeTupleRow(b)
		_, _ = decodeDocumentRow(b)
		_, _ = decodeModelRow(b)
		_, _ = decodeIdempotencyRow(b)
		_, _ = decodeAssertionsRow(b)
		_, _ = decodeErasureRow(b)
		_, _, _ = readIdempotencySuffix(b)
	})
}

func TestKeyBytes(t *testing.T) {
	store := storeNumber(1)
	u := graph.Userset{Object: graph.MakeID(typeDocument, 5), Relation: relViewer}
	s := graph.Subject{ID: graph.MakeID(typeGroup, 6), Relation: relMember}
	keys := []struct {
		name string
		key  []byte
	}{
		{"meta-layout", metaKey(metaLayout)},
		{"meta-applied", metaKey(metaApplied)},
		{"group-cluster-version", groupKey(groupClusterVer)},
		{"group-epoch", groupKey(groupEpoch)},
		{"store", storeKey(store)},
		{"tally", tallyKey(store)},
		{"symbol-type", symbolKey(store, symbolType, 1)},
		{"symbol-relation", symbolKey(store, symbolRelation, 1)},
		{"symbol-condition", symbolKey(store, symbolCondition, 1)},
		{"model", modelKey(store, modelNumber(1))},
		{"sequence", sequenceKey(store, typeUser)},
		{"name", nameKey(store, typeUser, "anna")},
		{"entity", entityKey(store, graph.MakeID(typeUser, 1))},
		{"forward", forwardKey(store, u, s)},
		{"reverse", reverseKey(store, u, s)},
		{"forward-past", forwardPastKey(store, u, s, 300)},
		{"reverse-past", reversePastKey(store, u, s, 300)},
		{"document", documentKey(store, u.Object)},
		{"document-past", documentPastKey(store, u.Object, 300)},
		{"scope", scopeKey(store, "roles")},
		{"change", changeKey(store, 300, 2)},
		{"revision-time", revisionTimeKey(300)},
		{"time-revision", timeRevisionKey(epochMs)},
		{"idempotency", idempotencyKey(store, "app", "key")},
		{"idempotency-at", idempotencyAtKey(store, epochMs, "app", "key")},
		{"expiry", expiryKey(store, epochMs, u, s)},
		{"cleanup-tuple", cleanupTupleKey(store, 300, u, s)},
		{"cleanup-document", cleanupDocumentKey(store, 300, u.Object)},
		{"assertions", assertionsKey(store, modelNumber(1))},
		{"erasure", erasureKey(store, erasureNumber(1))},
		{"group-rewrite", groupKey(groupRewrite)},
		{"meta-rewritten", metaKey(metaRewritten)},
	}
	var lines []string
	spaces := map[byte]bool{}
	for _, k := range keys {
		lines = append(lines, k.name+" "+hex.EncodeToString(k.key))
		spaces[k.key[0]] = true
	}
	if len(spaces) != int(spaceEnd) {
		t.Errorf("%d of %d spaces have golden keys", len(spaces), spaceEnd)
	}
	golden(t, "keys", lines)
}

func TestValueBytes(t *testing.T) {
	values := []struct {
		name  string
		value []byte
	}{
		{"applied", (&appliedRow{300, 4, epochMs, Hash{1, 2}}).encode()},
		{"store", (&storeRow{name: "acme", created: 3, createdTime: epochMs, historyHorizon: 300, expiryHorizon: -1}).encode()},
		{"tally", (&tally{Hash{1, 2}, 300, 7}).encode()},
		{"symbol", encodeSymbol(typeDocument, "viewer")},
		{"model", (&modelRow{300, 1, epochMs, []byte("model")}).encode()},
		{"number", encodeNumber(300)},
		{"time", encodeTime(-300)},
		{"name", encodeNameRow(graph.MakeID(typeUser, 300), 4)},
		{"entity", encodeEntityRow("anna", 300)},
		{"tuple", (&tupleRow{300, epochMs, 1, -5, []byte{1}}).encode()},
		{"document", (&documentRow{300, 2, true, []byte{1}}).encode()},
		{"idempotency", (&idempotencyRow{[32]byte{1}, epochMs, []byte{1}}).encode()},
		{"change-tuple", (&Change{Kind: TuplePut, Time: epochMs, Principal: "p", Actor: "a", RequestID: "r", Reason: "w", Tuple: graph.Row{
			Userset: graph.Userset{Object: graph.MakeID(typeDocument, 5), Relation: relViewer},
			Edge:    graph.Edge{Subject: graph.Subject{ID: graph.MakeID(typeUser, 1)}, Condition: 1, Expires: epochMs}, Written: epochMs,
		}}).encode()},
		{"change-document", (&Change{Kind: DocumentPut, Entity: graph.MakeID(typeUser, 1), Version: 3, Fields: []byte{1}}).encode()},
		{"change-model", (&Change{Kind: ModelWritten, Model: modelNumber(1)}).encode()},
		{"change-store", (&Change{Kind: StoreCreated, Name: "acme"}).encode()},
		{"assertions", (&assertionsRow{300, []byte("assertions")}).encode()},
		{"change-assertions-written", (&Change{Kind: AssertionsWritten, Model: modelNumber(1)}).encode()},
		{"change-assertions-removed", (&Change{Kind: AssertionsRemoved, Model: modelNumber(1)}).encode()},
		{"store-retention", (&storeRow{"acme", 3, epochMs, 300, -1, DefaultRetention, false}).encode()},
		{"store-for-ever", (&storeRow{"acme", 3, epochMs, 300, -1, Forever, false}).encode()},
		{"change-retention", (&Change{Kind: RetentionSet, Retention: Forever}).encode()},
		{"erasure", sampleErasure.encode()},
		{"erasure-over", (&erasureRow{Erased: sampleErased}).encode()},
		{"change-erased", (&Change{Kind: ChangeErased, Time: epochMs, Principal: "p"}).encode()},
		{"change-entity-erased", (&Change{Kind: EntityErased, Reason: "w", Erased: &sampleErased}).encode()},
		{"store-managed", (&storeRow{"acme", 3, epochMs, 300, -1, 0, true}).encode()},
		{"store-managed-for-ever", (&storeRow{"acme", 3, epochMs, 300, -1, Forever, true}).encode()},
	}
	var lines []string
	for _, v := range values {
		if newer := strings.HasPrefix(v.name, "store-"); v.value[0] != rowFormat && (v.value[0] > managedStoreFormat || !newer) {
			t.Errorf("%s does not begin with its format", v.name)
		}
		lines = append(lines, fmt.Sprintf("%s %x", v.name, v.value))
	}
	golden(t, "values", lines)
}
