package cluster

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/remit-authz/remit/cluster/clustertest"
)

// toy is a state machine that remembers every command. Like the real one it is
// durable on its own up to some earlier entry: its journal is written with every
// batch and synced only for a snapshot.
type toy struct {
	mu       sync.Mutex
	journal  clustertest.File
	state    toyState
	restores int
	changed  chan struct{}

	hold          chan struct{} // when set, ApplyBatch waits until it is closed
	refuseRestore error
}

type toyState struct {
	Index    uint64
	Commands []string // "term 2" for the opening of a term
	Times    []time.Time
}

type toyEntry struct {
	Term     uint64
	Time     time.Time
	Commands [][]byte
}

func openToy(t testing.TB, disk clustertest.Disk) *toy {
	t.Helper()
	m := &toy{changed: make(chan struct{})}
	if data, err := disk.Read("toy/journal"); err == nil {
		m.replay(t, data)
	}
	// A new journal, with the state as its first record, so that a torn tail is
	// not appended to.
	f, err := disk.Create("toy/journal.new")
	must(t, err)
	m.journal = f
	must(t, errors.Join(m.write(0, m.state), f.Sync(), disk.Replace("toy/journal.new", "toy/journal")))
	return m
}

// write appends a record: the length and checksum of what follows, the index of
// an entry or 0 for a whole state, and either as JSON.
func (m *toy) write(index uint64, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	body = append(binary.BigEndian.AppendUint64(nil, index), body...)
	record := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	record = binary.BigEndian.AppendUint32(record, crc32.ChecksumIEEE(body))
	_, err = m.journal.Write(append(record, body...))
	return err
}

func (m *toy) replay(t testing.TB, data []byte) {
	t.Helper()
	for len(data) >= 8 {
		n, sum := binary.BigEndian.Uint32(data), binary.BigEndian.Uint32(data[4:])
		data = data[8:]
		if uint64(n) > uint64(len(data)) || n < 8 || crc32.ChecksumIEEE(data[:n]) != sum {
			return
		}
		index, body := binary.BigEndian.Uint64(data), data[8:n]
		data = data[n:]
		if index == 0 {
			m.state = toyState{}
			must(t, json.Unmarshal(body, &m.state))
			continue
		}
		var e toyEntry
		must(t, json.Unmarshal(body, &e))
		m.state.apply(index, e)
	}
}

func (s *toyState) apply(index uint64, e toyEntry) []int {
	s.Index = index
	if e.Term != 0 {
		s.Commands = append(s.Commands, fmt.Sprintf("term %d", e.Term))
	}
	var answers []int
	for _, c := range e.Commands {
		answers = append(answers, len(s.Commands))
		s.Commands = append(s.Commands, string(c))
		s.Times = append(s.Times, e.Time)
	}
	return answers
}

func (m *toy) Apply(entry *raft.Log) any { return m.ApplyBatch([]*raft.Log{entry})[0] }

func (m *toy) ApplyBatch(entries []*raft.Log) []any {
	m.mu.Lock()
	hold := m.hold
	m.mu.Unlock()
	if hold != nil {
		<-hold
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	results := make([]any, len(entries))
	for i, entry := range entries {
		if entry.Index <= m.state.Index {
			continue
		}
		var e toyEntry
		if entry.Type == raft.LogCommand {
			if err := json.Unmarshal(entry.Data, &e); err != nil {
				panic(err)
			}
		}
		if err := m.write(entry.Index, e); err != nil {
			panic(err)
		}
		result, err := json.Marshal(m.state.apply(entry.Index, e))
		if err != nil {
			panic(err)
		}
		results[i] = result
	}
	close(m.changed)
	m.changed = make(chan struct{})
	return results
}

func (m *toy) Snapshot() (raft.FSMSnapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	// The log is truncated behind a snapshot, so the state must be durable by then.
	if err := m.journal.Sync(); err != nil {
		return nil, err
	}
	data, err := json.Marshal(m.state)
	return toySnapshot(data), err
}

type toySnapshot []byte

func (s toySnapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := sink.Write(s); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

func (toySnapshot) Release() {}

func (m *toy) Restore(source io.ReadCloser) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refuseRestore != nil {
		return m.refuseRestore
	}
	var s toyState
	if err := json.NewDecoder(source).Decode(&s); err != nil {
		return err
	}
	m.state = s
	m.restores++
	close(m.changed)
	m.changed = make(chan struct{})
	return errors.Join(m.write(0, s), m.journal.Sync())
}

func (m *toy) durableIndex() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.Index
}

func (m *toy) published(ctx context.Context, index uint64) error {
	for {
		m.mu.Lock()
		at, changed := m.state.Index, m.changed
		m.mu.Unlock()
		if at >= index {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// history returns the commands applied, those that open a term left out.
func (m *toy) history() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(m.state.Commands), func(c string) bool {
		return strings.HasPrefix(c, "term ")
	})
}

// all returns the commands applied, those that open a term included.
func (m *toy) all() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.state.Commands)
}

func toySeal(commands [][]byte, now time.Time) []byte {
	return toyEncode(toyEntry{Time: now, Commands: commands})
}

func toyTermStart(term uint64) []byte { return toyEncode(toyEntry{Term: term}) }

func toyEncode(e toyEntry) []byte {
	data, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	return data
}

// toySplit makes each answer the place of its command, as decimal digits.
func toySplit(result []byte) ([][]byte, error) {
	var places []int
	if err := json.Unmarshal(result, &places); err != nil {
		return nil, err
	}
	answers := make([][]byte, len(places))
	for i, p := range places {
		answers[i] = fmt.Append(nil, p)
	}
	return answers, nil
}

// toySnapshots keeps snapshots as files: a line of JSON and the data.
type toySnapshots struct{ disk clustertest.Disk }

func (s toySnapshots) Create(version raft.SnapshotVersion, index, term uint64, c raft.Configuration, ci uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	return &toySink{disk: s.disk, meta: raft.SnapshotMeta{
		Version: version, ID: fmt.Sprintf("%020d", index), Index: index, Term: term, Configuration: c, ConfigurationIndex: ci,
	}}, nil
}

func (s toySnapshots) List() ([]*raft.SnapshotMeta, error) {
	names, err := s.disk.FS.List("snapshots")
	if err != nil {
		return nil, nil // no directory, no snapshots
	}
	slices.Sort(names)
	slices.Reverse(names)
	var metas []*raft.SnapshotMeta
	for _, name := range names {
		if strings.HasSuffix(name, ".new") {
			continue
		}
		meta, _, err := s.Open(name)
		if err != nil {
			return nil, err
		}
		metas = append(metas, meta)
	}
	return metas, nil
}

func (s toySnapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	data, err := s.disk.Read("snapshots/" + id)
	if err != nil {
		return nil, nil, err
	}
	line, rest, _ := bytes.Cut(data, []byte("\n"))
	meta := new(raft.SnapshotMeta)
	return meta, io.NopCloser(bytes.NewReader(rest)), json.Unmarshal(line, meta)
}

type toySink struct {
	disk clustertest.Disk
	meta raft.SnapshotMeta
	bytes.Buffer
}

func (s *toySink) ID() string    { return s.meta.ID }
func (s *toySink) Cancel() error { return nil }

func (s *toySink) Close() error {
	s.meta.Size = int64(s.Len())
	line, err := json.Marshal(s.meta)
	if err != nil {
		return err
	}
	name := "snapshots/" + s.meta.ID
	f, err := s.disk.Create(name + ".new")
	if err != nil {
		return err
	}
	_, err = f.Write(append(append(line, '\n'), s.Bytes()...))
	return errors.Join(err, f.Sync(), f.Close(), s.disk.Replace(name+".new", name))
}

// rig is a node on a toy and a log, all in one file system.
type rig struct {
	t    testing.TB
	disk clustertest.Disk
	toy  *toy
	logs *clustertest.LogStore
	cfg  Config
	node *Node
}

// newRig makes all that a node needs in memory. Options change its Config.
func newRig(t testing.TB, disk clustertest.Disk, options ...func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, disk: disk, toy: openToy(t, disk), logs: openLogs(t, disk, true)}
	r.cfg = toyConfig(r.toy, toySnapshots{disk})
	r.cfg.NodeID, r.cfg.Logs, r.cfg.Stable = "n1", r.logs, r.logs
	for _, o := range options {
		o(&r.cfg)
	}
	return r
}

func toyConfig(m *toy, snapshots raft.SnapshotStore) Config {
	return Config{
		FSM: m, Snapshots: snapshots,
		Seal: toySeal, SplitAnswers: toySplit, TermStart: toyTermStart,
		DurableIndex: m.durableIndex, Published: m.published,
	}
}

// open starts the node and waits until it serves.
func (r *rig) open() *Node {
	r.t.Helper()
	n, err := Open(r.t.Context(), r.cfg)
	must(r.t, err)
	r.node = n
	return n
}

// close stops all that is open.
func (r *rig) close() {
	r.t.Helper()
	if r.node != nil {
		must(r.t, r.node.Close())
	}
	must(r.t, r.logs.Close())
	must(r.t, r.toy.journal.Close())
}

func (r *rig) propose(command string) {
	r.t.Helper()
	if _, err := r.node.Propose(r.t.Context(), []byte(command)); err != nil {
		r.t.Fatalf("Propose(%s): %v", command, err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openLogs(t testing.TB, disk clustertest.Disk, sync bool) *clustertest.LogStore {
	t.Helper()
	logs, err := clustertest.NewLogStore(disk.FS, "log", sync)
	must(t, err)
	return logs
}

// pass lets virtual time pass. It is for bubbles only.
func pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // there is no state to wait for: time itself is what the test is about
}
