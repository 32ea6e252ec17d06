package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// An Answer is a raw HTTP answer, without what rightly differs from server to server.
type Answer struct {
	Status int
	Header map[string]string
	Body   any // each line's value, if it is JSON; the text, if not

	values []any // Body as it came, before masking
}

// client follows no redirection and asks for no compression.
var client = &http.Client{
	Transport:     &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 8},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Timeout:       30 * time.Second,
}

// Send sends a filled request.
func (t *Target) Send(ctx context.Context, r Request) (*Answer, error) {
	var body io.Reader
	if r.Body != "" {
		body = strings.NewReader(r.Body)
	}
	request, err := http.NewRequestWithContext(ctx, r.Method, t.URL+r.Path, body)
	if err != nil {
		return nil, err
	}
	request.Header = r.Header.Clone()
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	a := &Answer{Status: response.StatusCode, Header: map[string]string{}}
	for name, values := range response.Header {
		a.Header[name] = strings.Join(values, ", ")
	}
	a.decode(content)
	return a, nil
}

func (a *Answer) decode(content []byte) {
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.UseNumber()
	for {
		var value any
		err := decoder.Decode(&value)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			a.values, a.Body = nil, mask(string(content))
			return
		}
		a.values = append(a.values, value)
	}
	lines := make([]any, 0, len(a.values))
	for _, value := range a.values {
		lines = append(lines, masked("", value))
	}
	a.Body = lines
}

// Value finds a value by its path, such as stores.0.id, or fails.
func (a *Answer) Value(path string) (string, error) {
	if len(a.values) == 0 {
		return "", fmt.Errorf("no JSON to find %s in", path)
	}
	value := a.values[0]
	for step := range strings.SplitSeq(path, ".") {
		switch v := value.(type) {
		case map[string]any:
			value = v[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(v) {
				return "", fmt.Errorf("%s: no element %s", path, step)
			}
			value = v[i]
		default:
			return "", fmt.Errorf("%s: nothing at %s", path, step)
		}
	}
	text, ok := value.(string)
	if !ok {
		return "", fmt.Errorf("%s is %v, not a text", path, value)
	}
	return text, nil
}

var (
	ulid = regexp.MustCompile(`\b[0-7][0-9A-HJKMNP-TV-Z]{25}\b`)
	when = regexp.MustCompile(`\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
	// protojson varies its spaces on purpose.
	space = regexp.MustCompile(`[\s\x{00a0}]+`)
)

func mask(text string) string {
	text = ulid.ReplaceAllString(text, "<id>")
	text = when.ReplaceAllString(text, "<time>")
	return space.ReplaceAllString(text, " ")
}

// masked copies a JSON value without ids, times and tokens.
func masked(name string, value any) any {
	switch v := value.(type) {
	case string:
		if name == "continuation_token" && v != "" {
			return "<token>"
		}
		return mask(v)
	case []any:
		all := make([]any, len(v))
		for i := range v {
			all[i] = masked("", v[i])
		}
		return all
	case map[string]any:
		fields := make(map[string]any, len(v))
		for key, field := range v {
			fields[key] = masked(key, field)
		}
		return fields
	}
	return value
}

// own names headers that say nothing about the API: of the connection, those that Remit
// adds, and one that OpenFGA's gateway forgets to take out.
var own = map[string]bool{
	"Date": true, "Content-Length": true, "Connection": true,
	"Remit-Token": true, "Fga-Query-Duration-Ms": true,
	"X-Http-Code": true,
}

// Normalize makes answers comparable: lists as sets unless ordered, and of the headers
// those that the API promises.
func (a *Answer) Normalize(ordered bool) {
	if !ordered {
		a.Body = sorted(a.Body)
	}
	for name, value := range a.Header {
		switch {
		case own[name]:
			delete(a.Header, name)
		case name == "X-Request-Id":
			a.Header[name] = "<present>"
		default:
			a.Header[name] = mask(once(value))
		}
	}
}

// once is a header without values that it repeats. OpenFGA names the model again for each
// of the questions that an AuthZEN request puts to it.
func once(value string) string {
	return strings.Join(slices.Compact(strings.Split(value, ", ")), ", ")
}

// sorted orders every list by its elements' text.
func sorted(value any) any {
	switch v := value.(type) {
	case []any:
		all := make([]any, len(v))
		for i := range v {
			all[i] = sorted(v[i])
		}
		slices.SortFunc(all, func(x, y any) int { return strings.Compare(text(x), text(y)) })
		return all
	case map[string]any:
		fields := make(map[string]any, len(v))
		for key, field := range v {
			fields[key] = sorted(field)
		}
		return fields
	}
	return value
}

func text(value any) string {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return err.Error()
	}
	return strings.TrimSpace(b.String())
}

// String prints an answer as it is compared.
func (a *Answer) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d\n", a.Status)
	for _, name := range slices.Sorted(maps.Keys(a.Header)) {
		fmt.Fprintf(&b, "%s: %s\n", name, a.Header[name])
	}
	if lines, ok := a.Body.([]any); ok {
		for _, line := range lines {
			b.WriteString(text(line) + "\n")
		}
	} else {
		fmt.Fprintf(&b, "%q\n", a.Body)
	}
	return b.String()
}
