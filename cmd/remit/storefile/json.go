package storefile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/remit-authz/remit/cmd/remit/yamlfile"
)

// jsonNode parses JSON into YAML's nodes, so that what follows has one shape and places
// to report. YAML's own parser would do for most JSON, but not for every escape. First
// is the line on which data begins.
func (r *reader) jsonNode(file string, data []byte, first int) *yaml.Node {
	p := &jsonParser{data: data, line: first}
	p.decoder = json.NewDecoder(bytes.NewReader(data))
	p.decoder.UseNumber()
	node, err := p.next()
	if err == nil {
		if _, after := p.decoder.Token(); !errors.Is(after, io.EOF) {
			p.from = p.decoder.InputOffset()
			err = errors.New("something follows the value")
		}
	}
	if err == nil {
		return node
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		p.place(int64(len(data)))
		err = errors.New("it ends too early")
	} else {
		p.place(p.from) // the decoder's own offsets are not reliable between tokens
	}
	r.Faultf(Place{File: file, Line: p.line, Column: p.column}, "not JSON: %s", err)
	return nil
}

// A jsonParser turns tokens into nodes and keeps count of lines.
type jsonParser struct {
	decoder *json.Decoder
	data    []byte
	from    int64 // where the last token begins
	offset  int64 // up to here lines were counted
	begins  int64 // where the line begins
	line    int
	column  int
	depth   int
}

// place moves to an offset. It never goes back.
func (p *jsonParser) place(to int64) {
	to = min(to, int64(len(p.data)))
	for ; p.offset < to; p.offset++ {
		if p.data[p.offset] == '\n' {
			p.line++
			p.begins = p.offset + 1
		}
	}
	p.column = int(p.offset-p.begins) + 1
}

func (p *jsonParser) next() (*yaml.Node, error) {
	from := p.decoder.InputOffset()
	for from < int64(len(p.data)) && strings.IndexByte(" \t\r\n,:", p.data[from]) >= 0 {
		from++
	}
	p.from = from
	token, err := p.decoder.Token()
	if err != nil {
		return nil, err
	}
	p.place(from)
	node := &yaml.Node{Kind: yaml.ScalarNode, Line: p.line, Column: p.column}
	switch t := token.(type) {
	case string:
		node.Tag, node.Value, node.Style = "!!str", t, yaml.DoubleQuotedStyle
	case json.Number:
		node.Value = t.String()
		node.Tag = "!!int"
		if strings.ContainsAny(node.Value, ".eE") {
			node.Tag = "!!float"
		}
	case bool:
		node.Tag, node.Value = "!!bool", fmt.Sprint(t)
	case nil:
		node.Tag, node.Value = "!!null", "null"
	case json.Delim:
		node.Kind, node.Tag = yaml.SequenceNode, "!!seq"
		if t == '{' {
			node.Kind, node.Tag = yaml.MappingNode, "!!map"
		}
		if p.depth++; p.depth > yamlfile.MaxDepth {
			return nil, fmt.Errorf("values are nested more than %d deep", yamlfile.MaxDepth)
		}
		for p.decoder.More() {
			child, err := p.next()
			if err != nil {
				return nil, err
			}
			node.Content = append(node.Content, child)
		}
		p.depth--
		if _, err := p.decoder.Token(); err != nil {
			return nil, err
		}
	}
	return node, nil
}
