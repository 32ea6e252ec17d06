package cluster

import "time"

// An AutopilotConfig says what a leader does about members by itself. The zero value of
// each field is its default.
type AutopilotConfig struct {
	// Off leaves everything to people.
	Off bool `json:"off,omitempty"`
	// CleanupDeadServers removes members that have been unreachable for DeadAfter, when
	// another one has taken the place or MinQuorum voters are left.
	CleanupDeadServers bool `json:"cleanup_dead_servers,omitempty"`
	// MinQuorum is how many voters removal leaves at least. Default: 3.
	MinQuorum uint `json:"min_quorum,omitempty"`
	// LastContactThreshold is how long ago a healthy member last heard of the leader.
	// Default: 2 s.
	LastContactThreshold time.Duration `json:"last_contact_threshold,omitempty"`
	// MaxTrailingLogs is how many entries a healthy member is behind at most. Default: 1,000.
	MaxTrailingLogs uint64 `json:"max_trailing_logs,omitempty"`
	// ServerStabilizationTime is how long a member is healthy before it gets a vote.
	// Default: 10 s.
	ServerStabilizationTime time.Duration `json:"server_stabilization_time,omitempty"`
}
