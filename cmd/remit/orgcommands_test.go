package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/remit-authz/remit/cmd/remit/orgfile"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/crm/crmtest"
)

const (
	firstOrganisation  = "testdata/org/first.org.yaml"
	secondOrganisation = "testdata/org/second.org.yaml"
)

// transcript runs commands and gives what a person would see of them.
func transcript(t *testing.T, lines ...string) string {
	t.Helper()
	var b strings.Builder
	for _, line := range lines {
		out, errs, status := remit(t, strings.Fields(line)...)
		fmt.Fprintf(&b, "$ remit %s\n%s%s", line, out, errs)
		if status != exitYes {
			fmt.Fprintf(&b, "status %d\n", status)
		}
	}
	return b.String()
}

// organisationFile writes an organisation to a file.
func organisationFile(t *testing.T, o *crm.Organisation) string {
	t.Helper()
	var out bytes.Buffer
	if err := orgfile.Write(&out, o); err != nil {
		t.Fatal(err)
	}
	return textFile(t, "some.org.yaml", out.String())
}

func textFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAnOrganisationIsPlannedAppliedAndExported(t *testing.T) {
	startServer(t)
	golden(t, "org/apply.golden", transcript(t,
		"org apply "+firstOrganisation,
		"org apply "+firstOrganisation+" --create --yes",
		"org apply "+firstOrganisation+" --create --yes",
		"org plan "+firstOrganisation+" --exit-code",
		"org plan "+secondOrganisation,
		"org plan "+secondOrganisation+" --exit-code --without-access --limit 3",
		"org plan "+secondOrganisation+" --samples 1",
		"org apply "+secondOrganisation,
		"org apply "+secondOrganisation+" --yes --reason reform",
		"org plan "+secondOrganisation+" --exit-code",
		"org export",
		"org export --without-records",
	))
}

func TestAnOrganisationIsAsked(t *testing.T) {
	startServer(t)
	must(t, "org", "apply", firstOrganisation, "--create", "--yes")
	golden(t, "org/ask.golden", transcript(t,
		"org can rob view deal:orion",
		"org can user:rob delete deal:orion --exit-code",
		"org can rob edit deal:orion amount",
		"org can rob create deal",
		"org can ada manage_roles",
		"org can rob fly deal:orion",
		"org can rob",
		"org fields rob deal:orion",
		"org actions rob deal:orion",
		"org actions rob deal",
		"org actions rob",
		"org list rob deal",
		"org list rob deal --action edit --limit 1",
		"org who deal:orion",
		"org who deal:vega --action edit",
		"org who deal:vega --as rob",
		"org on-duty --at 2026-11-23T10:00:00Z",
		"org on-duty --user rob --at 2026-11-22T10:00:00Z",
		"org on-duty --shift day --at noon",
		"org list rob deal --as eve",
		"org list rob deal -o yaml --at 2026-11-23T10:00:00Z --as-of 0",
	))
	if out := must(t, "org", "seats", "ada@acme.example", "-o", "json"); !strings.Contains(out, `"seat": "ada"`) {
		t.Errorf("org seats says %s", out)
	}
}

func TestWhyIsSaidInWords(t *testing.T) {
	startServer(t)
	must(t, "org", "apply", firstOrganisation, "--create", "--yes")
	for _, test := range []struct{ ask, want string }{
		{"org why rob view deal:orion", "allowed  rob view deal:orion\n  ✓ "},
		{"org why rob delete deal:orion", "denied  rob delete deal:orion\n"},
		{"org why sam view deal:vega --as ada", "role"},
	} {
		if out := must(t, strings.Fields(test.ask)...); !strings.Contains(out, test.want) || strings.Count(out, "\n") < 2 {
			t.Errorf("%s says\n%swant %q", test.ask, out, test.want)
		}
	}
}

func TestRecordsAreAssignedAndOwnersTold(t *testing.T) {
	s := startServer(t)
	must(t, "org", "apply", firstOrganisation, "--create", "--yes")
	watch := exec.Command(os.Args[0], "org", "watch", "--user", "rob", "--addr", s.Addr())
	watch.Env = append(os.Environ(), asRemit+"=1")
	stdout, err := watch.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	watch.Stderr = &errs
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string)
	go func() {
		for in := bufio.NewScanner(stdout); in.Scan(); {
			lines <- in.Text()
		}
		close(lines)
	}()
	line := ""
	for i := 0; line == ""; i++ { // until it has begun to watch
		must(t, "org", "record", "set", "deal:orion", "--fields", fmt.Sprint("amount=", i), "--as", "ada")
		select {
		case line = <-lines:
		case <-time.After(200 * time.Millisecond):
		}
	}
	if !strings.Contains(line, "to rob: ") || !strings.Contains(line, "orion") {
		t.Errorf("the owner is told %q", line)
	}
	if err := watch.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	for range lines { // what came meanwhile
	}
	if err := watch.Wait(); err != nil || !strings.Contains(errs.String(), "go on with --from-token ") {
		t.Errorf("the watch ended with %v and %s", err, errs.String())
	}
	refused(t, "say among whom", "org", "assign", "deal:orion")
	if out := must(t, "org", "assign", "deal:orion", "--among", "role:rep", "--ignore-shifts", "--order", "least_loaded"); !strings.HasPrefix(out, "deal:orion assigned to ") {
		t.Errorf("assign says %q", out)
	}
	if out := must(t, "org", "assign", "deal:vega", "--among", "user:eve", "--fallback", "sam"); !strings.HasPrefix(out, "deal:vega assigned to sam, for nobody else is available\n") {
		t.Errorf("assign says %q", out)
	}
}

func TestTheNounsOfAnOrganisation(t *testing.T) {
	startServer(t)
	must(t, "org", "init", "acme", "--super-admin", "ada", "--name", "Ada Ames", "--modules", "deal,account=Accounts")
	golden(t, "org/nouns.golden", transcript(t,
		"org user list",
		"org role set rep --name Rep --parent manager",
		"org role set rep --peers view --if-version 1",
		"org role set rep --peers edit --if-version 1",
		"org role set rep",
		"org role set rep --peers much",
		"org role list",
		"org user set rob --name Rob --role rep --profiles standard --login rob@acme.example",
		"org user set eve --name Eve --role rep --profiles standard --if-version 0",
		"org user set eve --name Eve --if-version 0",
		"org user set eve --leave 2026-12-24T00:00:00Z/2027-01-02T00:00:00Z",
		"org user set eve --leave Christmas",
		"org user set zoe --name Zoe",
		"org user get eve",
		"org user get nobody",
		"org profile set standard --modules deal=view --modules account=all --tools export,print",
		"org profile set standard --modules deal=view,fly",
		"org profile get standard",
		"org group set emea --name EMEA --members user:rob,role:manager",
		"org group set emea --members rob",
		"org group list",
		"org team set north --name North --managers ada --members rob,eve",
		"org team get north",
		"org module set note --name Notes --kind child --parents deal",
		"org module list",
		"org field set deal.amount --name Amount --levels standard=read --levels administrator=write",
		"org field set deal.amount --levels standard=hidden",
		"org field set amount --name Amount",
		"org field list",
		"org rule set r1 --name One --module deal --source role:rep --target everyone --level view",
		"org rule set r1 --disabled",
		"org rule list",
		"org shift set day --name Day --zone Europe/Paris --hours mon-fri=09:00-12:30,13:30-18:00 --holidays 2026-12-25",
		"org shift set day --hours monday= --exceptions 2026-12-24=09:00-12:00",
		"org shift set day --hours someday=09:00-10:00",
		"org shift get day",
		"org record set deal:orion --owner rob --fields amount=1200 --fields stage=won",
		"org record set deal:orion --fields stage= --fields tags=[\"a\",2] --confidentiality restricted",
		"org record get deal:orion",
		"org record set deal:vega --owner rob --parents account:acme",
		"org record set account:acme --owner eve",
		"org module set deal --parents account",
		"org record set deal:vega --owner rob --parents account:acme",
		"org record list deal",
		"org share add deal:orion deal:vega --to user:eve,role:manager --level view --note audit --expires 2999-01-01T00:00:00Z",
		"org share add deal:orion --to user:eve --level much",
		"org share list deal:orion",
		"org share remove deal:orion --from role:manager",
		"org share remove deal:orion",
		"org share list deal:orion",
		"org record transfer deal:orion --to eve",
		"org record transfer --owned-by rob --to eve --as rob",
		"org record transfer --owned-by rob --to eve --as ada",
		"org record transfer --to eve",
		"org settings set --hierarchy reporting --keep-shares",
		"org settings get",
		"org role move-holders rep --to manager",
		"org role delete rep",
		"org role delete rep --yes",
		"org role delete rep --yes --transfer-to manager",
		"org record delete deal:orion deal:vega --yes",
		"org user delete eve --yes",
		"org user delete eve --yes --transfer-to rob --as rob",
		"org user delete eve --yes --transfer-to rob --as ada",
		"org user list --limit 1",
	))
	var list struct {
		Entities []struct{ Seat struct{ ID string } }
	}
	if err := json.Unmarshal([]byte(must(t, "org", "user", "list", "-o", "json")), &list); err != nil || len(list.Entities) != 2 {
		t.Errorf("org user list as JSON: %+v, %v", list, err)
	}
}

func TestWrongOrganisationFilesAreRefusedWithTheirPlaces(t *testing.T) {
	startServer(t)
	refused(t, `the server has no organisation yet; make one with "remit org init"`, "org", "plan", firstOrganisation)
	must(t, "org", "apply", firstOrganisation, "--create", "--yes")
	const wrong = "testdata/org/wrong.org.yaml"
	out, errs, status := remit(t, "org", "apply", wrong, "--yes")
	if status != exitError || out != "" {
		t.Errorf("status %d, stdout %q", status, out)
	}
	for _, want := range []string{wrong + ":3:3: ", `role "pilot" does not exist`, wrong + ":4:3: ", `profile "wings"`} {
		if !strings.Contains(errs, want) {
			t.Errorf("a wrong file is refused with\n%s\nwant %s", errs, want)
		}
	}
	other := textFile(t, "other.org.yaml", "organisation: {id: other, name: Other, super_admin: ada}\n")
	refused(t, `is of the organisation "other", and the store holds "acme"`, "org", "plan", other)
	refused(t, "has no section organisation, which --create needs", "org", "apply", secondOrganisation, "--create")
	boss := textFile(t, "boss.org.yaml", strings.ReplaceAll(must(t, "org", "export"), "ceo", "boss"))
	refused(t, "the root is the role ceo that every organisation begins with", "org", "apply", boss, "--create", "--store", "boss")
	must(t, "store", "create", "plain")
	refused(t, "holds no organisation", "org", "export", "--store", "plain")
	refused(t, "holds no organisation", "org", "role", "list", "--store", "plain")
	refused(t, "a store named plain exists already, and it holds no organisation", "org", "apply", firstOrganisation, "--create", "--store", "plain")
	refused(t, "name that with --file", "org", "export", "-o", "json")
	must(t, "org", "init", "another", "--super-admin", "ada")
	refused(t, "say which organisation with --store or REMIT_STORE", "org", "user", "list")
}

// An export says everything: applied to the organisation, or to a new one, it leaves nothing
// to change. So do random changes of it.
func TestExportsAndRandomChangesThroughAServer(t *testing.T) {
	startServer(t)
	volume := crmtest.VolumeOf(t, "cmd/remit", 4, 60)
	for n := volume.First; n < volume.First+volume.Count; n++ {
		store := fmt.Sprint("random-", n)
		for variant := range uint64(2) {
			_, o := volume.Organisation(n, variant)
			crmtest.RenameRoot(o, firstRole)
			if variant == 1 { // nothing is shared anew with who cannot use it
				for i := range o.Records {
					o.Records[i].Shares = slices.DeleteFunc(o.Records[i].Shares, func(s crm.Share) bool { return s.To.Kind == crm.User })
				}
			}
			file := organisationFile(t, o)
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			out, errs, status := remit(t, "org", "apply", file, "--create", "--store", store, "--yes")
			if status != exitYes {
				t.Errorf("%s\nvariant %d: %s%s", volume.Again(n), variant, out, errs)
				break
			}
			if got := must(t, "org", "export", "--store", store); got != string(want) {
				t.Errorf("%s\nthe export of variant %d is\n%s\nwant\n%s", volume.Again(n), variant, got, want)
			}
			if out := must(t, "org", "apply", file, "--yes", "--store", store); out != "nothing to change\n" {
				t.Errorf("%s\nan export applied: %s", volume.Again(n), out)
			}
		}
	}
}

func TestWhatSomebodyElseHasChangedIsNotOverwritten(t *testing.T) {
	startServer(t)
	must(t, "org", "apply", firstOrganisation, "--create", "--yes")
	var errs strings.Builder
	a := &app{stderr: &errs, timeout: 1 << 40, output: "table"}
	p := &planning{app: a}
	if err := p.begin(t.Context(), secondOrganisation, false); err != nil {
		t.Fatal(err)
	}
	must(t, "org", "user", "set", "rob", "--name", "Robert Reed")
	_, err := p.apply(t.Context())
	if err == nil {
		t.Fatal("the change of somebody else was overwritten")
	}
	const want = "remit: user:rob has version 2 by now, not 1: read it again\n  somebody changed it meanwhile; run the command again to see what is left to do"
	if got := a.errorText(err); got != want {
		t.Errorf("the error is\n%s\nwant\n%s", got, want)
	}
	if out := must(t, "org", "role", "list"); strings.Contains(out, "agent") {
		t.Errorf("a part of the file was applied:\n%s", out)
	}
	must(t, "org", "apply", secondOrganisation, "--yes")
}

// large is an organisation that one change cannot make.
func large() *crm.Organisation {
	o := crm.New("big", "Big", "u0", "Zero")
	o.Modules = []crm.Module{{ID: "deal", Name: "Deals", Kind: crm.Standard}}
	for i := range o.Profiles {
		o.Profiles[i].Modules = map[string]crm.Permissions{"deal": crm.AllPermissions()}
	}
	for i := 1; i < 20; i++ {
		o.Seats = append(o.Seats, crm.Seat{ID: fmt.Sprint("u", i), Name: "User", Role: "manager", Profiles: []string{"standard"}})
	}
	for i := range 4000 {
		o.Records = append(o.Records, crm.Record{Module: "deal", ID: fmt.Sprintf("d%04d", i), Owner: fmt.Sprint("u", i%20)})
	}
	return o
}

// An apply of several steps that ends in the middle is finished by the same command.
func TestAnInterruptedApplyGoesOn(t *testing.T) {
	for _, test := range []struct {
		name   string
		signal os.Signal
		says   string
	}{
		{"killed", syscall.SIGKILL, ""},
		{"interrupted", syscall.SIGINT, "edits were applied, the same command applies the rest"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := startServer(t)
			file := organisationFile(t, large())
			var changes atomic.Int32
			var apply *exec.Cmd
			started := make(chan struct{})
			target, err := url.Parse("http://" + s.Addr())
			if err != nil {
				t.Fatal(err)
			}
			forward := httputil.NewSingleHostReverseProxy(target)
			forward.FlushInterval = -1
			proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				// The first attempt is all at once, and too large; of the steps three pass.
				if strings.HasSuffix(r.URL.Path, "OrganisationService/Change") && changes.Add(1) == 5 {
					_, _ = io.Copy(io.Discard, r.Body) // or nobody sees that the client goes
					<-started
					_ = apply.Process.Signal(test.signal)
					<-r.Context().Done()
					return
				}
				forward.ServeHTTP(w, r)
			}))
			defer proxy.Close()
			var errs bytes.Buffer
			apply = exec.Command(os.Args[0], "org", "apply", file, "--create", "--yes", "--addr", proxy.URL)
			apply.Env, apply.Stderr = append(os.Environ(), asRemit+"=1"), &errs
			if err := apply.Start(); err != nil {
				t.Fatal(err)
			}
			close(started)
			if err := apply.Wait(); err == nil || !strings.Contains(errs.String(), test.says) {
				t.Fatalf("the interrupted apply ended with %v and\n%s\nwant %q", err, errs.String(), test.says)
			}
			have := strings.Count(must(t, "org", "record", "list", "deal"), "\n") - 1
			if have == 0 || have >= 4000 {
				t.Fatalf("%d records are there after an interruption", have)
			}
			if out := must(t, "org", "apply", file, "--create", "--yes"); !strings.Contains(out, fmt.Sprintf("applied: %s made", thousands(4000-have))) {
				t.Errorf("with %d records there, the same command says %s", have, out)
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got := must(t, "org", "export"); got != string(want) {
				t.Error("what an interrupted apply and the next one have made is not what the file says")
			}
			// And back, with deletions in steps.
			o := large()
			o.Records = o.Records[:1]
			o.Seats = slices.Delete(o.Seats, 1, 5)
			if out := must(t, "org", "apply", organisationFile(t, o), "--yes"); !strings.Contains(out, "4,003 deleted") {
				t.Errorf("the deletion says %s", out)
			}
		})
	}
}

func TestAnExportForOpenFGA(t *testing.T) {
	startServer(t)
	must(t, "org", "apply", firstOrganisation, "--create", "--yes")
	file := filepath.Join(t.TempDir(), "acme.fga.yaml")
	must(t, "org", "export", "--fga", "--file", file)
	must(t, "store", "import", file, "--name", "copy")
	if out := must(t, "check", "user:rob", "can_view", "deal:orion", "--store", "copy"); out != "allowed\n" {
		t.Errorf("the export says %q of what the organisation allows", out)
	}
	if out := must(t, "check", "user:rob", "can_delete", "deal:orion", "--store", "copy"); out != "denied\n" {
		t.Errorf("the export says %q of what the organisation denies", out)
	}
}
