package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// With -rewrite the golden files are written anew; the diff is to be reviewed.
var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// golden compares an output with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	name = filepath.Join("testdata", filepath.FromSlash(name))
	if *rewrite {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s (-want +got; -rewrite records it):\n%s", name, diff)
	}
}

// remit runs the program as main does, and gives what it prints and its exit status.
func remit(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	return remitWith(t, "", args...)
}

func remitWith(t *testing.T, stdin string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errs strings.Builder
	status = run(t.Context(), args, strings.NewReader(stdin), &out, &errs)
	return out.String(), errs.String(), status
}

func TestHelpOfEveryCommand(t *testing.T) {
	var commands func(c *cobra.Command, path []string)
	commands = func(c *cobra.Command, path []string) {
		t.Run(strings.Join(append([]string{"remit"}, path...), " "), func(t *testing.T) {
			out, errs, status := remit(t, append(path, "--help")...)
			if status != exitYes || errs != "" {
				t.Fatalf("status %d, stderr %q", status, errs)
			}
			golden(t, "help/"+strings.Join(append([]string{"remit"}, path...), "-")+".txt", out)
		})
		for _, sub := range c.Commands() {
			if sub.Name() != "completion" && sub.Name() != "help" { // cobra's own
				commands(sub, append(path[:len(path):len(path)], sub.Name()))
			}
		}
	}
	commands((&app{}).root(), nil)
}

func TestExamplesInHelpAreCommands(t *testing.T) {
	root := (&app{}).root()
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for line := range strings.Lines(c.Example) {
			_, call, ok := strings.Cut(line, "remit ")
			if !ok {
				t.Errorf("%s: the example %q calls no command", c.CommandPath(), line)
				continue
			}
			found, _, err := root.Find(strings.Fields(call))
			if err != nil || found == root {
				t.Errorf("%s: the example %q calls no command: %v", c.CommandPath(), line, err)
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
}
