package fsm

import (
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/value"
)

// An eraseCrowd has several entities of two stores erased at once, step by step in any
// order, who all write to the stores and tell of one another in whatever passes.
type eraseCrowd struct {
	*machine
	*chance
	names []string
	under map[StoreID]map[string]ErasureID
	made  byte
	ended int
}

func (x *eraseCrowd) name() string { return x.pick(x.names...) }

// act is one command by anybody, which may be refused where it names who is being erased.
func (x *eraseCrowd) act() *Command {
	store := storeNumber(byte(1 + x.IntN(2)))
	c := &Command{Store: store, Principal: x.name(), Actor: "user:" + x.name(), RequestID: x.name() + "/7", Reason: "asked by " + x.name() + "."}
	switch x.IntN(8) {
	case 0:
		c.Body = &SetRetention{Retention: int64(x.IntN(3))}
	case 1:
		c.Body = &AdvanceHistory{Horizon: graph.Revision(max(1, int(x.index)-40))}
	case 2:
		c.Key, c.Body = "for/"+x.name(), &Write{}
	case 3:
		c.Store, c.Key = storeNumber(byte(10+x.IntN(200))), x.name()
		c.Body = &CreateStore{Name: "passing"}
	case 4:
		c.Body = write(store, remove(viewer(x.pick("plan", "memo"), x.name()))).Body
	case 5:
		o := touch(viewer("memo", x.name()))
		o.Expires = x.now + int64(1+x.IntN(20))
		c.Body = write(store, o).Body
	case 6:
		c.Body = &AdvanceExpiry{Horizon: x.now}
	default:
		c.Body = write(store, touch(viewer(x.pick("plan", "memo"), x.name())), Operation{Kind: PutDocument, Entity: Entity{typeUser, x.name()}, Fields: mustFields(x.chance.t, nil)}).Body
	}
	return c
}

// tell mentions somebody in the head and takes it back, so that only the past tells.
func (x *eraseCrowd) tell() {
	store := storeNumber(byte(1 + x.IntN(2)))
	o := touch(viewer("plan", "nobody"))
	o.Condition, o.Context = conditionOne, mustFields(x.machine.t, value.Map{"deputy": "user:" + x.name()})
	x.do(write(store, o))
	x.do(write(store, touch(viewer("plan", "nobody"))))
}

// step begins an erasure or goes on with one, and looks for the name when it ends.
func (x *eraseCrowd) step() {
	store, name := storeNumber(byte(1+x.IntN(2))), x.name()
	id, begun := x.under[store][name]
	c := &Command{Store: store, Principal: x.name(), Actor: x.name(), Reason: "for " + x.name(), Body: &Erase{ID: id, Limit: uint64(1 + x.IntN(25))}}
	if !begun {
		x.made++
		id = erasureNumber(x.made)
		c.Body = &Erase{ID: id, Entity: Entity{typeUser, name}, Limit: uint64(1 + x.IntN(25))}
	}
	r := x.do(c)
	if x.under[store][name] = id; r.Remaining {
		return
	}
	delete(x.under[store], name)
	x.ended++
	for _, row := range rowsWith(x.machine.t, x.s, name) {
		if of := row[2:34]; of == hex.EncodeToString(store[:]) || of == strings.Repeat("0", 32) {
			x.machine.t.Errorf("%s is erased, and the name stands in %s", name, row)
		}
	}
	x.checkHash()
}

func TestErasuresAmongOneAnother(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rounds := 3
	if os.Getenv("REMIT_TEST_ALL") != "" {
		rounds = 30
	}
	for round := range rounds {
		r := &chance{rand.New(rand.NewPCG(seed, uint64(round))), t}
		x := &eraseCrowd{machine: newMachine(t), chance: r, names: []string{"qa-one", "qb-two", "qc-three"}}
		x.under = map[StoreID]map[string]ErasureID{x.store(1): {}, x.store(2): {}}
		var other *State // a node that gets a snapshot in the middle
		for i := range 500 {
			switch x.IntN(5) {
			case 0:
				x.tell()
			case 1, 2:
				if x.made < 250 {
					x.step()
				}
			default:
				if err := x.apply(x.act())[0].Err; err != nil && !errors.Is(err, ErrErasing) && !errors.Is(err, ErrStoreExists) && !errors.Is(err, ErrHorizon) &&
					!errors.Is(err, ErrIdempotencyConflict) {
					t.Fatal(err)
				}
			}
			if x.IntN(100) == 0 {
				x.reopen()
			}
			if i == 250 {
				meta := snapshot(t, x.s, x.index)
				other = newMachine(t).s
				id, err := receive(other, meta.Index, meta.Term, stream(t, x.s, meta.ID))
				if err != nil {
					t.Fatal(err)
				}
				restore(t, other, id)
			}
		}
		for _, l := range x.logs {
			other.Apply(l) // what it has is passed over
		}
		if err := sameHash(x.s, other); err != nil {
			t.Error(err)
		}
		x.do(&Command{Store: storeNumber(1), Body: &DeleteStore{}}) // with what is under way
		x.checkHash()
		t.Logf("%d erasures ended, %d begun", x.ended, x.made)
		replay(t, x.machine, r)
	}
}
