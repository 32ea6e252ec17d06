package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/remit-authz/remit/cmd/remit/storetest"
)

func TestStoreFilesPass(t *testing.T) {
	out, errs, status := remit(t, "test", "testdata/stores", "demo", "--verbose")
	if status != exitYes || errs != "" {
		t.Fatalf("status %d, want %d\n%s%s", status, exitYes, out, errs)
	}
	golden(t, "passing.golden", filepath.ToSlash(out))
}

func TestWhatFailsIsExplained(t *testing.T) {
	out, errs, status := remit(t, "test", "testdata/failing/wrong.fga.yaml")
	if status != exitNo || errs != "" {
		t.Errorf("status %d, stderr %q, want %d and nothing", status, errs, exitNo)
	}
	golden(t, "failing.golden", filepath.ToSlash(out))
}

func TestUnreadableFilesAreToldApart(t *testing.T) {
	out, _, status := remit(t, "test", "testdata/failing/broken.fga.yaml", "testdata/stores/direct.fga.yaml", "testdata/failing/wrong.fga.yaml")
	if status != exitError {
		t.Errorf("status %d, want %d", status, exitError)
	}
	golden(t, "broken.golden", filepath.ToSlash(out))
}

func TestResultsAsJSON(t *testing.T) {
	out, errs, status := remit(t, "test", "testdata/failing/wrong.fga.yaml", "-o", "json")
	if status != exitNo || errs != "" {
		t.Errorf("status %d, stderr %q, want %d and nothing", status, errs, exitNo)
	}
	var results []storetest.Result
	if err := json.Unmarshal([]byte(out), &results); err != nil {
		t.Fatal(err)
	}
	if passed, failed := results[0].Count(); passed != 2 || failed != 8 {
		t.Errorf("%d passed and %d failed, want 2 and 8", passed, failed)
	}
}

func TestNamesOfStoreFiles(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"no such file", []string{"testdata/none.fga.yaml"}, "remit: testdata/none.fga.yaml: no such file or directory\n"},
		{"a pattern that matches nothing", []string{"testdata/*.fga.yml"}, "remit: testdata/*.fga.yml: no file matches\n"},
		{"a folder without store files", []string{"testdata/help"}, "remit: testdata/help: no *.fga.yaml in this folder\n"},
		{"no argument", nil, "remit: requires at least 1 arg(s), only received 0\n"},
		{"a wrong output", []string{"testdata/stores", "-o", "xml"}, "remit: --output xml is unknown; it is table, json or yaml\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, errs, status := remit(t, append([]string{"test"}, test.args...)...)
			if status != exitError || out != "" || errs != test.want {
				t.Errorf("status %d, stdout %q, stderr %q; want %d and %q", status, out, errs, exitError, test.want)
			}
		})
	}
}

// A fullDisk refuses every write.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func TestOutputThatCannotBeWrittenIsAnError(t *testing.T) {
	var errs strings.Builder
	status := run(t.Context(), []string{"test", "testdata/stores/direct.fga.yaml"}, strings.NewReader(""), fullDisk{}, &errs)
	if want := "remit: write the output: no space left on device\n"; status != exitError || errs.String() != want {
		t.Errorf("status %d, stderr %q; want %d and %q", status, errs.String(), exitError, want)
	}
}
