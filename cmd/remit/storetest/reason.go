package storetest

import (
	"slices"
	"strings"

	"github.com/remit-authz/remit/graph/crm"
)

// inquiry asks why, where a question has its answer from.
func (r *organisationRunner) inquiry(q *question) *crm.Inquiry {
	return &crm.Inquiry{View: r.view, Plan: r.plan, Deeds: r.deeds, At: q.At}
}

// why adds the reason for an answer.
func (r *organisationRunner) why(a *Assertion, q *question, d crm.Deed, got bool) {
	answer, err := r.inquiry(q).Why(r.ctx, d)
	words := slices.DeleteFunc([]string{d.User, d.Action, d.On, d.Field}, func(s string) bool { return s == "" })
	a.reason(strings.Join(words, " "), answer, err, got)
}

// reason adds why an answer is as it is. A reason that cannot be found, or that is one for
// another answer, is left out: the assertion has failed already, and that is what must be told.
func (a *Assertion) reason(question string, answer *crm.Answer, err error, got bool) {
	if err != nil || answer.Allowed != got {
		return
	}
	reason := Reason{Question: question, Allowed: got, Grounds: []string{}}
	for _, g := range slices.Concat(answer.Grounds, answer.Missing) {
		reason.Grounds = append(reason.Grounds, g.Text)
	}
	a.Reasons = append(a.Reasons, reason)
}
