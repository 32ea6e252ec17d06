package conformance

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

// A Request is one of a script: a file of raw HTTP requests that are sent in order.
//
//	### name
//	METHOD path
//	Header: value
//	@save name field.0.field
//
//	body
//
// {{name}} stands for a saved value, for a store or for a model that the script begins
// with; {{x*300}} for 300 times x. @save keeps a value of the answer for the requests that
// follow. @ordered compares the lists of the answer in their order, not as sets. A line
// that begins with "#" is a comment.
//
// @differs 404 text: reason says that Remit answers otherwise by intent, with this status
// and this text somewhere in its answer. That the answers still differ is tested too.
type Request struct {
	Name    string
	Method  string
	Path    string
	Header  http.Header
	Body    string
	Save    map[string]string
	Ordered bool
	Differs *Difference
}

// A Difference is an answer of Remit's that is not OpenFGA's, by intent.
type Difference struct {
	Status       int
	Text, Reason string
}

// ParseScript reads a script.
func ParseScript(text string) ([]Request, error) {
	var requests []Request
	for i, block := range strings.Split("\n"+text, "\n### ") {
		if i == 0 {
			if strings.TrimSpace(strings.Trim(commentless(block), "\n")) != "" {
				return nil, fmt.Errorf("text before the first request: %q", block)
			}
			continue
		}
		r, err := parseRequest(block)
		if err != nil {
			return nil, err
		}
		requests = append(requests, r)
	}
	return requests, nil
}

func parseRequest(block string) (Request, error) {
	head, body, _ := strings.Cut(block, "\n\n")
	lines := strings.Split(commentless(head), "\n")
	r := Request{Name: strings.TrimSpace(lines[0]), Header: http.Header{}, Save: map[string]string{}}
	if len(lines) < 2 {
		return r, fmt.Errorf("request %q has no line METHOD path", r.Name)
	}
	var ok bool
	if r.Method, r.Path, ok = strings.Cut(strings.TrimSpace(lines[1]), " "); !ok {
		return r, fmt.Errorf("request %q: %q is not METHOD path", r.Name, lines[1])
	}
	for _, line := range lines[2:] {
		switch words := strings.Fields(line); {
		case len(words) == 0:
		case words[0] == "@save" && len(words) == 3:
			r.Save[words[1]] = words[2]
		case words[0] == "@ordered" && len(words) == 1:
			r.Ordered = true
		case words[0] == "@differs":
			var err error
			if r.Differs, err = parseDifference(strings.TrimPrefix(line, "@differs ")); err != nil {
				return r, fmt.Errorf("request %q: %w", r.Name, err)
			}
		default:
			name, value, ok := strings.Cut(line, ":")
			if !ok || strings.HasPrefix(line, "@") {
				return r, fmt.Errorf("request %q: %q is neither a header nor a directive", r.Name, line)
			}
			r.Header[http.CanonicalHeaderKey(name)] = append(r.Header[http.CanonicalHeaderKey(name)], strings.TrimSpace(value))
		}
	}
	r.Body = strings.TrimSpace(commentless(body))
	return r, nil
}

func parseDifference(text string) (*Difference, error) {
	answer, reason, ok := strings.Cut(text, ": ")
	status, rest, _ := strings.Cut(answer, " ")
	code, err := strconv.Atoi(status)
	if err != nil || !ok {
		return nil, fmt.Errorf("@differs %s is not STATUS text: reason", text)
	}
	return &Difference{Status: code, Text: rest, Reason: reason}, nil
}

// commentless leaves out the lines of comments.
func commentless(text string) string {
	var lines []string
	for line := range strings.SplitSeq(text, "\n") {
		if !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

var placeholder = regexp.MustCompile(`\{\{([^{}*]+)(?:\*(\d+))?\}\}`)

// Fill puts values where the request names them.
func (r Request) Fill(values map[string]string) (Request, error) {
	var unknown error
	fill := func(text string) string {
		return placeholder.ReplaceAllStringFunc(text, func(match string) string {
			parts := placeholder.FindStringSubmatch(match)
			if n, err := strconv.Atoi(parts[2]); err == nil {
				return strings.Repeat(parts[1], n)
			}
			value, ok := values[parts[1]]
			if !ok {
				unknown = fmt.Errorf("request %q: nothing is saved as %s", r.Name, parts[1])
			}
			return value
		})
	}
	r.Path, r.Body = fill(r.Path), fill(r.Body)
	header := http.Header{}
	for name, all := range r.Header {
		for _, value := range all {
			header.Add(name, fill(value))
		}
	}
	r.Header = header
	return r, unknown
}
