package discover

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"
)

// zone is a DNS server with some names.
type zone struct {
	addresses map[string][]string                 // of hosts
	services  map[string][]dnsmessage.SRVResource // of SRV names
	questions atomic.Int64
}

// serve runs the server until the test ends, and returns a resolver that asks it alone.
func (z *zone) serve(t *testing.T) *net.Resolver {
	t.Helper()
	port, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, from, err := port.ReadFrom(buf)
			if err != nil {
				return
			}
			answer, err := z.answer(buf[:n])
			if err != nil {
				t.Errorf("answer a DNS question: %v", err)
				continue
			}
			if _, err := port.WriteTo(answer, from); err != nil {
				t.Errorf("send an answer: %v", err)
			}
		}
	}()
	t.Cleanup(func() {
		if err := port.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", port.LocalAddr().String())
	}}
}

func (z *zone) answer(question []byte) ([]byte, error) {
	z.questions.Add(1)
	var m dnsmessage.Message
	if err := m.Unpack(question); err != nil {
		return nil, err
	}
	m.Response, m.Authoritative, m.Additionals = true, true, nil
	q := m.Questions[0]
	name := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
	header := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}
	addresses, isHost := z.addresses[name]
	services, isService := z.services[name]
	if !isHost && !isService {
		m.RCode = dnsmessage.RCodeNameError
	}
	for _, a := range addresses {
		ip := netip.MustParseAddr(a)
		switch {
		case ip.Is4() && q.Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: ip.As4()}})
		case ip.Is6() && q.Type == dnsmessage.TypeAAAA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AAAAResource{AAAA: ip.As16()}})
		}
	}
	if q.Type == dnsmessage.TypeSRV {
		for _, s := range services {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &s})
		}
	}
	return m.Pack()
}

func TestFind(t *testing.T) {
	z := &zone{
		addresses: map[string][]string{
			"one.remit.test":  {"10.0.0.1"},
			"dual.remit.test": {"10.0.0.2", "fd00::2"},
			"all.remit.test":  {"10.0.0.3", "10.0.0.4", "10.0.0.5"},
			"six.remit.test":  {"fd00::6", "fd00::7"},
		},
		services: map[string][]dnsmessage.SRVResource{
			"_peer._tcp.remit.test": {
				{Target: dnsmessage.MustNewName("remit-0.remit.test."), Port: 7400, Priority: 1},
				{Target: dnsmessage.MustNewName("remit-1.remit.test."), Port: 7410, Priority: 2},
			},
		},
	}
	resolver := z.serve(t)
	for _, tt := range []struct {
		name string
		list []string
		want []string
		err  string // part of the error, "" for none
	}{
		{"nothing", nil, nil, ""},
		{
			"addresses",
			[]string{"10.1.1.1:7000", "10.1.1.2", "[fd00::1]:7000", "fd00::2", "[fd00::3]"},
			[]string{"10.1.1.1:7000", "10.1.1.2:7400", "[fd00::1]:7000", "[fd00::2]:7400", "[fd00::3]:7400"},
			"",
		},
		{"a name with one address stays one", []string{"one.remit.test:7000"}, []string{"one.remit.test:7000"}, ""},
		{"so does one with an address of each kind", []string{"dual.remit.test"}, []string{"dual.remit.test:7400"}, ""},
		{"a name with several addresses", []string{"all.remit.test"}, []string{"10.0.0.3:7400", "10.0.0.4:7400", "10.0.0.5:7400"}, ""},
		{"a name with several of IPv6", []string{"six.remit.test:1"}, []string{"[fd00::6]:1", "[fd00::7]:1"}, ""},
		{"a service", []string{"srv+_peer._tcp.remit.test"}, []string{"remit-0.remit.test:7400", "remit-1.remit.test:7410"}, ""},
		{"one of them twice", []string{"10.0.0.3", "all.remit.test", "10.0.0.3:7400"}, []string{"10.0.0.3:7400", "10.0.0.4:7400", "10.0.0.5:7400"}, ""},
		{"a name that is not known hides no other", []string{"gone.remit.test", "10.0.0.9"}, []string{"10.0.0.9:7400"}, "look up gone.remit.test"},
		{"nor does a service", []string{"srv+_gone._tcp.remit.test", "one.remit.test"}, []string{"one.remit.test:7400"}, "look up the hosts of srv+_gone._tcp.remit.test"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, err := Parse(tt.list, PeerPort)
			if err != nil {
				t.Fatal(err)
			}
			f.resolver = resolver
			got, err := f.Find(t.Context())
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Find (-want +got):\n%s", diff)
			}
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("Find: error %v, want %q", err, tt.err)
			}
		})
	}
}

func TestFindAsksDNSAgainSoonButNotAtOnce(t *testing.T) {
	z := &zone{addresses: map[string][]string{"all.remit.test": {"10.0.0.3", "10.0.0.4"}}}
	f, err := Parse([]string{"all.remit.test"}, PeerPort)
	if err != nil {
		t.Fatal(err)
	}
	f.resolver = z.serve(t)
	for range 100 {
		if _, err := f.Find(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	asked := z.questions.Load()
	if asked > 4 { // two kinds of address
		t.Errorf("100 calls made %d questions, want those of one", asked)
	}
	f.mu.Lock()
	f.at = f.at.Add(-keepTime)
	f.mu.Unlock()
	if _, err := f.Find(t.Context()); err != nil || z.questions.Load() == asked {
		t.Errorf("Find after %s: error %v, %d questions, want more than %d", keepTime, err, z.questions.Load(), asked)
	}
}

func TestFindThatIsCutShortIsNotKept(t *testing.T) {
	z := &zone{addresses: map[string][]string{"one.remit.test": {"10.0.0.1"}}}
	f, err := Parse([]string{"10.0.0.9", "one.remit.test"}, PeerPort)
	if err != nil {
		t.Fatal(err)
	}
	f.resolver = z.serve(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := f.Find(ctx); err == nil || len(got) != 1 {
		t.Errorf("Find of who has left = %v, %v, want the address and an error", got, err)
	}
	if got, err := f.Find(t.Context()); err != nil || len(got) != 2 {
		t.Errorf("Find afterwards = %v, %v, want both", got, err)
	}
}

func TestParseTellsWhatIsWrong(t *testing.T) {
	for entry, want := range map[string]string{
		"":                   "is no host",
		":7400":              "is no host",
		"host:":              "no port",
		"host:0":             "no port",
		"host:65536":         "no port",
		"host:http":          "no port",
		"http://host:7400":   "too many colons",
		"host/path":          "is no host",
		"a b":                "is no host",
		"host,other":         "is no host",
		"-host":              "is no host",
		"0.0.0.0:7400":       "stands for all",
		"[::]:7400":          "stands for all",
		"srv+":               "no name",
		"srv+_peer._tcp:740": "no name",
		"1:2:3":              "too many colons",
	} {
		_, err := Parse([]string{"good:1", entry}, PeerPort)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q): error %v, want %q", entry, err, want)
		}
	}
	_, err := Parse([]string{"a b", "c d"}, PeerPort)
	if err == nil || !strings.Contains(err.Error(), "a b") || !strings.Contains(err.Error(), "c d") {
		t.Errorf("Parse of two faults: error %v, want both", err)
	}
}

func TestOnly(t *testing.T) {
	for _, tt := range []struct {
		list []string
		want bool
	}{
		{[]string{"host0"}, true},
		{[]string{"host0:7400", " host0"}, true},
		{[]string{"host0", "host1"}, false},
		{[]string{"host1"}, false},
		{[]string{"srv+host0"}, false},
		{nil, false},
	} {
		f, err := Parse(tt.list, PeerPort)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Only("host0:7400"); got != tt.want {
			t.Errorf("%q names only host0:7400: %t, want %t", tt.list, got, tt.want)
		}
	}
}

func TestAllGivesWhatAnyFinds(t *testing.T) {
	fails := errors.New("one fails")
	find := All(nil,
		func(context.Context) ([]string, error) { return []string{"b:1", "a:1"}, nil },
		func(context.Context) ([]string, error) { return []string{"c:1", "a:1"}, fails })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	got, err := find(ctx)
	if diff := cmp.Diff([]string{"a:1", "b:1", "c:1"}, got); diff != "" || !errors.Is(err, fails) {
		t.Errorf("found with error %v (-want +got):\n%s", err, diff)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"host", "host:1", "[::1]:1", "::1", "srv+a.b", "[", "]", "[]:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := parseEntry(text, PeerPort)
		if err != nil || e.srv != "" {
			return
		}
		again, err := parseEntry(net.JoinHostPort(e.host, e.port), PeerPort)
		if err != nil || again != e {
			t.Errorf("%q is %+v, which is %+v, %v", text, e, again, err)
		}
	})
}
