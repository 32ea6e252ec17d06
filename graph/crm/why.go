package crm

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// A Deed is something that a user may want to do: see Deeds.Find.
type Deed struct {
	User   string // the seat
	Action string
	On     string // a record, a module, or nothing
	Field  string // of the record, or nothing
}

// A GroundKind is what a ground rests on.
type GroundKind uint8

// The kinds of grounds. Of those that are missing, each says where it fails.
const (
	GroundOwner           GroundKind = iota + 1
	GroundSuperior                   // by role, by reporting line, or as the manager of a team
	GroundRootRole                   // reaches all that is not secret
	GroundAdministrator              // likewise
	GroundSuperAdmin                 // reaches all
	GroundShare                      // of the record; missing: one that has expired
	GroundRelatedShare               // of a record above, with its related lists; likewise
	GroundDefault                    // what the module gives to everybody
	GroundViewAll                    // a profile's permission to view all records
	GroundPeer                       // holders of the owner's role
	GroundForecastManager            // of the owner's role
	GroundRule                       // a sharing rule; missing: one that is disabled
	GroundParent                     // of a note: the record that it belongs to
	GroundAuthor                     // of a note
	GroundProfile                    // permissions, tools and setup permissions
	GroundField                      // what profiles may do with a field
	GroundSeat                       // active or not
	GroundHours                      // of who may act in working hours alone
	GroundRecord                     // missing: nothing reaches the record
	GroundConfidential               // missing: something would, were the record not confidential
	GroundSetting                    // missing: something would, were a setting another
)

// A Ground is one reason for a decision.
type Ground struct {
	Kind GroundKind

	// Text is the ground in a sentence without a full stop, for people who know the
	// organisation and not how it is stored.
	Text string

	// Level is what it gives, for grounds that reach a record; of those that are missing,
	// what they would give.
	Level Level

	// Entity is what it rests on, or what to change to mend it: the rule, the profile, the
	// role, the record … Zero if nothing is to be named.
	Entity graph.ObjectName

	// Permissions are those that a profile gives or lacks, in the module Module, or tools or
	// setup permissions if that is empty.
	Permissions []string
	Module      string

	// Facts are tuples that it rests on. Whoever wrote the last of them made it so.
	Facts []Fact

	redacted bool // it is in general words
	hidden   bool // it is about a record that may not be told of
}

// A Fact is a tuple that is there.
type Fact struct {
	Userset graph.Userset
	Subject graph.Subject
}

// An Answer says why a deed is allowed or denied.
type Answer struct {
	Allowed bool

	// Grounds, if it is allowed, are every ground on which the record is reached, the
	// strongest first, and then what else is needed and there.
	Grounds []Ground

	// Missing, if it is denied, is every step of the decision that fails, with what would mend
	// it, and the nearest first.
	Missing []Ground

	// Redacted says that something was left out, or put in general words, for the Sight.
	Redacted bool
}

// A Sight is what somebody may be told of records. All else of an organisation may be known
// to all of its seats.
type Sight interface {
	// Record reports whether they may view a record; what does not exist nobody may.
	Record(ctx context.Context, record graph.ObjectName) (bool, error)
	// Shares reports whether they may know its shares, if they may view it.
	Shares(ctx context.Context, record graph.ObjectName) (bool, error)
}

// An Inquiry asks why. It decides as the decision procedure does, step by step on the graph
// of an organisation, and so finds what it found. It agrees with the engine, which tests show
// and callers may rely on.
//
// It walks from the record's owner and from the user, and looks only where the two can meet:
// what it costs grows with the rules that share what the owner owns, and not with the people.
type Inquiry struct {
	View  graph.View
	Plan  *model.Plan
	Deeds *Deeds // of the plan
	At    time.Time

	// Budget is how many edges may be visited; 0 is graph.DefaultBudget. More is
	// graph.ErrBudget.
	Budget int

	// Pace and Visited are as in graph.Query.
	Pace    func(context.Context) error
	Visited func(edges int)

	// Sight is what may be told. Nil is everything.
	Sight Sight

	gathered int // in place of mostGathered; 0 is that
}

// Why answers a deed with its grounds. A fault of the deed is a *DeedError, or, of the form of
// an id, a *graph.TupleError. Who or what does not exist is an answer, also a field.
func (q *Inquiry) Why(ctx context.Context, deed Deed) (*Answer, error) {
	demand, err := q.Deeds.Find(deed.Action, deed.On, deed.Field)
	if err != nil {
		return nil, err
	}
	user := entity(typeUser, deed.User)
	if err := user.Validate(); err != nil {
		return nil, err
	}
	w := newWhy(ctx, q, user)
	if w.seatStep() {
		w.deed(deed, demand)
	}
	if q.Visited != nil {
		q.Visited(w.visited)
	}
	if w.err != nil {
		return nil, w.err
	}
	return w.answer(), nil
}

// deed goes through the steps behind the first one.
func (w *why) deed(deed Deed, demand Demand) {
	key, record := recordKey(deed.On)
	switch {
	case record && demand.Relation == nil:
		w.miss(Ground{
			Kind: GroundRecord, Entity: entity(typeModule, key.Type),
			Text: fmt.Sprintf("nobody may %s %s", deed.Action, w.module(key.Type)),
		})
	case record:
		w.recordSteps(key, Action(deed.Action))
		if deed.Action == string(ActionExport) {
			w.profileStep(typeTool, string(ToolExport), relHolder)
		}
		if deed.Field != "" {
			w.fieldStep(key.Type, deed.Field, deed.Action == string(ActionEdit))
		}
	case deed.On != "":
		w.permissionStep(deed.On, ActionCreate)
	default:
		w.profileStep(demand.Relation.Type.Name, demand.ID, relHolder)
	}
}

func recordKey(on string) (graph.ObjectName, bool) {
	module, id, ok := strings.Cut(on, ":")
	return entity(module, id), ok
}

// A why is an inquiry under way. The first error stays, and ends every walk; what is not
// there is empty.
type why struct {
	walker

	query *Inquiry
	user  graph.ObjectName
	id    graph.ID // of the user
	self  *belonging

	profiles   []graph.ID // of the user
	admin      graph.ID   // a profile that makes the user an administrator, or 0
	reaches    []Ground
	conditions []Ground // what else is needed and there
	missing    []Ground
	leftOut    bool // something that would have been missing, for the Sight
	below      *subordinates
}

func newWhy(ctx context.Context, q *Inquiry, user graph.ObjectName) *why {
	w := &why{query: q, user: user}
	w.begin(ctx, q)
	return w
}

// answer puts together what the steps found.
func (w *why) answer() *Answer {
	if len(w.missing) > 0 {
		return w.denial()
	}
	slices.SortStableFunc(w.reaches, stronger)
	grounds := slices.Concat(w.reaches, w.conditions)
	return &Answer{Allowed: true, Grounds: grounds, Redacted: slices.ContainsFunc(grounds, func(g Ground) bool { return g.redacted })}
}

// denial is the answer if something is missing. Where something is that has nothing to do with
// the record, a record that may not be told of is passed over, be it reached or not, or not
// there: that is for nobody to learn from a denial.
func (w *why) denial() *Answer {
	hidden := func(g Ground) bool { return g.hidden }
	told := slices.DeleteFunc(slices.Clone(w.missing), hidden)
	if len(told) == 0 {
		told = w.missing
	}
	return &Answer{
		Missing: told,
		Redacted: w.leftOut || slices.ContainsFunc(slices.Concat(w.missing, w.reaches), hidden) ||
			slices.ContainsFunc(told, func(g Ground) bool { return g.redacted }),
	}
}

// stronger orders grounds by what they give, and those that give the same by their kind.
func stronger(a, b Ground) int {
	return cmp.Or(-cmp.Compare(a.Level, b.Level), cmp.Compare(a.Kind, b.Kind))
}

func (w *why) miss(g Ground) { w.missing = append(w.missing, g) }

// condition adds what else is needed and there. Of what one profile gives in one module the
// most is said once.
func (w *why) condition(g Ground) {
	for i, c := range w.conditions {
		if g.Module == "" || c.Kind != g.Kind || c.Entity != g.Entity || c.Module != g.Module {
			continue
		}
		within := func(inner, outer []string) bool {
			return !slices.ContainsFunc(inner, func(p string) bool { return !slices.Contains(outer, p) })
		}
		if within(g.Permissions, c.Permissions) {
			return
		}
		if within(c.Permissions, g.Permissions) {
			w.conditions[i] = g
			return
		}
	}
	w.conditions = append(w.conditions, g)
}

// sees reports whether a record may be told of.
func (w *why) sees(record graph.ObjectName) bool {
	return w.may(func(ctx context.Context, s Sight) (bool, error) { return s.Record(ctx, record) })
}

// seesShares reports whether a record's shares may be told of.
func (w *why) seesShares(record graph.ObjectName) bool {
	return w.sees(record) && w.may(func(ctx context.Context, s Sight) (bool, error) { return s.Shares(ctx, record) })
}

func (w *why) may(ask func(context.Context, Sight) (bool, error)) bool {
	if w.query.Sight == nil || w.err != nil {
		return true
	}
	may, err := ask(w.ctx(), w.query.Sight)
	w.fail(err)
	return may
}
