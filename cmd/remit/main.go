// Remit is an authorization service and its command line in one binary: it serves an
// access graph, changes it, and asks who may do what, and why.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
