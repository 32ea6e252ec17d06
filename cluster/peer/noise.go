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
	"syscall"
	"time"

	"golang.org/x/time/rate"

	"github.com/remit-authz/remit/cluster/seldom"
)

// noise warns of connections that are refused, but of no more in a while than a person
// would read: anybody may come as often as they like, and a node that is set up wrong comes
// several times a second until somebody sees to it.
type noise struct {
	log  *slog.Logger
	told seldom.Memory
}

func newNoise(log *slog.Logger) *noise {
	limit := rate.NewLimiter(1, 20) // whoever it is about: strangers are many
	return &noise{log: log, told: seldom.Memory{Limit: func(now time.Time) bool { return limit.AllowN(now, 1) }}}
}

// warn tells what happened about somebody, unless the same was told of late.
func (n *noise) warn(about, msg string, args ...any) {
	unsaid, ok := n.told.Tell(about+" "+msg, time.Now())
	level := slog.LevelWarn
	if !ok {
		level = slog.LevelDebug
	}
	if unsaid > 0 {
		args = append(slices.Clip(args), "repeated", unsaid)
	}
	n.log.Log(context.Background(), level, msg, args...) //nolint:sloglint // the messages are constants of the callers
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
