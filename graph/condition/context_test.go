package condition

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/remit-authz/remit/graph/value"
)

func TestContext(t *testing.T) {
	fields := value.Map{"a": int64(1), "b": value.List{"x"}}
	c := mustContext(t, fields)
	back, err := DecodeContext(c.Encoded())
	if err != nil {
		t.Fatal(err)
	}
	if !value.Equal(back.Fields(), fields) || !bytes.Equal(back.Encoded(), c.Encoded()) {
		t.Errorf("DecodeContext = %v, want %v", back.Fields(), fields)
	}
}

func TestEmptyContextIsNil(t *testing.T) {
	empty, err := value.Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, encoded := range [][]byte{nil, {}, empty} {
		if c, err := DecodeContext(encoded); c != nil || err != nil {
			t.Errorf("DecodeContext(%x) = %v, %v, want nil", encoded, c, err)
		}
	}
	for _, fields := range []value.Map{nil, {}} {
		if c, err := NewContext(fields); c != nil || err != nil {
			t.Errorf("NewContext(%v) = %v, %v, want nil", fields, c, err)
		}
	}
	var c *Context
	if c.Encoded() != nil || c.Fields() != nil {
		t.Errorf("a nil context holds %x, %v, want nothing", c.Encoded(), c.Fields())
	}
}

func TestContextRefuses(t *testing.T) {
	if _, err := NewContext(value.Map{"a": strings.Repeat("x", MaxContext)}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("NewContext of too much = %v, want ErrTooLarge", err)
	}
	if _, err := DecodeContext(make([]byte, MaxContext+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("DecodeContext of too much = %v, want ErrTooLarge", err)
	}
	if _, err := NewContext(value.Map{"a": math.NaN()}); !errors.Is(err, value.ErrNumber) {
		t.Errorf("NewContext of NaN = %v, want value.ErrNumber", err)
	}
	if _, err := DecodeContext([]byte{9}); !errors.Is(err, value.ErrEncoding) {
		t.Errorf("DecodeContext of another version = %v, want value.ErrEncoding", err)
	}
}

func TestContextServesSeveralConditions(t *testing.T) {
	c := mustContext(t, value.Map{"a": "1"})
	text, number := mustCompile(t, "a == '1'", "a string"), mustCompile(t, "a == 1", "a int")
	for range 3 {
		for _, condition := range []*Condition{text, number} {
			if held, err := condition.Evaluate(c, nil); !held || err != nil {
				t.Errorf("Evaluate(%s) = %t, %v, want true", condition.Expression(), held, err)
			}
		}
	}
}
