package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/cmd/remit/server"
	"github.com/remit-authz/remit/cmd/remit/storefile"
	"github.com/remit-authz/remit/graph/schedule"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

//go:embed demo
var demoFiles embed.FS

const (
	demoFile  = "demo/acme.fga.yaml"
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

// load imports the organisation if it is not there. A first start that was cut off
// leaves a store without tuples, and is taken up again.
func (d *demo) load(ctx context.Context) error {
	file, err := storefile.ReadFS(demoFiles, demoFile)
	if err != nil {
		return err
	}
	page, err := call(ctx, d.app, d.client.stores.ListStores, &remitv1.ListStoresRequest{Name: demoStore, PageSize: 1})
	if err != nil {
		return err
	}
	into := ""
	if stores := page.GetStores(); len(stores) > 0 {
		if n := stores[0].GetTupleCount(); n > 0 {
			printf(d.w, "%s is loaded already: %s (delete the folder to begin anew)\n", demoStore, counted(int(n), "tuple"))
			return nil
		}
		into = stores[0].GetId()
	}
	done, err := d.app.importFile(ctx, d.client, file, demoStore, into)
	if err != nil {
		return err
	}
	printf(d.w, "loaded organisation %s: a model and %s\n", demoStore, counted(done.Tuples, "tuple"))
	return nil
}

// show asks what acme's people would ask.
func (d *demo) show(ctx context.Context, now time.Time) error {
	for _, q := range []struct{ title, subject, relation, object string }{
		{"Rob owns the deal Orion.", "user:rob", "can_view", "deal:orion"},
		{"Sam heads sales, two roles above Rob.", "user:sam", "can_view", "deal:orion"},
		{"Lea is in the deal desk; a sharing rule shows it the deals of EMEA …", "user:lea", "can_view", "deal:orion"},
		{"… but does not let it change them.", "user:lea", "can_edit", "deal:orion"},
		{"Noa sells in America: another branch of the tree.", "user:noa", "can_view", "deal:orion"},
		{"The deal Atlas is secret: superiors do not see it.", "user:sam", "can_view", "deal:atlas"},
		{"Eve is suspended, and does not even see what she owns.", "user:eve", "can_view", "deal:lyra"},
	} {
		if err := d.explain(ctx, q.title, time.Time{}, &remitv1.Question{Subject: q.subject, Relation: q.relation, Object: q.object}); err != nil {
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
	kim := &remitv1.Question{Subject: "user:kim", Relation: "can_view", Object: "account:aurora"}
	title := fmt.Sprintf("Kim works the night shift, in Paris. At %s, a second before it begins:", opens.Add(-time.Second).Format("15:04:05 on 2 January"))
	if err := d.explain(ctx, title, opens.Add(-time.Second), kim); err != nil {
		return err
	}
	return d.explain(ctx, "And at "+opens.Format("15:04:05")+", with no tuple written in between:", opens, kim)
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
	fields, _ := read.GetTuples()[0].GetTuple().GetCondition().GetContext().AsMap()["hours"].(map[string]any)
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

func (d *demo) explain(ctx context.Context, title string, at time.Time, q *remitv1.Question) error {
	scope := &remitv1.Scope{Store: demoStore}
	if !at.IsZero() {
		scope.At = timestamppb.New(at)
	}
	answer, err := call(ctx, d.app, d.client.access.Explain, &remitv1.ExplainRequest{Scope: scope, Question: q})
	if err != nil {
		return err
	}
	d.heading(title)
	return writeExplanation(indented{d.w, "   "}, d.p, q, answer)
}

func (d *demo) lists(ctx context.Context) error {
	scope := &remitv1.Scope{Store: demoStore}
	what, err := call(ctx, d.app, d.client.access.ListObjects, &remitv1.ListObjectsRequest{
		Scope: scope, Subject: "user:sam", Relation: "can_view", Type: "deal",
	})
	if err != nil {
		return err
	}
	d.heading("Which deals does Sam see?")
	for _, id := range what.GetIds() {
		printf(d.w, "   deal:%s\n", id)
	}
	who, err := call(ctx, d.app, d.client.access.ListSubjects, &remitv1.ListSubjectsRequest{
		Scope: scope, Object: "deal:orion", Relation: "can_view", SubjectType: "user",
	})
	if err != nil {
		return err
	}
	d.heading("Who sees the deal Orion?")
	for _, s := range who.GetSubjects() {
		printf(d.w, "   %s\n", subjectText(s))
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
		"who can_view deal:orion",
		"explain user:noa can_view deal:orion",
		"write deal:orion#shared@user:noa",
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
