package fsm

import (
	"errors"
	"fmt"

	"github.com/remit-authz/remit/graph"
)

// resultFormat is the version of the encoding of results and of lists of them.
const resultFormat = 1

// A Result is the state machine's answer to one command.
type Result struct {
	// Revision is the revision that reflects the command, or, if it was refused, the
	// one that refused it. Time is the leader's time then, in milliseconds since 1970.
	Revision graph.Revision
	Time     int64

	// Err is a *Refusal, or nil if the command took effect.
	Err error

	// Replayed says that an earlier command with the same key took effect, and that
	// everything else here is its answer.
	Replayed bool

	// Store and Model are what CreateStore and WriteModel made.
	Store StoreID
	Model ModelID

	// Remaining says that AdvanceExpiry, AdvanceHistory or Erase stopped before it was
	// through.
	Remaining bool

	// Erased is what the erasure of an Erase has done so far.
	Erased *Erased
}

const (
	resultReplayed  = 1 << 0
	resultRefused   = 1 << 1
	resultRemaining = 1 << 2
	resultErased    = 1 << 3
)

// Encode gives the result's bytes.
func (r *Result) Encode() []byte {
	e := &encoder{}
	e.byte(resultFormat)
	var flags byte
	if r.Replayed {
		flags |= resultReplayed
	}
	if r.Err != nil {
		flags |= resultRefused
	}
	if r.Remaining {
		flags |= resultRemaining
	}
	if r.Erased != nil {
		flags |= resultErased
	}
	e.byte(flags)
	e.uvarint(uint64(r.Revision))
	e.varint(r.Time)
	e.fixed(r.Store[:])
	e.fixed(r.Model[:])
	if r.Err != nil {
		var f *Refusal
		if !errors.As(r.Err, &f) {
			f = refuse(r.Err)
		}
		e.uvarint(reasonCode(f.Reason))
		e.varint(int64(f.Index))
		e.string(f.Name)
		e.uvarint(f.Version)
		e.uvarint(uint64(f.Revision))
	}
	if r.Erased != nil {
		e.erased(r.Erased)
	}
	return e.b
}

func reasonCode(err error) uint64 {
	for _, r := range reasons {
		if errors.Is(err, r.err) {
			return r.code
		}
	}
	panic(fmt.Sprintf("fsm: refusal without a number: %v", err))
}

// DecodeResult reads what Encode gave.
func DecodeResult(b []byte) (*Result, error) {
	d := &decoder{b: b}
	if v := d.byte(); d.err == nil && v != resultFormat {
		return nil, &formatError{"result", uint64(v)}
	}
	flags := d.byte()
	r := &Result{
		Replayed:  flags&resultReplayed != 0,
		Remaining: flags&resultRemaining != 0,
		Revision:  graph.Revision(d.uvarint()),
		Time:      d.varint(),
	}
	d.fixed(r.Store[:])
	d.fixed(r.Model[:])
	if flags&resultRefused != 0 {
		code := d.uvarint()
		f := &Refusal{Index: int(d.varint()), Name: d.string(MaxTextSize), Version: d.uvarint(), Revision: graph.Revision(d.uvarint())}
		for _, x := range reasons {
			if x.code == code {
				f.Reason = x.err
			}
		}
		if f.Reason == nil {
			d.fail("unknown reason")
		}
		r.Err = f
	}
	if flags&resultErased != 0 {
		r.Erased = d.erased()
	}
	if flags&^(resultReplayed|resultRefused|resultRemaining|resultErased) != 0 {
		d.fail("unknown flag")
	}
	if err := d.done(); err != nil {
		return nil, fmt.Errorf("decode result: %w", err)
	}
	return r, nil
}

func joinAnswers(answers [][]byte) []byte {
	e := &encoder{}
	e.byte(resultFormat)
	e.uvarint(uint64(len(answers)))
	for _, a := range answers {
		e.bytes(a)
	}
	return e.b
}

// SplitAnswers gives the encoded results of an entry's commands, in their order.
func SplitAnswers(b []byte) ([][]byte, error) {
	d := &decoder{b: b}
	if v := d.byte(); d.err == nil && v != resultFormat {
		return nil, &formatError{"answers", uint64(v)}
	}
	answers := make([][]byte, d.count(maxEntryCommands))
	for i := range answers {
		answers[i] = d.bytes(1 << 30)
	}
	if err := d.done(); err != nil {
		return nil, fmt.Errorf("decode answers: %w", err)
	}
	return answers, nil
}
