package discover

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/memberlist"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// key returns a key as it stands in a file.
func key(n byte) string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{n}, keyLen)) }

// keyFile writes a file of keys.
func keyFile(t *testing.T, file string, keys ...string) string {
	t.Helper()
	if file == "" {
		file = filepath.Join(t.TempDir(), "keys")
	}
	if err := os.WriteFile(file, []byte(strings.Join(keys, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// logLines is a log that can be searched.
type logLines struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// gossiping is a node that gossips on loopback.
type gossiping struct {
	*Gossip
	log *logLines
}

func open(t *testing.T, id string, change func(*GossipConfig), seeds ...*gossiping) *gossiping {
	t.Helper()
	log := &logLines{}
	cfg := GossipConfig{
		Bind: "127.0.0.1:0", Self: Member{ID: id, Peer: id + ".test:7400", API: "https://" + id + ".test"},
		Log: slog.New(slog.NewTextHandler(log, nil)), Metrics: prometheus.NewRegistry(),
		Seeds: func(context.Context) (all []string, err error) {
			for _, s := range seeds {
				all = append(all, s.Addr())
			}
			return all, nil
		},
	}
	if change != nil {
		change(&cfg)
	}
	g, err := OpenGossip(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Errorf("close %s: %v", id, err)
		}
	})
	return &gossiping{g, log}
}

// until waits for a state.
func until(t *testing.T, what string, reached func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for !reached() {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-deadline:
			t.Fatalf("not reached: %s", what)
		}
	}
}

func (g *gossiping) finds() []string {
	all, _ := g.Find(context.Background())
	slices.Sort(all)
	return all
}

// refusals reads how often something was refused, as it is exported.
func (g *gossiping) refusals(reason string) float64 {
	var m dto.Metric
	if err := g.metrics.refused.WithLabelValues(reason).Write(&m); err != nil {
		panic(err)
	}
	return m.GetCounter().GetValue()
}

func withKeys(file string) func(*GossipConfig) {
	return func(cfg *GossipConfig) { cfg.KeyFile = file }
}

func TestNodesFindEachOtherByGossip(t *testing.T) {
	file := keyFile(t, "", key(1))
	a := open(t, "a", withKeys(file))
	b := open(t, "b", withKeys(file), a)
	c := open(t, "c", withKeys(file), b)
	for g, want := range map[*gossiping][]string{
		a: {"b.test:7400", "c.test:7400"}, b: {"a.test:7400", "c.test:7400"}, c: {"a.test:7400", "b.test:7400"},
	} {
		until(t, fmt.Sprintf("%s finds %v", g.cfg.Self.ID, want), func() bool { return slices.Equal(g.finds(), want) })
	}
	want := []Member{
		{"a", "a.test:7400", "https://a.test"}, {"b", "b.test:7400", "https://b.test"}, {"c", "c.test:7400", "https://c.test"},
	}
	if diff := cmp.Diff(want, c.Members()); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "b is gone", func() bool { return slices.Equal(a.finds(), []string{"c.test:7400"}) })
	until(t, "that is told", func() bool { return strings.Contains(a.log.String(), "event=\"node gossips no more\" node=b") })
	// It comes back elsewhere under its id.
	again := open(t, "b", withKeys(file), c)
	until(t, "b is back", func() bool { return len(a.finds()) == 2 && len(again.finds()) == 2 })
	values := map[string]float64{}
	families, err := a.cfg.Metrics.(*prometheus.Registry).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			values[f.GetName()] += m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	delete(values, "remit_gossip_health_score") // it depends on the machine
	if diff := cmp.Diff(map[string]float64{"remit_gossip_members": 3, "remit_gossip_keys": 1, "remit_gossip_refused_total": 0}, values); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
	if a.refusals(refusedKey)+a.refusals(refusedLabel) != 0 {
		t.Errorf("gossip was refused:\n%s", a.log)
	}
}

func TestStrangersAreNotHeard(t *testing.T) {
	ours := keyFile(t, "", key(1))
	for _, tt := range []struct {
		name   string
		change func(*GossipConfig)
		reason string
	}{
		{"another key", withKeys(keyFile(t, "", key(2))), refusedKey},
		{"no key", func(*GossipConfig) {}, refusedKey},
		{"another label", func(cfg *GossipConfig) { cfg.KeyFile, cfg.Label = ours, "other" }, refusedLabel},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := open(t, "a", withKeys(ours))
			b := open(t, "b", tt.change, a)
			until(t, "a stream is refused", func() bool { return a.refusals(tt.reason) > 0 })
			streams := a.refusals(tt.reason)
			// And packets: whoever knows the address can send them.
			stranger, err := net.Dial("udp", a.Addr())
			if err != nil {
				t.Fatal(err)
			}
			packet := bytes.Repeat([]byte{1}, 100)
			if tt.reason == refusedLabel {
				packet, err = memberlist.AddLabelHeaderToPacket(packet, "other")
			} else {
				packet, err = memberlist.AddLabelHeaderToPacket(packet, defaultLabel)
			}
			if err != nil {
				t.Fatal(err)
			}
			const packets = 100
			for range packets {
				if _, err := stranger.Write(packet); err != nil {
					t.Fatal(err)
				}
			}
			if err := stranger.Close(); err != nil {
				t.Fatal(err)
			}
			until(t, "packets are refused", func() bool { return a.refusals(tt.reason) >= streams+packets/2 })
			if len(a.Members()) != 1 || len(b.Members()) != 1 {
				t.Errorf("a has %v, b has %v, want each itself alone", a.Members(), b.Members())
			}
			if n := strings.Count(a.log.String(), "gossip refused"); n < 1 || n > 3 {
				t.Errorf("%d refusals are logged %d times:\n%s", int(a.refusals(tt.reason)), n, a.log)
			}
			until(t, "the other says that it is alone", func() bool { return strings.Contains(b.log.String(), "nobody to gossip with is reached") })
		})
	}
}

func TestKeysAreChangedWhileNodesGossip(t *testing.T) {
	file := keyFile(t, "", key(1))
	a := open(t, "a", withKeys(file))
	b := open(t, "b", withKeys(file), a)
	until(t, "they gossip", func() bool { return len(a.finds()) == 1 && len(b.finds()) == 1 })
	for _, keys := range [][]string{{key(1), "# the next one", key(2)}, {key(2), key(1)}, {key(2)}} {
		keyFile(t, file, keys...)
		for _, g := range []*gossiping{a, b} {
			if err := g.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		// Something has to pass between them under these keys.
		if err := a.list.UpdateNode(time.Second); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if _, err := b.list.Join([]string{a.Addr()}); err != nil {
				t.Fatalf("with the keys %d: %v", len(keys), err)
			}
		}
	}
	keyFile(t, file, "what is no key")
	if err := a.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), file+":1") || strings.Contains(err.Error(), "what is no key") {
		t.Errorf("Reload of what is no key: error %v, want one that names the line and tells no key", err)
	}
	if _, err := b.list.Join([]string{a.Addr()}); err != nil {
		t.Errorf("after keys that cannot be read: %v", err)
	}
	if a.refusals(refusedKey) != 0 || b.refusals(refusedKey) != 0 {
		t.Errorf("gossip was refused while keys changed:\n%s%s", a.log, b.log)
	}
	// Who has the old key alone is not heard any more.
	old := open(t, "old", withKeys(keyFile(t, "", key(1))), a)
	until(t, "the old key is refused", func() bool { return a.refusals(refusedKey) > 0 })
	if n := len(old.Members()); n != 1 {
		t.Errorf("with the old key there are %d members, want it alone", n)
	}
}

func TestInstall(t *testing.T) {
	keys := func(ns ...byte) (all [][]byte) {
		for _, n := range ns {
			all = append(all, bytes.Repeat([]byte{n}, keyLen))
		}
		return all
	}
	for _, tt := range []struct{ from, to [][]byte }{
		{keys(1), keys(1)},
		{keys(1), keys(2)},
		{keys(1, 2), keys(2, 1)},
		{keys(1, 2, 3, 4), keys(4, 2)},
		{keys(1, 2, 3), keys(5, 3, 4)},
	} {
		ring, err := memberlist.NewKeyring(tt.from, tt.from[0])
		if err != nil {
			t.Fatal(err)
		}
		read := ring.GetKeys()
		before := slices.Clone(read)
		changed, err := install(ring, tt.to)
		if err != nil || changed != !slices.EqualFunc(tt.from, tt.to, bytes.Equal) {
			t.Errorf("install = %t, %v", changed, err)
		}
		if diff := cmp.Diff(tt.to, ring.GetKeys()); diff != "" {
			t.Errorf("keys (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(before, read); diff != "" {
			t.Errorf("keys that somebody was reading changed (-want +got):\n%s", diff)
		}
	}
}

func TestGossipThatCannotBegin(t *testing.T) {
	good := keyFile(t, "", key(1))
	for _, tt := range []struct {
		name   string
		change func(*GossipConfig)
		want   string
	}{
		{"nothing keeps others out", func(cfg *GossipConfig) { cfg.Bind = "0.0.0.0:0" }, "give a file of keys"},
		{"no id", func(cfg *GossipConfig) { cfg.Self.ID = "" }, "id is missing"},
		{"no port", func(cfg *GossipConfig) { cfg.Bind = "127.0.0.1" }, "missing port"},
		{"a label that is too long", func(cfg *GossipConfig) { cfg.Label = strings.Repeat("a", 256) }, "256 bytes"},
		{"too much to tell", func(cfg *GossipConfig) { cfg.Self.API = strings.Repeat("a", 512) }, "the limit is 512"},
		{"no file of keys", withKeys(good + "gone"), "no such file"},
		{"a file without keys", withKeys(keyFile(t, "", "# none")), "holds no key"},
		{"a key that is too short", withKeys(keyFile(t, "", key(1), "AAAA")), ":2: want a key, 32 bytes"},
		{"an address that is everybody's", func(cfg *GossipConfig) { cfg.Advertise = "0.0.0.0:1" }, "nobody is reached"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := GossipConfig{Bind: "127.0.0.1:0", Self: Member{ID: "a"}}
			tt.change(&cfg)
			g, err := OpenGossip(t.Context(), cfg)
			if err == nil {
				err = g.Close()
				t.Fatalf("it begins, and ends with error %v", err)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("OpenGossip: error %v, want %q", err, tt.want)
			}
		})
	}
}
