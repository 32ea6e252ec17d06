package openfga

import (
	"fmt"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/condition"
	"github.com/remit-authz/remit/graph/model"
)

// A named is a tuple's or a question's names, as far as they were found in the model.
type named struct {
	object   graph.ObjectName
	relation *model.Relation
	subject  graph.SubjectName
	kind     graph.SubjectKind
}

// A tupleFault is what is wrong with a tuple that a request brings. What code it gets
// depends on the request.
type tupleFault struct {
	tuple       *openfgav1.TupleKey
	reason      string
	conditional bool // it is the condition that is at fault
}

// Error is the text that OpenFGA has for the fault.
func (f *tupleFault) Error() string {
	text := tupleText(f.tuple)
	if f.conditional {
		text = conditionalText(f.tuple)
	}
	return fmt.Sprintf("Invalid tuple '%s'. Reason: %s", text, f.reason)
}

// checkTupleForWrite looks for the fault that OpenFGA would report of a tuple to be
// written or, with assertions, of one of their contextual tuples.
func checkTupleForWrite(p *model.Plan, t *openfgav1.TupleKey) error {
	if _, fault := checkTuple(p, t); fault != nil {
		return validationError(fault.Error())
	}
	return nil
}

// checkContextualTuples looks for faults in the contextual tuples of Expand, ListObjects
// and ListUsers.
func checkContextualTuples(p *model.Plan, tuples []*openfgav1.TupleKey) error {
	for _, t := range tuples {
		switch _, fault := checkTuple(p, t); {
		case fault == nil:
		case fault.conditional:
			return validationError(fault.Error())
		default:
			// The tuple is printed as a message here, though nowhere else.
			return invalidTuple(t.String(), fault.reason)
		}
	}
	return nil
}

// A queryFault is what is wrong with a Check. It has one text as the answer to Check,
// and another as an entry in the answer to BatchCheck.
type queryFault struct {
	code openfgav1.ErrorCode
	text string
}

// asCheck is the fault as the answer to Check.
func (f *queryFault) asCheck() *Error {
	if f.code == openfgav1.ErrorCode_invalid_tuple {
		// OpenFGA prints the tuple where it has none at hand.
		return invalidTuple("%!s(<nil>)", f.text)
	}
	return newError(f.code, f.text)
}

// asBatch is the fault as an entry of the answer to BatchCheck.
func (f *queryFault) asBatch() *openfgav1.CheckError {
	return &openfgav1.CheckError{Code: &openfgav1.CheckError_InputError{InputError: f.code}, Message: f.text}
}

// checkQuery looks for faults in a Check, or in one of BatchCheck, in OpenFGA's order:
// the question, its context, its contextual tuples.
func checkQuery(p *model.Plan, question tupleKey, given *structpb.Struct, contextual []*openfgav1.TupleKey) (named, *queryFault) {
	names, fault := checkNames(p, question)
	if fault != "" {
		return named{}, &queryFault{openfgav1.ErrorCode_validation_error, "invalid relation: " + fault}
	}
	if fault := forbiddenFault(given.GetFields()); fault != "" {
		return named{}, &queryFault{openfgav1.ErrorCode_validation_error, "invalid context: " + fault}
	}
	for _, t := range contextual {
		if _, fault := checkTuple(p, t); fault != nil {
			return named{}, &queryFault{openfgav1.ErrorCode_invalid_tuple, "invalid tuple: " + fault.Error()}
		}
	}
	return names, nil
}

// checkAssertion looks for faults in what an assertion asserts.
func checkAssertion(p *model.Plan, a *openfgav1.Assertion) error {
	if _, fault := checkNames(p, a.GetTupleKey()); fault != "" {
		return validationError(fault)
	}
	for _, t := range a.GetContextualTuples() {
		if err := checkTupleForWrite(p, t); err != nil {
			return err
		}
	}
	return nil
}

// checkExpand looks for faults in what Expand is asked.
func checkExpand(p *model.Plan, question *openfgav1.ExpandRequestTupleKey, contextual []*openfgav1.TupleKey) (*model.Relation, error) {
	object, relation := question.GetObject(), question.GetRelation()
	if object == "" || relation == "" {
		return nil, errInvalidExpandInput
	}
	if err := checkContextualTuples(p, contextual); err != nil {
		return nil, err
	}
	t, fault := objectType(p, object)
	if fault != "" {
		return nil, validationError(fault)
	}
	r, fault := relationOf(t, relation)
	if fault != "" {
		return nil, validationError(fault)
	}
	return r, nil
}

// checkListObjects looks for faults in what ListObjects is asked.
func checkListObjects(p *model.Plan, typ, relation, user string, contextual []*openfgav1.TupleKey) (*model.Relation, graph.SubjectKind, error) {
	if err := checkContextualTuples(p, contextual); err != nil {
		return nil, graph.SubjectKind{}, err
	}
	r, err := targetRelation(p, typ, relation)
	if err != nil {
		return nil, graph.SubjectKind{}, err
	}
	kind, fault := userKind(p, user)
	if fault != "" {
		return nil, graph.SubjectKind{}, validationError("invalid 'user' value: " + fault)
	}
	return r, kind, nil
}

// checkListUsers looks for faults in what ListUsers is asked.
func checkListUsers(p *model.Plan, req *openfgav1.ListUsersRequest) (*model.Relation, error) {
	if err := checkContextualTuples(p, req.GetContextualTuples()); err != nil {
		return nil, err
	}
	for _, filter := range req.GetUserFilters() {
		if t, ok := p.Type(filter.GetType()); !ok {
			return nil, typeNotFound(filter.GetType())
		} else if name := filter.GetRelation(); name != "" {
			if _, ok := t.Relation(name); !ok {
				return nil, relationNotFound(t.Name, name, "")
			}
		}
	}
	return targetRelation(p, req.GetObject().GetType(), req.GetRelation())
}

// targetRelation finds the relation that a list is about.
func targetRelation(p *model.Plan, typ, relation string) (*model.Relation, error) {
	t, ok := p.Type(typ)
	if !ok {
		return nil, typeNotFound(typ)
	}
	r, ok := t.Relation(relation)
	if !ok {
		return nil, relationNotFound(typ, relation, "")
	}
	return r, nil
}

// checkWrites looks for faults in the tuples of a write, each by itself. Their contexts
// may have maxContext bytes.
func checkWrites(p *model.Plan, tuples []*openfgav1.TupleKey, maxContext int) error {
	for _, t := range tuples {
		if err := checkTupleForWrite(p, t); err != nil {
			return err
		}
		if s := subjectName(t.GetUser()); s.Relation == t.GetRelation() && s.Object() == objectName(t.GetObject()) {
			return validationError((&tupleFault{tuple: t, reason: "cannot write a tuple that is implicit"}).Error())
		}
		if size := proto.Size(t.GetCondition().GetContext()); size > maxContext {
			reason := fmt.Sprintf("condition context size limit exceeded: %d bytes exceeds %d bytes", size, maxContext)
			return validationError((&tupleFault{tuple: t, reason: reason}).Error())
		}
	}
	return nil
}

// checkDeletes looks for faults in the tuples that a write deletes. Whether the model
// knows their names does not matter: it may be a later one than they were written by.
func checkDeletes(tuples []*openfgav1.TupleKeyWithoutCondition) error {
	for _, t := range tuples {
		if formOf(t.GetUser()) == userMalformed {
			return validationError(fmt.Sprintf("Invalid tuple '%s'. Reason: the 'user' field is malformed", tupleText(t)))
		}
	}
	return nil
}

// checkDistinct refuses a write that names a tuple twice, or more than most.
func checkDistinct(deletes []*openfgav1.TupleKeyWithoutCondition, writes []*openfgav1.TupleKey, most int) error {
	type key struct{ object, relation, user string }
	named := make(map[key]struct{}, len(deletes)+len(writes))
	add := func(t tupleKey) error {
		k := key{t.GetObject(), t.GetRelation(), t.GetUser()}
		if _, twice := named[k]; twice {
			return duplicateTuple(k.user, k.relation, k.object)
		}
		named[k] = struct{}{}
		return nil
	}
	for _, t := range deletes {
		if err := add(t); err != nil {
			return err
		}
	}
	for _, t := range writes {
		if err := add(t); err != nil {
			return err
		}
	}
	if len(named) > most {
		return entityLimit("write operations", most)
	}
	return nil
}

// checkNames finds the names of a tuple or a question in the model. The fault is empty if
// there is none.
func checkNames(p *model.Plan, t tupleKey) (named, string) {
	kind, fault := userKind(p, t.GetUser())
	if fault != "" {
		return named{}, fault
	}
	typ, fault := objectType(p, t.GetObject())
	if fault != "" {
		return named{}, fault
	}
	r, fault := relationOf(typ, t.GetRelation())
	if fault != "" {
		return named{}, fault
	}
	return named{object: objectName(t.GetObject()), relation: r, subject: subjectName(t.GetUser()), kind: kind}, ""
}

// userKind finds out of what kind a user is.
func userKind(p *model.Plan, user string) (graph.SubjectKind, string) {
	switch formOf(user) {
	case userMalformed:
		return graph.SubjectKind{}, "the 'user' field is malformed"
	case userBare:
		return graph.SubjectKind{}, "the 'user' field must be an object (e.g. document:1) or an 'object#relation' or a typed wildcard (e.g. group:*)"
	}
	name := subjectName(user)
	t, ok := p.Type(name.Type)
	if !ok {
		return graph.SubjectKind{}, typeUnknown(name.Type)
	}
	if name.Relation == "" {
		return graph.SubjectKind{Type: t}, ""
	}
	r, ok := t.Relation(name.Relation)
	if !ok {
		return graph.SubjectKind{}, relationUnknown(t, name.Relation)
	}
	return graph.SubjectKind{Type: t, Relation: r}, ""
}

// objectType finds the type of an object.
func objectType(p *model.Plan, object string) (*model.Type, string) {
	if !isObject(object) {
		return nil, "invalid 'object' field format"
	}
	name := objectName(object)
	if name.ID == wildcard {
		return nil, "the 'object' field cannot reference a typed wildcard"
	}
	t, ok := p.Type(name.Type)
	if !ok {
		return nil, typeUnknown(name.Type)
	}
	return t, ""
}

// relationOf finds a relation of a type.
func relationOf(t *model.Type, name string) (*model.Relation, string) {
	if !isRelation(name) {
		return nil, "the 'relation' field is malformed"
	}
	r, ok := t.Relation(name)
	if !ok {
		return nil, relationUnknown(t, name)
	}
	return r, ""
}

func typeUnknown(name string) string { return "type '" + name + "' not found" }

func relationUnknown(t *model.Type, name string) string {
	return "relation '" + t.Name + "#" + name + "' not found"
}

// checkTuple looks for the fault that OpenFGA would report of a tuple that is written, or
// that a request brings along.
func checkTuple(p *model.Plan, t *openfgav1.TupleKey) (named, *tupleFault) {
	names, fault := checkNames(p, t)
	if fault != "" {
		return named{}, &tupleFault{tuple: t, reason: fault}
	}
	if !admits(names, func(*model.Restriction) bool { return true }) {
		return named{}, &tupleFault{tuple: t, reason: notAdmitted(names, t.GetUser())}
	}
	if fault := conditionFault(p, names, t.GetCondition()); fault != "" {
		return named{}, &tupleFault{tuple: t, reason: fault, conditional: true}
	}
	return names, nil
}

// admits reports whether a type restriction that also is as wanted takes subjects of
// this kind.
func admits(names named, wanted func(*model.Restriction) bool) bool {
	everyone := names.subject.IsWildcard()
	for i := range names.relation.Allowed {
		a := &names.relation.Allowed[i]
		if a.Type == names.kind.Type && a.Relation == names.kind.Relation && a.Wildcard == everyone && wanted(a) {
			return true
		}
	}
	return false
}

// notAdmitted says why no type restriction takes the subject.
func notAdmitted(names named, user string) string {
	r := names.relation
	everyone := names.subject.IsWildcard()
	if everyone || names.kind.Relation != nil {
		if followed(r) {
			if everyone {
				return fmt.Sprintf("unexpected wildcard relationship with tupleset relation '%s#%s'", r.Type.Name, r.Name)
			}
			return fmt.Sprintf("unexpected user '%s' with tupleset relation '%s#%s'", user, r.Type.Name, r.Name)
		}
	}
	switch {
	case names.kind.Relation != nil:
		return fmt.Sprintf("'%s#%s' is not an allowed type restriction for '%s#%s'", names.kind.Type.Name, names.kind.Relation.Name, r.Type.Name, r.Name)
	case everyone:
		return fmt.Sprintf("the typed wildcard '%s' is not an allowed type restriction for '%s#%s'", user, r.Type.Name, r.Name)
	}
	return fmt.Sprintf("type '%s' is not an allowed type restriction for '%s#%s'", names.kind.Type.Name, r.Type.Name, r.Name)
}

// followed reports whether some `x from r` follows the relation.
func followed(r *model.Relation) bool {
	var follows func(rewrite *model.Rewrite) bool
	follows = func(rewrite *model.Rewrite) bool {
		if rewrite.Tupleset == r {
			return true
		}
		for _, child := range rewrite.Children {
			if follows(child) {
				return true
			}
		}
		return false
	}
	for _, other := range r.Type.Relations {
		if follows(other.Rewrite) {
			return true
		}
	}
	return false
}

// conditionFault looks for faults in the condition of a tuple whose subject some type
// restriction takes.
func conditionFault(p *model.Plan, names named, given *openfgav1.RelationshipCondition) string {
	if given == nil {
		if !admits(names, func(a *model.Restriction) bool { return a.Condition == nil }) {
			return "condition is missing"
		}
		return ""
	}
	name := given.GetName()
	if hasControl(name) {
		return "condition name contains forbidden characters"
	}
	var found *condition.Condition
	admits(names, func(a *model.Restriction) bool {
		if a.Condition != nil && a.Condition.Name() == name {
			found = a.Condition
		}
		return found != nil
	})
	switch fields := given.GetContext().GetFields(); {
	case found == nil && name != inlineCondition && p.ConditionNamed(name) == nil:
		return "undefined condition"
	case found == nil:
		return "invalid condition for type restriction"
	case len(fields) > 0 && forbiddenFault(fields) != "":
		return forbiddenFault(fields)
	case name == inlineCondition:
		return inlineFault(fields)
	default:
		return contextFault(found, fields)
	}
}
