package value

import (
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"
)

// Decode reads what Encode wrote. It accepts canonical bytes only: unsorted or repeated
// keys, a varint longer than need be, NaN, an infinity, -0.0, invalid UTF-8 and bytes
// behind the end are all ErrEncoding. The map shares no memory with b.
func Decode(b []byte) (Map, error) {
	if len(b) > MaxSize {
		return nil, ErrTooLarge
	}
	if len(b) == 0 || b[0] != Version {
		return nil, malformed("unknown version")
	}
	d := decoder{rest: b[1:]}
	m, err := d.fields(1)
	if err != nil {
		return nil, err
	}
	if len(d.rest) != 0 {
		return nil, malformed("bytes behind the end")
	}
	return m, nil
}

func malformed(what string) error { return fmt.Errorf("%w: %s", ErrEncoding, what) }

type decoder struct{ rest []byte }

func (d *decoder) fields(depth int) (Map, error) {
	if depth > MaxDepth {
		return nil, ErrTooDeep
	}
	n, err := d.count(2) // an entry is at least an empty key and a tag
	if err != nil {
		return nil, err
	}
	m := make(Map, n)
	last := ""
	for i := range n {
		k, err := d.text()
		if err != nil {
			return nil, err
		}
		if i > 0 && k <= last {
			return nil, malformed("keys are not in order")
		}
		last = k
		if m[k], err = d.value(depth); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (d *decoder) value(depth int) (Value, error) {
	if len(d.rest) == 0 {
		return nil, malformed("cut short")
	}
	tag := d.rest[0]
	d.rest = d.rest[1:]
	switch tag {
	case tagNil:
		return nil, nil
	case tagFalse:
		return false, nil
	case tagTrue:
		return true, nil
	case tagInt:
		u, err := d.uvarint()
		if err != nil {
			return nil, err
		}
		return int64(u>>1) ^ -int64(u&1), nil
	case tagUint:
		u, err := d.uvarint()
		if err != nil {
			return nil, err
		}
		return u, nil
	case tagFloat:
		return d.float()
	case tagString:
		s, err := d.text()
		if err != nil {
			return nil, err
		}
		return s, nil
	case tagList:
		if depth >= MaxDepth {
			return nil, ErrTooDeep
		}
		n, err := d.count(1)
		if err != nil {
			return nil, err
		}
		l := make(List, n)
		for i := range l {
			if l[i], err = d.value(depth + 1); err != nil {
				return nil, err
			}
		}
		return l, nil
	case tagMap:
		m, err := d.fields(depth + 1)
		if err != nil {
			return nil, err
		}
		return m, nil
	}
	return nil, malformed("unknown tag")
}

// uvarint reads a varint and insists on its shortest form, which has no zero byte at
// its end.
func (d *decoder) uvarint() (uint64, error) {
	u, n := binary.Uvarint(d.rest)
	if n <= 0 {
		return 0, malformed("bad varint")
	}
	if n > 1 && d.rest[n-1] == 0 {
		return 0, malformed("varint is longer than need be")
	}
	d.rest = d.rest[n:]
	return u, nil
}

// count reads a number of elements that take at least size bytes each, so that a few
// bytes cannot demand much memory.
func (d *decoder) count(size int) (int, error) {
	u, err := d.uvarint()
	if err != nil {
		return 0, err
	}
	if u > uint64(len(d.rest)/size) {
		return 0, malformed("cut short")
	}
	return int(u), nil
}

func (d *decoder) float() (Value, error) {
	if len(d.rest) < 8 {
		return nil, malformed("cut short")
	}
	f := math.Float64frombits(binary.BigEndian.Uint64(d.rest))
	d.rest = d.rest[8:]
	if math.IsNaN(f) || math.IsInf(f, 0) || f == 0 && math.Signbit(f) {
		return nil, malformed("float is not canonical")
	}
	return f, nil
}

func (d *decoder) text() (string, error) {
	n, err := d.count(1)
	if err != nil {
		return "", err
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	if !utf8.Valid(b) {
		return "", malformed(ErrText.Error())
	}
	return string(b), nil
}
