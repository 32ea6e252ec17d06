package conformance

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/protobuf/proto"
)

const (
	usualQuestions = 2000
	usualSeed      = 1

	questionsPerWorld = 60
	writesPerWorld    = 8

	workers = 2

	// repeats is how often a question is put to OpenFGA before its answer is taken for
	// its opinion: on some worlds it depends on the order in which goroutines end, or on
	// that of a map. Before a difference fails the run, it has insisted that often.
	repeats  = 12
	insisted = 300
)

// Random models, tuples and questions, answered by both servers. CONFORMANCE_QUESTIONS
// sets how many, CONFORMANCE_SEED repeats a run, and with CONFORMANCE_WORLD only one of
// its worlds. CONFORMANCE_SHOW is how many differences are shrunk and printed.
//
// A run that is not told how many questions to ask guards against changes, so it asks the
// same ones each time: what fails is the change. Another seed is drawn for a longer search.
func TestRandomQuestionsAreAnsweredAsOpenFGADoes(t *testing.T) {
	seed := uint64(usualSeed)
	if os.Getenv("CONFORMANCE_QUESTIONS") != "" {
		seed = rand.Uint64()
	}
	seed = number(t, "CONFORMANCE_SEED", seed)
	total := int64(number(t, "CONFORMANCE_QUESTIONS", usualQuestions))
	only, single := os.LookupEnv("CONFORMANCE_WORLD")
	t.Logf("CONFORMANCE_SEED=%d", seed)

	r := &comparison{t: t, outcomes: map[string]int{}, show: int(number(t, "CONFORMANCE_SHOW", 8))}
	begin := time.Now()
	if single {
		n, err := strconv.ParseUint(only, 10, 64)
		if err != nil {
			t.Fatalf("CONFORMANCE_WORLD=%s is no number", only)
		}
		r.world(seed, n)
	} else {
		var next atomic.Uint64
		var group sync.WaitGroup
		for range workers {
			group.Go(func() {
				for r.asked.Load() < total {
					r.world(seed, next.Add(1))
				}
			})
		}
		group.Wait()
	}
	r.report(begin)
}

func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil {
		t.Fatalf("%s=%s is no number", name, value)
	}
	return n
}

// left is the outcome of a world that OpenFGA cannot answer about.
const left = "worlds left because OpenFGA was too slow"

// A comparison counts and keeps what differs.
type comparison struct {
	t     *testing.T
	show  int // so many failures are shrunk and printed, the others only counted
	asked atomic.Int64

	mu       sync.Mutex // guards the rest
	outcomes map[string]int
	shown    int
	failed   int
}

func (r *comparison) count(outcome string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.outcomes[outcome]++
}

// world asks all questions about the n-th world of a seed.
func (r *comparison) world(seed, n uint64) {
	g := newGenerator(seed, n)
	ctx := context.Background()
	w := g.newWorld()
	got, gotAnswers, gotOK := settle(ctx, subject, w)
	want, wantAnswers, wantOK := settle(ctx, peer, w)
	defer func() {
		for _, p := range []*place{got, want} {
			if err := p.leave(ctx); err != nil {
				r.t.Errorf("%s: delete a store: %v", p.target.Name, err)
			}
		}
	}()
	r.asked.Add(1)
	if !slices.Equal(gotAnswers, wantAnswers) {
		r.settled(seed, n, w, strings.Join(gotAnswers, "\n"), strings.Join(wantAnswers, "\n"))
	}
	if !gotOK || !wantOK {
		r.count("models refused")
		return
	}
	r.count("worlds")
	for range questionsPerWorld {
		if !r.compare(ctx, seed, n, w, g.newQuestion(), got, want) {
			r.count(left)
			return // it would be for the next questions too
		}
	}
	r.writes(ctx, seed, n, g, w, got, want)
}

// writes changes both stores and compares them after each write. It ends at the first
// difference: the next writes would meet different stores.
func (r *comparison) writes(ctx context.Context, seed, n uint64, g *generator, w *world, subjectPlace, peerPlace *place) {
	var before []proto.Message
	for range writesPerWorld {
		for _, question := range []proto.Message{g.newWrite(), &openfgav1.ReadRequest{}} {
			r.asked.Add(1)
			d := &difference{world: w, before: before, question: question, got: subjectPlace.ask(ctx, question), want: peerPlace.ask(ctx, question)}
			r.countAnswer(question, d.want)
			if d.got != d.want {
				if outcome := known(ctx, d, peerPlace); outcome != "" {
					r.count(outcome)
				} else {
					r.fail(seed, n, d)
				}
				return
			}
			before = append(before, question)
		}
	}
	r.compare(ctx, seed, n, nil, g.read(), subjectPlace, peerPlace)
	r.compare(ctx, seed, n, nil, &openfgav1.ReadChangesRequest{}, subjectPlace, peerPlace)
}

// settled tells that a model or its tuples were judged differently.
func (r *comparison) settled(seed, n uint64, w *world, got, want string) {
	for range insisted { // messages about models depend on the order of maps
		p, answers, _ := settle(context.Background(), peer, w)
		_ = p.leave(context.Background())
		if strings.Join(answers, "\n") == got {
			r.count("OpenFGA undecided about a model")
			return
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed++
	if r.shown++; r.shown <= r.show {
		d := &difference{world: w, question: &openfgav1.WriteAuthorizationModelRequest{}, got: got, want: want}
		r.t.Errorf("CONFORMANCE_SEED=%d CONFORMANCE_WORLD=%d\n%s", seed, n, d)
	}
}

// compare puts a question to both servers, and reports whether OpenFGA answered.
func (r *comparison) compare(ctx context.Context, seed, n uint64, w *world, question proto.Message, subjectPlace, peerPlace *place) bool {
	r.asked.Add(1)
	want := make(chan string)
	go func() { want <- peerPlace.ask(ctx, question) }()
	d := &difference{world: w, question: question, got: subjectPlace.ask(ctx, question)}
	d.want = <-want
	if d.want == tooSlow {
		return false
	}
	r.countAnswer(question, d.want)
	if d.got == d.want {
		return true
	}
	for _, times := range []int{repeats, insisted} {
		if outcome := judge(ctx, d, subjectPlace, peerPlace, times); outcome != "" {
			r.count(outcome)
			return true
		}
	}
	r.fail(seed, n, d)
	return true
}

// judge explains a difference that is not Remit's fault, or returns "". It puts the
// question to OpenFGA so many times again.
func judge(ctx context.Context, d *difference, subjectPlace, peerPlace *place, times int) string {
	if d.want == tooSlow {
		return "OpenFGA too slow"
	}
	for range times {
		switch peerPlace.ask(ctx, d.question) {
		case d.got:
			return "OpenFGA undecided"
		case tooSlow:
			return "OpenFGA too slow"
		}
	}
	if batch, ok := d.question.(*openfgav1.BatchCheckRequest); ok && !strings.HasPrefix(d.got, "code ") && !strings.HasPrefix(d.want, "code ") {
		return judgeEach(ctx, d, batch, subjectPlace, peerPlace, times)
	}
	return known(ctx, d, peerPlace)
}

// judgeEach explains a batch if every check of it agrees or is explained.
func judgeEach(ctx context.Context, d *difference, batch *openfgav1.BatchCheckRequest, subjectPlace, peerPlace *place, times int) string {
	outcome := ""
	for _, item := range batch.GetChecks() {
		question := &openfgav1.CheckRequest{
			AuthorizationModelId: batch.GetAuthorizationModelId(), TupleKey: item.GetTupleKey(), ContextualTuples: item.GetContextualTuples(),
			Context: item.GetContext(), Consistency: batch.GetConsistency(),
		}
		one := &difference{world: d.world, before: d.before, question: question, got: subjectPlace.ask(ctx, question), want: peerPlace.ask(ctx, question)}
		if one.got == one.want {
			continue
		}
		if outcome = judge(ctx, one, subjectPlace, peerPlace, times); outcome == "" {
			return ""
		}
	}
	return outcome
}

func (r *comparison) countAnswer(question proto.Message, answer string) {
	r.count(fmt.Sprintf("%s %s", question.ProtoReflect().Descriptor().Name(), kind(answer)))
}

// kind tells roughly what an answer is.
func kind(answer string) string {
	switch {
	case strings.HasPrefix(answer, "code "):
		return "refused"
	case answer == "[]" || answer == "":
		return "nothing"
	case answer == verdict(true) || answer == verdict(false):
		return answer
	}
	return "answered"
}

func (r *comparison) fail(seed, n uint64, d *difference) {
	r.count(fmt.Sprintf("DIFFERENT %s: %s, not %s", d.question.ProtoReflect().Descriptor().Name(), kind(d.got), kind(d.want)))
	r.mu.Lock()
	r.failed++
	r.shown++
	show := r.shown <= r.show
	r.mu.Unlock()
	if !show {
		return
	}
	if d.world != nil {
		d = d.shrink(context.Background(), differs)
	}
	r.t.Errorf("CONFORMANCE_SEED=%d CONFORMANCE_WORLD=%d\n%s", seed, n, d)
}

// differs tells whether a question has different answers about a world.
func differs(ctx context.Context, w *world, before []proto.Message, question proto.Message) *difference {
	got, _, gotOK := settle(ctx, subject, w)
	want, _, wantOK := settle(ctx, peer, w)
	defer func() { _, _ = got.leave(ctx), want.leave(ctx) }()
	if !gotOK || !wantOK {
		return nil
	}
	for _, b := range before {
		if got.ask(ctx, b) != want.ask(ctx, b) {
			return nil
		}
	}
	d := &difference{world: w, before: before, question: question, got: got.ask(ctx, question), want: want.ask(ctx, question)}
	if _, writes := question.(*openfgav1.WriteRequest); writes && d.got != d.want {
		if known(ctx, d, want) != "" {
			return nil
		}
		return d // asking again would be another question
	}
	if d.got == d.want || judge(ctx, d, got, want, repeats) != "" {
		return nil
	}
	return d
}

func (r *comparison) report(begin time.Time) {
	var lines []string
	for outcome, n := range r.outcomes {
		lines = append(lines, fmt.Sprintf("%8d %s", n, outcome))
	}
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[9:], b[9:]) })
	// A few are no share of a short run.
	if asked := r.outcomes["worlds"]; r.outcomes[left] > max(5, asked/20) {
		r.t.Errorf("%d of %d worlds were left, too many for a comparison", r.outcomes[left], asked)
	}
	r.t.Logf("%d questions, %d answered differently, %s\n%s", r.asked.Load(), r.failed, time.Since(begin).Round(time.Millisecond), strings.Join(lines, "\n"))
}
