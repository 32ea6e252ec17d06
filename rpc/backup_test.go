package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectinprocess"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

func (r *rig) backups() remitv1connect.BackupServiceClient {
	return remitv1connect.NewBackupServiceClient(connect.NewClient(connectinprocess.New(r.server)))
}

// save saves a backup as a client does, and tells how many bytes of files were sent.
func (r *rig) save(d *fsm.BackupDir) (m *fsm.BackupManifest, sent uint64) {
	r.t.Helper()
	w, err := d.Begin(false)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() {
		if err := w.Abort(); err != nil {
			r.t.Error(err)
		}
	}()
	req := &remitv1.SaveRequest{}
	for _, sum := range w.Have() {
		req.Have = append(req.Have, sum[:])
	}
	stream, err := r.backups().Save(r.t.Context(), req)
	if err != nil {
		r.t.Fatal(err)
	}
	var manifest []byte
	for {
		res, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			r.t.Fatal(err)
		}
		if p := res.GetManifest(); p != nil {
			if manifest = append(manifest, p...); m != nil {
				r.t.Fatal("the manifest goes on behind the files")
			}
			continue
		}
		if m == nil {
			if m, err = w.Start(manifest); err != nil {
				r.t.Fatal(err)
			}
		}
		if _, err := w.Write(res.GetData()); err != nil {
			r.t.Fatal(err)
		}
	}
	if m == nil {
		r.t.Fatal("no file was sent")
	}
	sent, _ = w.Progress()
	if err := w.Commit(); err != nil {
		r.t.Fatal(err)
	}
	return m, sent
}

func TestSaveSendsTheStateWhole(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Version = "v9" })
	var tuples []string
	for i := range 900 {
		tuples = append(tuples, fmt.Sprintf("document:%s%d#viewer@user:anna", strings.Repeat("long", 60), i))
	}
	store := r.store("acme", tuples...)
	d := fsm.OpenBackups(filepath.Join(t.TempDir(), "backups"))
	root := r.config.State.Current()
	m, sent := r.save(d)
	if m.Revision() != root.Revision() || m.Hash() != root.Hash() || m.Epoch != testEpochNumber || m.Program != "v9" || sent != m.Size() {
		t.Errorf("backup at %d with %v, epoch %x, by %s: %d of %d bytes", m.Revision(), m.Hash(), m.Epoch, m.Program, sent, m.Size())
	}
	if err := d.Verify(t.Context(), nil, nil); err != nil {
		t.Error(err)
	}
	r.write(store, "document:plan#viewer@user:bert")
	m, sent = r.save(d)
	if m.Revision() <= root.Revision() || sent >= m.Size() && len(m.Files) > 5 {
		t.Errorf("the second backup is at %d, %d of %d bytes were sent", m.Revision(), sent, m.Size())
	}
	if err := d.Verify(t.Context(), nil, nil); err != nil {
		t.Error(err)
	}
	stores, err := d.Stores(m)
	if err != nil || len(stores) != 1 || stores[0].ID.String() != store || stores[0].Tuples != 901 {
		t.Errorf("the backup holds %v, %v", stores, err)
	}
}

// refusal is how a Save ends that has nothing to send.
func (r *rig) refusal(req *remitv1.SaveRequest) error {
	r.t.Helper()
	stream, err := r.backups().Save(r.t.Context(), req)
	for err == nil {
		_, err = stream.Receive()
	}
	return err
}

func TestSaveIsRefused(t *testing.T) {
	r := newRig(t)
	r.store("acme")
	code, _, detail := detailOf(t, r.refusal(&remitv1.SaveRequest{Have: [][]byte{{1, 2, 3}}}))
	if code != connect.CodeInvalidArgument || detail.Reason != remitv1.ErrorReason_ERROR_REASON_INVALID_REQUEST {
		t.Errorf("a sum of three bytes: %v, %v", code, detail)
	}

	var taken []*fsm.Backup
	for {
		b, err := r.config.State.Backup(t.Context(), "", r.config.Clock(), nil)
		if errors.Is(err, fsm.ErrBackups) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		taken = append(taken, b)
	}
	code, _, detail = detailOf(t, r.refusal(&remitv1.SaveRequest{}))
	if code != connect.CodeUnavailable || detail.Reason != remitv1.ErrorReason_ERROR_REASON_OVERLOADED {
		t.Errorf("one backup too many: %v, %v", code, detail)
	}
	for _, b := range taken {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := r.refusal(&remitv1.SaveRequest{}); !errors.Is(err, io.EOF) {
		t.Errorf("after the others ended: %v", err)
	}
}

func TestSaveTellsOfItsPreparation(t *testing.T) {
	r := newRig(t)
	r.store("acme")
	streams := streamer{reader: &reader{backend.NewReader(r.config.backend())}, slow: time.Minute, draining: t.Context()}
	service := &backupService{streamer: streams}
	kinds, done := "", uint64(0)
	err := service.save(t.Context(), &remitv1.SaveRequest{}, &outlet{slow: time.Minute}, func(res *remitv1.SaveResponse) error {
		switch part := res.Part.(type) {
		case *remitv1.SaveResponse_Preparation_:
			kinds += "p"
			if p := part.Preparation; p.DoneBytes <= done || p.DoneBytes > p.TotalBytes {
				t.Errorf("after %d bytes the preparation is at %d of %d", done, p.DoneBytes, p.TotalBytes)
			}
			done = part.Preparation.DoneBytes
		case *remitv1.SaveResponse_Manifest:
			kinds += "m"
		case *remitv1.SaveResponse_Data:
			kinds += "d"
		}
		return nil
	})
	if err != nil || !regexp.MustCompile("^p+m+d+$").MatchString(kinds) {
		t.Errorf("the messages are %q, %v", kinds, err)
	}
	// Whoever does not hear of it is not prepared for.
	gone := errors.New("gone")
	sent := 0
	err = service.save(t.Context(), &remitv1.SaveRequest{}, &outlet{slow: time.Minute}, func(*remitv1.SaveResponse) error {
		sent++
		return gone
	})
	if !errors.Is(err, gone) || sent != 1 {
		t.Errorf("%d messages to who has gone, and then %v", sent, err)
	}
	if err := r.refusal(&remitv1.SaveRequest{}); !errors.Is(err, io.EOF) {
		t.Errorf("afterwards: %v", err)
	}
}

func TestSaveEndsWithTheNode(t *testing.T) {
	r := newRig(t)
	draining, drain := context.WithCancel(t.Context())
	drain()
	read := &reader{backend.NewReader(r.config.backend())}
	r.server = newConnectServer(draining, r.config, read, nil, nil, nil)
	code, _, detail := detailOf(t, r.refusal(&remitv1.SaveRequest{}))
	if code != connect.CodeUnavailable || detail.Reason != remitv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN {
		t.Errorf("while the node stops: %v, %v", code, detail)
	}
}
