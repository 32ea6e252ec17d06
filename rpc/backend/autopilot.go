package backend

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/value"
	"github.com/remit-authz/remit/rpc/identity"
)

// The one document of its type, and its fields, as they are stored; never renamed. A field
// that is absent has its default.
const (
	autopilotName = "config"

	fieldOff           = "off"
	fieldCleanup       = "cleanup_dead_servers"
	fieldMinQuorum     = "min_quorum"
	fieldDeadAfter     = "dead_after"                // milliseconds
	fieldLastContact   = "last_contact_threshold"    // milliseconds
	fieldTrailingLogs  = "max_trailing_logs"         // entries
	fieldStabilization = "server_stabilization_time" // milliseconds
	fieldSetter        = "setter"                    // the principal
	fieldSet           = "set"                       // milliseconds since 1970 UTC
)

// A StoredAutopilot is what the leader does about members by itself, as somebody has set it.
type StoredAutopilot struct {
	// Config is that of Version, which grows with every change; 0: nobody has set anything.
	Config  cluster.AutopilotConfig
	Version uint64
	// Setter is the principal who set it, and Set when.
	Setter string
	Set    time.Time
}

// Autopilot returns what asks a state for its autopilot's configuration, without waiting for
// anything: it is for cluster.Config, and may be called as long as the state is open. What
// cannot be read is logged, and leaves everything to people.
func Autopilot(state *fsm.State, logger *slog.Logger) func() cluster.AutopilotConfig {
	return func() cluster.AutopilotConfig {
		stored, err := AutopilotIn(state.Current())
		if err != nil {
			logger.Error("autopilot's configuration cannot be read", "error", err)
			return cluster.AutopilotConfig{Off: true}
		}
		return stored.Config
	}
}

// AutopilotIn is the configuration in a state.
func AutopilotIn(root *fsm.Root) (StoredAutopilot, error) {
	s, ok := root.Store(SystemStore)
	if !ok {
		return StoredAutopilot{}, nil
	}
	d, ok, err := documentIn(s, typeAutopilot, autopilotName)
	if err != nil || !ok {
		return StoredAutopilot{}, err
	}
	return decodeAutopilot(d)
}

// SetAutopilot replaces the configuration. The version, if it is not nil, is the one that
// it must have, 0 if nobody may have set any; else the error is fsm.ErrPrecondition.
func (k *Keyring) SetAutopilot(ctx context.Context, req KeyRequest, config cluster.AutopilotConfig, version *uint64) (StoredAutopilot, error) {
	if err := k.prepare(ctx); err != nil {
		return StoredAutopilot{}, err
	}
	made := StoredAutopilot{Config: config, Setter: identity.Principal(ctx), Set: k.Now().UTC().Truncate(time.Millisecond)}
	h := NewContentHash("set autopilot")
	h.String(autopilotText(&config))
	if version != nil {
		h.Int(int64(*version))
	}
	_, err := k.commit(ctx, req, h.Done(), typeAutopilot, func(s *fsm.Store) ([]fsm.Operation, error) {
		d, _, err := documentIn(s, typeAutopilot, autopilotName)
		if err != nil {
			return nil, err
		}
		if version != nil && *version != d.Version {
			return nil, fmt.Errorf("%w: autopilot is at version %d, not %d", fsm.ErrPrecondition, d.Version, *version)
		}
		put, err := putDocument(s, typeAutopilot, autopilotName, made.encode)
		return []fsm.Operation{put}, err
	})
	if err != nil {
		return StoredAutopilot{}, err
	}
	return AutopilotIn(k.reader.Config.State.Current())
}

func (a *StoredAutopilot) encode() ([]byte, error) {
	c := &a.Config
	m := value.Map{fieldSetter: a.Setter, fieldSet: a.Set.UnixMilli()}
	if c.Off {
		m[fieldOff] = true
	}
	if c.CleanupDeadServers {
		m[fieldCleanup] = true
	}
	for name, n := range map[string]int64{
		fieldMinQuorum:     int64(c.MinQuorum),
		fieldDeadAfter:     c.DeadAfter.Milliseconds(),
		fieldLastContact:   c.LastContactThreshold.Milliseconds(),
		fieldTrailingLogs:  int64(min(c.MaxTrailingLogs, math.MaxInt64)),
		fieldStabilization: c.ServerStabilizationTime.Milliseconds(),
	} {
		if n != 0 {
			m[name] = n
		}
	}
	return value.Encode(m)
}

func decodeAutopilot(d graph.Document) (StoredAutopilot, error) {
	f := fields{of: d.Fields}
	a := StoredAutopilot{Version: d.Version, Setter: f.text(fieldSetter), Set: f.time(fieldSet)}
	a.Config.Off, _ = d.Fields[fieldOff].(bool)
	a.Config.CleanupDeadServers, _ = d.Fields[fieldCleanup].(bool)
	a.Config.MinQuorum = uint(f.count(fieldMinQuorum))
	a.Config.DeadAfter = time.Duration(f.count(fieldDeadAfter)) * time.Millisecond
	a.Config.LastContactThreshold = time.Duration(f.count(fieldLastContact)) * time.Millisecond
	a.Config.MaxTrailingLogs = uint64(f.count(fieldTrailingLogs))
	a.Config.ServerStabilizationTime = time.Duration(f.count(fieldStabilization)) * time.Millisecond
	if f.fault != nil {
		return StoredAutopilot{}, fmt.Errorf("autopilot: %w", f.fault)
	}
	return a, nil
}

// count reads a number that is not negative; 0 if it is absent.
func (f *fields) count(name string) int64 {
	n, ok := f.of[name].(int64)
	if f.of[name] != nil && (!ok || n < 0) {
		f.fail(fmt.Errorf("%w: the field %s is %v", fsm.ErrCorrupt, name, f.of[name]))
		return 0
	}
	return n
}

// autopilotText is a configuration in words: of what has its default, nothing.
func autopilotText(c *cluster.AutopilotConfig) string {
	text := "autopilot on"
	if c.Off {
		text = "autopilot off"
	}
	if c.CleanupDeadServers {
		text += ", removes dead members"
	}
	if c.MinQuorum != 0 {
		text += fmt.Sprintf(", leaves %d voters", c.MinQuorum)
	}
	if c.DeadAfter != 0 {
		text += fmt.Sprintf(", dead after %s", c.DeadAfter)
	}
	if c.LastContactThreshold != 0 {
		text += fmt.Sprintf(", last contact %s", c.LastContactThreshold)
	}
	if c.MaxTrailingLogs != 0 {
		text += fmt.Sprintf(", %d entries behind", c.MaxTrailingLogs)
	}
	if c.ServerStabilizationTime != 0 {
		text += fmt.Sprintf(", votes after %s", c.ServerStabilizationTime)
	}
	return text
}
