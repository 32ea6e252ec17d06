package rpc

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/graphtest"
	"github.com/remit-authz/remit/graph/model"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// A past is what a changelog says was there at each revision.
type past struct {
	model     *openfgav1.AuthorizationModel
	revisions []uint64            // those that changed something, ascending
	tuples    []map[string]bool   // after each of them
	names     map[string][]uint64 // the revisions under which a write appears, once for each change
	created   map[uint64]map[string]bool
	answers   map[int]*graphtest.Reference
}

// newPast replays a changelog. Whatever in it contradicts itself is a fault.
func newPast(t testing.TB, log []watchRow) (*past, []error) {
	t.Helper()
	m, err := model.ParseDSL("", testModel)
	if err != nil {
		t.Fatal(err)
	}
	p := &past{
		model: m.Proto(), revisions: []uint64{0}, tuples: []map[string]bool{{}},
		names: map[string][]uint64{}, created: map[uint64]map[string]bool{}, answers: map[int]*graphtest.Reference{},
	}
	var faults []error
	now := map[string]bool{}
	for i, row := range log {
		if last := p.revisions[len(p.revisions)-1]; row.revision < last {
			faults = append(faults, fmt.Errorf("the changelog goes back from revision %d to %d", last, row.revision))
		} else if row.revision > last {
			p.revisions, p.tuples = append(p.revisions, row.revision), append(p.tuples, nil)
		}
		switch row.kind {
		case remitv1.Change_KIND_TUPLE_PUT:
			if now[row.tuple] {
				faults = append(faults, fmt.Errorf("%s created %s at revision %d, where it was", row.name, row.tuple, row.revision))
			}
			now[row.tuple] = true
			if p.created[row.revision] == nil {
				p.created[row.revision] = map[string]bool{}
			}
			p.created[row.revision][row.tuple] = true
		case remitv1.Change_KIND_TUPLE_DELETED:
			if !now[row.tuple] {
				faults = append(faults, fmt.Errorf("%s deleted %s at revision %d, where it was not", row.name, row.tuple, row.revision))
			}
			delete(now, row.tuple)
		}
		if row.name != "" {
			p.names[row.name] = append(p.names[row.name], row.revision)
		}
		if i+1 == len(log) || log[i+1].revision != row.revision {
			copied := make(map[string]bool, len(now))
			for text := range now {
				copied[text] = true
			}
			p.tuples[len(p.tuples)-1] = copied
		}
	}
	return p, faults
}

// at is the place of the state at a revision.
func (p *past) at(revision uint64) int {
	i, found := slices.BinarySearch(p.revisions, revision)
	if !found {
		i--
	}
	return i
}

// reference answers for the state at a place.
func (p *past) reference(place int) (*graphtest.Reference, error) {
	if r := p.answers[place]; r != nil {
		return r, nil
	}
	var tuples []graph.Tuple
	for text := range p.tuples[place] {
		t, err := graph.ParseTuple(text)
		if err != nil {
			return nil, err
		}
		tuples = append(tuples, t)
	}
	others := []graph.ObjectName{{Type: "document", ID: "d0"}, {Type: "document", ID: "d1"}, {Type: "document", ID: "d2"}}
	p.answers[place] = graphtest.NewReference(p.model, tuples, nil, others, graphtest.Circumstances{At: time.Now()})
	return p.answers[place], nil
}

// judgeHistory compares what clients saw with the past, and the order in which they saw it
// with that of the revisions.
func judgeHistory(p *past, history []*scheduled) (faults []error) {
	fault := func(o *scheduled, format string, args ...any) {
		faults = append(faults, fmt.Errorf("%v: %s", o, fmt.Sprintf(format, args...)))
	}
	moments := map[int64]*scheduled{}
	var last int64
	for _, o := range history {
		moments[o.begin], moments[o.end] = o, o
		last = max(last, o.end)
		switch {
		case o.name != "":
			p.judgeWrite(o, fault)
		case o.fate == fateAnswered:
			if err := p.judgeRead(o, fault); err != nil {
				fault(o, "%v", err)
			}
		}
	}
	// What somebody has been told is what later ones must see who ask for the newest; and a
	// later write has a later revision, though not a later one than reads have seen that ran
	// on another node ahead of it.
	var known, written uint64
	floors := map[*scheduled][2]uint64{}
	for now := int64(1); now <= last; now++ {
		o := moments[now]
		switch {
		case o == nil || o.fate != fateAnswered:
		case now == o.begin:
			floors[o] = [2]uint64{known, written}
		case o.name != "":
			if o.revision < floors[o][0] || o.revision == floors[o][1] && len(p.names[o.name]) > 0 {
				fault(o, "revisions up to %d were known before it began, writes up to %d", floors[o][0], floors[o][1])
			}
			known, written = max(known, o.revision), max(written, o.revision)
		default:
			if o.level == "full" && o.revision < floors[o][0] {
				fault(o, "it is stale: revision %d was known before it began", floors[o][0])
			}
			known = max(known, o.revision)
		}
	}
	return append(faults, judgeRegisters(history)...)
}

func (p *past) judgeWrite(o *scheduled, fault func(o *scheduled, format string, args ...any)) {
	text := o.create + o.remove
	revisions := p.names[o.name]
	if len(revisions) > 1 {
		fault(o, "it took effect at %d", revisions)
		return
	}
	if len(revisions) == 1 && o.present != "" {
		// Commands of one revision follow each other, so it may have been there in between.
		place := p.at(revisions[0])
		if !p.tuples[place-1][o.present] && !p.created[revisions[0]][o.present] {
			fault(o, "it took effect although %s was not there", o.present)
		}
	}
	switch o.fate {
	case fateRefused, fateNothing:
		if len(revisions) > 0 {
			fault(o, "it took effect at %d", revisions)
		}
	case fateAnswered:
		switch {
		case len(revisions) == 1 && revisions[0] != o.revision:
			fault(o, "it took effect at %d", revisions)
		case o.create != "" && len(revisions) == 0:
			fault(o, "it was acknowledged and is lost")
		case o.remove != "" && p.tuples[p.at(o.revision)][text] && !p.created[o.revision][text]:
			fault(o, "it was acknowledged, and the tuple is there")
		}
	}
}

func (p *past) judgeRead(o *scheduled, fault func(o *scheduled, format string, args ...any)) error {
	switch {
	case o.level == "fresh" && o.revision < o.least:
		fault(o, "it is older than its token")
	case o.level == "exact" && o.revision != o.least:
		fault(o, "it is not the state of its token")
	}
	r, err := p.reference(p.at(o.revision))
	if err != nil {
		return err
	}
	if o.question != "" {
		q, err := graph.ParseTuple(o.question)
		if err != nil {
			return err
		}
		if want := r.Check(q.Object, q.Relation, q.Subject) == graphtest.True; want != o.allowed {
			fault(o, "want %t by %v", want, p.tuples[p.at(o.revision)])
		}
		return nil
	}
	subject, err := graph.ParseSubject(o.lists)
	if err != nil {
		return err
	}
	for _, d := range []string{"d0", "d1", "d2"} {
		want := r.Check(graph.ObjectName{Type: "document", ID: d}, "reader", subject) == graphtest.True
		if want != slices.Contains(o.listed, d) {
			fault(o, "%s is in the list: %t, want %t", d, !want, want)
		}
	}
	return nil
}

// judgeRegisters takes every tuple that is written without a precondition, and asked for by
// itself, for a register, and looks for an order in which all that was seen of it makes
// sense. Unlike the rest of the judgement that rests on nothing that the service says of
// revisions.
func judgeRegisters(history []*scheduled) (faults []error) {
	operations := map[string][]porcupine.Operation{}
	for _, o := range history {
		text := o.create + o.remove
		if o.name == "" {
			if o.level != "full" || o.fate != fateAnswered || !isOwnership(o.question) {
				continue
			}
			text = o.question
		}
		end := o.end
		switch {
		case !isOwnership(text) || o.fate == fateNothing || o.present != "" && o.fate == fateRefused:
			continue
		case o.fate == fateOpen:
			end = 1 << 60 // or never, which is the same
		}
		operations[text] = append(operations[text], porcupine.Operation{ClientId: o.client, Input: o, Call: o.begin, Output: o, Return: end})
	}
	for text, of := range operations {
		// A client goes on after what is open, so it needs an id of its own.
		for i := range of {
			of[i].ClientId = i
		}
		if porcupine.CheckOperationsTimeout(register, of, time.Minute) == porcupine.Illegal {
			faults = append(faults, fmt.Errorf("no order of what was seen of %s makes sense", text))
		}
	}
	return faults
}

// isOwnership reports whether a tuple can be asked for by itself.
func isOwnership(text string) bool {
	t, err := graph.ParseTuple(text)
	return err == nil && t.Relation == "owner" && t.Object.Type == "document"
}

// register is a tuple: it is there or not.
var register = porcupine.Model{
	Init: func() any { return false },
	Step: func(state, input, _ any) (bool, any) {
		there, o := state.(bool), input.(*scheduled)
		switch {
		case o.question != "":
			return o.allowed == there, there
		case o.remove != "":
			return true, false
		case o.fate == fateRefused:
			return there, there
		case o.fate == fateOpen:
			return true, true
		}
		return !there, true
	},
}
