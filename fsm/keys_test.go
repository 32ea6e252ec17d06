package fsm

import (
	"bytes"
	"cmp"
	"testing"

	"pgregory.net/rapid"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

func drawTuple(t *rapid.T, label string) tupleItem {
	small := rapid.Uint64Range(0, 3)
	id := func(what string) graph.ID {
		n := rapid.OneOf(small, rapid.Uint64Range(0, graph.MaxSequence)).Draw(t, label+what)
		return graph.MakeID(model.TypeID(rapid.Uint32Range(1, uint32(model.MaxTypeID)).Draw(t, label+what+"type")), n)
	}
	u := graph.Userset{Object: id("object"), Relation: model.RelationID(rapid.Uint32().Draw(t, label+"relation"))}
	sub := graph.Subject{ID: id("subject"), Relation: model.RelationID(rapid.OneOf(rapid.Uint32Range(0, 1), rapid.Uint32()).Draw(t, label+"subjectRelation"))}
	return newTupleItem(u, graph.Edge{Subject: sub}, 0, 0)
}

func comparePlaces(a, b place) int {
	switch {
	case a.less(&b):
		return -1
	case b.less(&a):
		return 1
	}
	return 0
}

func TestTupleKeysKeepOrderAndRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := drawTuple(t, "a")
		b := drawTuple(t, "b")
		if rapid.Bool().Draw(t, "near") { // tuples that share a prefix
			b.object = a.object
		}
		if rapid.Bool().Draw(t, "nearer") {
			b.relations = relationsOf(a.relations.object(), b.relations.subject())
		}
		store := storeNumber(1)
		au, as, bu, bs := a.userset(), a.subject(), b.userset(), b.subject()
		ka, kb := forwardKey(store, au, as), forwardKey(store, bu, bs)
		want := cmp.Or(cmp.Compare(a.object, b.object), comparePlaces(a.place, b.place))
		if got := bytes.Compare(ka, kb); got != want {
			t.Fatalf("forward keys compare %d, tuples %d", got, want)
		}
		u, s := readForwardSuffix(ka[prefixSize:])
		if u != au || s != as {
			t.Fatalf("forward key of %v reads as %v %v", a, u, s)
		}
		// Those of one subject stand in this order, among others.
		b.end = a.end
		bs = b.subject()
		xa, xb := reverseKey(store, au, as), reverseKey(store, bu, bs)
		if got, want := bytes.Compare(xa, xb), comparePlaces(a.reverse().place, b.reverse().place); got != want {
			t.Fatalf("reverse keys compare %d, tuples %d", got, want)
		}
		if u, s := readReverseSuffix(xa[prefixSize:]); u != au || s != as {
			t.Fatalf("reverse key of %v reads as %v %v", a, u, s)
		}
	})
}

func TestNamesTimesAndIdempotencyKeysKeepApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		store := storeNumber(1)
		n1, n2 := rapid.String().Draw(t, "n1"), rapid.String().Draw(t, "n2")
		type2 := model.TypeID(rapid.Uint32Range(1, 2).Draw(t, "type"))
		if same := type2 == 1 && n1 == n2; bytes.Equal(nameKey(store, 1, n1), nameKey(store, type2, n2)) != same {
			t.Fatalf("name keys of %q and %d:%q meet", n1, type2, n2)
		}
		t1, t2 := rapid.Int64().Draw(t, "t1"), rapid.Int64().Draw(t, "t2")
		if got, want := bytes.Compare(timeRevisionKey(t1), timeRevisionKey(t2)), cmp.Compare(t1, t2); got != want {
			t.Fatalf("time keys compare %d, times %d", got, want)
		}
		if got := readTime(timeRevisionKey(t1)[prefixSize:]); got != t1 {
			t.Fatalf("time %d reads as %d", t1, got)
		}
		p1, p2 := rapid.String().Draw(t, "p1"), rapid.String().Draw(t, "p2")
		if same := p1 == p2 && n1 == n2; bytes.Equal(idempotencyKey(store, p1, n1), idempotencyKey(store, p2, n2)) != same {
			t.Fatalf("keys of (%q, %q) and (%q, %q) meet", p1, n1, p2, n2)
		}
	})
}

func TestPrefixEnd(t *testing.T) {
	for _, tt := range []struct{ in, want []byte }{
		{[]byte{1, 2}, []byte{1, 3}},
		{[]byte{1, 0xff}, []byte{2}},
		{[]byte{0xff, 0xff}, nil},
	} {
		if got := prefixEnd(tt.in); !bytes.Equal(got, tt.want) {
			t.Errorf("prefixEnd(%x) = %x, want %x", tt.in, got, tt.want)
		}
	}
}
