package rpc

import (
	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// A schemaValidator judges requests as protovalidate does, by the rules of their schema. That
// goes by reflection and takes a microsecond for each question, as long as answering it. So what
// a few comparisons show to be well is not looked at again: questions, deeds and tuples that
// are plain, which nearly all are. Whatever is not, faulty or only unusual, protovalidate
// judges, and says what is wrong with it. It is safe for concurrent use.
type schemaValidator struct{ protovalidate.Validator }

// Validate implements protovalidate.Validator. While it lasts, the parts of a message that are
// well may be missing from it.
func (v schemaValidator) Validate(m proto.Message, options ...protovalidate.ValidationOption) error {
	switch m := m.(type) {
	case *remitv1.CheckRequest:
		if plainScope(m.Scope) && plainQuestion(m.Question) {
			return nil
		}
	case *remitv1.CanRequest:
		if plainOrganisationScope(m.Scope) && plainDeed(m.Deed) {
			return nil
		}
	case *remitv1.BatchCheckRequest:
		return validateMany(v, m, &m.Questions, plainBatchQuestion, options)
	case *remitv1.CanBatchRequest:
		return validateMany(v, m, &m.Deeds, plainDeed, options)
	case *remitv1.WriteRequest:
		return validateMany(v, m, &m.Operations, plainOperation, options)
	case *remitv1.ImportRequest:
		return validateMany(v, m, &m.Tuples, plainTuple, options)
	}
	return v.Validator.Validate(m, options...)
}

// validateMany validates a message without those of its parts that are plain, if all are; the
// first stays, for there must be one. Of a message with too many parts all stay.
func validateMany[T any](v schemaValidator, m proto.Message, parts *[]T, plain func(T) bool, options []protovalidate.ValidationOption) error {
	all := *parts
	if len(all) > mostParts {
		return v.Validator.Validate(m, options...)
	}
	for _, part := range all {
		if !plain(part) {
			return v.Validator.Validate(m, options...)
		}
	}
	*parts = all[:min(1, len(all))]
	defer func() { *parts = all }()
	return v.Validator.Validate(m, options...)
}

// mostParts is how many questions, deeds, operations or tuples a message may hold.
var mostParts = int(rulesOf(&remitv1.BatchCheckRequest{}, "questions").GetRepeated().GetMaxItems())

// A length is how many bytes a string may have.
type length struct{ least, most int }

func (l length) holds(s string) bool { return len(s) >= l.least && len(s) <= l.most }

// The lengths are the schema's.
var (
	objectLength   = lengthOf(&remitv1.Question{}, "object")
	relationLength = lengthOf(&remitv1.Question{}, "relation")
	subjectLength  = lengthOf(&remitv1.Question{}, "subject")

	storeLength = lengthOf(&remitv1.Scope{}, "store")
	modelLength = lengthOf(&remitv1.Scope{}, "model_id")
	tokenLength = lengthOf(&remitv1.Consistency{}, "at_least_as_fresh")

	userLength   = lengthOf(&remitv1.Deed{}, "user")
	actionLength = lengthOf(&remitv1.Deed{}, "action")
	onLength     = lengthOf(&remitv1.Deed{}, "on")
	fieldLength  = lengthOf(&remitv1.Deed{}, "field")
)

// lengthOf is that of a field. A least number of characters is one of bytes, too.
func lengthOf(m proto.Message, field string) length {
	s := rulesOf(m, field).GetString()
	return length{int(max(s.GetMinBytes(), s.GetMinLen())), int(s.GetMaxBytes())}
}

func rulesOf(m proto.Message, field string) *validate.FieldRules {
	options := m.ProtoReflect().Descriptor().Fields().ByTextName(field).Options()
	return proto.GetExtension(options, validate.E_Field).(*validate.FieldRules)
}

func plainScope(s *remitv1.Scope) bool {
	return s != nil && storeLength.holds(s.Store) && modelLength.holds(s.ModelId) && plainConsistency(s.Consistency) && len(s.ContextualTuples) == 0
}

func plainOrganisationScope(s *remitv1.OrganisationScope) bool {
	return s != nil && storeLength.holds(s.Store) && userLength.most >= len(s.As) && plainConsistency(s.Consistency)
}

func plainConsistency(c *remitv1.Consistency) bool {
	if c == nil {
		return true
	}
	fresh, ok := c.Requirement.(*remitv1.Consistency_AtLeastAsFresh)
	return ok && fresh != nil && tokenLength.holds(fresh.AtLeastAsFresh)
}

func plainQuestion(q *remitv1.Question) bool {
	return q != nil && objectLength.holds(q.Object) && relationLength.holds(q.Relation) && subjectLength.holds(q.Subject)
}

func plainBatchQuestion(q *remitv1.BatchQuestion) bool {
	return q != nil && plainQuestion(q.Question) && len(q.ContextualTuples) == 0
}

func plainDeed(d *remitv1.Deed) bool {
	return d != nil && userLength.holds(d.User) && actionLength.holds(d.Action) && onLength.holds(d.On) && fieldLength.holds(d.Field)
}

func plainOperation(o *remitv1.Operation) bool {
	switch o.GetKind() {
	case remitv1.Operation_KIND_CREATE, remitv1.Operation_KIND_TOUCH, remitv1.Operation_KIND_DELETE:
		return plainTuple(o.Tuple)
	}
	return false
}

func plainTuple(t *remitv1.Tuple) bool {
	return t != nil && objectLength.holds(t.Object) && relationLength.holds(t.Relation) && subjectLength.holds(t.Subject) && t.Condition == nil
}
