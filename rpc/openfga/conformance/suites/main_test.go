package suites

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/remit-authz/remit/rpc/openfga/conformance"
)

// target is the server under test.
var target *conformance.Target

// counts are the entries, groups and leaves, that pass on OpenFGA v1.22.1, and those that
// the suites themselves leave out: questions that their files do not ask of one RPC, and
// cases of several stages as contextual tuples. Other numbers mean that something did not
// run.
var counts = []struct {
	test            string
	passed, skipped int
}{
	{"TestSuites", 4009, 277},
	{"TestMatrices", 2427, 0},
	{"TestContextualMatrices", 2427, 0},
}

func TestMain(m *testing.M) {
	os.Exit(count(m)) //nolint:forbidigo // the counts decide too
}

// count runs the tests verbosely, reads their results back and compares the counts,
// unless only some tests were asked for. It prints what failed, or all with -v.
func count(m *testing.M) (code int) {
	flag.Parse()
	var err error
	if target, err = conformance.Start(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := target.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}()

	verbose := testing.Verbose()
	if !verbose {
		if err := flag.Set("test.v", "true"); err != nil {
			panic(err)
		}
	}
	stdout := os.Stdout
	r, w, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	os.Stdout = w
	results := newResults()
	read := make(chan struct{})
	go func() {
		defer close(read)
		results.read(r, stdout, verbose)
	}()
	code = m.Run()
	os.Stdout = stdout
	_ = w.Close() // a pipe
	<-read

	selected := flag.Lookup("test.run").Value.String() + flag.Lookup("test.skip").Value.String()
	for _, want := range counts {
		passed, skipped, failed := results.passed[want.test], results.skipped[want.test], results.failed[want.test]
		_, _ = fmt.Fprintf(os.Stdout, "%s: %s passes %d of %d entries, fails %d, leaves out %d\n", target.Name, want.test, passed, want.passed, failed, skipped)
		if selected == "" && (passed != want.passed || skipped != want.skipped || failed != 0) {
			_, _ = fmt.Fprintf(os.Stdout, "%s: want %d passed, none failed, %d left out\n", want.test, want.passed, want.skipped)
			code = 1
		}
	}
	return code
}

// results counts the outcomes by top-level test.
type results struct{ passed, skipped, failed map[string]int }

func newResults() *results {
	return &results{passed: map[string]int{}, skipped: map[string]int{}, failed: map[string]int{}}
}

var (
	outcome = regexp.MustCompile(`^\x16?\s*--- (PASS|FAIL|SKIP): (([^/\s]+)\S*)`)
	speaker = regexp.MustCompile(`^\x16?=== \S+\s+(\S+)`)
)

// read counts the outcomes of a verbose run. It passes on what failed with its log, or
// all.
func (r *results) read(from io.Reader, to io.Writer, verbose bool) {
	logs := map[string][]string{} // of the tests that have not ended
	var name string
	for lines := bufio.NewReader(from); ; {
		line, err := lines.ReadString('\n')
		if verbose {
			_, _ = io.WriteString(to, line)
		}
		if match := outcome.FindStringSubmatch(line); match != nil {
			switch match[1] {
			case "PASS":
				r.passed[match[3]]++
			case "SKIP":
				r.skipped[match[3]]++
			case "FAIL":
				r.failed[match[3]]++
				if !verbose {
					_, _ = io.WriteString(to, line+strings.Join(logs[match[2]], ""))
				}
			}
			delete(logs, match[2])
		} else if match := speaker.FindStringSubmatch(line); match != nil {
			name = match[1]
		} else {
			logs[name] = append(logs[name], line)
		}
		if err != nil {
			return
		}
	}
}
