package conformance

import (
	"context"
	"regexp"
	"slices"
	"strings"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// Names of the entries of KNOWN.md.
const (
	knownPages        = "known: pages of changes skip and repeat"
	knownDeletes      = "known: deletes of one write change their order"
	knownNamed        = "known: another failed condition is named"
	knownEmptyContext = "known: an empty context is not an absent one"
	knownIrrelevant   = "known: a condition fails that decides nothing"
	knownParameters   = "known: a condition without parameters bears no context"
	knownShadow       = "known: a contextual tuple leaves the stored one in force"
	knownHides        = "known: a failed condition hides a grant"
	knownDepth        = "known: OpenFGA follows a recursion below its limit of depth"
	knownLists        = "known: a list goes no deeper than it needs"
	knownItself       = "known: OpenFGA contradicts itself"
	knownCycle        = "known: a cycle below a subtraction takes a grant away"
)

// known names the entry of KNOWN.md that explains a difference, or returns "". An entry
// is taken only if what it says can be shown for this difference.
func known(ctx context.Context, d *difference, p *place) string {
	switch q := d.question.(type) {
	case *openfgav1.ReadChangesRequest:
		one := inOnePage(ctx, p, q)
		switch {
		case d.got == one:
			return knownPages
		case sameButDeletes(d.got, one):
			return knownDeletes
		}
		return ""
	case *openfgav1.WriteRequest:
		if strings.Contains(d.want, "with a different condition") && withContexts(ctx, d, p) {
			return knownEmptyContext
		}
		return ""
	}
	if failedCondition(d.got) && failedCondition(d.want) {
		return knownNamed
	}
	if failedCondition(d.got) != failedCondition(d.want) && irrelevant(ctx, d) {
		return knownIrrelevant
	}
	if withParameter(ctx, d) {
		return knownParameters
	}
	if d.got == verdict(true) && d.want == verdict(false) && hides(ctx, d, p) {
		return knownHides
	}
	if strings.HasPrefix(d.got, "code 2002: ") && exactly(ctx, d) == d.want {
		return knownDepth
	}
	if strings.HasPrefix(d.want, "code 2002: ") && lists(d.question) && exactly(ctx, d) == d.got {
		return knownLists
	}
	if withoutShadowed(ctx, d) {
		return knownShadow
	}
	if contradicts(ctx, d, p) {
		return knownItself
	}
	if cycles(ctx, d, p) {
		return knownCycle
	}
	return ""
}

func lists(question proto.Message) bool {
	switch question.(type) {
	case *openfgav1.ListObjectsRequest, *openfgav1.StreamedListObjectsRequest, *openfgav1.ListUsersRequest:
		return true
	}
	return false
}

// inOnePage is what OpenFGA answers if it need not find where a page ended.
func inOnePage(ctx context.Context, p *place, q *openfgav1.ReadChangesRequest) string {
	r, err := p.client.ReadChanges(ctx, &openfgav1.ReadChangesRequest{StoreId: p.store, Type: q.GetType()})
	if err != nil {
		return refusal(err)
	}
	var b strings.Builder
	for _, c := range r.GetChanges() {
		b.WriteString(changeText(c) + "\n")
	}
	return b.String() + "the token is the same"
}

// sameButDeletes tells whether only deletes that follow each other are in another order.
func sameButDeletes(got, want string) bool {
	runs := func(answer string) string {
		lines := strings.Split(answer, "\n")
		for i := 0; i < len(lines); i++ {
			end := i
			for end < len(lines) && strings.HasPrefix(lines[end], openfgav1.TupleOperation_TUPLE_OPERATION_DELETE.String()) {
				end++
			}
			slices.Sort(lines[i:end])
			i = max(i, end)
		}
		return strings.Join(lines, "\n")
	}
	return runs(got) == runs(want)
}

// withContexts tells whether OpenFGA answers a write as Remit does once every condition has
// the same kind of empty context as the tuple that is there.
func withContexts(ctx context.Context, d *difference, p *place) bool {
	q := proto.CloneOf(d.question.(*openfgav1.WriteRequest))
	for range q.GetWrites().GetTupleKeys() {
		answer := p.ask(ctx, q)
		changed := false
		for _, t := range q.GetWrites().GetTupleKeys() {
			c := t.GetCondition()
			if c == nil || len(c.GetContext().GetFields()) > 0 || !strings.Contains(answer, "user: '"+t.GetUser()+"', relation: '"+t.GetRelation()+"', object: '"+t.GetObject()+"'") {
				continue
			}
			changed = true
			if c.GetContext() == nil {
				c.Context = mustStruct(nil)
			} else {
				c.Context = nil
			}
		}
		if !changed {
			return answer == d.got
		}
	}
	return p.ask(ctx, q) == d.got
}

// failedCondition tells whether an answer is a refusal because of a condition.
func failedCondition(answer string) bool {
	return strings.HasPrefix(answer, "code 2000: ") && strings.Contains(answer, "failed to evaluate relationship condition")
}

var conditionName = regexp.MustCompile(`condition:? '([^']+)'`)

// withParameter tells whether OpenFGA agrees once each condition without parameters has one
// that it does not use.
func withParameter(ctx context.Context, d *difference) bool {
	if d.world == nil || len(d.before) > 0 {
		return false
	}
	w, question := d.world.clone(), proto.Clone(d.question)
	q, ok := question.(interface{ GetContext() *structpb.Struct })
	if !ok || q.GetContext().GetFields() == nil {
		return false
	}
	changed := false
	for _, c := range w.current().GetConditions() {
		if len(c.GetParameters()) == 0 {
			changed = true
			c.Parameters = map[string]*openfgav1.ConditionParamTypeRef{"unused": {TypeName: openfgav1.ConditionParamTypeRef_TYPE_NAME_BOOL}}
		}
	}
	if !changed {
		return false
	}
	q.GetContext().Fields["unused"] = structpb.NewBoolValue(true)
	return explained(ctx, w, question, d.got)
}

// explained tells whether OpenFGA agrees about a world in which Remit still answers the
// same, or only differs by another entry.
func explained(ctx context.Context, w *world, question proto.Message, answer string) bool {
	g, _, gotOK := settle(ctx, subject, w)
	o, _, wantOK := settle(ctx, peer, w)
	defer func() { _, _ = g.leave(ctx), o.leave(ctx) }()
	if !gotOK || !wantOK {
		return false
	}
	d := &difference{world: w, question: question, got: g.ask(ctx, question), want: o.ask(ctx, question)}
	return d.got == answer && (d.want == answer || known(ctx, d, o) != "")
}

// withoutShadowed tells whether OpenFGA agrees once no stored tuple has the key of a
// contextual one.
func withoutShadowed(ctx context.Context, d *difference) bool {
	var contextual []*openfgav1.TupleKey
	switch q := d.question.(type) {
	case *openfgav1.ListUsersRequest:
		contextual = q.GetContextualTuples()
	case interface {
		GetContextualTuples() *openfgav1.ContextualTupleKeys
	}:
		contextual = q.GetContextualTuples().GetTupleKeys()
	}
	if d.world == nil || len(d.before) > 0 || len(contextual) == 0 {
		return false
	}
	w := d.world.clone()
	w.tuples = slices.DeleteFunc(w.tuples, func(t *openfgav1.TupleKey) bool {
		return slices.ContainsFunc(contextual, func(c *openfgav1.TupleKey) bool {
			return c.GetObject() == t.GetObject() && c.GetRelation() == t.GetRelation() && c.GetUser() == t.GetUser()
		})
	})
	return len(w.tuples) < len(d.world.tuples) && explained(ctx, w, d.question, d.got)
}

// irrelevant tells whether one server stumbles over conditions that do not matter for the
// answer of the other: without a tuple that carries one, or without all, both servers give
// this answer.
func irrelevant(ctx context.Context, d *difference) bool {
	if d.world == nil || len(d.before) > 0 {
		return false
	}
	answer := d.got
	if failedCondition(answer) {
		answer = d.want
	}
	w, question := d.world.clone(), proto.Clone(d.question)
	for range 6 {
		got, want := askBoth(ctx, w, question)
		if got == answer && want == answer {
			return true
		}
		names := failedNames(got, want)
		if len(names) == 0 {
			// No condition fails any more: what still differs needs another reason.
			return want == d.want && otherwiseKnown(ctx, &difference{question: question, world: w, got: got, want: want})
		}
		carries := func(t *openfgav1.TupleKey) bool { return slices.Contains(names, t.GetCondition().GetName()) }
		for i, t := range w.tuples {
			if !carries(t) {
				continue
			}
			c := w.clone()
			c.tuples = slices.Delete(c.tuples, i, i+1)
			if got, want := askBoth(ctx, c, question); got == answer && want == answer {
				return true
			}
		}
		w.tuples = slices.DeleteFunc(w.tuples, carries)
		withoutContextual(question, carries)
	}
	return false
}

// otherwiseKnown tells whether a difference in which no condition fails is one of the
// others.
func otherwiseKnown(ctx context.Context, d *difference) bool {
	p, _, ok := settle(ctx, peer, d.world)
	defer func() { _ = p.leave(ctx) }()
	return ok && (contradicts(ctx, d, p) || cycles(ctx, d, p))
}

// askBoth asks about a world of its own.
func askBoth(ctx context.Context, w *world, question proto.Message) (got, want string) {
	g, _, gotOK := settle(ctx, subject, w)
	o, _, wantOK := settle(ctx, peer, w)
	defer func() { _, _ = g.leave(ctx), o.leave(ctx) }()
	if !gotOK || !wantOK {
		return "", ""
	}
	return g.ask(ctx, question), o.ask(ctx, question)
}

// failedNames are the conditions that answers say have failed.
func failedNames(answers ...string) []string {
	var names []string
	for _, answer := range answers {
		if failedCondition(answer) {
			for _, match := range conditionName.FindAllStringSubmatch(answer, -1) {
				names = append(names, match[1])
			}
		}
	}
	return names
}

// hides tells whether OpenFGA agrees once a tuple is gone whose condition fails.
func hides(ctx context.Context, d *difference, p *place) bool {
	q, ok := d.question.(*openfgav1.CheckRequest)
	if !ok || d.world == nil {
		return false
	}
	for i, t := range d.world.tuples {
		if t.GetCondition() == nil {
			continue
		}
		direct := proto.CloneOf(q)
		direct.TupleKey = &openfgav1.CheckRequestTupleKey{Object: t.GetObject(), Relation: t.GetRelation(), User: t.GetUser()}
		if !failedCondition(p.ask(ctx, direct)) {
			continue
		}
		w := d.world.clone()
		w.tuples = slices.Delete(w.tuples, i, i+1)
		if got, want := askBoth(ctx, w, q); got == d.got && want == d.got {
			return true
		}
	}
	return false
}

// exactly is Remit's answer without a limit of depth.
func exactly(ctx context.Context, d *difference) string {
	if d.world == nil || subject.Name != Remit {
		return ""
	}
	p, _, ok := settle(ctx, subject, d.world)
	defer func() { _ = p.leave(ctx) }()
	if !ok {
		return ""
	}
	return p.ask(metadata.AppendToOutgoingContext(ctx, "remit-exact", "true"), d.question)
}

// withoutContextual leaves out contextual tuples of a question.
func withoutContextual(question proto.Message, drop func(*openfgav1.TupleKey) bool) {
	switch q := question.(type) {
	case *openfgav1.ListUsersRequest:
		q.ContextualTuples = slices.DeleteFunc(q.ContextualTuples, drop)
	case interface {
		GetContextualTuples() *openfgav1.ContextualTupleKeys
	}:
		if keys := q.GetContextualTuples(); keys != nil {
			keys.TupleKeys = slices.DeleteFunc(keys.TupleKeys, drop)
		}
	}
}

// contradicts tells whether OpenFGA gives Remit's answer when it is asked in another way:
// a Check by ListUsers, a list by Check of each of its elements and of those of Remit's. An element that Check
// takes for no user is none.
func contradicts(ctx context.Context, d *difference, p *place) bool {
	if strings.HasPrefix(d.got, "code ") {
		return false // both refuse for reasons of their own
	}
	if q, ok := d.question.(*openfgav1.CheckRequest); ok {
		listed := byListUsers(ctx, p, q)
		return listed == d.got || failedCondition(listed) && withoutFailing(ctx, d, q, failedNames(listed))
	}
	return everyCheck(d, func(q *openfgav1.CheckRequest, answer string) bool {
		said := p.ask(ctx, q)
		return said == answer || answer == verdict(false) && strings.HasSuffix(said, "the 'user' field is malformed")
	})
}

// cycles tells whether OpenFGA agrees once a tuple is gone that cannot matter: one to a
// userset in which OpenFGA itself says that the user is not.
func cycles(ctx context.Context, d *difference, p *place) bool {
	if d.world == nil || len(d.before) > 0 {
		return false
	}
	agrees := func(q *openfgav1.CheckRequest, answer string) bool {
		for i, t := range d.world.tuples {
			object, relation, userset := strings.Cut(t.GetUser(), "#")
			member := proto.CloneOf(q)
			member.TupleKey = &openfgav1.CheckRequestTupleKey{Object: object, Relation: relation, User: q.GetTupleKey().GetUser()}
			if !userset || p.ask(ctx, member) != verdict(false) {
				continue
			}
			w := d.world.clone()
			w.tuples = slices.Delete(w.tuples, i, i+1)
			if got, want := askBoth(ctx, w, q); got == answer && want == answer {
				return true
			}
		}
		return false
	}
	if q, ok := d.question.(*openfgav1.CheckRequest); ok {
		return agrees(q, d.got)
	}
	return everyCheck(d, func(q *openfgav1.CheckRequest, answer string) bool {
		return p.ask(ctx, q) == answer || agrees(q, answer)
	})
}

// everyCheck tells whether holds is true of a Check of every element on which two lists
// differ, with the answer that Remit's list is.
func everyCheck(d *difference, holds func(q *openfgav1.CheckRequest, answer string) bool) bool {
	if !strings.HasPrefix(d.got, "[") || !strings.HasPrefix(d.want, "[") {
		return false
	}
	got, want := elements(d.got), elements(d.want)
	for _, element := range append(slices.Clone(got), want...) {
		inGot := slices.Contains(got, element)
		if inGot == slices.Contains(want, element) {
			continue
		}
		if q := checkOf(d.question, element); q == nil || !holds(q, verdict(inGot)) {
			return false
		}
	}
	return true
}

// checkOf asks whether an element is rightly in a list.
func checkOf(question proto.Message, element string) *openfgav1.CheckRequest {
	switch q := question.(type) {
	case *openfgav1.ListUsersRequest:
		return &openfgav1.CheckRequest{
			AuthorizationModelId: q.GetAuthorizationModelId(), ContextualTuples: &openfgav1.ContextualTupleKeys{TupleKeys: q.GetContextualTuples()}, Context: q.GetContext(),
			TupleKey: &openfgav1.CheckRequestTupleKey{Object: q.GetObject().GetType() + ":" + q.GetObject().GetId(), Relation: q.GetRelation(), User: element},
		}
	case interface { // ListObjects, as a stream or not
		GetAuthorizationModelId() string
		GetContextualTuples() *openfgav1.ContextualTupleKeys
		GetContext() *structpb.Struct
		GetRelation() string
		GetUser() string
	}:
		return &openfgav1.CheckRequest{
			AuthorizationModelId: q.GetAuthorizationModelId(), ContextualTuples: q.GetContextualTuples(), Context: q.GetContext(),
			TupleKey: &openfgav1.CheckRequestTupleKey{Object: element, Relation: q.GetRelation(), User: q.GetUser()},
		}
	}
	return nil
}

// withoutFailing tells whether OpenFGA contradicts itself, with the same two answers, about
// the world without the tuples whose conditions keep ListUsers from an answer.
func withoutFailing(ctx context.Context, d *difference, q *openfgav1.CheckRequest, names []string) bool {
	if d.world == nil || len(d.before) > 0 {
		return false
	}
	carries := func(t *openfgav1.TupleKey) bool { return slices.Contains(names, t.GetCondition().GetName()) }
	w, question := d.world.clone(), proto.CloneOf(q)
	w.tuples = slices.DeleteFunc(w.tuples, carries)
	withoutContextual(question, carries)
	if got, want := askBoth(ctx, w, question); got != d.got || want != d.want {
		return false
	}
	p, _, ok := settle(ctx, peer, w)
	defer func() { _ = p.leave(ctx) }()
	return ok && byListUsers(ctx, p, question) == d.got
}

func byListUsers(ctx context.Context, p *place, q *openfgav1.CheckRequest) string {
	kind, id, _ := strings.Cut(q.GetTupleKey().GetObject(), ":")
	user := q.GetTupleKey().GetUser()
	userType, rest, _ := strings.Cut(user, ":")
	_, relation, _ := strings.Cut(rest, "#")
	answer := p.ask(ctx, &openfgav1.ListUsersRequest{
		AuthorizationModelId: q.GetAuthorizationModelId(), Object: &openfgav1.Object{Type: kind, Id: id}, Relation: q.GetTupleKey().GetRelation(),
		UserFilters:      []*openfgav1.UserTypeFilter{{Type: userType, Relation: relation}},
		ContextualTuples: q.GetContextualTuples().GetTupleKeys(), Context: q.GetContext(),
	})
	if !strings.HasPrefix(answer, "[") {
		return answer
	}
	listed := elements(answer)
	return verdict(slices.Contains(listed, user) || relation == "" && slices.Contains(listed, userType+":*"))
}

func elements(answer string) []string {
	return strings.Fields(strings.Trim(answer, "[]"))
}
