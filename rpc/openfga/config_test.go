package openfga

import (
	"strings"
	"testing"
	"time"
)

func TestConfigReportsEveryFault(t *testing.T) {
	c := Config{MaxDepth: -1, MaxModelBytes: -1, ChangelogHorizonOffset: -time.Second, ListUsersDeadline: time.Minute}
	err := c.Validate()
	for _, want := range []string{"MaxDepth", "MaxModelBytes", "ChangelogHorizonOffset", "ListUsersDeadline is 1m0s, must not exceed RequestTimeout, 3s"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate() = %v, want a fault of %s", err, want)
		}
	}
	if _, err := New(nil, nil, c); err == nil {
		t.Error("New takes a configuration that is not valid")
	}
}

func TestConfigDefaultsAreValid(t *testing.T) {
	for name, c := range map[string]Config{
		"zero":                 {},
		"unlimited":            {ListObjectsMaxResults: -1, ListUsersMaxResults: -1, ListObjectsDeadline: -1, ListUsersDeadline: -1, RequestTimeout: -1},
		"no bound of requests": {RequestTimeout: -1, ListObjectsDeadline: time.Hour},
	} {
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	var c Config
	c.defaults()
	if c.MaxDepth != 25 || c.MaxTuplesPerWrite != 100 || c.MaxChecksPerBatch != 50 || c.ListObjectsMaxResults != 1000 ||
		c.RequestTimeout != 3*time.Second || c.MaxMessageBytes != 616448 || c.MaxModelBytes != 262144 || c.Log == nil {
		t.Errorf("the defaults are %+v", c)
	}
}
