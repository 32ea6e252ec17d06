package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/cmd/remit/orgchange"
	"github.com/remit-authz/remit/cmd/remit/orgfile"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/crm/crmtest"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// An orgUnderLoad is a random organisation that somebody changes all the time.
type orgUnderLoad struct {
	t     *testing.T
	name  string // of the load, for its keys and names
	c     *services
	first *remitv1.ChangeRequest // that was carried out, under its key
	done  atomic.Int64           // changes
	stop  func()
}

// begin gives records to one seat after the other, and names roles anew, until it is stopped.
func (l *orgUnderLoad) begin(o *crm.Organisation) {
	l.t.Helper()
	var err error
	if l.c, err = (&app{}).client(); err != nil {
		l.t.Fatal(err)
	}
	var enough atomic.Bool
	ended := make(chan error, 1)
	l.stop = func() {
		l.t.Helper()
		enough.Store(true)
		if err := <-ended; err != nil {
			l.t.Fatal(err)
		}
	}
	owned := slices.DeleteFunc(slices.Clone(o.Records), func(r crm.Record) bool {
		return slices.ContainsFunc(o.Modules, func(m crm.Module) bool { return m.ID == r.Module && m.Kind != crm.Standard })
	})
	active := slices.DeleteFunc(slices.Clone(o.Seats), func(s crm.Seat) bool { return s.Suspended })
	change := func(i int) *remitv1.ChangeRequest {
		r, to := owned[i%len(owned)], active[i/len(owned)%len(active)]
		req := &remitv1.ChangeRequest{Store: "acme", IdempotencyKey: fmt.Sprint(l.name, i), Edits: []*remitv1.Edit{{
			Edit: &remitv1.Edit_Transfer{Transfer: &remitv1.TransferRecords{Records: []string{r.Ref().String()}, To: to.ID}},
		}}}
		if i%7 == 3 {
			role := o.Roles[i%len(o.Roles)]
			req.Edits = append(req.Edits, &remitv1.Edit{Edit: &remitv1.Edit_Put{Put: &remitv1.Put{
				Entity:     &remitv1.Entity{Entity: &remitv1.Entity_Role{Role: &remitv1.Role{Id: role.ID, Name: fmt.Sprint("Named ", l.name, i)}}},
				UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"name"}},
			}}})
		}
		return req
	}
	l.first = change(0)
	go func() {
		for i := 0; !enough.Load(); i++ {
			if _, err := l.c.organisations.Change(context.Background(), change(i)); err != nil {
				ended <- err
				return
			}
			l.done.Add(1)
		}
		ended <- nil
	}()
}

// goesOn waits until so many more changes have been made.
func (l *orgUnderLoad) goesOn(n int64) {
	l.t.Helper()
	most := l.done.Load() + n
	until(l.t, func() bool { return l.done.Load() >= most })
}

// asksOracle compares all that there is to ask about records with the procedure.
func asksOracle(t *testing.T, o *crm.Organisation, at time.Time) (asked, allowed int) {
	t.Helper()
	c, err := (&app{}).client()
	if err != nil {
		t.Fatal(err)
	}
	var deeds []*remitv1.Deed
	var want []bool
	oracle := crmtest.NewOracle(o, at)
	for i := range o.Seats {
		for j := range o.Records {
			for _, action := range crm.Actions() {
				may := oracle.Can(o.Seats[i].ID, action, &o.Records[j], nil)
				deeds = append(deeds, &remitv1.Deed{User: o.Seats[i].ID, Action: string(action), On: o.Records[j].Ref().String()})
				if want = append(want, may); may {
					allowed++
				}
			}
		}
	}
	scope := &remitv1.OrganisationScope{Store: "acme", At: timestamppb.New(at)}
	for begin := 0; begin < len(deeds); begin += 10_000 {
		some := deeds[begin:min(begin+10_000, len(deeds))]
		res, err := c.organisations.CanBatch(t.Context(), &remitv1.CanBatchRequest{Scope: scope, Deeds: some})
		if err != nil {
			t.Fatal(err)
		}
		for i, a := range res.GetAnswers() {
			if a.GetError() != nil || a.GetAllowed() != want[begin+i] {
				t.Fatalf("%v is answered %v, the procedure says %v", some[i], a, want[begin+i])
			}
		}
	}
	return len(deeds), allowed
}

// An organisation that is backed up while it is changed is restored as it was at the backup's
// revision: with its answers, its versions, the names that are taken and the keys that were
// used; and it goes on from there.
func TestAnOrganisationIsRestoredFromABackup(t *testing.T) {
	for _, name := range []string{"REMIT_STORE", "REMIT_TOKEN", "REMIT_DATA_DIR"} {
		t.Setenv(name, "")
	}
	volume := crmtest.VolumeOf(t, "cmd/remit", 1, 1)
	_, o := volume.Organisation(volume.First, 0)
	crmtest.RenameRoot(o, firstRole)
	for i := range o.Records { // nothing that has expired, nor that could not be shared again
		o.Records[i].Shares = slices.DeleteFunc(o.Records[i].Shares, func(s crm.Share) bool { return s.To.Kind == crm.User || !s.Expires.IsZero() })
	}
	data, folder := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "backups")
	_, stop := serveDir(t, data)
	must(t, "store", "import", "testdata/stores/blocklist.fga.yaml")
	must(t, "org", "apply", organisationFile(t, o), "--create", "--store", "acme", "--yes")

	load := &orgUnderLoad{t: t, name: "first"}
	load.begin(o)
	load.goesOn(50)
	var saved savedBackup
	if err := json.Unmarshal([]byte(must(t, "backup", "save", folder, "-o", "json")), &saved); err != nil {
		t.Fatal(err)
	}
	load.goesOn(50)
	load.stop()
	revision := fmt.Sprint(saved.Revision)
	want := must(t, "org", "export", "--store", "acme", "--as-of", revision)
	if now := must(t, "org", "export", "--store", "acme"); now == want {
		t.Error("nothing was changed behind the backup")
	}
	versions := versionsOf(t, revision)

	out := must(t, "backup", "inspect", folder, "latest")
	i := strings.Index(out, "STORE")
	for _, line := range strings.Split(strings.TrimSpace(out[i:]), "\n") {
		cells := strings.Fields(line)
		wanted := map[string]string{"STORE": "MANAGED", "acme": "yes", "chat": "no"}[cells[0]]
		if cells[len(cells)-1] != wanted {
			t.Errorf("inspect says %q, want %s of it", line, wanted)
		}
	}
	var content backupContent
	if err := json.Unmarshal([]byte(must(t, "backup", "inspect", folder, "latest", "-o", "json")), &content); err != nil {
		t.Fatal(err)
	}
	for _, s := range content.Stores {
		if s.Managed != (s.Name == "acme") {
			t.Errorf("inspect says of %s that it is managed: %v", s.Name, s.Managed)
		}
	}

	stop()
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	must(t, "backup", "restore", folder, "--data-dir", data)
	serveDir(t, data)
	if diff := cmp.Diff(want, must(t, "org", "export", "--store", "acme")); diff != "" {
		t.Errorf("the restored organisation is another (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(versions, versionsOf(t)); diff != "" {
		t.Errorf("the versions are others (-want +got):\n%s", diff)
	}
	restored, err := orgfile.Parse("restored", []byte(want))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(time.Hour)
	asked, allowed := asksOracle(t, restored.Organisation, at)
	t.Logf("%d of %d questions allowed, %d changes", allowed, asked, load.done.Load())
	if allowed == 0 || allowed == asked {
		t.Error("all answers are the same")
	}

	// It is managed as before.
	if out := must(t, "store", "get", "acme"); !strings.Contains(out, "managed    yes") {
		t.Errorf("the restored store is\n%s", out)
	}
	refused(t, "is managed", "write", "org:"+restored.Organisation.ID, "seat", "user:eve", "--store", "acme")

	// A change is not made twice, a name that is taken stays so, and a version that is old is.
	c, err := (&app{}).client()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.organisations.Change(t.Context(), load.first); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(versions, versionsOf(t)); diff != "" {
		t.Errorf("a change that was made before the backup is made again (-want +got):\n%s", diff)
	}
	name := restored.Organisation.Roles[0].Name
	refused(t, "case does not matter", "org", "role", "set", "another", "--name", strings.ToUpper(name), "--parent", firstRole, "--store", "acme")
	refused(t, "by now", "org", "user", "set", restored.Organisation.Seats[0].ID, "--name", "Somebody", "--if-version", "999", "--store", "acme")

	// Plans go on.
	exported := textFile(t, "acme.org.yaml", want)
	if out := must(t, "org", "apply", exported, "--yes", "--store", "acme"); out != "nothing to change\n" {
		t.Errorf("the export applied again: %s", out)
	}
	load = &orgUnderLoad{t: t, name: "second"}
	load.begin(restored.Organisation)
	load.goesOn(5)
	load.stop()
	o.Seats[len(o.Seats)-1].Name = "After the Restore"
	file := organisationFile(t, o)
	must(t, "org", "plan", file, "--store", "acme")
	must(t, "org", "apply", file, "--yes", "--store", "acme")
	asksOracle(t, o, at)
	if _, _, status := remit(t, "org", "plan", file, "--exit-code", "--store", "acme"); status != exitYes {
		t.Errorf("a plan of what has been applied ends with %d", status)
	}
}

// versionsOf are the versions of the entities of acme, now or as of a moment.
func versionsOf(t *testing.T, asOf ...string) map[string]uint64 {
	t.Helper()
	var consistency *remitv1.Consistency
	var err error
	if len(asOf) > 0 {
		if consistency, err = parseMoment(asOf[0]); err != nil {
			t.Fatal(err)
		}
	}
	a := &app{stderr: io.Discard, timeout: time.Minute}
	c, err := a.client()
	if err != nil {
		t.Fatal(err)
	}
	var state *orgchange.State
	if state, err = a.readOrganisation(t.Context(), c, "acme", consistency, false); err != nil {
		t.Fatal(err)
	}
	versions := map[string]uint64{}
	for key, version := range state.Versions {
		versions[key.String()] = version
	}
	return versions
}
