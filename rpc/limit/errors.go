package limit

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrRate says that a store or a principal has called more often than it may.
	ErrRate = errors.New("rate limit")
	// ErrQueue says that too many calls of one tenant wait to be evaluated.
	ErrQueue = errors.New("too many calls are waiting")
)

// A RefusedError refuses a call that nothing is wrong with.
type RefusedError struct {
	// Err is ErrRate or ErrQueue.
	Err error
	// Kind is what refused it.
	Kind Kind
	// RetryAfter is how long to wait before the next attempt.
	RetryAfter time.Duration
}

// Error implements error. It names neither the store nor the principal: the caller knows
// which he is.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("%s: %s; try again in %s", e.Err, kindTexts[e.Kind], e.RetryAfter.Round(time.Millisecond))
}

// Unwrap is what kind of refusal it is.
func (e *RefusedError) Unwrap() error { return e.Err }

// A Kind is which bound refused a call.
type Kind int

// The kinds.
const (
	StoreRate Kind = iota
	PrincipalRate
	FullQueue
	kinds
)

var (
	kindTexts = [kinds]string{
		StoreRate:     "the store is called more often than it may be",
		PrincipalRate: "the caller calls more often than it may",
		FullQueue:     "the caller has as many waiting as it may",
	}
	kindLabels = [kinds]string{StoreRate: "rate_store", PrincipalRate: "rate_principal", FullQueue: "queue"}
)
