package orgfile

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/remit-authz/remit/cmd/remit/yamlfile"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/value"
)

// section reads one section into the organisation.
func (p *parser) section(s Section, n *yaml.Node, o *crm.Organisation) {
	switch s {
	case Organisation:
		p.organisation(n, o)
	case Modules:
		entities(p, n, "modules", "a module", &o.Modules, moduleID, p.module)
	case Profiles:
		entities(p, n, "profiles", "a profile", &o.Profiles, profileID, p.profile)
	case Fields:
		for _, e := range p.mapping(n, "fields") {
			id := func(f *crm.Field, id string) { f.Module, f.ID = e.Key, id }
			entities(p, e.Value, "fields of a module", "a field", &o.Fields, id, p.field)
		}
	case Roles:
		entities(p, n, "roles", "a role", &o.Roles, roleID, p.role)
	case Shifts:
		entities(p, n, "shifts", "a shift", &o.Shifts, shiftID, p.shift)
	case Users:
		entities(p, n, "users", "a user", &o.Seats, seatID, p.user)
	case Groups:
		entities(p, n, "groups", "a group", &o.Groups, groupID, p.group)
	case Teams:
		entities(p, n, "teams", "a team", &o.Teams, teamID, p.team)
	case Rules:
		entities(p, n, "rules", "a rule", &o.Rules, ruleID, p.rule)
	case Records:
		for _, e := range p.mapping(n, "records") {
			id := func(r *crm.Record, id string) { r.Module, r.ID = e.Key, id }
			entities(p, e.Value, "records of a module", "a record", &o.Records, id, p.record)
		}
	}
}

func moduleID(m *crm.Module, id string)   { m.ID = id }
func profileID(p *crm.Profile, id string) { p.ID = id }
func roleID(r *crm.Role, id string)       { r.ID = id }
func shiftID(s *crm.Shift, id string)     { s.ID = id }
func seatID(s *crm.Seat, id string)       { s.ID = id }
func groupID(g *crm.Group, id string)     { g.ID = id }
func teamID(t *crm.Team, id string)       { t.ID = id }
func ruleID(r *crm.Rule, id string)       { r.ID = id }

// entities reads a mapping of entities by id. In a change, one that exists keeps what is
// not said, and one of which nothing is said goes. What is read replaces whole values, for
// they are shared with the organisation that is changed.
func entities[T any, P interface {
	*T
	Key() graph.ObjectName
}](p *parser, n *yaml.Node, section, what string, list *[]T, identify func(*T, string), read func(*T, *yaml.Node, bool),
) {
	have := map[graph.ObjectName]int{}
	if p.changing {
		*list = slices.Clone(*list)
		for i := range *list {
			have[P(&(*list)[i]).Key()] = i
		}
	}
	gone := map[graph.ObjectName]bool{}
	for _, e := range p.mapping(n, section) {
		var one T
		identify(&one, e.Key)
		key := P(&one).Key()
		i, exists := have[key]
		p.places[key.String()] = e.Place
		switch {
		case p.changing && exists && yamlfile.IsNull(e.Value):
			gone[key] = true
		case p.changing && yamlfile.IsNull(e.Value):
			p.Faultf(e.Place, "%s is not there, and cannot be taken out", key)
		case exists:
			read(&(*list)[i], e.Value, true)
		default:
			read(&one, e.Value, false)
			*list = append(*list, one)
		}
	}
	if len(gone) > 0 {
		*list = slices.DeleteFunc(*list, func(one T) bool { return gone[P(&one).Key()] })
	}
}

var (
	hierarchies       = []string{crm.ByRole.String(), crm.ByReporting.String()}
	assignScopes      = []string{crm.AssignAnyone.String(), crm.AssignSubordinates.String(), crm.AssignOnDuty.String()}
	confidentialities = []string{crm.Open.String(), crm.Restricted.String(), crm.Secret.String()}
	kinds             = []string{string(crm.Standard), string(crm.Child), string(crm.Forecast), string(crm.ImportJob)}
	fieldLevels       = []string{crm.FieldWrite.String(), crm.FieldRead.String(), crm.FieldHidden.String()}

	// What everybody has, what peers have, what a rule gives, and what a share gives.
	defaultLevels = levelWords(crm.LevelNone, crm.LevelView, crm.LevelEdit, crm.LevelDelete)
	ruleLevels    = levelWords(crm.LevelView, crm.LevelEdit, crm.LevelDelete)
	shareLevels   = levelWords(crm.LevelView, crm.LevelEdit, crm.LevelFull)
)

func levelWords(levels ...crm.Level) []string {
	var words []string
	for _, l := range levels {
		words = append(words, l.String())
	}
	return words
}

// levelOf reads one of some levels.
func levelOf(words []string) func(string) (crm.Level, bool) {
	return func(text string) (crm.Level, bool) {
		l, ok := crm.ParseLevel(text)
		return l, ok && slices.Contains(words, text)
	}
}

func parseKind(text string) (crm.ModuleKind, bool) {
	return crm.ModuleKind(text), slices.Contains(kinds, text)
}

func (p *parser) organisation(n *yaml.Node, o *crm.Organisation) {
	s := &o.Settings
	p.keys(n, "organisation", p.changing,
		p.textKey("id", &o.ID).needed(),
		p.textKey("name", &o.Name).needed(),
		p.textKey("super_admin", &o.SuperAdmin).needed(),
		choiceKey(p, "hierarchy", &s.Hierarchy, crm.ParseHierarchy, hierarchies),
		p.flagKey("non_reporting_by_role", &s.NonReportingByRole),
		p.flagKey("adding_needs_edit", &s.AddingNeedsEdit),
		p.flagKey("keep_shares", &s.KeepShares),
		choiceKey(p, "assign", &s.Assign, crm.ParseAssignScope, assignScopes),
		p.flagKey("login_hours", &s.LoginHours),
		key{name: "max_shifts", read: func(n *yaml.Node, what string) { s.MaxShifts = p.count(n, what) }},
		key{name: "business_hours", read: func(n *yaml.Node, _ string) { s.BusinessHours = p.businessHours(n) }},
	)
	p.places[o.Head().Key().String()] = p.at(n)
}

func (p *parser) module(m *crm.Module, n *yaml.Node, partial bool) {
	if !partial {
		m.Kind = crm.Standard
	}
	p.keys(n, "a module", partial,
		p.textKey("name", &m.Name).needed(),
		choiceKey(p, "kind", &m.Kind, parseKind, kinds),
		p.textsKey("parents", &m.Parents),
		choiceKey(p, "default", &m.Default, levelOf(defaultLevels), defaultLevels),
		p.flagKey("no_hierarchy", &m.NoHierarchy),
	)
}

// all is short for every word of a list.
const all = "all"

// words reads a list of words, or all of them.
func words(p *parser, n *yaml.Node, what string, known []string) []string {
	if isText(n) {
		if text := yamlfile.Follow(n).Value; text != all {
			p.Faultf(p.at(n), "%s is %q; write a list of %s, or all", what, text, strings.Join(known, ", "))
		}
		return known
	}
	var list []string
	for _, element := range p.list(n, what) {
		word := choice(p, element, "an entry of "+what, func(text string) (string, bool) {
			return text, slices.Contains(known, text)
		}, known)
		if slices.Contains(list, word) {
			p.Faultf(p.at(element), "%s has %q already", what, word)
		}
		list = append(list, word)
	}
	return list
}

func wordsKey[T ~string](p *parser, name string, to *[]T, known []T) key {
	texts := make([]string, len(known))
	for i, k := range known {
		texts[i] = string(k)
	}
	return key{name: name, read: func(n *yaml.Node, what string) {
		*to = nil
		for _, word := range words(p, n, what, texts) {
			*to = append(*to, T(word))
		}
	}}
}

func (p *parser) profile(f *crm.Profile, n *yaml.Node, partial bool) {
	p.keys(n, "a profile", partial,
		p.textKey("name", &f.Name).needed(),
		p.flagKey("administrator", &f.Administrator),
		p.flagKey("gated", &f.Gated),
		key{name: "modules", read: func(n *yaml.Node, _ string) {
			f.Modules = map[string]crm.Permissions{}
			for _, e := range p.mapping(n, "modules of a profile") {
				var set crm.Permissions
				for _, word := range words(p, e.Value, "permissions", crm.PermissionNames()) {
					bit, _ := crm.ParsePermission(word) // words has told what is none
					set |= bit
				}
				f.Modules[e.Key] = set
			}
		}},
		wordsKey(p, "tools", &f.Tools, crm.AllTools()),
		wordsKey(p, "setup", &f.Setup, crm.AllSetup()),
	)
}

func (p *parser) field(f *crm.Field, n *yaml.Node, partial bool) {
	p.keys(n, "a field", partial,
		p.textKey("name", &f.Name).needed(),
		p.flagKey("mandatory", &f.Mandatory),
		key{name: "levels", read: func(n *yaml.Node, _ string) {
			f.Levels = map[string]crm.FieldLevel{}
			for _, e := range p.mapping(n, "levels") {
				f.Levels[e.Key] = choice(p, e.Value, "a level", crm.ParseFieldLevel, fieldLevels)
			}
		}},
	)
}

func (p *parser) role(r *crm.Role, n *yaml.Node, partial bool) {
	p.keys(n, "a role", partial,
		p.textKey("name", &r.Name).needed(),
		p.textKey("parent", &r.Parent),
		choiceKey(p, "peers", &r.Peers, levelOf(defaultLevels), defaultLevels),
		p.textsKey("forecast_managers", &r.ForecastManagers),
	)
}

func (p *parser) shift(s *crm.Shift, n *yaml.Node, partial bool) {
	p.keys(n, "a shift", partial,
		p.textKey("name", &s.Name).needed(),
		p.textKey("zone", &s.Hours.Zone).needed(),
		key{name: "hours", read: func(n *yaml.Node, what string) { s.Hours.Week = p.week(n, what) }}.needed(),
		key{name: "holidays", read: func(n *yaml.Node, what string) { s.Hours.Holidays = p.dates(n, what) }},
		key{name: "exceptions", read: func(n *yaml.Node, what string) { s.Hours.Exceptions = p.exceptions(n, what) }},
	)
}

func (p *parser) user(s *crm.Seat, n *yaml.Node, partial bool) {
	p.keys(n, "a user", partial,
		p.textKey("name", &s.Name).needed(),
		p.textKey("login", &s.Login),
		p.textKey("role", &s.Role).needed(),
		p.textsKey("profiles", &s.Profiles),
		p.textKey("manager", &s.Manager),
		p.flagKey("non_reporting", &s.NonReporting),
		p.flagKey("suspended", &s.Suspended),
		key{name: "shifts", read: func(n *yaml.Node, what string) {
			s.Shifts = nil
			for _, element := range p.list(n, what) {
				s.Shifts = append(s.Shifts, p.assignment(element))
			}
		}},
		key{name: "leave", read: func(n *yaml.Node, what string) {
			s.Leave = nil
			for _, element := range p.list(n, what) {
				var period crm.Period
				p.keys(element, "a leave", false, p.instantKey("from", &period.From), p.instantKey("until", &period.Until))
				s.Leave = append(s.Leave, period)
			}
		}},
	)
}

// assignment is a shift, for ever or during a period.
func (p *parser) assignment(n *yaml.Node) crm.Assignment {
	var a crm.Assignment
	if isText(n) {
		a.Shift = p.text(n, "a shift")
		return a
	}
	p.keys(n, "an entry of shifts", false,
		p.textKey("shift", &a.Shift).needed(), p.instantKey("from", &a.From), p.instantKey("until", &a.Until))
	return a
}

func (p *parser) party(n *yaml.Node, what string) crm.Party {
	if yamlfile.Follow(n).Kind != yaml.ScalarNode {
		p.Faultf(p.at(n), "%s must be user:id, role:id, role-and-subordinates:id, group:id or everyone, not %s", what, kind(n))
		return crm.Party{}
	}
	return p.partyText(p.at(n), yamlfile.Follow(n).Value, what)
}

func (p *parser) partyText(at yamlfile.Place, text, what string) crm.Party {
	party, err := crm.ParseParty(text)
	if err != nil {
		p.Faultf(at, "%s cannot be %q; write user:id, role:id, role-and-subordinates:id, group:id or everyone", what, text)
	}
	return party
}

func (p *parser) partyKey(name string, to *crm.Party) key {
	return key{name: name, read: func(n *yaml.Node, what string) { *to = p.party(n, what) }}
}

func (p *parser) group(g *crm.Group, n *yaml.Node, partial bool) {
	p.keys(n, "a group", partial,
		p.textKey("name", &g.Name).needed(),
		key{name: "members", read: func(n *yaml.Node, what string) {
			g.Members = nil
			for _, element := range p.list(n, what) {
				g.Members = append(g.Members, p.party(element, "a member"))
			}
		}},
	)
}

func (p *parser) team(t *crm.Team, n *yaml.Node, partial bool) {
	p.keys(n, "a team", partial,
		p.textKey("name", &t.Name).needed(),
		p.textsKey("managers", &t.Managers),
		p.textsKey("members", &t.Members),
	)
}

func (p *parser) rule(r *crm.Rule, n *yaml.Node, partial bool) {
	p.keys(n, "a rule", partial,
		p.textKey("name", &r.Name).needed(),
		p.textKey("module", &r.Module).needed(),
		p.partyKey("source", &r.Source).needed(),
		p.partyKey("target", &r.Target).needed(),
		choiceKey(p, "level", &r.Level, levelOf(ruleLevels), ruleLevels).needed(),
		p.flagKey("superiors", &r.Superiors),
		p.flagKey("disabled", &r.Disabled),
	)
}

func (p *parser) record(r *crm.Record, n *yaml.Node, partial bool) {
	p.keys(n, "a record", partial,
		p.textKey("owner", &r.Owner).needed(),
		key{name: "parents", read: func(n *yaml.Node, what string) {
			r.Parents = nil
			for _, element := range p.list(n, what) {
				if ref, ok := p.ref(element, "a parent"); ok {
					r.Parents = append(r.Parents, ref)
				}
			}
		}},
		choiceKey(p, "confidentiality", &r.Confidentiality, crm.ParseConfidentiality, confidentialities),
		key{name: "shares", read: func(n *yaml.Node, what string) { r.Shares = p.shares(n, what) }},
		key{name: "fields", read: func(n *yaml.Node, what string) { r.Fields = p.values(n, what) }},
	)
}

// ref names a record.
func (p *parser) ref(n *yaml.Node, what string) (crm.Ref, bool) {
	if yamlfile.Follow(n).Kind != yaml.ScalarNode {
		p.Faultf(p.at(n), "%s must be a record such as deal:d1, not %s", what, kind(n))
		return crm.Ref{}, false
	}
	ref, err := crm.ParseRef(yamlfile.Follow(n).Value)
	if err != nil {
		p.Faultf(p.at(n), "%s cannot be %q; write a record as its module and its id, deal:d1", what, yamlfile.Follow(n).Value)
	}
	return ref, err == nil
}

// shares are by party; a level alone says the rest is as usual.
func (p *parser) shares(n *yaml.Node, what string) []crm.Share {
	var list []crm.Share
	for _, e := range p.mapping(n, what) {
		s := crm.Share{To: p.partyText(e.Place, e.Key, "a recipient")}
		level := choiceKey(p, "level", &s.Level, levelOf(shareLevels), shareLevels)
		if isText(e.Value) {
			level.read(e.Value, "what is shared")
			list = append(list, s)
			continue
		}
		p.keys(e.Value, "a share", false,
			level.needed(),
			p.flagKey("related", &s.Related),
			p.instantKey("expires_at", &s.Expires),
			p.textKey("reason", &s.Reason),
			p.textKey("granted_by", &s.GrantedBy),
		)
		list = append(list, s)
	}
	return list
}

// values are attributes of a record.
func (p *parser) values(n *yaml.Node, what string) value.Map {
	if yamlfile.IsNull(n) {
		p.mapping(n, what)
		return nil
	}
	faults := len(p.Faults)
	read := p.Values(p.path, n, what)
	fields := make(map[string]any, len(read))
	for name, v := range read {
		fields[name] = v
	}
	normal, err := value.Normalize(fields)
	if err != nil && len(p.Faults) == faults {
		p.Faultf(p.at(n), "%s cannot be stored: %s", what, err)
	}
	if len(normal) == 0 {
		return nil
	}
	return normal
}
