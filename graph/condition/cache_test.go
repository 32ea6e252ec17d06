package condition

import (
	"bytes"
	"fmt"
	"testing"
)

func TestCacheIsBounded(t *testing.T) {
	c := cache[int]{most: 100}
	for i := range 25 {
		key := fmt.Appendf(nil, "%010d", i)
		c.put(key, i)
		if got, ok := c.get(key); !ok || got != i {
			t.Errorf("what was just put is %d, %t, want %d", got, ok, i)
		}
		c.put(key, -i)
		if got, _ := c.get(key); got != -i {
			t.Errorf("what was put again is %d, want %d", got, -i)
		}
		size := 0
		for k := range c.known {
			size += len(k)
		}
		if size > c.most || size != c.size {
			t.Fatalf("the cache holds %d bytes, and counts %d, want at most %d", size, c.size, c.most)
		}
	}
	if len(c.known) != 10 {
		t.Errorf("the cache holds %d in the end, want 10", len(c.known))
	}
	large := bytes.Repeat([]byte{'x'}, MaxContext+1)
	c.put(large, 1)
	if _, ok := c.get(large); ok {
		t.Error("the cache holds what is too large")
	}
}
