package cluster

import (
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// An outbox stands between Raft and the transport on the way out, as an inbox does on the
// way in. It can fall silent, so that others elect a leader whose log can be written; and
// it sees how far members are that get a snapshot.
type outbox struct {
	Transport
	silent  atomic.Bool
	fetches *fetches
	metrics *metrics
}

// errSilent is what Raft's messages to members meet while this node is silent.
var errSilent = errors.New("this node leads and cannot write its log, so it lets others elect a leader")

// AppendEntries implements raft.Transport. Heartbeats come this way, too.
func (o *outbox) AppendEntries(id raft.ServerID, to raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if o.silent.Load() {
		return errSilent
	}
	err := o.Transport.AppendEntries(id, to, args, resp)
	if n := len(args.Entries); err == nil && resp.Success && n > 0 {
		o.fetches.reached(id, args.Entries[n-1].Index)
	}
	return err
}

// AppendEntriesPipeline implements raft.Transport. A follower's disk that stalls would
// wedge a pipeline, and it would not fall silent.
func (o *outbox) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

// InstallSnapshot implements raft.Transport.
func (o *outbox) InstallSnapshot(id raft.ServerID, to raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	if o.silent.Load() {
		return errSilent
	}
	start := time.Now()
	o.fetches.begin(id, args.LastLogIndex)
	err := o.Transport.InstallSnapshot(id, to, args, resp, data)
	o.fetches.end(id)
	o.metrics.snapshotSent(err == nil && resp.Success, start)
	return err
}
