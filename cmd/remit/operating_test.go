package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/remit-authz/remit/cmd/remit/server"
	"github.com/remit-authz/remit/rpc"
	"github.com/remit-authz/remit/rpc/gate/gatetest"
)

// The files for those who operate a node.
const (
	dashboardFile = "../../scripts/grafana.json"
	alertsFile    = "../../scripts/alerts.yaml"
)

// metricsOf are the metrics of a running node that has written and answered: the labels
// of each, by the name of its samples.
func metricsOf(t *testing.T) map[string][]string {
	t.Helper()
	ca, dir := gatetest.NewCA(t, "ours"), t.TempDir()
	secured := rpc.TLSConfig{}
	secured.CertFile, secured.KeyFile = ca.Server(gatetest.Certificate{}).Files(t, dir, "server")
	peers := server.PeersConfig{Addr: "127.0.0.1:0", TLS: secured, Gossip: server.GossipConfig{Addr: "127.0.0.1:0"}, Expect: 1}
	peers.TLS.ClientCAFile = gatetest.File(t, dir, "peers.crt", ca.PEM())
	s, err := server.Open(t.Context(), server.Config{
		DataDir: t.TempDir(), Addr: "127.0.0.1:0", GRPCAddr: "127.0.0.1:0", AdminAddr: "127.0.0.1:0", TLS: secured,
		Peers: peers,
	})
	if err != nil {
		t.Fatal(err)
	}
	admin := s.AdminAddr()
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	t.Setenv("REMIT_ADDR", s.Addr())
	t.Setenv("REMIT_CA_FILE", gatetest.File(t, dir, "ca.crt", ca.PEM()))
	go func() { served <- s.Run(ctx) }()
	defer func() {
		stop()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	}()
	must(t, "store", "import", "testdata/stores/blocklist.fga.yaml")
	must(t, "check", "member:bea", "speak", "channel:tea")
	if _, _, status := remit(t, "check", "member:bea", "speak", "channel:tea", "--store", "nowhere"); status != exitError {
		t.Fatal("a store that does not exist was asked")
	}

	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+admin+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatal(res.Status, err)
	}
	metrics := map[string][]string{}
	sample := regexp.MustCompile(`^([a-z_0-9]+)(?:\{(.*)\})? `)
	label := regexp.MustCompile(`([a-z_]+)="`)
	for line := range strings.Lines(string(body)) {
		found := sample.FindStringSubmatch(line)
		if found == nil {
			continue // a comment
		}
		labels := metrics[found[1]]
		for _, l := range label.FindAllStringSubmatch(found[2], -1) {
			if !slices.Contains(labels, l[1]) {
				labels = append(labels, l[1])
			}
		}
		metrics[found[1]] = labels
	}
	return metrics
}

var (
	metricName = regexp.MustCompile(`\b(?:remit|go|process)_[a-z0-9_]+`)
	selector   = regexp.MustCompile(`\b((?:remit|go|process)_[a-z0-9_]+)\{([^}]*)\}`)
	matcher    = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)\s*"`)
	grouping   = regexp.MustCompile(`by \(([^)]*)\)`)
)

// checkExpression says what a node does not have of what an expression of PromQL names.
func checkExpression(t *testing.T, where, expr string, metrics map[string][]string) {
	t.Helper()
	scraped := []string{"instance", "job"} // what Prometheus adds
	names := metricName.FindAllString(expr, -1)
	if len(names) == 0 && !strings.HasPrefix(expr, "up{") {
		t.Errorf("%s: %s names no metric", where, expr)
	}
	known := slices.Clone(scraped)
	for _, name := range names {
		labels, ok := metrics[name]
		if !ok {
			t.Errorf("%s: no node has %s", where, name)
		}
		known = append(known, labels...)
	}
	for _, s := range selector.FindAllStringSubmatch(expr, -1) {
		for _, m := range matcher.FindAllStringSubmatch(s[2], -1) {
			if !slices.Contains(append(scraped, metrics[s[1]]...), m[1]) {
				t.Errorf("%s: %s has no label %s", where, s[1], m[1])
			}
		}
	}
	for _, g := range grouping.FindAllStringSubmatch(expr, -1) {
		for by := range strings.SplitSeq(g[1], ",") {
			if !slices.Contains(known, strings.TrimSpace(by)) {
				t.Errorf("%s: %s groups by %s, which nothing in it has", where, expr, by)
			}
		}
	}
	for _, pair := range []string{"()", "{}", "[]"} {
		if strings.Count(expr, pair[:1]) != strings.Count(expr, pair[1:]) {
			t.Errorf("%s: %s has not as many %c as %c", where, expr, pair[0], pair[1])
		}
	}
}

// Whatever the dashboard and the alerts ask for, a node has.
func TestDashboardAndAlertsNameWhatThereIs(t *testing.T) {
	metrics := metricsOf(t)
	t.Run("dashboard", func(t *testing.T) {
		var dashboard struct {
			Panels []struct {
				ID          int
				Type, Title string
				Targets     []struct{ Expr, LegendFormat string }
				GridPos     struct{ X, Y, W, H int }
			}
		}
		data, err := os.ReadFile(dashboardFile)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &dashboard); err != nil {
			t.Fatal(err)
		}
		seen := map[int]bool{}
		for _, p := range dashboard.Panels {
			if seen[p.ID] || p.Title == "" || p.GridPos.X+p.GridPos.W > 24 {
				t.Errorf("panel %d, %q, is there twice, has no title or no room", p.ID, p.Title)
			}
			seen[p.ID] = true
			if len(p.Targets) == 0 && p.Type != "row" {
				t.Errorf("panel %q shows nothing", p.Title)
			}
			for _, target := range p.Targets {
				checkExpression(t, p.Title, target.Expr, metrics)
			}
		}
		for name := range metrics {
			if strings.HasPrefix(name, "remit_index") && !strings.Contains(string(data), name) {
				t.Errorf("no panel shows %s", name)
			}
		}
	})
	t.Run("alerts", func(t *testing.T) {
		var file struct {
			Groups []struct {
				Name  string
				Rules []struct {
					Alert, Expr, For    string
					Labels, Annotations map[string]string
				}
			}
		}
		data, err := os.ReadFile(alertsFile)
		if err != nil {
			t.Fatal(err)
		}
		decoder := yaml.NewDecoder(strings.NewReader(string(data)))
		decoder.KnownFields(true)
		if err := decoder.Decode(&file); err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, group := range file.Groups {
			for _, rule := range group.Rules {
				if seen[rule.Alert] || rule.Alert == "" || rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" ||
					!slices.Contains([]string{"critical", "warning"}, rule.Labels["severity"]) {
					t.Errorf("alert %q is there twice, or lacks a name, a severity, a summary or a description", rule.Alert)
				}
				seen[rule.Alert] = true
				checkExpression(t, rule.Alert, rule.Expr, metrics)
			}
		}
		if len(seen) == 0 {
			t.Error("there are no alerts")
		}
	})
}

// Metrics are named as Prometheus wants it.
func TestMetricNames(t *testing.T) {
	for name, labels := range metricsOf(t) {
		if !strings.HasPrefix(name, "remit_") {
			continue
		}
		for _, l := range labels {
			if !slices.Contains([]string{"face", "rpc", "code", "kind", "outcome", "pool", "le", "version", "go_version", "member", "carries", "direction", "reason"}, l) {
				t.Errorf("%s has the label %s", name, l)
			}
		}
		for _, unit := range []string{"_ms", "_millis", "_micros", "_kb", "_mb", "_minutes"} {
			if strings.Contains(name+"_", unit+"_") {
				t.Errorf("%s is not in a base unit", name)
			}
		}
	}
}

// A process that is told by a file does what the file says, and logs requests without
// their tuples.
func TestServeDoesWhatTheFileSays(t *testing.T) {
	dir := t.TempDir()
	file := configFile(t, "log-format: json\nlog-requests: all\nadmin-addr: 127.0.0.1:0\n")
	p := serveProcess(t, dir, "--config", file)
	must(t, "store", "import", "testdata/stores/public.fga.yaml", "--addr", p.addr)
	must(t, "write", "hall:west#open_to@visitor:canary", "--addr", p.addr)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if state := p.ends(t); state.ExitCode() != 0 {
		t.Fatalf("serve ended with %s\n%s", state, p.stderr.String())
	}
	log := p.stderr.String()
	for _, want := range []string{`"admin_addr":"127.0.0.1:`, `"msg":"request","rpc":"remit.v1.TupleService/Write","code":"ok","duration":`, `,"store":"`} {
		if !strings.Contains(log, want) {
			t.Errorf("the log has no %s", want)
		}
	}
	if strings.Contains(log, "canary") || strings.Contains(log, "hall:west") {
		t.Errorf("the log tells tuples:\n%s", log)
	}
}
