package crm

import (
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/remit-authz/remit/graph"
)

// A NoticeKind is what was done with a record.
type NoticeKind uint8

// The kinds of notices.
const (
	NoticeChanged NoticeKind = iota + 1
	NoticeShared
	NoticeUnshared
	NoticeTransferred
	NoticeDeleted
	NoticeConfidentiality
)

// A Notice tells an owner what somebody else did with a record.
type Notice struct {
	Kind  NoticeKind
	Owner string
	By    string // the seat that did it; empty if none did

	// Away says of NoticeTransferred that the owner is the one who had the record.
	Away bool

	// Fields are what has changed, of NoticeChanged, in order; Above says that the records
	// above it have.
	Fields []string
	Above  bool

	before, after *Record
	at            time.Time
}

// Notices are what a change of a record means to its owners, at an instant: to whoever
// owned it before, and to whoever owns it after, if that is another. Nobody is told what
// they did themselves. There is at most one of each kind for an owner, in the order changed,
// shared, unshared, confidentiality, transferred; or else deleted. Before is nil for a
// record that was made, of which nobody is told; after is nil for one that was deleted.
func Notices(before, after *Record, by string, at time.Time) []Notice {
	if before == nil {
		return nil
	}
	var list []Notice
	add := func(n Notice) {
		if n.Owner != by {
			n.By, n.before, n.after, n.at = by, before, after, at
			list = append(list, n)
		}
	}
	owner := before.Owner
	if after == nil {
		add(Notice{Kind: NoticeDeleted, Owner: owner})
		return list
	}
	above := !slices.Equal(before.Parents, after.Parents)
	if fields := changedFields(before, after); above || len(fields) > 0 {
		add(Notice{Kind: NoticeChanged, Owner: owner, Fields: fields, Above: above})
	}
	if len(newShares(before, after)) > 0 {
		add(Notice{Kind: NoticeShared, Owner: owner})
	}
	if len(endedShares(before, after, at)) > 0 {
		add(Notice{Kind: NoticeUnshared, Owner: owner})
	}
	if before.Confidentiality != after.Confidentiality {
		add(Notice{Kind: NoticeConfidentiality, Owner: owner})
	}
	if owner != after.Owner {
		add(Notice{Kind: NoticeTransferred, Owner: owner, Away: true})
		add(Notice{Kind: NoticeTransferred, Owner: after.Owner})
	}
	return list
}

// IsRecord reports whether a key can be that of a record: types that every organisation has
// are no modules.
func IsRecord(key graph.ObjectName) bool { return isRecord(key) }

// changedFields are the names of the fields that differ, in order.
func changedFields(before, after *Record) []string {
	var names []string
	for name, v := range before.Fields {
		if w, ok := after.Fields[name]; !ok || !reflect.DeepEqual(v, w) {
			names = append(names, name)
		}
	}
	for name := range after.Fields {
		if _, ok := before.Fields[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// newShares are those that were made or changed.
func newShares(before, after *Record) []Share {
	var list []Share
	for _, s := range after.Shares {
		if !slices.Contains(before.Shares, s) {
			list = append(list, s)
		}
	}
	return list
}

// endedShares are those that were taken away, but for those that had ended by themselves.
func endedShares(before, after *Record, at time.Time) []Share {
	var list []Share
	for _, s := range before.Shares {
		expired := !s.Expires.IsZero() && !s.Expires.After(at)
		if !expired && !slices.ContainsFunc(after.Shares, func(o Share) bool { return o.To == s.To }) {
			list = append(list, s)
		}
	}
	return list
}

// Text says it to people.
func (n *Notice) Text() string {
	by, record := n.By, n.before.Ref().String()
	if by == "" {
		by = "an application"
	}
	switch n.Kind {
	case NoticeChanged:
		what := some(n.Fields, func(name string) string { return name })
		if n.Above {
			what = append(what, "the records above it")
		}
		return fmt.Sprintf("%s changed %s: %s", by, record, listed(what))
	case NoticeShared:
		return fmt.Sprintf("%s shared %s with %s", by, record, listed(some(newShares(n.before, n.after), func(s Share) string {
			return s.To.Text() + " (" + s.Level.String() + ")"
		})))
	case NoticeUnshared:
		return fmt.Sprintf("%s no longer shares %s with %s", by, record, listed(some(endedShares(n.before, n.after, n.at), func(s Share) string {
			return s.To.Text()
		})))
	case NoticeTransferred:
		return fmt.Sprintf("%s transferred %s from %s to %s", by, record, n.before.Owner, n.after.Owner)
	case NoticeConfidentiality:
		return fmt.Sprintf("%s made %s %s", by, record, n.after.Confidentiality)
	default:
		return by + " deleted " + record
	}
}

// some are the words for those of a list that are named.
func some[T any](list []T, word func(T) string) []string {
	var words []string
	for i, v := range list {
		if i == mostNamed {
			return append(words, fmt.Sprintf("%d others", len(list)-i))
		}
		words = append(words, word(v))
	}
	return words
}
