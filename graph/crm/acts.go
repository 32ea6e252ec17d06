package crm

import (
	"slices"

	"github.com/remit-authz/remit/graph"
)

// Delete removes an entity. Somebody of its kind may take over: of a role, its holders, the
// roles below it, and its place in rules, groups and shares; of a profile, its holders; of
// a seat, its records, its reports, and its place in rules, groups, shares, teams and as
// forecast manager; of a group, its place in rules, groups and shares; of a shift, who
// works it. A role needs one; of others that nobody takes over, nobody may refer to it any
// more when the draft is planned. The records of child modules below a record go with it,
// others below it stay.
//
// A version must be that of the state, if it is given; otherwise the error is a
// *ConflictError. Other errors are an *Error, if the entity is not there or cannot be taken
// over like this, ErrTooLarge, and those of the state.
func (d *Draft) Delete(key graph.ObjectName, transferTo string, ifVersion *uint64) error {
	before, err := d.edit(key, ifVersion)
	if err != nil {
		return err
	}
	if before == nil {
		return faulty(key, "it does not exist")
	}
	faults, err := checkTransfer(d, key, transferTo)
	if err != nil {
		return err
	}
	if len(faults) > 0 {
		return &Error{Faults: faults}
	}
	if err := d.needChange(before, nil); err != nil {
		return err
	}
	if transferTo != "" {
		if err := d.replaceAll(key, entity(key.Type, transferTo)); err != nil {
			return err
		}
	}
	d.set(key, nil)
	switch before := before.(type) {
	case *Profile:
		return d.dropLevels(before.ID)
	case *Record:
		return d.dropBelow(before)
	}
	return nil
}

// replaceAll puts one entity in the place of another wherever that is referred to.
func (d *Draft) replaceAll(from, to graph.ObjectName) error {
	users, err := d.everyUser(from, "")
	if err != nil {
		return err
	}
	keep := false
	if from.Type == typeUser {
		head, err := d.head()
		if err != nil {
			return err
		}
		keep = head == nil || head.Settings.KeepShares
	}
	for _, user := range users {
		if user == from {
			continue
		}
		e, err := d.find(user)
		if err != nil {
			return err
		}
		switch e := e.(type) {
		case *Seat:
			err = d.replaceInSeat(e, from, to)
		case *Record:
			if err := d.guardConfidential(e); err != nil {
				return err
			}
			owned := e.Owner == from.ID && from.Type == typeUser
			if owned && !keep {
				d.drop(e)
			}
			_, _, err = change(d, user, func(r *Record) {
				if owned && !keep {
					r.Shares = nil
				}
				r.replace(from, to)
			})
		case *Role:
			_, _, err = change(d, user, func(r *Role) { r.replace(from, to) })
		case *Group:
			_, _, err = change(d, user, func(g *Group) { g.replace(from, to) })
		case *Team:
			_, _, err = change(d, user, func(t *Team) { t.replace(from, to) })
		case *Rule:
			_, _, err = change(d, user, func(r *Rule) { r.replace(from, to) })
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// replaceInSeat also keeps others away from the seats of administrators, if it may change
// what their holders reach.
func (d *Draft) replaceInSeat(s *Seat, from, to graph.ObjectName) error {
	above := "" // of the seat that takes over, if it reported to the one that goes
	if from.Type == typeUser && s.ID == to.ID {
		e, err := d.find(from)
		if err != nil {
			return err
		}
		above = was[Seat](e).Manager
	}
	before, after, err := change(d, s.Key(), func(s *Seat) {
		s.replace(from, to)
		if s.Manager == s.ID {
			s.Manager = above
		}
	})
	if err != nil || from.Type != typeRole && from.Type != typeProfile {
		return err
	}
	return d.guardSeat(before, after)
}

// drop notes the shares that end with a record's owner.
func (d *Draft) drop(r *Record) {
	for _, s := range r.Shares {
		d.dropped = append(d.dropped, DroppedShare{Record: r.Ref(), Share: s})
	}
}

// dropLevels takes a profile that is deleted out of all fields.
func (d *Draft) dropLevels(profile string) error {
	fields, err := d.everyUser(everyProfile, "")
	if err != nil {
		return err
	}
	for _, key := range fields {
		if _, _, err := change(d, key, func(f *Field) { delete(f.Levels, profile) }); err != nil {
			return err
		}
	}
	return nil
}

// dropBelow deletes the records of child modules below one, and takes it from above others.
func (d *Draft) dropBelow(r *Record) error {
	users, err := d.everyUser(r.Key(), "")
	if err != nil {
		return err
	}
	for _, key := range users {
		module, err := d.find(entity(typeModule, key.Type))
		if err != nil {
			return err
		}
		if was[Module](module).Kind == Child {
			d.set(key, nil)
			continue
		}
		_, _, err = change(d, key, func(below *Record) {
			below.Parents = slices.DeleteFunc(below.Parents, func(p Ref) bool { return p == r.Ref() })
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Share shares every record with every recipient, as each share says; a share that a
// recipient has already is replaced. Errors are an *Error, if a record is not there, and
// those of the state.
func (d *Draft) Share(records []Ref, shares []Share) error {
	return d.changeRecords(records, ActionShare, func(r *Record) {
		for _, s := range shares {
			i := slices.IndexFunc(r.Shares, func(o Share) bool { return o.To == s.To })
			if i >= 0 {
				r.Shares[i] = s
			} else {
				r.Shares = append(r.Shares, s)
			}
		}
	})
}

// Unshare ends the shares of every record with the parties, or with everybody if there are
// none. One that is not there is as good. Errors are those of Share.
func (d *Draft) Unshare(records []Ref, from []Party) error {
	return d.changeRecords(records, ActionShare, func(r *Record) {
		r.Shares = slices.DeleteFunc(r.Shares, func(s Share) bool { return len(from) == 0 || slices.Contains(from, s.To) })
	})
}

// changeRecords edits records as Put does. It takes the right to do so to find that there is
// nothing to be done, too.
func (d *Draft) changeRecords(records []Ref, as Action, edit func(*Record)) error {
	for _, ref := range records {
		e, err := d.find(ref.Key())
		if err != nil {
			return err
		}
		r, ok := e.(*Record)
		if !ok {
			return faulty(ref.Key(), "it does not exist")
		}
		after := r.clone().(*Record)
		edit(after)
		if sameEntity(r, after.clone()) {
			err = d.needOf(r, as, string(as))
		} else {
			err = d.Put(after, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Transfer gives records to another owner. Their shares end, unless the organisation keeps
// them: see Plan.Dropped. Errors are those of Share.
func (d *Draft) Transfer(records []Ref, to string) error {
	head, err := d.head()
	if err != nil {
		return err
	}
	return d.changeRecords(records, ActionTransfer, func(r *Record) {
		if r.Owner == to {
			return
		}
		r.Owner = to
		if head != nil && !head.Settings.KeepShares {
			d.drop(r)
			r.Shares = nil
		}
	})
}

// TransferAll gives all that a seat owns to another one: with the rights of its owner, or
// with those of whoever manages users, who needs more for what is confidential, and for
// what administrators own. An owner keeps what it wrote below others' records: that is its
// own words, which are not handed on but by who clears up behind it. Errors are those of
// Transfer, and ErrTooLarge.
func (d *Draft) TransferAll(from, to string) error {
	key := entity(typeUser, from)
	e, err := d.find(key)
	if err != nil {
		return err
	}
	seat, ok := e.(*Seat)
	if !ok {
		return faulty(key, "it does not exist")
	}
	owned, err := d.owned(from)
	if err != nil {
		return err
	}
	if from == d.as {
		if owned, err = d.transferable(owned); err != nil {
			return err
		}
		return d.Transfer(owned, to)
	}
	d.needSetup(ManageUsers, "transfer all that "+from+" owns")
	if err := d.guardSeat(seat, seat); err != nil {
		return err
	}
	for _, ref := range owned {
		e, err := d.find(ref.Key())
		if err != nil {
			return err
		}
		if err := d.guardConfidential(was[Record](e)); err != nil {
			return err
		}
	}
	needs := d.needs[:len(d.needs):len(d.needs)]
	err = d.Transfer(owned, to)
	d.needs = needs // and not those of each record
	return err
}

// owned are the records of a seat.
func (d *Draft) owned(seat string) ([]Ref, error) {
	users, err := d.everyUser(entity(typeUser, seat), anyModule)
	if err != nil {
		return nil, err
	}
	var refs []Ref
	for _, key := range users {
		e, err := d.find(key)
		if err != nil {
			return nil, err
		}
		if r, ok := e.(*Record); ok && r.Owner == seat {
			refs = append(refs, r.Ref())
		}
	}
	return refs, nil
}

// transferable are those of the records that are not of child modules.
func (d *Draft) transferable(records []Ref) ([]Ref, error) {
	var refs []Ref
	for _, ref := range records {
		module, err := d.find(entity(typeModule, ref.Module))
		if err != nil {
			return nil, err
		}
		if was[Module](module).Kind != Child {
			refs = append(refs, ref)
		}
	}
	return refs, nil
}

// MoveHolders gives all holders of a role another one, or all holders of a profile. Errors
// are an *Error, if either is not there, ErrTooLarge, and those of the state.
func (d *Draft) MoveHolders(from graph.ObjectName, to string) error {
	if from.Type != typeRole && from.Type != typeProfile {
		return faulty(from, "only roles and profiles have holders")
	}
	target := entity(from.Type, to)
	for _, key := range []graph.ObjectName{from, target} {
		if e, err := d.find(key); err != nil {
			return err
		} else if e == nil {
			return faulty(key, "it does not exist")
		}
	}
	holders, err := d.everyUser(from, typeUser)
	if err != nil {
		return err
	}
	for _, key := range holders {
		before, after, err := change(d, key, func(s *Seat) { s.replace(from, target) })
		if err != nil {
			return err
		}
		if err := d.needSeat(before, after); err != nil {
			return err
		}
	}
	return nil
}

// replace puts one entity in the place of another in all that the seat refers to.
func (s *Seat) replace(from, to graph.ObjectName) {
	switch from.Type {
	case typeRole:
		replaceID(&s.Role, from, to)
	case typeProfile:
		s.Profiles = replaceIDs(s.Profiles, from, to)
	case typeUser:
		replaceID(&s.Manager, from, to)
	case typeShift:
		for i := range s.Shifts {
			replaceID(&s.Shifts[i].Shift, from, to)
		}
	}
}

func (r *Role) replace(from, to graph.ObjectName) {
	switch from.Type {
	case typeRole:
		replaceID(&r.Parent, from, to)
	case typeUser:
		r.ForecastManagers = replaceIDs(r.ForecastManagers, from, to)
	}
}

// replace leaves out what the group would contain twice, and the group itself.
func (g *Group) replace(from, to graph.ObjectName) {
	var members []Party
	for _, m := range g.Members {
		m.replace(from, to)
		if !slices.Contains(members, m) && m != (Party{Kind: MembersOf, ID: g.ID}) {
			members = append(members, m)
		}
	}
	g.Members = members
}

func (t *Team) replace(from, to graph.ObjectName) {
	t.Managers, t.Members = replaceIDs(t.Managers, from, to), replaceIDs(t.Members, from, to)
}

func (r *Rule) replace(from, to graph.ObjectName) {
	r.Source.replace(from, to)
	r.Target.replace(from, to)
}

// replace joins the shares that become one, and leaves out that with the owner.
func (r *Record) replace(from, to graph.ObjectName) {
	if from.Type == typeUser {
		replaceID(&r.Owner, from, to)
	}
	var shares []Share
	for _, s := range r.Shares {
		moved := s.To
		moved.replace(from, to)
		changed := moved != s.To
		s.To = moved
		i := slices.IndexFunc(shares, func(o Share) bool { return o.To == s.To })
		switch {
		case changed && s.To == (Party{Kind: User, ID: r.Owner}):
		case i >= 0:
			shares[i] = strongest(shares[i], s)
		default:
			shares = append(shares, s)
		}
	}
	r.Shares = shares
}

// strongest gives all that either of two shares with one party gives. Reason and author
// are the first's.
func strongest(a, b Share) Share {
	a.Level, a.Related = max(a.Level, b.Level), a.Related || b.Related
	if b.Expires.IsZero() || !a.Expires.IsZero() && b.Expires.After(a.Expires) {
		a.Expires = b.Expires
	}
	return a
}

func (p *Party) replace(from, to graph.ObjectName) {
	if p.typ() == from.Type {
		replaceID(&p.ID, from, to)
	}
}

func replaceID(id *string, from, to graph.ObjectName) {
	if *id == from.ID {
		*id = to.ID
	}
}

// replaceIDs leaves out what would occur twice.
func replaceIDs(ids []string, from, to graph.ObjectName) []string {
	i := slices.Index(ids, from.ID)
	switch {
	case i < 0:
		return ids
	case slices.Contains(ids, to.ID):
		return slices.Delete(ids, i, i+1)
	default:
		ids[i] = to.ID
		return ids
	}
}
