package crm

import (
	"cmp"
	"slices"
	"time"

	"github.com/remit-authz/remit/graph/value"
)

// A Record is one thing that people own, such as a deal.
type Record struct {
	Module string
	ID     string // within the module

	// Owner is the seat that the record belongs to; of a record of a child module, the
	// seat that wrote it.
	Owner string

	// Parents are the records above this one. A record of a child module has exactly one.
	Parents []Ref

	Confidentiality Confidentiality

	// Shares give others access to this one record; at most one for each party.
	Shares []Share

	// Fields are the record's attributes.
	Fields value.Map
}

// A Ref names a record.
type Ref struct{ Module, ID string }

// String writes the reference as deal:d1.
func (r Ref) String() string { return r.Module + ":" + r.ID }

func (r Ref) compare(o Ref) int {
	return cmp.Or(cmp.Compare(r.Module, o.Module), cmp.Compare(r.ID, o.ID))
}

// A Confidentiality narrows who reaches a record.
type Confidentiality uint8

// The grades of confidentiality.
const (
	Open       Confidentiality = iota
	Restricted                 // owner, superiors, root role, administrators, shares
	Secret                     // owner, shares, super admin
)

// A Share gives a party access to one record.
type Share struct {
	To    Party
	Level Level // LevelView, LevelEdit or LevelFull

	// Related gives the same on the standard records directly below.
	Related bool

	// Expires is the instant from which the share no longer counts, to the millisecond.
	// Zero is never.
	Expires time.Time

	// Reason and GrantedBy tell people why the share is there; they grant nothing.
	Reason    string
	GrantedBy string
}

// Ref names the record.
func (r *Record) Ref() Ref { return Ref{Module: r.Module, ID: r.ID} }

func (r *Record) sort() {
	slices.SortFunc(r.Parents, Ref.compare)
	slices.SortFunc(r.Shares, func(a, b Share) int { return a.To.compare(b.To) })
	for i := range r.Shares {
		if s := &r.Shares[i]; !s.Expires.IsZero() {
			s.Expires = time.UnixMilli(s.Expires.UnixMilli()).UTC()
		}
	}
}
