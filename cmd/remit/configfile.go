package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

// maxConfigBytes bounds a configuration file. One that is larger is something else.
const maxConfigBytes = 1 << 20

// A fileValue is what the configuration file says of one setting.
type fileValue struct {
	text  string
	list  []string
	place string // file:line:column
}

// readConfigFile reads a configuration file: YAML, one key for each setting. It reports
// every fault at once, each with its place, and gives what is without fault.
func readConfigFile(name string, known *settings) (map[string]fileValue, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("--config %w", fileReason(name, err))
	}
	defer func() { _ = f.Close() }() // it is only read
	data, err := io.ReadAll(io.LimitReader(f, maxConfigBytes+1))
	if err != nil {
		return nil, fmt.Errorf("--config %w", fileReason(name, err))
	}
	if len(data) > maxConfigBytes {
		return nil, fmt.Errorf("--config %s: it is longer than %d bytes, which no configuration is", name, maxConfigBytes)
	}
	r := &configReader{name: name, known: known, values: map[string]fileValue{}, first: map[string]int{}}
	r.read(data)
	return r.values, errors.Join(r.faults...)
}

// A configReader is one file being read.
type configReader struct {
	name   string
	known  *settings
	values map[string]fileValue
	first  map[string]int // the line on which a key was met first
	faults []error
}

// fault notes what is wrong at a place.
func (r *configReader) fault(n *yaml.Node, format string, args ...any) {
	r.faults = append(r.faults, fmt.Errorf("%s: %s", r.place(n), fmt.Sprintf(format, args...)))
}

func (r *configReader) place(n *yaml.Node) string {
	return fmt.Sprintf("%s:%d:%d", r.name, n.Line, n.Column)
}

func (r *configReader) read(data []byte) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return // nothing is said
	case err != nil:
		r.faults = append(r.faults, yamlFault(r.name, err))
		return
	}
	var more yaml.Node
	if err := decoder.Decode(&more); err == nil {
		r.fault(&more, "a second document begins; one is all there may be")
	} else if !errors.Is(err, io.EOF) {
		r.faults = append(r.faults, yamlFault(r.name, err))
	}
	root := document.Content[0]
	if root.Kind != yaml.MappingNode {
		if root.ShortTag() != "!!null" {
			r.fault(root, "this is %s, want settings, each on a line such as addr: 127.0.0.1:8080", describe(root))
		}
		return
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		r.pair(root.Content[i], root.Content[i+1])
	}
}

// yamlPlace is how the library tells the line of a fault.
var yamlPlace = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// yamlFault puts the file and the line before what is no YAML.
func yamlFault(name string, err error) error {
	found := yamlPlace.FindStringSubmatch(err.Error())
	if found == nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	text := strings.TrimPrefix(err.Error(), found[0])
	if found[1] != "" {
		name += ":" + found[1]
	}
	return fmt.Errorf("%s: no YAML: %s", name, text)
}

// pair reads one key and its value.
func (r *configReader) pair(key, value *yaml.Node) {
	if key.Kind == yaml.AliasNode {
		key = key.Alias
	}
	if key.Kind != yaml.ScalarNode {
		r.fault(key, "a key is %s, want the name of a setting", describe(key))
		return
	}
	s := r.known.find(key.Value)
	if s == nil {
		r.fault(key, "unknown key %s%s", key.Value, r.known.resembling(key.Value))
		return
	}
	if line, again := r.first[s.Name]; again {
		r.fault(key, "%s stands here again, after line %d", s.Name, line)
		return
	}
	r.first[s.Name] = key.Line
	place := value
	if value.Kind == yaml.AliasNode {
		value = value.Alias
	}
	v, fault := s.read(value)
	if fault != "" {
		r.fault(place, "%s %s", s.Name, fault)
		return
	}
	v.place = r.place(place)
	r.values[s.Name] = v
}

// read takes a value of the setting's kind, or says what is wrong with it.
func (s *setting) read(n *yaml.Node) (v fileValue, fault string) {
	if n.ShortTag() == "!!null" {
		return v, "has no value"
	}
	if s.kind == list {
		return s.readList(n)
	}
	tags := map[kind][]string{
		text: {"!!str"}, address: {"!!str"}, number: {"!!int"}, fraction: {"!!float", "!!int"}, boolean: {"!!bool"}, span: {"!!str"},
	}[s.kind]
	if n.Kind != yaml.ScalarNode || !slices.Contains(tags, n.ShortTag()) {
		if n.Kind == yaml.ScalarNode && s.kind == text {
			return v, fmt.Sprintf("is %s, want a text; put it in quotes", describe(n))
		}
		return v, fmt.Sprintf("is %s, want %s", describe(n), s.kind.wants())
	}
	v.text = n.Value
	switch s.kind {
	case address:
		if !isAddress(v.text) && (v.text != "" || s.DefValue != "") {
			return v, fmt.Sprintf("is %q, want %s", v.text, s.kind.wants())
		}
	case number:
		var i int64
		if err := n.Decode(&i); err != nil {
			return v, fmt.Sprintf("is %s, which is out of range", v.text)
		}
		v.text = strconv.FormatInt(i, 10)
	case fraction:
		var f float64
		if err := n.Decode(&f); err != nil {
			return v, fmt.Sprintf("is %s, which is out of range", v.text)
		}
		v.text = strconv.FormatFloat(f, 'g', -1, 64)
	case span:
		if _, err := time.ParseDuration(v.text); err != nil {
			return v, fmt.Sprintf("is %q, want %s", v.text, s.kind.wants())
		}
	}
	if err := s.check(v.text); err != nil {
		return v, err.Error()
	}
	return v, ""
}

func (s *setting) readList(n *yaml.Node) (v fileValue, fault string) {
	if n.Kind != yaml.SequenceNode {
		return v, fmt.Sprintf("is %s, want %s", describe(n), s.kind.wants())
	}
	v.list = []string{}
	for _, element := range n.Content {
		if element.Kind == yaml.AliasNode {
			element = element.Alias
		}
		if element.Kind != yaml.ScalarNode || element.ShortTag() != "!!str" {
			return v, fmt.Sprintf("holds %s, want texts", describe(element))
		}
		v.list = append(v.list, element.Value)
	}
	return v, ""
}

// describe says what a node is.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a group of keys"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!int", "!!float":
		return "the number " + n.Value
	case "!!bool":
		return "the truth value " + n.Value
	case "!!null":
		return "empty"
	}
	return fmt.Sprintf("the text %q", n.Value)
}

// resembling points to the settings that an unknown key may be meant for. It is what
// the commands' own suggestions come from.
func (s *settings) resembling(key string) string {
	const most = 3
	names := &cobra.Command{SuggestionsMinimumDistance: 2}
	for _, name := range s.names() {
		names.AddCommand(&cobra.Command{Use: name, Run: func(*cobra.Command, []string) {}})
	}
	similar := names.SuggestionsFor(strings.ReplaceAll(strings.ToLower(strings.TrimLeft(key, "-")), "_", "-"))
	switch n := min(len(similar), most); n {
	case 0:
		return "; \"remit config schema\" tells all there are"
	case 1:
		return fmt.Sprintf("; did you mean %s?", similar[0])
	default:
		return fmt.Sprintf("; did you mean %s or %s?", strings.Join(similar[:n-1], ", "), similar[n-1])
	}
}
