package graphtest

import (
	"cmp"
	"context"
	"slices"
	"testing"
	"time"
)

// Config says how much Run does. Models are numbered from First, so that one alone can
// be asked again.
type Config struct {
	Seed           uint64
	First, Models  int
	ChecksPerModel int
	ListsPerModel  int

	// ReasonsPerModel counts calls of Expand and of Explain, which are slow.
	ReasonsPerModel int

	// Again is the command that repeats model n of a seed, for failures to print.
	Again func(seed uint64, n int) string
}

// Open builds a store's View and compiles its models. An error means that the store
// cannot be built, which fails the test unless it happens while a failure is shrunk.
type Open func(t testing.TB, s *Store) (Opened, error)

// patience is how long all questions to one store may take: many times what they need.
const patience = time.Minute

// Run compares the evaluator over a backend's views with the reference on random
// models, tuples and questions. Every store is built twice, with its tuples in another
// order the second time, which gives other ids.
func Run(t testing.TB, c Config, open Open) {
	t.Helper()
	t.Logf("seed %d", c.Seed) // at once, in case the process dies
	r := &runner{TB: t, config: c, open: open}
	for n := c.First; n < c.First+c.Models && !t.Failed(); n++ {
		r.one(n)
	}
	t.Logf("seed %d: %d models (%d more were not valid), %d checks (%d true, %d undefined), %d lists (%d undefined), %d expansions and explanations (%d too large); "+
		"%d answers depend on their own negation",
		c.Seed, r.models, r.rejected, r.checks, r.allowed, r.undefinedChecks, r.lists, r.undefinedLists, r.reasons, r.tooMuch, r.entangled)
}

type runner struct {
	testing.TB
	config Config
	open   Open

	models, rejected int
	checks, lists    int
	allowed          int
	undefinedChecks  int
	undefinedLists   int
	reasons          int
	tooMuch          int
	entangled        int
}

func (r *runner) one(n int) {
	g := newGenerator(r.config.Seed, uint64(n))
	s := g.scenario()
	g.questions(s, r.config.ChecksPerModel, r.config.ListsPerModel, r.config.ReasonsPerModel)
	r.models++
	r.rejected += g.rejected
	if len(s.questions) == 0 {
		return
	}
	reordered := *s
	reordered.Steps = nil
	for _, tuple := range shuffled(g, s.Tuples()) {
		reordered.Steps = append(reordered.Steps, Step{Tuple: tuple})
	}
	reordered.contextual = shuffled(g, s.contextual)
	half := len(s.questions) / 2
	reordered.questions = slices.Clone(s.questions[half:])
	s.questions = s.questions[:half]
	for _, s := range []*scenario{s, &reordered} {
		if !r.scenario(n, s) {
			return
		}
	}
}

// scenario asks all questions, some a second time of a new Query, and some while things
// go wrong.
func (r *runner) scenario(n int, s *scenario) bool {
	opened, err := r.open(r, s.store())
	if err != nil {
		r.Errorf("model %d: open: %v\n%s%s", n, err, s.describe(&s.questions[0]), r.again(n))
		return false
	}
	a, err := newAsker(opened, s)
	if err != nil {
		r.Errorf("model %d: %v\n%s%s", n, err, s.describe(&s.questions[0]), r.again(n))
		return false
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	j := newJudge(s)
	for i := range s.questions {
		q := &s.questions[i]
		queries := []func() (answer, error){func() (answer, error) { return a.ask(ctx, a.query(q.circumstances), q) }}
		if i%8 == 7 {
			queries = append(queries, func() (answer, error) { return a.ask(ctx, a.fresh(q.circumstances), q) })
		}
		for _, ask := range queries {
			got, err := ask()
			if complaint := complain(j, q, &got, err); complaint != "" {
				r.fail(n, s, i, complaint, false)
				return false
			}
			r.count(q, &got)
		}
		if complaint := a.limited(ctx, j, q); complaint != "" {
			r.fail(n, s, i, complaint, false)
			return false
		}
		if i%4 == 3 {
			if complaint := a.disturb(ctx, j, q, i/4+7*n); complaint != "" {
				r.fail(n, s, i, complaint, true)
				return false
			}
		}
	}
	r.entangled += j.entangled
	r.tooMuch += j.tooMuch
	return true
}

func (s *scenario) store() *Store { return &s.Store }

func complain(j *judge, q *question, got *answer, err error) string {
	if err != nil {
		return err.Error()
	}
	return j.complaint(q, got)
}

func (r *runner) count(q *question, got *answer) {
	switch q.kind {
	case askExpand, askExplain:
		r.reasons++
	case askCheck:
		r.checks++
		if got.allowed {
			r.allowed++
		}
		if got.err != nil {
			r.undefinedChecks++
		}
	default:
		r.lists++
		if got.err != nil {
			r.undefinedLists++
		}
	}
}

// fail reports question i, alone and in a smaller scenario if it fails there too.
func (r *runner) fail(n int, s *scenario, i int, complaint string, disturbed bool) {
	until := time.Now().Add(patience)
	fails := func(s *scenario) bool { return time.Now().Before(until) && r.recheck(s, disturbed) != "" }
	alone := *s
	alone.questions = s.questions[i : i+1]
	smallest := s
	q := &s.questions[i]
	note := "\nonly after the questions before it"
	if fails(&alone) {
		smallest = shrink(&alone, fails)
		q, note = &smallest.questions[0], ""
		complaint = cmp.Or(r.recheck(smallest, disturbed), complaint)
	}
	r.Errorf("model %d of seed %d: %s %s%s\n%s%s", n, r.config.Seed, q, complaint, note, smallest.describe(q), r.again(n))
}

func (r *runner) again(n int) string {
	if r.config.Again == nil {
		return ""
	}
	return "--- again: " + r.config.Again(r.config.Seed, n) + "\n"
}

// recheck asks a scenario's questions and is the first complaint. Scenarios that
// cannot be built, or do not know what they ask for, do not fail.
func (r *runner) recheck(s *scenario, disturbed bool) string {
	if !s.valid() {
		return ""
	}
	opened, err := r.open(r, s.store())
	if err != nil {
		return ""
	}
	a, err := newAsker(opened, s)
	if err != nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	j := newJudge(s)
	for i := range s.questions {
		q := &s.questions[i]
		got, err := a.ask(ctx, a.fresh(q.circumstances), q)
		if complaint := complain(j, q, &got, err); complaint != "" {
			return complaint
		}
		if complaint := a.limited(ctx, j, q); complaint != "" {
			return complaint
		}
		for n := 0; disturbed && n < 3*11; n++ { // every disturbance
			if complaint := a.disturb(ctx, j, q, n); complaint != "" {
				return complaint
			}
		}
	}
	return ""
}

// valid reports whether the models have what the question names.
func (s *scenario) valid() bool {
	has := func(typ, relation string) bool {
		for _, t := range s.Asked.Proto().GetTypeDefinitions() {
			if t.GetType() == typ {
				_, ok := t.GetRelations()[relation]
				return ok || relation == ""
			}
		}
		return false
	}
	for _, q := range s.questions {
		if !has(q.object.Type, q.relation) || !has(q.subject.Type, q.subject.Relation) {
			return false
		}
	}
	return true
}
