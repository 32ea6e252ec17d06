package graphtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/condition"
)

// A judge compares answers with the reference.
type judge struct {
	scenario   *scenario
	references []*judged
	known      map[graph.ObjectName]bool // the store or the request knows it

	entangled int // refusals because an answer depends on its own negation
	tooMuch   int // expansions and explanations beyond the budget
}

type judged struct {
	circumstances *Circumstances
	reference     *Reference
}

func newJudge(s *scenario) *judge {
	j := &judge{scenario: s, known: map[graph.ObjectName]bool{}}
	for _, o := range s.mentioned() {
		j.known[o] = true
	}
	return j
}

func (j *judge) reference(c *Circumstances) *Reference {
	for _, r := range j.references {
		if r.circumstances == c {
			return r.reference
		}
	}
	r := j.scenario.reference(c)
	j.references = append(j.references, &judged{c, r})
	return r
}

// complaint says what is wrong with an answer, or is empty.
func (j *judge) complaint(q *question, a *answer) string {
	if (q.kind == askExpand || q.kind == askExplain) && errors.Is(a.err, graph.ErrBudget) {
		j.tooMuch++
		return "" // a tree is as large as its paths are many
	}
	if a.err != nil && !isThirdValue(a.err) {
		return fmt.Sprintf("error %q, which is no third value", a.err)
	}
	r := j.reference(q.circumstances)
	switch q.kind {
	case askCheck, askExplain:
		want := r.Check(q.object, q.relation, q.subject)
		if a.err == nil {
			if want != truth(a.allowed) {
				return fmt.Sprintf("= %v, want %v", a.allowed, want)
			}
			return ""
		}
		return j.refusal(a.err, []Truth{want}, r.ReachesNegativeCycle(q.object, q.relation, q.subject))
	case askExpand:
		return j.tree(r, q, a)
	case askActions:
		return j.actions(r, q, a)
	case askObjects:
		return j.objects(r, q, a)
	default:
		return j.subjects(r, q, a)
	}
}

// tree judges an expansion. It shows tuples whatever the subject, so any condition that
// cannot be judged is an error of it.
func (j *judge) tree(r *Reference, q *question, a *answer) string {
	if a.err != nil {
		if !r.hasDoubt() {
			return fmt.Sprintf("= error %q, but every condition is definite", a.err)
		}
		return ""
	}
	if want := r.Check(q.object, q.relation, q.subject); a.tree != Undefined && a.tree != want {
		return fmt.Sprintf("= %v, want %v", a.tree, want)
	}
	return ""
}

// hasDoubt reports whether the condition of any tuple is undefined.
func (r *Reference) hasDoubt() bool {
	for tuples := range maps.Values(r.counting) {
		if slices.ContainsFunc(tuples, func(t countingTuple) bool { return t.holds == Undefined }) {
			return true
		}
	}
	return false
}

// isThirdValue reports whether an error means that a value is undefined, rather than
// that something failed.
func isThirdValue(err error) bool {
	var (
		missing    *condition.MissingError
		mistyped   *condition.TypeError
		evaluation *condition.EvaluationError
	)
	if errors.Is(err, graph.ErrBudget) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	return errors.Is(err, graph.ErrUndefined) || errors.As(err, &missing) || errors.As(err, &mistyped) ||
		errors.As(err, &evaluation)
}

// refusal judges an error given the values that the answer consists of.
func (j *judge) refusal(err error, values []Truth, reachesCycle bool) string {
	switch {
	case !slices.Contains(values, Undefined):
		return fmt.Sprintf("= error %q, want a definite answer: %v", err, values)
	case !errors.Is(err, graph.ErrUndefined):
		return ""
	case !reachesCycle:
		return fmt.Sprintf("= error %q, but no cycle through a negation can be reached", err)
	}
	j.entangled++
	return ""
}

func (j *judge) actions(r *Reference, q *question, a *answer) string {
	var (
		values []Truth
		want   []string
		cycle  bool
	)
	for at := range r.rewrites {
		if at.typ != q.object.Type {
			continue
		}
		value := r.Check(q.object, at.relation, q.subject)
		values = append(values, value)
		if value == True {
			want = append(want, at.relation)
		}
		cycle = cycle || a.err != nil && r.ReachesNegativeCycle(q.object, at.relation, q.subject)
	}
	slices.Sort(want)
	switch {
	case a.err != nil:
		return j.refusal(a.err, values, cycle)
	case slices.Contains(values, Undefined):
		return fmt.Sprintf("= %v, want an error", a.actions)
	case !slices.Equal(want, a.actions):
		return fmt.Sprintf("= %v, want %v", a.actions, want)
	}
	return ""
}

func (j *judge) objects(r *Reference, q *question, a *answer) string {
	var (
		values []Truth
		want   = map[graph.SubjectName]bool{}
		cycle  bool
	)
	for _, object := range r.Known(q.object.Type) {
		if !j.known[object] {
			continue
		}
		value := r.Check(object, q.relation, q.subject)
		values = append(values, value)
		if value == True {
			want[entity(object)] = true
		}
		cycle = cycle || a.err != nil && r.ReachesNegativeCycle(object, q.relation, q.subject)
	}
	if a.err == nil {
		// A userset of an object that nobody knows has itself, and may be listed.
		self := graph.ObjectName{Type: q.subject.Type, ID: q.subject.ID}
		if !j.known[self] && slices.Contains(a.subjects, entity(self)) && r.Check(self, q.relation, q.subject) == True {
			want[entity(self)] = true
		}
	}
	return j.list(a, values, want, cycle)
}

func entity(o graph.ObjectName) graph.SubjectName {
	return graph.SubjectName{Type: o.Type, ID: o.ID}
}

// list compares a list with what it must be, and looks at its order.
func (j *judge) list(a *answer, values []Truth, want map[graph.SubjectName]bool, cycle bool) string {
	switch {
	case a.err != nil:
		return j.refusal(a.err, values, cycle)
	case slices.Contains(values, Undefined):
		return fmt.Sprintf("= %s, want an error", listText(a.subjects))
	}
	got := map[graph.SubjectName]bool{}
	for i, s := range a.subjects {
		if got[s] = true; !want[s] {
			return fmt.Sprintf("= %s, which has %s too many", listText(a.subjects), subjectText(s))
		}
		if i > 0 && a.order[i-1].Compare(a.order[i]) >= 0 {
			return fmt.Sprintf("= %s, not in the order of ids: %v", listText(a.subjects), a.order)
		}
	}
	for s := range want {
		if !got[s] {
			return fmt.Sprintf("= %s, which lacks %s", listText(a.subjects), subjectText(s))
		}
	}
	return ""
}

func (j *judge) subjects(r *Reference, q *question, a *answer) string {
	var (
		values []Truth
		want   = map[graph.SubjectName]bool{}
		denied = map[graph.SubjectName]bool{}
		cycle  bool
	)
	consider := func(s graph.SubjectName) Truth {
		value := r.Check(q.object, q.relation, s)
		values = append(values, value)
		cycle = cycle || a.err != nil && r.ReachesNegativeCycle(q.object, q.relation, s)
		return value
	}
	for _, o := range r.Known(q.subject.Type) {
		if !j.known[o] && o != q.object {
			continue
		}
		s := graph.SubjectName{Type: o.Type, ID: o.ID, Relation: q.subject.Relation}
		if consider(s) == True {
			want[s] = true
		} else if j.known[o] {
			denied[s] = true
		}
	}
	if q.subject.Relation != "" {
		return j.list(a, values, want, cycle)
	}
	everyone := graph.SubjectName{Type: q.subject.Type, ID: "*"}
	anyone := consider(graph.SubjectName{Type: q.subject.Type, ID: stranger}) == True
	if !anyone {
		if len(a.excluded) > 0 {
			return fmt.Sprintf("= %s, excluding %s without a wildcard", listText(a.subjects), listText(a.excluded))
		}
		return j.list(a, values, want, cycle)
	}
	if a.err != nil {
		return j.refusal(a.err, values, cycle)
	}
	// Beside the wildcard, those that are granted explicitly are listed again.
	explicit := map[graph.SubjectName]bool{everyone: true}
	for _, s := range a.subjects {
		if want[s] && r.grants(s) {
			explicit[s] = true
		}
	}
	if complaint := j.list(&answer{subjects: a.subjects, order: a.order}, values, intersect(explicit, a.subjects, everyone), cycle); complaint != "" {
		return complaint
	}
	excluded := map[graph.SubjectName]bool{}
	for _, s := range a.excluded {
		if excluded[s] || !denied[s] {
			return fmt.Sprintf("= %s, excluding %s: not %s", listText(a.subjects), listText(a.excluded), subjectText(s))
		}
		excluded[s] = true
	}
	for s := range denied {
		if !excluded[s] {
			return fmt.Sprintf("= %s, excluding %s: lacks %s", listText(a.subjects), listText(a.excluded), subjectText(s))
		}
	}
	return ""
}

// intersect keeps what is listed, and what must be.
func intersect(from map[graph.SubjectName]bool, listed []graph.SubjectName, must graph.SubjectName) map[graph.SubjectName]bool {
	kept := map[graph.SubjectName]bool{must: true}
	for _, s := range listed {
		if from[s] {
			kept[s] = true
		}
	}
	return kept
}

// grants reports whether any tuple that counts names the subject itself.
func (r *Reference) grants(s graph.SubjectName) bool {
	for tuples := range maps.Values(r.counting) {
		for _, t := range tuples {
			if t.subject == s {
				return true
			}
		}
	}
	return false
}

func listText(subjects []graph.SubjectName) string {
	text := "["
	for i, s := range subjects {
		if i > 0 {
			text += " "
		}
		text += subjectText(s)
	}
	return text + "]"
}
