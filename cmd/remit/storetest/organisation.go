package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/remit-authz/remit/cmd/remit/orgfile"
	"github.com/remit-authz/remit/cmd/remit/yamlfile"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/model"
)

// RunOrganisation runs the tests of an organisation file that is valid: see
// orgfile.File.Validate. Now is the instant that questions are about which name no other.
// An error means that the tests could not be run at all.
func RunOrganisation(ctx context.Context, file *orgfile.File, now time.Time) (*Result, error) {
	result := &Result{File: file.Path, Store: file.Organisation.Name, Tests: []TestResult{}}
	base, err := newOrganisation(file.Organisation, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file.Path, err)
	}
	for i := range file.Tests {
		t := &file.Tests[i]
		o := base
		if changed := file.OrganisationOf(t); changed != file.Organisation {
			if o, err = newOrganisation(changed, base); err != nil {
				return nil, fmt.Errorf("%s: %w", t.Place, err)
			}
		}
		r := &organisationRunner{organisation: o, ctx: ctx, now: now}
		result.Tests = append(result.Tests, r.run(t))
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	return result, nil
}

// An organisation as the engine sees it.
type organisation struct {
	*crm.Organisation
	text  string // of its model
	plan  *model.Plan
	deeds *crm.Deeds
	view  graph.View
}

// newOrganisation loads an organisation; the model of another one will do if it is the
// same, for to compile one takes longer than all else.
func newOrganisation(o *crm.Organisation, like *organisation) (*organisation, error) {
	loaded := &organisation{Organisation: o, text: crm.ModelText(o.Modules)}
	if like != nil && like.text == loaded.text {
		loaded.plan, loaded.deeds = like.plan, like.deeds
	} else {
		m, err := crm.Model(o.Modules)
		if err != nil {
			return nil, err
		}
		symbols := model.NewTable()
		symbols.Define(m.Declarations())
		if loaded.plan, err = m.Compile("", symbols); err != nil {
			return nil, err
		}
		var ok bool
		if loaded.deeds, ok = crm.DeedsOf(loaded.plan); !ok {
			return nil, errors.New("the model is not that of an organisation")
		}
	}
	memory := graph.NewMemory(1, time.Time{})
	encoding := crm.Encode(o)
	for _, t := range encoding.Tuples {
		if err := memory.Put(loaded.plan, t); err != nil {
			return nil, err
		}
	}
	for _, d := range encoding.Documents {
		if t, ok := loaded.plan.Type(d.Entity.Type); ok {
			memory.SetDocument(memory.Entity(t.ID, d.Entity.ID), d.Fields)
		}
	}
	loaded.view = memory
	return loaded, nil
}

// An organisationRunner runs one test. Each question gets an overlay of its own, since
// asking about an unknown entity makes it known.
type organisationRunner struct {
	*organisation
	ctx context.Context
	now time.Time
}

func (r *organisationRunner) run(t *orgfile.Test) TestResult {
	result := TestResult{Name: t.Name, Description: t.Description, Assertions: []Assertion{}}
	add := func(a Assertion) { result.Assertions = append(result.Assertions, a) }
	for i := range t.Can {
		r.can(&t.Can[i], add)
	}
	for _, l := range t.Lists {
		for _, user := range l.Users {
			add(r.list(l, user.Text))
		}
	}
	for _, w := range t.Who {
		for _, record := range w.Records {
			add(r.who(w, record.Text))
		}
	}
	for _, f := range t.Fields {
		for _, user := range f.Users {
			for _, record := range f.Records {
				if f.Read != nil {
					add(r.fields(f, user.Text, record.Text, "read", f.Read))
				}
				if f.Write != nil {
					add(r.fields(f, user.Text, record.Text, "write", f.Write))
				}
			}
		}
	}
	for _, d := range t.Duties {
		add(r.onDuty(d))
	}
	return result
}

// question prepares what an assertion asks, at its instant.
func (r *organisationRunner) question(a *Assertion, at time.Time) *question {
	overlay := graph.NewOverlay(r.view)
	q := &question{Query: graph.Query{View: overlay, Plan: r.plan, At: r.now}, overlay: overlay}
	if !at.IsZero() {
		q.At, a.At = at, &at
	}
	return q
}

// ask answers whether a user has a relation to an object. What the model has no relation
// for, which is nil, nobody may do.
func (q *question) ask(ctx context.Context, r *model.Relation, id, user string) (bool, error) {
	if r == nil {
		return false, nil
	}
	u, err := q.userset(r.Type.Name+":"+id, r.Name)
	if err != nil {
		return false, err
	}
	s, err := q.subject("user:" + user)
	if err != nil {
		return false, err
	}
	return q.Check(ctx, u, s)
}

func (r *organisationRunner) can(c *orgfile.Can, add func(Assertion)) {
	on := []string{""}
	switch {
	case c.Records != nil:
		on = names(c.Records)
	case c.Module.Text != "":
		on = []string{c.Module.Text}
	}
	for _, user := range c.Users {
		for _, object := range on {
			for _, action := range c.May {
				add(r.may(c, user.Text, action, object, true))
			}
			for _, action := range c.MayNot {
				add(r.may(c, user.Text, action, object, false))
			}
		}
	}
}

func (r *organisationRunner) may(c *orgfile.Can, user string, action orgfile.Name, on string, want bool) Assertion {
	a := Assertion{
		Kind: "can", Place: action.Place.String(), Expected: &want,
		Question: strings.TrimRight(fmt.Sprintf("can %s %s %s", user, action.Text, on), " "),
	}
	a.attempt(func() error {
		d, err := r.deeds.Find(action.Text, on, "")
		if err != nil {
			return err
		}
		q := r.question(&a, c.At)
		got, err := q.ask(r.ctx, d.Relation, d.ID, user)
		if err == nil && got && d.Also != nil {
			got, err = q.ask(r.ctx, d.Also, d.AlsoID, user)
		}
		if err != nil {
			return err
		}
		a.Got, a.Passed = &got, got == want
		if !a.Passed {
			r.why(&a, q, crm.Deed{User: user, Action: action.Text, On: on}, got)
		}
		return nil
	})
	return a
}

func (r *organisationRunner) list(l orgfile.List, user string) Assertion {
	a := Assertion{
		Kind: "list", Place: place(l.Place, l.Records),
		Question: fmt.Sprintf("list %s %s %s", user, l.Action.Text, l.Module.Text),
	}
	a.attempt(func() error {
		d, err := r.deeds.Listing(l.Module.Text, l.Action.Text)
		if err != nil {
			return err
		}
		q := r.question(&a, l.At)
		got := []string{}
		if d.Whole != nil {
			s, err := q.subject("user:" + user)
			if err != nil {
				return err
			}
			var nameErr error
			err = q.ListObjects(r.ctx, d.Whole, s, 0, func(id graph.ID) bool {
				var name string
				name, nameErr = q.View.Name(id)
				got = append(got, name)
				return nameErr == nil
			})
			if err := firstError(err, nameErr); err != nil {
				return err
			}
		}
		a.compare(names(l.Records), got)
		for _, id := range a.differing(maxReasons) {
			r.why(&a, q, crm.Deed{User: user, Action: l.Action.Text, On: l.Module.Text + ":" + id}, slices.Contains(got, id))
		}
		return nil
	})
	return a
}

func (r *organisationRunner) who(w orgfile.Who, record string) Assertion {
	a := Assertion{
		Kind: "who", Place: place(w.Place, w.Users),
		Question: fmt.Sprintf("who %s %s", w.Action.Text, record),
	}
	a.attempt(func() error {
		d, err := r.deeds.Find(w.Action.Text, record, "")
		if err != nil {
			return err
		}
		q := r.question(&a, w.At)
		got, err := q.usersOf(r.ctx, d.Relation, d.ID)
		if err != nil {
			return err
		}
		a.compare(names(w.Users), got)
		for _, user := range a.differing(maxReasons) {
			r.why(&a, q, crm.Deed{User: user, Action: w.Action.Text, On: record}, slices.Contains(got, user))
		}
		return nil
	})
	return a
}

// usersOf are the ids of those who have a relation to an object.
func (q *question) usersOf(ctx context.Context, r *model.Relation, id string) ([]string, error) {
	got := []string{}
	if r == nil {
		return got, nil
	}
	u, err := q.userset(r.Type.Name+":"+id, r.Name)
	if err != nil {
		return nil, err
	}
	kind, err := graph.ResolveKind(q.Plan, "user", "")
	if err != nil {
		return nil, err
	}
	var nameErr error
	err = q.ListSubjects(ctx, u, kind, graph.Subject{}, func(s graph.ListedSubject) bool {
		var user string
		user, nameErr = q.View.Name(s.Subject.ID)
		got = append(got, user)
		return nameErr == nil
	})
	return got, firstError(err, nameErr)
}

// fields asks for each field of the record's module whether it may be read, or written.
func (r *organisationRunner) fields(f orgfile.CanFields, user, record, what string, want []orgfile.Name) Assertion {
	action := crm.ActionView
	if what == "write" {
		action = crm.ActionEdit
	}
	a := Assertion{
		Kind: "fields", Place: place(f.Place, want),
		Question: fmt.Sprintf("fields %s %s %s", user, what, record),
	}
	a.attempt(func() error {
		q := r.question(&a, f.At)
		reach, err := r.deeds.Find(string(action), record, "")
		if err != nil {
			return err
		}
		reached, err := q.ask(r.ctx, reach.Relation, reach.ID, user)
		if err != nil {
			return err
		}
		module, _, _ := strings.Cut(record, ":")
		got := []string{}
		for i := range r.Fields {
			field := &r.Fields[i]
			if field.Module != module {
				continue
			}
			d, err := r.deeds.Find(string(action), record, field.ID)
			if err != nil {
				return err
			}
			allowed, err := q.ask(r.ctx, d.Also, d.AlsoID, user)
			if err != nil {
				return err
			}
			if allowed && reached {
				got = append(got, field.ID)
			}
		}
		a.compare(names(want), got)
		if !a.Passed && !reached {
			r.why(&a, q, crm.Deed{User: user, Action: string(action), On: record}, false)
			return nil
		}
		for _, id := range a.differing(maxReasons) {
			r.why(&a, q, crm.Deed{User: user, Action: string(action), On: record, Field: id}, slices.Contains(got, id))
		}
		return nil
	})
	return a
}

func (r *organisationRunner) onDuty(d orgfile.OnDuty) Assertion {
	shifts := []string{d.Shift.Text}
	if d.Shift.Text == "" {
		shifts = nil
		for i := range r.Shifts {
			shifts = append(shifts, r.Shifts[i].ID)
		}
	}
	a := Assertion{
		Kind: "on_duty", Place: place(d.Place, d.Users),
		Question: strings.TrimRight("on_duty "+d.Shift.Text, " "),
	}
	a.attempt(func() error {
		onDuty, err := graph.ResolveRelation(r.plan, "shift", "on_duty")
		if err != nil {
			return err
		}
		q := r.question(&a, d.At)
		got := []string{}
		for _, shift := range shifts {
			users, err := q.usersOf(r.ctx, onDuty, shift)
			if err != nil {
				return err
			}
			got = append(got, users...)
		}
		a.compare(names(d.Users), got)
		for _, user := range a.differing(maxReasons) {
			answer, err := r.inquiry(q).OnDuty(r.ctx, user, d.Shift.Text)
			a.reason(strings.TrimRight(user+" on duty "+d.Shift.Text, " "), answer, err, slices.Contains(got, user))
		}
		return nil
	})
	return a
}

func names(list []orgfile.Name) []string {
	texts := []string{}
	for _, n := range list {
		texts = append(texts, n.Text)
	}
	return texts
}

// place is where what is expected begins, or the question.
func place(question yamlfile.Place, want []orgfile.Name) string {
	if len(want) > 0 {
		return want[0].Place.String()
	}
	return question.String()
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
