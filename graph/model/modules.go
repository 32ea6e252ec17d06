package model

import (
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"github.com/openfga/language/pkg/go/transformer"
)

// A File is one module of a model: its name, as fga.mod has it, and its text.
type File struct {
	Name, Contents string
}

// ParseModules reads a model that is split into modules. The order of the files is the
// order of the model; a type may be extended by a file before the one that defines it.
func ParseModules(schema string, files []File) (*Model, error) {
	m := merger{
		message: &openfgav1.AuthorizationModel{
			SchemaVersion: schema,
			Conditions:    map[string]*openfgav1.Condition{},
		},
		outline:    &outline{},
		types:      map[string]*openfgav1.TypeDefinition{},
		typeAt:     map[string]place{},
		relationAt: map[[2]string]place{},
		guardAt:    map[string]place{},
	}
	if !m.sized(files) {
		return nil, m.found.err(m.outline.files...)
	}
	var extensions []extension
	for _, f := range files {
		extensions = append(extensions, m.read(f)...)
	}
	for _, e := range extensions {
		m.extend(e)
	}
	if err := m.found.err(m.outline.files...); err != nil {
		return nil, err
	}
	return build(m.message, m.outline)
}

// A merger makes one model of many files.
type merger struct {
	message    *openfgav1.AuthorizationModel
	outline    *outline
	found      faults
	types      map[string]*openfgav1.TypeDefinition
	typeAt     map[string]place
	relationAt map[[2]string]place // by type and relation
	guardAt    map[string]place
}

// An extension is an `extend type` that waits until every type is known.
type extension struct {
	file string
	at   *typeOutline
	def  *openfgav1.TypeDefinition
}

func (m *merger) sized(files []File) bool {
	total := 0
	named := map[string]bool{}
	for _, f := range files {
		m.outline.files = append(m.outline.files, f.Name)
		total += len(f.Contents)
		if named[f.Name] {
			m.found.add(place{file: f.Name}, "", "", "the file is listed twice: list each module once")
		}
		named[f.Name] = true
	}
	switch {
	case len(files) == 0:
		m.found.add(place{}, "", "", "there are no modules: list at least one file under `contents` in fga.mod")
	case len(files) > MaxFiles:
		m.found.add(place{}, "", "", "there are %d modules, and at most %d can be read", len(files), MaxFiles)
	case total > MaxJSON:
		m.found.add(place{}, "", "", "the modules have %d bytes together, and at most %d can be read", total, MaxJSON)
	}
	return len(m.found.list) == 0
}

// read takes over a file's types and conditions, and returns its extensions.
func (m *merger) read(f File) []extension {
	message, extended, outliner, err := parseText(f.Name, f.Contents)
	if err != nil {
		var invalid *Error
		if errors.As(err, &invalid) {
			m.found.list = append(m.found.list, invalid.Faults...)
		}
		return nil
	}
	text := outliner.outline
	if text.module == "" {
		m.found.add(text.header, "", "", "this is a whole model, not a module: begin the file with `module` and a name in place of `model` and `schema`")
		return nil
	}
	m.outline.types = append(m.outline.types, text.types...)
	m.outline.conditions = append(m.outline.conditions, text.conditions...)

	var extensions []extension
	for i, def := range message.GetTypeDefinitions() {
		// The parser keeps definitions in the order of the text, so places go along.
		at := &typeOutline{name: def.GetType()}
		if i < len(text.types) && text.types[i].name == def.GetType() {
			at = text.types[i]
		}
		if extended[def.GetType()] == def {
			extensions = append(extensions, extension{f.Name, at, def})
			continue
		}
		if first, ok := m.typeAt[def.GetType()]; ok {
			m.found.add(at.at, def.GetType(), "", "type %s is defined twice%s: define it once and write `extend type %s` elsewhere",
				def.GetType(), first.seenFrom(at.at), def.GetType())
			continue
		}
		m.define(def, at, f.Name)
	}
	conditions := slices.Clone(text.conditions)
	for _, name := range sortedKeys(message.GetConditions()) {
		if !slices.ContainsFunc(conditions, func(c *conditionOutline) bool { return c.name == name }) {
			conditions = append(conditions, &conditionOutline{name: name, at: text.header})
		}
	}
	for _, c := range conditions {
		def, ok := message.GetConditions()[c.name]
		if !ok {
			continue
		}
		if first, ok := m.guardAt[c.name]; ok {
			m.found.add(c.at, "", "", "condition %s is defined twice%s: give one of them another name", c.name, first.seenFrom(c.at))
			continue
		}
		m.guardAt[c.name] = c.at
		def.Metadata = &openfgav1.ConditionMetadata{
			Module: text.module, SourceInfo: &openfgav1.SourceInfo{File: f.Name},
		}
		m.message.Conditions[c.name] = def
	}
	return extensions
}

func (m *merger) define(def *openfgav1.TypeDefinition, at *typeOutline, file string) {
	if def.Metadata == nil {
		def.Metadata = &openfgav1.Metadata{}
	}
	if def.Metadata.Relations == nil {
		def.Metadata.Relations = map[string]*openfgav1.RelationMetadata{}
	}
	if def.Relations == nil {
		def.Relations = map[string]*openfgav1.Userset{}
	}
	def.Metadata.SourceInfo = &openfgav1.SourceInfo{File: file}
	m.types[def.GetType()] = def
	m.typeAt[def.GetType()] = at.at
	for _, r := range at.relations {
		m.relationAt[[2]string{at.name, r.name}] = r.at
	}
	m.message.TypeDefinitions = append(m.message.TypeDefinitions, def)
}

func (m *merger) extend(e extension) {
	name := e.def.GetType()
	original, ok := m.types[name]
	if !ok {
		m.found.add(e.at.at, name, "", "type %s is extended, but no module defines it%s: define it with `type %s` in one of them",
			name, suggest(name, sortedKeys(m.types)), name)
		return
	}
	relations := slices.Clone(e.at.relations)
	for _, relation := range sortedKeys(e.def.GetRelations()) {
		if !slices.ContainsFunc(relations, func(r *relationOutline) bool { return r.name == relation }) {
			relations = append(relations, &relationOutline{name: relation, at: e.at.at})
		}
	}
	for _, r := range relations {
		rewrite, ok := e.def.GetRelations()[r.name]
		if !ok {
			continue
		}
		key := [2]string{name, r.name}
		if first, ok := m.relationAt[key]; ok {
			m.found.add(r.at, name, r.name, "type %s has a relation %s already%s: an extension adds relations, it cannot change one",
				name, r.name, first.seenFrom(r.at))
			continue
		}
		m.relationAt[key] = r.at
		meta := e.def.GetMetadata().GetRelations()[r.name]
		if meta == nil {
			meta = &openfgav1.RelationMetadata{}
		}
		meta.SourceInfo = &openfgav1.SourceInfo{File: e.file}
		original.Relations[r.name] = rewrite
		original.Metadata.Relations[r.name] = meta
	}
}

// ParseModFile reads an fga.mod: the schema version and the names of the modules, which
// are relative to the file. It does not open them.
func ParseModFile(file, text string) (schema string, names []string, err error) {
	var found faults
	if len(text) > MaxText {
		found.add(place{file: file}, "", "", "the file has %d bytes, and at most %d can be read", len(text), MaxText)
		return "", nil, found.err(file)
	}
	mod, err := transformModFile(text)
	if err != nil {
		var refused *transformer.ModFileValidationMultipleError
		if !errors.As(err, &refused) {
			found.add(yamlPlace(file, err), "", "", "not a module list: %s", strings.TrimPrefix(err.Error(), "yaml: "))
			return "", nil, found.err(file)
		}
		for _, one := range refused.Errors {
			var fault *transformer.ModFileValidationError
			if errors.As(one, &fault) {
				// Despite its comment, the parser counts these from zero.
				found.add(place{file, fault.Line + 1, fault.Column + 1}, "", "", "%s", modFileMessage(fault.Msg))
			}
		}
		return "", nil, found.err(file)
	}
	for _, item := range mod.Contents.Value {
		names = append(names, item.Value)
	}
	if len(names) == 0 {
		found.add(place{file, mod.Contents.Line + 1, mod.Contents.Column + 1}, "", "", "contents is empty: list at least one .fga file")
	}
	if len(names) > MaxFiles {
		found.add(place{file, mod.Contents.Line + 1, mod.Contents.Column + 1}, "", "", "contents lists %d files, and at most %d can be read", len(names), MaxFiles)
	}
	if err := found.err(file); err != nil {
		return "", nil, err
	}
	return mod.Schema.Value, names, nil
}

// transformModFile calls OpenFGA's reader of fga.mod, which leaves YAML to a library
// that has panicked on malformed input before: what it panics on is bad input.
func transformModFile(text string) (mod *transformer.ModFile, err error) {
	defer func() {
		if r := recover(); r != nil {
			mod, err = nil, errors.New("the file cannot be read as YAML")
		}
	}()
	return transformer.TransformModFile(text)
}

var yamlLine = regexp.MustCompile(`line (\d+):`)

// yamlPlace is the line that a fault of YAML names, if it names one.
func yamlPlace(file string, err error) place {
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		if line, convErr := strconv.Atoi(m[1]); convErr == nil && line > 0 {
			return place{file, line, 1}
		}
	}
	return place{file: file}
}

// modFileMessage adds what would be right to what the parser says is wrong.
func modFileMessage(message string) string {
	switch {
	case strings.Contains(message, "schema"):
		return message + ": write schema: '1.2', with quotes"
	case strings.HasPrefix(message, "invalid contents item"):
		return message + ": name a file below this one, without ../ and without a leading /"
	case strings.Contains(message, "contents"):
		return message + ": list the modules below it, each as `- core.fga`"
	default:
		return message
	}
}
