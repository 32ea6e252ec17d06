package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/rpc/backend"
)

const (
	// rewrittenFile says, in one line, up to which revision log and snapshots are free of
	// what was erased. The state says so of itself, since its files travel. The file is
	// written when all else is done, so what a crash interrupts begins anew.
	rewrittenFile = "rewritten"

	// rewriteRetry is how long after a failure the next attempt comes; the time doubles
	// with each, up to rewriteRetryMost.
	rewriteRetry     = time.Second
	rewriteRetryMost = time.Minute

	// rewriteWatch is how long a rewriting may be required without being noticed: so the
	// watch costs nothing, however many entries are applied.
	rewriteWatch = 50 * time.Millisecond
)

// A rewriter rewrites the node's files when something was erased, or somebody asks: first
// the state, then the log, which needs a snapshot of that state, and then older snapshots
// go. One run serves all that was erased until it begins.
type rewriter struct {
	state    *fsm.State
	node     *cluster.Node
	dir      string // the data directory
	log      *slog.Logger
	failures prometheus.Counter

	due   chan struct{} // holds one when there may be something to do
	ended chan struct{} // closed when run is over

	mu       sync.Mutex
	marked   graph.Revision           // what rewrittenFile says
	asked    graph.Revision           // by Rewrite
	progress *backend.RewriteProgress // nil if nothing is going on
	changed  chan struct{}            // closed when marked changes
}

var _ backend.Rewriter = (*rewriter)(nil)

func newRewriter(config *Config, state *fsm.State, node *cluster.Node, registry prometheus.Registerer) (*rewriter, error) {
	r := &rewriter{
		state: state, node: node, dir: config.DataDir, log: config.Log,
		due: make(chan struct{}, 1), ended: make(chan struct{}), changed: make(chan struct{}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "remit_rewrite_failures_total", Help: "How many times the rewriting of files failed; it is tried again.",
		}),
	}
	var err error
	if r.marked, err = readRewritten(r.dir); err != nil {
		return nil, err
	}
	if registry != nil {
		registry.MustRegister(r.failures,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "remit_rewritten_revision", Help: "The revision up to which nothing that was erased is left in this node's files.",
			}, func() float64 { return float64(r.Rewritten()) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "remit_rewrite_required_revision", Help: "The revision up to which files must be rewritten, because something was erased; 0 if nothing was.",
			}, func() float64 { return float64(state.Current().RewriteRequired()) }))
	}
	return r, nil
}

// Rewritten implements backend.Rewriter.
func (r *rewriter) Rewritten() graph.Revision {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rewritten()
}

// rewritten is the less of what is known of the parts; mu is held.
func (r *rewriter) rewritten() graph.Revision { return min(r.marked, r.state.Rewritten()) }

// WaitRewritten implements backend.Rewriter.
func (r *rewriter) WaitRewritten(ctx context.Context, revision graph.Revision) error {
	for {
		r.mu.Lock()
		done, changed := r.rewritten() >= revision, r.changed
		r.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait until files are rewritten up to revision %d: %w", revision, ctx.Err())
		case <-r.ended:
			return cluster.ErrShuttingDown
		}
	}
}

// Rewrite implements backend.Rewriter.
func (r *rewriter) Rewrite(ctx context.Context) (graph.Revision, error) {
	revision := r.state.Current().Revision()
	r.mu.Lock()
	r.asked = max(r.asked, revision)
	r.mu.Unlock()
	r.remind()
	return revision, r.WaitRewritten(ctx, revision)
}

// Rewriting implements backend.Rewriter.
func (r *rewriter) Rewriting() (backend.RewriteProgress, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.progress == nil {
		return backend.RewriteProgress{}, false
	}
	return *r.progress, true
}

func (r *rewriter) remind() {
	select {
	case r.due <- struct{}{}:
	default:
	}
}

// required is the revision up to which files must be rewritten, and whether they are.
func (r *rewriter) required() (revision graph.Revision, done bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	revision = max(r.state.Current().RewriteRequired(), r.asked)
	return revision, revision <= r.rewritten()
}

// run rewrites what must be rewritten until ctx is done.
func (r *rewriter) run(ctx context.Context) {
	defer close(r.ended)
	var watching sync.WaitGroup
	watching.Go(func() { r.watch(ctx) })
	defer watching.Wait()
	for ctx.Err() == nil {
		if _, done := r.required(); !done {
			r.rewrite(ctx)
			continue
		}
		select {
		case <-r.due:
		case <-ctx.Done():
		}
	}
}

// watch notices when a new revision requires something.
func (r *rewriter) watch(ctx context.Context) {
	for {
		root := r.state.Current()
		if _, done := r.required(); !done {
			r.remind()
		}
		if r.state.Published(ctx, uint64(root.Revision())+1) != nil || !pause(ctx, rewriteWatch) {
			return
		}
	}
}

// pause reports false when ctx is done.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// rewrite tries until all that is required is done.
func (r *rewriter) rewrite(ctx context.Context) {
	wait := rewriteRetry
	var failure error
	for attempt := 1; ; attempt++ {
		required, done := r.required()
		if done {
			break
		}
		r.tell(func(p *backend.RewriteProgress) { *p = backend.RewriteProgress{Attempt: attempt, Err: failure} })
		if failure = r.attempt(ctx, required); failure == nil {
			continue
		}
		if ctx.Err() != nil {
			break
		}
		r.failures.Inc()
		r.log.ErrorContext(ctx, "files not rewritten", "required", uint64(required), "attempt", attempt, "error", failure, "next_attempt", wait)
		r.tell(func(p *backend.RewriteProgress) { p.Err = failure })
		if !pause(ctx, wait) {
			break
		}
		wait = min(2*wait, rewriteRetryMost)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.progress = nil
}

func (r *rewriter) attempt(ctx context.Context, required graph.Revision) error {
	begun := time.Now()
	if r.state.Rewritten() < required {
		r.tell(func(p *backend.RewriteProgress) { p.Part = "state" })
		err := r.state.Rewrite(ctx, func(rows, total uint64) {
			r.tell(func(p *backend.RewriteProgress) { p.Rows, p.Total = rows, total })
		})
		if err != nil {
			return err
		}
	}
	r.tell(func(p *backend.RewriteProgress) { p.Part = "log" })
	index, err := r.node.Rewrite(ctx)
	if err != nil {
		return err
	}
	r.tell(func(p *backend.RewriteProgress) { p.Part = "snapshots" })
	if err := r.state.Sweep(ctx); err != nil {
		return err
	}
	revision := min(r.state.Rewritten(), graph.Revision(index))
	if err := writeRewritten(r.dir, revision); err != nil {
		return err
	}
	r.mu.Lock()
	r.marked = revision
	close(r.changed)
	r.changed = make(chan struct{})
	r.mu.Unlock()
	r.log.InfoContext(ctx, "files rewritten", "revision", uint64(revision), "required", uint64(required), "took", time.Since(begun))
	return nil
}

func (r *rewriter) tell(f func(p *backend.RewriteProgress)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.progress == nil {
		r.progress = &backend.RewriteProgress{}
	}
	f(r.progress)
}

// readRewritten reads the mark; without one nothing was ever rewritten.
func readRewritten(dir string) (graph.Revision, error) {
	b, err := os.ReadFile(filepath.Join(dir, rewrittenFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read how far files are rewritten: %w", err)
	}
	line, ok := bytes.CutSuffix(b, []byte("\n"))
	n, err := strconv.ParseUint(string(line), 10, 64)
	if !ok || err != nil {
		return 0, fmt.Errorf("%s is damaged: it holds %q, want a revision and a newline; without the file all is rewritten anew",
			filepath.Join(dir, rewrittenFile), b)
	}
	return graph.Revision(n), nil
}

// writeRewritten replaces the mark such that a crash leaves the old one or the new.
func writeRewritten(dir string, revision graph.Revision) error {
	name := filepath.Join(dir, rewrittenFile)
	f, err := os.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%d\n", revision)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return errors.Join(os.Rename(name+".new", name), syncDir(dir))
}
