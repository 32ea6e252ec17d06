package rpc

import (
	"context"
	"errors"
	"fmt"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/condition"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// tupleService answers remit.v1.TupleService; reading stands in read.go, deleting by a
// filter in deletetuples.go.
type tupleService struct {
	streamer
	writer *backend.Writer
}

// Write applies all operations, or none.
func (s *tupleService) Write(ctx context.Context, req *remitv1.WriteRequest) (*remitv1.WriteResponse, error) {
	c, err := readChange(req)
	if err != nil {
		return nil, err
	}
	var unplanned error
	result, err := s.writer.Do(ctx, func(root *fsm.Root) (command *fsm.Command, err error) {
		command, err = c.plan(ctx, s.reader, root)
		unplanned = err
		return command, err
	})
	if unplanned != nil && !c.store.IsZero() {
		first, found, err := s.writer.Replayed(ctx, c.store, req.IdempotencyKey, c.hash())
		if err != nil {
			return nil, err
		}
		if found {
			return &remitv1.WriteResponse{Token: s.reader.Token(first.Revision)}, nil
		}
	}
	if err != nil {
		return nil, c.explain(err)
	}
	return &remitv1.WriteResponse{Token: s.reader.Token(result.Revision)}, nil
}

// A change is a write as the client asked for it, by name.
type change struct {
	request       *remitv1.WriteRequest
	operations    []graph.Tuple
	preconditions []graph.Tuple

	store fsm.StoreID // once it has been found
}

// A tupleKey is what makes a tuple itself: two tuples with one key are the same.
type tupleKey struct {
	object   graph.ObjectName
	relation string
	subject  graph.SubjectName
}

func (k tupleKey) String() string {
	return graph.Tuple{Object: k.object, Relation: k.relation, Subject: k.subject}.String()
}

func keyOf(t graph.Tuple) tupleKey { return tupleKey{t.Object, t.Relation, t.Subject} }

// readChange checks what does not depend on the state.
func readChange(req *remitv1.WriteRequest) (*change, error) {
	c := &change{
		request:       req,
		operations:    make([]graph.Tuple, len(req.Operations)),
		preconditions: make([]graph.Tuple, len(req.Preconditions)),
	}
	first := make(map[tupleKey]int, len(req.Operations))
	var err error
	for i, op := range req.Operations {
		path := operationPath(i)
		if c.operations[i], err = tupleOf(path, op.Tuple); err != nil {
			return nil, err
		}
		key := keyOf(c.operations[i])
		if j, ok := first[key]; ok {
			return nil, at(path, fmt.Errorf("%w: %s stands in operations[%d] and operations[%d]; name each tuple once",
				ErrDuplicateOperation, key, j, i))
		}
		first[key] = i
	}
	for i, p := range req.Preconditions {
		if c.preconditions[i], err = tupleOf(preconditionPath(i), p.Tuple); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func operationPath(i int) string    { return indexed("operations", i) + ".tuple" }
func preconditionPath(i int) string { return indexed("preconditions", i) + ".tuple" }

// plan makes the command that writes the change at a state.
func (c *change) plan(ctx context.Context, r *reader, root *fsm.Root) (*fsm.Command, error) {
	store, err := backend.FindStore(ctx, root, "store", c.request.Store)
	if err != nil {
		return nil, err
	}
	if err := backend.Unmanaged("store", store); err != nil {
		return nil, err
	}
	c.store = store.ID()
	command := &fsm.Command{
		Store: c.store, Key: c.request.IdempotencyKey, Hash: c.hash(),
		Reason: c.request.Reason,
	}
	s := backend.HeadOf(store)
	var plan *backend.Plan
	write := &fsm.Write{Operations: make([]fsm.Operation, len(c.operations))}
	for i, tuple := range c.operations {
		// Tuples that bring expressions take a while to check.
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if kind := c.request.Operations[i].Kind; kind == remitv1.Operation_KIND_DELETE {
			write.Operations[i].Kind = fsm.DeleteTuple
			write.Operations[i].Tuple, err = storedKey(s.Symbols, operationPath(i), tuple)
		} else {
			if plan == nil {
				if plan, err = r.Plan(&s, "model_id", c.request.ModelId); err != nil {
					return nil, err
				}
			}
			write.Operations[i], err = putOperation(plan.Plan, operationPath(i), kind, tuple)
		}
		if err != nil {
			return nil, err
		}
	}
	for i, tuple := range c.preconditions {
		p := fsm.Precondition{Kind: fsm.TuplePresent}
		if c.request.Preconditions[i].Kind == remitv1.Precondition_KIND_TUPLE_ABSENT {
			p.Kind = fsm.TupleAbsent
		}
		if p.Tuple, err = storedKey(s.Symbols, preconditionPath(i), tuple); err != nil {
			return nil, err
		}
		command.Preconditions = append(command.Preconditions, p)
	}
	if plan != nil && c.request.ModelId == "" {
		command.Requires = []fsm.ScopeVersion{{Scope: backend.ModelScope, Version: store.ScopeVersion(backend.ModelScope)}}
	}
	command.Body = write
	return command, nil
}

// putOperation makes the operation that creates or replaces a tuple, if the model
// allows it.
func putOperation(p *model.Plan, path string, kind remitv1.Operation_Kind, t graph.Tuple) (fsm.Operation, error) {
	resolved, err := graph.CheckTuple(p, t)
	if err != nil {
		return fsm.Operation{}, tupleFault(path, err)
	}
	op := fsm.Operation{
		Kind: fsm.TouchTuple,
		Tuple: fsm.TupleKey{
			Object:          fsm.Entity{Type: resolved.Object, Name: t.Object.ID},
			Relation:        resolved.Relation.ID,
			Subject:         fsm.Entity{Type: resolved.Subject, Name: t.Subject.ID},
			SubjectRelation: resolved.SubjectRelation,
		},
		Condition: resolved.Condition,
	}
	if kind == remitv1.Operation_KIND_CREATE {
		op.Kind = fsm.CreateTuple
	}
	if !t.Expires.IsZero() {
		op.Expires = t.Expires.UnixMilli()
	}
	if len(t.Context) > 0 {
		stored, err := condition.NewContext(t.Context)
		if err != nil {
			return fsm.Operation{}, at(path+".condition.context", err)
		}
		op.Context = stored.Encoded()
	}
	return op, nil
}

// storedKey finds a tuple by the names that any version of the store's model had: what
// an older version allowed can be deleted and asked for.
func storedKey(symbols *model.Table, path string, t graph.Tuple) (fsm.TupleKey, error) {
	var key fsm.TupleKey
	objectType, err := backend.StoredType(symbols, t.Object.Type)
	if err != nil {
		return key, at(path+".object", err)
	}
	relation, err := backend.StoredRelation(symbols, objectType, t.Object.Type, t.Relation)
	if err != nil {
		return key, at(path+".relation", err)
	}
	subjectType, err := backend.StoredType(symbols, t.Subject.Type)
	if err != nil {
		return key, at(path+".subject", err)
	}
	key = fsm.TupleKey{
		Object: fsm.Entity{Type: objectType, Name: t.Object.ID}, Relation: relation,
		Subject: fsm.Entity{Type: subjectType, Name: t.Subject.ID},
	}
	if t.Subject.Relation != "" {
		if key.SubjectRelation, err = backend.StoredRelation(symbols, subjectType, t.Subject.Type, t.Subject.Relation); err != nil {
			return key, at(path+".subject", err)
		}
	}
	return key, nil
}

// explain says, in the client's terms, what the state machine refused.
func (c *change) explain(err error) error {
	if errors.Is(err, fsm.ErrTooLarge) {
		return at("operations", fmt.Errorf("%w; divide the write into smaller ones", err))
	}
	var refusal *fsm.Refusal
	if !errors.As(err, &refusal) || refusal.Index < 0 {
		return err
	}
	i := refusal.Index
	switch {
	case errors.Is(err, fsm.ErrPrecondition) && i < len(c.preconditions):
		want := "must exist and does not"
		if c.request.Preconditions[i].Kind == remitv1.Precondition_KIND_TUPLE_ABSENT {
			want = "must not exist and does"
		}
		return at(indexed("preconditions", i), fmt.Errorf("%w: %s %s", fsm.ErrPrecondition, keyOf(c.preconditions[i]), want))
	case errors.Is(err, fsm.ErrTupleExists) && i < len(c.operations):
		return at(indexed("operations", i), fmt.Errorf("%w: %s; touch it instead if that is meant", fsm.ErrTupleExists, keyOf(c.operations[i])))
	case i < len(c.operations):
		return at(indexed("operations", i), err)
	}
	return err
}

// hash digests the change for the comparison of retries.
func (c *change) hash() [32]byte {
	h := backend.NewContentHash("write")
	h.String(c.request.ModelId)
	for i, t := range c.operations {
		h.Int(int64(c.request.Operations[i].Kind))
		h.Tuple(t)
	}
	for i, t := range c.preconditions {
		h.Int(-int64(c.request.Preconditions[i].Kind))
		h.Tuple(t)
	}
	return h.Done()
}
