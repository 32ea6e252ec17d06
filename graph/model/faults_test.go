package model

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// TestFaults holds every text of testdata/faults against its faults, as an author would
// meet them. With -rewrite it records new ones.
func TestFaults(t *testing.T) {
	datadriven.Walk(t, filepath.Join("testdata", "faults"), func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var err error
			switch d.Cmd {
			case "dsl":
				_, err = ParseDSL("m.fga", d.Input)
			case "json":
				_, err = ParseJSON("m.json", []byte(d.Input))
			case "modules":
				_, err = ParseModules("1.2", splitFiles(d.Input))
			case "mod":
				var names []string
				_, names, err = ParseModFile("fga.mod", d.Input)
				if err == nil {
					return "files: " + strings.Join(names, " ") + "\n"
				}
			default:
				d.Fatalf(t, "no command %s", d.Cmd)
			}
			if err == nil {
				return "ok\n"
			}
			var invalid *Error
			if !errors.As(err, &invalid) || !errors.Is(err, ErrInvalid) {
				t.Errorf("error of type %T is no *Error", err)
			}
			return err.Error() + "\n"
		})
	})
}

var fileLine = regexp.MustCompile(`(?m)^-- (\S+) --\n?`)

// splitFiles reads several files from one text, each after a line such as -- core.fga --.
func splitFiles(text string) []File {
	var files []File
	found := fileLine.FindAllStringSubmatchIndex(text, -1)
	for i, at := range found {
		end := len(text)
		if i+1 < len(found) {
			end = found[i+1][0]
		}
		files = append(files, File{Name: text[at[2]:at[3]], Contents: text[at[1]:end]})
	}
	return files
}

func TestFaultWithoutPlace(t *testing.T) {
	for _, tt := range []struct {
		fault Fault
		want  string
	}{
		{Fault{File: "m.fga", Line: 3, Column: 7, Message: "odd"}, "m.fga:3:7: odd"},
		{Fault{Line: 3, Column: 7, Message: "odd"}, "3:7: odd"},
		{Fault{File: "m.fga", Message: "odd"}, "m.fga: odd"},
		{Fault{Message: "odd"}, "odd"},
	} {
		if got := fmt.Sprint(tt.fault); got != tt.want {
			t.Errorf("Error() = %q, want %q", got, tt.want)
		}
	}
}
