package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

func TestRaftLog(t *testing.T) {
	var out bytes.Buffer
	handler := slog.NewTextHandler(&out, &slog.HandlerOptions{
		Level: slog.LevelInfo,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})
	l := RaftLog(slog.New(handler))
	l.Trace("unseen")
	l.Debug("unseen")
	l.Info("unseen")
	l.Warn(electionBegins, "last-leader-id", "n1")
	l.With("peer", "n2").Named("replication").Warn("slow", "servers", hclog.Fmt("%v", []int{1, 2}))
	l.Error("odd arguments", "alone")
	for range 3 {
		l.Error("failed to heartbeat to", "peer", "n2", "error", "refused")
	}
	l.Error("failed to heartbeat to", "peer", "n3", "error", "refused")
	for range 3 {
		l.Warn("rejecting pre-vote request since we have a leader", "from", "n4")
	}
	for _, err := range []error{
		raft.ErrNothingNewToSnapshot, fmt.Errorf("failed to start snapshot: %v", errReplaying), errors.New("no space left"), //nolint:errorlint // as Raft does
		errors.New("cannot take snapshot now, wait until the configuration entry at 9 has been applied (have applied 7)"),
	} {
		l.Error(snapshotFails, "error", err)
	}
	l.StandardLogger(nil).Print("from the standard library")
	want := `level=WARN msg=slow component=raft.replication peer=n2 servers="[1 2]"
level=ERROR msg="odd arguments" component=raft !BADKEY=alone
level=WARN msg="failed to heartbeat to" component=raft peer=n2 error=refused
level=WARN msg="failed to heartbeat to" component=raft peer=n3 error=refused
level=WARN msg="rejecting pre-vote request since we have a leader" component=raft from=n4
level=ERROR msg="failed to take snapshot" component=raft error="no space left"
level=INFO msg="from the standard library"
`
	if got := out.String(); got != want {
		t.Errorf("log is\n%s\nwant\n%s", got, want)
	}
	if l.IsTrace() || l.IsDebug() || l.IsInfo() || !l.IsWarn() || !l.IsError() || l.GetLevel() != hclog.Warn {
		t.Errorf("level is %v, want %v", l.GetLevel(), hclog.Warn)
	}
}
