package rpc

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/remit-authz/remit/bench/workload"
	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// A scaledCompany is a large organisation on a lone node.
type scaledCompany struct {
	*askedOrganisation
	company *workload.Company
}

// newScaledCompany makes a tenth of the full size, or all of it with REMIT_TEST_ALL.
func newScaledCompany(t testing.TB, r *rig) *scaledCompany {
	t.Helper()
	divided := 10
	if os.Getenv("REMIT_TEST_ALL") != "" {
		divided = 1
	}
	begin := time.Now()
	c := &scaledCompany{company: workload.Full(divided)}
	c.askedOrganisation = r.organisation("company", c.company.Organisation, noon)
	c.writeRecords()
	t.Logf("%d users, %d roles, %d rules per module, %d records, made in %v", c.company.Users, c.company.Roles,
		workload.RulesPerModule, c.company.Records, time.Since(begin).Round(time.Millisecond))
	return c
}

func (c *scaledCompany) head() *fsm.Store {
	c.t.Helper()
	head, err := backend.FindStore(c.t.Context(), c.config.State.Current(), "store", c.store)
	if err != nil {
		c.t.Fatal(err)
	}
	return head
}

func (c *scaledCompany) opened() *organisation {
	c.t.Helper()
	s := &organisationService{streamer: streamer{reader: c.reader()}}
	o, err := s.organisation("store", backend.HeadOf(c.head()))
	if err != nil {
		c.t.Fatal(err)
	}
	return o
}

// writeRecords writes them as their planner encodes them.
func (c *scaledCompany) writeRecords() {
	c.t.Helper()
	o := c.opened()
	w := planned{symbols: o.Symbols, plan: o.Plan.Plan}
	frame := crm.Organisation{ID: c.o.ID, Modules: c.o.Modules}
	without := crm.Encode(&frame)
	some := slices.Collect(c.company.AllRecords())
	for len(some) > 0 {
		part := frame
		n := min(len(some), 2000)
		part.Records, some = some[:n], some[n:]
		body, err := w.write(crm.Difference(without, crm.Encode(&part)))
		if err != nil {
			c.t.Fatal(err)
		}
		c.done(&fsm.Command{Store: o.Head.ID(), Planned: true, Body: body})
	}
}

// quantiles are the median and the 99th percentile.
func quantiles(times []time.Duration) (median, p99 time.Duration) {
	times = slices.Sorted(slices.Values(times))
	return times[len(times)/2], times[len(times)*99/100]
}

func reportTimes(b *testing.B, what string, times []time.Duration) {
	median, p99 := quantiles(times)
	b.ReportMetric(float64(median.Nanoseconds())/1000, what+"-median-µs")
	b.ReportMetric(float64(p99.Nanoseconds())/1000, what+"-p99-µs")
}

// BenchmarkCompany asks and changes a large organisation: a tenth of 100,000 users, 5,000
// roles, 300 rules per module and 1,000,000 records, or all with REMIT_TEST_ALL.
func BenchmarkCompany(b *testing.B) {
	c := newScaledCompany(b, newSyncedRig(b))
	b.Run("can", c.benchmarkCan)
	b.Run("change", c.benchmarkChange)
	b.Run("reorganise", c.benchmarkReorganisation)
}

// An asked question is one that 100 rules apply to, and how it must be answered.
type askedQuestion struct {
	workload.Viewing
	allowed bool
}

// questions are about records of a module: half are allowed by a rule, half are denied.
func (c *scaledCompany) questions(b *testing.B, module string, n int) []askedQuestion {
	b.Helper()
	allowed, others := c.company.Viewings(module, n)
	var list []askedQuestion
	for i := range allowed {
		list = append(list, askedQuestion{allowed[i], true})
		may, err := c.can(c.scope(), others[i].User, "view", others[i].Record.String(), "")
		if err != nil {
			b.Fatal(err)
		}
		if !may { // or it is a superior
			list = append(list, askedQuestion{others[i], false})
		}
	}
	return list
}

// benchmarkCan times each question by itself: no rule of accounts lets superiors in, a
// tenth of those of deals do, and a third of those of leads. The first way is as it is just
// after the structure has changed, when nothing is remembered. Before the others each
// question has been asked once, and while the last ones are, records are transferred.
func (c *scaledCompany) benchmarkCan(b *testing.B) {
	o := c.opened()
	service := &organisationService{streamer: streamer{reader: c.reader()}}
	ways := []struct {
		name string
		ask  func(q askedQuestion) (bool, error)
	}{
		{"forgotten", c.evaluator(b, o, func() *graph.Cache {
			return graph.NewCache(o.Plan.Plan, o.Plan.Deeds.Structure(), func() int64 { return 1 << 30 })
		})},
		{"evaluator", c.evaluator(b, o, func() *graph.Cache { return o.Plan.Cache })},
		{"handler", func(q askedQuestion) (bool, error) {
			res, err := service.Can(b.Context(), &remitv1.CanRequest{
				Scope: c.scope(), Deed: &remitv1.Deed{User: q.User, Action: "view", On: q.Record.String()},
			})
			return res.GetAllowed(), err
		}},
		{"in-process", func(q askedQuestion) (bool, error) {
			return c.can(c.scope(), q.User, "view", q.Record.String(), "")
		}},
	}
	for _, module := range []string{"account", "deal", "lead"} {
		questions := c.questions(b, module, 1000)
		for _, way := range ways {
			b.Run(module+"/"+way.name, func(b *testing.B) {
				times := map[bool][]time.Duration{}
				if way.name != "forgotten" {
					for _, q := range questions {
						if _, err := way.ask(q); err != nil {
							b.Fatal(err)
						}
					}
				}
				for i := 0; b.Loop(); i++ {
					q := questions[i%len(questions)]
					if way.name == "in-process" && i%20 == 0 {
						c.transfer(b, i)
					}
					begin := time.Now()
					may, err := way.ask(q)
					times[q.allowed] = append(times[q.allowed], time.Since(begin))
					if err != nil || may != q.allowed {
						b.Fatalf("%v: %v, %v", q, may, err)
					}
				}
				if len(times[true]) == 0 || len(times[false]) == 0 {
					return // the first try is of one question
				}
				reportTimes(b, "allow", times[true])
				reportTimes(b, "deny", times[false])
				reportTimes(b, "all", slices.Concat(times[true], times[false]))
			})
		}
	}
}

// transfer gives a record that nobody asks about to somebody else.
func (c *scaledCompany) transfer(b *testing.B, i int) {
	b.Helper()
	to := workload.User(c.company.Users/2 + i/20%2)
	if _, err := c.org.Change(b.Context(), &remitv1.ChangeRequest{Store: c.store, Edits: []*remitv1.Edit{{
		Edit: &remitv1.Edit_Transfer{Transfer: &remitv1.TransferRecords{Records: []string{"deal:0000003"}, To: to}},
	}}}); err != nil {
		b.Fatal(err)
	}
}

// evaluator asks the evaluator of the relation that decides, by ids.
func (c *scaledCompany) evaluator(b *testing.B, o *organisation, cache func() *graph.Cache) func(q askedQuestion) (bool, error) {
	b.Helper()
	view, p := o.Base, o.Plan.Plan
	users, ok := p.Type("user")
	if !ok {
		b.Fatal("the model has no users")
	}
	return func(q askedQuestion) (bool, error) {
		r, err := graph.ResolveRelation(p, q.Record.Module, crm.ActionView.Relation())
		if err != nil {
			return false, err
		}
		record, _, err := view.Lookup(r.Type.ID, q.Record.ID)
		if err != nil {
			return false, err
		}
		user, _, err := view.Lookup(users.ID, q.User)
		if err != nil {
			return false, err
		}
		query := graph.Query{View: view, Plan: p, At: c.at, Cache: cache()}
		return query.Check(b.Context(), graph.Userset{Object: record, Relation: r.ID}, graph.Subject{ID: user})
	}
}

// An adminChange is one of constant cost, which differs with the number given.
type adminChange struct {
	name string
	edit func(i int) *remitv1.Edit
}

func (c *scaledCompany) adminChanges() []adminChange {
	half := c.company.Users / 2
	leaf := c.company.Roles - 1
	return []adminChange{
		{"move a user", func(i int) *remitv1.Edit {
			return putOf(aSeat(&remitv1.Seat{Id: workload.User(half), Role: workload.Role(leaf - i%2)}), "role")
		}},
		{"reparent a role", func(i int) *remitv1.Edit {
			return putOf(aRole(&remitv1.Role{Id: workload.Role(leaf), Parent: workload.Role(leaf/2 + i%2)}), "parent")
		}},
		{"create a rule", func(i int) *remitv1.Edit {
			id := fmt.Sprintf("made-%d-%d", i, time.Now().UnixNano())
			return putOf(aRule(&remitv1.SharingRule{
				Id: id, Name: id, Module: "deal", Source: "role:" + workload.Role(leaf), Target: "user:" + workload.User(half), Level: toView,
			}))
		}},
		{"toggle a rule", func(i int) *remitv1.Edit {
			return putOf(aRule(&remitv1.SharingRule{Id: workload.Rule("deal", 7), Disabled: i%2 == 1}), "disabled")
		}},
		{"change a shift's hours", func(i int) *remitv1.Edit {
			days := map[string]string{"monday": []string{"09:00-17:00", "10:00-18:00"}[i%2]}
			return putOf(aShift(&remitv1.Shift{Id: "day", Hours: &remitv1.Hours{Zone: "UTC", Days: days}}), "hours")
		}},
		{"transfer a record", func(i int) *remitv1.Edit {
			return &remitv1.Edit{Edit: &remitv1.Edit_Transfer{Transfer: &remitv1.TransferRecords{
				Records: []string{"deal:0000003"}, To: workload.User(half + i%2),
			}}}
		}},
	}
}

// benchmarkChange times changes of constant cost and plain writes of as many tuples, by
// turns.
func (c *scaledCompany) benchmarkChange(b *testing.B) {
	plain := c.rig.store("plain")
	for _, change := range c.adminChanges() {
		b.Run(change.name, func(b *testing.B) {
			var changes, writes []time.Duration
			var tuples int
			i := 0
			for b.Loop() {
				i++
				edits := []*remitv1.Edit{change.edit(i)}
				begin := time.Now()
				res, err := c.org.Change(b.Context(), &remitv1.ChangeRequest{Store: c.store, Edits: edits})
				changes = append(changes, time.Since(begin))
				if err != nil {
					b.Fatal(err)
				}
				tuples = int(res.Tuples)
				list := make([]string, tuples)
				for j := range list {
					list[j] = fmt.Sprintf("document:d%d-%d#owner@user:ann", i, j)
				}
				begin = time.Now()
				c.write(plain, list...)
				writes = append(writes, time.Since(begin))
			}
			reportTimes(b, "change", changes)
			reportTimes(b, "plain", writes)
			m, _ := quantiles(changes)
			p, _ := quantiles(writes)
			b.ReportMetric(float64(m)/float64(p), "ratio")
			b.ReportMetric(float64(tuples), "tuples")
		})
	}
}

// benchmarkReorganisation previews a change that moves 700 users, or the same part of a
// smaller company.
func (c *scaledCompany) benchmarkReorganisation(b *testing.B) {
	var edits []*remitv1.Edit
	n := 7 * c.company.Users / 1000
	for i := range n {
		user := c.company.Users/16 + i*(c.company.Users*9/10/n)
		to := c.company.RoleOf(c.company.Users - 1 - i)
		edits = append(edits, putOf(aSeat(&remitv1.Seat{Id: workload.User(user), Role: workload.Role(to)}), "role"))
	}
	rig := &orgRig{rig: c.rig, org: c.org, store: c.store}
	for b.Loop() {
		plan, err := rig.planOf(&remitv1.PlanChangeRequest{Store: c.store, Edits: edits, At: c.scope().At})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(plan.Entities)), "moved")
		b.ReportMetric(float64(plan.UsersGaining), "gaining")
		b.ReportMetric(float64(plan.UsersLosing), "losing")
	}
}
