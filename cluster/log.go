package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/remit-authz/remit/cluster/seldom"
)

// raftLog is Raft's logger on top of slog. What Raft calls Info are the steps on the
// way to what a Node logs itself, leadership gained or lost; they become Debug. That an
// election begins is how a node starts, and no warning. What Raft calls an error is one
// only if a person must see to it: that another node is away heals when it comes back, and
// is told once in a while, not with every message that it misses.
type raftLog struct {
	handler slog.Handler
	name    string
	implied []any
	away    *seldom.Memory
}

// awayMessages are how Raft says, as errors or warnings, that another node does not hear it,
// or not yet, or is not the one to hear; again and again, as long as it is so.
var awayMessages = map[string]bool{
	"failed to appendEntries to": true, "failed to heartbeat to": true, "failed to make requestVote RPC": true,
	"failed to send snapshot to": true, "failed to install snapshot": true, "failed to receive whole snapshot": true,
	"failed to decode incoming command": true, "failed to flush response": true, "failed to accept connection": true,
	"peer has newer term, stopping replication": true, "target does not support pre-vote RPC, treating as granted": true,
	// Of an entry that a follower would need next: it gets a snapshot instead. Entries that
	// must be there are read through the log that ends the node.
	"failed to get log":                                             true,
	"rejecting vote request since we have a leader":                 true,
	"rejecting vote request since node is not in configuration":     true,
	"rejecting pre-vote request since we have a leader":             true,
	"rejecting pre-vote request since node is not in configuration": true,
	"Election timeout reached, restarting election":                 true,
	// One for each entry by which a log that has to go differs, or that is missing.
	"failed to get previous log": true, "previous log term mis-match": true, "appendEntries rejected, sending older logs": true,
}

// electionBegins is how Raft says, as a warning, that it has heard of no leader.
const electionBegins = "heartbeat timeout reached, starting election"

// snapshotFails is how Raft says, as an error, that it took no snapshot.
const snapshotFails = "failed to take snapshot"

// comesAgain reports whether a snapshot was only too early: Raft tries again by itself.
func comesAgain(args []any) bool {
	i := slices.Index(args, any("error"))
	if i < 0 || i+1 == len(args) {
		return false
	}
	err, ok := args[i+1].(error)
	if !ok {
		return false
	}
	// Raft wraps texts, not errors, and has no name for an entry about members that is
	// committed and not applied yet.
	text := err.Error()
	return errors.Is(err, raft.ErrNothingNewToSnapshot) || strings.HasSuffix(text, errReplaying.Error()) ||
		strings.HasPrefix(text, "cannot take snapshot now, wait until the configuration entry")
}

// RaftLog returns a logger for hashicorp/raft and what belongs to it. What Raft tells as
// information is for debugging here.
func RaftLog(l *slog.Logger) hclog.Logger {
	return &raftLog{handler: l.Handler(), name: "raft", away: &seldom.Memory{}}
}

// Log writes one message at a level.
func (l *raftLog) Log(level hclog.Level, msg string, args ...any) {
	ctx := context.Background() // Raft's goroutines belong to no request
	to := slogLevel(level)
	away := level >= hclog.Warn && awayMessages[msg]
	switch {
	case msg == electionBegins, msg == snapshotFails && comesAgain(args):
		to = slog.LevelDebug
	case away:
		to = slog.LevelWarn
	}
	if level == hclog.Off || !l.handler.Enabled(ctx, to) {
		return
	}
	if away {
		what := msg
		if len(args) > 1 && (args[0] == "peer" || args[0] == "from") { // members are few
			what = fmt.Sprint(msg, args[1])
		}
		unsaid, ok := l.away.Tell(what, time.Now())
		if !ok {
			return
		}
		if unsaid > 0 {
			args = append(slices.Clip(args), "repeated", unsaid)
		}
	}
	r := slog.NewRecord(time.Now(), to, msg, 0)
	r.AddAttrs(slog.String("component", l.name))
	r.Add(plain(l.implied)...)
	r.Add(plain(args)...)
	// A message that cannot be written has nowhere else to go.
	_ = l.handler.Handle(ctx, r)
}

// plain replaces hclog's lazily formatted values, which only hclog can print.
func plain(args []any) []any {
	out := make([]any, len(args))
	for i, a := range args {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			a = fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
		}
		out[i] = a
	}
	return out
}

func slogLevel(level hclog.Level) slog.Level {
	switch level {
	case hclog.Warn:
		return slog.LevelWarn
	case hclog.Error:
		return slog.LevelError
	default:
		return slog.LevelDebug
	}
}

// Trace, Debug, Info, Warn and Error write one message at their level.
func (l *raftLog) Trace(msg string, args ...any) { l.Log(hclog.Trace, msg, args...) }
func (l *raftLog) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }
func (l *raftLog) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l *raftLog) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l *raftLog) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

func (l *raftLog) enabled(level slog.Level) bool {
	return l.handler.Enabled(context.Background(), level)
}

// IsTrace is false: there is no level below Debug.
func (l *raftLog) IsTrace() bool { return false }

// IsDebug, IsInfo, IsWarn and IsError say whether a message would be written.
func (l *raftLog) IsDebug() bool { return l.enabled(slog.LevelDebug) }
func (l *raftLog) IsInfo() bool  { return l.enabled(slogLevel(hclog.Info)) }
func (l *raftLog) IsWarn() bool  { return l.enabled(slog.LevelWarn) }
func (l *raftLog) IsError() bool { return l.enabled(slog.LevelError) }

// ImpliedArgs returns what With added.
func (l *raftLog) ImpliedArgs() []any { return l.implied }

// With returns a logger that adds args to every message.
func (l *raftLog) With(args ...any) hclog.Logger {
	with := *l
	with.implied = append(append([]any(nil), l.implied...), args...)
	return &with
}

// Name returns the component under which messages are written.
func (l *raftLog) Name() string { return l.name }

// Named returns a logger for a part of this component.
func (l *raftLog) Named(name string) hclog.Logger { return l.ResetNamed(l.name + "." + name) }

// ResetNamed returns a logger for another component.
func (l *raftLog) ResetNamed(name string) hclog.Logger {
	named := *l
	named.name = name
	return &named
}

// SetLevel does nothing: the handler decides.
func (l *raftLog) SetLevel(hclog.Level) {}

// GetLevel returns the lowest level that is written.
func (l *raftLog) GetLevel() hclog.Level {
	for _, level := range []hclog.Level{hclog.Debug, hclog.Info, hclog.Warn, hclog.Error} {
		if l.enabled(slogLevel(level)) {
			return level
		}
	}
	return hclog.Off
}

// StandardLogger returns a logger of the standard library that writes here.
func (l *raftLog) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger { //nolint:forbidigo // hclog.Logger names it
	return slog.NewLogLogger(l.handler, slog.LevelInfo)
}

// StandardWriter returns a writer whose lines become messages.
func (l *raftLog) StandardWriter(opts *hclog.StandardLoggerOptions) io.Writer {
	return l.StandardLogger(opts).Writer()
}
