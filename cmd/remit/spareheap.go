package main

import (
	"os"
	"runtime"
)

// spareHeap is how much memory a server has that it never touches, and that so is none of
// the machine's. The collector of garbage runs when as much has been allocated as was left
// the last time, and this counts as left: a server with a small index would be collecting
// dozens of times a second under load, and whoever calls it would wait for that.
const spareHeap = 64 << 20

// keepSpareHeap has the process keep it until drop is called. Who sets GOGC or GOMEMLIMIT in
// the environment has decided when the collector is to run.
func keepSpareHeap() (drop func()) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return func() {}
	}
	spare := make([]byte, spareHeap)
	return func() { runtime.KeepAlive(spare) }
}
