package model

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// seed adds the inputs of a command in testdata/faults.
func seed(f *testing.F, cmd string) {
	f.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", "faults", "*"))
	if err != nil {
		f.Fatal(err)
	}
	inputs := regexp.MustCompile(`(?ms)^` + cmd + `\n(.*?)^----$`)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, m := range inputs.FindAllSubmatch(text, -1) {
			f.Add(string(m[1]))
		}
	}
}

func FuzzParseDSL(f *testing.F) {
	text, err := os.ReadFile(filepath.Join("testdata", "models", "library.fga"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	seed(f, "dsl")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := ParseDSL("m.fga", text)
		if err != nil {
			return
		}
		compiles(t, m)
		if printed, err := m.DSL(); err != nil {
			t.Errorf("what was text cannot be printed: %v\n%s", err, printed)
		}
	})
}

func FuzzParseJSON(f *testing.F) {
	data, err := library(f).JSON()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(data))
	seed(f, "json")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := ParseJSON("m.json", []byte(text))
		if err != nil {
			return
		}
		compiles(t, m)
		again, err := m.JSON()
		if err != nil {
			t.Fatal(err)
		}
		same, err := ParseJSON("again.json", again)
		if err != nil {
			t.Fatalf("ParseJSON of %s: %v", again, err)
		}
		if !same.Equal(m) {
			t.Errorf("JSON says something else: %v", Diff(m, same))
		}
	})
}

func FuzzParseModules(f *testing.F) {
	seed(f, "modules")
	f.Fuzz(func(t *testing.T, text string) {
		if m, err := ParseModules("1.2", splitFiles(text)); err == nil {
			compiles(t, m)
		}
	})
}

func FuzzParseModFile(f *testing.F) {
	seed(f, "mod")
	f.Fuzz(func(t *testing.T, text string) {
		_, names, err := ParseModFile("fga.mod", text)
		if (err == nil) != (len(names) > 0) {
			t.Errorf("ParseModFile = %q, %v", names, err)
		}
	})
}

// compiles holds that a valid model always makes a plan.
func compiles(t *testing.T, m *Model) *Plan {
	t.Helper()
	table := NewTable()
	table.Define(m.Declarations())
	p, err := m.Compile("01", table)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
