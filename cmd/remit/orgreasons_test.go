package main

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/remit-authz/remit/cmd/remit/storetest"
)

const failingReasons = "testdata/failing/reasons.org.yaml"

// Whatever fails in a file's tests is explained in the words of who wrote the file: with the
// place, what was expected and what there is, and the grounds or what is missing.
func TestWhatFailsIsExplainedInWords(t *testing.T) {
	out, errs, status := remit(t, "org", "test", failingReasons)
	if status != exitNo || errs != "" {
		t.Errorf("status %d, stderr %q, want %d and nothing", status, errs, exitNo)
	}
	golden(t, "orgreasons.golden", filepath.ToSlash(out))
}

// The same is in JSON, for other programs; and what passes has no reasons.
func TestReasonsAsJSON(t *testing.T) {
	for _, file := range []string{failingReasons, "testdata/failing/wrong.org.yaml"} {
		out, errs, status := remit(t, "org", "test", file, "-o", "json")
		if status != exitNo || errs != "" {
			t.Errorf("status %d, stderr %q, want %d and nothing", status, errs, exitNo)
		}
		var results []storetest.Result
		if err := json.Unmarshal([]byte(out), &results); err != nil {
			t.Fatal(err)
		}
		for _, test := range results[0].Tests {
			for _, a := range test.Assertions {
				if a.Passed != (len(a.Reasons) == 0) || len(a.Why) > 0 {
					t.Errorf("%s: passed %v, with the reasons %v and %v", a.Question, a.Passed, a.Reasons, a.Why)
				}
				for _, r := range a.Reasons {
					if r.Question == "" || len(r.Grounds) == 0 || a.Got != nil && r.Allowed != *a.Got {
						t.Errorf("%s: the reason is %+v", a.Question, r)
					}
				}
			}
		}
	}
}
