package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/cmd/remit/orgfile"
	"github.com/remit-authz/remit/cmd/remit/server"
	"github.com/remit-authz/remit/graph/schedule"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

//go:embed demo
var demoFiles embed.FS

const (
	demoFile  = "demo/acme.org.yaml"
	demoStore = "acme"
)

func (a *app) demoCommand() *cobra.Command {
	var config server.Config
	var once bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run the service with an example organisation, and show decisions",
		Long: `Demo starts a durable one-node service, loads the example organisation acme (a role
tree, groups, profiles, a sharing rule, records, a shift) unless it is there already,
prints real decisions with the reasons for them, and goes on serving.`,
		Example:     "  remit demo\n  remit demo --once\n  remit demo --data-dir /tmp/acme --addr 127.0.0.1:9080",
		GroupID:     groupRun,
		Args:        cobra.NoArgs,
		Annotations: local,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if once {
				// Nobody calls a demo that ends at once, so it need not claim known ports.
				for flag, addr := range map[string]*string{"addr": &config.Addr, "grpc-addr": &config.GRPCAddr} {
					if !cmd.Flags().Changed(flag) {
						*addr = "127.0.0.1:0"
					}
				}
			}
			var err error
			if config.Log, err = newLog(a.stderr, "text", "error"); err != nil {
				return err
			}
			config.Version = buildVersion()
			return a.demo(cmd.Context(), config, once)
		},
	}
	serverSettings(&settings{flags: cmd.Flags()}, &config)
	cmd.Flags().StringVar(&config.DataDir, "data-dir", "./data/demo", "the `folder` that holds all data")
	cmd.Flags().BoolVar(&once, "once", false, "end after printing")
	return cmd
}

// demo runs a service and shows what it answers.
func (a *app) demo(ctx context.Context, config server.Config, once bool) error {
	s, err := openServer(ctx, config)
	if err != nil {
		return err
	}
	addr := s.Addr()
	serving, stop := context.WithCancel(ctx)
	defer stop()
	served := make(chan error, 1)
	go func() { served <- s.Run(serving) }()

	showErr := a.showDemo(serving, addr, config.DataDir)
	if showErr == nil && !once {
		a.printDemoCommands(addr)
		select {
		case <-ctx.Done():
		case err := <-served: // it failed on its own
			return err
		}
	}
	stop()
	return errors.Join(showErr, <-served)
}

// showDemo loads the organisation and prints decisions, through the API as any client.
func (a *app) showDemo(ctx context.Context, addr, dir string) error {
	a.addrs, a.store = []string{addr}, demoStore
	c, err := a.client()
	if err != nil {
		return err
	}
	if _, err := call(ctx, a, c.node.GetNode, &remitv1.GetNodeRequest{}); err != nil {
		return err
	}
	d := &demo{app: a, client: c, w: a.stdout, p: colours(a.stdout)}
	printf(d.w, "%s  a durable node on %s, its data in %s\n", d.p.bold("remit demo"), addr, dir)
	if err := d.load(ctx); err != nil {
		return err
	}
	return d.show(ctx, time.Now())
}

// A demo is one showing.
type demo struct {
	app    *app
	client *services
	w      io.Writer
	p      palette
	shown  int
}

// load makes the organisation if it is not there. A first start that was cut off is taken
// up again.
func (d *demo) load(ctx context.Context) error {
	file, err := orgfile.ReadFS(demoFiles, demoFile)
	if err != nil {
		return err
	}
	p := &planning{app: d.app, client: d.client, file: file}
	if p.store, err = d.app.createFor(ctx, d.client, demoStore, file); err != nil {
		return err
	}
	if err := p.compare(ctx); err != nil {
		return err
	}
	if len(p.state.Organisation.Records) > 0 {
		printf(d.w, "%s is loaded already (delete the folder to begin anew)\n", demoStore)
		return nil
	}
	done, err := p.apply(ctx)
	if err != nil {
		return err
	}
	printf(d.w, "loaded organisation %s: %s, %s, written in one change\n", demoStore,
		thousands(done.Made+done.Changed)+" entities", counted(int(done.Tuples), "tuple"))
	return nil
}

// show asks what acme's people would ask.
func (d *demo) show(ctx context.Context, now time.Time) error {
	for _, q := range []struct{ title, user, action, record string }{
		{"Rob owns the deal Orion.", "rob", "edit", "deal:orion"},
		{"Sam heads sales, two roles above Rob.", "sam", "view", "deal:orion"},
		{"Lea is in the deal desk; a sharing rule shows it the deals of EMEA …", "lea", "view", "deal:orion"},
		{"… but does not let it change them.", "lea", "edit", "deal:orion"},
		{"Noa sells in America: another branch of the tree.", "noa", "view", "deal:orion"},
		{"The deal Atlas is secret: superiors do not see it.", "sam", "view", "deal:atlas"},
		{"Eve is suspended, and does not even see what she owns.", "eve", "view", "deal:lyra"},
	} {
		if err := d.why(ctx, q.title, time.Time{}, q.user, q.action, q.record); err != nil {
			return err
		}
	}
	if err := d.lists(ctx); err != nil {
		return err
	}
	opens, err := d.shiftBegins(ctx, now)
	if err != nil {
		return err
	}
	title := fmt.Sprintf("Kim works the night shift, in Paris. At %s, a second before it begins:", opens.Add(-time.Second).Format("15:04:05 on 2 January"))
	if err := d.why(ctx, title, opens.Add(-time.Second), "kim", "view", "account:aurora"); err != nil {
		return err
	}
	return d.why(ctx, "And at "+opens.Format("15:04:05")+", with nothing written in between:", opens, "kim", "view", "account:aurora")
}

// shiftBegins is when acme's night shift begins next, in its zone. It lies ahead: an
// instant before tuples expired could not be asked for.
func (d *demo) shiftBegins(ctx context.Context, now time.Time) (time.Time, error) {
	read, err := call(ctx, d.app, d.client.tuples.Read, &remitv1.ReadRequest{
		Store: demoStore, Filter: &remitv1.TupleFilter{Object: "shift:night", Relation: "open"},
	})
	if err != nil {
		return time.Time{}, err
	}
	if len(read.GetTuples()) != 1 {
		return time.Time{}, errors.New("the hours of shift:night are gone; delete the folder to begin anew")
	}
	fields, _ := read.GetTuples()[0].GetTuple().GetCondition().GetContext().AsMap()["schedule"].(map[string]any)
	hours, err := schedule.Parse(fields)
	if err != nil {
		return time.Time{}, fmt.Errorf("the hours of shift:night: %w", err)
	}
	zone, err := time.LoadLocation(hours.Zone())
	if err != nil {
		return time.Time{}, err
	}
	for at, ok := hours.Next(now.Add(time.Minute)); ok; at, ok = hours.Next(at) {
		if local := at.In(zone); hours.Open(at) && local.Hour() >= 12 { // not the end of a break
			return local, nil
		}
	}
	return time.Time{}, errors.New("shift:night does not begin again; delete the folder to begin anew")
}

func (d *demo) heading(title string) {
	d.shown++
	printf(d.w, "\n%s %s\n", d.p.faint(fmt.Sprintf("%2d", d.shown)), d.p.bold(title))
}

func (d *demo) why(ctx context.Context, title string, at time.Time, user, action, record string) error {
	scope := &remitv1.OrganisationScope{Store: demoStore}
	if !at.IsZero() {
		scope.At = timestamppb.New(at)
	}
	answer, err := call(ctx, d.app, d.client.organisations.Why, &remitv1.WhyRequest{
		Scope: scope, Deed: &remitv1.Deed{User: user, Action: action, On: record},
	})
	if err != nil {
		return err
	}
	d.heading(title)
	for _, g := range slices.Concat(answer.Grounds, answer.Missing) {
		g.By, g.Since = "", nil // all of it was set a moment ago
	}
	return d.app.printWhy(indented{d.w, "   "}, answer, user+" "+action+" "+record)
}

func (d *demo) lists(ctx context.Context) error {
	scope := &remitv1.OrganisationScope{Store: demoStore}
	what, err := call(ctx, d.app, d.client.organisations.ListRecords, &remitv1.ListRecordsRequest{Scope: scope, User: "sam", Module: "deal"})
	if err != nil {
		return err
	}
	d.heading("Which deals does Sam see?")
	for _, id := range what.GetIds() {
		printf(d.w, "   deal:%s\n", id)
	}
	who, err := call(ctx, d.app, d.client.organisations.ListUsersWithAccess, &remitv1.ListUsersWithAccessRequest{Scope: scope, Record: "deal:orion"})
	if err != nil {
		return err
	}
	d.heading("Who sees the deal Orion?")
	for _, id := range who.GetUsers() {
		printf(d.w, "   %s\n", id)
	}
	return nil
}

// printDemoCommands prints three commands that work as they stand.
func (a *app) printDemoCommands(addr string) {
	p := colours(a.stdout)
	flags := " --store " + demoStore
	if addr != defaultAddr || os.Getenv("REMIT_ADDR") != "" {
		flags += " --addr " + dialable(addr)
	}
	printf(a.stdout, "\n%s http://%s, until you stop it (Ctrl-C). In another terminal, try:\n", p.good("serving on"), addr)
	for _, command := range []string{
		"org why noa view deal:orion",
		"org share add deal:orion --to user:noa --level view",
		"org who deal:orion",
	} {
		printf(a.stdout, "  %s %s%s\n", programName(), command, flags)
	}
}

// dialable is an address that can be called: one that listens everywhere is called on
// this machine.
func dialable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return addr
}

// programName is how the program was called, so that a printed command works again.
func programName() string { return shellWord(os.Args[0]) }
