package crm_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/crm/crmtest"
)

// A seatSight is what a seat may be told, by the procedure.
type seatSight struct {
	i    *interview
	seat string
}

func (s *seatSight) Record(_ context.Context, key graph.ObjectName) (bool, error) {
	r, ok := s.i.records[key.String()]
	return ok && s.i.oracle.Can(s.seat, crm.ActionView, r, nil), nil
}

func (s *seatSight) Shares(_ context.Context, key graph.ObjectName) (bool, error) {
	r, ok := s.i.records[key.String()]
	return ok && (r.Owner == s.seat || s.i.oracle.Can(s.seat, crm.ActionShare, r, nil)), nil
}

// TestWhyTellsNoMoreThanMayBeSeen asks on behalf of somebody: the decision is the same, what
// may not be seen is not told, and of what may be, nothing is left out.
func TestWhyTellsNoMoreThanMayBeSeen(t *testing.T) {
	v := crmtest.VolumeOf(t, "graph/crm", 6, 100)
	hidden, partly, whole := 0, 0, 0
	for n := v.First; n < v.First+v.Count; n++ {
		i := newInterview(t, &v, n)
		i.deeds(func(deed crm.Deed) {
			s := &seatSight{i, crmtest.Pick(i.g, i.o.Seats).ID}
			open, told := i.store.Why(t, deed, i.now, nil), i.store.Why(t, deed, i.now, s)
			if same := plain(open) == plain(told); open.Allowed != told.Allowed || !told.Redacted && !same || told.Redacted && same && !s.blind(deed) {
				i.errorf(deed, told, "told to %s; in the open it is\n%s", s.seat, answerText(open))
			}
			s.discreet(deed, told)
			switch {
			case !told.Redacted:
				whole++
			case s.blind(deed):
				hidden++
			default:
				partly++
			}
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%d answers whole, %d in part, %d of records that are hidden", whole, partly, hidden)
	if v.Count > 1 && (whole == 0 || partly == 0 || hidden == 0) {
		t.Error("something did not occur")
	}
}

// plain is an answer's text without whether it is redacted.
func plain(a *crm.Answer) string {
	b := *a
	b.Redacted = false
	return answerText(&b)
}

// blind reports whether the deed is done to a record that the seat may not view.
func (s *seatSight) blind(deed crm.Deed) bool {
	key, err := graph.ParseObject(deed.On)
	if err != nil {
		return false
	}
	seen, _ := s.Record(context.Background(), key)
	return !seen
}

// discreet holds an answer to what the seat may see.
func (s *seatSight) discreet(deed crm.Deed, a *crm.Answer) {
	i := s.i
	i.t.Helper()
	blind := s.blind(deed)
	for _, g := range slices.Concat(a.Grounds, a.Missing) {
		if blind && g.Kind != crm.GroundRecord && (g.Kind < crm.GroundProfile || g.Kind > crm.GroundHours) {
			i.errorf(deed, a, "%s is told %q", s.seat, g.Text)
		}
		for name, r := range i.records {
			if seen, _ := s.Record(i.t.Context(), r.Key()); seen || name == deed.On {
				continue
			}
			if g.Entity == r.Key() || slices.ContainsFunc([]string{" ", ",", ":"}, func(end string) bool { return strings.Contains(g.Text+" ", name+end) && !i.longer(name, g.Text) }) {
				i.errorf(deed, a, "%s is told of %s in %q", s.seat, name, g.Text)
			}
		}
	}
	if !blind || a.Allowed {
		return
	}
	none := deed
	module, _, _ := strings.Cut(deed.On, ":")
	none.On = module + ":none"
	if b := i.store.Why(i.t, none, i.now, s); strings.ReplaceAll(answerText(b), none.On, deed.On) != answerText(a) {
		i.errorf(deed, a, "%s can tell it from a record that does not exist:\n%s", s.seat, answerText(b))
	}
}

// longer reports whether a text names a record whose name begins with that of another.
func (i *interview) longer(name, text string) bool {
	for other := range i.records {
		if len(other) > len(name) && strings.HasPrefix(other, name) && strings.Contains(text, other) {
			return true
		}
	}
	return false
}
