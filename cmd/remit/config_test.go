package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// configFile writes a configuration file.
func configFile(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "remit.yaml")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// withoutSettings makes sure that the environment says nothing.
func withoutSettings(t *testing.T) {
	t.Helper()
	for _, s := range tableOfSettings().all {
		t.Setenv(s.variable(), "")
	}
	t.Setenv(fileVariable, "")
}

func tableOfSettings() *settings {
	return serveSettings(pflag.NewFlagSet("", pflag.ContinueOnError), &serveConfig{})
}

// effective is what "remit config print" shows, by key.
func effective(t *testing.T, args ...string) map[string]shownSetting {
	t.Helper()
	var all []shownSetting
	if err := json.Unmarshal([]byte(must(t, append([]string{"config", "print", "-o", "json"}, args...)...)), &all); err != nil {
		t.Fatal(err)
	}
	shown := map[string]shownSetting{}
	for _, s := range all {
		shown[s.Key] = s
	}
	return shown
}

// samples are values that are not the default, as flags and variables have them.
func (s *setting) samples() []string {
	switch {
	case s.choices != nil:
		return slices.DeleteFunc(slices.Clone(s.choices), func(c string) bool { return c == s.DefValue })
	case s.Name == "authzen-base-url", s.Name == "oidc-issuer", s.Name == "trace-endpoint":
		return []string{"https://one.example", "https://two.example", "https://three.example"}
	}
	return map[kind][]string{
		text: {"one", "two", "three"}, address: {"127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"}, number: {"7", "8", "9"}, fraction: {"0.25", "0.5", "1"},
		boolean: {"true"}, span: {"11s", "12s", "13s"}, list: {"a,b", "c,d", "e"},
	}[s.kind]
}

// companions are settings without which one makes no sense, as flags.
func (s *setting) companions() []string {
	tls := []string{"--tls-cert=a", "--tls-key=b"}
	peer, files := "--peer-addr=127.0.0.1:9", []string{"--peer-tls-cert=a", "--peer-tls-key=b", "--peer-tls-ca=c"}
	withFiles := func(but int) []string { return append(slices.Delete(slices.Clone(files), but, but+1), peer) }
	gossip := []string{peer, "--gossip-addr=127.0.0.1:10"}
	needed := map[string][]string{
		"peer-advertise": {peer}, "join": {peer}, "bootstrap-expect": {peer, "--join=a"}, "replica": {peer, "--join=a"},
		"peer-tls-cert": withFiles(0), "peer-tls-key": withFiles(1), "peer-tls-ca": withFiles(2), "peer-tls-name": append(files, peer),
		"gossip-addr": {peer}, "gossip-advertise": gossip, "gossip-join": gossip, "gossip-key-file": gossip, "gossip-label": gossip,
		"decision-log-select": {"--decision-log=a"},
		"tls-cert":            {"--tls-key=b"}, "tls-key": {"--tls-cert=a"}, "tls-client-ca": append(tls, "--tls-client-auth=required"),
		"tls-client-auth": append(tls, "--tls-client-ca=c"), "oidc-issuer": {"--oidc-audience=a"}, "oidc-audience": {"--oidc-issuer=https://a.example"},
		"oidc-subject-claim": {"--oidc-issuer=https://a.example", "--oidc-audience=a"}, "oidc-grants-claim": {"--oidc-issuer=https://a.example", "--oidc-audience=a"},
	}[s.Name]
	if s.Name != "openfga-request-timeout" && s.kind == span {
		needed = append(needed, "--openfga-request-timeout=1m") // which bounds others
	}
	return needed
}

// inFile writes a value as the file has it.
func (s *setting) inFile(value string) string {
	if s.kind == list {
		value = "[" + value + "]"
	}
	return s.Name + ": " + value + "\n"
}

// Every flag of serve is also a variable, a key and in the schema, with one meaning, and
// they go before each other in their order.
func TestEverySettingIsAFlagAVariableAndAKey(t *testing.T) {
	withoutSettings(t)
	table := tableOfSettings()
	serve, _, err := (&app{}).root().Find([]string{"serve"})
	if err != nil {
		t.Fatal(err)
	}
	printing, _, err := (&app{}).root().Find([]string{"config", "print"})
	if err != nil {
		t.Fatal(err)
	}
	serve.InitDefaultHelpFlag()
	properties := table.schema()["properties"].(map[string]any)
	flags := 0
	serve.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" || f.Name == "config" {
			return
		}
		flags++
		if table.find(f.Name) == nil || properties[f.Name] == nil {
			t.Errorf("--%s is in the table: %v, in the schema: %v", f.Name, table.find(f.Name) != nil, properties[f.Name] != nil)
		}
		if other := printing.NonInheritedFlags().Lookup(f.Name); other == nil || other.DefValue != f.DefValue || other.Usage != f.Usage {
			t.Errorf("--%s means something else to config print", f.Name)
		}
	})
	if flags != len(table.all) || flags != len(properties) {
		t.Errorf("serve has %d flags, the table %d, the schema %d", flags, len(table.all), len(properties))
	}

	for _, s := range table.all {
		t.Run(s.Name, func(t *testing.T) {
			samples := s.samples()
			last := samples[len(samples)-1]
			want := func(from string, value string, args ...string) {
				t.Helper()
				args = append(args, s.companions()...)
				shown := effective(t, args...)[s.Name]
				if fmt.Sprint(shown.Value) != fmt.Sprint(s.plainSample(value)) || !strings.HasPrefix(shown.From, from) {
					t.Errorf("%v gives %v from %s, want %v from %s", args, shown.Value, shown.From, value, from)
				}
			}
			file := configFile(t, "# a comment\n"+s.inFile(samples[0]))
			want("--"+s.Name, samples[0], "--"+s.Name+"="+samples[0])
			want(file+":2:", samples[0], "--config", file)
			if len(samples) < 3 && s.kind != boolean {
				samples = append(samples, last) // of few choices, one has to do twice
			}
			t.Setenv(s.variable(), samples[len(samples)/2])
			want(s.variable(), samples[len(samples)/2])
			want(s.variable(), samples[len(samples)/2], "--config", file)
			want("--"+s.Name, last, "--config", file, "--"+s.Name+"="+last)
		})
	}
}

// plainSample is a sample as JSON has it.
func (s *setting) plainSample(value string) any {
	if s.kind == list {
		return strings.Split(value, ",")
	}
	return value
}

// Files that are missing are told together: who sets up a server mends them in one go.
func TestFilesThatAreMissingAreToldAtOnce(t *testing.T) {
	withoutSettings(t)
	none := filepath.Join(t.TempDir(), "none")
	_, errs, status := remit(t, "serve", "--data-dir", t.TempDir(), "--addr", "127.0.0.1:0", "--grpc-addr", "127.0.0.1:0",
		"--tls-cert", none, "--tls-key", none, "--tls-client-auth", "optional", "--tls-client-ca", none, "--root-key-file", none, "--decision-log", none+"/log")
	for _, want := range []string{"tls-cert: ", "tls-key: ", "tls-client-ca: ", "root-key-file ", "the decision log: "} {
		if !strings.Contains(errs, want) || status != exitError {
			t.Errorf("status %d, want %d and a fault of %s:\n%s", status, exitError, want, errs)
		}
	}
}

func TestAConfigurationFileIsNamedByTheEnvironment(t *testing.T) {
	withoutSettings(t)
	file := configFile(t, "log-level: warn\n")
	t.Setenv(fileVariable, file)
	if shown := effective(t)["log-level"]; shown.Value != "warn" || shown.From != file+":1:12" {
		t.Errorf("log-level is %v from %s", shown.Value, shown.From)
	}
	other := configFile(t, "log-level: error\n")
	if shown := effective(t, "--config", other)["log-level"]; shown.Value != "error" {
		t.Errorf("log-level is %v from %s", shown.Value, shown.From)
	}
}

// What is wrong with a file is told with its place, all of it at once, before anything
// else is done.
func TestFaultsOfAConfigurationFile(t *testing.T) {
	withoutSettings(t)
	for _, test := range []struct {
		name, content string
		want          []string
	}{
		{"a misspelled key", "adr: 127.0.0.1:1\n", []string{":1:1: unknown key adr; did you mean addr?"}},
		{"a key in another style", "\nlog_level: info\n", []string{":2:1: unknown key log_level; did you mean log-level?"}},
		{"a key that resembles nothing", "cluster-size: 3\n", []string{`:1:1: unknown key cluster-size; "remit config schema" tells all there are`}},
		{"the file's own key", "config: other.yaml\n", []string{":1:1: unknown key config"}},
		{"a group", "openfga:\n  max-depth: 3\n", []string{":1:1: unknown key openfga; did you mean openfga-"}},
		{"a key that is a list", "? [a]\n: b\n", []string{":1:3: a key is a list, want the name of a setting"}},
		{"a key twice", "insecure: true\ninsecure: false\n", []string{":2:1: insecure stands here again, after line 1"}},
		{"a number for an address", "addr: 8080\n", []string{":1:7: addr is the number 8080, want an address such as 127.0.0.1:8080"}},
		{"no address", "admin-addr: here\n", []string{`:1:13: admin-addr is "here", want an address`}},
		{"an empty address", "addr: ''\n", []string{`:1:7: addr is "", want an address`}},
		{"a text that must not be empty", "data-dir: ''\n", []string{":1:11: data-dir is empty, must not be"}},
		{"a share that is none", "trace-sample: half\n", []string{`:1:15: trace-sample is the text "half", want a number from 0 to 1`}},
		{"a share that is too large", "trace-sample: 1.5\n", []string{":1:15: trace-sample 1.5 is out of range; it is from 0 to 1"}},
		{"a number for a text", "data-dir: 1\n", []string{":1:11: data-dir is the number 1, want a text; put it in quotes"}},
		{"a text for a number", "openfga-max-depth: many\n", []string{`:1:20: openfga-max-depth is the text "many", want a whole number`}},
		{"a fraction", "openfga-max-depth: 2.5\n", []string{":1:20: openfga-max-depth is the number 2.5, want a whole number"}},
		{"a number that is too small", "openfga-max-depth: 0\n", []string{":1:20: openfga-max-depth 0 is too small; it is at least 1"}},
		{"a number that is too large", "openfga-max-depth: 99999999999999999999\n", []string{"openfga-max-depth is the number 99999999999999999999, want a whole number"}},
		{"yes for true", "insecure: yes\n", []string{`:1:11: insecure is the text "yes", want true or false`}},
		{"a time without a unit", "log-slow: 3\n", []string{":1:11: log-slow is the number 3, want a time with a unit, such as 1m30s"}},
		{"no time", "log-slow: soon\n", []string{`:1:11: log-slow is "soon", want a time with a unit`}},
		{"a text for a list", "openfga-cors-origins: a\n", []string{`:1:23: openfga-cors-origins is the text "a", want a list such as [a, b]`}},
		{"a list of numbers", "openfga-cors-origins: [a, 1]\n", []string{":1:23: openfga-cors-origins holds the number 1, want texts"}},
		{"an unknown choice", "log-level: loud\n", []string{":1:12: log-level loud is unknown; it is debug, info, warn or error"}},
		{"a key without a value", "data-dir:\n", []string{"data-dir has no value"}},
		{"no settings", "- a\n", []string{":1:1: this is a list, want settings"}},
		{"no YAML", "a: [\n", []string{":1: no YAML: "}},
		{"no text", "a: \xff\xfe\n", []string{"no YAML: "}},
		{"two documents", "insecure: false\n---\ninsecure: true\n", []string{"a second document begins"}},
		{"an alias of a wrong kind", "addr: &a 127.0.0.1:1\ninsecure: *a\n", []string{`:2:11: insecure is the text "127.0.0.1:1", want true or false`}},
		{
			"settings that do not go together", "admin-addr: 0.0.0.0:2112\nopenfga-list-deadline: 5s\n",
			[]string{`admin-addr "0.0.0.0:2112" can be reached from outside`, "openfga-list-deadline is 5s, must not exceed openfga-request-timeout, 3s"},
		},
		{
			"all of it", "adr: x\nlog-level: loud\nauthzen-base-url: nowhere\n",
			[]string{":1:1: unknown key adr", ":2:12: log-level loud", "authzen-base-url must have the scheme http or https"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := configFile(t, test.content)
			dir := filepath.Join(t.TempDir(), "data")
			out, errs, status := remit(t, "serve", "--config", file, "--data-dir", dir)
			if status != exitError || out != "" {
				t.Fatalf("status %d, %q", status, out)
			}
			for _, want := range test.want {
				if strings.HasPrefix(want, ":") {
					want = file + want
				}
				if !strings.Contains(errs, want) {
					t.Errorf("%q says\n%swant\n%s", test.content, errs, want)
				}
			}
			if lines := strings.Count(errs, "\n"); lines != len(test.want) {
				t.Errorf("%d lines tell %d faults:\n%s", lines, len(test.want), errs)
			}
			if _, err := os.Stat(dir); !os.IsNotExist(err) {
				t.Errorf("a server with a wrong configuration has opened its data: %v", err)
			}
		})
	}
}

func TestFilesThatAreNoConfiguration(t *testing.T) {
	withoutSettings(t)
	dir := t.TempDir()
	refused(t, "--config "+dir+"/none: no such file or directory", "serve", "--config", dir+"/none")
	refused(t, "--config "+dir+": is a directory", "config", "print", "--config", dir)
	large := configFile(t, strings.Repeat("# nothing\n", maxConfigBytes/10+1))
	refused(t, large+": it is longer than", "serve", "--config", large)
	for _, empty := range []string{"", "\n", "# nothing\n", "---\n", "{}\n"} {
		if shown := effective(t, "--config", configFile(t, empty))["log-level"]; shown.From != "default" {
			t.Errorf("%q sets something", empty)
		}
	}
}

// What flags say wrong is told as what files do.
func TestFaultsOfFlags(t *testing.T) {
	withoutSettings(t)
	refused(t, "--log-requests some is unknown; it is off, errors, slow or all", "serve", "--log-requests", "some")
	refused(t, "--openfga-max-depth 0 is too small; it is at least 1", "serve", "--openfga-max-depth", "0")
	refused(t, `--backup-keep is "few", want a whole number; see remit serve --help`, "serve", "--backup-keep", "few")
	refused(t, `--log-slow is "5", want a time with a unit, such as 1m30s`, "serve", "--log-slow", "5")
	refused(t, "--data-dir is empty", "serve", "--data-dir", "")
	refused(t, "addr and admin-addr are both 127.0.0.1:1, must be two", "serve", "--addr", "127.0.0.1:1", "--grpc-addr", "127.0.0.1:2", "--admin-addr", "127.0.0.1:1", "--data-dir", t.TempDir())
	refused(t, "log-slow is -1s, must not be negative", "serve", "--log-slow", "-1s")
	refused(t, `admin-addr ":2112" can be reached from outside`, "serve", "--admin-addr", ":2112")
}

// What print shows can be used as the file.
func TestThePrintedConfigurationIsAFile(t *testing.T) {
	withoutSettings(t)
	args := []string{"--insecure", "--addr=:1", "--openfga-cors-origins=https://a.example,*", "--data-dir=#1: a", "--log-slow=1m", "--snapshot-interval=9m"}
	printed := must(t, append([]string{"config", "print"}, args...)...)
	var values map[string]any
	if err := yaml.Unmarshal([]byte(printed), &values); err != nil {
		t.Fatal(err)
	}
	file := configFile(t, printed)
	first, again := effective(t, args...), effective(t, "--config", file)
	if len(first) != len(again) || len(values) != len(first) {
		t.Fatalf("%d settings, %d in the file, %d of it", len(first), len(values), len(again))
	}
	for key, s := range first {
		if fmt.Sprint(again[key].Value) != fmt.Sprint(s.Value) || !strings.HasPrefix(again[key].From, file) {
			t.Errorf("%s is %v from %s, was %v", key, again[key].Value, again[key].From, s.Value)
		}
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	const canary = "canary-7cf1"
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	s := &settings{flags: flags}
	var secret, none string
	s.text(&secret, "one-secret", "", "a `secret`").secret = true
	s.text(&none, "no-secret", "", "a `secret`").secret = true
	if err := flags.Parse([]string{"--one-secret", canary}); err != nil {
		t.Fatal(err)
	}
	if err := s.resolve(); err != nil || secret != canary {
		t.Fatal(secret, err)
	}
	var out strings.Builder
	for _, output := range []string{"json", "yaml"} {
		if err := (&app{stdout: &out, output: output}).printSettings(s); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Contains(out.String(), canary) || strings.Count(out.String(), hiddenValue) != 2 {
		t.Errorf("printed is %s", out.String())
	}
}

// The schema is a file that editors can be pointed to; -rewrite records it. It takes what
// serve takes, as far as a schema can say.
func TestTheSchemaIsOfTheFile(t *testing.T) {
	golden(t, "../../../scripts/remit.schema.json", must(t, "config", "schema"))
	properties := tableOfSettings().schema()["properties"].(map[string]any)
	for _, s := range tableOfSettings().all {
		property := properties[s.Name].(map[string]any)
		pattern, ok := property["pattern"].(string)
		if !ok {
			continue
		}
		re := regexp.MustCompile(pattern)
		good, bad := append(s.samples(), s.DefValue), []string{"x", "8080", "a/b", "1 s", "1"}
		if s.kind == span {
			good = append(good, "-1s", "1m30s", "1.5h", "300µs", "0s")
		} else {
			good = append(good, ":1", "[::1]:80", "localhost:http")
		}
		for _, value := range good {
			if !re.MatchString(value) {
				t.Errorf("%s: the schema refuses %s", s.Name, value)
			}
		}
		for _, value := range bad {
			if re.MatchString(value) {
				t.Errorf("%s: the schema takes %s", s.Name, value)
			}
		}
	}
}
