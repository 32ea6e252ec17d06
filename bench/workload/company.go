// Package workload makes data to measure with: large, random in its details, and the same
// each time.
package workload

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"

	"github.com/remit-authz/remit/graph/crm"
)

// RulesPerModule is how many sharing rules each standard module has. A third of them share
// what one region owns: so many apply to each record.
const RulesPerModule = 300

// regions are the roles below the root: each owner is below one of them.
const regions = 3

// A Company is a large organisation. Everybody holds a role in one of three regions; roles
// have three roles below them, and the upper ones one holder each. It is pure data, and
// safe for concurrent use.
type Company struct {
	Users, Roles, Records int

	// Organisation is all of it but the records, of which there are too many to hold: see
	// Record.
	Organisation *crm.Organisation

	roleOf []int   // of users
	holds  [][]int // users of roles
	groups [][]int // users of groups, those of groups in them left out
	seed   uint64
}

// Full is a company of 100,000 users, 5,000 roles and 1,000,000 records, divided by the
// number given.
func Full(divided int) *Company {
	return NewCompany(100_000/divided, 5_000/divided, 1_000_000/divided)
}

// NewCompany makes a company of at least 100 users and 50 roles. The same sizes give the
// same company.
func NewCompany(users, roles, records int) *Company {
	c := &Company{Users: users, Roles: roles, Records: records, seed: 7, holds: make([][]int, roles)}
	r := rand.New(rand.NewPCG(c.seed, c.seed))
	o := crm.New("company", "Company", User(0), "First")
	o.Modules = []crm.Module{
		{ID: "account", Name: "Accounts", Kind: crm.Standard},
		{ID: "deal", Name: "Deals", Kind: crm.Standard, Parents: []string{"account"}},
		{ID: "lead", Name: "Leads", Kind: crm.Standard},
		{ID: "note", Name: "Notes", Kind: crm.Child, Parents: []string{"account", "deal"}},
		{ID: "forecast", Name: "Forecasts", Kind: crm.Forecast},
	}
	c.Organisation = o
	c.profiles()
	c.roles(r)
	c.seats(r)
	c.parties(r)
	c.rules(r)
	o.Shifts = []crm.Shift{{ID: "day", Name: "Day", Hours: crm.Hours{Zone: "Europe/Paris"}}}
	return c
}

// User is the id of a user.
func User(i int) string { return fmt.Sprintf("u%06d", i) }

// Role is the id of a role; 0 is the root, 1 to 3 are the regions.
func Role(i int) string { return fmt.Sprintf("r%04d", i) }

// Rule is the id of a module's rule.
func Rule(module string, i int) string { return fmt.Sprintf("%s%03d", module, i) }

func group(i int) string { return fmt.Sprintf("g%04d", i) }

// RoleOf is the role of a user, by number.
func (c *Company) RoleOf(user int) int { return c.roleOf[user] }

// profiles all let their holders do everything in every module, so that it is roles and
// rules that decide.
func (c *Company) profiles() {
	o := c.Organisation
	all := map[string]crm.Permissions{}
	for _, m := range o.Modules {
		all[m.ID] = crm.AllPermissions() &^ crm.PermissionViewAll
	}
	for i := range o.Profiles {
		o.Profiles[i].Modules = all
	}
	for i := range 20 {
		o.Profiles = append(o.Profiles, crm.Profile{ID: fmt.Sprint("p", i), Name: fmt.Sprint("Profile ", i), Modules: all})
	}
}

func (c *Company) roles(r *rand.Rand) {
	o := c.Organisation
	o.Roles = nil
	for i := range c.Roles {
		role := crm.Role{ID: Role(i), Name: "Role " + Role(i)}
		if i > 0 {
			role.Parent = Role((i - 1) / regions)
		}
		if r.IntN(10) == 0 {
			role.Peers = crm.LevelView
		}
		o.Roles = append(o.Roles, role)
	}
}

func (c *Company) seats(r *rand.Rand) {
	o := c.Organisation
	admin := o.Seats[0].Profiles
	o.Seats = nil
	upper := c.Roles / 16
	c.roleOf = make([]int, c.Users)
	for i := range c.Users {
		if c.roleOf[i] = i; i >= upper {
			c.roleOf[i] = upper + r.IntN(c.Roles-upper)
		}
		s := crm.Seat{ID: User(i), Name: "User " + User(i), Role: Role(c.roleOf[i]), Profiles: []string{fmt.Sprint("p", r.IntN(20))}}
		if i == 0 {
			s.Profiles = admin
		}
		c.holds[c.roleOf[i]] = append(c.holds[c.roleOf[i]], i)
		o.Seats = append(o.Seats, s)
	}
}

// parties are groups of a role's holders and 20 users, every tenth with another group.
func (c *Company) parties(r *rand.Rand) {
	o := c.Organisation
	for i := range c.Roles / 5 {
		role := c.leaf(r)
		g := crm.Group{ID: group(i), Name: "Group " + group(i), Members: []crm.Party{{Kind: crm.HoldersOf, ID: Role(role)}}}
		members := slices.Clone(c.holds[role])
		for range 20 {
			user := r.IntN(c.Users)
			if p := (crm.Party{Kind: crm.User, ID: User(user)}); !slices.Contains(g.Members, p) {
				g.Members = append(g.Members, p)
				members = append(members, user)
			}
		}
		if i > 0 && i%10 == 0 {
			g.Members = append(g.Members, crm.Party{Kind: crm.MembersOf, ID: group(i - 1)})
		}
		o.Groups = append(o.Groups, g)
		c.groups = append(c.groups, members)
	}
}

// leaf is a role in the lower half.
func (c *Company) leaf(r *rand.Rand) int { return c.Roles/2 + r.IntN(c.Roles-c.Roles/2) }

// rules share what a region owns with a few people each; of accounts with nobody else, a
// tenth of those of deals and a third of those of leads with their superiors, too.
func (c *Company) rules(r *rand.Rand) {
	for n, m := range c.Organisation.Modules[:3] {
		for i := range RulesPerModule {
			rule := crm.Rule{
				ID: Rule(m.ID, i), Name: Rule(m.ID, i), Module: m.ID, Level: crm.LevelView,
				Superiors: n == 1 && i/12%10 == 0 || n == 2 && i/12%3 == 0,
				Source:    crm.Party{Kind: crm.RoleAndSubordinates, ID: Role(1 + i%regions)},
			}
			switch i / regions % 4 {
			case 0:
				rule.Target = crm.Party{Kind: crm.HoldersOf, ID: Role(c.leaf(r))}
			case 1:
				rule.Target = crm.Party{Kind: crm.RoleAndSubordinates, ID: Role(c.leaf(r))}
			case 2:
				rule.Target = crm.Party{Kind: crm.MembersOf, ID: group(r.IntN(len(c.groups)))}
			default:
				rule.Target = crm.Party{Kind: crm.User, ID: User(r.IntN(c.Users))}
			}
			c.Organisation.Rules = append(c.Organisation.Rules, rule)
		}
	}
}

// kinds are the modules of records, by the last digit of their number.
var kinds = [10]int{0, 0, 0, 1, 1, 1, 2, 2, 3, 4}

// Record is the record of a number below Records: three tenths are accounts, three deals,
// two leads, one notes and one forecasts.
func (c *Company) Record(i int) crm.Record {
	r := rand.New(rand.NewPCG(c.seed, uint64(i)))
	m := &c.Organisation.Modules[kinds[i%10]]
	record := crm.Record{Module: m.ID, ID: fmt.Sprintf("%07d", i), Owner: User(r.IntN(c.Users))}
	above := func(digit int) []crm.Ref {
		j := r.IntN(i/10+1)*10 + digit
		return []crm.Ref{{Module: c.Organisation.Modules[kinds[digit]].ID, ID: fmt.Sprintf("%07d", j)}}
	}
	switch {
	case m.ID == "deal" && r.IntN(2) == 0:
		record.Parents = above(0)
	case m.ID == "note":
		record.Parents = above(r.IntN(2) * 3) // of an account or of a deal
	}
	if m.Kind == crm.Standard && r.IntN(33) == 0 {
		record.Shares = []crm.Share{{To: crm.Party{Kind: crm.User, ID: User(r.IntN(c.Users))}, Level: crm.LevelEdit}}
	}
	return record
}

// AllRecords are the records in order.
func (c *Company) AllRecords() iter.Seq[crm.Record] {
	return func(yield func(crm.Record) bool) {
		for i := range c.Records {
			if !yield(c.Record(i)) {
				return
			}
		}
	}
}

// A Viewing is a question whether a user may view a record.
type Viewing struct {
	User   string
	Record crm.Ref
}

// Viewings are random questions about records of a standard module to which a hundred rules apply: half about
// users whom one of these rules lets view the record, half about users whom none does, as
// far as rules go: a few may by other ways.
func (c *Company) Viewings(module string, n int) (allowed, others []Viewing) {
	r := rand.New(rand.NewPCG(c.seed, c.seed+1))
	for len(others) < n {
		record := c.Record(r.IntN(c.Records))
		if record.Module != module {
			continue
		}
		rules := c.applicable(&record)
		if len(rules) == 0 { // the root role owns it
			continue
		}
		targets := c.targets(&rules[r.IntN(len(rules))])
		if len(targets) == 0 {
			continue
		}
		allowed = append(allowed, Viewing{User(targets[r.IntN(len(targets))]), record.Ref()})
		user := r.IntN(c.Users)
		if !slices.ContainsFunc(rules, func(rule crm.Rule) bool { return slices.Contains(c.targets(&rule), user) }) {
			others = append(others, Viewing{User(user), record.Ref()})
		}
	}
	return allowed[:n], others
}

// applicable are the rules that share a record.
func (c *Company) applicable(record *crm.Record) []crm.Rule {
	var owner int
	if _, err := fmt.Sscanf(record.Owner, "u%d", &owner); err != nil {
		panic(err)
	}
	region := c.roleOf[owner]
	for region > regions {
		region = (region - 1) / regions
	}
	return slices.DeleteFunc(slices.Clone(c.Organisation.Rules), func(rule crm.Rule) bool {
		return rule.Module != record.Module || rule.Source.ID != Role(region)
	})
}

// targets are users whom a rule shares with, without those of groups in groups and of
// roles below roles.
func (c *Company) targets(rule *crm.Rule) []int {
	var i int
	if _, err := fmt.Sscanf(rule.Target.ID[1:], "%d", &i); err != nil {
		panic(err)
	}
	switch rule.Target.Kind {
	case crm.User:
		return []int{i}
	case crm.MembersOf:
		return c.groups[i]
	default:
		return c.holds[i]
	}
}
