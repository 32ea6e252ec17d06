package main

import (
	"os"
	"runtime"
)

// leaveProcessors makes the process use half of its processors, until back is called. A node
// that catches up has an index to build, which takes what it gets of every processor for the
// garbage that this makes; nobody waits for it, and others on its machine may be serving.
func leaveProcessors() (back func()) {
	all := runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS((all + 1) / 2)
	return func() {
		if os.Getenv("GOMAXPROCS") == "" {
			runtime.SetDefaultGOMAXPROCS() // which follows the limits of a container
		} else {
			runtime.GOMAXPROCS(all)
		}
	}
}
