package decision

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

// An entry is what a test reads off a line.
type entry struct {
	ID, Type, Subject string
	SampledRate       int
	Data              struct {
		Object, Outcome  string
		Count, Unwritten int
		Full             int `json:"queue_full"`
		From, To         time.Time
	}
}

// entriesOf reads lines, each of which must be valid.
func entriesOf(t testing.TB, text []byte) (all []entry) {
	t.Helper()
	for line := range bytes.Lines(text) {
		var e entry
		if err := json.Unmarshal(line, &e); err != nil || line[len(line)-1] != '\n' {
			t.Fatalf("line %q: %v", line, err)
		}
		all = append(all, e)
	}
	return all
}

func readEntries(t testing.TB, path string) []entry {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return entriesOf(t, text)
}

func open(t testing.TB, config Config) *Log {
	t.Helper()
	l, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func mustClose(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// deny logs a denial about an object.
func deny(t testing.TB, l *Log, object string) {
	if !l.Wants(Refused) {
		t.Fatal("a denial is not wanted")
	}
	l.Add(t.Context(), &Event{Outcome: Refused, Object: object, Begun: l.Begin()})
}

// A buffer may be read while it is written to.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.b.Bytes())
}

func TestSelections(t *testing.T) {
	for _, test := range []struct {
		selection Selection
		want      [outcomes]bool
	}{
		{Off, [outcomes]bool{}},
		{Denied, [outcomes]bool{Refused: true, Undecided: true}},
		{Sampled, [outcomes]bool{Allowed: true, Refused: true, Undecided: true, Listed: true}},
		{All, [outcomes]bool{Allowed: true, Refused: true, Undecided: true, Listed: true}},
	} {
		l := &Log{config: Config{Select: test.selection, Sample: 1}}
		for o := range outcomes {
			if got := l.Wants(o); got != test.want[o] {
				t.Errorf("%s wants %s = %v, want %v", test.selection, o, got, test.want[o])
			}
			if got := l.counts[o].Load(); got != 1 {
				t.Errorf("%d decisions are counted, want 1", got)
			}
		}
	}
	if (*Log)(nil).Wants(Refused) {
		t.Error("no log wants something")
	}
}

// Of what is sampled each event says for how many it stands; denials stand for themselves.
func TestSamples(t *testing.T) {
	var out buffer
	l := open(t, Config{Select: Sampled, Sample: 10, Output: &out})
	const asked = 20_000
	for range asked {
		if l.Wants(Allowed) {
			l.Add(t.Context(), &Event{Outcome: Allowed})
		}
	}
	deny(t, l, "document:plan")
	mustClose(t, l)
	entries := entriesOf(t, out.bytes())
	// Nine standard deviations: once in a life of the universe.
	if n := len(entries) - 1; n < asked/10-400 || n > asked/10+400 {
		t.Errorf("%d of %d are logged, want about one of ten", n, asked)
	}
	for i, e := range entries {
		if want := map[string]int{"allowed": 10}[e.Data.Outcome]; e.SampledRate != want {
			t.Fatalf("event %d, %s, stands for %d, want %d", i, e.Data.Outcome, e.SampledRate, want)
		}
	}
}

// What was decided is in the log within a second, and no two events have one id.
func TestEventsArriveSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out buffer
		l := open(t, Config{Select: All, Output: &out})
		for i := range 3 {
			deny(t, l, "document:"+strconv.Itoa(i))
		}
		<-time.After(time.Second)
		synctest.Wait()
		entries := entriesOf(t, out.bytes())
		if len(entries) != 3 || entries[0].ID == entries[1].ID || entries[1].ID == entries[2].ID {
			t.Errorf("after a second there is %+v", entries)
		}
		deny(t, l, "document:3")
		mustClose(t, l)
		if got := len(entriesOf(t, out.bytes())); got != 4 {
			t.Errorf("after the end there are %d events, want 4", got)
		}
		l.Add(t.Context(), &Event{Outcome: Refused}) // late, and harmless
	})
}

// A log that is not written does not keep decisions waiting. What it loses is counted, and
// told by the log itself once it is written again.
func TestAFullQueueLosesAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		read, write := io.Pipe()
		l := open(t, Config{Select: Denied, Output: write, Metrics: registry})
		deny(t, l, "first")
		<-time.After(time.Second) // the writer is stuck with it
		began := time.Now()
		const lost = 5
		for range maxQueue + lost {
			deny(t, l, "next")
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("decisions waited %s", took)
		}
		if got := l.full.Load(); got != lost {
			t.Errorf("%d are counted as lost, want %d", got, lost)
		}
		var out bytes.Buffer
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = io.Copy(&out, read)
		}()
		<-time.After(time.Second)
		deny(t, l, "last")
		mustClose(t, l)
		_ = write.Close()
		<-done
		entries := entriesOf(t, out.Bytes())
		if len(entries) != 1+maxQueue+1+1 {
			t.Fatalf("there are %d events", len(entries))
		}
		gap := entries[1]
		if gap.Type != TypeDropped || gap.Data.Count != lost || gap.Data.Full != lost || gap.Data.From.After(gap.Data.To) || gap.Data.From.IsZero() {
			t.Errorf("the gap is told as %+v", gap)
		}
		if got := l.written.Load(); got != 1+maxQueue+1 {
			t.Errorf("%d are counted as written", got)
		}
		families, err := registry.Gather()
		if err != nil || len(families) != 4 {
			t.Errorf("there are %d metrics, %v", len(families), err)
		}
	})
}

// A pipe that nobody reads does not keep the log from ending.
func TestAStuckLogEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read, write := io.Pipe()
		l := open(t, Config{Select: Denied, Output: write})
		deny(t, l, "document:plan")
		if err := l.Close(); !errors.Is(err, errStuck) {
			t.Errorf("a stuck log ends with %v", err)
		}
		_ = read.Close()
		synctest.Wait()
	})
}

// A fullDisk writes part of what it is given, and then nothing, until there is room.
type fullDisk struct {
	*file
	mu   sync.Mutex
	room int // bytes; negative is no limit
}

var errNoSpace = errors.New("no space left")

func (d *fullDisk) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.room < 0 {
		return d.file.Write(p)
	}
	if d.room < len(p) {
		n, _ := d.file.Write(p[:d.room])
		d.room = 0
		return n, errNoSpace
	}
	d.room -= len(p)
	return d.file.Write(p)
}

func (d *fullDisk) make(room int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.room = room
}

// A full disk costs events and nothing else: the service goes on, the log tells of the gap
// once there is room, no line is cut in two, and whoever runs the node is told once.
func TestAFullDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "decisions.jsonl")
	var complaints buffer
	config := Config{Select: Denied, File: path, Log: slog.New(slog.NewJSONHandler(&complaints, nil))}
	config.defaults()
	f, err := openFile(&config)
	if err != nil {
		t.Fatal(err)
	}
	disk := &fullDisk{file: f, room: 700}
	l := &Log{config: config, sink: disk, wake: make(chan struct{}, 1), half: make(chan struct{}, 1), end: make(chan struct{}), ended: make(chan struct{})}
	w := &writer{log: l, encoder: newEncoder("node", "unique")}
	put := func(n int) {
		for i := range n {
			deny(t, l, "document:"+strconv.Itoa(i))
		}
		w.round()
	}
	put(10)
	before := len(readEntriesLeniently(t, path))
	if before == 0 || before == 10 {
		t.Fatalf("%d of 10 events are written; the disk was to be full", before)
	}
	put(10)
	w.round()
	disk.make(-1)
	w.round() // the gap alone, for nothing else happens
	put(1)
	entries := readEntries(t, path)
	if len(entries) != before+2 {
		t.Fatalf("there are %d events, want %d, a gap and one", len(entries), before)
	}
	gap, lost := entries[before], 20-before
	if gap.Type != TypeDropped || gap.Data.Count != lost || gap.Data.Unwritten != lost {
		t.Errorf("the gap is told as %+v, want %d", gap, lost)
	}
	if l.unwritten.Load() != uint64(lost) || l.written.Load() != uint64(before+1) {
		t.Errorf("%d are counted as lost and %d as written, want %d and %d", l.unwritten.Load(), l.written.Load(), lost, before+1)
	}
	if got := strings.Count(string(complaints.bytes()), "decision log is missing events"); got != 1 {
		t.Errorf("it is complained of %d times, want once:\n%s", got, complaints.bytes())
	}
	if strings.Contains(string(complaints.bytes()), "document:") {
		t.Error("the service's log tells of decisions")
	}
}

// readEntriesLeniently leaves out a last line that was cut.
func readEntriesLeniently(t *testing.T, path string) []entry {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return entriesOf(t, text[:bytes.LastIndexByte(text, '\n')+1])
}

// A file that a crash left with half a line loses that half, and what is no log is left
// alone.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "decisions.jsonl")
	config := Config{Select: All, File: path}
	l := open(t, config)
	deny(t, l, "first")
	mustClose(t, l)
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("the file has the mode %v, %v; want 0600", info.Mode(), err)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"specversion":"1.0","id`); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	l = open(t, config)
	deny(t, l, "second")
	// Someone sets the file aside.
	aside := filepath.Join(dir, "aside")
	waitFor(t, l, 1)
	if err := os.Rename(path, aside); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	deny(t, l, "third")
	mustClose(t, l)
	var got []string
	for _, p := range []string{aside, path} {
		for _, e := range readEntries(t, p) {
			got = append(got, filepath.Base(p)+" "+e.Data.Object)
		}
	}
	if diff := cmp.Diff([]string{"aside first", "aside second", "decisions.jsonl third"}, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}

	binary := filepath.Join(dir, "binary")
	if err := os.WriteFile(binary, bytes.Repeat([]byte{1}, 2*maxLine), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []string{dir, os.DevNull, binary, filepath.Join(dir, "none", "log")} {
		if _, err := Open(Config{Select: All, File: wrong}); err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("opening %s: %v", wrong, err)
		}
		if err := (&Config{Select: All, File: wrong}).Probe(); err == nil {
			t.Errorf("%s can be written to", wrong)
		}
	}
	if info, err := os.Stat(binary); err != nil || info.Size() != 2*maxLine {
		t.Error("a file that is no log was cut")
	}
}

// waitFor waits until so many events are written.
func waitFor(t *testing.T, l *Log, n uint64) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for l.written.Load() < n {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("the events are not written")
		}
	}
}

// A file that has grown is set aside, and nothing is lost on the way.
func TestRotation(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Config{Select: All, File: filepath.Join(dir, "decisions.jsonl"), MaxMiB: 1})
	const n = 2400 // of about a KiB: two and a half files
	object := "document:" + strings.Repeat("x", 300)
	for range n {
		deny(t, l, object)
	}
	mustClose(t, l)
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 3 {
		t.Errorf("there are %d files, %v, want 3", len(files), err)
	}
	total := 0
	for _, path := range files {
		info, err := os.Stat(path)
		if err != nil || info.Size() > 1<<20 || info.Mode() != 0o600 {
			t.Errorf("%s has %d bytes and the mode %s, %v", path, info.Size(), info.Mode(), err)
		}
		total += len(readEntries(t, path))
	}
	if total != n {
		t.Errorf("%d events are in the files, want %d", total, n)
	}
}

func TestConfigurationsThatAreRefused(t *testing.T) {
	for _, c := range []Config{{Select: "some", File: "x"}, {Select: All}, {Sample: -1}, {MaxMiB: -1}, {Keep: -1}, {KeepDays: -1}} {
		if err := c.Validate(); err == nil {
			t.Errorf("%+v is taken", c)
		}
		if _, err := Open(c); err == nil {
			t.Errorf("%+v is opened", c)
		}
	}
	if l, err := Open(Config{}); l != nil || err != nil {
		t.Errorf("nothing to do is %v, %v", l, err)
	}
}

// What is not wanted costs no allocation, and what is wanted none that grows with it.
func TestAllocations(t *testing.T) {
	l := &Log{config: Config{Select: Denied}, sink: stream{io.Discard}, wake: make(chan struct{}, 1), half: make(chan struct{}, 1)}
	if got := testing.AllocsPerRun(1000, func() {
		_ = l.Begin()
		if l.Wants(Allowed) {
			t.Error("a grant is wanted")
		}
	}); got != 0 {
		t.Errorf("a decision that is not wanted allocates %v times", got)
	}
	var last []Event
	ctx := t.Context()
	if got := testing.AllocsPerRun(1000, func() {
		l.Add(ctx, &Event{Outcome: Refused, Object: "document:plan"})
		if len(l.queue) == 100 {
			last, _ = l.take(last)
		}
	}); got > 1 {
		t.Errorf("a denial allocates %v times", got)
	}
}

func BenchmarkLog(b *testing.B) {
	l, err := Open(Config{Select: Denied, File: filepath.Join(b.TempDir(), "decisions.jsonl")})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	ctx := b.Context()
	for _, outcome := range []Outcome{Allowed, Refused} {
		b.Run(outcome.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				begun := l.Begin()
				if l.Wants(outcome) {
					l.Add(ctx, &Event{Outcome: outcome, Object: "document:plan", Relation: "viewer", Subject: "user:anna", Begun: begun})
				}
			}
		})
	}
}

// What a storm needs is kept as long as there is one: to make it anew for every round took more
// than the rest of the log. Afterwards it is let go.
func TestRoomIsKeptAsLongAsItIsUsed(t *testing.T) {
	l := &Log{}
	storm := make([]Event, maxQueue)
	l.take(storm)
	if cap(l.queue) != maxQueue || len(l.queue) != 0 {
		t.Errorf("there is room for %d events beside %d in a storm, want %d and none", cap(l.queue), len(l.queue), maxQueue)
	}
	l.take(storm[:maxQueue/8])
	if cap(l.queue) != 0 {
		t.Errorf("there is room for %d events after a storm, want none", cap(l.queue))
	}
}
