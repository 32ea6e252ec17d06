package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/remit-authz/remit/cmd/remit/storefile"
	"github.com/remit-authz/remit/cmd/remit/storetest"
)

func (a *app) testCommand() *cobra.Command {
	var verbose bool
	cmd := &cobra.Command{
		Use:   "test FILE...",
		Short: "Run the tests of store files, without a server",
		Long: `Test runs the assertions in store files (*.fga.yaml, the format of OpenFGA's command
line): check, list_objects and list_users, on an engine of its own. Of what fails it
prints what was expected, what came out, and why.

FILE may be a pattern, or a folder, in which every *.fga.yaml is taken.

A context's now sets the instant that a question is about, if a condition has a
timestamp parameter now. Lists are compared as sets.

Exit status: 0 if all pass, 1 if some fail, 2 if a file cannot be read.`,
		Example: `  remit test shop.fga.yaml
  remit test ./models --verbose
  remit test 'models/*.fga.yaml' -o json`,
		GroupID:     groupRun,
		Args:        cobra.MinimumNArgs(1),
		Annotations: local,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.checkOutput(); err != nil {
				return err
			}
			names, err := testFiles(args, ".fga.yaml", ".fga.yml")
			if err != nil {
				return err
			}
			return a.test(cmd.Context(), names, verbose)
		},
	}
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "print what passes, too")
	return cmd
}

func (a *app) test(ctx context.Context, names []string, verbose bool) error {
	return a.runTests(ctx, names, verbose, func(ctx context.Context, name string) (*storetest.Result, error) {
		file, err := storefile.Read(name)
		if err != nil {
			return nil, err
		}
		a.warn(file.Warnings)
		return storetest.Run(ctx, file, time.Now())
	})
}

// runTests runs the tests of files, each of which one function reads and runs.
func (a *app) runTests(
	ctx context.Context, names []string, verbose bool, run func(ctx context.Context, name string) (*storetest.Result, error),
) error {
	results := []*storetest.Result{}
	var unreadable []error
	report := &testReport{w: a.stdout, p: colours(a.stdout), verbose: verbose}
	for _, name := range names {
		result, err := run(ctx, name)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			unreadable = append(unreadable, err)
			report.unreadable(a.output, name, err)
			continue
		}
		results = append(results, result)
		if a.output == "table" {
			report.file(result)
		}
	}
	if a.output != "table" {
		if err := a.print(results, nil); err != nil {
			return err
		}
	} else {
		report.summary(len(unreadable))
	}
	switch {
	case len(unreadable) > 0 && a.output == "table":
		return errTold
	case len(unreadable) > 0:
		return errors.Join(unreadable...)
	case slices.ContainsFunc(results, func(r *storetest.Result) bool { _, failed := r.Count(); return failed > 0 }):
		return errNo
	}
	return nil
}

// testFiles finds the files that the arguments name; of a folder those that end as such
// files do.
func testFiles(args []string, endings ...string) ([]string, error) {
	var names []string
	for _, arg := range args {
		info, err := os.Stat(arg)
		switch {
		case err == nil && !info.IsDir():
			names = append(names, arg)
		case err == nil:
			inside, err := testFilesIn(arg, endings)
			if err != nil {
				return nil, err
			}
			if len(inside) == 0 {
				return nil, fmt.Errorf("%s: no *%s in this folder", arg, endings[0])
			}
			names = append(names, inside...)
		case errors.Is(err, fs.ErrNotExist) && strings.ContainsAny(arg, "*?["):
			matches, err := filepath.Glob(arg)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", arg, err)
			}
			if len(matches) == 0 {
				return nil, fmt.Errorf("%s: no file matches", arg)
			}
			names = append(names, matches...)
		default:
			return nil, fileReason(arg, err)
		}
	}
	return names, nil
}

func testFilesIn(folder string, endings []string) ([]string, error) {
	var names []string
	err := filepath.WalkDir(folder, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !entry.IsDir() && slices.ContainsFunc(endings, func(e string) bool { return strings.HasSuffix(name, e) }) {
			names = append(names, name)
		}
		return nil
	})
	return names, err
}

// A testReport prints results for people.
type testReport struct {
	w       io.Writer
	p       palette
	verbose bool

	files, tests, passed, failed int
}

func (t *testReport) file(r *storetest.Result) {
	passed, failed := r.Count()
	t.files++
	t.tests += len(r.Tests)
	t.passed += passed
	t.failed += failed
	verdict := t.p.good("ok  ")
	if failed > 0 {
		verdict = t.p.bad("FAIL")
	}
	what := "no tests"
	if len(r.Tests) > 0 {
		what = counted(len(r.Tests), "test") + ", " + counted(passed+failed, "assertion")
		if failed > 0 {
			what += ", " + t.p.bad(fmt.Sprintf("%d failed", failed))
		}
	}
	printf(t.w, "%s  %s  %s\n", verdict, r.File, t.p.faint(what))
	for _, test := range r.Tests {
		t.test(test)
	}
}

func (t *testReport) test(test storetest.TestResult) {
	_, failed := test.Count()
	if failed == 0 && !t.verbose {
		return
	}
	printf(t.w, "  %s\n", t.p.bold(firstOf(test.Name, "(a test without a name)")))
	if test.Description != "" && t.verbose {
		printf(t.w, "  %s\n", t.p.faint(strings.TrimSpace(test.Description)))
	}
	for _, a := range test.Assertions {
		if a.Passed && !t.verbose {
			continue
		}
		t.assertion(a)
	}
}

func (t *testReport) assertion(a storetest.Assertion) {
	mark := t.p.good("✓")
	if !a.Passed {
		mark = t.p.bad("✗")
	}
	question := a.Question
	if a.At != nil {
		question += " --at " + instantText(*a.At)
	}
	printf(t.w, "    %s %s", mark, question)
	if a.Passed {
		if a.Expected != nil {
			printf(t.w, "  %s", t.p.faint(allowedWord(*a.Got)))
		} else {
			printf(t.w, "  %s", t.p.faint(listText(a.GotList)))
		}
		printLine(t.w, "")
		return
	}
	printf(t.w, "\n        at %s\n", a.Place)
	switch {
	case a.Error != "" && a.Expected != nil:
		printf(t.w, "        expected %s, got an error: %s\n", allowedWord(*a.Expected), a.Error)
	case a.Error != "":
		printf(t.w, "        got an error: %s\n", a.Error)
	case a.Expected != nil:
		printf(t.w, "        expected %s, got %s\n", allowedWord(*a.Expected), allowedWord(*a.Got))
	default:
		printf(t.w, "        expected %s\n        got      %s\n", listText(a.ExpectedList), listText(a.GotList))
		if len(a.Missing) > 0 {
			printf(t.w, "        missing    %s\n", strings.Join(a.Missing, ", "))
		}
		if len(a.Unexpected) > 0 {
			printf(t.w, "        unexpected %s\n", strings.Join(a.Unexpected, ", "))
		}
	}
	t.reasons(a)
	for _, why := range a.Why {
		_ = writeExplanation(indented{t.w, "        "}, t.p, why.Question, why.Explanation)
	}
}

func (t *testReport) unreadable(output, name string, err error) {
	if output != "table" {
		return
	}
	printf(t.w, "%s  %s  %s\n", t.p.bad("FAIL"), name, t.p.faint("cannot be read"))
	for line := range strings.SplitSeq(err.Error(), "\n") {
		printf(t.w, "    %s\n", line)
	}
}

func (t *testReport) summary(unreadable int) {
	text := fmt.Sprintf("%s, %s, %s: ", counted(t.files+unreadable, "file"), counted(t.tests, "test"), counted(t.passed+t.failed, "assertion"))
	switch {
	case t.failed == 0 && unreadable == 0:
		text += t.p.good("all passed")
	default:
		text += fmt.Sprintf("%d passed, %s", t.passed, t.p.bad(fmt.Sprintf("%d failed", t.failed)))
	}
	if unreadable > 0 {
		text += ", " + t.p.bad(counted(unreadable, "file")+" could not be read")
	}
	printLine(t.w, text)
}

func allowedWord(allowed bool) string {
	if allowed {
		return "allowed"
	}
	return "denied"
}

func listText(list []string) string { return "[" + strings.Join(list, ", ") + "]" }

// indented writes lines with an indent before each.
type indented struct {
	w      io.Writer
	indent string
}

func (i indented) Write(text []byte) (int, error) {
	for line := range strings.Lines(string(text)) {
		if _, err := io.WriteString(i.w, i.indent+line); err != nil {
			return 0, err
		}
	}
	return len(text), nil
}
