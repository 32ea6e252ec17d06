package rpc

import (
	"context"
	"errors"
	"sync"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/rpc/limit"
)

// ErrBusy says that too many changes of one organisation wait for each other on this node.
var ErrBusy = errors.New("too many changes of this organisation are waiting: try again a little later")

// maxLane bounds the changes of one store that wait on a node: at a few hundred changes a
// second, the last of them waits for about as long as clients do.
const maxLane = 1024

// lanes let changes of one store that are in each other's way go one at a time, so that
// they need not be planned again and again. They are this node's alone: what two nodes
// plan at once is told apart when it is applied.
type lanes struct {
	mu    sync.Mutex
	byKey map[fsm.StoreID]*lane // those that somebody is in or waits for; guarded by mu
}

// A lane is one store's.
type lane struct {
	users int           // in it or waiting; guarded by lanes.mu
	turn  chan struct{} // holds one value while nobody is in it
}

func newLanes() *lanes { return &lanes{byKey: map[fsm.StoreID]*lane{}} }

// busy reports whether anybody is in a store's lane.
func (l *lanes) busy(store fsm.StoreID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.byKey[store] != nil
}

// enter waits until the lane of a store is free. Whoever entered must leave. The error is
// ErrBusy or the context's.
func (l *lanes) enter(ctx context.Context, store fsm.StoreID) (leave func(), err error) {
	l.mu.Lock()
	own := l.byKey[store]
	if own == nil {
		own = &lane{turn: make(chan struct{}, 1)}
		own.turn <- struct{}{}
		l.byKey[store] = own
	}
	if own.users >= maxLane {
		l.mu.Unlock()
		return nil, ErrBusy
	}
	own.users++
	l.mu.Unlock()
	leave = func() {
		own.turn <- struct{}{}
		l.drop(store, own)
	}
	select {
	case <-own.turn:
		return leave, nil
	default:
	}
	waited := limit.Leave(ctx) // whoever waits is not planning
	select {
	case <-own.turn:
	case <-ctx.Done():
		l.drop(store, own)
		return nil, ctx.Err()
	}
	if waited {
		if err := limit.Enter(ctx); err != nil {
			leave()
			return nil, err
		}
	}
	return leave, nil
}

// drop forgets a lane that nobody is left in.
func (l *lanes) drop(store fsm.StoreID, own *lane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if own.users--; own.users == 0 {
		delete(l.byKey, store)
	}
}
