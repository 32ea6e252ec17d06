package rpc

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"

	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/crm/crmtest"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// Of several faults it is always the same one that is told.
func TestTheFirstFaultIsToldEachTime(t *testing.T) {
	profile, field := &remitv1.Profile{Id: "p"}, &remitv1.Field{Module: "deal", Id: "f"}
	for i := range 10 {
		insert(&profile.Modules, fmt.Sprint("m", i), &remitv1.Permissions{Permissions: []string{"read"}})
		insert(&field.Levels, fmt.Sprint("p", i), "none")
	}
	for range 20 {
		for _, e := range []*remitv1.Entity{aProfile(profile), aField(field)} {
			var fault *backend.FieldError
			if _, err := entityOf("", e); !errors.As(err, &fault) || !strings.Contains(fault.Field, `0"]`) {
				t.Fatalf("the fault of %v is %v", e, err)
			}
		}
	}
}

// Every entity of random organisations is the same when it has been a message on the wire.
func TestEntitiesRoundTrip(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	kinds := map[reflect.Type]int{}
	for n := range uint64(40) {
		g := crmtest.New(seed, n)
		o := g.Organisation(g.Modules())
		o.Sort()
		for e := range o.Entities() {
			kinds[reflect.TypeOf(e)]++
			m, err := entityMessage(e, 7)
			if err != nil {
				t.Fatalf("seed %d, %d: %s: %v", seed, n, e.Key(), err)
			}
			data, err := proto.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			received := &remitv1.Entity{}
			if err := proto.Unmarshal(data, received); err != nil {
				t.Fatal(err)
			}
			again, err := entityOf("", received)
			if err != nil {
				t.Fatalf("seed %d, %d: %s as a message is %v, and then %v", seed, n, e.Key(), m, err)
			}
			if diff := cmp.Diff(e, again, cmpopts.EquateEmpty()); diff != "" || received.Version != 7 {
				t.Fatalf("seed %d, %d: %s as a message:\n%s", seed, n, e.Key(), diff)
			}
			if kind := kindOfMessage(received); kind != kindOfKey(e.Key()) {
				t.Errorf("%s is a %v, and by its key a %v", e.Key(), kind, kindOfKey(e.Key()))
			}
			key, err := entityKey("", entityRef(e.Key()), o.ID)
			if err != nil || key != e.Key() {
				t.Errorf("the reference of %s is of %s, %v", e.Key(), key, err)
			}
			if differences, err := entityDifferences(e, again); err != nil || len(differences) > 0 {
				t.Errorf("%s differs from itself: %v, %v", e.Key(), differences, err)
			}
		}
	}
	for _, e := range []crm.Entity{
		&crm.Head{}, &crm.Seat{}, &crm.Role{}, &crm.Profile{}, &crm.Module{}, &crm.Field{}, &crm.Group{}, &crm.Team{}, &crm.Rule{}, &crm.Shift{}, &crm.Record{},
	} {
		if kinds[reflect.TypeOf(e)] == 0 {
			t.Errorf("there was no %T", e)
		}
	}
}
