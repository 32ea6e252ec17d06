package peer

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestConfigsThatCannotWork(t *testing.T) {
	good := Config{Bind: "127.0.0.1:0", NodeID: "n", Cluster: func() uint64 { return 0 }}
	verifying := &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert}
	for _, test := range []struct {
		change func(c *Config)
		want   string
	}{
		{func(c *Config) { c.Bind = "" }, "Bind"},
		{func(c *Config) { c.Bind = "127.0.0.1" }, "Bind"},
		{func(c *Config) { c.Bind = ":7000" }, "Advertise must say"},
		{func(c *Config) { c.Bind = "[::]:7000" }, "Advertise must say"},
		{func(c *Config) { c.Bind, c.Advertise = ":7000", "0.0.0.0:7000" }, "not that of every interface"},
		{func(c *Config) { c.Advertise = "host" }, "Advertise"},
		{func(c *Config) { c.Advertise = ":7000" }, "Advertise"},
		{func(c *Config) { c.Advertise = "host:0" }, "Advertise"},
		{func(c *Config) { c.Advertise = strings.Repeat("a", maxAddress) + ":1" }, "at most 300"},
		{func(c *Config) { c.NodeID = "" }, "NodeID"},
		{func(c *Config) { c.NodeID = strings.Repeat("n", maxNodeID+1) }, "NodeID"},
		{func(c *Config) { c.Cluster = nil }, "Cluster is required"},
		{func(c *Config) { c.ServerTLS = verifying }, "together or not at all"},
		{func(c *Config) { c.ClientTLS = &tls.Config{} }, "together or not at all"},
		{func(c *Config) {
			c.ServerTLS, c.ClientTLS = &tls.Config{ClientAuth: tls.RequestClientCert}, &tls.Config{}
		}, "does not demand"},
		{func(c *Config) {
			c.ServerTLS, c.ClientTLS = verifying, &tls.Config{InsecureSkipVerify: true}
		}, "does not verify"},
	} {
		c := good
		test.change(&c)
		if port, err := Listen(t.Context(), c); err == nil || !strings.Contains(err.Error(), test.want) {
			if err == nil {
				_ = port.Close()
			}
			t.Errorf("%v, want %s", err, test.want)
		}
	}
}

func TestWhatOthersAreTold(t *testing.T) {
	named := listen(t, "a", 7, func(c *Config) { c.Advertise = "node.test:7000" })
	if got := named.LocalAddr(); got != "node.test:7000" {
		t.Errorf("others are told %s", got)
	}
	// A name is what certificates bear, so it is not replaced by its address.
	bound := listen(t, "b", 7, func(c *Config) { c.Bind = "localhost:0" })
	_, port, err := net.SplitHostPort(bound.Addr().String())
	if got := string(bound.LocalAddr()); err != nil || got != "localhost:"+port {
		t.Errorf("others are told %s, want localhost:%s", got, port)
	}
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	a := listen(t, "a", 7, func(c *Config) { c.Metrics = registry })
	a.Handle(echo)
	if _, err := a.Call(t.Context(), a.LocalAddr(), 200, []byte("to itself")); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(t.Context(), Config{Bind: "127.0.0.1:0", NodeID: "b", Cluster: a.cluster.Load, Metrics: registry}); err == nil {
		t.Error("two ports share their metrics")
	}
	var got map[string]float64
	gather := func() {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got = map[string]float64{}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				name := f.GetName()
				for _, l := range m.GetLabel() {
					name += " " + l.GetValue()
				}
				got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	// Who answers counts that when it has been sent, and then it may have arrived long ago.
	eventually(t, "the answer is counted", func() bool {
		gather()
		return got["remit_peer_bytes_total calls out"] >= 2*(frameHeader+10)
	})
	for name, least := range map[string]float64{
		"remit_peer_connections calls in": 1, "remit_peer_connections calls out": 1, "remit_peer_connections raft in": 0,
		"remit_peer_refused_connections_total stranger": 0, "remit_peer_dial_failures_total": 0,
		"remit_peer_calls_total other answered": 1, "remit_peer_requests_total other": 1,
		"remit_peer_bytes_total calls in": 2 * (frameHeader + 10), "remit_peer_bytes_total calls out": 2 * (frameHeader + 10),
	} {
		if value, ok := got[name]; !ok || value < least || least < 2 && value != least {
			t.Errorf("%s is %v, want %v", name, value, least)
		}
	}
}
