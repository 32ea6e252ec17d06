package condition

import (
	"sync/atomic"
	"weak"

	"cel.dev/cel-go/common/types/ref"

	"github.com/remit-authz/remit/graph/value"
)

// MaxContext bounds the encoding of a stored context in bytes, as OpenFGA bounds its
// own: tuples stay small next to what they grant.
const MaxContext = 32 << 10

// A Context is what was stored with a tuple for its condition. It is immutable and safe
// for concurrent use. A nil *Context is the empty one: nothing else is.
type Context struct {
	fields  value.Map
	encoded []byte

	// last is what the fields are for the condition that was evaluated last. A tuple
	// has one condition, which changes only with the model.
	last atomic.Pointer[bound]

	// own is what the fields are for Inline.
	own atomic.Pointer[weak.Pointer[Condition]]
}

// A bound is a context's fields as the parameters of one condition.
type bound struct {
	condition *Condition
	values    []ref.Val // by parameter, nil where there is none
	err       error
}

// NewContext makes a context of fields, which the caller must not change afterwards. It
// is nil for none. Errors are ErrTooLarge and those of value.Encode.
func NewContext(fields value.Map) (*Context, error) {
	if len(fields) == 0 {
		return nil, nil
	}
	encoded, err := value.Encode(fields)
	if err != nil {
		return nil, err
	}
	if len(encoded) > MaxContext {
		return nil, ErrTooLarge
	}
	return &Context{fields: fields, encoded: encoded}, nil
}

// DecodeContext reads what Encoded gave. The context keeps the bytes, which the caller
// must not change afterwards.
func DecodeContext(encoded []byte) (*Context, error) {
	if len(encoded) == 0 {
		return nil, nil
	}
	if len(encoded) > MaxContext {
		return nil, ErrTooLarge
	}
	fields, err := value.Decode(encoded)
	if err != nil {
		return nil, err
	}
	if len(fields) == 0 {
		return nil, nil
	}
	return &Context{fields: fields, encoded: encoded}, nil
}

// Encoded is the canonical encoding, nil for the empty context: contexts are equal if and
// only if these bytes are. The caller must not change them.
func (c *Context) Encoded() []byte {
	if c == nil {
		return nil
	}
	return c.encoded
}

// Fields are the context's values, nil for the empty context. The caller must not change
// them.
func (c *Context) Fields() value.Map {
	if c == nil {
		return nil
	}
	return c.fields
}

// bind converts the fields for a condition, or takes what the last call found.
func (c *Context) bind(to *Condition) *bound {
	if c == nil {
		return &none
	}
	b := c.last.Load()
	if b == nil || b.condition != to {
		b = &bound{condition: to}
		b.values, b.err = to.convert(c.fields)
		c.last.Store(b)
	}
	return b
}

var none bound
