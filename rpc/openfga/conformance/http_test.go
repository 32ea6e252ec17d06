package conformance

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// httpRequests is how many requests the scripts hold at least.
const httpRequests = 150

// Every script begins with a store, the model of testdata/http/model.json and the tuples
// of testdata/http/tuples.json on both servers.
func TestHTTPAnswersAsOpenFGADoes(t *testing.T) {
	files, err := filepath.Glob("testdata/http/*.http")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		requests, err := ParseScript(string(content))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		count += len(requests)
		t.Run(strings.TrimSuffix(filepath.Base(file), ".http"), func(t *testing.T) {
			sides := []*side{newSide(t, subject), newSide(t, peer)}
			for _, r := range requests {
				t.Run(strings.ReplaceAll(r.Name, " ", "_"), func(t *testing.T) {
					got, want := sides[0].send(t, r), sides[1].send(t, r)
					if r.Differs != nil && subject.Name == Remit {
						checkDifference(t, r.Differs, got, want)
					} else if got.String() != want.String() {
						t.Errorf("%s %s\n%s\n--- %s answers\n%s--- OpenFGA answers\n%s", r.Method, shorten(r.Path), shorten(r.Body), subject.Name, got, want)
					} else {
						t.Logf("%s %s\n%s\n--- both answer\n%s", r.Method, shorten(r.Path), shorten(r.Body), want)
					}
				})
			}
		})
	}
	t.Logf("%d requests", count)
	if count < httpRequests {
		t.Errorf("%d requests, want %d or more", count, httpRequests)
	}
}

// checkDifference fails unless Remit answers as the script says, and OpenFGA otherwise.
func checkDifference(t *testing.T, d *Difference, got, want *Answer) {
	t.Helper()
	if got.Status != d.Status || !strings.Contains(got.String(), d.Text) {
		t.Errorf("it should be %d with %q, because %s; %s answers\n%s--- OpenFGA answers\n%s", d.Status, d.Text, d.Reason, subject.Name, got, want)
	}
	if got.String() == want.String() {
		t.Errorf("both answer the same now, @differs can go:\n%s", got)
	}
}

// A side is one server in a script, and what the script saved from its answers.
type side struct {
	target *Target
	values map[string]string
}

// newSide gives a server a store, a model and tuples.
func newSide(t *testing.T, target *Target) *side {
	t.Helper()
	s := &side{target: target, values: map[string]string{}}
	for _, r := range []Request{
		{Name: "create a store", Method: "POST", Path: "/stores", Body: `{"name":"conformance"}`, Save: map[string]string{"store": "id"}},
		{Name: "write a model", Method: "POST", Path: "/stores/{{store}}/authorization-models", Body: read(t, "model.json"), Save: map[string]string{"model": "authorization_model_id"}},
		{Name: "write tuples", Method: "POST", Path: "/stores/{{store}}/write", Body: read(t, "tuples.json")},
	} {
		if a := s.send(t, r); a.Status >= 300 {
			t.Fatalf("%s: %s answers\n%s", r.Name, target.Name, a)
		}
	}
	return s
}

func read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata/http", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func (s *side) send(t *testing.T, r Request) *Answer {
	t.Helper()
	filled, err := r.Fill(s.values)
	if err != nil {
		t.Fatalf("%s: %v", s.target.Name, err)
	}
	a, err := s.target.Send(context.Background(), filled)
	if err != nil {
		t.Fatalf("%s: %v", s.target.Name, err)
	}
	for name, path := range r.Save {
		value, err := a.Value(path)
		if err != nil {
			t.Errorf("%s: save %s: %v; it answered\n%s", s.target.Name, name, err, a)
		}
		s.values[name] = value
	}
	a.Normalize(r.Ordered)
	return a
}

// shorten keeps what a person reads.
func shorten(text string) string {
	if len(text) > 600 {
		return text[:500] + " … " + text[len(text)-80:]
	}
	return text
}
