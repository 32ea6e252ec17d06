package fsm

// A managed store is kept by a planner, which writes what belongs together as one command.
// What others wrote there could break what the planner rests on, so the refusal stands
// here, where every write passes.

// ErasedScope is a scope of every managed store that rises by one when an erasure forgets how
// often a document was put: a name that comes back counts from 1 again. A plan that rests on
// versions of documents requires this scope, too, and so is none of what was erased since.
const ErasedScope = "erased"

// managed refuses what a managed store does not take and what only a managed store takes,
// and either before the cluster knows managed stores.
func (t *tx) managed(c *Command, st *storeIndex) *Refusal {
	if need := c.ClusterVersion(); t.version < need {
		return &Refusal{Reason: ErrVersion, Index: -1, Version: t.version}
	}
	switch c.Body.(type) {
	case *Write, *WriteModel:
		if c.Planned != st.row.managed {
			return refuse(ErrManaged)
		}
	}
	return nil
}

// Managed reports whether only the store's planner may write its tuples, documents and
// models. It is the same as long as the store exists.
func (s *Store) Managed() bool { return s.index.row.managed }

// InUse reports whether the store's head has a tuple with the entity in it, be it expired
// and not yet gone, or a document of the entity. A managed store does not let such an
// entity be erased: what the planner wrote together would be there by half.
func (s *Store) InUse(e Entity) bool { return s.index.inUse(e) }

func (s *storeIndex) inUse(e Entity) bool {
	n, ok := s.lookup(e.Type, e.Name)
	if !ok {
		return false
	}
	document, ok := s.document(n.id)
	return ok && !document.deleted || len(s.tuplesOf(n.id, 1)) > 0
}
