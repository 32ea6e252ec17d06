package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/remit-authz/remit/cmd/remit/server"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// startGuarded runs a node that asks who calls, and makes the test its operator.
func startGuarded(t *testing.T) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "root.key")
	hold(t, file, "0123456789abcdef0123456789abcdef\n")
	startServer(t, func(c *server.Config) { c.Identity.RootKeyFile = file })
	t.Setenv("REMIT_TOKEN_FILE", file)
}

// hold puts a secret into a file that nobody else reads.
func hold(t *testing.T, file, secret string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
}

var keyForm = regexp.MustCompile(`^remit_[0-9A-HJKMNP-TV-Z]{26}_[0-9A-HJKMNP-TV-Z]{59}\n$`)

func TestKeysOnTheCommandLine(t *testing.T) {
	startGuarded(t)
	must(t, "store", "create", "shop")

	secret, words, status := remit(t, "key", "create", "shop-web", "--grant", "shop:read,write", "--expires", "90d", "--reason", "the shop opens")
	if status != exitYes || !keyForm.MatchString(secret) || !strings.Contains(words, "key shop-web created") || strings.Contains(words, secret[33:92]) {
		t.Fatalf("key create: status %d, stdout %q, stderr %q", status, secret, words)
	}
	if out := must(t, "key", "list"); !strings.Contains(out, "shop-web") || !strings.Contains(out, " shop:read,write ") || strings.Contains(out, secret[33:92]) {
		t.Errorf("key list:\n%s", out)
	}
	file := filepath.Join(t.TempDir(), "shop-web.key")
	as := []string{"--token-file", file}
	hold(t, file, secret)
	if out := must(t, append([]string{"whoami"}, as...)...); !strings.Contains(out, "key:shop-web") || !strings.Contains(out, " shop:read,write\n") {
		t.Errorf("whoami:\n%s", out)
	}
	refused(t, "not permitted: key:shop-web needs the permission admin", append([]string{"store", "delete", "shop", "--yes"}, as...)...)

	again, _, _ := remit(t, "key", "rotate", "shop-web", "--overlap", "0")
	if !keyForm.MatchString(again) || again == secret {
		t.Errorf("key rotate: %q", again)
	}
	refused(t, "expired", append([]string{"whoami"}, as...)...)
	hold(t, file, again)
	must(t, append([]string{"whoami"}, as...)...)

	if out := must(t, "grant", "set", "oidc:ann", "--grant", "shop:read", "--grant", "*:model"); !strings.HasPrefix(out, "oidc:ann: *:model ") {
		t.Errorf("grant set: %s", out)
	}
	if out := must(t, "grant", "list"); !strings.Contains(out, "oidc:ann") || !strings.Contains(out, "key:shop-web") {
		t.Errorf("grant list:\n%s", out)
	}
	refused(t, "version 1, not 9", "grant", "set", "oidc:ann", "--none", "--if-version", "9")
	must(t, "grant", "set", "oidc:ann", "--none")
	if out := must(t, "grant", "list", "oidc:ann"); strings.Contains(out, "oidc:ann") {
		t.Errorf("grant list of who has nothing:\n%s", out)
	}
	if out := must(t, "key", "revoke", "shop-web"); !strings.HasPrefix(out, "revoked: ") {
		t.Errorf("key revoke: %s", out)
	}
	refused(t, "was revoked", append([]string{"whoami"}, as...)...)
	refused(t, "key not found", "key", "revoke", "shop-web")
}

func TestASecretThatCannotBeWrittenIsSaidToBeLost(t *testing.T) {
	startServer(t)
	var errs strings.Builder
	status := run(t.Context(), []string{"key", "create", "web", "--grant", "*:read"}, strings.NewReader(""), fullDisk{}, &errs)
	if want := "make another with: remit key rotate web --overlap 0\n"; status != exitError || !strings.HasSuffix(errs.String(), want) {
		t.Errorf("status %d, stderr %q; want %d and %q", status, errs.String(), exitError, want)
	}
}

func TestKeyMistakes(t *testing.T) {
	startServer(t)
	for _, tc := range []struct {
		want string
		args []string
	}{
		{"say what the key is for", []string{"key", "create", "web"}},
		{`"reed" is no permission`, []string{"key", "create", "web", "--grant", "shop:reed"}},
		{"write STORE:PERMISSIONS", []string{"key", "create", "web", "--grant", "shop"}},
		{`"soon" is no period`, []string{"key", "create", "web", "--grant", "*:read", "--expires", "soon"}},
		{"--expires: 2020-01-01T00:00:00Z is past", []string{"key", "create", "web", "--grant", "*:read", "--expires", "2020-01-01T00:00:00Z"}},
		{`no store has the name "nowhere"`, []string{"key", "create", "web", "--grant", "nowhere:read"}},
		{"name: must consist of letters and digits", []string{"key", "create", "two words", "--grant", "*:read"}},
		{"key not found", []string{"key", "rotate", "nobody"}},
		{"--expires never: a key that is rotated", []string{"key", "rotate", "nobody", "--expires", "never"}},
		{`"later" is no period`, []string{"key", "rotate", "nobody", "--overlap", "later"}},
		{"--none", []string{"grant", "set", "oidc:ann"}},
		{"principal: must be oidc:SUBJECT, cert:NAME or key:NAME", []string{"grant", "set", "ann", "--grant", "*:read"}},
	} {
		refused(t, tc.want, tc.args...)
	}
	if out := must(t, "whoami"); !strings.HasPrefix(out, "anybody: ") {
		t.Errorf("whoami of a server that asks nobody: %s", out)
	}
}

func TestParseGrants(t *testing.T) {
	grants, err := parseGrants([]string{"shop:read,write", "*:read", "cluster", "a:b:admin"})
	if err != nil {
		t.Fatal(err)
	}
	got := []string{}
	for _, g := range grants {
		got = append(got, grantsText([]*remitv1.Grant{g}, nil))
	}
	if diff := cmp.Diff([]string{"shop:read,write", "*:read", "cluster", "a:b:admin"}, got); diff != "" {
		t.Errorf("grants read and written (-want +got):\n%s", diff)
	}
}
