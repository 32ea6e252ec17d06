package value

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"testing"
)

func TestNormalize(t *testing.T) {
	const big = 1 << 53
	for _, test := range []struct {
		name string
		in   any
		want Value
	}{
		{"a whole double", 3.0, int64(3)},
		{"minus zero", math.Copysign(0, -1), int64(0)},
		{"a fraction", 3.5, 3.5},
		{"the last exact double", float64(big - 1), int64(big - 1)},
		{"the first inexact one", float64(big), float64(big)},
		{"a negative one", float64(-big), float64(-big)},
		{"a JSON int", json.Number("3"), int64(3)},
		{"a JSON double", json.Number("3.0"), int64(3)},
		{"a JSON exponent", json.Number("3e0"), int64(3)},
		{"a JSON int beyond doubles", json.Number("9007199254740993"), float64(big)},
		{"a Go int", 3, int64(3)},
		{"an int64 beyond doubles", int64(big + 1), int64(big + 1)},
		{"a uint64", uint64(3), int64(3)},
		{"a uint64 beyond doubles", uint64(big + 1), uint64(big + 1)},
		{"a uint32", uint32(3), int64(3)},
		{"a float32", float32(0.5), 0.5},
		{"a list", []any{1.0, "a", nil, true}, List{int64(1), "a", nil, true}},
		{"a map", map[string]any{"a": 1.0}, Map{"a": int64(1)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Normalize(map[string]any{"v": test.in})
			if err != nil {
				t.Fatal(err)
			}
			if !Equal(got["v"], test.want) {
				t.Errorf("Normalize(%#v) = %#v, want %#v", test.in, got["v"], test.want)
			}
		})
	}
	for _, test := range []struct {
		name string
		in   any
		want error
	}{
		{"NaN", math.NaN(), ErrNumber},
		{"infinity", math.Inf(1), ErrNumber},
		{"a JSON number beyond all", json.Number("1e999"), ErrNumber},
		{"a broken string", "\xff", ErrText},
		{"a broken key", map[string]any{"\xff": nil}, ErrText},
		{"a channel", make(chan int), ErrType},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := Normalize(map[string]any{"v": test.in}); !errors.Is(err, test.want) {
				t.Errorf("Normalize = %v, want %v", err, test.want)
			}
		})
	}
}

func TestRoutesOfJSONAgree(t *testing.T) {
	const text = `{"a": 1, "b": 1.0, "c": [1e2, -0.0, 9007199254740993, 0.1, 18446744073709551615], "d": {"e": null}}`
	direct, err := ParseJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	// google.protobuf.Struct keeps every number as a double.
	var doubles map[string]any
	if err := json.Unmarshal([]byte(text), &doubles); err != nil {
		t.Fatal(err)
	}
	viaStruct, err := Normalize(doubles)
	if err != nil {
		t.Fatal(err)
	}
	a, err := Encode(direct)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Encode(viaStruct)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Errorf("by json.Number %v, by doubles %v", direct, viaStruct)
	}
}

func TestParseJSONRefuses(t *testing.T) {
	for _, text := range []string{``, `[]`, `1`, `{"a":1} x`, `{"a":1}{}`, `{"a":1e999}`, `{`} {
		if m, err := ParseJSON([]byte(text)); err == nil {
			t.Errorf("ParseJSON(%s) = %v, want an error", text, m)
		}
	}
}

func FuzzParseJSON(f *testing.F) {
	f.Add([]byte(`{"a": [1, 1.5, "x", null, true, {"b": -0.0}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseJSON(data)
		if err != nil {
			return
		}
		encoded, err := Encode(m)
		if errors.Is(err, ErrTooLarge) {
			return
		}
		if err != nil {
			t.Fatalf("Encode(%v): %v", m, err)
		}
		back, err := Decode(encoded)
		if err != nil || !Equal(back, m) {
			t.Errorf("Decode(Encode(%v)) = %v, %v", m, back, err)
		}
		again, err := Normalize(m)
		if err != nil || !Equal(again, m) {
			t.Errorf("Normalize(%v) = %v, %v, want no change", m, again, err)
		}
	})
}
