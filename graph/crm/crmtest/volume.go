package crmtest

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/remit-authz/remit/graph/crm"
)

// A Volume is which random organisations a test tries.
type Volume struct {
	Seed         uint64
	First, Count int

	t      testing.TB
	folder string
}

// VolumeOf is so many as few by default, the same each time. REMIT_TEST_ALL=1 makes it all,
// from a new seed, and REMIT_TEST_MODEL=seed/number one alone, which is how a failure says
// that it can be repeated. The folder is that of the package under test.
func VolumeOf(t testing.TB, folder string, few, all int) Volume {
	t.Helper()
	v := Volume{Seed: 1, Count: few, t: t, folder: folder}
	if os.Getenv("REMIT_TEST_ALL") != "" {
		v.Seed, v.Count = uint64(time.Now().UnixNano()), all
	}
	if text, n, ok := strings.Cut(os.Getenv("REMIT_TEST_MODEL"), "/"); ok {
		var err error
		if v.Seed, err = strconv.ParseUint(text, 10, 64); err == nil {
			v.First, err = strconv.Atoi(n)
		}
		if err != nil {
			t.Fatalf("REMIT_TEST_MODEL is seed/number: %v", err)
		}
		v.Count = 1
	}
	t.Logf("organisations %d to %d of seed %d", v.First, v.First+v.Count-1, v.Seed)
	return v
}

// Again is how to repeat what failed for one organisation.
func (v *Volume) Again(n int) string {
	return fmt.Sprintf("REMIT_TEST_MODEL=%d/%d go test ./%s -run '^%s$'", v.Seed, n, v.folder, v.t.Name())
}

// Organisation is number n, which is valid. Variant 1 has the modules of variant 0, and
// nothing else of it.
func (v *Volume) Organisation(n int, variant uint64) (*Generator, *crm.Organisation) {
	v.t.Helper()
	modules := New(v.Seed, uint64(n)).Modules()
	g := New(v.Seed^variant<<32, uint64(n)+1<<40)
	o := g.Organisation(modules)
	if err := o.Validate(crm.DefaultLimits()); err != nil {
		v.t.Fatalf("%s\n%v", v.Again(n), err)
	}
	return g, o
}
