package graphtest

import (
	"maps"
	"slices"
	"strings"
	"time"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/condition"
	"github.com/remit-authz/remit/graph/value"
)

// stranger is an id that no tuple ever mentions.
const stranger = "nobody-knows"

// ids are names whose order, or whose likeness to punctuation, could mislead.
var ids = []string{
	"1", "10", "2", "a", "B", "b", "é", "e\u0301", "|", "x/y", "**", "a|b", "a.b", "-", "0", "00", "ß", "日本",
	strings.Repeat("long-", 40) + "1", strings.Repeat("long-", 40) + "2",
}

// epoch is about when all scenarios take place.
var epoch = time.Date(2026, 3, 29, 1, 30, 0, 0, time.UTC)

// population is the names a scenario draws from.
type population struct {
	written *openfgav1.AuthorizationModel
	asked   *openfgav1.AuthorizationModel
	ids     map[string][]string // by type
	all     []place             // every relation of the model that tuples were written under
	direct  []place             // those that can have tuples
}

func (g *generator) scenario() *scenario {
	s := &scenario{}
	g.tangled = g.chance(40)
	s.Written = g.model()
	s.Asked = s.Written
	if g.chance(30) {
		s.Asked = g.narrowed(s.Written)
	}
	p := g.population(s)
	if len(p.direct) > 0 {
		g.write(s, p)
	}
	return s
}

func (g *generator) population(s *scenario) *population {
	p := &population{written: s.Written.Proto(), asked: s.Asked.Proto(), ids: map[string][]string{}}
	for _, t := range p.written.GetTypeDefinitions() {
		few := 3
		if g.tangled && t.GetType() != p.written.GetTypeDefinitions()[0].GetType() {
			few = 6
		}
		p.ids[t.GetType()] = shuffled(g, ids)[:g.between(1, few)]
		for _, name := range slices.Sorted(maps.Keys(t.GetRelations())) {
			at := place{t.GetType(), name}
			p.all = append(p.all, at)
			if len(p.restrictions(at)) > 0 {
				p.direct = append(p.direct, at)
			}
		}
	}
	return p
}

func (p *population) restrictions(at place) []*openfgav1.RelationReference {
	for _, t := range p.written.GetTypeDefinitions() {
		if t.GetType() == at.typ {
			return t.GetMetadata().GetRelations()[at.relation].GetDirectlyRelatedUserTypes()
		}
	}
	return nil
}

func (g *generator) write(s *scenario, p *population) {
	most := 40
	if g.tangled {
		most = 80
	}
	for range g.between(3, most) {
		switch {
		case len(s.Steps) > 0 && g.chance(6):
			s.Steps = append(s.Steps, Step{Tuple: g.again(pick(g, s.Steps).Tuple), Remove: true})
		case len(s.Steps) > 0 && g.chance(6):
			// The same tuple under other terms, if the model has others.
			t := pick(g, s.Steps).Tuple
			other := g.tuple(p, place{t.Object.Type, t.Relation})
			if other.Object.Type == t.Object.Type && other.Relation == t.Relation && other.Subject.Type == t.Subject.Type && other.Subject.Relation == t.Subject.Relation &&
				(other.Subject.ID == "*") == (t.Subject.ID == "*") {
				other.Object, other.Subject = t.Object, t.Subject
			}
			s.Steps = append(s.Steps, Step{Tuple: other})
		default:
			s.Steps = append(s.Steps, Step{Tuple: g.tuple(p, pick(g, p.direct))})
		}
	}
	if g.chance(50) {
		return
	}
	for range g.between(1, 5) {
		t := g.tuple(p, pick(g, p.direct))
		switch {
		case g.chance(20): // forbidden: a relation or a condition that is not its own
			at := pick(g, p.all)
			t.Object, t.Relation = graph.ObjectName{Type: at.typ, ID: pick(g, p.ids[at.typ])}, at.relation
		case g.chance(30): // in place of a stored one
			old := pick(g, s.Steps).Tuple
			t.Object, t.Relation, t.Subject = old.Object, old.Relation, old.Subject
		case g.chance(10):
			t.Subject.ID = "*"
			t.Subject.Relation = ""
		case t.Condition == condition.InlineName && g.chance(30):
			t.Context = g.spoiled(t.Context)
		}
		s.contextual = append(without(s.contextual, t), t)
	}
	if g.chance(20) {
		s.hidden = append(s.hidden, g.again(pick(g, s.Steps).Tuple))
	}
}

// again is a tuple by name alone.
func (g *generator) again(t graph.Tuple) graph.Tuple {
	return graph.Tuple{Object: t.Object, Relation: t.Relation, Subject: t.Subject}
}

// tuple makes one that the model under which tuples are written allows.
func (g *generator) tuple(p *population, at place) graph.Tuple {
	restrictions := p.restrictions(at)
	r := pick(g, restrictions)
	for g.tangled && r.GetRelation() == "" && g.chance(60) {
		r = pick(g, restrictions)
	}
	t := graph.Tuple{
		Object:   graph.ObjectName{Type: at.typ, ID: pick(g, p.ids[at.typ])},
		Relation: at.relation,
		Subject:  graph.SubjectName{Type: r.GetType(), ID: pick(g, p.ids[r.GetType()]), Relation: r.GetRelation()},
	}
	if r.GetWildcard() != nil {
		t.Subject.ID = "*"
	}
	switch t.Condition = r.GetCondition(); t.Condition {
	case "":
	case condition.InlineName:
		t.Context = g.inline()
	default:
		t.Context = g.context(slices.Sorted(maps.Keys(p.written.GetConditions()[t.Condition].GetParameters())), 55)
	}
	if t.Subject == (graph.SubjectName{Type: at.typ, ID: t.Object.ID, Relation: at.relation}) {
		return g.tuple(p, pick(g, p.direct)) // that one goes without saying
	}
	if g.chance(12) {
		t.Expires = pick(g, expiries)
	}
	return t
}

// expiries lie around the instants that are asked for, to less than a millisecond.
var expiries = []time.Time{
	epoch, epoch.Add(time.Millisecond), epoch.Add(-time.Millisecond), epoch.Add(time.Millisecond + 300*time.Microsecond),
	epoch.Add(time.Hour), epoch.Add(24 * time.Hour), epoch.Add(24 * time.Hour),
}

// context gives each parameter a value with a chance of p percent.
func (g *generator) context(parameters []string, p int) value.Map {
	fields := value.Map{}
	for _, name := range parameters {
		if g.chance(p) {
			fields[name] = g.argument(name)
		}
	}
	if len(fields) == 0 {
		return nil
	}
	return fields
}

func (g *generator) argument(parameter string) value.Value {
	switch parameter {
	case "a", "b":
		return g.chance(50)
	case "x", "y":
		n := int64(g.IntN(3))
		if g.chance(30) {
			return float64(n) // as JSON has it
		}
		return n
	case "s":
		return pick(g, []string{"a", "é", ""})
	case "ip":
		return pick(g, []string{"10.1.2.3", "10.2.0.1", "10.1.255.255"})
	case "now", "until":
		return epoch.Add(time.Duration(g.between(-1, 1)) * time.Millisecond).Format(time.RFC3339Nano)
	case "schedule":
		return pick(g, hours)
	case "ttl":
		return pick(g, []string{"0s", "1h", "1ms", "-1h30m"})
	case "list":
		return pick(g, []value.List{{}, {"a"}, {"b", "é", "a"}, {"ab"}})
	case "tags":
		return pick(g, []value.Map{{}, {"k": "a"}, {"k": "b", "K": "a"}, {"K": "a"}})
	default:
		panic("graphtest: no values known for parameter " + parameter)
	}
}

// circumstances are an instant and a context for a request.
func (g *generator) circumstances() *Circumstances {
	c := &Circumstances{At: epoch.Add(pick(g, []time.Duration{
		0, 0, time.Millisecond, -time.Millisecond, 500 * time.Microsecond, time.Hour, -time.Hour,
	}))}
	if g.chance(70) {
		c.Context = g.context(slices.Sorted(maps.Keys(parameterTypes)), 60)
	}
	if c.Context != nil && g.chance(15) {
		c.Context[pick(g, slices.Sorted(maps.Keys(parameterTypes)))] = pick(g, []value.Value{"?", int64(7), true, value.List{true}})
	}
	c.UnboundNow = g.chance(10)
	return c
}

// questions adds so many checks, and up to as many lists and requests for reasons.
func (g *generator) questions(s *scenario, checks, lists, reasons int) {
	p := &population{asked: s.Asked.Proto(), ids: map[string][]string{}}
	for _, o := range s.mentioned() {
		p.ids[o.Type] = append(p.ids[o.Type], o.ID)
	}
	var asked []place
	for _, t := range p.asked.GetTypeDefinitions() {
		for _, name := range slices.Sorted(maps.Keys(t.GetRelations())) {
			asked = append(asked, place{t.GetType(), name})
		}
	}
	if len(asked) == 0 {
		return
	}
	under := []*Circumstances{g.circumstances(), g.circumstances()}
	var kinds []questionKind
	for n := range checks {
		kinds = append(kinds, askCheck)
		if n < reasons {
			kinds = append(kinds, []questionKind{askExpand, askExplain}[n%2])
		}
		if n < lists {
			kinds = append(kinds, []questionKind{askObjects, askSubjects, askObjects, askSubjects, askActions}[n%5])
		}
	}
	kinds = shuffled(g, kinds)
	for i, kind := range kinds {
		at := pick(g, asked)
		q := question{
			kind: kind, circumstances: under[i*len(under)/len(kinds)],
			object: g.object(p, at.typ), relation: at.relation, subject: g.subject(p, asked),
		}
		switch kind {
		case askObjects:
			q.object.ID = ""
		case askSubjects:
			q.subject.ID = ""
		case askActions:
			q.relation = ""
		case askExpand:
			q.subject.Relation = "" // a tree does not say where a userset is itself
		}
		s.questions = append(s.questions, q)
	}
}

func (g *generator) object(p *population, t string) graph.ObjectName {
	if len(p.ids[t]) == 0 || g.chance(3) {
		return graph.ObjectName{Type: t, ID: stranger}
	}
	return graph.ObjectName{Type: t, ID: pick(g, p.ids[t])}
}

func (g *generator) subject(p *population, relations []place) graph.SubjectName {
	if g.chance(25) {
		at := pick(g, relations)
		return graph.SubjectName{Type: at.typ, ID: g.object(p, at.typ).ID, Relation: at.relation}
	}
	t := pick(g, p.asked.GetTypeDefinitions()).GetType()
	if g.chance(50) {
		t = p.asked.GetTypeDefinitions()[0].GetType()
	}
	switch {
	case g.chance(12):
		return graph.SubjectName{Type: t, ID: "*"}
	case g.chance(8):
		return graph.SubjectName{Type: t, ID: stranger}
	default:
		return graph.SubjectName{Type: t, ID: g.object(p, t).ID}
	}
}
