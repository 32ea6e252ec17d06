//go:build !race

package rpc

import "testing"

// To be asked who one is costs a Check two allocations: the session, and its place in the
// context.
func TestIdentifiedCheckAllocatesTwiceMore(t *testing.T) {
	checks := directChecks(t)
	without := testing.AllocsPerRun(500, func() { checks["nobody is asked"].ask(t) })
	for name, check := range checks {
		if with := testing.AllocsPerRun(500, func() { check.ask(t) }); with > without+2 {
			t.Errorf("a Check with %s allocates %v times, %v times where nobody is asked", name, with, without)
		}
	}
}
