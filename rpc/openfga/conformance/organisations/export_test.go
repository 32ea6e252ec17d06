package organisations

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"github.com/openfga/language/pkg/go/transformer"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/crm/crmtest"
	"github.com/remit-authz/remit/rpc/openfga/conformance"
)

// targets are who is asked: Remit, or what CONFORMANCE_TARGET puts in its place, and
// OpenFGA.
var targets [2]*conformance.Target

func TestMain(m *testing.M) {
	os.Exit(run(m)) //nolint:forbidigo // the servers' ends decide too
}

// run runs the tests between the start and the end of both servers. A server that does
// not end well is a failure.
func run(m *testing.M) (code int) {
	ctx := context.Background()
	openFGA := func(ctx context.Context) (*conformance.Target, error) { return conformance.StartOpenFGA(ctx, "") }
	for i, start := range []func(context.Context) (*conformance.Target, error){conformance.Start, openFGA} {
		t, err := start(ctx)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		targets[i] = t
		defer func() {
			if err := t.Close(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = 1
			}
		}()
	}
	return m.Run()
}

const (
	// fewOrganisations are asked about by default, allOrganisations with REMIT_TEST_ALL=1:
	// each takes some two thousand decisions.
	fewOrganisations = 6
	allOrganisations = 50

	// leastDecisions is what an organisation takes at least, or something is not asked.
	leastDecisions = 500

	// instants are at how many more it is asked who is on duty.
	instants = 10

	workers = 4

	// perWrite is how many tuples OpenFGA takes in one write.
	perWrite = 100

	// patience is how long an answer may take on a slow machine.
	patience = 30 * time.Second
)

// TestOpenFGAAnswersFromAnExportAsTheProcedureSays asks OpenFGA and Remit about exports of
// random organisations, at random instants of a night on which, for most, clocks change.
func TestOpenFGAAnswersFromAnExportAsTheProcedureSays(t *testing.T) {
	v := crmtest.VolumeOf(t, "organisations", fewOrganisations, allOrganisations)
	begin := time.Now()
	var decisions, allowed, checks, next atomic.Int64
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for !t.Failed() {
				n := v.First + int(next.Add(1)) - 1
				if n >= v.First+v.Count {
					return
				}
				g := crmtest.New(v.Seed^1<<48, uint64(n))
				a := ask(t, &v, n, g)
				decisions.Add(a.decisions)
				allowed.Add(a.allowed)
				checks.Add(a.checks)
			}
		})
	}
	group.Wait()
	t.Logf("%d organisations, %d decisions, %d of them allowed, %d checks by %s and %s, %s", v.Count, decisions.Load(), allowed.Load(),
		checks.Load(), targets[0].Name, targets[1].Name, time.Since(begin).Round(time.Second))
	if all := decisions.Load(); !t.Failed() && all < leastDecisions*int64(v.Count) {
		t.Errorf("there were %d decisions, want %d for each organisation", all, leastDecisions)
	} else if yes := allowed.Load(); yes < all/20 || yes > all*19/20 { // or agreement says little
		t.Errorf("%d of %d decisions are allowed", yes, all)
	}
}

type tally struct{ decisions, allowed, checks int64 }

// ask puts everything there is to decide about an organisation to both targets, at one
// instant; who is on duty and who may act, at others too, near and far.
func ask(t *testing.T, v *crmtest.Volume, n int, r *crmtest.Generator) tally {
	g, o := v.Organisation(n, 0)
	now := g.Instant()
	horizon := crm.Period{From: now.AddDate(0, 0, -r.IntN(400)), Until: now.AddDate(0, 0, 1+r.IntN(400))}
	q := asking{t: t, again: v.Again(n), o: o}
	x, err := crm.Export(o, horizon)
	if err != nil {
		q.errorf("%v", err)
		return q.tally
	}
	for _, note := range x.Notes {
		q.errorf("%s", note)
	}
	for _, target := range targets {
		s, err := load(t.Context(), target, x)
		if err != nil {
			q.errorf("%s: %v", target.Name, err)
			return q.tally
		}
		q.stores = append(q.stores, s)
		defer func() {
			if err := s.delete(context.WithoutCancel(t.Context())); err != nil {
				q.errorf("%s: delete a store: %v", target.Name, err)
			}
		}()
	}
	q.at(now)
	crmtest.NewOracle(o, now).Decisions(q.decide)
	for i := range instants {
		if i%2 == 0 {
			q.at(g.Instant())
		} else {
			q.at(horizon.From.Add(time.Duration(r.Int64N(int64(horizon.Until.Sub(horizon.From))))))
		}
		q.presence()
	}
	return q.tally
}

// An asking asks about one organisation.
type asking struct {
	tally
	t      *testing.T
	again  string
	o      *crm.Organisation
	stores []*store

	now     time.Time
	context *structpb.Struct
}

func (q *asking) errorf(format string, args ...any) {
	q.t.Errorf(format+"\n%s", append(args, q.again)...)
}

// at is the instant of the questions that follow.
func (q *asking) at(now time.Time) {
	q.now = now
	q.context = &structpb.Struct{Fields: map[string]*structpb.Value{"now": structpb.NewStringValue(now.Format(time.RFC3339Nano))}}
	for _, s := range q.stores {
		s.answers = map[question]bool{}
	}
}

// presence asks who may act, and who is on duty.
func (q *asking) presence() {
	oracle := crmtest.NewOracle(q.o, q.now)
	for i := range q.o.Seats {
		s := &q.o.Seats[i]
		member := crmtest.Check{Object: graph.ObjectName{Type: "org", ID: q.o.ID}, Relation: "member"}
		q.decide(crmtest.Decision{Text: "member(" + s.ID + ")", User: s.ID, Checks: []crmtest.Check{member}, Allowed: oracle.MayAct(s)})
		for j := range q.o.Shifts {
			shift := &q.o.Shifts[j]
			q.decide(crmtest.Decision{
				Text: "on_duty(" + s.ID + ", " + shift.ID + ")", User: s.ID,
				Checks:  []crmtest.Check{{Object: shift.Key(), Relation: "on_duty"}},
				Allowed: oracle.OnDuty(s, shift.ID),
			})
		}
	}
}

// decide compares a decision, and reports whether to go on.
func (q *asking) decide(d crmtest.Decision) bool {
	q.decisions++
	if d.Allowed {
		q.allowed++
	}
	for _, s := range q.stores {
		got := true
		for _, c := range d.Checks {
			allowed, asked, err := s.check(q.t.Context(), question{c, d.User}, q.context)
			if err != nil {
				q.errorf("%s: %s at %s: %v", s.target.Name, d.Text, q.now.Format(time.RFC3339Nano), err)
				return false
			}
			if asked {
				q.checks++
			}
			got = got && allowed
		}
		if got != d.Allowed {
			q.errorf("%s: %s at %s = %v, want %v", s.target.Name, d.Text, q.now.Format(time.RFC3339Nano), got, d.Allowed)
		}
	}
	return true
}

// A store is an export as a server holds it.
type store struct {
	target    *conformance.Target
	client    openfgav1.OpenFGAServiceClient
	id, model string

	answers map[question]bool // of one instant: decisions share checks
}

// A question is a check of a user.
type question struct {
	crmtest.Check
	user string
}

func load(ctx context.Context, target *conformance.Target, x *crm.Exported) (*store, error) {
	s := &store{target: target, client: openfgav1.NewOpenFGAServiceClient(target.Conn)}
	created, err := s.client.CreateStore(ctx, &openfgav1.CreateStoreRequest{Name: "organisation"})
	if err != nil {
		return nil, err
	}
	s.id = created.GetId()
	model, err := transformer.TransformDSLToProto(x.Model)
	if err != nil {
		return nil, err
	}
	written, err := s.client.WriteAuthorizationModel(ctx, &openfgav1.WriteAuthorizationModelRequest{
		StoreId: s.id, SchemaVersion: model.GetSchemaVersion(), TypeDefinitions: model.GetTypeDefinitions(), Conditions: model.GetConditions(),
	})
	if err != nil {
		return nil, err
	}
	s.model = written.GetAuthorizationModelId()
	for tuples := range slices.Chunk(x.Tuples, perWrite) {
		keys := make([]*openfgav1.TupleKey, len(tuples))
		for i, tuple := range tuples {
			if keys[i], err = key(tuple); err != nil {
				return nil, err
			}
		}
		if _, err := s.client.Write(ctx, &openfgav1.WriteRequest{
			StoreId: s.id, AuthorizationModelId: s.model, Writes: &openfgav1.WriteRequestWrites{TupleKeys: keys},
		}); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// key is a tuple as the API has it, which knows no expiry.
func key(t graph.Tuple) (*openfgav1.TupleKey, error) {
	k := &openfgav1.TupleKey{User: t.Subject.String(), Relation: t.Relation, Object: t.Object.String()}
	if !t.Expires.IsZero() {
		return nil, fmt.Errorf("%s expires, which no export may leave to the store", t)
	}
	if t.Condition == "" {
		return k, nil
	}
	fields, err := structpb.NewStruct(t.Context)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t, err)
	}
	k.Condition = &openfgav1.RelationshipCondition{Name: t.Condition, Context: fields}
	return k, nil
}

// check also tells whether the server was asked, or had been before.
func (s *store) check(ctx context.Context, q question, instant *structpb.Struct) (allowed, asked bool, err error) {
	if allowed, known := s.answers[q]; known {
		return allowed, false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := s.client.Check(ctx, &openfgav1.CheckRequest{
		StoreId: s.id, AuthorizationModelId: s.model, Context: instant,
		TupleKey: &openfgav1.CheckRequestTupleKey{
			User: "user:" + crm.ExportID(q.user), Relation: q.Relation, Object: q.Object.Type + ":" + crm.ExportID(q.Object.ID),
		},
	})
	if err == nil {
		s.answers[q] = r.GetAllowed()
	}
	return r.GetAllowed(), true, err
}

func (s *store) delete(ctx context.Context) error {
	_, err := s.client.DeleteStore(ctx, &openfgav1.DeleteStoreRequest{StoreId: s.id})
	return err
}
