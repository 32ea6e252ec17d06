package backend

import "time"

const (
	// FreshnessTimeout is how long a query waits for a revision that its token asks
	// for. Longer than replication takes, shorter than clients wait.
	FreshnessTimeout = 2 * time.Second

	// LeaderTimeout is how long a write, or a read that must not be stale, waits for a
	// leader while none is known. Longer than an election, shorter than clients wait.
	LeaderTimeout = 5 * time.Second

	// ShowTimeout is how long an acknowledged write waits until this node shows it, so that
	// whoever asks here next sees it. The leader does at once, others a little later.
	ShowTimeout = time.Second

	// maxWaiting bounds the calls that wait for a leader.
	maxWaiting = 8192

	// maxPlans bounds the compiled models that are kept, over all stores.
	maxPlans = 1024

	// maxCache bounds, in bytes, what is remembered of the structure of all organisations
	// together: some kilobytes for each user who asks.
	maxCache = 256 << 20

	// MaxReplans is how often a write is planned anew because others changed what it
	// rests on.
	MaxReplans = 5

	// pageWork bounds the tuples that one page of a Filter looks at. A filter that
	// matches few of very many gives short pages, even empty ones, rather than one that
	// takes for ever.
	pageWork = 100_000
)
