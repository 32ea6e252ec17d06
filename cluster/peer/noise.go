package peer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/time/rate"
)

// noise warns of connections that are refused, but of no more in a while than a person
// would read: anybody may come as often as they like, and a node that is set up wrong comes
// several times a second until somebody sees to it.
type noise struct {
	log   *slog.Logger
	limit *rate.Limiter

	mu     sync.Mutex
	last   map[string]time.Time // guarded by mu; when what was last told
	unsaid map[string]int       // guarded by mu; and how often it was not since
}

const (
	// repeatInterval is how often the same is told of the same host.
	repeatInterval = 10 * time.Second
	// maxNoted is how many such things are remembered: more come from strangers alone.
	maxNoted = 64
)

func newNoise(log *slog.Logger) *noise {
	return &noise{log: log, limit: rate.NewLimiter(1, 20), last: map[string]time.Time{}, unsaid: map[string]int{}}
}

// warn tells what happened about somebody, unless the same was told of late.
func (n *noise) warn(about, msg string, args ...any) {
	unsaid, ok := n.tell(about+" "+msg, time.Now())
	level := slog.LevelWarn
	if !ok {
		level = slog.LevelDebug
	}
	if unsaid > 0 {
		args = append(slices.Clip(args), "repeated", unsaid)
	}
	n.log.Log(context.Background(), level, msg, args...) //nolint:sloglint // the messages are constants of the callers
}

// tell reports whether something may be told now, and how often it was not since it last
// was.
func (n *noise) tell(what string, now time.Time) (unsaid int, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if last, told := n.last[what]; told && now.Sub(last) < repeatInterval {
		n.unsaid[what]++
		return 0, false
	}
	if !n.limit.AllowN(now, 1) {
		return 0, false
	}
	if len(n.last) >= maxNoted {
		clear(n.last)
		clear(n.unsaid)
	}
	unsaid = n.unsaid[what]
	delete(n.unsaid, what)
	n.last[what] = now
	return unsaid, true
}

// Why connections are refused, as the metric's label.
const (
	reasonStranger     = "stranger"      // it speaks something else
	reasonPlain        = "plain"         // it came without TLS
	reasonCertificate  = "certificate"   // its certificate is not good, or ours is not to it
	reasonOtherCluster = "other_cluster" //
	reasonVersion      = "version"       // of the protocol
	reasonSlow         = "slow"          // it did not introduce itself in time
	reasonFull         = "full"          // there are too many
	reasonGone         = "gone"          // it left before it had said anything
	reasonOther        = "other"
)

var reasons = []string{
	reasonStranger, reasonPlain, reasonCertificate, reasonOtherCluster, reasonVersion, reasonSlow, reasonFull, reasonGone, reasonOther,
}

// reasonOf sorts an error of a connection that others opened.
func reasonOf(err error) string {
	var (
		remote     *net.OpError
		unverified *tls.CertificateVerificationError
		invalid    x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, new(strangerError)):
		return reasonStranger
	case errors.Is(err, errPlain):
		return reasonPlain
	case errors.Is(err, errNoCertificate), errors.As(err, &unverified), errors.As(err, &invalid),
		// What the library has no type for: a client without, and the other side's complaint.
		err.Error() == "tls: client didn't provide a certificate", errors.As(err, &remote) && remote.Op == "remote error":
		return reasonCertificate
	case errors.Is(err, ErrOtherCluster):
		return reasonOtherCluster
	case errors.As(err, new(versionError)):
		return reasonVersion
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
		return reasonSlow
	case errors.Is(err, errFull):
		return reasonFull
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return reasonGone
	default:
		return reasonOther
	}
}
