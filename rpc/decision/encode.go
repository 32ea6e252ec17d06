package decision

import (
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/oklog/ulid/v2"
)

// The types of events.
const (
	TypeDecision = "remit.v1.decision"
	TypeList     = "remit.v1.list"
	TypeDropped  = "remit.v1.decisions.dropped"
)

// An encoder writes events. It belongs to one goroutine.
type encoder struct {
	buf    []byte
	head   string // what every event begins with, up to the number in its id
	source string
	number uint64 // of the last event

	// What the last event had: most are about the same store.
	store     [16]byte
	storeText []byte

	// And of one procedure, and in one second.
	procedure string
	call      string // its members
	second    int64
	date      [len("2006-01-02T15:04:05")]byte
}

// newEncoder makes an encoder. The ids of its events begin with a text that no other
// encoder has.
func newEncoder(node, unique string) *encoder {
	return &encoder{
		head:   `{"specversion":"1.0","id":"` + unique + `-`,
		source: `","source":"/nodes/` + url.PathEscape(node) + `","type":"`,
	}
}

// event adds an event.
func (c *encoder) event(e *Event) {
	kind := TypeDecision
	if e.List {
		kind = TypeList
	}
	subject := e.Object
	if subject == "" {
		subject = e.Type
	}
	c.open(kind, subject, e.time)
	if e.sample > 0 {
		c.raw(`"sampledrate":`).int(int64(e.sample)).raw(`,`)
	}
	c.raw(`"data":{"outcome":"`).raw(e.Outcome.String()).raw(`"`)
	if !e.List && e.Outcome != Undecided {
		c.raw(`,"allowed":`).raw(strconv.FormatBool(e.Outcome == Allowed))
	}
	c.text("reason", e.Reason)
	c.callOf(e.procedure)
	c.storeOf(e)
	c.text("model", e.Model)
	if e.Revision > 0 {
		c.raw(`,"revision":`).int(int64(e.Revision))
	}
	c.text("token", e.Token)
	c.time("at", e.At)
	c.text("object", e.Object)
	c.text("field", e.Field)
	c.text("type", e.Type)
	c.text("relation", e.Relation)
	c.text("subject", e.Subject)
	if e.List {
		c.raw(`,"count":`).int(int64(e.Count)).raw(`,"complete":`).raw(strconv.FormatBool(!e.More))
	}
	if e.Questions > 0 {
		c.raw(`,"questions":`).int(int64(e.Questions))
	}
	c.context(&e.Context)
	c.text("principal", e.principal)
	c.text("actor", e.actor)
	c.text("request_id", e.requestID)
	if e.trace != [16]byte{} {
		c.raw(`,"trace_id":"`).hex(e.trace[:]).raw(`"`)
	}
	c.raw(`,"duration_seconds":`).int(int64(max(e.took, 0) / time.Second))
	c.fraction(int(max(e.took, 0) % time.Second))
	c.close()
}

// dropped adds an event that says what is missing.
func (c *encoder) dropped(lost loss, now time.Time) {
	c.open(TypeDropped, "", now)
	c.raw(`"data":{"count":`).int(int64(lost.full + lost.unwritten))
	c.raw(`,"queue_full":`).int(int64(lost.full)).raw(`,"unwritten":`).int(int64(lost.unwritten))
	c.time("from", lost.from)
	c.time("to", lost.to)
	c.close()
}

// open begins an event, with all that CloudEvents asks of it.
func (c *encoder) open(kind, subject string, at time.Time) {
	c.number++
	c.raw(c.head)
	c.buf = strconv.AppendUint(c.buf, c.number, 10)
	c.raw(c.source).raw(kind).raw(`"`)
	if subject != "" {
		c.raw(`,"subject":`)
		c.buf = appendString(c.buf, subject, true)
	}
	c.time("time", at)
	c.raw(`,"datacontenttype":"application/json",`)
}

func (c *encoder) close() { c.raw("}}\n") }

func (c *encoder) storeOf(e *Event) {
	if e.Store == [16]byte{} {
		c.text("store", e.Asked)
		return
	}
	if e.Store != c.store || c.storeText == nil {
		c.store, c.storeText = e.Store, make([]byte, ulid.EncodedSize)
		_ = ulid.ULID(e.Store).MarshalTextTo(c.storeText) // there is room for it
	}
	c.raw(`,"store":"`)
	c.buf = append(c.buf, c.storeText...)
	c.raw(`"`)
}

// callOf adds which face and RPC was called.
func (c *encoder) callOf(procedure string) {
	if procedure == "" {
		return
	}
	if procedure != c.procedure {
		service, method, _ := strings.Cut(strings.TrimPrefix(procedure, "/"), "/")
		face, service, _ := strings.Cut(service, ".")
		c.procedure = procedure
		c.call = `,"face":"` + face + `","rpc":"` + service[strings.LastIndexByte(service, '.')+1:] + "/" + method + `"`
	}
	c.raw(c.call)
}

func (c *encoder) context(x *Context) {
	if len(x.names) == 0 {
		return
	}
	c.raw(`,"context":[`)
	for i, name := range x.names {
		if i > 0 {
			c.raw(",")
		}
		c.buf = appendString(c.buf, name, false)
	}
	c.raw("]")
	if x.values != nil {
		c.raw(`,"context_values":`)
		c.buf = append(c.buf, x.values...)
	}
	if x.cut {
		c.raw(`,"context_cut":true`)
	}
}

func (c *encoder) raw(s string) *encoder {
	c.buf = append(c.buf, s...)
	return c
}

func (c *encoder) int(i int64) *encoder {
	c.buf = strconv.AppendInt(c.buf, i, 10)
	return c
}

func (c *encoder) hex(b []byte) *encoder {
	for _, x := range b {
		c.buf = append(c.buf, hexDigits[x>>4], hexDigits[x&15])
	}
	return c
}

// text adds a member that is a text, unless that is empty.
func (c *encoder) text(name, value string) {
	if value == "" {
		return
	}
	c.raw(`,"`).raw(name).raw(`":`)
	c.buf = appendString(c.buf, value, false)
}

// time adds a member that is an instant, unless that is zero.
func (c *encoder) time(name string, t time.Time) {
	if t.IsZero() {
		return
	}
	c.raw(`,"`).raw(name).raw(`":"`)
	if second := t.Unix(); second != c.second {
		c.second = second
		t.UTC().AppendFormat(c.date[:0], "2006-01-02T15:04:05")
	}
	c.buf = append(c.buf, c.date[:]...)
	c.fraction(t.Nanosecond())
	c.raw(`Z"`)
}

// fraction adds the nanoseconds of a second.
func (c *encoder) fraction(ns int) {
	digits := [10]byte{'.'}
	for i := 9; i > 0; i-- {
		digits[i] = byte('0' + ns%10)
		ns /= 10
	}
	c.buf = append(c.buf, digits[:]...)
}

// plain are the bytes that a string of JSON holds as they are.
var plain = func() (p [256]bool) {
	for c := ' '; c < 0x7f; c++ {
		p[c] = c != '"' && c != '\\'
	}
	return p
}()

const hexDigits = "0123456789abcdef"

// appendString adds a text as a string of JSON, without anything that any reader takes for
// the end of a line. Bytes that are no UTF-8 become U+FFFD, and so do, if it is asked to be
// strict, the characters that CloudEvents does not have in attributes: controls and those
// that are none.
func appendString(b []byte, s string, strict bool) []byte {
	b = append(b, '"')
	begin := 0 // of what is yet to be copied
	for i := 0; i < len(s); {
		if plain[s[i]] {
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		invalid := r == utf8.RuneError && size == 1
		if strict && (r < ' ' || r >= 0x7f && r <= 0x9f || r >= 0xfdd0 && r <= 0xfdef || r&0xfffe == 0xfffe) {
			invalid = true
		}
		escape := ""
		switch {
		case invalid:
			escape = `\ufffd`
		case r == '"':
			escape = `\"`
		case r == '\\':
			escape = `\\`
		case r == '\u2028':
			escape = `\u2028`
		case r == '\u2029':
			escape = `\u2029`
		case r < ' ' || r >= 0x7f && r <= 0x9f: // U+0085 ends a line, too
			b = append(b, s[begin:i]...)
			b = append(b, `\u00`...)
			b = append(b, hexDigits[r>>4], hexDigits[r&15])
			i += size
			begin = i
			continue
		default:
			i += size
			continue
		}
		b = append(b, s[begin:i]...)
		b = append(b, escape...)
		i += size
		begin = i
	}
	b = append(b, s[begin:]...)
	return append(b, '"')
}
