package storefile

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/remit-authz/remit/cmd/remit/yamlfile"
	"github.com/remit-authz/remit/graph/model"
)

// model reads the model that a store file holds or names. As OpenFGA's command line
// does, it takes the inline one if there are both.
func (r *reader) model(file *File, data []byte, inline, reference *yaml.Node) {
	text := r.Text(file.Path, inline, "model")
	name := r.Text(file.Path, reference, "model_file")
	switch {
	case text != "":
		if name != "" {
			r.Warnf(yamlfile.At(file.Path, reference), "model_file has no effect beside model")
		}
		r.inlineModel(file, data, yamlfile.Follow(inline), text)
	case name != "":
		place := yamlfile.At(file.Path, reference)
		r.modelFile(file, yamlfile.Beside(file.Path, name), &place)
	}
}

// ReadModel reads a model file: the modelling language, JSON (*.json) or modules
// (fga.mod).
func ReadModel(name string) (*model.Model, Source, error) {
	return ReadModelWith(name, yamlfile.ReadFile)
}

// ReadModelWith is ReadModel over another source of files.
func ReadModelWith(name string, open func(string) ([]byte, error)) (*model.Model, Source, error) {
	r := &reader{open: open}
	file := &File{Path: name}
	r.modelFile(file, name, nil)
	if err := r.Err(); err != nil {
		return nil, Source{}, err
	}
	return file.Model, file.Source, nil
}

func (r *reader) inlineModel(file *File, data []byte, n *yaml.Node, text string) {
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		file.Source.JSON = text
		m, err := model.ParseJSON(file.Path, []byte(text))
		r.keepModel(file, m, err, inlinePlaces(file.Path, data, n))
		return
	}
	file.Source.DSL = text
	m, err := model.ParseDSL(file.Path, text)
	r.keepModel(file, m, err, inlinePlaces(file.Path, data, n))
}

// inlinePlaces translates places in an inline text to places in the file. In a literal
// block they differ by the line of the block's header and the block's indentation;
// other styles fold lines, so the text's beginning must do.
func inlinePlaces(file string, data []byte, n *yaml.Node) func(model.Fault) Place {
	return func(f model.Fault) Place {
		place := yamlfile.At(file, n)
		if n.Style&yaml.LiteralStyle == 0 || f.Line == 0 {
			return place
		}
		lines := bytes.Split(data, []byte("\n"))
		indent := -1
		for i, line := range strings.Split(n.Value, "\n") {
			if written := n.Line + i; strings.TrimSpace(line) != "" && written < len(lines) {
				indent = leadingSpaces(string(lines[written])) - leadingSpaces(line)
				break
			}
		}
		place.Line += f.Line
		place.Column = max(indent, 0) + max(f.Column, 1)
		return place
	}
}

func leadingSpaces(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

// modelFile reads a model of its own file. From is where the store file names it.
func (r *reader) modelFile(file *File, name string, from *Place) {
	data, err := r.open(name)
	if err != nil {
		r.unreadable(name, from, err)
		return
	}
	text := string(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")))
	own := func(f model.Fault) Place { return Place{File: name, Line: f.Line, Column: f.Column} }
	switch {
	case strings.HasSuffix(name, "fga.mod"):
		r.modules(file, name, text)
	case strings.HasSuffix(name, "json"):
		file.Source.JSON = text
		m, err := model.ParseJSON(name, []byte(text))
		r.keepModel(file, m, err, own)
	default:
		file.Source.DSL = text
		m, err := model.ParseDSL(name, text)
		r.keepModel(file, m, err, own)
	}
}

// unreadable reports a file that cannot be read, where it is named if it is.
func (r *reader) unreadable(name string, from *Place, err error) {
	if from == nil {
		r.Faultf(Place{File: name}, "%s", yamlfile.Reason(err))
		return
	}
	r.Faultf(*from, "%s: %s", name, yamlfile.Reason(err))
}

// modules reads fga.mod and the files it lists, which lie relative to it.
func (r *reader) modules(file *File, name, text string) {
	schema, names, err := model.ParseModFile(name, text)
	if err != nil {
		r.modelFaults(err, func(f model.Fault) Place { return Place{File: name, Line: f.Line, Column: f.Column} })
		return
	}
	file.Source.Schema = schema
	failed := false
	for _, module := range names {
		contents, err := r.open(yamlfile.Beside(name, module))
		if err != nil {
			r.unreadable(yamlfile.Beside(name, module), &Place{File: name}, err)
			failed = true
			continue
		}
		file.Source.Modules = append(file.Source.Modules, model.File{Name: module, Contents: string(contents)})
	}
	if failed {
		return
	}
	m, err := model.ParseModules(schema, file.Source.Modules)
	r.keepModel(file, m, err, func(f model.Fault) Place {
		if f.File == "" {
			return Place{File: name}
		}
		return Place{File: filepath.Join(filepath.Dir(name), f.File), Line: f.Line, Column: f.Column}
	})
}

func (r *reader) keepModel(file *File, m *model.Model, err error, place func(model.Fault) Place) {
	if err != nil {
		r.modelFaults(err, place)
		return
	}
	file.Model = m
}

func (r *reader) modelFaults(err error, place func(model.Fault) Place) {
	var faulty *model.Error
	if !errors.As(err, &faulty) || len(faulty.Faults) == 0 {
		r.Faultf(place(model.Fault{}), "%s", err)
		return
	}
	for _, f := range faulty.Faults {
		r.Faultf(place(f), "%s", f.Message)
	}
}
