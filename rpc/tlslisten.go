package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	"google.golang.org/grpc/credentials"
)

// handshakeTimeout is how long a connection may take to become a secure one.
const handshakeTimeout = 10 * time.Second

// errPlain says that a connection began with something else than TLS.
var errPlain = errors.New("it came without TLS")

// Listen hands over connections of a port once they are secure, for protocols in the order
// of preference. Connections that are not, or whose client is not known, are told so,
// logged, counted, and never seen by Accept. See Server for lenient.
func (c *Certificates) Listen(port net.Listener, lenient bool, protocols ...string) net.Listener {
	return &tlsListener{
		Listener: port, certificates: c, config: c.Server(lenient, protocols...),
		accepted: make(chan acceptedConn), closed: make(chan struct{}),
	}
}

// A tlsListener is a port whose connections are secure.
type tlsListener struct {
	net.Listener
	certificates *Certificates
	config       *tls.Config

	accepted    chan acceptedConn
	start, stop sync.Once
	closed      chan struct{}
	working     sync.WaitGroup // the loop of accept, and a handshake each
}

type acceptedConn struct {
	conn net.Conn
	err  error
}

// Accept waits for the next secure connection. Nobody shakes hands before it is first
// called.
func (l *tlsListener) Accept() (net.Conn, error) {
	l.start.Do(func() { l.working.Go(l.accept) })
	select {
	case a := <-l.accepted:
		return a.conn, a.err
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close closes the port and every connection that has not been handed over.
func (l *tlsListener) Close() error {
	err := l.Listener.Close()
	l.stop.Do(func() { close(l.closed) })
	l.start.Do(func() {}) // it will not begin any more
	l.working.Wait()
	return err
}

// accept shakes hands with each connection by itself: one that dawdles holds up no other.
func (l *tlsListener) accept() {
	for {
		conn, err := l.Listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			if !l.handOver(acceptedConn{err: err}) { // the server waits, and asks again
				return
			}
		default:
			l.working.Go(func() { l.shakeHands(conn) })
		}
	}
}

// handOver gives a connection to Accept, unless nobody calls it any more.
func (l *tlsListener) handOver(a acceptedConn) bool {
	select {
	case l.accepted <- a:
		return true
	case <-l.closed:
		return false
	}
}

func (l *tlsListener) shakeHands(conn net.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
	defer cancel()
	l.working.Go(func() {
		select {
		case <-l.closed:
			cancel()
		case <-ctx.Done():
		}
	})
	plain := &greeting{Conn: conn}
	secure := tls.Server(plain, l.config)
	err := secure.HandshakeContext(ctx)
	if err == nil && l.handOver(acceptedConn{conn: secure}) {
		return
	}
	if err != nil {
		l.certificates.refuse(conn.RemoteAddr(), err)
		linger(conn)
	}
	_ = conn.Close()
}

// linger lets a client read why it is refused. A connection that is closed while something
// of it is unread is cut off, and what was said last is lost.
func linger(conn net.Conn) {
	half, ok := conn.(interface{ CloseWrite() error })
	if ok && conn.SetDeadline(time.Now().Add(time.Second)) == nil && half.CloseWrite() == nil {
		_, _ = io.CopyN(io.Discard, conn, 64<<10)
	}
}

// A greeting is a connection whose first bytes are looked at: they tell who expects no TLS.
type greeting struct {
	net.Conn
	greeted bool
}

// recordHandshake is the first byte of every client that speaks TLS.
const recordHandshake = 0x16

// Read reads from the connection.
func (g *greeting) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if g.greeted || n == 0 {
		return n, err
	}
	g.greeted = true
	if p[0] == recordHandshake {
		return n, err
	}
	g.explain()
	return 0, errPlain
}

// plainText is what clients without TLS are told.
const plainText = "this port speaks TLS alone: call it with https, or with TLS credentials"

// explain tells a client what is wanted. One of HTTP/2 says that it was answered in
// HTTP/1.1, which is as much as it can be told before it is greeted in its own protocol.
func (g *greeting) explain() {
	_ = g.SetDeadline(time.Now().Add(time.Second))
	answer := fmt.Sprintf("HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s\n",
		len(plainText)+1, plainText)
	_, _ = g.Write([]byte(answer)) // whoever has gone cannot be told
}

// newRefusedConnections counts connections that did not become secure.
func newRefusedConnections() *prometheus.CounterVec {
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "remit_tls_refused_connections_total",
		Help: "Connections that did not become secure: they came without TLS, with a client's certificate that is not good, or failed otherwise.",
	}, []string{"kind"})
	for _, kind := range []string{refusedPlain, refusedCertificate, refusedOther} {
		refused.WithLabelValues(kind)
	}
	return refused
}

// The kinds of connections that are refused.
const (
	refusedPlain       = "plain"
	refusedCertificate = "certificate"
	refusedOther       = "other"
)

// refuse counts and logs a connection that did not become secure.
func (c *Certificates) refuse(from net.Addr, err error) {
	var unverified *tls.CertificateVerificationError
	switch {
	case errors.Is(err, errPlain):
		c.refused.WithLabelValues(refusedPlain).Inc()
		c.noise.log.Debug("connection refused", "from", from.String(), "error", err)
	case errors.As(err, &unverified) && len(unverified.UnverifiedCertificates) > 0:
		c.refused.WithLabelValues(refusedCertificate).Inc()
		leaf := unverified.UnverifiedCertificates[0]
		c.noise.refused("from", from.String(), "error", unverified.Err, "subject", cut(leaf.Subject.String()),
			"issuer", cut(leaf.Issuer.String()), "not_after", leaf.NotAfter)
	case err.Error() == "tls: client didn't provide a certificate":
		c.refused.WithLabelValues(refusedCertificate).Inc()
		c.noise.refused("from", from.String(), "error", "the client has shown none")
	default:
		c.refused.WithLabelValues(refusedOther).Inc()
		c.noise.log.Debug("connection refused", "from", from.String(), "error", err)
	}
}

// cut bounds what a stranger can put into a line of the log.
func cut(text string) string {
	const most = 256
	return text[:min(len(text), most)]
}

// A handshakeLog warns of clients that are refused, but of no more in a while than a
// person would read: anybody may come as often as they like.
type handshakeLog struct {
	log   *slog.Logger
	limit *rate.Limiter
}

func newHandshakeLog(log *slog.Logger) handshakeLog {
	return handshakeLog{log: log, limit: rate.NewLimiter(1, 20)}
}

func (l *handshakeLog) refused(args ...any) {
	if l.limit.Allow() {
		l.log.Warn("client certificate refused", args...)
	}
}

// shakenHands are credentials for grpc-go of connections that are secure when they come.
type shakenHands struct {
	credentials.TransportCredentials
}

func newShakenHands() credentials.TransportCredentials {
	return shakenHands{credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12})}
}

// ServerHandshake says who is at the other end.
func (shakenHands) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secure, ok := conn.(*tls.Conn)
	if !ok {
		return nil, nil, errPlain
	}
	return conn, credentials.TLSInfo{
		State:          secure.ConnectionState(),
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}, nil
}
