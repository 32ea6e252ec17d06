package value

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"
)

const (
	// MaxDepth bounds how deep lists and maps nest; the outermost map is depth 1. It
	// keeps recursion short, here and in whoever walks a value. JSON that people write
	// stays below ten.
	MaxDepth = 64

	// MaxSize bounds an encoding in bytes, so that one document is always small next to
	// the largest command. Contexts of conditions have a lower bound of their own.
	MaxSize = 1 << 20
)

// Version is the first byte of every encoding. Bytes once written stay readable, so a
// change of the format takes a new version and keeps reading the old.
const Version = 1

// The tag before each value. They are on disk for ever: never renumber, only add.
const (
	tagNil    = 0
	tagFalse  = 1
	tagTrue   = 2
	tagInt    = 3 // zigzag varint
	tagUint   = 4 // varint
	tagFloat  = 5 // the eight bytes of IEEE 754, big-endian
	tagString = 6 // length as varint, then UTF-8
	tagList   = 7 // number of elements as varint, then the elements
	tagMap    = 8 // number of entries as varint, then key (length, UTF-8) and value of each
)

// Encode writes a map in its canonical form: two maps are Equal if and only if their
// encodings are the same bytes. A nil map is an empty one.
//
// The form is the version byte, then the map as a tagged value would have it but without
// its tag. Keys are sorted by their bytes. Varints are as short as they can be. int64,
// uint64 and float64 are distinct, so 1 and 1.0 are different values; -0.0 is written
// as 0.0.
func Encode(m Map) ([]byte, error) { return Append(nil, m) }

// Append is Encode behind what dst already holds. On an error it returns dst as it was.
func Append(dst []byte, m Map) ([]byte, error) {
	e := encoder{buf: append(dst, Version), limit: len(dst) + MaxSize}
	if err := e.fields(m, 1); err != nil {
		return dst, err
	}
	return e.buf, nil
}

type encoder struct {
	buf   []byte
	limit int // of len(buf)
}

func (e *encoder) fields(m Map, depth int) error {
	if depth > MaxDepth {
		return ErrTooDeep
	}
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	e.buf = binary.AppendUvarint(e.buf, uint64(len(keys)))
	for _, k := range keys {
		if err := e.text(k); err != nil {
			return fmt.Errorf("key %q: %w", k, err)
		}
		if err := e.value(m[k], depth); err != nil {
			return fmt.Errorf("%s: %w", k, err)
		}
	}
	return nil
}

func (e *encoder) value(v Value, depth int) error {
	switch v := v.(type) {
	case nil:
		e.buf = append(e.buf, tagNil)
	case bool:
		if v {
			e.buf = append(e.buf, tagTrue)
		} else {
			e.buf = append(e.buf, tagFalse)
		}
	case int64:
		e.buf = binary.AppendVarint(append(e.buf, tagInt), v)
	case uint64:
		e.buf = binary.AppendUvarint(append(e.buf, tagUint), v)
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return ErrNumber
		}
		if v == 0 {
			v = 0 // drops the sign
		}
		e.buf = binary.BigEndian.AppendUint64(append(e.buf, tagFloat), math.Float64bits(v))
	case string:
		e.buf = append(e.buf, tagString)
		return e.text(v)
	case List:
		if depth >= MaxDepth {
			return ErrTooDeep
		}
		e.buf = binary.AppendUvarint(append(e.buf, tagList), uint64(len(v)))
		for i, element := range v {
			if err := e.value(element, depth+1); err != nil {
				return fmt.Errorf("[%d]: %w", i, err)
			}
		}
	case Map:
		e.buf = append(e.buf, tagMap)
		return e.fields(v, depth+1)
	default:
		return fmt.Errorf("%w: %T", ErrType, v)
	}
	return e.room()
}

func (e *encoder) text(s string) error {
	if !utf8.ValidString(s) {
		return ErrText
	}
	if len(s) > e.limit-len(e.buf) {
		return ErrTooLarge
	}
	e.buf = append(binary.AppendUvarint(e.buf, uint64(len(s))), s...)
	return e.room()
}

func (e *encoder) room() error {
	if len(e.buf) > e.limit {
		return ErrTooLarge
	}
	return nil
}
