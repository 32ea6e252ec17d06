package peer

import (
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// meet opens a connection to a port and sends something.
func meet(t *testing.T, n *node, sent []byte) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", n.Addr().String()) //nolint:noctx // a test's own port
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := c.Write(sent); err != nil {
		t.Fatal(err)
	}
	return c
}

// refused is how many connections a port has refused for a reason.
func (n *node) refused(t *testing.T, reason string) float64 {
	t.Helper()
	return sample(t, n.metrics.refusals, reason)
}

// sample is the value of the one metric of a collector that has these values for labels,
// in the order of the labels' names.
func sample(t *testing.T, c prometheus.Collector, labels ...string) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range families[0].GetMetric() {
		var values []string
		for _, l := range m.GetLabel() {
			values = append(values, l.GetValue())
		}
		if slices.Equal(values, labels) {
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return 0
}

func TestStrangersAreRefused(t *testing.T) {
	good := preface{carries: carriesCalls, identity: identity{cluster: 7, node: "x", address: "x:1"}, meant: "b:1"}
	later := good.encode()
	later[len(magic)] = version + 1
	foreign := good
	foreign.cluster = 8
	alien := good
	alien.carries = 77
	short := seal(version, []byte{byte(carriesCalls)}, "")
	for _, test := range []struct {
		name   string
		sent   []byte
		answer string // what it is told, in part
		log    string
		reason string
	}{
		{"HTTP", []byte("GET /v1/check HTTP/1.1\r\nHost: a\r\n\r\n"), "400 Bad Request", "the API has a port of its own", reasonStranger},
		{"HTTP/2", []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "400 Bad Request", "the API has a port of its own", reasonStranger},
		{"TLS", append([]byte{recordHandshake, 3, 1, 2, 0, 1, 0, 1}, make([]byte, 500)...), "TLS, which this port is not set up for", "TLS, which this port is not set up for", reasonStranger},
		{"text", []byte("hello, who is there?\n"), "begins with", `begins with \"hello, w\"`, reasonStranger},
		{"a short text", []byte("hi"), "begins with", `begins with \"hi\"`, reasonStranger},
		{"a later release", later, "version 2 of the protocol", "version 2 of the protocol", reasonVersion},
		{"another cluster", foreign.encode(), "cluster 0000000000000008", "cluster 0000000000000008", reasonOtherCluster},
		{"an unknown purpose", alien.encode(), "carry 77", "carry 77", reasonOther},
		{"a beginning that lies", short, "shorter than it says", "shorter than it says", reasonOther},
		{"a beginning too long", append([]byte(magic), version, 0xff, 0xff), "at most 2048", "at most 2048", reasonOther},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := listen(t, "n", 7, func(c *Config) { c.Metrics = prometheus.NewRegistry() })
			c := meet(t, n, test.sent)
			answer, err := io.ReadAll(c)
			_ = c.Close()
			if err != nil || !strings.Contains(string(answer), test.answer) {
				t.Errorf("it is told %q, %v; want %s", answer, err, test.answer)
			}
			eventually(t, "the log tells: "+test.log, func() bool { return strings.Contains(n.told.String(), test.log) })
			if got := n.refused(t, test.reason); got != 1 {
				t.Errorf("%v connections are counted as refused for %s", got, test.reason)
			}
			if sample(t, n.metrics.connections, "calls", "in") != 0 {
				t.Error("a connection is left")
			}
		})
	}
}

func TestWhoDoesNotIntroduceItselfIsLeft(t *testing.T) {
	n := listen(t, "n", 7)
	c := meet(t, n, []byte(magic[:3]))
	takes(t, greetingTimeout+2*lingering, func() {
		if _, err := io.ReadAll(c); err != nil {
			t.Error(err)
		}
	})
	_ = c.Close()
	eventually(t, "it is counted as slow", func() bool { return n.refused(t, reasonSlow) == 1 })
}

// However many dawdle, a node is let in at once.
func TestDawdlersKeepNobodyOut(t *testing.T) {
	a, b := listen(t, "a", 7), listen(t, "b", 7)
	b.Handle(echo)
	for range 3 * maxGreetings {
		meet(t, b, nil)
	}
	takes(t, dialTimeout, func() {
		if _, err := a.Call(t.Context(), b.LocalAddr(), 1, nil); err != nil {
			t.Error(err)
		}
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.greetings) > maxGreetings {
		t.Errorf("%d connections are kept whose other side is not known", len(b.greetings))
	}
}

// A storm of strangers is counted whole and logged in part.
func TestStrangersDoNotFillTheLog(t *testing.T) {
	n := listen(t, "n", 7)
	const many = 60
	for range many {
		c := meet(t, n, []byte("POST / HTTP/1.1\r\n\r\n"))
		_, _ = io.ReadAll(c)
		_ = c.Close()
	}
	eventually(t, "all are counted", func() bool { return n.refused(t, reasonStranger) == many })
	if warned := strings.Count(n.told.String(), "level=WARN"); warned == 0 || warned > many/2 {
		t.Errorf("%d of %d are warned of", warned, many)
	}
}

// What is dialled may be no node, too.
func TestDiallingAStranger(t *testing.T) {
	a := listen(t, "a", 7)
	for _, test := range []struct {
		name, says, want string
	}{
		{"a web server", "HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP"},
		{"a mail server", "220 mail.test ESMTP\r\n", `"220 mail"`},
		{"one that hangs up", "", "EOF"},
		{"a refusal", string(verdict{decision: refusedOtherwise, identity: identity{node: "z"}, reason: "not today"}.encode()), "not today"},
	} {
		t.Run(test.name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test's own port
			if err != nil {
				t.Fatal(err)
			}
			served := make(chan error, 1)
			go func() {
				c, err := listener.Accept()
				if err == nil {
					_, err = io.ReadFull(c, make([]byte, prefaceHeader))
					_, e := io.WriteString(c, test.says)
					err = errors.Join(err, e, c.(*net.TCPConn).CloseWrite())
					_, _ = io.Copy(io.Discard, c)
					_ = c.Close()
				}
				served <- err
			}()
			_, err = a.Call(t.Context(), raftAddress(listener), 1, nil)
			if err == nil || !unsent(err) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("it is told %v, unsent %v; want %s", err, unsent(err), test.want)
			}
			if err := errors.Join(<-served, listener.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}

// garbled is a connection past its preface on which a test sends what it likes.
func garbled(t *testing.T, n *node, carries carriage) net.Conn {
	t.Helper()
	c := meet(t, n, preface{carries: carries, identity: identity{cluster: 7, node: "x", address: "x:1"}, meant: "n"}.encode())
	body, err := readPreface(c)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := decodeVerdict(body); err != nil || v.decision != accepted || v.node != "n" || v.cluster != 7 {
		t.Fatalf("the verdict is %+v, %v", v, err)
	}
	return c
}

func TestNonsenseEndsAConnection(t *testing.T) {
	n := listen(t, "n", 7)
	n.Handle(echo)
	damaged := appendFrame(nil, frameRequest, false, 1, []byte{1}, []byte("payload"))
	damaged[len(damaged)-1] ^= 1
	long := make([]byte, frameHeader)
	copy(long, []byte{0xff, 0xff, 0xff, 0xff})
	endless := []byte{}
	for range maxMessage/maxChunk + 2 {
		endless = appendFrame(endless, frameRequest, true, 1, nil, make([]byte, maxChunk))
	}
	for _, test := range []struct {
		name string
		sent []byte
	}{
		{"damaged", damaged},
		{"too long", long},
		{"without end", endless},
		{"an answer to no question", appendFrame(nil, frameAnswer, false, 1, nil, nil)},
		{"without a kind", appendFrame(nil, frameRequest, false, 1, nil, nil)},
		{"going on with nothing", appendFrame(nil, frameRequest, true, 1, nil, nil)},
		{"a type that is not known", appendFrame(nil, 99, false, 1, nil, nil)},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := garbled(t, n, carriesCalls)
			if _, err := c.Write(test.sent); err != nil && test.name != "without end" {
				t.Fatal(err)
			}
			if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			// It hears pings at most, and then the end.
			rest, err := io.ReadAll(c)
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				t.Error("the connection goes on")
			}
			for ping := appendFrame(nil, framePing, false, 0, nil, nil); bytes.HasPrefix(rest, ping); {
				rest = rest[len(ping):]
			}
			if len(rest) > 0 {
				t.Errorf("it is answered: %q", rest)
			}
		})
	}
	// Raft's transport gets what is no message of its own.
	c := garbled(t, n, carriesRaft)
	if _, err := c.Write([]byte{200, 1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(c); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Error(err)
	}
}
