package limit

import (
	"context"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// An Arrival is where a transport shows what has arrived for a call before it is decoded: to
// decode a batch takes as long as to answer a third of it, and to look through it a tenth of
// that. Whoever is refused anyway shall not take it from others. It belongs to the call's
// goroutine; nil is one whose requests are judged when they have been decoded.
type Arrival struct {
	context.Context         //nolint:containedctx // it is a context
	ticket          *ticket // nil until the call stands before the limiter
}

type arrivalKey struct{}

// Value is the arrival itself, or what the context holds.
func (a *Arrival) Value(key any) any {
	if key == (arrivalKey{}) {
		return a
	}
	return a.Context.Value(key)
}

// Arrive returns the context to serve a call in, and where to show what arrives for it: nil
// if there are no rates, for which nobody needs to look. A nil Limiter has none.
func (l *Limiter) Arrive(ctx context.Context) (context.Context, *Arrival) {
	if l == nil || !l.limits() {
		return ctx, nil
	}
	a := &Arrival{Context: ctx}
	return a, a
}

// Judge refuses the first request of a call if its rate does not allow it, of which data are
// the bytes and msg, which it leaves alone, is of the type. It says nothing about small ones, for
// which it would take as long as to decode them, nor about what cannot be decoded.
func (a *Arrival) Judge(data []byte, msg proto.Message) error {
	if a == nil || a.ticket == nil || a.ticket.begun || len(data) < LargeMessage {
		return nil
	}
	known, count, ok := outline(data, msg.ProtoReflect())
	if !ok {
		return nil
	}
	return a.ticket.payEarly(known, count)
}

// outline decodes a message but for its lists of messages, of which it counts the elements:
// enough to know its store, and how many calls it stands for at least.
func outline(data []byte, msg protoreflect.Message) (known proto.Message, count int, ok bool) {
	fields := msg.Descriptor().Fields()
	elements := make([]int, fields.Len())
	var kept []byte
	for len(data) > 0 {
		number, wire, size := protowire.ConsumeField(data)
		if size < 0 {
			return nil, 0, false
		}
		if f := fields.ByNumber(number); f != nil && f.IsList() && f.Message() != nil && wire == protowire.BytesType {
			elements[f.Index()]++
		} else {
			kept = append(kept, data[:size]...)
		}
		data = data[size:]
	}
	known = msg.New().Interface()
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(kept, known); err != nil {
		return nil, 0, false
	}
	count = countOf(known)
	for i, n := range elements {
		if n > 1 && isCounted(msg, fields.Get(i)) {
			count = max(count, n)
		}
	}
	return known, count, true
}

// isCounted reports whether each element of a list counts.
func isCounted(msg protoreflect.Message, f protoreflect.FieldDescriptor) bool {
	two := msg.New()
	list := two.Mutable(f).List()
	list.Append(list.NewElement())
	list.Append(list.NewElement())
	return countOf(two.Interface()) == 2
}
