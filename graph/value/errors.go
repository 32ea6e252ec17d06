package value

import "errors"

var (
	// ErrType occurs if something stands in a value that is none: see Value.
	ErrType = errors.New("not a value")

	// ErrNumber occurs for NaN and the infinities: they have no place in JSON, and NaN
	// is not even equal to itself.
	ErrNumber = errors.New("number is not finite")

	// ErrText occurs if a string or a key is not valid UTF-8.
	ErrText = errors.New("text is not valid UTF-8")

	// ErrTooDeep occurs if lists and maps nest deeper than MaxDepth.
	ErrTooDeep = errors.New("value nests too deep")

	// ErrTooLarge occurs if an encoding is longer than MaxSize.
	ErrTooLarge = errors.New("value is too large")

	// ErrEncoding occurs if bytes are not the canonical encoding of any map.
	ErrEncoding = errors.New("malformed value encoding")
)
