package openfga

import (
	"context"
	"errors"
	"fmt"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/grpc/codes"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/condition"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/rpc/backend"
)

// Write deletes and writes tuples: all of them, or none.
func (s *service) Write(ctx context.Context, req *openfgav1.WriteRequest) (*openfgav1.WriteResponse, error) {
	var c *change
	_, err := s.commit(ctx, func(root *fsm.Root, fresh bool) (*fsm.Command, error) {
		head, plan, err := s.planIn(root, req.GetStoreId(), req.GetAuthorizationModelId())
		if err != nil {
			return nil, err
		}
		if err := backend.Unmanaged("store_id", head); err != nil {
			return nil, err
		}
		respondModel(ctx, plan.ID())
		c = &change{request: req, limits: s.config, head: head, plan: plan.Plan, now: s.reader.Now().UnixMilli(), fresh: fresh}
		return c.command()
	})
	if err != nil {
		return nil, c.explain(err)
	}
	return &openfgav1.WriteResponse{}, nil
}

// A change is a Write as it is planned at one state.
type change struct {
	request *openfgav1.WriteRequest
	limits  *Config
	head    *fsm.Store
	plan    *model.Plan
	now     int64 // in milliseconds since 1970 UTC
	fresh   bool

	operations []fsm.Operation
	keys       []tupleKey // what each operation is about
}

// command checks the change in OpenFGA's order, and makes its command.
func (c *change) command() (*fsm.Command, error) {
	writes, deletes := c.request.GetWrites(), c.request.GetDeletes()
	if len(writes.GetTupleKeys()) == 0 && len(deletes.GetTupleKeys()) == 0 {
		return nil, errInvalidWriteInput
	}
	if err := checkWrites(c.plan, writes.GetTupleKeys(), c.limits.MaxStoredContextBytes); err != nil {
		return nil, err
	}
	if err := checkDeletes(deletes.GetTupleKeys()); err != nil {
		return nil, err
	}
	if err := checkDistinct(deletes.GetTupleKeys(), writes.GetTupleKeys(), c.limits.MaxTuplesPerWrite); err != nil {
		return nil, err
	}
	create, remove := fsm.CreateTuple, fsm.RemoveTuple
	switch on := writes.GetOnDuplicate(); on {
	case "", "error":
	case "ignore":
		create = fsm.EnsureTuple
	default:
		return nil, validationError("invalid on_duplicate option: " + on)
	}
	switch on := deletes.GetOnMissing(); on {
	case "", "error":
	case "ignore":
		remove = fsm.DeleteTuple
	default:
		return nil, validationError("invalid on_missing option: " + on)
	}
	for _, key := range deletes.GetTupleKeys() {
		if err := c.delete(key, remove); err != nil {
			return nil, err
		}
	}
	for _, key := range writes.GetTupleKeys() {
		if err := c.write(key, create); err != nil {
			return nil, err
		}
	}
	command := &fsm.Command{Store: c.head.ID(), Body: &fsm.Write{Operations: c.operations}}
	if len(writes.GetTupleKeys()) > 0 && c.request.GetAuthorizationModelId() == "" {
		command.Requires = []fsm.ScopeVersion{{Scope: backend.ModelScope, Version: c.head.ScopeVersion(backend.ModelScope)}}
	}
	return command, nil
}

// delete adds the operation that deletes a tuple, which may be one of an older model.
// One whose names no model of the store ever had is not there.
func (c *change) delete(key *openfgav1.TupleKeyWithoutCondition, kind fsm.OperationKind) error {
	stored, ok := c.storedKey(key)
	switch {
	case ok:
		c.add(key, fsm.Operation{Kind: kind, Tuple: stored})
		return nil
	case kind == fsm.RemoveTuple:
		return c.firstMissing(key)
	case c.fresh:
		return nil
	}
	return errStale
}

func (c *change) add(key tupleKey, op fsm.Operation) {
	c.keys = append(c.keys, key)
	c.operations = append(c.operations, op)
}

// storedKey finds the names of a tuple among those that any model of the store ever had.
// It is false if there can be no such tuple.
func (c *change) storedKey(t tupleKey) (fsm.TupleKey, bool) {
	object, subject := objectName(t.GetObject()), subjectName(t.GetUser())
	named := graph.Tuple{Object: object, Relation: t.GetRelation(), Subject: subject}
	if named.Validate() != nil {
		return fsm.TupleKey{}, false
	}
	symbols := c.head.Symbols()
	key := fsm.TupleKey{Object: fsm.Entity{Name: object.ID}, Subject: fsm.Entity{Name: subject.ID}}
	var ok bool
	if key.Object.Type, ok = symbols.TypeID(object.Type); !ok {
		return key, false
	}
	if key.Relation, ok = symbols.RelationID(key.Object.Type, t.GetRelation()); !ok {
		return key, false
	}
	if key.Subject.Type, ok = symbols.TypeID(subject.Type); !ok {
		return key, false
	}
	if subject.Relation != "" {
		key.SubjectRelation, ok = symbols.RelationID(key.Subject.Type, subject.Relation)
	}
	return key, ok
}

// firstMissing says which of the tuples to delete, up to one that cannot be there, is
// the first that is not.
func (c *change) firstMissing(last tupleKey) error {
	for i, op := range c.operations {
		there, err := c.there(op.Tuple)
		if err != nil {
			return err
		}
		if !there {
			return missingTuple(c.keys[i])
		}
	}
	return missingTuple(last)
}

// there reports whether a tuple is there, and counts.
func (c *change) there(key fsm.TupleKey) (bool, error) {
	object, ok, err := c.head.Lookup(key.Object.Type, key.Object.Name)
	if err != nil || !ok {
		return false, err
	}
	subject, ok, err := c.head.Lookup(key.Subject.Type, key.Subject.Name)
	if err != nil || !ok {
		return false, err
	}
	edge, ok, err := c.head.Contains(graph.Userset{Object: object, Relation: key.Relation}, graph.Subject{ID: subject, Relation: key.SubjectRelation})
	return ok && !edge.ExpiredAt(c.now), err
}

// write adds the operation that makes a tuple, which was checked.
func (c *change) write(key *openfgav1.TupleKey, kind fsm.OperationKind) error {
	names, fault := checkNames(c.plan, key)
	if fault != "" {
		return errInternal // it was checked
	}
	if err := (graph.Tuple{Object: names.object, Relation: key.GetRelation(), Subject: names.subject}).Validate(); err != nil {
		return validationError((&tupleFault{tuple: key, reason: err.Error()}).Error()) // a rule that OpenFGA does not have
	}
	op := fsm.Operation{Kind: kind, Tuple: fsm.TupleKey{
		Object:   fsm.Entity{Type: names.relation.Type.ID, Name: names.object.ID},
		Relation: names.relation.ID,
		Subject:  fsm.Entity{Type: names.kind.Type.ID, Name: names.subject.ID},
	}}
	if names.kind.Relation != nil {
		op.Tuple.SubjectRelation = names.kind.Relation.ID
	}
	if given := key.GetCondition(); given != nil {
		admits(names, func(a *model.Restriction) bool {
			if a.Condition == nil || a.Condition.Name() != given.GetName() {
				return false
			}
			op.Condition = a.ConditionID
			return true
		})
		fields, err := valuesOf(given.GetContext())
		if err != nil {
			return err
		}
		stored, err := condition.NewContext(fields)
		if err != nil {
			return validationError((&tupleFault{tuple: key, reason: err.Error()}).Error())
		}
		op.Context = stored.Encoded()
	}
	c.add(key, op)
	return nil
}

// explain says in OpenFGA's words what the state machine refused.
func (c *change) explain(err error) error {
	var refusal *fsm.Refusal
	if !errors.As(err, &refusal) || refusal.Index < 0 || refusal.Index >= len(c.keys) {
		return err
	}
	key := c.keys[refusal.Index]
	switch {
	case errors.Is(err, fsm.ErrTupleExists):
		return writeFailed("cannot write a tuple which already exists: " + namesText(key) + ": " + writeFailedText)
	case errors.Is(err, fsm.ErrTupleNotFound):
		return missingTuple(key)
	case errors.Is(err, fsm.ErrTupleDiffers):
		return newError(codes.Aborted, conflictText+": attempted to write a tuple which already exists with a different condition: "+namesText(key))
	}
	return err
}

// writeFailedText ends what OpenFGA says of a write that the stored tuples do not allow.
const writeFailedText = "tuple to be written already existed or the tuple to be deleted did not exist"

func missingTuple(key tupleKey) error {
	return writeFailed("cannot delete a tuple which does not exist: " + namesText(key) + ": " + writeFailedText)
}

func namesText(t tupleKey) string {
	return fmt.Sprintf("user: '%s', relation: '%s', object: '%s'", t.GetUser(), t.GetRelation(), t.GetObject())
}
