package fsm

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/remit-authz/remit/graph"
)

// drawNumber is one of few that are close together, or far apart at any of a trie's levels.
func drawNumber(t *rapid.T) uint64 {
	return rapid.Uint64Range(0, 3).Draw(t, "low") | rapid.Uint64Range(0, 3).Draw(t, "high")<<rapid.IntRange(0, 62).Draw(t, "shift")
}

// wantTrie compares a trie with a map, and looks whether it is as flat as it can be.
func wantTrie(t *rapid.T, trie *trie[int], want map[uint64]int) {
	t.Helper()
	if trie.len() != len(want) {
		t.Fatalf("%d numbers, want %d", trie.len(), len(want))
	}
	keys := slices.Sorted(maps.Keys(want))
	from := drawNumber(t)
	var got, all []uint64
	trie.ascend(from, func(key uint64, v *int) bool {
		if *v != want[key] {
			t.Fatalf("%x has %d, want %d", key, *v, want[key])
		}
		got = append(got, key)
		return true
	})
	first, _ := slices.BinarySearch(keys, from)
	if !slices.Equal(got, keys[first:]) {
		t.Fatalf("from %x on there are %x, want %x", from, got, keys[first:])
	}
	trie.ascend(0, func(key uint64, _ *int) bool {
		all = append(all, key)
		return len(all) < 2
	})
	if !slices.Equal(all, keys[:min(2, len(keys))]) {
		t.Fatalf("the first two are %x, want %x", all, keys[:min(2, len(keys))])
	}
	for key, v := range want {
		if p := trie.get(key); p == nil || *p != v {
			t.Fatalf("%x has %v, want %d", key, p, v)
		}
		if other := key ^ 1<<rapid.IntRange(0, 63).Draw(t, "bit"); want[other] == 0 && trie.get(other) != nil {
			t.Fatalf("%x has %d, want nothing", other, *trie.get(other))
		}
	}
	var flat func(n *trieNode[int])
	flat = func(n *trieNode[int]) {
		if n.shift == 0 && len(n.values) == 0 || n.shift > 0 && len(n.below) < 2 {
			t.Fatalf("a node at %x with shift %d has no use", n.base, n.shift)
		}
		for _, below := range n.below {
			flat(below)
		}
	}
	if trie.root != nil {
		flat(trie.root)
	}
}

func TestTriesAreMapsInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type version struct {
			trie trie[int]
			want map[uint64]int
		}
		now, generation := version{want: map[uint64]int{}}, newGeneration()
		var before []version
		for i := range rapid.IntRange(1, 150).Draw(t, "steps") {
			key := drawNumber(t)
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0, 1, 2:
				now.trie.remove(generation, key)
				delete(now.want, key)
			case 3:
				before = append(before, version{now.trie, maps.Clone(now.want)})
				generation = newGeneration()
			default:
				now.trie.put(generation, key, i+1)
				now.want[key] = i + 1
			}
		}
		for _, v := range append(before, now) {
			wantTrie(t, &v.trie, v.want)
		}
	})
}

// Sets are a few tuples or many, and go from one to the other.
func TestTuplesOfEntities(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type key struct {
			id graph.ID
			at place
		}
		type version struct {
			index tupleIndex[ownedTuple]
			want  map[key]graph.Revision
		}
		now, generation := version{newStoreIndex(StoreID{}).forward, map[key]graph.Revision{}}, newGeneration()
		var before []version
		for i := range rapid.IntRange(1, 40).Draw(t, "steps") {
			id := graph.ID(rapid.Uint64Range(1, 3).Draw(t, "id"))
			first := rapid.Uint64Range(1, 2*mostFew).Draw(t, "first")
			last := first + rapid.Uint64Range(0, mostFew).Draw(t, "count")
			step := rapid.IntRange(0, 4).Draw(t, "step")
			if step == 0 {
				before = append(before, version{now.index, maps.Clone(now.want)})
				generation = newGeneration()
			}
			for n := first; n <= last; n++ {
				at := place{relations(n % 3), graph.ID(n)}
				if step <= 2 {
					now.index.remove(generation, id, at)
					delete(now.want, key{id, at})
				} else {
					created := graph.Revision(i + 1) //nolint:gosec // small
					now.index.put(generation, id, ownedTuple{heldTuple: heldTuple{place: at}, created: created})
					now.want[key{id, at}] = created
				}
			}
		}
		for _, v := range append(before, now) {
			keys := slices.SortedFunc(maps.Keys(v.want), func(a, b key) int {
				if a.id != b.id {
					return int(a.id) - int(b.id)
				}
				return comparePlaces(a.at, b.at)
			})
			if v.index.len() != len(keys) {
				t.Fatalf("%d tuples, want %d", v.index.len(), len(keys))
			}
			for i, k := range keys {
				if got, ok := v.index.get(k.id, k.at); !ok || got.created != v.want[k] {
					t.Fatalf("%v is %v, %t, want revision %d", k, got, ok, v.want[k])
				}
				if _, ok := v.index.get(k.id, place{k.at.relations + 1, k.at.end}); ok {
					t.Fatalf("behind %v there is one of another relation", k)
				}
				j := i
				v.index.ascendAll(k.id, k.at, func(id graph.ID, got ownedTuple) bool {
					if j == len(keys) || keys[j] != (key{id, got.place}) || got.created != v.want[keys[j]] {
						t.Fatalf("from %v on, number %d is %v of %v", k, j-i, got, id)
					}
					j++
					return j < i+80
				})
				if j != min(len(keys), i+80) {
					t.Fatalf("from %v on there are %d tuples, want %d", k, j-i, len(keys)-i)
				}
				ended := i
				v.index.ascend(k.id, k.at, func(got ownedTuple) bool {
					ended++
					return true
				})
				if ended < len(keys) && keys[ended].id == k.id || keys[ended-1].id != k.id {
					t.Fatalf("from %v on there are %d of the same entity", k, ended-i)
				}
			}
		}
	})
}
