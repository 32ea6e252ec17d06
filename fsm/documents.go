package fsm

import (
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// Documents calls visit with the entities of a type behind an id that have a document, in
// the order of their ids, until it returns false.
func (s *Store) Documents(t model.TypeID, after graph.ID, visit func(graph.ID, graph.Document) bool) error {
	var fault error
	from := max(after, graph.MakeID(t, 0))
	s.index.documents.ascend(uint64(from), func(key uint64, row *documentRow) bool {
		id := graph.ID(key)
		if id.Type() != t {
			return false
		}
		if id == after || row.deleted {
			return true
		}
		document, _, err := documentOf(row)
		if err != nil {
			fault = err
			return false
		}
		return visit(id, document)
	})
	return fault
}

// A Content stands for what a store holds at some state: of two that are equal, nothing
// was written in between. Unlike a Store it keeps nothing of other stores in memory, so it
// may be held for as long as one likes.
type Content struct{ index *storeIndex }

// Content stands for what the store holds.
func (s *Store) Content() Content { return Content{s.index} }

// Content is the content of a store, without the memory that a Store takes.
func (r *Root) Content(id StoreID) (Content, bool) {
	s, ok := r.index.get(id)
	return Content{s}, ok && !id.IsZero()
}
