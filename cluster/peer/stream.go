package peer

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/remit-authz/remit/cluster"
)

const (
	// raftTimeout is how long Raft waits for the next bytes of an answer, or for room for
	// those of a message, not for the whole: one of 4 MiB may take its time on a slow link,
	// where a limit for it would have Raft begin anew for ever. Longer than the usual
	// troubles of a disk, since the other side answers when it has synced.
	raftTimeout = 5 * time.Second
	// timeoutScale is for how many bytes of a snapshot Raft waits once raftTimeout: it is
	// answered when it is restored, and 3 MB a second should be possible anywhere.
	timeoutScale = 16 << 20
	// stall is how long a message or a snapshot may stand still on its way. A node that
	// gets one does nothing else, it does not even vote.
	stall = 15 * time.Second
	// pooled is how many connections to a node Raft keeps: for heartbeats, entries and votes.
	pooled = 3
)

// raftConfig is how Raft uses our connections.
func (p *Port) raftConfig() *raft.NetworkTransportConfig {
	return &raft.NetworkTransportConfig{
		Stream:  layer{p},
		MaxPool: pooled,
		Timeout: raftTimeout,
		// A disk that stalls on a follower would wedge a pipeline: with 1 Raft is told that
		// there is none, and sends one message at a time.
		MaxRPCsInFlight:         1,
		MsgpackUseNewTimeFormat: true, // irreversible, see cluster/DESIGN.md
		// It tells of connections that end, as an error. What that means others say.
		Logger: cluster.RaftLog(slog.New(debugging{p.cfg.Log.Handler()})).Named("raft.net"),
	}
}

// debugging makes every message one for debugging.
type debugging struct{ slog.Handler }

// Enabled implements slog.Handler.
func (d debugging) Enabled(ctx context.Context, _ slog.Level) bool {
	return d.Handler.Enabled(ctx, slog.LevelDebug)
}

// Handle implements slog.Handler.
func (d debugging) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelDebug
	return d.Handler.Handle(ctx, r)
}

// A layer is a Port as Raft's transport sees it.
type layer struct{ port *Port }

// Accept implements net.Listener.
func (l layer) Accept() (net.Conn, error) {
	select {
	case s := <-l.port.streams:
		return s, nil
	case <-l.port.run.Done():
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l layer) Close() error { return l.port.listener.Close() }

// Addr implements net.Listener: it is what other nodes are told.
func (l layer) Addr() net.Addr { return advertised(l.port.cfg.Advertise) }

// Dial implements raft.StreamLayer.
func (l layer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(l.port.run, timeout)
	defer cancel()
	c, err := l.port.dial(ctx, string(address), carriesRaft)
	if err != nil {
		return nil, err
	}
	return &outgoing{conn: c, to: address, patience: timeout}, nil
}

// An advertised address is one as other nodes know it; its host may be a name.
type advertised string

// Network implements net.Addr.
func (advertised) Network() string { return "tcp" }

// String implements net.Addr.
func (a advertised) String() string { return string(a) }

// An incoming stream brings Raft's messages from a node. Raft has no limit for their
// arrival, and while a snapshot arrives it does nothing else.
type incoming struct {
	*conn
	begun    bool // a message has begun to arrive, and was not answered yet
	deadline bool // there is one for reading
	once     sync.Once
	done     func() // Raft has let go of it
}

// Read waits for a message for as long as it takes, but not for the rest of one.
func (s *incoming) Read(b []byte) (int, error) {
	if s.begun {
		s.deadline = true
		if err := s.SetReadDeadline(time.Now().Add(stall)); err != nil {
			return 0, err
		}
	}
	n, err := s.conn.Read(b)
	s.begun = s.begun || n > 0
	return n, err
}

// Write sends an answer: the message before it has arrived.
func (s *incoming) Write(b []byte) (int, error) {
	if s.begun = false; s.deadline {
		s.deadline = false
		if err := s.SetReadDeadline(time.Time{}); err != nil {
			return 0, err
		}
	}
	if err := s.SetWriteDeadline(time.Now().Add(stall)); err != nil {
		return 0, err
	}
	return s.conn.Write(b)
}

// Close is called by Raft's transport when it uses the stream no more.
func (s *incoming) Close() error {
	defer s.once.Do(s.done)
	return s.conn.Close()
}

// An outgoing stream carries Raft's messages to a node. Raft keeps it for later, when the
// other side may have gone, or this one may have closed it: then the next message goes over
// a new connection. Otherwise it would be lost, and what is lost may be the one vote that
// decides.
type outgoing struct {
	*conn
	to       raft.ServerAddress
	patience time.Duration // how long Raft wants to wait, for the next bytes
	used     bool          // a message was sent
}

// chunk is what must find room within a deadline: small enough for any link.
const chunk = 64 << 10

// SetDeadline says how long to wait from then on. Raft's transport calls it at the
// beginning of every message, and nowhere else.
func (s *outgoing) SetDeadline(t time.Time) error {
	s.patience = time.Until(t)
	err := s.conn.SetDeadline(t)
	if s.used && (err != nil || !quiet(s.raw)) {
		ctx, cancel := context.WithTimeout(s.port.run, s.patience)
		defer cancel()
		c, e := s.port.dial(ctx, string(s.to), carriesRaft)
		if e != nil {
			return e // Raft meets the end of the old one
		}
		_ = s.Close()
		s.conn = c
		err = c.SetDeadline(t)
	}
	s.used = true
	return err
}

// Read waits for patience, and not for the rest of it.
func (s *outgoing) Read(b []byte) (int, error) {
	if err := s.SetReadDeadline(time.Now().Add(s.patience)); err != nil {
		return 0, err
	}
	return s.conn.Read(b)
}

// Write writes as long as there is progress.
func (s *outgoing) Write(b []byte) (n int, err error) {
	for first := true; first || n < len(b); first = false {
		if err := s.SetWriteDeadline(time.Now().Add(min(s.patience, stall))); err != nil {
			return n, err
		}
		m, err := s.conn.Write(b[n:min(len(b), n+chunk)])
		if n += m; err != nil {
			return n, err
		}
	}
	return n, nil
}
