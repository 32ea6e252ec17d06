package crm

import "slices"

// A climb looks for entities of a type that are above themselves. It visits each once,
// from however many it starts.
type climb struct {
	c      *checker
	typ    string
	above  func(id string) []string // what stands directly above; for groups, their members
	remedy string

	done  map[string]bool
	path  []string
	place map[string]int // where on the path
}

func (c *checker) climb(typ string) *climb {
	w := &climb{c: c, typ: typ, done: map[string]bool{}, place: map[string]int{}}
	switch typ {
	case typeRole:
		w.remedy = "put it below a role that is not below it"
		w.above = func(id string) []string {
			if r := c.role(id); r != nil && r.Parent != "" {
				return []string{r.Parent}
			}
			return nil
		}
	case typeUser:
		w.remedy = "name a manager who does not report to it"
		w.above = func(id string) []string {
			if s := c.seat(id); s != nil && s.Manager != "" {
				return []string{s.Manager}
			}
			return nil
		}
	case typeGroup:
		w.remedy = "leave out a group that contains it"
		w.above = func(id string) []string {
			var groups []string
			if g := c.group(id); g != nil {
				for _, m := range g.Members {
					if m.Kind == MembersOf {
						groups = append(groups, m.ID)
					}
				}
			}
			return groups
		}
	}
	return w
}

// from reports every way from an entity that comes back to where it was.
func (w *climb) from(id string) {
	if at, on := w.place[id]; on {
		around := append(slices.Clone(w.path[at:]), id)
		w.c.fault(entity(w.typ, id), "it is above itself: %s: %s", enumerate(around), w.remedy)
		return
	}
	if w.done[id] {
		return
	}
	w.done[id] = true
	w.place[id] = len(w.path)
	w.path = append(w.path, id)
	for _, next := range w.above(id) {
		w.from(next)
	}
	w.path = w.path[:len(w.path)-1]
	delete(w.place, id)
}
