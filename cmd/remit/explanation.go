package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// writeExplanation writes an answer with its reasons, for people. It does not print
// every step of the engine (JSON does): of what is granted it shows the way from the
// object to the subject and the tuples on it; of what is denied, where the ways end.
func writeExplanation(w io.Writer, p palette, q *remitv1.Question, e *remitv1.ExplainResponse) error {
	x := &explanation{w: w, p: p, shown: map[string]bool{}}
	if e.GetAt() != nil {
		x.at = " at " + instantText(e.GetAt().AsTime().Truncate(time.Millisecond))
	}
	verdict := p.bad("denied")
	if e.GetAllowed() {
		verdict = p.good("allowed")
	}
	x.line("", "%s  %s %s %s", verdict, p.bold(q.GetSubject()), q.GetRelation(), p.bold(q.GetObject()))
	if e.GetAllowed() {
		x.grant(e.GetReason(), "  ", "")
		x.proof(e.GetProof())
	} else {
		x.denial(e.GetReason(), "  ", "")
	}
	if nearest := e.GetNearest(); len(nearest) > 0 {
		x.line("  ", "%s", p.faint("this would allow it:"))
		for _, c := range nearest {
			verb := "write"
			if c.GetKind() == remitv1.TupleChange_KIND_REMOVE {
				verb = "delete"
			}
			x.line("    ", "%-6s %s", verb, tupleText(c.GetTuple()))
		}
	}
	return x.err
}

// An explanation is one being written.
type explanation struct {
	w     io.Writer
	p     palette
	at    string          // the instant that was judged, as words; empty if unknown
	shown map[string]bool // tuples on the ways
	err   error
}

func (x *explanation) line(indent, format string, args ...any) {
	if x.err == nil {
		_, x.err = fmt.Fprintf(x.w, indent+format+"\n", args...)
	}
}

// proof lists the tuples that suffice, unless they are exactly those shown already.
func (x *explanation) proof(proof []*remitv1.ProofTuple) {
	same := len(proof) == len(x.shown)
	for _, t := range proof {
		same = same && x.shown[tupleText(t.GetTuple())] && !t.GetContextual()
	}
	if same {
		return
	}
	x.line("  ", "%s", x.p.faint("these tuples suffice:"))
	for _, t := range proof {
		note := ""
		if t.GetContextual() {
			note = x.p.faint("  (came with the question)")
		}
		x.line("    ", "%s%s", tupleText(t.GetTuple()), note)
	}
}

// A way is a run of steps of which each rests on the next alone.
type way struct {
	usersets []string
	tuples   []*remitv1.Tuple
	but      []string // what exclusions on the way subtract, and does not hold
	end      *remitv1.Reason
}

// follow walks from a granted step down to where several are needed, or a tuple ends it.
func follow(r *remitv1.Reason, above string) way {
	w := way{end: r}
	for {
		if u := userset(r); u != above {
			w.usersets = append(w.usersets, u)
			above = u
		}
		if r.GetTuple() != nil {
			w.tuples = append(w.tuples, r.GetTuple())
		}
		w.end = r
		children := r.GetChildren()
		switch {
		case r.GetKind() == remitv1.Reason_KIND_EXCLUSION && len(children) == 2:
			w.but = append(w.but, pathText(deepest(children[1], above), above))
		case len(children) != 1:
			return w
		}
		r = children[0]
	}
}

// deepest is the usersets on the way to the only dead end of a step that is denied.
func deepest(r *remitv1.Reason, above string) []string {
	var usersets []string
	for {
		if u := userset(r); u != above {
			usersets = append(usersets, u)
			above = u
		}
		if len(r.GetChildren()) != 1 {
			return usersets
		}
		r = r.GetChildren()[0]
	}
}

// grant writes a step that is granted. Above is the userset that the line before names.
func (x *explanation) grant(r *remitv1.Reason, indent, above string) {
	w := follow(r, above)
	end := ""
	if len(w.but) > 0 {
		end = ", not " + strings.Join(w.but, ", not ")
	}
	switch w.end.GetKind() {
	case remitv1.Reason_KIND_INTERSECTION:
		end += " is all of"
	case remitv1.Reason_KIND_SELF:
		end += " is the subject itself"
	}
	if len(w.usersets) > 0 || end != "" {
		lines := wrap(pathParts(w.usersets, above), " › ", lineWidth-len(indent))
		lines[len(lines)-1] += x.p.faint(end)
		for i, line := range lines {
			mark := x.p.good("✓")
			if i > 0 {
				mark = " "
			}
			x.line(indent, "%s %s", mark, line)
		}
	}
	for _, t := range w.tuples {
		x.shown[tupleText(t)] = true
		x.line(indent, "    %s", x.p.faint(tupleText(t)))
	}
	if len(w.usersets) > 0 {
		above = w.usersets[len(w.usersets)-1]
	}
	for _, child := range w.end.GetChildren() {
		x.grant(child, indent+"  ", above)
	}
}

// denial writes a step that is denied: the dead ends below it, and what is needed
// together.
func (x *explanation) denial(r *remitv1.Reason, indent, above string) {
	ends := x.deadEnds(r, nil)
	if len(ends.others)+len(ends.missing) > 1 {
		if path := deepest(r, above); len(path) > 0 {
			x.line(indent, "%s %s%s", x.p.bad("✗"), pathText(path, above), x.p.faint(" needs one of"))
			above = path[len(path)-1]
			indent += "  "
		}
	}
	if len(ends.missing) > 0 {
		x.missing(ends.missing, indent)
	}
	for _, end := range ends.others {
		x.deadEnd(end, indent, above)
	}
	if ends.more {
		x.line(indent, "%s", x.p.faint("… more was tried"))
	}
}

// deadEnds are where the ways of a denied step end.
type deadEnds struct {
	missing []string          // usersets that no tuple grants
	others  []*remitv1.Reason // the rest
	seen    map[string]bool
	more    bool // not all are there
}

func (x *explanation) deadEnds(r *remitv1.Reason, ends *deadEnds) *deadEnds {
	if ends == nil {
		ends = &deadEnds{seen: map[string]bool{}}
	}
	switch r.GetKind() {
	case remitv1.Reason_KIND_CYCLE:
		return ends // its other mention says it
	case remitv1.Reason_KIND_LEFT_OUT:
		ends.more = true
		return ends
	case remitv1.Reason_KIND_INTERSECTION:
	case remitv1.Reason_KIND_EXCLUSION:
		if children := r.GetChildren(); len(children) > 0 && !children[0].GetGranted() {
			return x.deadEnds(children[0], ends)
		}
	default:
		if len(r.GetChildren()) > 0 {
			for _, child := range r.GetChildren() {
				ends = x.deadEnds(child, ends)
			}
			return ends
		}
	}
	key := fmt.Sprint(r.GetKind(), userset(r), tupleText(r.GetTuple()))
	switch {
	case ends.seen[key]:
	case r.GetKind() == remitv1.Reason_KIND_NO_TUPLE:
		ends.missing = append(ends.missing, userset(r))
	default:
		ends.others = append(ends.others, r)
	}
	ends.seen[key] = true
	return ends
}

// missing writes usersets that no tuple grants.
func (x *explanation) missing(usersets []string, indent string) {
	lines := wrap(append([]string{"no tuple for " + usersets[0]}, usersets[1:]...), ", ", lineWidth-len(indent))
	for i, line := range lines {
		mark := x.p.bad("✗")
		if i > 0 {
			mark = " "
		}
		x.line(indent, "%s %s", mark, line)
	}
}

// lineWidth is how long lines of an explanation may become.
const lineWidth = 96

// wrap joins parts into lines of at most width bytes, if the parts permit.
func wrap(parts []string, separator string, width int) []string {
	var lines []string
	line := ""
	for i, part := range parts {
		if i > 0 {
			line += separator
		}
		if line != "" && len(line)+len(part) > width {
			lines = append(lines, strings.TrimRight(line, " "))
			line = ""
		}
		line += part
	}
	return append(lines, line)
}

// deadEnd writes one end that is more than a missing tuple.
func (x *explanation) deadEnd(r *remitv1.Reason, indent, above string) {
	name := pathText([]string{userset(r)}, "")
	switch r.GetKind() {
	case remitv1.Reason_KIND_INTERSECTION:
		x.line(indent, "%s %s%s", x.p.bad("✗"), name, x.p.faint(" needs all of"))
		for _, child := range r.GetChildren() {
			if child.GetGranted() {
				w := follow(child, userset(r))
				x.line(indent, "  %s %s", x.p.good("✓"), pathText(w.usersets, userset(r)))
				continue
			}
			x.denial(child, indent+"  ", userset(r))
		}
	case remitv1.Reason_KIND_EXCLUSION:
		x.line(indent, "%s %s%s", x.p.bad("✗"), name, x.p.faint(" would hold, but there is"))
		if children := r.GetChildren(); len(children) == 2 {
			x.grant(children[1], indent+"  ", userset(r))
		}
	default:
		x.end(r, indent, name)
	}
}

// end writes a tuple that does not count, or a step that could not be judged.
func (x *explanation) end(r *remitv1.Reason, indent, name string) {
	t := r.GetTuple()
	if t != nil {
		name = tupleText(t)
	}
	switch r.GetKind() {
	case remitv1.Reason_KIND_CONDITION:
		c := t.GetCondition()
		x.line(indent, "%s %s%s", x.p.bad("✗"), t.GetObject()+"#"+t.GetRelation()+"@"+t.GetSubject(),
			x.p.faint(": its condition "+c.GetName()+" does not hold"+x.at))
		x.line(indent, "    %s", x.p.faint(strings.TrimPrefix(r.GetNote(), c.GetName()+": ")))
		if fields := c.GetContext().AsMap(); len(fields) > 0 {
			x.line(indent, "    %s", x.p.faint("stored: "+valueText(fields)))
		}
	case remitv1.Reason_KIND_EXPIRED:
		x.line(indent, "%s %s%s", x.p.bad("✗"), name, x.p.faint(": it has expired"))
	default:
		x.line(indent, "%s %s%s", x.p.bad("✗"), name, x.p.faint(": "+firstOf(r.GetNote(), "it could not be judged")))
	}
}

// userset is what a step asks about: its question without the subject.
func userset(r *remitv1.Reason) string {
	q := r.GetQuestion()
	// The object may hold an @ but no #; the relation holds neither.
	if i := strings.IndexByte(q, '#'); i >= 0 {
		if j := strings.IndexByte(q[i:], '@'); j >= 0 {
			return q[:i+j]
		}
	}
	return q
}

// pathParts are usersets as a way names them: where the object stays the same, the
// relation is enough.
func pathParts(usersets []string, above string) []string {
	parts := make([]string, 0, len(usersets))
	object, _, _ := strings.Cut(above, "#")
	for _, u := range usersets {
		o, relation, ok := strings.Cut(u, "#")
		if ok && o == object {
			parts = append(parts, relation)
		} else {
			parts = append(parts, u)
		}
		object = o
	}
	return parts
}

// pathText is pathParts on one line.
func pathText(usersets []string, above string) string {
	return strings.Join(pathParts(usersets, above), " › ")
}

// writeExpansion writes an expanded relation as a tree.
func writeExpansion(w io.Writer, p palette, n *remitv1.ExpandNode) error {
	writeExpandNode(w, p, n, "")
	return nil
}

func writeExpandNode(w io.Writer, p palette, n *remitv1.ExpandNode, indent string) {
	if n == nil {
		return
	}
	line := expandWords[n.GetKind()]
	if n.GetUserset() != "" {
		line = strings.TrimSpace(n.GetUserset() + "  " + p.faint(line))
	}
	if n.GetCut() {
		line += p.faint(" …")
	}
	printf(w, "%s%s\n", indent, line)
	for _, t := range n.GetTuples() {
		subject := t.GetSubject()
		if c := t.GetCondition(); c != nil {
			subject += p.faint(" with " + contextText(c))
		}
		printf(w, "%s  - %s\n", indent, subject)
	}
	for _, child := range n.GetChildren() {
		writeExpandNode(w, p, child, indent+"  ")
	}
}

var expandWords = map[remitv1.ExpandNode_Kind]string{
	remitv1.ExpandNode_KIND_DIRECT:           "by tuples",
	remitv1.ExpandNode_KIND_COMPUTED:         "another relation",
	remitv1.ExpandNode_KIND_TUPLE_TO_USERSET: "through tuples",
	remitv1.ExpandNode_KIND_UNION:            "any of",
	remitv1.ExpandNode_KIND_INTERSECTION:     "all of",
	remitv1.ExpandNode_KIND_EXCLUSION:        "the first but not the second of",
}

// jsonLine is a value as JSON on one line.
func jsonLine(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(text)
}
