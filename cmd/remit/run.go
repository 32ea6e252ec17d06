package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// The exit statuses, as grep has them: a script can tell "no" from "do not know".
const (
	exitYes   = 0 // done; or the answer is yes
	exitNo    = 1 // tests failed; with --exit-code, the answer is no
	exitError = 2 // it could not be done, or not be answered
)

// errNo ends a command with exitNo after it has printed its answer.
var errNo = errors.New("the answer is no")

// errTold ends a command with exitError after it has told what is wrong.
var errTold = errors.New("told already")

// run is the whole program but for the process around it.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, release := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer release()
	// After the first signal the next one has its own effect again and ends the process
	// at once, however long an orderly stop takes.
	defer context.AfterFunc(ctx, release)()

	out := &stream{w: stdout}
	a := &app{stdin: stdin, stdout: out, stderr: stderr, interrupted: func() bool { return ctx.Err() != nil }}
	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if out.err != nil && (err == nil || errors.Is(err, errNo)) {
		err = fmt.Errorf("write the output: %w", out.err)
	}
	switch {
	case err == nil:
		return exitYes
	case errors.Is(err, errNo):
		return exitNo
	case errors.Is(err, errTold), errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return exitError // or it was a signal, and whoever sent it knows why
	}
	printLine(stderr, a.errorText(err))
	return exitError
}
