package graphtest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// A Store is what a backend builds a View of.
type Store struct {
	// Written is the model under which the tuples were written, Asked the one in use
	// when questions are asked. Each name of Asked occurs in Written, too.
	Written, Asked *model.Model

	// Steps are the writes, in order. A put replaces a tuple of the same name.
	Steps []Step
}

// A Step puts a tuple, or removes the one of its name.
type Step struct {
	Tuple  graph.Tuple
	Remove bool
}

// Tuples is what the store holds after all steps.
func (s *Store) Tuples() []graph.Tuple {
	var tuples []graph.Tuple
	for _, step := range s.Steps {
		tuples = without(tuples, step.Tuple)
		if !step.Remove {
			tuples = append(tuples, step.Tuple)
		}
	}
	return tuples
}

// A scenario is a store and what one request lays over it.
type scenario struct {
	Store
	contextual []graph.Tuple
	hidden     []graph.Tuple // removed by the request, for itself
	questions  []question
}

// A question is one call of the evaluator.
type question struct {
	kind          questionKind
	circumstances *Circumstances   // shared by questions of one Query
	object        graph.ObjectName // its ID is empty when objects are listed
	relation      string
	subject       graph.SubjectName // its ID is empty when subjects are listed
}

type questionKind uint8

const (
	askCheck questionKind = iota
	askObjects
	askSubjects
	askActions
	askExpand  // of which the subject's own value is read off
	askExplain // whose reasons are tried
)

func (q *question) String() string {
	switch q.kind {
	case askCheck:
		return fmt.Sprintf("Check(%s#%s@%s)", objectText(q.object), q.relation, subjectText(q.subject))
	case askObjects:
		return fmt.Sprintf("ListObjects(%s#%s@%s)", q.object.Type, q.relation, subjectText(q.subject))
	case askSubjects:
		kind := q.subject.Type
		if q.subject.Relation != "" {
			kind += "#" + q.subject.Relation
		}
		return fmt.Sprintf("ListSubjects(%s#%s, %s)", objectText(q.object), q.relation, kind)
	case askExpand:
		return fmt.Sprintf("Expand(%s#%s), read for %s", objectText(q.object), q.relation, subjectText(q.subject))
	case askExplain:
		return fmt.Sprintf("Explain(%s#%s@%s)", objectText(q.object), q.relation, subjectText(q.subject))
	default:
		return fmt.Sprintf("ListActions(%s, %s)", objectText(q.object), subjectText(q.subject))
	}
}

// reference is the evaluator to the letter for the scenario.
func (s *scenario) reference(c *Circumstances) *Reference {
	stored := s.Tuples()
	for _, h := range s.hidden {
		stored = without(stored, h)
	}
	others := s.mentioned()
	for _, t := range s.Asked.Proto().GetTypeDefinitions() {
		others = append(others, graph.ObjectName{Type: t.GetType(), ID: stranger})
	}
	for _, q := range s.questions {
		for _, o := range []graph.ObjectName{q.object, {Type: q.subject.Type, ID: q.subject.ID}} {
			if o.ID != "" && o.ID != "*" {
				others = append(others, o)
			}
		}
	}
	return NewReference(s.Asked.Proto(), stored, s.contextual, others, *c)
}

// mentioned are the objects that any step or contextual tuple names, whether or not a
// tuple of theirs is left: those that the evaluator knows.
func (s *scenario) mentioned() []graph.ObjectName {
	var tuples []graph.Tuple
	for _, step := range s.Steps {
		tuples = append(tuples, step.Tuple)
	}
	tuples = append(tuples, s.contextual...)
	tuples = append(tuples, s.hidden...)
	return mentioned(tuples, nil)
}

// describe prints the scenario and one question so that a person can follow it.
func (s *scenario) describe(q *question) string {
	var b strings.Builder
	section := func(title string, m *model.Model) {
		fmt.Fprintf(&b, "--- %s\n", title)
		if dsl, err := m.DSL(); err == nil {
			b.WriteString(dsl)
		} else if data, err := m.JSON(); err == nil {
			b.Write(data)
		}
		b.WriteString("\n")
	}
	section("model", s.Asked)
	if s.Written != s.Asked {
		section("tuples were written under", s.Written)
	}
	list := func(title string, tuples []graph.Tuple) {
		if len(tuples) > 0 {
			fmt.Fprintf(&b, "--- %s\n", title)
		}
		for _, t := range tuples {
			b.WriteString(tupleText(t) + "\n")
		}
	}
	b.WriteString("--- steps\n")
	for _, step := range s.Steps {
		if step.Remove {
			b.WriteString("remove ")
		}
		b.WriteString(tupleText(step.Tuple) + "\n")
	}
	list("contextual", s.contextual)
	list("hidden by the request", s.hidden)
	fmt.Fprintf(&b, "--- question\n%s\n  at %s", q, q.circumstances.At.UTC().Format(time.RFC3339Nano))
	if len(q.circumstances.Context) > 0 {
		fmt.Fprintf(&b, " context %s", mapText(q.circumstances.Context))
	}
	if q.circumstances.UnboundNow {
		b.WriteString(" (now is not bound)")
	}
	b.WriteString("\n")
	return b.String()
}

func objectText(o graph.ObjectName) string { return o.Type + ":" + abbreviate(o.ID) }

func subjectText(s graph.SubjectName) string {
	text := s.Type + ":" + abbreviate(s.ID)
	if s.Relation != "" {
		text += "#" + s.Relation
	}
	return text
}

func abbreviate(id string) string {
	if len(id) > 40 {
		return fmt.Sprintf("%s…(%d bytes)", id[:8], len(id))
	}
	return id
}

func tupleText(t graph.Tuple) string {
	text := objectText(t.Object) + "#" + t.Relation + "@" + subjectText(t.Subject)
	if t.Condition != "" {
		text += " with " + t.Condition + " " + mapText(t.Context)
	}
	if !t.Expires.IsZero() {
		text += " until " + t.Expires.UTC().Format(time.RFC3339Nano)
	}
	return text
}

func mapText(m map[string]any) string {
	var b strings.Builder
	b.WriteString("{")
	for i, key := range slices.SortedFunc(maps.Keys(m), cmp.Compare[string]) {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s: %#v", key, m[key])
	}
	b.WriteString("}")
	return b.String()
}
