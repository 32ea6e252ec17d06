package graph

import (
	"time"

	"github.com/remit-authz/remit/graph/condition"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/graph/value"
)

// A View is one store at one revision. Everything read through it belongs to that
// revision; it never changes. A View is safe for concurrent use. A fault of the
// storage below is an error, never an empty answer.
type View interface {
	// Revision is the revision that the view shows.
	Revision() Revision

	// Time is the leader's time at that revision: what an instant defaults to when
	// the past is asked, and the earliest that the present may be.
	Time() time.Time

	// Lookup finds an entity by type and name. The name "*" is the type's wildcard
	// and is always known. An entity is known once a tuple or a document names it.
	Lookup(t model.TypeID, name string) (ID, bool, error)

	// Name is the reverse of Lookup. An unknown id is an error.
	Name(id ID) (string, error)

	// Contains finds the tuple that grants the userset to exactly this subject,
	// whatever its condition and expiry.
	Contains(u Userset, s Subject) (Edge, bool, error)

	// Subjects fills the cursor with the edges of a userset, in the order of
	// Subject.Compare.
	Subjects(u Userset, c *Cursor) error

	// Objects fills the cursor with the objects whose relation r is granted to
	// exactly this subject, in the order of their ids. In the edges it yields, Subject
	// holds the object's id, and 0 as its relation.
	Objects(r model.RelationID, s Subject, c *Cursor) error

	// Document is an entity's attributes.
	Document(id ID) (Document, bool, error)
}

// An Edge is one tuple as seen from one of its ends.
type Edge struct {
	// Subject is the other end: see View.Subjects and View.Objects.
	Subject Subject

	// Condition must hold for the tuple to count, 0 if there is none, and Context is
	// what was stored with the tuple for it, nil if nothing was.
	Condition model.ConditionID
	Context   *condition.Context

	// Expires is the instant from which the tuple no longer counts, in milliseconds
	// since 1970 UTC; 0 is never.
	Expires int64
}

// Plain reports whether the edge counts unconditionally and for ever.
func (e *Edge) Plain() bool { return e.Condition == 0 && e.Expires == 0 }

// ExpiredAt reports whether the tuple has ceased to count at an instant given in
// milliseconds since 1970 UTC.
func (e *Edge) ExpiredAt(ms int64) bool { return e.Expires != 0 && e.Expires <= ms }

// A Cursor pages through edges. A zero Cursor starts at the first edge. The owner may
// set After before the first call to begin behind a subject (for Objects, behind the
// object in After.ID). Each call of a View replaces Edges by the next page and moves
// After to its last edge; Done means that nothing follows. Edges belong to the view
// and hold until the next call; the caller must not change them.
type Cursor struct {
	After Subject
	Edges []Edge
	Done  bool

	// Buffer is room that a view may use for Edges, kept between calls so that a
	// reused cursor does not allocate.
	Buffer []Edge
}

// Reset makes the cursor start anew behind after, and keeps its buffer.
func (c *Cursor) Reset(after Subject) {
	c.After, c.Edges, c.Done = after, nil, false
}

// A Document is the attributes of an entity. Its version counts its writes from 1 and
// does not begin again when it is deleted.
type Document struct {
	Version uint64
	Fields  value.Map
}

// A Scanner is a View that can also go through whole tuples, as reading by filter and
// exporting need.
type Scanner interface {
	View

	// Rows fills the cursor with tuples in the order of object, relation and subject.
	Rows(c *RowCursor) error
}

// A Row is a whole tuple, in ids.
type Row struct {
	Userset Userset
	Edge    Edge
	Written int64 // the leader's time of the last write, in milliseconds since 1970 UTC
}

// A RowCursor pages through rows as a Cursor does through edges. Only tuples whose
// object lies in [From, To] are seen; a zero To is no bound.
type RowCursor struct {
	From, To ID
	After    Row // only Userset and Edge.Subject matter; zero to begin
	Rows     []Row
	Done     bool
}
