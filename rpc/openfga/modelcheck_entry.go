package openfga

import (
	"errors"
	"fmt"
	"slices"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
)

// maxEntrySteps bounds the search for entry points in a model, to a tenth of a
// second. OpenFGA's own search takes time exponential in the number of types; an
// ordinary model needs some thousands of steps.
const maxEntrySteps = 1 << 16

// An entryWalk looks for relations that no tuple can ever make true.
//
// A set of equations says the same in linear time, and package model solves it. But
// which of several faults OpenFGA reports depends on the order of its search and on what
// it forgets on the way, so this is that search. It gives up when its steps are used up:
// OpenFGA would not answer either, and package model still refuses the model if one of
// its relations cannot be reached.
type entryWalk struct {
	check *modelCheck
	left  int // steps
}

// errTooLong occurs when the steps are used up.
var errTooLong = errors.New("too many ways through the model")

// entryMarks are what one branch of the search knows about the relations that it came
// by, by type. Branches tell each other about relations of types that they came by before
// they parted: only one that comes to a new type copies the outer slice, to add to it.
type entryMarks [][]entryMark

// An entryMark is what is known about one relation.
type entryMark uint8

const (
	notSeen entryMark = iota
	seen              // on the way here, or to no avail
	entered           // some tuple of its own makes it true
)

func (m entryMarks) of(r *checkedRelation) entryMark {
	if marks := m[r.owner.index]; marks != nil {
		return marks[r.index]
	}
	return notSeen
}

// with sets the mark of a relation.
func (m entryMarks) with(r *checkedRelation, mark entryMark) entryMarks {
	if m[r.owner.index] == nil {
		m = slices.Clone(m)
		m[r.owner.index] = make([]entryMark, len(r.owner.relations))
	}
	m[r.owner.index][r.index] = mark
	return m
}

// checkEntry reports a relation that nothing can make true.
func (w *entryWalk) checkEntry(r *checkedRelation) error {
	if w.left <= 0 {
		return nil
	}
	found, loop, err := w.enter(r, r.rewrite, make(entryMarks, len(w.check.sorted)))
	switch {
	case errors.Is(err, errTooLong):
		return nil
	case err != nil:
		return err
	case !found && loop:
		return r.fault("potential loop")
	case !found:
		return r.fault("no entrypoints defined")
	}
	return nil
}

// unknownRelation says that the search came by a relation that does not exist. That of
// the relation which mentions it comes later, if it does.
func unknownRelation(typ, relation string) error {
	return fmt.Errorf("undefined type definition for '%s#%s'", typ, relation)
}

// enter reports whether some tuple could make a rewrite of r true, and if not, whether a
// relation that the search came from stood in the way.
func (w *entryWalk) enter(r *checkedRelation, rewrite *openfgav1.Userset, from entryMarks) (found, loop bool, err error) {
	if w.left--; w.left < 0 {
		return false, false, errTooLong
	}
	marks := from.with(r, seen)
	switch rewrite.GetUserset().(type) {
	case *openfgav1.Userset_This:
		return w.enterDirect(r, marks)
	case *openfgav1.Userset_ComputedUserset:
		name := rewrite.GetComputedUserset().GetRelation()
		computed := r.owner.byName[name]
		switch {
		case computed == nil:
			return false, false, unknownRelation(r.owner.name, name)
		case marks.of(computed) != notSeen:
			return marks.of(computed) == entered, true, nil
		}
		return w.enter(computed, computed.rewrite, marks)
	case *openfgav1.Userset_TupleToUserset:
		return w.enterFrom(r, rewrite.GetTupleToUserset(), marks)
	case *openfgav1.Userset_Union:
		return w.enterUnion(r, rewrite.GetUnion().GetChild(), from)
	case *openfgav1.Userset_Intersection:
		operands := rewrite.GetIntersection().GetChild()
		if len(operands) < 2 {
			return false, false, fmt.Errorf("invalid relation: '%s' as intersection has less than 2 children", r)
		}
		return w.enterAll(r, operands, from)
	case *openfgav1.Userset_Difference:
		operands, _ := operandsOf(rewrite)
		return w.enterAll(r, operands, from)
	}
	return false, false, errors.New("rpc error: code = Code(4000) desc = error validating model")
}

// enterDirect is enter for the tuples of a relation itself.
func (w *entryWalk) enterDirect(r *checkedRelation, marks entryMarks) (found, loop bool, err error) {
	for _, ref := range r.allowed {
		if ref.GetRelationOrWildcard() == nil || ref.GetWildcard() != nil {
			marks.with(r, entered)
			return true, false, nil
		}
		other := w.check.relation(ref.GetType(), ref.GetRelation())
		if other == nil {
			return false, false, unknownRelation(ref.GetType(), ref.GetRelation())
		}
		if marks.of(other) != notSeen {
			continue
		}
		if found, _, err := w.enter(other, other.rewrite, marks); err != nil || found {
			return found, false, err
		}
	}
	return false, false, nil
}

// enterFrom is enter for `computed from tupleset`.
func (w *entryWalk) enterFrom(r *checkedRelation, from *openfgav1.TupleToUserset, marks entryMarks) (found, loop bool, err error) {
	name := from.GetTupleset().GetRelation()
	tupleset := r.owner.byName[name]
	if tupleset == nil {
		return false, false, unknownRelation(r.owner.name, name)
	}
	for _, ref := range tupleset.allowed {
		computed := w.check.relation(ref.GetType(), from.GetComputedUserset().GetRelation())
		if computed == nil {
			continue
		}
		switch marks.of(computed) {
		case entered:
			return true, false, nil
		case seen:
			continue
		}
		if found, _, err := w.enter(computed, computed.rewrite, marks); err != nil || found {
			return found, false, err
		}
	}
	return false, false, nil
}

// enterUnion wants one of the operands.
func (w *entryWalk) enterUnion(r *checkedRelation, operands []*openfgav1.Userset, from entryMarks) (found, loop bool, err error) {
	if len(operands) < 2 {
		return false, false, fmt.Errorf("invalid relation: '%s' as union has less than 2 children", r)
	}
	for _, operand := range operands {
		found, inLoop, err := w.enter(r, operand, from)
		if err != nil || found {
			return found, false, err
		}
		loop = loop || inLoop
	}
	return false, loop, nil
}

// enterAll wants all of the operands, what an exclusion subtracts among them.
func (w *entryWalk) enterAll(r *checkedRelation, operands []*openfgav1.Userset, from entryMarks) (found, loop bool, err error) {
	for _, operand := range operands {
		if found, loop, err := w.enter(r, operand, from); err != nil || !found {
			return false, loop, err
		}
	}
	return true, false, nil
}
