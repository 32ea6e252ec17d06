package rpc

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/rs/cors"

	"github.com/remit-authz/remit/rpc/gate"
)

// A pageGuard keeps pages in a browser from calling with what is not theirs: the browser's
// place on this machine, or its client certificate.
//
// A server that asks nobody trusts whoever can reach it. On loopback those are the programs
// of this machine, and with a browser every page that it shows: a page may send what a form
// sends without asking, and one whose name its owner makes stand for 127.0.0.1 may read the
// answers, too. A certificate is no better: the browser shows it, whichever page calls.
type pageGuard struct {
	local bool       // nobody is asked, and only this machine can call
	named *cors.Cors // knows the origins that are permitted by name; nil: none are
	hosts []string   // of these origins, as requests name them
}

// newPageGuard makes a guard. The configuration must have its defaults.
func newPageGuard(config *Config) *pageGuard {
	p := &pageGuard{local: !config.Identity.Enabled() && !config.Insecure && CheckAddr("", config.Addr, false) == nil}
	origins := config.OpenFGA.CORSOrigins
	if len(origins) == 0 || slices.Contains(origins, "*") {
		return p // that all may call names none
	}
	p.named = cors.New(cors.Options{AllowedOrigins: origins})
	for _, origin := range origins {
		if u, err := url.Parse(origin); err == nil && u.Host != "" {
			p.hosts = append(p.hosts, strings.ToLower(u.Host))
		}
	}
	return p
}

// guard lets requests pass, and notes the client certificates of those that no strange page
// has made.
func (p *pageGuard) guard(next http.Handler) http.Handler {
	certified := gate.Certified(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.local {
			if why := p.fault(r); why != "" {
				refusePage(w, why)
				return
			}
		}
		if r.TLS != nil && p.strange(r) {
			next.ServeHTTP(w, r)
			return
		}
		certified.ServeHTTP(w, r)
	})
}

// strange reports whether a page has made a request that is neither of the server's own
// origin nor permitted by name.
func (p *pageGuard) strange(r *http.Request) bool {
	site, origin := r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Origin")
	switch {
	case site == "same-origin", site == "none":
		return false
	case site == "" && (origin == "" || sameOrigin(origin, r.Host)):
		return false // of a program, or of an old browser
	}
	return !p.permits(r)
}

// fault says what makes a request to a server that asks nobody look like one of a strange
// page; empty if nothing does.
func (p *pageGuard) fault(r *http.Request) string {
	if !isOwnName(r.Host) && !slices.Contains(p.hosts, strings.ToLower(r.Host)) {
		return fmt.Sprintf("the call is for %q, which may be a stranger's name for this machine; use localhost or an IP address", r.Host)
	}
	origin := r.Header.Get("Origin")
	if origin == "" || sameOrigin(origin, r.Host) || isLocalOrigin(origin) || p.permits(r) {
		return ""
	}
	return fmt.Sprintf("the call is made by a page of %q", origin)
}

func (p *pageGuard) permits(r *http.Request) bool { return p.named != nil && p.named.OriginAllowed(r) }

// refusePage answers in words, for the person who wonders.
func refusePage(w http.ResponseWriter, why string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusForbidden)
	// Two strings, and a client that may have gone.
	_ = json.NewEncoder(w).Encode(map[string]string{
		"code": "permission_denied",
		"message": why + ". A server that asks nobody who they are answers this machine alone: permit an origin by name with " +
			"--openfga-cors-origins, ask callers who they are with --root-key-file, or serve everybody with --insecure",
	})
}

// isOwnName reports whether a host, as a request names it, is one that nobody could have
// registered to mean this machine.
func isOwnName(host string) bool {
	name := hostname(host)
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	// A name without a dot is one of /etc/hosts, and none at all is of a program: a browser
	// always gives one. Containers call their host host.docker.internal.
	dot := strings.LastIndexByte(name, '.')
	return dot < 0 || name[dot:] == ".localhost" || name[dot:] == ".internal"
}

// isLocalOrigin reports whether a page is one that this machine itself serves.
func isLocalOrigin(origin string) bool {
	u, err := url.Parse(origin)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return false // such as null, which is whoever does not want to say
	}
	name := hostname(u.Host)
	ip, err := netip.ParseAddr(name)
	return err == nil && ip.IsLoopback() || name == "localhost" || strings.HasSuffix(name, ".localhost")
}

// sameOrigin reports whether a page was served under the name by which it calls.
func sameOrigin(origin, host string) bool {
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, host)
}

// hostname is a host without its port, in lower case.
func hostname(host string) string {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	return strings.ToLower(strings.TrimSuffix(name, "."))
}
