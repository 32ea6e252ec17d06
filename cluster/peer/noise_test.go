package peer

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
)

// Of strangers who come all at once not each is told of.
func TestNoiseIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		n := newNoise(slog.New(slog.NewTextHandler(&out, nil)))
		for i := range 200 {
			n.warn(string(rune('a'+i)), "connection refused")
		}
		if told := strings.Count(out.String(), "connection refused"); told != 20 {
			t.Errorf("%d strangers at once are told of, want 20", told)
		}
	})
}
