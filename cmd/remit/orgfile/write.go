package orgfile

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/remit-authz/remit/graph/crm"
)

// Write writes the whole of an organisation, whose lists it puts into canonical order. The
// text is canonical, too: what is read back and written again is the same, byte by byte,
// and an entity stands by its id alone, wherever it stood before.
func Write(w io.Writer, o *crm.Organisation) error {
	o.Sort()
	out := NewWriter(w, Sections()...)
	for e := range o.Entities() {
		if err := out.Entity(e); err != nil {
			return err
		}
	}
	return out.Close()
}

// A Writer writes an organisation piece by piece, so that one of any size can be written
// without holding it.
type Writer struct {
	w        *bufio.Writer
	sections []Section // that are still to come
	open     Section
	any      bool   // the open section has an entity
	module   string // whose fields or records are open
	modules  map[string]bool
}

// NewWriter begins a file that has the sections, empty or not.
func NewWriter(w io.Writer, sections ...Section) *Writer {
	wanted := slices.DeleteFunc(Sections(), func(s Section) bool { return !slices.Contains(sections, s) })
	return &Writer{w: bufio.NewWriter(w), sections: wanted}
}

// Entity writes an entity in its canonical form, as Sort and Decode leave it. Entities come
// section by section, in the order of Sections, those with a module module by module.
func (w *Writer) Entity(e crm.Entity) error {
	var s Section
	var module, id string
	var pairs []pair
	switch e := e.(type) {
	case *crm.Head:
		s, pairs = Organisation, head(e)
	case *crm.Module:
		s, id, pairs = Modules, e.ID, moduleOf(e)
	case *crm.Profile:
		s, id, pairs = Profiles, e.ID, profile(e)
	case *crm.Field:
		s, module, id, pairs = Fields, e.Module, e.ID, field(e)
	case *crm.Role:
		s, id, pairs = Roles, e.ID, role(e)
	case *crm.Shift:
		s, id, pairs = Shifts, e.ID, shift(e)
	case *crm.Seat:
		s, id, pairs = Users, e.ID, user(e)
	case *crm.Group:
		s, id, pairs = Groups, e.ID, group(e)
	case *crm.Team:
		s, id, pairs = Teams, e.ID, team(e)
	case *crm.Rule:
		s, id, pairs = Rules, e.ID, rule(e)
	case *crm.Record:
		s, module, id, pairs = Records, e.Module, e.ID, record(e)
	default:
		return fmt.Errorf("write an entity of type %T", e)
	}
	if err := w.turn(s, e); err != nil {
		return err
	}
	switch {
	case s == Organisation:
		w.print("organisation:\n")
		for _, p := range pairs {
			w.pair(1, p)
		}
	case module != "":
		if err := w.of(module); err != nil {
			return err
		}
		w.pair(2, pair{text(id), pairs})
	default:
		w.heading()
		w.pair(1, pair{text(id), pairs})
	}
	return nil
}

// turn comes to the section of an entity; those that are passed have none.
func (w *Writer) turn(s Section, e crm.Entity) error {
	if w.open == s && s != Organisation {
		return nil
	}
	i := slices.Index(w.sections, s)
	if i < 0 {
		return fmt.Errorf("%s comes too late, or its section %s is not to be written", e.Key(), s)
	}
	w.pass(i)
	w.open, w.sections = s, w.sections[1:]
	w.any, w.module, w.modules = false, "", map[string]bool{}
	return nil
}

// pass writes so many sections as empty ones.
func (w *Writer) pass(n int) {
	for _, s := range w.sections[:n] {
		w.print(string(s) + ": {}\n")
	}
	w.sections = w.sections[n:]
}

// heading begins the section with its first entity.
func (w *Writer) heading() {
	if !w.any {
		w.print(string(w.open) + ":\n")
		w.any = true
	}
}

// of comes to a module's fields or records.
func (w *Writer) of(module string) error {
	if w.module == module {
		return nil
	}
	if w.modules[module] {
		return fmt.Errorf("%s of %s come in two parts", w.open, module)
	}
	w.heading()
	w.module, w.modules[module] = module, true
	w.print("  " + text(module) + ":\n")
	return nil
}

// Close ends the file. It does not close the writer below.
func (w *Writer) Close() error {
	w.pass(len(w.sections))
	return w.w.Flush()
}

// print writes; the first error is told by Close.
func (w *Writer) print(text string) { _, _ = w.w.WriteString(text) }

// maxLine is how long a line may be that holds a whole entity or list.
const maxLine = 100

// maxKey is how long a key may be that is known by the colon behind it; YAML looks no
// further than 1,024 characters.
const maxKey = 1000

// A pair is a key of a mapping and what it holds: a string is a scalar as it is written, a
// []string a list of them, []pair a mapping, and block a mapping that takes lines of its
// own.
type pair struct {
	key   string
	value any
}

type block []pair

// pair writes a key and what it holds, on one line if it fits.
func (w *Writer) pair(depth int, p pair) {
	indent := strings.Repeat("  ", depth)
	if len(p.key) > maxKey {
		w.print(indent + "? " + p.key + "\n")
		p.key = ""
	}
	if inline, ok := inline(p.value); ok {
		line := indent + p.key + ": " + inline + "\n"
		if _, scalar := p.value.(string); scalar || len(line) <= maxLine+1 || inline == "{}" || inline == "[]" {
			w.print(line)
			return
		}
	}
	w.print(indent + p.key + ":\n")
	switch v := p.value.(type) {
	case []string:
		for _, element := range v {
			w.print(indent + "  - " + element + "\n")
		}
	case []pair:
		for _, inner := range v {
			w.pair(depth+1, inner)
		}
	case block:
		for _, inner := range v {
			w.pair(depth+1, inner)
		}
	}
}

// inline is a value on one line, if it may be.
func inline(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case []string:
		return "[" + strings.Join(v, ", ") + "]", true
	case []pair:
		var parts []string
		for _, p := range v {
			inner, ok := inline(p.value)
			if !ok || len(p.key) > maxKey {
				return "", false
			}
			parts = append(parts, p.key+": "+inner)
		}
		return "{" + strings.Join(parts, ", ") + "}", true
	default:
		return "", false
	}
}

// A mapping gathers the keys that are not what they are by default.
type mapping []pair

func (m *mapping) text(key, s string) {
	if s != "" {
		*m = append(*m, pair{key, text(s)})
	}
}

func (m *mapping) word(key, word, usual string) {
	if word != usual {
		*m = append(*m, pair{key, word})
	}
}

func (m *mapping) flag(key string, on bool) {
	if on {
		*m = append(*m, pair{key, "true"})
	}
}

func (m *mapping) instant(key string, at time.Time) {
	if !at.IsZero() {
		*m = append(*m, pair{key, at.UTC().Format(time.RFC3339Nano)})
	}
}

func (m *mapping) list(key string, scalars []string) {
	if len(scalars) > 0 {
		*m = append(*m, pair{key, scalars})
	}
}

func (m *mapping) texts(key string, list []string) { m.list(key, scalars(list, text)) }

// block adds a mapping that takes lines of its own.
func (m *mapping) block(key string, pairs []pair) {
	if len(pairs) > 0 {
		*m = append(*m, pair{key, block(pairs)})
	}
}

func scalars[T any](list []T, write func(T) string) []string {
	var all []string
	for _, one := range list {
		all = append(all, write(one))
	}
	return all
}

func head(h *crm.Head) []pair {
	s := &h.Settings
	m := mapping{{"id", text(h.ID)}, {"name", text(h.Name)}, {"super_admin", text(h.SuperAdmin)}}
	m.word("hierarchy", s.Hierarchy.String(), crm.ByRole.String())
	m.flag("non_reporting_by_role", s.NonReportingByRole)
	m.flag("adding_needs_edit", s.AddingNeedsEdit)
	m.flag("keep_shares", s.KeepShares)
	m.word("assign", s.Assign.String(), crm.AssignAnyone.String())
	m.flag("login_hours", s.LoginHours)
	if s.MaxShifts != 0 {
		m = append(m, pair{"max_shifts", strconv.Itoa(s.MaxShifts)})
	}
	if b := s.BusinessHours; b != nil {
		var hours mapping
		hours.word("first_day", crm.WeekdayText(b.FirstDay), crm.WeekdayText(time.Sunday))
		hours = append(hours, pair{"hours", week(&b.Week)})
		m.block("business_hours", hours)
	}
	return m
}

// week is hours by day; a week without any is an empty mapping.
func week(w *crm.Week) any {
	var days block
	for _, r := range runs(w) {
		days = append(days, pair{r.days, r.text})
	}
	if len(days) == 0 {
		return []pair{}
	}
	return days
}

func moduleOf(m *crm.Module) []pair {
	out := mapping{{"name", text(m.Name)}}
	out.word("kind", string(m.Kind), string(crm.Standard))
	out.texts("parents", m.Parents)
	out.word("default", m.Default.String(), crm.LevelNone.String())
	out.flag("no_hierarchy", m.NoHierarchy)
	return out
}

func profile(p *crm.Profile) []pair {
	m := mapping{{"name", text(p.Name)}}
	m.flag("administrator", p.Administrator)
	m.flag("gated", p.Gated)
	var modules []pair
	for _, id := range slices.Sorted(maps.Keys(p.Modules)) {
		modules = append(modules, pair{text(id), p.Modules[id].Names()})
	}
	m.block("modules", modules)
	m.list("tools", scalars(p.Tools, func(t crm.Tool) string { return string(t) }))
	m.list("setup", scalars(p.Setup, func(s crm.Setup) string { return string(s) }))
	return m
}

func field(f *crm.Field) []pair {
	m := mapping{{"name", text(f.Name)}}
	m.flag("mandatory", f.Mandatory)
	var levels []pair
	for _, p := range slices.Sorted(maps.Keys(f.Levels)) {
		levels = append(levels, pair{text(p), f.Levels[p].String()})
	}
	if len(levels) > 0 {
		m = append(m, pair{"levels", levels})
	}
	return m
}

func role(r *crm.Role) []pair {
	m := mapping{{"name", text(r.Name)}}
	m.text("parent", r.Parent)
	m.word("peers", r.Peers.String(), crm.LevelNone.String())
	m.texts("forecast_managers", r.ForecastManagers)
	return m
}

func shift(s *crm.Shift) []pair {
	m := mapping{{"name", text(s.Name)}, {"zone", text(s.Hours.Zone)}, {"hours", week(&s.Hours.Week)}}
	m.list("holidays", s.Hours.Holidays)
	var exceptions []pair
	for _, date := range slices.Sorted(maps.Keys(s.Hours.Exceptions)) {
		exceptions = append(exceptions, pair{date, crm.WindowsText(s.Hours.Exceptions[date])})
	}
	m.block("exceptions", exceptions)
	return m
}

func user(s *crm.Seat) []pair {
	m := mapping{{"name", text(s.Name)}}
	m.text("login", s.Login)
	m = append(m, pair{"role", text(s.Role)})
	m.texts("profiles", s.Profiles)
	m.text("manager", s.Manager)
	m.flag("non_reporting", s.NonReporting)
	m.flag("suspended", s.Suspended)
	m.list("shifts", scalars(s.Shifts, func(a crm.Assignment) string {
		if a.Period == (crm.Period{}) {
			return text(a.Shift)
		}
		return periodText(mapping{{"shift", text(a.Shift)}}, a.Period)
	}))
	m.list("leave", scalars(s.Leave, func(p crm.Period) string { return periodText(nil, p) }))
	return m
}

func periodText(m mapping, p crm.Period) string {
	m.instant("from", p.From)
	m.instant("until", p.Until)
	line, _ := inline([]pair(m)) // scalars always are
	return line
}

func group(g *crm.Group) []pair {
	m := mapping{{"name", text(g.Name)}}
	m.texts("members", scalars(g.Members, crm.Party.Text))
	return m
}

func team(t *crm.Team) []pair {
	m := mapping{{"name", text(t.Name)}}
	m.texts("managers", t.Managers)
	m.texts("members", t.Members)
	return m
}

func rule(r *crm.Rule) []pair {
	m := mapping{
		{"name", text(r.Name)},
		{"module", text(r.Module)},
		{"source", text(r.Source.Text())},
		{"target", text(r.Target.Text())},
		{"level", r.Level.String()},
	}
	m.flag("superiors", r.Superiors)
	m.flag("disabled", r.Disabled)
	return m
}

func record(r *crm.Record) []pair {
	m := mapping{{"owner", text(r.Owner)}}
	m.texts("parents", scalars(r.Parents, crm.Ref.String))
	m.word("confidentiality", r.Confidentiality.String(), crm.Open.String())
	var shares []pair
	for i := range r.Shares {
		shares = append(shares, share(&r.Shares[i]))
	}
	if len(shares) > 0 {
		m = append(m, pair{"shares", shares})
	}
	if len(r.Fields) > 0 {
		var fields []pair
		for _, name := range slices.Sorted(maps.Keys(r.Fields)) {
			fields = append(fields, pair{text(name), valueText(r.Fields[name])})
		}
		m = append(m, pair{"fields", fields})
	}
	return m
}

func share(s *crm.Share) pair {
	m := mapping{{"level", s.Level.String()}}
	m.flag("related", s.Related)
	m.instant("expires_at", s.Expires)
	m.text("reason", s.Reason)
	m.text("granted_by", s.GrantedBy)
	if len(m) == 1 {
		return pair{text(s.To.Text()), s.Level.String()}
	}
	return pair{text(s.To.Text()), []pair(m)}
}
