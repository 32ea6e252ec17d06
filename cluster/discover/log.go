package discover

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/remit-authz/remit/cluster/seldom"
)

// Why gossip of another node is refused. memberlist tells by nothing but what it logs.
const (
	refusedKey   = "key"
	refusedLabel = "label"
)

// refusals are parts of what memberlist logs when it refuses something.
var refusals = []struct{ part, reason string }{
	{"unacceptable label", refusedLabel},
	{"label header", refusedLabel},
	{"cannot decode label", refusedLabel},
	{"Decrypt packet failed", refusedKey},
	{"installed keys could decrypt", refusedKey},
	{"remote state is not encrypted", refusedKey},
	{"remote state is encrypted and encryption is not configured", refusedKey},
}

// lines is memberlist's log on top of slog. What it calls Info are steps on the way to what
// is told by Gossip itself; they become Debug. What it calls an error mends itself or is
// another node's fault; they become Warn.
type lines struct {
	log     *slog.Logger
	refused func(reason string)
	told    seldom.Memory
}

// Write takes one message.
func (l *lines) Write(line []byte) (int, error) {
	text := string(bytes.TrimSpace(line))
	level := slog.LevelDebug
	for mark, at := range map[string]slog.Level{
		"[DEBUG]": slog.LevelDebug, "[INFO]": slog.LevelDebug, "[WARN]": slog.LevelWarn, "[ERR]": slog.LevelWarn, "[ERROR]": slog.LevelWarn,
	} {
		if _, rest, ok := strings.Cut(text, mark); ok {
			text, level = strings.TrimPrefix(strings.TrimSpace(rest), "memberlist: "), at
			break
		}
	}
	kind := text[:min(len(text), 20)]
	for _, r := range refusals {
		if strings.Contains(text, r.part) {
			kind, level = r.reason, slog.LevelWarn
			l.refused(r.reason)
			break
		}
	}
	ctx := context.Background() // memberlist's goroutines belong to no request
	if !l.log.Enabled(ctx, level) {
		return len(line), nil
	}
	unsaid, ok := l.told.Tell(kind, time.Now())
	switch {
	case !ok && level > slog.LevelDebug:
	case kind == refusedKey:
		l.log.WarnContext(ctx, "gossip refused: it is encrypted with none of this node's keys, or not at all", "detail", text, "repeated", unsaid)
	case kind == refusedLabel:
		l.log.WarnContext(ctx, "gossip refused: it bears another label, so it is another cluster's", "detail", text, "repeated", unsaid)
	default:
		l.log.Log(ctx, level, "memberlist", "detail", text, "repeated", unsaid)
	}
	return len(line), nil
}
