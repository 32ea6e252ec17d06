package value

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"unicode/utf8"
)

// maxExact is 2^53: below it, every integer is a float64 of its own.
const maxExact = 1 << 53

// Normalize makes values of what decoders of JSON and of google.protobuf.Struct yield.
// A number is int64 if it is whole and its magnitude is below 2^53, and float64
// otherwise, however it was written and whatever type it had on the way: Struct knows
// doubles only, so 1, 1.0, json.Number("1e0") and float64(1) must not differ. An integer
// of larger magnitude is kept as it is if it came as a Go integer; JSON must carry it as
// a string to keep all its digits.
//
// The result shares no list and no map with m. Errors name the place.
func Normalize(m map[string]any) (Map, error) { return normalizeMap(m, 1) }

// ParseJSON makes values of a JSON object, with numbers as Normalize has them. A key
// that occurs twice has its last value, as in encoding/json.
func ParseJSON(data []byte) (Map, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var m map[string]any
	if err := d.Decode(&m); err != nil {
		return nil, fmt.Errorf("parse JSON object: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("parse JSON object: text behind the end")
	}
	return Normalize(m)
}

func normalizeMap(m map[string]any, depth int) (Map, error) {
	if depth > MaxDepth {
		return nil, ErrTooDeep
	}
	out := make(Map, len(m))
	for k, v := range m {
		if !utf8.ValidString(k) {
			return nil, fmt.Errorf("key %q: %w", k, ErrText)
		}
		n, err := normalize(v, depth)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k, err)
		}
		out[k] = n
	}
	return out, nil
}

func normalize(v any, depth int) (Value, error) {
	switch v := v.(type) {
	case nil, bool:
		return v, nil
	case string:
		if !utf8.ValidString(v) {
			return nil, ErrText
		}
		return v, nil
	case json.Number:
		f, err := v.Float64()
		if err != nil {
			return nil, fmt.Errorf("%w: %s", ErrNumber, v)
		}
		return number(f)
	case float64:
		return number(v)
	case float32:
		return number(float64(v))
	case int:
		return int64(v), nil
	case int32:
		return int64(v), nil
	case int64:
		return v, nil
	case uint:
		return unsigned(uint64(v)), nil
	case uint32:
		return int64(v), nil
	case uint64:
		return unsigned(v), nil
	case []any:
		if depth >= MaxDepth {
			return nil, ErrTooDeep
		}
		out := make(List, len(v))
		for i, element := range v {
			n, err := normalize(element, depth+1)
			if err != nil {
				return nil, fmt.Errorf("[%d]: %w", i, err)
			}
			out[i] = n
		}
		return out, nil
	case map[string]any:
		return normalizeMapValue(v, depth+1)
	}
	return nil, fmt.Errorf("%w: %T", ErrType, v)
}

// normalizeMapValue keeps a failed map from becoming a Value that is not nil.
func normalizeMapValue(m map[string]any, depth int) (Value, error) {
	out, err := normalizeMap(m, depth)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func number(f float64) (Value, error) {
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0):
		return nil, ErrNumber
	case math.Abs(f) < maxExact && f == math.Trunc(f):
		return int64(f), nil
	}
	return f, nil
}

func unsigned(u uint64) Value {
	if u < maxExact {
		return int64(u)
	}
	return u
}
