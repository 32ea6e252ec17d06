package client_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"log"
	"os"
	"testing"
	"time"

	"github.com/remit-authz/remit/rpc"
	"github.com/remit-authz/remit/rpc/client"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// addr is where the examples find a server.
var addr string

func TestMain(m *testing.M) {
	code, err := runWithServer(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code) //nolint:forbidigo // where the process of the tests ends
}

func runWithServer(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "remit-client-*")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	state, node, err := openNode(ctx, dir)
	if err != nil {
		return 0, err
	}
	server, err := rpc.Listen(ctx, rpc.Config{Addr: "127.0.0.1:0", GRPCAddr: "127.0.0.1:0", State: state, Node: node})
	if err != nil {
		return 0, err
	}
	addr = server.Addr().String()
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	code = m.Run()
	cancel()
	for _, stopped := range []error{<-done, node.Close(), state.Close()} {
		if stopped != nil {
			return code, stopped
		}
	}
	return code, nil
}

func Example() {
	c, err := client.New(client.Config{Addrs: []string{addr}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx := context.Background()

	if _, err := c.Stores.CreateStore(ctx, &remitv1.CreateStoreRequest{Name: "library"}); err != nil {
		log.Fatal(err)
	}
	_, err = c.Models.WriteModel(ctx, &remitv1.WriteModelRequest{Store: "library", Source: &remitv1.ModelSource{
		Source: &remitv1.ModelSource_Dsl{Dsl: `model
  schema 1.1
type user
type book
  relations
    define reader: [user]
`},
	}})
	if err != nil {
		log.Fatal(err)
	}
	// The write carries an idempotency key, so it is safe to repeat it until it is known
	// to have taken effect.
	_, err = c.Tuples.Write(ctx, &remitv1.WriteRequest{Store: "library", Operations: []*remitv1.Operation{{
		Kind:  remitv1.Operation_KIND_TOUCH,
		Tuple: &remitv1.Tuple{Object: "book:ulysses", Relation: "reader", Subject: "user:anna"},
	}}})
	if err != nil {
		log.Fatal(err)
	}
	// The check sees the write, whichever node answers it.
	answer, err := c.Access.Check(ctx, &remitv1.CheckRequest{
		Scope:    &remitv1.Scope{Store: "library"},
		Question: &remitv1.Question{Object: "book:ulysses", Relation: "reader", Subject: "user:anna"},
	})
	if err != nil {
		log.Fatal(err) // an error is never a no
	}
	fmt.Println(answer.GetAllowed())
	// Output: true
}

// An organisation answers what its people may do, and shows a change at once.
func ExampleClient_Records() {
	c, err := client.New(client.Config{Addrs: []string{addr}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx := context.Background()

	made, err := c.Organisations.CreateOrganisation(ctx, &remitv1.CreateOrganisationRequest{
		Name: "acme", Id: "acme", SuperAdmin: &remitv1.Seat{Id: "ann", Name: "Ann", Login: "ann@example.org"},
		Modules: []*remitv1.Module{{Id: "deal", Name: "Deals"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	deal := &remitv1.Entity{Entity: &remitv1.Entity_Record{Record: &remitv1.Record{Module: "deal", Id: "d1", Owner: "ann"}}}
	_, err = c.Organisations.Change(ctx, &remitv1.ChangeRequest{
		Store: made.GetStore(), Edits: []*remitv1.Edit{{Edit: &remitv1.Edit_Put{Put: &remitv1.Put{Entity: deal}}}},
	})
	if err != nil {
		log.Fatal(err)
	}
	scope := &remitv1.OrganisationScope{Store: made.GetStore()}
	answer, err := c.Organisations.Can(ctx, &remitv1.CanRequest{
		Scope: scope, Deed: &remitv1.Deed{User: "ann", Action: "edit", On: "deal:d1"},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer.GetAllowed())
	for id, err := range c.Records(ctx, &remitv1.ListRecordsRequest{Scope: scope, User: "ann", Module: "deal"}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(id)
	}
	// Output:
	// true
	// d1
}

// A list is gone through as a loop, whatever its length.
func ExampleClient_Objects() {
	c, err := client.New(client.Config{Addrs: []string{addr}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for id, err := range c.Objects(ctx, &remitv1.ListObjectsRequest{
		Scope: &remitv1.Scope{Store: "library"}, Type: "book", Relation: "reader", Subject: "user:anna",
	}) {
		if err != nil {
			log.Fatal(err) // the list is not complete
		}
		fmt.Println(id)
	}
	// Output: ulysses
}

// A watch goes on by itself when its connection breaks.
func ExampleClient_Watch() {
	c, err := client.New(client.Config{Addrs: []string{addr}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	request := &remitv1.WatchRequest{Stores: []string{"library"}, From: &remitv1.WatchRequest_Snapshot{Snapshot: true}}
	for message, err := range c.Watch(context.Background(), request) {
		if err != nil {
			log.Fatal(err)
		}
		for _, t := range message.GetSnapshot().GetTuples() {
			fmt.Println(t.GetSubject(), "is", t.GetRelation(), "of", t.GetObject())
		}
		if message.GetSnapshot().GetComplete() {
			return // an application would keep the message's resume, and go on
		}
	}
	// Output: user:anna is reader of book:ulysses
}

// Errors say why, and which part of the request is at fault.
func ExampleReason() {
	c, err := client.New(client.Config{Addrs: []string{addr}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	_, err = c.Stores.GetStore(context.Background(), &remitv1.GetStoreRequest{Store: "archive"})
	fmt.Println(client.Reason(err), client.Detail(err).GetField())
	// Output: ERROR_REASON_STORE_NOT_FOUND store
}

// Three nodes with TLS, and a key that is read anew when it is rotated.
func ExampleNew() {
	c, err := client.New(client.Config{
		Addrs:       []string{"https://a.remit.example:8080", "https://b.remit.example:8080", "https://c.remit.example:8080"},
		TLS:         &tls.Config{MinVersion: tls.VersionTLS13},
		Credentials: client.KeyFile("/run/secrets/remit"),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
}

// A service that is known to an identity provider.
func ExampleOIDC_Discover() {
	credentials, err := client.OIDC{
		Issuer: "https://login.example", ClientID: "billing", ClientSecret: os.Getenv("BILLING_SECRET"), Audience: "remit",
	}.Discover(context.Background())
	if err != nil {
		fmt.Println("the provider must be reachable")
		return
	}
	c, err := client.New(client.Config{Addrs: []string{"https://remit.example:8080"}, Credentials: credentials})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
}
