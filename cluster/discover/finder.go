package discover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// PeerPort and GossipPort are where nodes listen for each other and for gossip, unless
// they are told otherwise.
const (
	PeerPort   = 7400
	GossipPort = 7401
)

// Find returns the addresses that are known now, as host:port. It may return some beside
// an error about others.
type Find func(ctx context.Context) ([]string, error)

// A Finder finds what a list names. It may be used from any goroutine.
type Finder struct {
	entries  []entry
	resolver *net.Resolver

	mu    sync.Mutex // held while names are looked up: who asks meanwhile gets the same
	found []string   // guarded by mu
	err   error      // guarded by mu
	at    time.Time  // guarded by mu; when
}

// An entry is one of the list: an SRV name, or a host and port.
type entry struct {
	srv        string
	host, port string
}

const (
	// keepTime is how long what DNS said is used again: shorter than it takes a node to
	// start, and long beside how often a node that looks for others asks.
	keepTime = 2 * time.Second
	// srvPrefix marks a name under which DNS lists hosts and ports.
	srvPrefix = "srv+"
)

// Parse makes a Finder of a list. An entry is one of
//
//	host:port               a name or an IP address, an IPv6 one in brackets
//	host                    the same with the port given here
//	srv+_peer._tcp.example  hosts and ports from the SRV records of a name
//
// A host name with several addresses of one kind stands for all of them; any other stays a
// name, which is what certificates bear. The error names every entry that cannot be read.
func Parse(list []string, port int) (*Finder, error) {
	f := &Finder{resolver: net.DefaultResolver}
	var faults []error
	for _, text := range list {
		e, err := parseEntry(strings.TrimSpace(text), port)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		if !slices.Contains(f.entries, e) {
			f.entries = append(f.entries, e)
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return f, nil
}

func parseEntry(text string, port int) (entry, error) {
	fault := func(why string) (entry, error) {
		return entry{}, fmt.Errorf("%q is no address of a node: %s; give HOST:PORT, HOST or %sNAME", text, why, srvPrefix)
	}
	if name, ok := strings.CutPrefix(text, srvPrefix); ok {
		if !isName(name) {
			return fault("what follows " + srvPrefix + " is no name")
		}
		return entry{srv: name}, nil
	}
	e := entry{host: text, port: strconv.Itoa(port)}
	if _, err := netip.ParseAddr(text); err != nil {
		switch inner, ok := strings.CutPrefix(text, "["); {
		case ok && strings.HasSuffix(inner, "]"):
			e.host = strings.TrimSuffix(inner, "]")
		case strings.Contains(text, ":"):
			if e.host, e.port, err = net.SplitHostPort(text); err != nil {
				return fault(err.Error())
			}
		}
	}
	if n, err := strconv.ParseUint(e.port, 10, 16); err != nil || n == 0 {
		return fault(fmt.Sprintf("%q is no port from 1 to 65535", e.port))
	}
	if ip, err := netip.ParseAddr(e.host); err == nil {
		if ip.IsUnspecified() {
			return fault("nobody is reached at an address that stands for all")
		}
		e.host = ip.String()
		return e, nil
	}
	if !isName(e.host) {
		return fault(fmt.Sprintf("%q is no host", e.host))
	}
	return e, nil
}

// isName tells what can be a name in DNS from what is a typing error. DNS decides the rest.
func isName(s string) bool {
	if s == "" || len(s) > 253 || strings.Contains(s, "..") || s[0] == '.' || s[0] == '-' {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		return !letter && (r < '0' || r > '9') && r != '.' && r != '-' && r != '_'
	})
}

// Only reports whether the list names an address, given as host:port, and nothing else: a
// node that looks for others only where it is itself finds nobody, ever.
func (f *Finder) Only(address string) bool {
	e, err := parseEntry(address, 0)
	return err == nil && len(f.entries) == 1 && f.entries[0] == e
}

// Find returns the addresses of all entries, each once, in order. An entry that cannot be
// looked up, or not before ctx ends, is an error, and hides no other. What it returns may
// be some seconds old.
func (f *Finder) Find(ctx context.Context) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.at.IsZero() && time.Since(f.at) < keepTime {
		return slices.Clone(f.found), f.err
	}
	found := make([][]string, len(f.entries))
	faults := make([]error, len(f.entries))
	var looking sync.WaitGroup
	for i, e := range f.entries {
		looking.Go(func() { found[i], faults[i] = f.look(ctx, e) })
	}
	looking.Wait()
	all := slices.Concat(found...)
	slices.Sort(all)
	all, err := slices.Compact(all), errors.Join(faults...)
	if ctx.Err() == nil { // what a caller cut short is nothing to others
		f.found, f.err, f.at = all, err, time.Now()
	}
	return slices.Clone(all), err
}

// look returns the addresses of one entry.
func (f *Finder) look(ctx context.Context, e entry) ([]string, error) {
	if e.srv != "" {
		_, records, err := f.resolver.LookupSRV(ctx, "", "", e.srv)
		var all []string
		for _, r := range records {
			all = append(all, net.JoinHostPort(strings.TrimSuffix(r.Target, "."), strconv.Itoa(int(r.Port))))
		}
		if err != nil {
			err = fmt.Errorf("look up the hosts of %s%s: %w", srvPrefix, e.srv, err)
		}
		return all, err
	}
	address := net.JoinHostPort(e.host, e.port)
	if _, err := netip.ParseAddr(e.host); err == nil {
		return []string{address}, nil
	}
	ips, err := f.resolver.LookupNetIP(ctx, "ip", e.host)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", e.host, err)
	}
	kinds := map[bool]int{}
	var all []string
	for _, ip := range ips {
		ip = ip.Unmap()
		kinds[ip.Is4()]++
		all = append(all, net.JoinHostPort(ip.String(), e.port))
	}
	if kinds[true] <= 1 && kinds[false] <= 1 {
		return []string{address}, nil // one host
	}
	return all, nil
}

// All returns a Find that asks several, all at once, and gives what all of them found.
// Nil ones are left out.
func All(finds ...Find) Find {
	finds = slices.DeleteFunc(slices.Clone(finds), func(f Find) bool { return f == nil })
	return func(ctx context.Context) ([]string, error) {
		found := make([][]string, len(finds))
		faults := make([]error, len(finds))
		var asking sync.WaitGroup
		for i, find := range finds {
			asking.Go(func() { found[i], faults[i] = find(ctx) })
		}
		asking.Wait()
		all := slices.Concat(found...)
		slices.Sort(all)
		return slices.Compact(all), errors.Join(faults...)
	}
}
