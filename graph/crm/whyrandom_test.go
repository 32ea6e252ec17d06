package crm_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/crm/crmtest"
)

// An interview asks one random organisation why, about everything there is to ask.
type interview struct {
	t      *testing.T
	g      *crmtest.Generator
	o      *crm.Organisation
	store  *crm.Store
	oracle *crmtest.Oracle
	now    time.Time
	again  string

	modules map[string]*crm.Module
	records map[string]*crm.Record
}

func newInterview(t *testing.T, v *crmtest.Volume, n int) *interview {
	g, o := v.Organisation(n, 0)
	i := &interview{
		t: t, g: g, o: o, store: crm.Load(t, o, n%2 == 1), now: g.Instant(), again: v.Again(n),
		modules: map[string]*crm.Module{}, records: map[string]*crm.Record{},
	}
	i.oracle = crmtest.NewOracle(o, i.now)
	for k := range o.Modules {
		i.modules[o.Modules[k].ID] = &o.Modules[k]
	}
	for k := range o.Records {
		i.records[o.Records[k].Ref().String()] = &o.Records[k]
	}
	return i
}

// deeds visits everything that can be asked about.
func (i *interview) deeds(visit func(crm.Deed)) {
	deeds := i.store.Deeds(i.t)
	for _, s := range i.o.Seats {
		for _, r := range i.o.Records {
			on := r.Ref().String()
			deeds.OfRecord(r.Module, func(a crm.Action, _ *crm.Listing) {
				visit(crm.Deed{User: s.ID, Action: string(a), On: on})
			})
			for _, f := range i.o.Fields {
				if f.Module == r.Module {
					visit(crm.Deed{User: s.ID, Action: "view", On: on, Field: f.ID})
					visit(crm.Deed{User: s.ID, Action: "edit", On: on, Field: f.ID})
				}
			}
		}
		for _, m := range i.o.Modules {
			visit(crm.Deed{User: s.ID, Action: "create", On: m.ID})
		}
		for _, word := range crm.General() {
			visit(crm.Deed{User: s.ID, Action: word})
		}
		visit(crm.Deed{User: s.ID, Action: "share", On: "note:1"})
		visit(crm.Deed{User: s.ID, Action: "view", On: "account:none"})
	}
	visit(crm.Deed{User: "nobody", Action: "view", On: i.o.Records[0].Ref().String()})
}

func (i *interview) errorf(deed crm.Deed, a *crm.Answer, format string, args ...any) {
	i.t.Helper()
	i.t.Errorf("Why(%+v) at %s: %s\n%s\n%s", deed, i.now.Format(time.RFC3339Nano), fmt.Sprintf(format, args...), answerText(a), i.again)
}

func answerText(a *crm.Answer) string {
	var b strings.Builder
	fmt.Fprintf(&b, "allowed: %v, redacted: %v\n", a.Allowed, a.Redacted)
	for _, g := range slices.Concat(a.Grounds, a.Missing) {
		fmt.Fprintf(&b, "  %d %s [%s] %s\n", g.Kind, g.Level, g.Entity, g.Text)
	}
	return b.String()
}

// need is the level that an action needs.
func (i *interview) need(action string) crm.Level {
	switch crm.Action(action) {
	case crm.ActionView, crm.ActionExport:
		return crm.LevelView
	case crm.ActionEdit:
		return crm.LevelEdit
	case crm.ActionDelete:
		return crm.LevelDelete
	case crm.ActionShare, crm.ActionTransfer:
		return crm.LevelFull
	}
	if i.o.Settings.AddingNeedsEdit {
		return crm.LevelEdit
	}
	return crm.LevelView
}

// TestWhyAgreesWithTheEngine asks why about everything in random organisations: the answer is
// that of the engine, it gives the level that the procedure does, its grounds are all there
// are, and every kind of ground occurs.
func TestWhyAgreesWithTheEngine(t *testing.T) {
	v := crmtest.VolumeOf(t, "graph/crm", 12, 300)
	kinds, lacks := map[crm.GroundKind]int{}, map[crm.GroundKind]int{}
	asked, allowed := 0, 0
	for n := v.First; n < v.First+v.Count; n++ {
		i := newInterview(t, &v, n)
		i.deeds(func(deed crm.Deed) {
			a := i.store.Why(t, deed, i.now, nil)
			i.check(deed, a)
			if many := i.store.WhyOfMany(t, deed, i.now); answerText(many) != answerText(a) {
				i.errorf(deed, a, "with many subordinates it is\n%s", answerText(many))
			}
			for _, g := range a.Grounds {
				kinds[g.Kind]++
			}
			for _, g := range a.Missing {
				lacks[g.Kind]++
			}
			if asked++; a.Allowed {
				allowed++
			}
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%d organisations, %d answers, %d of them allowed", v.Count, asked, allowed)
	if v.Count == 1 {
		return
	}
	for k := crm.GroundOwner; k <= crm.GroundHours; k++ {
		if kinds[k] == 0 {
			t.Errorf("no answer has a ground of kind %d", k)
		}
	}
	for _, k := range []crm.GroundKind{
		crm.GroundShare, crm.GroundRelatedShare, crm.GroundRule, crm.GroundParent, crm.GroundProfile, crm.GroundField,
		crm.GroundSeat, crm.GroundHours, crm.GroundRecord, crm.GroundConfidential, crm.GroundSetting,
	} {
		if lacks[k] == 0 {
			t.Errorf("nothing of kind %d is missing anywhere", k)
		}
	}
}

// check holds one answer to the engine and to the procedure.
func (i *interview) check(deed crm.Deed, a *crm.Answer) {
	i.t.Helper()
	if want := i.store.Meets(i.t, deed, i.now); a.Allowed != want {
		i.errorf(deed, a, "the engine says %v", want)
	}
	if a.Allowed != (len(a.Grounds) > 0) || a.Allowed != (len(a.Missing) == 0) || a.Redacted {
		i.errorf(deed, a, "not in order")
	}
	for _, g := range slices.Concat(a.Grounds, a.Missing) {
		if g.Text == "" || g.Kind == 0 || strings.Contains(g.Text, "%!") || strings.Contains(g.Text, `""`) || strings.HasSuffix(g.Text, ".") {
			i.errorf(deed, a, "no good sentence: %q", g.Text)
		}
		for _, f := range g.Facts {
			if !i.store.Holds(i.t, f) {
				i.errorf(deed, a, "%q rests on what is not there", g.Text)
			}
		}
	}
	r, ok := i.records[deed.On]
	if !ok || !a.Allowed {
		return
	}
	if got := a.Grounds[0].Level; got < i.need(deed.Action) {
		i.errorf(deed, a, "the strongest ground gives %s", got)
	}
	m := i.modules[r.Module]
	if m.Kind == crm.Child {
		return
	}
	s := &i.o.Seats[slices.IndexFunc(i.o.Seats, func(s crm.Seat) bool { return s.ID == deed.User })]
	if got, want := a.Grounds[0].Level, i.oracle.Level(s, r); got != want {
		i.errorf(deed, a, "the strongest ground gives %s, the procedure %s", got, want)
	}
	if m.Kind == crm.Standard {
		i.complete(deed, a, s, r)
	}
}

// A way is a ground as the organisation itself has it.
type way struct {
	kind   crm.GroundKind
	level  crm.Level
	entity string
}

// complete holds the rules and shares of an answer to those that the organisation has.
func (i *interview) complete(deed crm.Deed, a *crm.Answer, s *crm.Seat, r *crm.Record) {
	i.t.Helper()
	var got, want []way
	for _, g := range a.Grounds {
		switch g.Kind {
		case crm.GroundRule, crm.GroundShare, crm.GroundRelatedShare:
			got = append(got, way{g.Kind, g.Level, g.Entity.String()})
		}
	}
	owner := i.seat(r.Owner)
	if r.Confidentiality == crm.Open {
		for _, rule := range i.o.Rules {
			if !rule.Disabled && rule.Module == r.Module && i.oracle.In(owner, rule.Source) && i.target(s, &rule) {
				want = append(want, way{crm.GroundRule, rule.Level, "rule:" + rule.ID})
			}
		}
	}
	shares := func(kind crm.GroundKind, of *crm.Record) {
		for _, share := range of.Shares {
			counts := share.Expires.IsZero() || i.now.UnixMilli() < share.Expires.UnixMilli()
			if counts && i.oracle.In(s, share.To) && (kind == crm.GroundShare || share.Related) {
				want = append(want, way{kind, share.Level, of.Ref().String()})
			}
		}
	}
	shares(crm.GroundShare, r)
	for _, p := range r.Parents {
		shares(crm.GroundRelatedShare, i.records[p.String()])
	}
	order := func(a, b way) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.level, b.level), cmp.Compare(a.entity, b.entity))
	}
	slices.SortFunc(got, order)
	slices.SortFunc(want, order)
	if !slices.Equal(got, want) {
		i.errorf(deed, a, "rules and shares are %v, want %v", got, want)
	}
}

func (i *interview) seat(id string) *crm.Seat {
	return &i.o.Seats[slices.IndexFunc(i.o.Seats, func(s crm.Seat) bool { return s.ID == id })]
}

func (i *interview) target(s *crm.Seat, rule *crm.Rule) bool {
	if i.oracle.In(s, rule.Target) {
		return true
	}
	if !rule.Superiors || rule.Target.Kind == crm.Everyone {
		return false
	}
	return slices.ContainsFunc(i.o.Seats, func(t crm.Seat) bool {
		return i.oracle.In(&t, rule.Target) && i.oracle.Superior(s, i.seat(t.ID))
	})
}

// TestWhatIsMissingIsTrue carries out what would mend a denial, in the organisation itself,
// and asks again: that very step must pass.
func TestWhatIsMissingIsTrue(t *testing.T) {
	v := crmtest.VolumeOf(t, "graph/crm", 12, 200)
	mended := map[crm.GroundKind]int{}
	for n := v.First; n < v.First+v.Count; n++ {
		i := newInterview(t, &v, n)
		var denied []crm.Deed
		i.deeds(func(d crm.Deed) {
			if !i.store.Why(t, d, i.now, nil).Allowed {
				denied = append(denied, d)
			}
		})
		i.g.Shuffle(len(denied), func(a, b int) { denied[a], denied[b] = denied[b], denied[a] })
		tried := map[crm.GroundKind]int{}
		for _, deed := range denied {
			a := i.store.Why(t, deed, i.now, nil)
			for _, g := range a.Missing {
				if tried[g.Kind]++; tried[g.Kind] > 4 {
					continue
				}
				if i.mend(&v, n, deed, a, g) {
					mended[g.Kind]++
				}
			}
			if t.Failed() {
				return
			}
		}
	}
	t.Logf("mended, by kind: %v", mended)
	if v.Count == 1 {
		return
	}
	for _, k := range []crm.GroundKind{
		crm.GroundSeat, crm.GroundHours, crm.GroundProfile, crm.GroundField, crm.GroundRule, crm.GroundShare,
		crm.GroundRelatedShare, crm.GroundConfidential, crm.GroundSetting,
	} {
		if mended[k] == 0 {
			t.Errorf("nothing of kind %d was mended", k)
		}
	}
}

// mend does what a missing ground asks for, and reports whether it can be done.
func (i *interview) mend(v *crmtest.Volume, n int, deed crm.Deed, before *crm.Answer, g crm.Ground) bool {
	i.t.Helper()
	_, o := v.Organisation(n, 0)
	o.Sort()
	if !mend(o, deed, g, i.now) {
		return false
	}
	if err := o.Validate(crm.DefaultLimits()); err != nil {
		i.errorf(deed, before, "mending %q: %v", g.Text, err)
		return false
	}
	after := crm.Load(i.t, o, false).Why(i.t, deed, i.now, nil)
	for _, m := range after.Missing {
		same := m.Kind == g.Kind && m.Entity == g.Entity && m.Module == g.Module && slices.Equal(m.Permissions, g.Permissions)
		if same || reaching(g.Kind) && m.Kind == crm.GroundRecord && !i.further(deed, before, m) {
			i.errorf(deed, before, "it was mended that %q, and yet %q", g.Text, m.Text)
		}
	}
	if g.Kind == crm.GroundHours {
		i.begins(deed, before, g)
	}
	return true
}

// reaching reports whether a kind is about reaching the record.
func reaching(k crm.GroundKind) bool { return k < crm.GroundProfile || k >= crm.GroundConfidential }

// further reports whether a record is reached more than it was, though not enough: whoever may
// change a note must first view what it belongs to, and then change that.
func (i *interview) further(deed crm.Deed, before *crm.Answer, now crm.Ground) bool {
	if i.modules[i.records[deed.On].Module].Kind != crm.Child {
		return false
	}
	return slices.ContainsFunc(before.Missing, func(g crm.Ground) bool {
		return g.Kind == crm.GroundRecord && g.Entity == now.Entity && now.Level > g.Level
	})
}

// begins asks at the instant at which hours are said to begin, and just before.
func (i *interview) begins(deed crm.Deed, a *crm.Answer, g crm.Ground) {
	i.t.Helper()
	_, text, ok := strings.Cut(g.Text, " begin at ")
	if !ok {
		return
	}
	at, err := time.Parse("2006-01-02 15:04 MST", text)
	if err != nil {
		if at, err = time.Parse("2006-01-02 15:04:05.999 MST", text); err != nil {
			i.errorf(deed, a, "%v", err)
		}
	}
	shut := func(at time.Time) bool {
		return slices.ContainsFunc(i.store.Why(i.t, deed, at, nil).Missing, func(g crm.Ground) bool { return g.Kind == crm.GroundHours })
	}
	if shut(at) {
		i.errorf(deed, a, "the hours do not begin at %s", text)
	}
	if before := at.Add(-time.Millisecond); before.After(i.now) && !shut(before) {
		i.errorf(deed, a, "the hours begin before %s", text)
	}
}

// mend changes the organisation as a missing ground asks for.
func mend(o *crm.Organisation, deed crm.Deed, g crm.Ground, now time.Time) bool {
	seat := slices.IndexFunc(o.Seats, func(s crm.Seat) bool { return s.ID == deed.User })
	if seat < 0 {
		return false
	}
	s := &o.Seats[seat]
	switch g.Kind {
	case crm.GroundSeat:
		s.Suspended = false
	case crm.GroundHours:
		o.Settings.LoginHours = false
	case crm.GroundProfile:
		if len(s.Profiles) == 0 {
			s.Profiles = []string{o.Profiles[0].ID}
		}
		permit(profileOf(o, s.Profiles[0]), g)
	case crm.GroundField:
		if len(s.Profiles) == 0 {
			return false
		}
		for k := range o.Fields {
			if f := &o.Fields[k]; f.Key() == g.Entity {
				delete(f.Levels, s.Profiles[0])
			}
		}
	case crm.GroundRule:
		for k := range o.Rules {
			if o.Rules[k].Key() == g.Entity {
				o.Rules[k].Disabled = false
			}
		}
	case crm.GroundShare, crm.GroundRelatedShare:
		r := recordOf(o, g.Entity)
		for k := range r.Shares {
			if e := r.Shares[k].Expires; !e.IsZero() && !now.Before(e) {
				r.Shares[k].Expires = time.Time{}
			}
		}
	case crm.GroundConfidential:
		recordOf(o, g.Entity).Confidentiality = crm.Open
	case crm.GroundSetting:
		if g.Entity.Type == "org" {
			o.Settings.AddingNeedsEdit = false
			return true
		}
		for k := range o.Modules {
			if o.Modules[k].Key() == g.Entity {
				o.Modules[k].NoHierarchy = false
			}
		}
	default:
		return false
	}
	return true
}

func profileOf(o *crm.Organisation, id string) *crm.Profile {
	return &o.Profiles[slices.IndexFunc(o.Profiles, func(p crm.Profile) bool { return p.ID == id })]
}

func recordOf(o *crm.Organisation, key graph.ObjectName) *crm.Record {
	return &o.Records[slices.IndexFunc(o.Records, func(r crm.Record) bool { return r.Key() == key })]
}

// permit gives a profile what it lacks.
func permit(p *crm.Profile, g crm.Ground) {
	for _, name := range g.Permissions {
		if g.Module == "" {
			switch {
			case slices.Contains(p.Tools, crm.Tool(name)), slices.Contains(p.Setup, crm.Setup(name)):
			case slices.Contains(crm.AllTools(), crm.Tool(name)):
				p.Tools = append(p.Tools, crm.Tool(name))
			default:
				p.Setup = append(p.Setup, crm.Setup(name))
			}
			continue
		}
		bit, _ := crm.ParsePermission(name)
		if p.Modules == nil {
			p.Modules = map[string]crm.Permissions{}
		}
		p.Modules[g.Module] |= bit
	}
}
