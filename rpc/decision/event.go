package decision

import (
	"strings"
	"time"
)

// An Outcome is how a decision came out.
type Outcome uint8

// The outcomes.
const (
	Allowed   Outcome = iota
	Refused           // a denial
	Undecided         // an error: access was neither granted nor denied
	Listed            // an answer that names what access there is, even if that is nothing

	outcomes // how many there are
)

// What an event holds of a request is bounded: the longest name of an object and a relation
// fits, and so does what the headers of changes may hold.
const (
	maxText   = 2048 // bytes of a text
	maxHeader = 1024 // bytes of a header
	maxNames  = 64   // parameters of a context
	maxName   = 128  // bytes of the name of one
	maxValues = 4096 // bytes of a context
)

var outcomeNames = [outcomes]string{"allowed", "denied", "error", "listed"}

// String is the outcome as events and metrics spell it.
func (o Outcome) String() string { return outcomeNames[o] }

// Of is the outcome of a question.
func Of(allowed bool, err error) Outcome {
	switch {
	case err != nil:
		return Undecided
	case allowed:
		return Allowed
	}
	return Refused
}

// OfList is the outcome of a list.
func OfList(err error) Outcome {
	if err != nil {
		return Undecided
	}
	return Listed
}

// An Event is one decision: what was asked, by which state and model it was judged, and
// what came of it. What is not known is zero.
type Event struct {
	Outcome Outcome
	List    bool
	Reason  string // why it is Undecided: a name, never the text of an error

	Store    [16]byte
	Asked    string // the store as it was asked for, if there is none
	Model    string
	Revision uint64
	Token    string
	At       time.Time

	Object, Relation, Subject string
	Field                     string // of the object, if it is about that alone
	Type                      string // of what is listed
	Count                     int    // of what is listed
	More                      bool   // there is more than the answer lists
	Questions                 int    // that an error is about, if it is not about one

	Context Context

	Begun time.Duration // what Log.Begin said

	// What the log knows of the call.
	procedure                   string
	principal, actor, requestID string
	trace                       [16]byte
	time                        time.Time
	took                        time.Duration
	sample                      int // the event stands for so many; 0 for itself
}

// size is about what the event keeps in memory.
func (e *Event) size() int {
	const fixed = 480
	return fixed + len(e.Asked) + len(e.Object) + len(e.Field) + len(e.Relation) + len(e.Subject) + len(e.actor) + len(e.Context.values) + 16*len(e.Context.names)
}

// bound cuts what a request may have made too long.
func (e *Event) bound() {
	for _, text := range []*string{&e.Asked, &e.Object, &e.Field, &e.Relation, &e.Subject, &e.Type} {
		*text = clip(*text, maxText)
	}
}

// clip cuts a text. The rest of it must not stay in memory.
func clip(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.Clone(text[:most])
}
