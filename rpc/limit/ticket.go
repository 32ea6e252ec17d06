package limit

import (
	"context"
	"errors"
	"math"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/remit-authz/remit/rpc/observe"
)

// quantum is for how long a slot is kept while others wait for one: far longer than a
// change of turns takes, and than most questions do.
const quantum = 2 * time.Millisecond

// slice is for how long a call keeps its processor that may take as long as it likes. The
// runtime knows no priorities: what is short and has a slot waits until somebody blocks,
// which in a storm of lists is once in a quantum, and for 10 ms at worst.
const slice = 100 * time.Microsecond

// A ticket is one call's way through the limiter: its context, in which the backend finds
// it, and its stream, by which it learns of the request and of the answer. It belongs to
// the call's goroutine.
//
// It is all that a call costs which nobody gets in the way of, so it is small. It is not
// used again: a context may outlive its call.
type ticket struct {
	context.Context //nolint:containedctx // it is a context
	connect.ServerStream
	limiter *Limiter
	account *account // nil until somebody asks whose the call is
	pool    *pool    // where the call has its slots; nil: it needs none
	turn    *turn    // of the slot, if it was waited for
	request any      // the first, which names the store; nil once the tenant is known

	runs  time.Duration // since when it is known to run in the slot; 0: it is not known
	ceded uint32        // when it last ceded its processor, in µs; they may wrap
	kind  kind
	begun bool // the first request has been received
	sent  bool // the first answer has been
	held  bool // it has a slot
}

// An account is whose turn a call takes, and what that tenant pays for it. A long call pays
// ahead what the last ones cost, and gets back what it has not spent: of many that arrive
// together no more are let in than there is room for.
type account struct {
	tenant
	ahead float64
	spent float64 // beyond what it was let in for
	early int     // paid for the request that is being received, before it was decoded
	ran   bool    // it has had a slot, or there are none
}

type ticketKey struct{}

// Value is the ticket itself, or what the context holds.
func (t *ticket) Value(key any) any {
	if key == (ticketKey{}) {
		return t
	}
	return t.Context.Value(key)
}

func ticketOf(ctx context.Context) *ticket {
	t, _ := ctx.Value(ticketKey{}).(*ticket)
	return t
}

// Interceptors are what a face puts behind its gate; none if there is nothing to limit.
func (l *Limiter) Interceptors() []connect.ServerInterceptor {
	if l.idle() {
		return nil
	}
	return []connect.ServerInterceptor{l.intercept}
}

// A known procedure is one that has been looked up.
type known struct {
	procedure string
	kind      kind
}

func (l *Limiter) intercept(next connect.ServerFunc) connect.ServerFunc {
	var last atomic.Pointer[known] // each procedure has a chain of its own, and so looks up once
	return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
		k := last.Load()
		if k == nil || k.procedure != spec.Procedure {
			k = &known{spec.Procedure, kindOf(spec.Procedure)}
			last.Store(k)
		}
		if k.kind == exempt {
			return next(ctx, spec, stream)
		}
		t := &ticket{Context: ctx, ServerStream: stream, limiter: l, kind: k.kind}
		if l.limits() {
			if a := ArrivalOf(ctx); a != nil {
				a.ticket = t
			}
		}
		defer t.end()
		return next(t, spec, t)
	}
}

// Receive reads a request. The first one takes its turn before the handler sees it; of a
// stream of requests, each is paid for.
func (t *ticket) Receive(msg any) error {
	if err := t.ServerStream.Receive(msg); err != nil {
		return unwrapped(err)
	}
	l := t.limiter
	if !t.begun {
		t.request = msg
	}
	count := countOf(msg)
	if l.limits() {
		if err := t.payRest(count); err != nil {
			return err
		}
	}
	if t.begun {
		return nil
	}
	t.begun = true
	switch {
	case l.short == nil:
		t.account.ran = true
		return nil
	case t.kind == manual:
		t.pool = l.long
		t.whose() // by now, or a stream would keep its first message
		return nil
	case t.kind == long || count > manyQuestions:
		t.pool = l.long
	default:
		t.pool = l.short
	}
	return t.enter(t.Context)
}

// unwrapped is why a message was not decoded or encoded, if that is not its own fault: transports
// say of whatever keeps them from it that the message is wrong.
func unwrapped(err error) error {
	if err == nil {
		return nil
	}
	var refused *RefusedError
	switch {
	case errors.As(err, &refused):
		return refused
	case errors.Is(err, context.DeadlineExceeded):
		return context.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		return context.Canceled
	}
	return err
}

// Send sends an answer, without a slot: the reader may be slow. An evaluation that goes on
// takes one again at its next Pace.
func (t *ticket) Send(msg any) error {
	t.leave()
	if t.sent {
		t.spend(1)
	}
	t.sent = true
	return unwrapped(t.ServerStream.Send(msg))
}

// whose is the account of the call.
func (t *ticket) whose() *account {
	if t.account == nil {
		t.account = &account{tenant: t.limiter.tenantOf(t.Context, observe.StoreOf(t.request))}
		t.request = nil
	}
	return t.account
}

// payEarly pays for a request of so many calls at least, of which the outline is known.
func (t *ticket) payEarly(outline any, count int) error {
	t.request = outline
	t.whose().early = count
	return t.pay(float64(count))
}

// payRest pays for a request of so many calls, or for what its outline did not show.
func (t *ticket) payRest(count int) error {
	of := t.whose()
	paid := of.early
	if of.early = 0; paid == 0 {
		return t.pay(float64(count))
	}
	if rest := count - paid; rest > 0 {
		t.limiter.charge(of.tenant, float64(rest))
	}
	return nil
}

// pay pays for a request. The first of a call waits for a while at most, and is refused if that
// is not enough; those that follow it wait until they can be paid for: a stream that was ended
// would have to begin, and be paid for, again.
func (t *ticket) pay(cost float64) error {
	l, of := t.limiter, t.whose()
	if t.begun {
		return l.admit(t, of.tenant, cost, 0, forever)
	}
	ahead, patience := 0.0, l.patience
	if t.kind == long {
		ahead = l.expected(of.tenant)
	}
	if deadline, ok := t.Deadline(); ok { // enough of it shall be left to be told, or for the answer
		patience = min(patience, max(0, time.Until(deadline)/2))
	}
	if err := l.admit(t, of.tenant, cost, ahead, patience); err != nil {
		return t.refuse(err)
	}
	of.ahead = ahead
	return nil
}

// spend pays for what a call turns out to take, unless it has done so ahead.
func (t *ticket) spend(calls float64) {
	if !t.limiter.limits() {
		return
	}
	of := t.whose()
	of.spent += calls
	if over := min(calls, of.spent-of.ahead); over > 0 {
		t.limiter.charge(of.tenant, over)
	}
}

// end ends the call: its slot is free again, and what it has paid ahead and not spent is the
// tenant's.
func (t *ticket) end() {
	t.leave()
	of := t.account
	if of == nil || t.kind != long || !t.limiter.limits() {
		return
	}
	if rest := of.ahead - of.spent; rest > 0 {
		t.limiter.charge(of.tenant, -rest)
	}
	if of.ran {
		t.limiter.learn(of.tenant, of.spent)
	}
}

// enter takes a slot, if the call needs one and has none.
func (t *ticket) enter(ctx context.Context) error {
	if t.pool == nil || t.held {
		return nil
	}
	if t.pool.try() {
		t.take(nil)
		return nil
	}
	turn, err := t.pool.wait(ctx, t.whose().tenant)
	if err != nil {
		return t.refuse(err)
	}
	t.take(turn)
	t.runs = turn.begun
	return nil
}

// take notes that the call has a slot.
func (t *ticket) take(turn *turn) {
	t.held, t.turn = true, turn
	if t.account != nil {
		t.account.ran = true
	}
}

// leave gives the slot back, if the call has one.
func (t *ticket) leave() {
	if !t.held {
		return
	}
	t.pool.leave(t.turn)
	t.held, t.turn, t.runs = false, nil, 0
}

// refuse counts a refusal and tells clients when to come back, in the header that those of
// HTTP know.
func (t *ticket) refuse(err error) error {
	refused, ok := err.(*RefusedError) //nolint:errorlint // our own, as it was made
	if !ok {
		return err
	}
	t.limiter.refused[refused.Kind].Inc()
	if info, ok := connect.CallInfoForServerContext(t.Context); ok {
		info.ResponseHeader().Set("Retry-After", strconv.Itoa(int(math.Ceil(refused.RetryAfter.Seconds()))))
	}
	return err
}

// pace is called by what takes long each time that it has done as much as so many calls.
func (t *ticket) pace(ctx context.Context, calls float64) error {
	t.spend(calls)
	if t.pool == nil {
		return nil
	}
	if !t.held {
		return t.enter(ctx)
	}
	return t.yield(ctx)
}

// yield lets others have the slot, if the call has had it for its time: one that turns out
// to be long goes to where such calls are, one that is there already goes to the end of the
// queue if there is any.
func (t *ticket) yield(ctx context.Context) error {
	now := clock()
	if micros := uint32(now / time.Microsecond); t.pool == t.limiter.long && micros-t.ceded >= uint32(slice/time.Microsecond) {
		t.ceded = micros
		runtime.Gosched()
	}
	switch {
	case t.runs == 0:
		t.runs = now
		return nil
	case now-t.runs < quantum:
		return nil
	case t.pool == t.limiter.long && t.pool.waiting() == 0:
		return nil
	}
	t.leave()
	t.pool = t.limiter.long
	return t.enter(ctx)
}

// PaceEdges is how many edges an evaluation visits from one PaceEvaluation to the next.
const PaceEdges = 1024

// EdgesPerCall is how many edges count as much as a call does: a list of ten thousand objects
// visits 25,000 and takes some 15 ms, as long as 400 calls over gRPC that ask one thing each.
const EdgesPerCall = 64

// Pace lets others have their turn, if it is theirs, and says when the context has ended.
// Whatever takes long calls it every now and then, for as much as counts as a call.
func Pace(ctx context.Context) error { return pace(ctx, 1) }

// PaceEvaluation is Pace for an evaluation that has visited another PaceEdges.
func PaceEvaluation(ctx context.Context) error { return pace(ctx, PaceEdges/EdgesPerCall) }

func pace(ctx context.Context, calls float64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if t := ticketOf(ctx); t != nil {
		return t.pace(ctx, calls)
	}
	return nil
}

// Yield is Pace for work that has been paid for, such as the questions of a batch, and does
// not look whether the context has ended.
func Yield(ctx context.Context) error {
	if t := ticketOf(ctx); t != nil && t.held {
		return t.yield(ctx)
	}
	return nil
}

// Enter takes a slot, unless the call has one.
func Enter(ctx context.Context) error {
	if t := ticketOf(ctx); t != nil {
		return t.enter(ctx)
	}
	return nil
}

// Leave gives the slot of a call back while it waits for something else: the state that a
// token names, a command that is replicated. It reports whether the call had one.
func Leave(ctx context.Context) bool {
	t := ticketOf(ctx)
	if t == nil || !t.held {
		return false
	}
	t.leave()
	return true
}

// A Helper works on a call beside the goroutine that the call belongs to. It is the context
// to do so in.
type Helper struct {
	context.Context         //nolint:containedctx // it is a context
	ticket          *ticket // nil: there are no shares
}

// Helpers takes up to so many slots beyond the call's own, as long as nobody waits for one:
// what takes long may use processors that would be idle otherwise. Each must Leave.
func Helpers(ctx context.Context, most int) []*Helper {
	if most <= 0 {
		return nil
	}
	t := ticketOf(ctx)
	helpers := make([]*Helper, 0, most)
	var of tenant
	if t != nil {
		of = t.whose().tenant
	}
	for range most {
		if t == nil || t.pool == nil {
			helpers = append(helpers, &Helper{Context: ctx})
			continue
		}
		if !t.pool.overflow() {
			break
		}
		own := &ticket{
			Context: ctx, limiter: t.limiter, kind: t.kind, begun: true,
			account: &account{tenant: of}, pool: t.pool, held: true,
		}
		helpers = append(helpers, &Helper{own, own})
	}
	return helpers
}

// Wanted reports whether the helper may go on: others may have come who wait.
func (h *Helper) Wanted() bool {
	return h.ticket == nil || h.ticket.pool.waiting() == 0
}

// Leave gives the helper's slot back.
func (h *Helper) Leave() {
	if h.ticket != nil {
		h.ticket.leave()
	}
}
