package storefile

import (
	"errors"
	"fmt"
	"time"

	"github.com/remit-authz/remit/cmd/remit/orgfile"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/graph/value"
)

// OrganisationTests are the tests of an organisation file, which is valid, as tests of its
// export. Now is the instant of the questions that name none.
//
// A store file holds one organisation and asks for one relation at a time. So what it
// cannot ask is left out and counted, a question of several users or records once for each
// of them: what is about a changed organisation or an instant outside of the horizon, what
// two relations decide together and is to be denied, all of fields, and who is on duty in
// no particular shift.
func OrganisationTests(file *orgfile.File, horizon crm.Period, now time.Time) (tests []Test, left int, err error) {
	m, err := crm.Model(file.Organisation.Modules)
	if err != nil {
		return nil, 0, err
	}
	symbols := model.NewTable()
	symbols.Define(m.Declarations())
	plan, err := m.Compile("", symbols)
	if err != nil {
		return nil, 0, err
	}
	deeds, ok := crm.DeedsOf(plan)
	if !ok {
		return nil, 0, errors.New("the model is not that of an organisation")
	}
	c := converter{deeds: deeds, horizon: horizon, now: now}
	for i := range file.Tests {
		t := &file.Tests[i]
		c.other = file.OrganisationOf(t) != file.Organisation
		test, err := c.test(t)
		if err != nil {
			return nil, 0, fmt.Errorf("%s: %w", t.Place, err)
		}
		if len(test.Checks)+len(test.ListObjects)+len(test.ListUsers) > 0 {
			tests = append(tests, test)
		}
	}
	return tests, c.left, nil
}

// A converter makes tests of an export, and counts what it leaves out.
type converter struct {
	deeds   *crm.Deeds
	horizon crm.Period
	now     time.Time
	other   bool // the test is about another organisation
	left    int
}

// context is that of a question at an instant; false if it cannot be asked.
func (c *converter) context(at time.Time) (value.Map, bool) {
	if at.IsZero() {
		at = c.now
	}
	if c.other || !c.horizon.Contains(at) {
		return nil, false
	}
	return value.Map{"now": at.UTC().Format(time.RFC3339Nano)}, true
}

func (c *converter) test(t *orgfile.Test) (Test, error) {
	test := Test{Name: t.Name, Description: t.Description}
	for i := range t.Can {
		if err := c.can(&test, &t.Can[i]); err != nil {
			return Test{}, err
		}
	}
	for _, l := range t.Lists {
		if err := c.list(&test, l); err != nil {
			return Test{}, err
		}
	}
	for _, w := range t.Who {
		if err := c.who(&test, w); err != nil {
			return Test{}, err
		}
	}
	for _, f := range t.Fields {
		c.left += len(f.Users) * len(f.Records)
	}
	for _, d := range t.Duties {
		c.onDuty(&test, d)
	}
	return test, nil
}

func (c *converter) can(test *Test, can *orgfile.Can) error {
	on := []string{can.Module.Text}
	if can.Records != nil {
		on = texts(can.Records)
	}
	for _, user := range can.Users {
		for _, object := range on {
			for _, action := range can.May {
				if err := c.may(test, can.At, user.Text, action.Text, object, true); err != nil {
					return err
				}
			}
			for _, action := range can.MayNot {
				if err := c.may(test, can.At, user.Text, action.Text, object, false); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (c *converter) may(test *Test, at time.Time, user, action, on string, want bool) error {
	d, err := c.deeds.Find(action, on, "")
	if err != nil {
		return err
	}
	fields, ok := c.context(at)
	if !ok || d.Relation == nil || d.Also != nil && !want {
		c.left++
		return nil
	}
	check := func(r *model.Relation, id string) {
		test.Checks = append(test.Checks, Check{
			Users: []string{"user:" + crm.ExportID(user)}, Objects: []string{r.Type.Name + ":" + crm.ExportID(id)},
			Context: fields, Assertions: []CheckAssertion{{Relation: r.Name, Allowed: want}},
		})
	}
	check(d.Relation, d.ID)
	if d.Also != nil {
		check(d.Also, d.AlsoID)
	}
	return nil
}

func (c *converter) list(test *Test, l orgfile.List) error {
	d, err := c.deeds.Listing(l.Module.Text, l.Action.Text)
	if err != nil {
		return err
	}
	fields, ok := c.context(l.At)
	if !ok || d.Whole == nil || d.Tool != "" {
		c.left += len(l.Users)
		return nil
	}
	for _, user := range l.Users {
		test.ListObjects = append(test.ListObjects, ListObjects{
			User: "user:" + crm.ExportID(user.Text), Type: l.Module.Text, Context: fields,
			Assertions: []ListAssertion{{Relation: d.Whole.Name, Want: exportedNames(l.Module.Text, l.Records)}},
		})
	}
	return nil
}

func (c *converter) who(test *Test, w orgfile.Who) error {
	for _, record := range w.Records {
		d, err := c.deeds.Find(w.Action.Text, record.Text, "")
		if err != nil {
			return err
		}
		fields, ok := c.context(w.At)
		if !ok || d.Relation == nil || d.Also != nil {
			c.left++
			continue
		}
		test.ListUsers = append(test.ListUsers, users(d.Relation.Type.Name, d.ID, d.Relation.Name, fields, w.Users))
	}
	return nil
}

func (c *converter) onDuty(test *Test, d orgfile.OnDuty) {
	fields, ok := c.context(d.At)
	if !ok || d.Shift.Text == "" {
		c.left++
		return
	}
	test.ListUsers = append(test.ListUsers, users(c.deeds.Shift.Name, d.Shift.Text, "on_duty", fields, d.Users))
}

// users asks who has a relation to an object.
func users(typ, id, relation string, fields value.Map, want []orgfile.Name) ListUsers {
	return ListUsers{
		Object: typ + ":" + crm.ExportID(id), Filters: []UserFilter{{Type: "user"}}, Context: fields,
		Assertions: []ListAssertion{{Relation: relation, Want: exportedNames("user", want)}},
	}
}

func exportedNames(typ string, ids []orgfile.Name) []string {
	names := []string{}
	for _, id := range ids {
		names = append(names, typ+":"+crm.ExportID(id.Text))
	}
	return names
}

func texts(names []orgfile.Name) []string {
	list := make([]string, len(names))
	for i, n := range names {
		list[i] = n.Text
	}
	return list
}
