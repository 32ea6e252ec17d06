package crm

import (
	"cmp"
	"maps"
	"slices"

	"github.com/remit-authz/remit/graph"
)

// A previewTally counts records by user, module, action and whether they are gained or
// lost, up to one more than the bound.
type previewTally struct {
	words   int
	limit   uint32
	columns []*tallyColumn // nil until somebody has something there
}

type tallyColumn struct {
	counts []uint32
	full   []uint64 // who has reached the limit
}

func newPreviewTally(users, kinds, bound int) *previewTally {
	return &previewTally{
		words: (users + 63) / 64, limit: uint32(bound + 1),
		columns: make([]*tallyColumn, kinds*len(previewActions)*2),
	}
}

// columnOf is the column of a kind's action.
func columnOf(kind, action, way int) int { return (kind*len(previewActions)+action)*2 + way }

// add counts n records for each of the crowd, less what is excepted.
func (t *previewTally) add(column int, c *crowd, n int, except map[uint32]int) {
	col := t.columns[column]
	if col == nil {
		col = &tallyColumn{counts: make([]uint32, t.words*64), full: make([]uint64, t.words)}
		t.columns[column] = col
	}
	one := func(i uint32) {
		m := n
		if except != nil {
			m -= except[i]
		}
		if m <= 0 {
			return
		}
		count := uint32(min(int(t.limit), int(col.counts[i])+m))
		if col.counts[i] = count; count == t.limit {
			col.full[i>>6] |= 1 << (i & 63)
		}
	}
	for _, i := range c.list {
		one(i)
	}
	for w, word := range c.bits {
		if word &^= col.full[w]; word != 0 {
			eachBit([]uint64{word}, func(i uint32) { one(uint32(w)<<6 + i) })
		}
	}
}

// merge adds another tally to this one.
func (t *previewTally) merge(o *previewTally) {
	for i, col := range o.columns {
		switch mine := t.columns[i]; {
		case col == nil:
		case mine == nil:
			t.columns[i] = col
		default:
			for j, n := range col.counts {
				mine.counts[j] = min(t.limit, mine.counts[j]+n)
			}
		}
	}
}

// totals are, by user, how many records are gained, and how many are lost, over all
// modules and actions, none of them counted beyond the bound.
func (t *previewTally) totals(users int) [2][]int {
	var totals [2][]int
	for way := range totals {
		totals[way] = make([]int, users)
	}
	for i, col := range t.columns {
		if col == nil {
			continue
		}
		total := totals[i%2]
		for j := range total {
			total[j] += int(min(col.counts[j], t.limit-1))
		}
	}
	return totals
}

// count is what stands in a column for a user.
func (t *previewTally) count(column int, user uint32) Count {
	col := t.columns[column]
	if col == nil {
		return Count{}
	}
	n := col.counts[user]
	return Count{N: int(min(n, t.limit-1)), AtLeast: n == t.limit}
}

// previewSamples are the first records by name of some users, by user and column.
type previewSamples struct {
	bound int
	lists map[sampleKey]*sampleList
}

type sampleKey struct {
	user   uint32
	column int
}

// A sampleList holds names in any order; once it holds as many as are wanted, and it is
// known, nothing behind the last of those comes in.
type sampleList struct {
	names []string
	last  string
}

func newPreviewSamples(bound int) *previewSamples {
	return &previewSamples{bound: bound, lists: map[sampleKey]*sampleList{}}
}

func (s *previewSamples) add(column int, user uint32, names []string) {
	key := sampleKey{user, column}
	list := s.lists[key]
	if list == nil {
		list = &sampleList{}
		s.lists[key] = list
	}
	for _, name := range names {
		if list.last != "" && name > list.last {
			continue
		}
		if list.names = append(list.names, name); len(list.names) >= 2*s.bound+100 {
			list.names = s.first(list.names)
			list.last = list.names[s.bound-1]
		}
	}
}

// first is the beginning of a list by name.
func (s *previewSamples) first(list []string) []string {
	slices.Sort(list)
	return list[:min(s.bound, len(list))]
}

// of are the first names of a user's column.
func (s *previewSamples) of(user uint32, column int) []string {
	if list := s.lists[sampleKey{user, column}]; list != nil {
		return s.first(list.names)
	}
	return nil
}

// merge adds others to these.
func (s *previewSamples) merge(o *previewSamples) {
	for key, list := range o.lists {
		s.add(key.column, key.user, list.names)
	}
}

// most are the users with the most changes, most first, and by name where they have as
// many.
func (r *previewRun) most(totals [2][]int) ([]uint32, error) {
	var changed []uint32
	names := map[uint32]string{}
	for i := range r.users {
		if totals[gained][i]+totals[lost][i] == 0 {
			continue
		}
		name, err := r.overlay.Name(r.users[i])
		if err != nil {
			return nil, err
		}
		changed, names[uint32(i)] = append(changed, uint32(i)), name
	}
	total := func(i uint32) int { return totals[gained][i] + totals[lost][i] }
	slices.SortFunc(changed, func(a, b uint32) int {
		return cmp.Or(cmp.Compare(total(b), total(a)), cmp.Compare(names[a], names[b]))
	})
	return changed[:min(len(changed), r.bounds.Users)], nil
}

// describe says what a user gains and loses.
func (r *previewRun) describe(user uint32, tally *previewTally, samples *previewSamples) (UserAccess, error) {
	name, err := r.overlay.Name(r.users[user])
	if err != nil {
		return UserAccess{}, err
	}
	u := UserAccess{User: name}
	kinds := slices.SortedFunc(slices.Values(r.shape.kinds), func(a, b *recordKind) int { return cmp.Compare(a.name, b.name) })
	for _, k := range kinds {
		for i, a := range previewActions {
			in, out := columnOf(k.index, i, gained), columnOf(k.index, i, lost)
			m := ModuleAccess{Module: k.name, Action: a, Gained: tally.count(in, user), Lost: tally.count(out, user)}
			if m.Gained.N == 0 && m.Lost.N == 0 {
				continue
			}
			m.GainedSamples = samples.of(user, in)
			m.LostSamples = samples.of(user, out)
			u.Modules = append(u.Modules, m)
		}
	}
	return u, nil
}

// sortedIDs are the keys of a map in order.
func sortedIDs[V any](m map[graph.ID]V) []graph.ID { return slices.Sorted(maps.Keys(m)) }
