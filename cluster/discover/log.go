package discover

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
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

// quietTime is how long after a message none of its kind is logged: some come with every
// packet of another node.
const quietTime = 10 * time.Second

// maxKinds bounds how many kinds of messages are told apart.
const maxKinds = 100

// lines is memberlist's log on top of slog. What it calls Info are steps on the way to what
// is told by Gossip itself; they become Debug. What it calls an error mends itself or is
// another node's fault; they become Warn.
type lines struct {
	log     *slog.Logger
	refused func(reason string)

	mu     sync.Mutex
	kinds  map[string]time.Time // guarded by mu; when a message of a kind was logged
	unsaid map[string]int       // guarded by mu; how many were not, since
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
	unsaid, quiet := l.quiet(kind)
	switch {
	case quiet && level > slog.LevelDebug:
	case kind == refusedKey:
		l.log.WarnContext(ctx, "gossip refused: it is encrypted with none of this node's keys, or not at all", "detail", text, "unsaid", unsaid)
	case kind == refusedLabel:
		l.log.WarnContext(ctx, "gossip refused: it bears another label, so it is another cluster's", "detail", text, "unsaid", unsaid)
	default:
		l.log.Log(ctx, level, "memberlist", "detail", text, "unsaid", unsaid)
	}
	return len(line), nil
}

// quiet says whether a message of a kind is not to be logged, or how many before it were not.
func (l *lines) quiet(kind string) (unsaid int, quiet bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.kinds == nil || len(l.kinds) > maxKinds {
		l.kinds, l.unsaid = map[string]time.Time{}, map[string]int{}
	}
	if at, ok := l.kinds[kind]; ok && time.Since(at) < quietTime {
		l.unsaid[kind]++
		return 0, true
	}
	unsaid = l.unsaid[kind]
	l.kinds[kind], l.unsaid[kind] = time.Now(), 0
	return unsaid, false
}
