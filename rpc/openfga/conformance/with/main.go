// With runs a command while a server runs, and ends as the command does.
//
//	go run ./with node js/session.mjs
//
// The command finds the server at the URL in FGA_API_URL and its name in
// CONFORMANCE_TARGET, which chooses the server as package conformance describes.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/remit-authz/remit/rpc/openfga/conformance"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:forbidigo // a main of its own
	}
}

func run(ctx context.Context, command []string) (err error) {
	if len(command) == 0 {
		return errors.New("usage: with COMMAND [ARGUMENT ...]")
	}
	target, err := conformance.Start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "FGA_API_URL="+target.URL, "CONFORMANCE_TARGET="+target.Name)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", command[0], err)
	}
	return nil
}
