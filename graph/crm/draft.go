package crm

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// A State is the store of an organisation at one revision: *fsm.Store is one.
type State interface {
	graph.View

	// ScopeVersion is the version of a scope, 0 if it was never bumped.
	ScopeVersion(scope string) uint64
}

// ErrTooLarge occurs if a change takes more than one command may hold.
var ErrTooLarge = errors.New("too large for one change")

// A ConflictError occurs if an entity is not of the version that an edit asks for:
// somebody else has changed it.
type ConflictError struct {
	Entity        graph.ObjectName
	Want, Version uint64 // 0 is absent
}

// Error says which versions there are, and which was asked for.
func (e *ConflictError) Error() string {
	switch {
	case e.Version == 0:
		return fmt.Sprintf("%s is not there, and version %d of it is asked for", e.Entity, e.Want)
	case e.Want == 0:
		return fmt.Sprintf("%s is there already, in version %d", e.Entity, e.Version)
	default:
		return fmt.Sprintf("%s has version %d by now, not %d: read it again", e.Entity, e.Version, e.Want)
	}
}

// A Draft is edits of an organisation, in memory, until they are planned. It reads from
// one state, and notes what it reads, for the plan must fail if that is not so any more.
// It reads in three ways and no other: one entity, by its document's version; whoever
// refers to an entity, by the scope of its uses; and the ids of all entities of a kind, by
// the scope of the kind.
//
// Edits may be made in any order, if only their sum is valid: that is for Plan to find out.
// An edit that returns an error leaves the draft of no use. A Draft is for one goroutine.
type Draft struct {
	state  State
	reader *Reader
	plan   *model.Plan
	limits Limits
	as     string

	reads    map[graph.ObjectName]sight  // entities, as they are in the state
	claims   map[graph.ObjectName]sight  // claims, whose holder alone is known
	requires map[string]uint64           // scopes that were read
	lists    map[string][]string         // ids by type, as they are in the state
	now      map[graph.ObjectName]Entity // edited ones as they are going to be; nil is deleted
	order    []graph.ObjectName          // the edited ones, in the order of their first edit

	// uses and names are which edited entities refer to a key, and which bear the name of a
	// claim.
	uses, names index

	needs   []Need
	dropped []DroppedShare
}

// A sight is what was seen of an entity or a claim, and at which version.
type sight struct {
	entity  Entity
	holder  string
	version uint64
}

// NewDraft begins a draft on a state. The plan is that of the state's newest model, nil if
// it has none yet.
func NewDraft(s State, p *model.Plan, limits Limits) *Draft {
	d := &Draft{
		state: s, reader: NewReader(s, p), plan: p, limits: limits,
		reads:    map[graph.ObjectName]sight{},
		claims:   map[graph.ObjectName]sight{},
		requires: map[string]uint64{},
		lists:    map[string][]string{},
		now:      map[graph.ObjectName]Entity{},
		uses:     index{},
		names:    index{},
	}
	d.require(scopeErased)
	return d
}

// As says on behalf of which seat the edits are, before the first one. It is named in
// shares, and may make and keep confidential what it owns; and since its rights decide, the
// plan fails if what they rest on changes before it is carried out.
func (d *Draft) As(seat string) { d.as = seat }

// The scopes of organisations. Stores keep their versions under these names.
const (
	scopeAccess = "access" // what anything but records says about access changes
	scopeUses   = "uses/"  // who refers to an entity
	scopeAll    = "all/"   // which entities of a type there are: see scoped
	scopeErased = "erased" // a document's version is forgotten; bumped by erasures, which are no plans
)

// scoped reports whether a plan can rest on which entities of a type there are. Of records
// none does, and of roles neither: all of them are only looked at to see that there is one
// root, and no role becomes a second one. The root is neither moved nor deleted, so another
// comes into being with the organisation alone, and that plan rests on that there is none.
func scoped(typ string) bool { return reserved[typ] && typ != typeRole }

// usesScope is the scope of who refers to an entity. Its name is a digest: scopes outlive
// what they are named after, and are not erased with a person. Entities that shared a
// digest would stand in each other's way more often, and nothing else.
func usesScope(key graph.ObjectName) string {
	const length = 16
	sum := sha256.Sum256([]byte(key.String()))
	return scopeUses + hex.EncodeToString(sum[:length])
}

func (d *Draft) require(scope string) {
	if _, ok := d.requires[scope]; !ok {
		d.requires[scope] = d.state.ScopeVersion(scope)
	}
}

// Entity is a copy of an entity as it is after the edits so far, nil if it is not there,
// and its version in the state.
func (d *Draft) Entity(key graph.ObjectName) (Entity, uint64, error) {
	e, err := d.find(key)
	if err != nil {
		return nil, 0, err
	}
	if e != nil {
		e = e.clone()
	}
	return e, d.reads[key].version, nil
}

// before is an entity as it is in the state, which nobody changes.
func (d *Draft) before(key graph.ObjectName) (Entity, error) {
	if seen, ok := d.reads[key]; ok {
		return seen.entity, nil
	}
	e, version, err := d.reader.Entity(key)
	if err != nil {
		return nil, err
	}
	d.reads[key] = sight{entity: e, version: version}
	return e, nil
}

// find implements lookup: an entity after the edits so far.
func (d *Draft) find(key graph.ObjectName) (Entity, error) {
	if e, edited := d.now[key]; edited {
		return e, nil
	}
	return d.before(key)
}

// organisation is the key of the organisation, be it only just made; ok is false if there
// is none.
func (d *Draft) organisation() (key graph.ObjectName, ok bool, err error) {
	if key, ok, err = d.reader.Organisation(); ok || err != nil {
		return key, ok, err
	}
	d.require(scopeAll + typeOrg)
	for _, key := range d.order {
		if key.Type == typeOrg {
			return key, true, nil
		}
	}
	return key, false, nil
}

// Root is the id of the root role, empty if the state holds no organisation. It stays what
// it is as long as the organisation is there.
func (d *Draft) Root() (string, error) { return d.reader.root() }

// head implements lookup.
func (d *Draft) head() (*Head, error) {
	key, ok, err := d.organisation()
	if !ok || err != nil {
		return nil, err
	}
	e, err := d.find(key)
	h, _ := e.(*Head)
	return h, err
}

// users implements lookup: who refers to an entity after the edits so far.
func (d *Draft) users(key graph.ObjectName, typ string, limit int) ([]graph.ObjectName, error) {
	d.require(usesScope(key))
	var list []graph.ObjectName
	seen := map[graph.ObjectName]bool{}
	err := d.reader.users(key, typ, func(user graph.ObjectName) error {
		if _, edited := d.now[user]; edited || seen[user] {
			return nil
		}
		seen[user] = true
		list = append(list, user)
		if len(list) == limit {
			return errStop
		}
		return nil
	})
	if err != nil && !errors.Is(err, errStop) {
		return nil, err
	}
	for _, user := range d.uses.sorted(key) {
		if len(list) < limit && ofType(user, typ) {
			list = append(list, user)
		}
	}
	return list, nil
}

// everyUser are all who refer to an entity, if a change can hold them.
func (d *Draft) everyUser(key graph.ObjectName, typ string) ([]graph.ObjectName, error) {
	list, err := d.users(key, typ, maxOperations+1)
	if err == nil && len(list) > maxOperations {
		err = fmt.Errorf("%w: more than %d refer to %s: move some of them first", ErrTooLarge, maxOperations, key)
	}
	return list, err
}

// all implements lookup: the ids of a type after the edits so far.
func (d *Draft) all(typ string) ([]string, error) {
	list, err := d.idsBefore(typ)
	if err != nil {
		return nil, err
	}
	list = slices.Clone(list)
	for _, key := range d.order {
		if key.Type != typ {
			continue
		}
		before, err := d.before(key)
		if err != nil {
			return nil, err
		}
		switch after := d.now[key]; {
		case before == nil && after != nil:
			list = append(list, key.ID)
		case before != nil && after == nil:
			list = slices.DeleteFunc(list, func(id string) bool { return id == key.ID })
		}
	}
	return list, nil
}

func (d *Draft) idsBefore(typ string) ([]string, error) {
	if list, ok := d.lists[typ]; ok {
		return list, nil
	}
	if scoped(typ) {
		d.require(scopeAll + typ)
	}
	list, err := d.reader.Keys(typ, "", 0)
	if err != nil {
		return nil, err
	}
	d.lists[typ] = list
	return list, nil
}

// bearers implements lookup.
func (d *Draft) bearers(claim graph.ObjectName) ([]graph.ObjectName, error) {
	holder, err := d.claimed(claim)
	if err != nil {
		return nil, err
	}
	list := d.names.sorted(claim)
	if holder == "" {
		return list, nil
	}
	first, err := graph.ParseObject(holder)
	if err != nil {
		return nil, foreign("%s is held by %q: %v", claim, holder, err)
	}
	if _, edited := d.now[first]; edited && !d.names[claim][first] {
		return list, nil // and gives it up
	}
	list = slices.DeleteFunc(list, func(key graph.ObjectName) bool { return key == first })
	return slices.Insert(list, 0, first), nil
}

// claimed is who holds a unique name in the state; empty if nobody does.
func (d *Draft) claimed(claim graph.ObjectName) (string, error) {
	if seen, ok := d.claims[claim]; ok {
		return seen.holder, nil
	}
	holder, version, err := d.reader.Claim(claim)
	if err != nil {
		return "", err
	}
	d.claims[claim] = sight{holder: holder, version: version}
	return holder, nil
}

// Put makes an entity, or replaces it as a whole. If a version is given, it must be that
// of the state, 0 for one that is not there; otherwise the error is a *ConflictError. Other
// errors are an *Error, if the entity can be none of this organisation, and those of the
// state.
func (d *Draft) Put(e Entity, ifVersion *uint64) error {
	e = e.clone()
	key := e.Key()
	if err := d.fits(e); err != nil {
		return err
	}
	before, err := d.edit(key, ifVersion)
	if err != nil {
		return err
	}
	if r, ok := e.(*Record); ok {
		d.signShares(was[Record](before), r)
	}
	if sameEntity(before, e) {
		if r, ok := e.(*Record); ok { // whoever may not see it could guess what it is
			return d.needOf(r, ActionView, "view")
		}
		return nil
	}
	d.set(key, e)
	if before == nil {
		// What is deleted and made again has been changed, whatever it takes to make it.
		if was := d.reads[key].entity; was != nil {
			if err := d.needChange(was, e); err != nil {
				return err
			}
		}
	}
	return d.needChange(before, e)
}

// edit is the entity that is to be edited, as it is after the edits so far.
func (d *Draft) edit(key graph.ObjectName, ifVersion *uint64) (Entity, error) {
	if _, err := d.before(key); err != nil {
		return nil, err
	}
	if v := d.reads[key].version; ifVersion != nil && *ifVersion != v {
		return nil, &ConflictError{Entity: key, Want: *ifVersion, Version: v}
	}
	return d.find(key)
}

// fits checks that an entity can be looked for: that its key is one, and that of its kind.
func (d *Draft) fits(e Entity) error {
	key := e.Key()
	if err := key.Validate(); err != nil {
		return faulty(key, "%v", err)
	}
	switch e := e.(type) {
	case *Head:
		org, ok, err := d.organisation()
		if err != nil {
			return err
		}
		if ok && org != key {
			return faulty(key, "the organisation is %s, and its id never changes", org)
		}
	case *Record:
		if !validModuleID(e.Module) || !isRecord(key) {
			return faulty(key, "%q is no module", e.Module)
		}
	}
	return nil
}

// set makes an entity what it is going to be.
func (d *Draft) set(key graph.ObjectName, e Entity) {
	old, edited := d.now[key]
	if !edited {
		d.order = append(d.order, key)
	}
	if old != nil {
		d.uses.remove(references(old), key)
		d.names.remove(claims(old), key)
	}
	if d.now[key] = e; e != nil {
		d.uses.add(references(e), key)
		d.names.add(claims(e), key)
	}
}

// An index is sets of entities.
type index map[graph.ObjectName]map[graph.ObjectName]bool

func (x index) add(to []graph.ObjectName, key graph.ObjectName) {
	for _, to := range to {
		if x[to] == nil {
			x[to] = map[graph.ObjectName]bool{}
		}
		x[to][key] = true
	}
}

func (x index) remove(to []graph.ObjectName, key graph.ObjectName) {
	for _, to := range to {
		delete(x[to], key)
	}
}

// sorted are the entities of one set.
func (x index) sorted(of graph.ObjectName) []graph.ObjectName {
	return slices.SortedFunc(maps.Keys(x[of]), compareObjects)
}

// change edits a copy of an entity that must be there. It asks for no rights.
func change[T Entity](d *Draft, key graph.ObjectName, edit func(T)) (before, after T, err error) {
	e, err := d.find(key)
	if err != nil {
		return before, after, err
	}
	before, ok := e.(T)
	if !ok {
		return before, after, faulty(key, "it does not exist")
	}
	after = before.clone().(T)
	edit(after)
	after = after.clone().(T) // in canonical order
	if !sameEntity(before, after) {
		d.set(key, after)
	}
	return before, after, nil
}

func faulty(of graph.ObjectName, format string, args ...any) error {
	return &Error{Faults: []Fault{{Subject: of.String(), Message: fmt.Sprintf(format, args...)}}}
}

// signShares says who shared: whoever the draft is made for, unless a share was there
// before. A share that nobody in particular makes is signed as its maker says.
func (d *Draft) signShares(before, after *Record) {
	if d.as == "" {
		return
	}
	old := make(map[Party]Share, len(before.Shares))
	for _, s := range before.Shares {
		old[s.To] = s
	}
	for i := range after.Shares {
		s := &after.Shares[i]
		s.GrantedBy = old[s.To].GrantedBy
		if *s != old[s.To] {
			s.GrantedBy = d.as
		}
	}
}
