package graphtest

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// allModels is how many models each backend is asked about in a full run: with the
// checks and lists per model of Volume, over 200,000 checks and 20,000 lists.
const allModels = 2100

// Volume says how much to ask. By default it is a share of that many models, the same
// each time. REMIT_TEST_ALL=1 makes it the whole, from a new seed, and
// REMIT_TEST_MODEL=seed/number one model alone, which is how a failure says that it can
// be repeated. The folder is that of the package under test.
func Volume(t testing.TB, folder string, seed uint64, models int) Config {
	t.Helper()
	c := Config{
		Seed: seed, Models: models, ChecksPerModel: 100, ListsPerModel: 12,
		Again: func(seed uint64, n int) string {
			return fmt.Sprintf("REMIT_TEST_MODEL=%d/%d go test ./%s -run '^%s$'", seed, n, folder, t.Name())
		},
	}
	if os.Getenv("REMIT_TEST_ALL") != "" {
		c.Seed, c.Models = uint64(time.Now().UnixNano()), allModels
	}
	if seed, n, ok := strings.Cut(os.Getenv("REMIT_TEST_MODEL"), "/"); ok {
		var err error
		if c.Seed, err = strconv.ParseUint(seed, 10, 64); err != nil {
			t.Fatalf("REMIT_TEST_MODEL is seed/number: %v", err)
		}
		if c.First, err = strconv.Atoi(n); err != nil {
			t.Fatalf("REMIT_TEST_MODEL is seed/number: %v", err)
		}
		c.Models = 1
	}
	return c
}
