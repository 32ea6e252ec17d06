package server

import (
	"fmt"
	"time"
)

// faultPatience is how long a node that cannot go on takes to stop. A disk that hangs would
// keep it for ever, and what counts is that the process ends: all that was acknowledged is
// in the log already.
const faultPatience = 10 * time.Second

// within runs stop, and does not wait for it longer than a time.
func within(patience time.Duration, stop func() error) error {
	done := make(chan error, 1)
	go func() { done <- stop() }()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return fmt.Errorf("the node did not stop within %s, so it is left as it is; does the disk hang?", patience)
	}
}
