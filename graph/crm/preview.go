package crm

import (
	"cmp"
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// A Preview is a question: who would gain and who would lose access to records if changes
// were made? Nothing is written.
type Preview struct {
	// View is the state that the changes would be made to. It is read by several
	// goroutines.
	View graph.View

	// Plan is the model of that state, and After the one with which the changes come, by
	// the same store's ids; nil if it stays.
	Plan, After *model.Plan

	// At is the instant at which both are compared. Zero is the view's time.
	At time.Time

	Bounds PreviewBounds

	// Progress, if not nil, is told how far the answer has come: by one goroutine at a
	// time, and about once in a hundredth of the work. It must not take long.
	Progress func(PreviewProgress)

	// Workers is how many goroutines work on the answer; 0 is one for each processor.
	Workers int
}

// PreviewBounds bound an answer. They never make it wrong: what is left out is said.
type PreviewBounds struct {
	// Records is how many records are counted of each user, module, action and way, for
	// either way. Beyond it is "at least"; 0 is 10,000.
	Records int

	// Users is how many users are described, those with the most changes; 0 is 20.
	Users int

	// Samples is how many records are named of each user, module, action and way; 0 is 20.
	Samples int
}

// maxPreviewBound is more than any store holds, and little enough that sums of two counts
// fit into 32 bits.
const maxPreviewBound = 1 << 29

func (b PreviewBounds) withDefaults() PreviewBounds {
	for _, bound := range []struct {
		n     *int
		usual int
	}{{&b.Records, 10_000}, {&b.Users, 20}, {&b.Samples, 20}} {
		if *bound.n <= 0 {
			*bound.n = bound.usual
		}
		*bound.n = min(*bound.n, maxPreviewBound)
	}
	return b
}

// A PreviewProgress is how much of a stage is done. One stage follows the other, and
// within each Done only grows.
type PreviewProgress struct {
	Stage       PreviewStage
	Done, Total int
}

// A PreviewStage is a part of the work.
type PreviewStage string

// The stages, in their order. The last is left out if nobody gains or loses anything.
const (
	StageReach   PreviewStage = "reach"   // whom and what the changes can matter to
	StageCompare PreviewStage = "compare" // owner by owner
	StageSample  PreviewStage = "sample"  // again, for the users who are described
)

// An AccessPreview is who would gain and who would lose.
type AccessPreview struct {
	// Gaining and Losing are how many users gain and lose anything. Both are exact.
	Gaining, Losing int

	// Users are those with the most changes, most first; where they are as many, by id.
	Users []UserAccess
}

// A UserAccess is what a user would gain and lose, in the order of modules and then of
// Actions; where nothing changes there is no entry.
type UserAccess struct {
	User    string
	Modules []ModuleAccess
}

// A ModuleAccess is on how many of a module's records a user may do something after the
// changes that the user may not do before, and the other way round. Samples are the ids
// of the first of them by name.
type ModuleAccess struct {
	Module string
	Action Action

	Gained, Lost               Count
	GainedSamples, LostSamples []string
}

// A Count is exact, or says that there are more.
type Count struct {
	N       int
	AtLeast bool // more than N
}

// Access answers the question for changes, which must fit the view and the models as a
// plan's do. Errors are those of the view and of the context, ErrForeign if the view does
// not hold an organisation, and those of tuples that the models do not allow.
func (p *Preview) Access(ctx context.Context, c Changes) (*AccessPreview, error) {
	if c.Tuples() == 0 && p.After == nil {
		return &AccessPreview{}, ctx.Err()
	}
	w, err := openWorld(p, c)
	if err != nil {
		return nil, err
	}
	if len(w.users) == 0 {
		return &AccessPreview{}, ctx.Err()
	}
	r := &previewRun{previewWorld: w, bounds: p.Bounds.withDefaults(), report: p.Progress, workers: p.Workers}
	if r.workers <= 0 {
		r.workers = runtime.GOMAXPROCS(0)
	}
	if r.shape, err = newPreviewShape(w); err != nil {
		return nil, err
	}
	return r.answer(ctx)
}

// A previewRun is a preview under way.
type previewRun struct {
	*previewWorld
	shape   *previewShape
	bounds  PreviewBounds
	report  func(PreviewProgress)
	workers int

	spread *previewSpread
	work   []ownerWork
	frozen [2]map[graph.Userset]*crowd
}

func (r *previewRun) answer(ctx context.Context) (*AccessPreview, error) {
	r.tell(StageReach, 0, 1)
	census := newCensus(ctx, r.previewWorld, 1)
	r.spread = newPreviewSpread(census, r.shape)
	if err := r.spread.run(); err != nil {
		return nil, err
	}
	if err := r.plan(); err != nil {
		return nil, err
	}
	r.frozen = census.known // nobody writes to it from now on
	r.tell(StageReach, 1, 1)

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	workers := make([]*previewPass, r.workers)
	for i := range workers {
		workers[i] = newPreviewPass(ctx, r, uint64(3+i))
	}
	if err := r.pass(ctx, cancel, StageCompare, workers); err != nil {
		return nil, err
	}
	tally := workers[0].tally
	for _, p := range workers[1:] {
		tally.merge(p.tally)
	}
	totals := tally.totals(len(r.users))
	result := &AccessPreview{}
	for i := range r.users {
		result.Gaining += min(1, totals[gained][i])
		result.Losing += min(1, totals[lost][i])
	}
	described, err := r.most(totals)
	if err != nil || len(described) == 0 {
		return result, err
	}
	focus := newCrowdMaker(len(r.users), 2<<48).ofList(slices.Clone(described))
	for _, p := range workers {
		p.turnTo(focus)
	}
	if err := r.pass(ctx, cancel, StageSample, workers); err != nil {
		return nil, err
	}
	samples := newPreviewSamples(r.bounds.Samples)
	for _, p := range workers {
		samples.merge(p.samples)
	}
	for _, user := range described {
		u, err := r.describe(user, tally, samples)
		if err != nil {
			return nil, err
		}
		result.Users = append(result.Users, u)
	}
	return result, nil
}

func (r *previewRun) tell(stage PreviewStage, done, total int) {
	if r.report != nil {
		r.report(PreviewProgress{Stage: stage, Done: done, Total: total})
	}
}

// An ownerWork is an owner whose records are looked at, or a record that the changes
// write to.
type ownerWork struct {
	owner   graph.ID
	all     bool       // all records; or else only those
	records []graph.ID // that may differ by themselves
	edited  graph.ID
	role    graph.ID // of the owner, for those of one role have most in common
}

// plan lists the work: owners by their roles.
func (r *previewRun) plan() error {
	s := r.spread
	works := map[graph.ID]*ownerWork{}
	at := func(owner graph.ID) *ownerWork {
		if works[owner] == nil {
			works[owner] = &ownerWork{owner: owner}
		}
		return works[owner]
	}
	for owner := range s.owners {
		at(owner).all = true
	}
	if slices.ContainsFunc(s.drift, func(c *crowd) bool { return c != nil }) {
		for _, owner := range r.users {
			at(owner).all = true
		}
	}
	for _, record := range sortedIDs(s.records) {
		if s.edited[record] != nil {
			continue
		}
		owner, ok, err := s.ownerOf(s.records[record], record)
		if err != nil {
			return err
		}
		if ok {
			at(owner).records = append(at(owner).records, record)
		}
	}
	role, err := graph.ResolveRelation(r.plans[sideBefore], typeUser, relRole)
	if err != nil {
		return err
	}
	var c graph.Cursor
	for _, w := range works {
		c.Reset(graph.Subject{})
		if err := r.base.Subjects(graph.Userset{Object: w.owner, Relation: role.ID}, &c); err != nil {
			return err
		}
		if len(c.Edges) > 0 {
			w.role = c.Edges[0].Subject.ID
		}
		r.work = append(r.work, *w)
	}
	slices.SortFunc(r.work, func(a, b ownerWork) int {
		return cmp.Or(cmp.Compare(a.role, b.role), cmp.Compare(a.owner, b.owner))
	})
	for _, record := range sortedIDs(s.edited) {
		r.work = append(r.work, ownerWork{edited: record})
	}
	return nil
}

// ownerOf is a record's owner before the changes.
func (c *census) ownerOf(k *recordKind, record graph.ID) (graph.ID, bool, error) {
	var cursor graph.Cursor
	err := c.base.Subjects(graph.Userset{Object: record, Relation: k.owner}, &cursor)
	if err != nil || len(cursor.Edges) == 0 {
		return 0, false, err
	}
	return cursor.Edges[0].Subject.ID, true, nil
}

// workShare is how much work a worker takes at once.
const workShare = 32

// pass goes through the work with all workers.
func (r *previewRun) pass(ctx context.Context, cancel context.CancelCauseFunc, stage PreviewStage, workers []*previewPass) error {
	var next atomic.Int64
	var wait sync.WaitGroup
	var mu sync.Mutex // guards done and told
	done, told := 0, 0
	r.tell(stage, 0, len(r.work))
	for _, p := range workers {
		wait.Go(func() {
			for {
				end := int(next.Add(workShare))
				from := end - workShare
				if end = min(end, len(r.work)); from >= end {
					p.flush()
					return
				}
				for _, w := range r.work[from:end] {
					if err := p.do(w); err != nil {
						cancel(err)
						return
					}
				}
				mu.Lock()
				if done += end - from; done-told > len(r.work)/100 || done == len(r.work) {
					told = done
					r.tell(stage, done, len(r.work))
				}
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}
