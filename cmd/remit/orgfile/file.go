package orgfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"

	"github.com/remit-authz/remit/cmd/remit/yamlfile"
	"github.com/remit-authz/remit/graph/crm"
)

// A Section is a part of an organisation file, by its key.
type Section string

// The sections that say what an organisation is.
const (
	Organisation Section = "organisation"
	Modules      Section = "modules"
	Profiles     Section = "profiles"
	Fields       Section = "fields"
	Roles        Section = "roles"
	Shifts       Section = "shifts"
	Users        Section = "users"
	Groups       Section = "groups"
	Teams        Section = "teams"
	Rules        Section = "rules"
	Records      Section = "records"
)

// Sections are all of them in the order in which they are written: what an entity refers
// to mostly comes before it.
func Sections() []Section {
	return []Section{Organisation, Modules, Profiles, Fields, Roles, Shifts, Users, Groups, Teams, Rules, Records}
}

// testsKey is the section that says nothing of the organisation.
const testsKey = "tests"

// A File is an organisation file.
type File struct {
	// Path is where the file was read from.
	Path string

	// Organisation is what the sections say. Of a section that the file does not have,
	// there is nothing here: see Has.
	Organisation *crm.Organisation

	// Tests are those of the file, in its order.
	Tests []Test

	sections map[Section]bool
	places   map[string]yamlfile.Place // of entities, by the subject of a crm.Fault
}

// Has reports whether the file has a section.
func (f *File) Has(s Section) bool { return f.sections[s] }

// Place is where an entity stands, by its key as text (role:rep); the file's beginning if
// it does not stand there.
func (f *File) Place(key string) yamlfile.Place { return placeOf(f.Path, f.places, key) }

func placeOf(file string, places map[string]yamlfile.Place, key string) yamlfile.Place {
	if p, ok := places[key]; ok {
		return p
	}
	return yamlfile.Place{File: file, Line: 1, Column: 1}
}

// Read reads an organisation file from the disk. What is wrong with it is a
// *yamlfile.Error.
func Read(name string) (*File, error) {
	return read(name, yamlfile.ReadFile)
}

// ReadFS reads an organisation file from a file system.
func ReadFS(fsys fs.FS, name string) (*File, error) {
	return read(name, func(name string) ([]byte, error) {
		return fs.ReadFile(fsys, path.Clean(filepath.ToSlash(name)))
	})
}

func read(name string, open func(string) ([]byte, error)) (*File, error) {
	data, err := open(name)
	if err != nil {
		return nil, &yamlfile.Error{Faults: []yamlfile.Fault{{Place: yamlfile.Place{File: name}, Message: yamlfile.Reason(err)}}}
	}
	return Parse(name, data)
}

// Parse reads the text of an organisation file. Name stands for the file in faults.
func Parse(name string, data []byte) (*File, error) {
	p := newParser(name)
	file := p.file(data)
	if err := p.Err(); err != nil {
		return nil, err
	}
	return file, nil
}

// Over is an organisation with what the file says in place of what its sections are about,
// as it would be if the file were applied to it. Lists are those of the file and of the
// other; none is copied.
func (f *File) Over(o *crm.Organisation) *crm.Organisation {
	result := *o
	for s := range f.sections {
		switch s {
		case Organisation:
			result.ID, result.Name, result.SuperAdmin = f.Organisation.ID, f.Organisation.Name, f.Organisation.SuperAdmin
			result.Settings = f.Organisation.Settings
		case Modules:
			result.Modules = f.Organisation.Modules
		case Profiles:
			result.Profiles = f.Organisation.Profiles
		case Fields:
			result.Fields = f.Organisation.Fields
		case Roles:
			result.Roles = f.Organisation.Roles
		case Shifts:
			result.Shifts = f.Organisation.Shifts
		case Users:
			result.Seats = f.Organisation.Seats
		case Groups:
			result.Groups = f.Organisation.Groups
		case Teams:
			result.Teams = f.Organisation.Teams
		case Rules:
			result.Rules = f.Organisation.Rules
		case Records:
			result.Records = f.Organisation.Records
		}
	}
	return &result
}

// Validate reports everything that is wrong with what the file says, for one that says all
// of an organisation: sections that it does not have are taken to be empty. Tests are held
// against the organisation, too. What is wrong is a *yamlfile.Error.
func (f *File) Validate(limits crm.Limits) error {
	r := &yamlfile.Reader{}
	if !f.Has(Organisation) {
		r.Faultf(f.Place(""), "the file has no section %s, and so no organisation of its own", Organisation)
		return r.Err()
	}
	locate(r, f.Path, f.places, "", f.Organisation.Validate(limits))
	base := len(r.Faults) == 0
	for i := range f.Tests {
		t := &f.Tests[i]
		if t.changed != nil && base {
			before := len(r.Faults)
			locate(r, f.Path, t.changed.places, fmt.Sprintf("as test %q changes it, ", t.Name), t.changed.organisation.Validate(limits))
			if len(r.Faults) > before {
				continue // what is asked about may be what is at fault
			}
		}
		if base || t.changed == nil {
			f.judge(r, t)
		}
	}
	return r.Err()
}

// Locate puts faults of the organisation where the entities at fault stand in the file.
// Other errors stay as they are.
func (f *File) Locate(err error) error {
	var faults *crm.Error
	if !errors.As(err, &faults) {
		return err
	}
	r := &yamlfile.Reader{}
	locate(r, f.Path, f.places, "", err)
	return r.Err()
}

func locate(r *yamlfile.Reader, file string, places map[string]yamlfile.Place, prefix string, err error) {
	var faults *crm.Error
	if err == nil {
		return
	}
	if !errors.As(err, &faults) {
		r.Faultf(placeOf(file, places, ""), "%s%s", prefix, err)
		return
	}
	for _, f := range faults.Faults {
		r.Faultf(placeOf(file, places, f.Subject), "%s%s", prefix, f.Error())
	}
}

func (p *parser) file(data []byte) *File {
	file := &File{
		Path: p.path, Organisation: &crm.Organisation{}, sections: map[Section]bool{}, places: p.places,
	}
	root := p.Document(p.path, data)
	if root == nil {
		if len(p.Faults) == 0 {
			p.Faultf(yamlfile.Place{File: p.path, Line: 1, Column: 1}, "the file is empty")
		}
		return file
	}
	if after := bytes.TrimSpace(data); bytes.Contains(after, []byte("\n---")) {
		p.second(data)
	}
	var tests *entry
	known := append(sectionNames(), testsKey)
	for _, e := range p.mapping(root, "an organisation file") {
		switch {
		case e.Key == testsKey:
			tests = &e
		case slices.Contains(known, e.Key):
			file.sections[Section(e.Key)] = true
			p.section(Section(e.Key), e.Value, file.Organisation)
		default:
			p.unknown(e, "an organisation file", known)
		}
	}
	if tests != nil {
		p.tests(file, tests.Value)
	}
	return file
}

func sectionNames() []string {
	var names []string
	for _, s := range Sections() {
		names = append(names, string(s))
	}
	return names
}
