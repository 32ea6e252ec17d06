package crm

import (
	"fmt"
	"strings"
	"time"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/value"
)

// An Exported is an organisation as an ordinary store: a model and tuples that OpenFGA
// takes, too, and from which it answers what the organisation's own store answers.
//
// Who asks gives every question the instant as `now`, a timestamp of its context; Remit
// does so by itself. Ids are those of ExportID.
type Exported struct {
	Model  string // in the modelling language
	Tuples []graph.Tuple

	// Horizon is when working hours, assignments to shifts, and leave are as they are in
	// the organisation. Outside of it every shift is closed.
	Horizon Period

	// Notes say what else is not as it was, and why. There are none if every answer within
	// the horizon is the same and OpenFGA's default limits suffice.
	Notes []Note
}

// A Note is something that an export could not keep.
type Note struct {
	Entity graph.ObjectName // empty if it is about the whole
	Text   string
}

// String writes the note as entity: text.
func (n Note) String() string {
	if n.Entity == (graph.ObjectName{}) {
		return n.Text
	}
	return n.Entity.String() + ": " + n.Text
}

// Export writes a valid organisation as an ordinary store. Names, attributes of records,
// and whatever else only documents hold are left out: no answer depends on them.
//
// OpenFGA has neither expiry nor Remit's function on_schedule. Expiry becomes a condition
// with a timestamp. Hours become a table of intervals in UTC, so that the nights on which
// clocks change are as exact as others; it covers the horizon, which is widened to whole
// days. A year of hours is some four kilobytes, of the thirty-two that a tuple may have.
func Export(o *Organisation, horizon Period) (*Exported, error) {
	x, err := NewExporter(o.Modules, horizon)
	if err != nil {
		return nil, err
	}
	encoding := Encode(o)
	tuples := encoding.Tuples[:0]
	for _, t := range encoding.Tuples {
		exported, ok, err := x.Tuple(t)
		if err != nil {
			return nil, fmt.Errorf("export %s: %w", t, err)
		}
		if ok {
			tuples = append(tuples, exported)
		}
	}
	return &Exported{Model: x.Model(), Tuples: tuples, Horizon: x.Horizon(), Notes: x.Notes()}, nil
}

// An Exporter exports a store tuple by tuple, so that none is too large: Export is what it
// does to an encoding. It is for one goroutine at a time.
type Exporter struct {
	model   string
	horizon Period
	notes   []Note
	long    map[string]bool // ids that have been replaced, and noted
}

// NewExporter begins the export of an organisation that has the given modules.
func NewExporter(modules []Module, horizon Period) (*Exporter, error) {
	horizon, err := midnights(horizon)
	if err != nil {
		return nil, fmt.Errorf("export an organisation: %w", err)
	}
	x := &Exporter{model: exportModel(modules), horizon: horizon, long: map[string]bool{}}
	x.measure()
	return x, nil
}

// Limits of models that OpenFGA has by default.
const (
	openfgaTypes      = 100
	openfgaModelBytes = 256 << 10
)

// measure notes what OpenFGA takes only if it is configured to.
func (x *Exporter) measure() {
	if n := strings.Count(x.model, "\ntype "); n > openfgaTypes {
		x.note(graph.ObjectName{}, "the model has %d types; OpenFGA takes %d unless --max-types-per-authorization-model says otherwise", n, openfgaTypes)
	}
	if n := len(x.model) * protoPercent / 100; n > openfgaModelBytes {
		x.note(graph.ObjectName{}, "the model takes about %d bytes; OpenFGA takes %d unless --max-authorization-model-size-in-bytes says otherwise",
			n, openfgaModelBytes)
	}
}

// protoPercent is the size of a model in OpenFGA's encoding, in percent of its text's.
const protoPercent = 115

// Model is the model in the modelling language.
func (x *Exporter) Model() string { return x.model }

// Horizon is the horizon in whole days.
func (x *Exporter) Horizon() Period { return x.horizon }

// Notes are what the tuples so far could not keep.
func (x *Exporter) Notes() []Note { return x.notes }

func (x *Exporter) note(entity graph.ObjectName, format string, args ...any) {
	x.notes = append(x.notes, Note{Entity: entity, Text: fmt.Sprintf(format, args...)})
}

// Tuple is what stands for a tuple of the organisation's store. It is false if nothing
// does: a period that lies outside the horizon needs no tuple. Errors are those of tuples
// that no organisation has.
func (x *Exporter) Tuple(t graph.Tuple) (graph.Tuple, bool, error) {
	exported := graph.Tuple{Object: t.Object, Relation: t.Relation, Subject: t.Subject}
	exported.Object.ID = x.id(t.Object)
	if t.Subject != everyUser {
		exported.Subject.ID = x.id(t.Subject.Object())
	}
	switch t.Condition {
	case "":
		if !t.Expires.IsZero() {
			exported.Condition = conditionUnexpired
			exported.Context = value.Map{parameterExpires: t.Expires.UTC().Format(time.RFC3339Nano)}
		}
		return exported, true, nil
	case conditionHours:
		fields, _ := t.Context[parameterSchedule].(value.Map)
		table, complete, err := exportHours(fields, x.horizon)
		if err != nil {
			return graph.Tuple{}, false, err
		}
		if complete.Before(x.horizon.Until) {
			x.note(t.Object, "its hours are too irregular to be written down until %s: from %s on it is closed",
				x.horizon.Until.Format(time.DateOnly), complete.Format(time.DateOnly))
		}
		exported.Condition, exported.Context = conditionHours, table
		return exported, true, nil
	case conditionInEffect:
		turns, _ := t.Context[parameterTurns].(value.List)
		table, complete, err := exportTurns(turns, x.horizon)
		if err != nil {
			return graph.Tuple{}, false, err
		}
		if complete.Before(x.horizon.Until) {
			x.note(t.Subject.Object(), "%s#%s has too many periods of it too near to each other: those from %s on are left out",
				t.Object, t.Relation, complete.Format(time.RFC3339Nano))
		}
		exported.Condition, exported.Context = conditionInEffect, table
		return exported, table != nil, nil
	default:
		return graph.Tuple{}, false, fmt.Errorf("condition %s is none of an organisation's", t.Condition)
	}
}

// id is that of an entity in the export.
func (x *Exporter) id(o graph.ObjectName) string {
	id := ExportID(o.ID)
	if strings.HasPrefix(id, longID) && !x.long[o.String()] {
		x.long[o.String()] = true
		x.note(o, "the id is too long for OpenFGA, and is %s in the export", id)
	}
	return id
}

// exportModel is the model of an export: that of the organisation, but for what OpenFGA
// cannot evaluate.
func exportModel(modules []Module) string {
	text := strings.TrimSuffix(ModelText(modules), modelConditions)
	return strings.ReplaceAll(text, ": "+parties, ": "+exportedParties) + exportedConditions
}

// exportedParties are those of a share, which may expire.
const exportedParties = "[user, user:*, role#holder, role#subtree, group#member, " +
	"user with unexpired, user:* with unexpired, role#holder with unexpired, role#subtree with unexpired, group#member with unexpired]"

// The conditions of an export and their parameters, beside those of the organisation.
const (
	conditionUnexpired = "unexpired"

	parameterExpires = "expires"
	parameterFirst   = "first"
	parameterDays    = "days"
	parameterSlot    = "slot"
	parameterOpen    = "open"
	parameterBit     = "bit"
	parameterFrom    = "from"
	parameterUntil   = "until"
	parameterSpan    = "span"
	parameterNear    = "near"
)

// exportedConditions cost 56, 40 and 3 in OpenFGA's measure at most, whatever the tuples
// say; its limit is 100. An expression may have 512 bytes.
const exportedConditions = `
# Periods count from one instant until the next. Near tells, for each span of seconds since
# first, which two of them may count in it.
condition in_effect(now: timestamp, from: list<timestamp>, until: list<timestamp>, first: int, span: int, near: list<int>) {
  int(now) >= first && int(now) < first + span * near.size() &&
  [near[(int(now) - first) / span]].exists(i,
    from[i] <= now && now < until[i] || from[i + 1] <= now && now < until[i + 1])
}

# Days are counted in UTC from 1970, and each says where its hours begin in open. There is
# a bit for each slot of so many seconds, 48 in a number, and bit has their values.
condition on_schedule(now: timestamp, first: int, days: list<int>, slot: int, open: list<int>, bit: list<int>) {
  int(now) / 86400 >= first && int(now) / 86400 < first + days.size() &&
  open[days[int(now) / 86400 - first] + int(now) % 86400 / slot / 48] / bit[int(now) % 86400 / slot % 48] % 2 == 1
}

condition unexpired(now: timestamp, expires: timestamp) {
  now < expires
}
`
