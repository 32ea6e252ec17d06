package limit

import (
	"context"
	"errors"
)

// LargeMessage is from how many bytes on reading or writing a message is more than a
// moment's work: some 200 µs, as long as a call keeps its processor that may take as long
// as it likes.
const LargeMessage = 16 << 10

// Code reads or writes a message of so many bytes. A large one takes its turn among what
// takes long, on behalf of no store, for which one it is for is not known before it has been
// read: however many arrive at once, one processor is left for what is short. It returns
// what code does, or the context's error if that ends before its turn.
//
// Nobody is refused here, or those who send much could have others refused: what the queue
// has no room for does not wait. A nil Limiter has no shares. It is safe for concurrent use.
func (l *Limiter) Code(ctx context.Context, size int, code func() error) error {
	if l == nil || l.long == nil || size < LargeMessage {
		return code()
	}
	var t *turn
	if !l.long.try() {
		var err error
		switch t, err = l.long.wait(ctx, tenant{}); {
		case errors.Is(err, ErrQueue):
			return code()
		case err != nil:
			return err
		}
	}
	defer l.long.leave(t)
	return code()
}
