package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/remit-authz/remit/rpc/client"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// registers are a few tuples that clients at different nodes contend for: they make them if
// they are not there, remove them if they are, put them whatever they are, and ask for them.
// What they were told must have one order that explains it.
type registers struct {
	f     *fleet
	store string
	began time.Time

	mu      sync.Mutex
	serial  int                           // guarded by mu
	history map[int][]porcupine.Operation // guarded by mu; by tuple
	open    int                           // guarded by mu; operations of unknown outcome
}

const (
	registerClients = 5
	registerTuples  = 3   // that are contended for at a time
	registerLength  = 240 // operations after which it is other tuples' turn: short histories are judged soon
)

type registerCall int

const (
	registerCreate registerCall = iota
	registerDelete
	registerTouch
	registerCheck
)

func (c registerCall) String() string {
	return [...]string{"create", "delete what is there", "touch", "check"}[c]
}

// A registerAnswer is what a client was told: done or refused, there or not.
type registerAnswer struct{ unknown, yes bool }

// registerModel is a tuple that is there or not.
var registerModel = porcupine.Model{
	Init: func() any { return false },
	Step: func(state, input, output any) (bool, any) {
		there, call, answer := state.(bool), input.(registerCall), output.(registerAnswer)
		switch call {
		case registerCreate:
			return answer.unknown || answer.yes != there, true
		case registerDelete:
			return answer.unknown || answer.yes == there, false
		case registerTouch:
			return answer.unknown || answer.yes, true
		default:
			return answer.yes == there, there
		}
	},
	DescribeOperation: func(input, output any) string {
		answer := output.(registerAnswer)
		if answer.unknown {
			return fmt.Sprint(input, ": ?")
		}
		return fmt.Sprint(input, ": ", answer.yes)
	},
}

func newRegisters(f *fleet, store string) *registers {
	return &registers{f: f, store: store, began: time.Now(), history: map[int][]porcupine.Operation{}}
}

// run has clients call until ctx is done.
func (r *registers) run(ctx context.Context, working *sync.WaitGroup, w *witnesses) {
	for id := range registerClients {
		nodes := r.f.nodes
		at := id % len(nodes)
		c := r.f.patient(client.Config{Forgetful: true}, append(nodes[at:len(nodes):len(nodes)], nodes[:at]...)...)
		working.Go(func() {
			for ctx.Err() == nil && !w.accused() {
				r.step(ctx, id, c, w)
				select {
				case <-time.After(time.Duration(rand.IntN(40)) * time.Millisecond):
				case <-ctx.Done():
				}
			}
		})
	}
}

// step makes one call. A change whose outcome is unknown is repeated with its key, for a
// while: the fewer stay open, the more a history says.
func (r *registers) step(ctx context.Context, id int, c *client.Client, w *witnesses) {
	r.mu.Lock()
	tuple := r.serial/registerLength*registerTuples + rand.IntN(registerTuples)
	r.serial++
	r.mu.Unlock()
	length := 5 * time.Second
	if rand.IntN(20) == 0 {
		length = time.Duration(rand.IntN(4000)) * time.Microsecond
	}
	request, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	op := porcupine.Operation{ClientId: id, Input: registerCall(rand.IntN(4)), Call: int64(time.Since(r.began))}
	answer, err := r.call(request, c, op.Input.(registerCall), &remitv1.Tuple{
		Object: fmt.Sprint("register:r", tuple), Relation: "holder", Subject: "user:x",
	})
	op.Output, op.Return = answer, int64(time.Since(r.began))
	switch {
	case err == nil:
		w.count("answers about registers", 1)
	case request.Err() == nil && !passing(err):
		w.accuse("%s of tuple %d: %w", op.Input, tuple, err)
		return
	case op.Input == registerCheck:
		return // it changes nothing, and told nothing
	default:
		op.Output, op.Return = registerAnswer{unknown: true}, int64(1000*time.Hour)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.open++
	}
	r.history[tuple] = append(r.history[tuple], op)
}

func (r *registers) call(ctx context.Context, c *client.Client, call registerCall, tuple *remitv1.Tuple) (registerAnswer, error) {
	if call == registerCheck {
		res, err := c.Access.Check(ctx, &remitv1.CheckRequest{
			Scope:    &remitv1.Scope{Store: r.store, Consistency: fullyConsistent},
			Question: &remitv1.Question{Object: tuple.GetObject(), Relation: tuple.GetRelation(), Subject: tuple.GetSubject()},
		})
		return registerAnswer{yes: res.GetAllowed()}, err
	}
	req := &remitv1.WriteRequest{Store: r.store, Operations: []*remitv1.Operation{{Tuple: tuple}}}
	switch call {
	case registerCreate:
		req.Operations[0].Kind = remitv1.Operation_KIND_CREATE
	case registerDelete:
		req.Operations[0].Kind = remitv1.Operation_KIND_DELETE
		req.Preconditions = []*remitv1.Precondition{{Kind: remitv1.Precondition_KIND_TUPLE_PRESENT, Tuple: tuple}}
	default:
		req.Operations[0].Kind = remitv1.Operation_KIND_TOUCH
	}
	_, err := c.Tuples.Write(ctx, req)
	if hasReason(err, remitv1.ErrorReason_ERROR_REASON_TUPLE_EXISTS) || hasReason(err, remitv1.ErrorReason_ERROR_REASON_PRECONDITION_FAILED) {
		return registerAnswer{}, nil
	}
	return registerAnswer{yes: true}, err
}

// check looks for the order, tuple by tuple.
func (r *registers) check(t *testing.T) {
	t.Helper()
	operations := 0
	for tuple, history := range r.history {
		operations += len(history)
		result, info := porcupine.CheckOperationsVerbose(registerModel, history, time.Minute)
		if result == porcupine.Ok {
			continue
		}
		dir, err := os.MkdirTemp("", "remit-history-") //nolint:usetesting // a person looks at it after the test
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, fmt.Sprintf("register-%d.html", tuple))
		if err := porcupine.VisualizePath(registerModel, info, name); err != nil {
			t.Error(err)
		}
		t.Errorf("the %d calls about tuple %d, judged %s, are drawn in %s", len(history), tuple, result, name)
	}
	t.Logf("%d tuples were contended for in %d calls; of %d nobody knows what became of them", len(r.history), operations, r.open)
}
