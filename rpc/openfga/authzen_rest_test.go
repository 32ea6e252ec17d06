package openfga

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// AuthZEN returns the client's name of a request, whatever becomes of it. OpenFGA's own
// procedures name requests themselves.
func TestRequestIDIsReturned(t *testing.T) {
	r := newRig(t)
	for _, tt := range []struct {
		name, method, path, body string
		status                   int
		returned                 bool
	}{
		{"no model", "POST", "/stores/" + someID + "/access/v1/evaluation", `{"subject":{"type":"user","id":"a"},"resource":{"type":"document","id":"1"},"action":{"name":"read"}}`, 400, true},
		{"a fault", "POST", "/stores/" + someID + "/access/v1/evaluations", `{}`, 400, true},
		{"a search", "POST", "/stores/" + someID + "/access/v1/search/subject", `{}`, 400, true},
		{"no JSON", "POST", "/stores/" + someID + "/access/v1/search/action", `{`, 400, true},
		{"discovery", "GET", "/.well-known/authzen-configuration/" + someID, ``, 500, true},
		{"OpenFGA's check", "POST", "/stores/" + someID + "/check", someCheck, 400, false},
		{"OpenFGA's check without JSON", "POST", "/stores/" + someID + "/check", `{`, 400, false},
	} {
		for _, id := range []string{"bfe9eb29-ab87-4ca3-be83-a1d5d8305716", "mine\tand no other's", ""} {
			req := httptest.NewRequestWithContext(t.Context(), tt.method, tt.path, strings.NewReader(tt.body))
			if id != "" {
				req.Header.Set("X-Request-ID", id)
			}
			w := httptest.NewRecorder()
			r.face.Handler().ServeHTTP(w, req)
			got := w.Header()[http.CanonicalHeaderKey("X-Request-ID")]
			want, returned := headerValue(id), tt.returned && id != ""
			switch {
			case w.Code != tt.status:
				t.Errorf("%s: %d %s, want %d", tt.name, w.Code, w.Body, tt.status)
			case len(got) > 1:
				t.Errorf("%s: the request has the names %q", tt.name, got)
			case returned && (len(got) == 0 || got[0] != want):
				t.Errorf("%s: the request %q has the name %q", tt.name, want, got)
			case !returned && len(got) == 1 && len(got[0]) != len(someUUID):
				t.Errorf("%s: the request has the name %q, want a new one", tt.name, got)
			}
		}
	}
}

const someUUID = "00000000-0000-4000-8000-000000000000"
