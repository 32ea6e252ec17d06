package value

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var record = flag.Bool("record", false, "write golden bytes that do not exist yet")

// golden are values whose bytes must never change: they are in stores.
var golden = []struct {
	name string
	m    Map
}{
	{"empty", Map{}},
	{"scalars", Map{"nil": nil, "false": false, "true": true}},
	{"ints", Map{
		"zero": int64(0), "one": int64(1), "minus": int64(-1), "many": int64(300),
		"min": int64(math.MinInt64), "max": int64(math.MaxInt64),
	}},
	{"uints", Map{"zero": uint64(0), "one": uint64(1), "max": uint64(math.MaxUint64)}},
	{"floats", Map{
		"zero": 0.0, "one": 1.0, "tenth": 0.1, "minus": -2.5,
		"least": math.SmallestNonzeroFloat64, "max": math.MaxFloat64,
	}},
	{"strings", Map{"": "", "a": "b", "é": "日本\x00", "long": strings.Repeat("x", 200)}},
	{"nested", Map{
		"list":  List{int64(1), uint64(1), 1.0, "1", nil, true, List{}, Map{}},
		"map":   Map{"b": Map{"a": List{List{List{}}}}, "a": int64(7)},
		"empty": Map{"list": List{}, "map": Map{}},
	}},
	{"shift", Map{
		"zone":     "Europe/Paris",
		"windows":  Map{"monday": List{Map{"start": "22:00", "end": "02:30"}}},
		"holidays": List{"2026-12-25"},
	}},
}

func TestGoldenBytes(t *testing.T) {
	for _, g := range golden {
		t.Run(g.name, func(t *testing.T) {
			got, err := Encode(g.m)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", g.name+".hex")
			if *record {
				if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
					if err := os.WriteFile(path, []byte(hex.EncodeToString(got)+"\n"), 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			want, err := hex.DecodeString(strings.TrimSpace(string(text)))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("Encode = %x, want %x", got, want)
			}
			m, err := Decode(want)
			if err != nil {
				t.Fatal(err)
			}
			if !Equal(m, g.m) {
				t.Errorf("Decode = %v, want %v", m, g.m)
			}
		})
	}
}

func TestEncodeRefuses(t *testing.T) {
	deep := func(n int) Value {
		var v Value = List{}
		for range n - 1 {
			v = List{v}
		}
		return v
	}
	for _, test := range []struct {
		name string
		m    Map
		want error
	}{
		{"NaN", Map{"a": math.NaN()}, ErrNumber},
		{"infinity", Map{"a": List{math.Inf(-1)}}, ErrNumber},
		{"a Go int", Map{"a": 1}, ErrType},
		{"bytes", Map{"a": []byte("x")}, ErrType},
		{"a broken string", Map{"a": "\xff"}, ErrText},
		{"a broken key", Map{"\xff": nil}, ErrText},
		{"as deep as may be", Map{"a": deep(MaxDepth - 1)}, nil},
		{"too deep", Map{"a": deep(MaxDepth)}, ErrTooDeep},
		{"maps too deep", func() Map {
			m := Map{}
			for range MaxDepth {
				m = Map{"a": m}
			}
			return m
		}(), ErrTooDeep},
		{"too large", Map{"a": strings.Repeat("x", MaxSize)}, ErrTooLarge},
		{"too many", Map{"a": make(List, MaxSize)}, ErrTooLarge},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := Encode(test.m); !errors.Is(err, test.want) {
				t.Errorf("Encode = %v, want %v", err, test.want)
			}
			prefix := []byte("before")
			if got, err := Append(prefix, test.m); err != nil && !bytes.Equal(got, prefix) {
				t.Errorf("Append left %q, want what was there", got)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, test := range []struct {
		name, bytes string
		want        error
	}{
		{"nothing", "", ErrEncoding},
		{"another version", "0200", ErrEncoding},
		{"no count", "01", ErrEncoding},
		{"bytes behind", "010000", ErrEncoding},
		{"a long varint", "018000", ErrEncoding},
		{"an endless varint", "01ffffffffffffffffffffff", ErrEncoding},
		{"more entries than bytes", "01ff7f", ErrEncoding},
		{"unsorted keys", "0102" + "016200" + "016100", ErrEncoding},
		{"a key twice", "0102" + "016100" + "016100", ErrEncoding},
		{"the empty key twice", "0102" + "0000" + "0000", ErrEncoding},
		{"a broken key", "010101ff00", ErrEncoding},
		{"a broken string", "0101016106" + "01ff", ErrEncoding},
		{"a long string's end", "0101016106" + "0561", ErrEncoding},
		{"an unknown tag", "0101016109", ErrEncoding},
		{"a long int", "0101016103" + "8000", ErrEncoding},
		{"minus zero", "0101016105" + "8000000000000000", ErrEncoding},
		{"NaN", "0101016105" + "7ff8000000000001", ErrEncoding},
		{"infinity", "0101016105" + "7ff0000000000000", ErrEncoding},
		{"half a float", "0101016105" + "3ff00000", ErrEncoding},
		{"a list cut short", "0101016107" + "0200", ErrEncoding},
		{"too deep", "01010161" + strings.Repeat("0701", MaxDepth) + "00", ErrTooDeep},
		{"too large", "01" + strings.Repeat("00", MaxSize), ErrTooLarge},
	} {
		t.Run(test.name, func(t *testing.T) {
			b, err := hex.DecodeString(test.bytes)
			if err != nil {
				t.Fatal(err)
			}
			if m, err := Decode(b); !errors.Is(err, test.want) {
				t.Errorf("Decode = %v, %v, want %v", m, err, test.want)
			}
		})
	}
}

func TestMinusZeroIsZero(t *testing.T) {
	a, err := Encode(Map{"a": math.Copysign(0, -1)})
	if err != nil {
		t.Fatal(err)
	}
	b, err := Encode(Map{"a": 0.0})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Errorf("Encode(-0.0) = %x, want %x", a, b)
	}
}

func TestEveryValueHasItsOwnBytes(t *testing.T) {
	values := []Value{
		nil, false, true, int64(0), int64(1), uint64(0), uint64(1), 0.0, 1.0, "", "0", "1",
		List{},
		List{nil},
		List{List{}},
		Map{},
		Map{"": nil},
		Map{"a": nil},
		Map{"a": false},
		List{Map{}},
	}
	for i, a := range values {
		for j, b := range values {
			x, err := Encode(Map{"v": a})
			if err != nil {
				t.Fatal(err)
			}
			y, err := Encode(Map{"v": b})
			if err != nil {
				t.Fatal(err)
			}
			if Equal(a, b) != (i == j) || bytes.Equal(x, y) != (i == j) {
				t.Errorf("Equal(%#v, %#v) = %t, same bytes = %t, want %t", a, b, Equal(a, b), bytes.Equal(x, y), i == j)
			}
		}
	}
	if Equal(1, 1) || Equal([]byte{}, []byte{}) {
		t.Error("Equal holds for what is no value")
	}
}

func FuzzDecode(f *testing.F) {
	for _, g := range golden {
		b, err := Encode(g.m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err != nil {
			return
		}
		again, err := Encode(m)
		if err != nil {
			t.Fatalf("Encode of what %x decodes to: %v", b, err)
		}
		if !bytes.Equal(again, b) {
			t.Errorf("%x decodes to what encodes to %x", b, again)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	m := golden[len(golden)-1].m
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = Append(buf[:0], m)
	}
}

func BenchmarkDecode(b *testing.B) {
	encoded, err := Encode(golden[len(golden)-1].m)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(encoded); err != nil {
			b.Fatal(err)
		}
	}
}
