package conformance

import (
	"context"
	"fmt"
	"os"
	"testing"
)

// subject is what is tried, peer the OpenFGA it is compared with.
var subject, peer *Target

func TestMain(m *testing.M) {
	os.Exit(compare(m)) //nolint:forbidigo // the servers' ends decide too
}

// compare runs the tests between the start and the end of both servers. A server that
// does not end well is a failure.
func compare(m *testing.M) (code int) {
	ctx := context.Background()
	for _, target := range []struct {
		t     **Target
		start func(context.Context) (*Target, error)
	}{{&subject, Start}, {&peer, func(ctx context.Context) (*Target, error) { return StartOpenFGA(ctx, "") }}} {
		t, err := target.start(ctx)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		*target.t = t
		defer func() {
			if err := t.Close(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = 1
			}
		}()
	}
	return m.Run()
}
