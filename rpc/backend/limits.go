package backend

import "time"

const (
	// FreshnessTimeout is how long a query waits for a revision that its token asks
	// for. Longer than replication takes, shorter than clients wait.
	FreshnessTimeout = 2 * time.Second

	// maxPlans bounds the compiled models that are kept, over all stores.
	maxPlans = 1024

	// MaxReplans is how often a write is planned anew because others changed what it
	// rests on.
	MaxReplans = 5

	// pageWork bounds the tuples that one page of a Filter looks at. A filter that
	// matches few of very many gives short pages, even empty ones, rather than one that
	// takes for ever.
	pageWork = 100_000
)
