package decision

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// A Selection is which decisions are logged.
type Selection string

// The selections. Each includes those before it.
const (
	Off     Selection = "off"
	Denied  Selection = "denied"  // and those that could not be made
	Sampled Selection = "sampled" // and one of Config.Sample of the others
	All     Selection = "all"
)

// Selections are all there are.
func Selections() []string {
	return []string{string(Off), string(Denied), string(Sampled), string(All)}
}

// The defaults of a Config.
const (
	DefaultSample = 100
	DefaultMaxMiB = 100
	DefaultKeep   = 10

	// Stdout is the File that stands for standard output.
	Stdout = "-"
)

// maxQueue and maxQueueBytes bound what waits to be written: some batches of the largest
// size, which take a fraction of a second to write.
const (
	maxQueue      = 32 << 10
	maxQueueBytes = 32 << 20
)

// Config is what a Log needs. The zero value counts and logs nothing.
type Config struct {
	// Select is which decisions are logged. Default: Off.
	Select Selection
	// Sample is how many granted decisions there are to each one that Sampled logs, on
	// average. Default: DefaultSample.
	Sample int
	// File is where events go; Stdout is standard output. Required, unless Select is Off.
	File string
	// Values adds the values of a question's context to the event, and not only their
	// names. They may be personal.
	Values bool

	// MaxMiB is how large the file grows before it is set aside and another begun.
	// Default: DefaultMaxMiB. Keep is how many files that were set aside stay there, and
	// KeepDays for how long; 0 removes none on that account.
	MaxMiB, Keep, KeepDays int

	// Node is the node's id, by which events say where they come from.
	Node string
	// Metrics receives the metrics. Default: none are kept.
	Metrics prometheus.Registerer
	// Log receives what keeps events from being written. Default: nothing is logged.
	Log *slog.Logger

	// Output takes the place of File, for those who read events in the same process.
	Output io.Writer
}

// logs reports whether any decision is logged.
func (c *Config) logs() bool { return c.Select != "" && c.Select != Off }

// Validate reports every fault that shows without touching the file.
func (c *Config) Validate() error {
	var faults []error
	if c.Select != "" && !slices.Contains(Selections(), string(c.Select)) {
		faults = append(faults, fmt.Errorf("decisions to log are %q, must be one of %s", c.Select, strings.Join(Selections(), ", ")))
	}
	if c.logs() && c.File == "" && c.Output == nil {
		faults = append(faults, errors.New("decisions are to be logged, but there is no file to log them to"))
	}
	for _, f := range []struct {
		name  string
		value int
	}{{"sample", c.Sample}, {"size", c.MaxMiB}, {"keep", c.Keep}, {"keep-days", c.KeepDays}} {
		if f.value < 0 {
			faults = append(faults, fmt.Errorf("decision log: %s is %d, must not be negative", f.name, f.value))
		}
	}
	return errors.Join(faults...)
}

func (c *Config) defaults() {
	if c.Sample == 0 {
		c.Sample = DefaultSample
	}
	if c.MaxMiB == 0 {
		c.MaxMiB = DefaultMaxMiB
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}
