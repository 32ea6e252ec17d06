package backend

import "github.com/remit-authz/remit/rpc/decision"

// Describe tells the log of decisions what the question was judged by.
func (q *Question) Describe(e *decision.Event) {
	e.Store = q.Head.ID()
	e.Revision, e.Token = uint64(q.Base.Revision()), q.Token()
	e.At = q.At
	if q.Plan != nil {
		e.Model = q.Plan.ID()
	}
}
