package conformance

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/openfga/openfga/cmd/run"
	"github.com/openfga/openfga/pkg/logger"
	"github.com/openfga/openfga/pkg/server/config"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Names of targets.
const (
	Remit   = "remit"
	OpenFGA = "openfga"
)

// authZENBaseURL is where AuthZEN's discovery says that a target is.
const authZENBaseURL = "https://pdp.example/base/"

// startTimeout is long enough for a machine that is busy compiling.
const startTimeout = 30 * time.Second

// A Target is a running server that speaks OpenFGA's API.
type Target struct {
	Name string
	URL  string // of its HTTP API, without a slash at the end
	Conn *grpc.ClientConn

	stop func() error
}

// Start runs what CONFORMANCE_TARGET names: remit if it is empty.
func Start(ctx context.Context) (*Target, error) {
	switch name := os.Getenv("CONFORMANCE_TARGET"); name {
	case "", Remit:
		return StartRemit(ctx, "")
	case OpenFGA:
		return StartOpenFGA(ctx, "")
	default:
		return nil, fmt.Errorf("CONFORMANCE_TARGET=%s is unknown; it is %s or %s", name, Remit, OpenFGA)
	}
}

// Close stops the server and waits for its end.
func (t *Target) Close() error {
	return errors.Join(t.Conn.Close(), t.stop())
}

// binary finds remit: REMIT_BIN, or bin/remit of the repository, from a directory of this
// module.
func binary() (string, error) {
	if path := os.Getenv("REMIT_BIN"); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("REMIT_BIN names no binary: %w", err)
		}
		return path, nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "Makefile")); err == nil {
			break
		} else if parent := filepath.Dir(dir); parent != dir {
			dir = parent
			continue
		}
		return "", errors.New("the repository's Makefile is in no directory above; give REMIT_BIN")
	}
	path := filepath.Join(dir, "bin", "remit")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s is missing: run `make build` first, or give REMIT_BIN", path)
	} else if err != nil {
		return "", err
	}
	return path, nil
}

// StartRemit runs the built remit with an empty data directory. gRPC goes to its port for
// gRPC alone, or with CONFORMANCE_GRPC=shared to the one that serves everything. With a key
// it asks callers for that.
func StartRemit(ctx context.Context, key string) (*Target, error) {
	path, err := binary()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "remit-conformance-")
	if err != nil {
		return nil, err
	}
	flags := []string{
		"serve", "--data-dir", filepath.Join(dir, "data"), "--log-level", "warn",
		"--addr", "127.0.0.1:0", "--grpc-addr", "127.0.0.1:0", "--authzen-base-url", authZENBaseURL,
		"--insecure", // as OpenFGA, which answers pages of any origin
	}
	if key != "" {
		file := filepath.Join(dir, "root.key")
		if err := os.WriteFile(file, []byte(key), 0o600); err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
		flags = append(flags, "--root-key-file", file)
	}
	cmd := exec.CommandContext(ctx, path, flags...)
	cmd.Env = withoutRemit(os.Environ())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	stop := func() error {
		err := cmd.Process.Signal(syscall.SIGTERM)
		watchdog := time.AfterFunc(startTimeout, func() { _ = cmd.Process.Kill() })
		defer watchdog.Stop()
		if ended := cmd.Wait(); ended != nil {
			err = errors.Join(err, fmt.Errorf("%s ended with %w:\n%s", path, ended, stderr.String()))
		}
		return errors.Join(err, os.RemoveAll(dir))
	}

	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s printed %q, then %w", path, line, err), stop())
	}
	addr, grpcAddr, ok := addresses(line)
	if !ok {
		return nil, errors.Join(fmt.Errorf("%s printed %q, which names no addresses", path, line), stop())
	}
	if os.Getenv("CONFORMANCE_GRPC") == "shared" {
		grpcAddr = addr
	}
	conn, err := dial(grpcAddr)
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	return &Target{Name: Remit, URL: "http://" + addr, Conn: conn, stop: stop}, nil
}

// withoutRemit leaves out what would configure the server.
func withoutRemit(environment []string) []string {
	var rest []string
	for _, variable := range environment {
		if !strings.HasPrefix(variable, "REMIT_") {
			rest = append(rest, variable)
		}
	}
	return rest
}

// addresses reads "remit serves http://HOST:PORT (gRPC also on HOST:PORT)".
func addresses(line string) (addr, grpcAddr string, ok bool) {
	_, rest, ok := strings.Cut(line, "http://")
	addr, rest, more := strings.Cut(rest, " ")
	_, rest, grpcOK := strings.Cut(rest, "gRPC also on ")
	return addr, strings.TrimRight(rest, ")\n"), ok && more && grpcOK
}

// throttling keeps OpenFGA from answers without bounds. Some cycles take it exponential
// time, and then it starts goroutines faster than a cancelled context can reach them, until
// the memory is gone. Few questions of a test need a hundred dispatches; from the 2000th on
// one follows per millisecond, and those that wait for theirs see that they are cancelled.
var throttling = config.DispatchThrottlingConfig{Enabled: true, Frequency: time.Millisecond, Threshold: 2000}

// StartOpenFGA runs OpenFGA with its store in memory, as its own command would: the same
// interceptors and the same HTTP gateway. Deadlines are long, so that a slow machine does
// not change an answer, and $expression conditions are enabled. With a key it asks callers for
// that.
func StartOpenFGA(ctx context.Context, key string) (*Target, error) {
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	grpcAddr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	c := config.DefaultConfig()
	c.HTTP.Addr, c.GRPC.Addr = addr, grpcAddr
	c.Metrics.Enabled = false
	if key != "" {
		c.Authn.Method, c.Authn.Keys = "preshared", []string{key}
	}
	c.Experimentals = []string{config.ExperimentalInlineExpressions, config.ExperimentalAuthZen}
	c.Authzen.BaseURL = authZENBaseURL
	c.RequestTimeout = 20 * time.Second
	c.HTTP.UpstreamTimeout = 20 * time.Second
	c.ListObjectsDeadline = 15 * time.Second
	c.ListUsersDeadline = 15 * time.Second
	c.CheckDispatchThrottling, c.ListObjectsDispatchThrottling, c.ListUsersDispatchThrottling = throttling, throttling, throttling

	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		server := &run.ServerContext{Logger: &logger.ZapLogger{Logger: zap.NewNop()}}
		ended <- server.Run(ctx, c)
	}()
	stop := func() error {
		cancel()
		return <-ended
	}
	conn, err := dial(grpcAddr)
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	t := &Target{Name: OpenFGA, URL: "http://" + addr, Conn: conn, stop: stop}
	if err := t.awaitHealth(ctx); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// awaitHealth returns once the HTTP API answers.
func (t *Target) awaitHealth(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, t.URL+"/healthz", nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w", t.Name, errors.Join(err, ctx.Err()))
		}
	}
}

// freeAddress is one that nobody listens on; OpenFGA must be told its ports. It is below the
// ports that systems dial from (Linux from 32768): of those one can be taken before it is listened
// on, even by who dials it, and so meets himself.
func freeAddress() (addr string, err error) {
	for range 100 {
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20_000+rand.N(12_000))); err == nil {
			return l.Addr().String(), l.Close()
		}
	}
	return "", err
}

func dial(addr string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
}
