package crm

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/graph/value"
)

// An AssignOrder is who of those who are available is given a record.
type AssignOrder uint8

// The orders of assigning. Of several who are equal it is the one whose id comes first.
const (
	RoundRobin  AssignOrder = iota // who was given one the longest ago
	LeastLoaded                    // who owns the fewest records of the module besides this one
)

// An Offer is a record that is to be given to somebody.
type Offer struct {
	Record Ref

	// Among are the people of whom one gets it. Only seats that are not suspended count, and
	// unless IgnoreShifts says so, only those on duty at the instant At.
	Among        []Party
	Order        AssignOrder
	IgnoreShifts bool
	At           time.Time

	// Fallback is the seat that gets it if nobody of them is available; empty for none.
	Fallback string

	// Permit answers whether a seat may be given it, by what that needs: see Plan.Needs. Those
	// who may not are passed over. Nil permits everything.
	Permit func([]Need) (bool, error)
}

// What one Offer may look at: more would hold up others for too long.
const (
	maxAmong   = 100_000   // seats that the parties name, each time that they name them
	maxOffered = 5_000     // seats that are available, each of which is a precondition
	maxOwned   = 1_000_000 // records of those who are available
	maxAwaited = 100       // seats of which it is found out when they are on duty next …
	maxWaits   = 200       // … and at how many instants
)

// A NobodyError occurs if there is nobody to give a record to.
type NobodyError struct {
	// Next is when the first of those who were asked for comes on duty, and Seat who that
	// is. The seat is empty if nobody knows.
	Next time.Time
	Seat string

	// Barred says that some are available, and the record must not be given to any of them.
	Barred bool
}

// Error says why, and when to try again.
func (e *NobodyError) Error() string {
	switch {
	case e.Barred:
		return "the organisation's settings do not let the record be given to anybody of those who are available: name others, or a fallback"
	case e.Seat != "":
		return fmt.Sprintf("nobody of them is on duty: the next is %s, from %s. Name others, or a fallback", e.Seat, e.Next.UTC().Format(time.RFC3339))
	default:
		return "nobody of them is available: they are suspended, or not on duty. Name others, or a fallback"
	}
}

// A Turn is who is given a record.
type Turn struct {
	Owner    string
	FellBack bool // nobody was available

	put      Document
	read     []DocumentVersion
	requires []ScopeVersion
}

// Join completes the plan of the draft in which the turn was made: with what the choice
// rests on, so that of two that are made at once only one is carried out, and with what the
// next choice must know.
func (t *Turn) Join(p *Plan) error {
	p.Changes.PutDocuments = append(p.Changes.PutDocuments, t.put)
	slices.SortFunc(p.Changes.PutDocuments, compareDocuments)
	p.Read = append(p.Read, t.read...)
	slices.SortFunc(p.Read, func(a, b DocumentVersion) int { return compareObjects(a.Entity, b.Entity) })
	p.Read = slices.Compact(p.Read)
	for _, r := range t.requires {
		if !slices.Contains(p.Requires, r) {
			p.Requires = append(p.Requires, r)
		}
	}
	slices.SortFunc(p.Requires, func(a, b ScopeVersion) int { return strings.Compare(a.Scope, b.Scope) })
	return p.bounded()
}

// Attributes of what is remembered of a seat's turns.
const (
	attrTurn     = "turn"     // in nanoseconds since 1970 UTC; of two turns, the later one has more
	attrFellBack = "fallback" // of the last turn
)

// turnOf names the document that remembers a seat's last turn. It is none of the seat's own:
// whoever edits the seat does not wait for turns, nor the other way round. Names of turns
// are in the way of no others, for nothing that bears a name is of this kind.
func turnOf(seat string) graph.ObjectName {
	sum := sha256.Sum256([]byte(seat))
	return entity(typeName, attrTurn+"/"+hex.EncodeToString(sum[:16]))
}

// TurnOf reads from a view whether a seat's last turn was that of a fallback. It is false
// for one that never had a turn.
func (r *Reader) TurnOf(seat string) (fellBack bool, err error) {
	fields, err := r.document(turnOf(seat))
	return isSet(fields, attrFellBack), err
}

// Assign gives a record to one of those who are available, as Transfer does. The turn must
// join the plan. Errors are those of Transfer, a *NobodyError, and ErrTooLarge if the
// parties are too many people.
func (d *Draft) Assign(deeds *Deeds, o *Offer) (*Turn, error) {
	if err := d.assignable(o.Record); err != nil {
		return nil, err
	}
	roster, err := NewRoster(d.state, deeds, o.At)
	if err != nil {
		return nil, err
	}
	a := assigning{Offer: o, draft: d, roster: roster, turn: &Turn{}}
	// Who holds a role, works a shift or is suspended changes by nothing that leaves this as
	// it is.
	a.require(scopeAccess)
	// Whoever has the record may keep it, and then there is nothing else that says so.
	key := o.Record.Key()
	a.turn.read = append(a.turn.read, DocumentVersion{Entity: key, Version: d.reads[key].version})
	if err := a.choose(); err != nil {
		return nil, err
	}
	if err := d.Transfer([]Ref{o.Record}, a.turn.Owner); err != nil {
		return nil, err
	}
	return a.turn, nil
}

// assignable checks that a record is there and somebody's own. It takes the right to transfer
// it to learn that there is nobody to give it to, too.
func (d *Draft) assignable(record Ref) error {
	e, err := d.find(record.Key())
	if err != nil {
		return err
	}
	r, ok := e.(*Record)
	if !ok {
		return faulty(record.Key(), "it does not exist: make it first, and then assign it")
	}
	module, err := d.find(entity(typeModule, record.Module))
	if err != nil {
		return err
	}
	if was[Module](module).Kind == Child {
		return faulty(record.Key(), "it belongs to the record above it, and is not assigned by itself")
	}
	return d.needOf(r, ActionTransfer, "transfer")
}

// An assigning is a choice under way.
type assigning struct {
	*Offer
	draft  *Draft
	roster *Roster
	turn   *Turn
	now    int64 // of a turn; 0: the instant of the offer
}

// A candidate is a seat that is available.
type candidate struct {
	id   string
	seat graph.ID
}

// require notes a scope that the choice rests on, also if the draft has no edits.
func (a *assigning) require(scope string) {
	a.turn.requires = append(a.turn.requires, ScopeVersion{Scope: scope, Version: a.draft.state.ScopeVersion(scope)})
}

// choose finds who gets the record.
func (a *assigning) choose() error {
	named, err := a.named()
	if err != nil {
		return err
	}
	available, err := a.available(named)
	if err != nil {
		return err
	}
	if len(available) > maxOffered {
		return fmt.Errorf("%w: %d are available, and at most %d can be chosen from: name fewer", ErrTooLarge, len(available), maxOffered)
	}
	var chosen *candidate
	if a.Order == LeastLoaded {
		chosen, err = a.leastLoaded(available)
	} else {
		chosen, err = a.longestAgo(available)
	}
	switch {
	case err != nil:
		return err
	case chosen != nil:
		a.turn.Owner = chosen.id
	case a.Fallback == "":
		return a.nobody(named, len(available) > 0)
	default:
		if err := a.fallBack(); err != nil {
			return err
		}
	}
	return a.remember()
}

// longestAgo is who was given a record the longest ago, or never.
func (a *assigning) longestAgo(available []candidate) (*candidate, error) {
	turns := make(map[string]int64, len(available))
	for _, c := range available {
		at, err := a.last(c.id)
		if err != nil {
			return nil, err
		}
		turns[c.id] = at
		// The turn to come is behind all of these, whatever the clocks of the nodes say.
		a.now = max(a.now, at+1)
	}
	slices.SortStableFunc(available, func(x, y candidate) int { return int(min(1, max(-1, turns[x.id]-turns[y.id]))) })
	for i := range available {
		if ok, err := a.mayGet(available[i].id); ok || err != nil {
			return &available[i], err
		}
	}
	return nil, nil //nolint:nilnil // that it is nobody is an answer
}

// last is a seat's last turn, 0 if it never had one.
func (a *assigning) last(seat string) (int64, error) {
	key := turnOf(seat)
	a.turn.read = append(a.turn.read, DocumentVersion{Entity: key})
	id, ok, err := a.draft.reader.id(key)
	if !ok || err != nil {
		return 0, err
	}
	document, ok, err := a.draft.state.Document(id)
	if !ok || err != nil {
		return 0, err
	}
	a.turn.read[len(a.turn.read)-1].Version = document.Version
	at, _ := document.Fields[attrTurn].(int64)
	return at, nil
}

// leastLoaded is who owns the fewest records of the module. The record itself is no load:
// else whoever has it would hand it to somebody who then has as many. If anybody of them comes
// to own another, or gives one up, it is found out anew.
func (a *assigning) leastLoaded(available []candidate) (*candidate, error) {
	owner, ok := a.draft.reader.relation(a.Record.Module, relOwner)
	if !ok {
		return nil, faulty(a.Record.Key(), "%q is no module", a.Record.Module)
	}
	record, _, err := a.draft.reader.id(a.Record.Key())
	if err != nil {
		return nil, err
	}
	var best *candidate
	least, counted := 0, 0
	for i := range available {
		c := &available[i]
		a.require(usesScope(entity(typeUser, c.id)))
		n, err := a.owned(owner, c.seat, record, least, best != nil)
		if err != nil {
			return nil, err
		}
		if counted += n; counted > maxOwned {
			return nil, fmt.Errorf("%w: those who are available own too many records to count them: name fewer", ErrTooLarge)
		}
		if best != nil && n >= least {
			continue
		}
		ok, err := a.mayGet(c.id)
		if err != nil {
			return nil, err
		}
		if ok {
			best, least = c, n
		}
	}
	return best, nil
}

// owned counts the records of a seat but for one; if it is bounded, only until there are too
// many.
func (a *assigning) owned(owner *model.Relation, seat, except graph.ID, least int, bounded bool) (n int, err error) {
	err = a.draft.reader.eachHolder(owner, graph.Subject{ID: seat}, 0, func(record graph.ID) error {
		if record == except {
			return nil
		}
		if n++; bounded && n >= least || n > maxOwned {
			return errStop
		}
		return nil
	})
	if errors.Is(err, errStop) {
		err = nil
	}
	return n, err
}

// mayGet reports whether the settings let the record be given to a seat.
func (a *assigning) mayGet(seat string) (bool, error) {
	if a.Permit == nil {
		return true, nil
	}
	d := a.draft
	head, err := d.headBefore()
	if err != nil {
		return false, err
	}
	others := d.needs
	d.needs = nil
	err = d.needAssign(head, seat)
	needs := d.Needs()
	d.needs = others
	if err != nil {
		return false, err
	}
	return a.Permit(needs)
}

// fallBack gives the record to whoever gets it then, on duty or not.
func (a *assigning) fallBack() error {
	key := entity(typeUser, a.Fallback)
	e, err := a.draft.find(key)
	if err != nil {
		return err
	}
	s, ok := e.(*Seat)
	if !ok || s.Suspended {
		return faulty(key, "it is to get the record as nobody is available, and is no active seat")
	}
	a.turn.Owner, a.turn.FellBack = a.Fallback, true
	return nil
}

// remember notes the turn.
func (a *assigning) remember() error {
	key := turnOf(a.turn.Owner)
	if !slices.ContainsFunc(a.turn.read, func(v DocumentVersion) bool { return v.Entity == key }) {
		at, err := a.last(a.turn.Owner)
		if err != nil {
			return err
		}
		a.now = max(a.now, at+1)
	}
	fields := value.Map{attrTurn: max(a.now, a.At.UnixNano())}
	setTrue(fields, attrFellBack, a.turn.FellBack)
	a.turn.put = Document{Entity: key, Fields: fields}
	return nil
}

// available are those of the seats who could be given something, in the order of their ids.
func (a *assigning) available(named []graph.ID) ([]candidate, error) {
	if a.IgnoreShifts {
		return a.active(named)
	}
	var working []graph.ID
	for _, seat := range named {
		_, ok, err := a.roster.Seat(seat)
		if err != nil {
			return nil, err
		}
		if ok {
			working = append(working, seat)
		}
	}
	return a.active(working)
}

// active are those of the seats that are not suspended, in the order of their ids.
func (a *assigning) active(seats []graph.ID) ([]candidate, error) {
	var list []candidate
	for _, seat := range seats {
		ok, err := a.roster.active(graph.Subject{ID: seat})
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		name, err := a.draft.state.Name(seat)
		if err != nil {
			return nil, err
		}
		list = append(list, candidate{id: name, seat: seat})
	}
	slices.SortFunc(list, func(x, y candidate) int { return strings.Compare(x.id, y.id) })
	return list, nil
}

// nobody is the error that there is nobody.
func (a *assigning) nobody(named []graph.ID, barred bool) error {
	none := &NobodyError{Barred: barred}
	if barred || a.IgnoreShifts || len(named) > maxAwaited {
		return none
	}
	waiting, err := a.active(named)
	if err != nil {
		return err
	}
	for _, c := range waiting {
		at, ok, err := a.roster.Next(c.seat, none.Next)
		if err != nil {
			return err
		}
		if ok {
			none.Next, none.Seat = at, c.id
		}
	}
	return none
}

// named are the seats of the parties, each once.
func (a *assigning) named() ([]graph.ID, error) {
	e := enlisting{reader: a.draft.reader, seen: map[Party]bool{}, seats: map[graph.ID]bool{}}
	for _, p := range a.Among {
		if err := e.party(p); err != nil {
			return nil, err
		}
	}
	return e.list, nil
}

// An enlisting gathers the seats of parties.
type enlisting struct {
	reader *Reader
	seen   map[Party]bool // roles and groups
	seats  map[graph.ID]bool
	list   []graph.ID
	looks  int
}

func (e *enlisting) add(seat graph.ID) error {
	if e.looks++; e.looks > maxAmong {
		return fmt.Errorf("%w: they are more than %d people: name fewer", ErrTooLarge, maxAmong)
	}
	if !e.seats[seat] {
		e.seats[seat] = true
		e.list = append(e.list, seat)
	}
	return nil
}

// party adds the seats of a party, which must be there.
func (e *enlisting) party(p Party) error {
	if p.Kind == Everyone {
		org, _, err := e.reader.Organisation()
		if err != nil {
			return err
		}
		return e.reader.eachSubject(org, relSeat, 0, e.add)
	}
	key := entity(p.typ(), p.ID)
	if _, version, err := e.reader.Entity(key); err != nil {
		return err
	} else if version == 0 {
		return faulty(key, "it does not exist: name a seat, role or group that does, among whom to assign")
	}
	return e.members(p)
}

func (e *enlisting) members(p Party) error {
	if e.seen[p] {
		return nil
	}
	e.seen[p] = true
	key := entity(p.typ(), p.ID)
	switch p.Kind {
	case User:
		id, ok, err := e.reader.id(key)
		if !ok || err != nil {
			return err
		}
		return e.add(id)
	case HoldersOf:
		return e.reader.eachSubject(key, relHolder, 0, e.add)
	case RoleAndSubordinates:
		if err := e.reader.eachSubject(key, relHolder, 0, e.add); err != nil {
			return err
		}
		return e.reader.eachSubject(key, relChild, 0, e.into(RoleAndSubordinates))
	}
	for kind, r := range memberRelations {
		if r.typ == "" {
			continue
		}
		if err := e.reader.eachSubject(key, r.relation, 0, e.into(PartyKind(kind))); err != nil {
			return err
		}
	}
	return nil
}

// into adds the seats of an entity as those of a kind of party.
func (e *enlisting) into(kind PartyKind) func(graph.ID) error {
	return func(id graph.ID) error {
		name, err := e.reader.name(id)
		if err != nil {
			return err
		}
		return e.members(Party{Kind: kind, ID: name.ID})
	}
}
