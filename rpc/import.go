package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/oklog/ulid/v2"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/condition"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
	"github.com/remit-authz/remit/rpc/limit"
)

// An importStream receives the requests of an Import.
type importStream interface {
	Receive() (*remitv1.ImportRequest, error)
}

// An importer is one Import under way. It holds two messages at most: while one is being
// written the next is received.
type importer struct {
	service *transferService
	store   string      // as the first message names it
	found   fsm.StoreID // which that was; the writer's alone
	place   int         // of the message's first tuple in the import
	done    remitv1.ImportResponse
	pending chan error // of the message that is being written; nil: none

	key      string // of the transactions, before their number
	proposed int    // transactions; the writer's alone
}

// Import writes what it receives.
func (s *transferService) Import(ctx context.Context, stream remitv1connect.TransferServiceImportServerStream) (*remitv1.ImportResponse, error) {
	return s.importTuples(ctx, stream)
}

func (s *transferService) importTuples(ctx context.Context, stream importStream) (*remitv1.ImportResponse, error) {
	m := &importer{service: s, key: "import/" + ulid.Make().String() + "/"}
	// What is there already is not written again: so this node must not take for there what
	// has been deleted on another one.
	err := s.reader.CatchUp(ctx)
	if err == nil {
		err = m.run(ctx, stream)
	}
	// What has been begun is waited for, whatever else has failed since.
	if written := m.wait(); written != nil {
		err = written
	}
	if err != nil {
		return nil, err
	}
	if m.done.Token == "" {
		m.done.Token = s.reader.Token(s.reader.Config.State.Current().Revision())
	}
	return &m.done, nil
}

func (m *importer) run(ctx context.Context, stream importStream) error {
	for {
		req, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			if m.store == "" {
				return at("store", fmt.Errorf("%w: the first message must name the store", backend.ErrRequest))
			}
			return nil
		}
		if err != nil {
			return err
		}
		first := m.store == ""
		tuples, err := m.read(req)
		if err == nil && first {
			// A store that takes no tuples says so before more of them are sent.
			_, err = m.find(ctx, m.service.reader.Config.State.Current())
		}
		if err != nil {
			return err
		}
		// What is there already can be told only when what came before has been written.
		if err := m.wait(); err != nil {
			return err
		}
		place := m.place
		m.place += len(tuples)
		pending := make(chan error, 1)
		m.pending = pending
		go func() {
			defer func() {
				if r := recover(); r != nil {
					pending <- fmt.Errorf("panic: %v", r)
				}
			}()
			pending <- m.write(ctx, req, tuples, place)
		}()
	}
}

// wait waits for the message that is being written.
func (m *importer) wait() error {
	if m.pending == nil {
		return nil
	}
	err := <-m.pending
	m.pending = nil
	return err
}

// read checks what does not depend on the state.
func (m *importer) read(req *remitv1.ImportRequest) ([]graph.Tuple, error) {
	switch {
	case m.store == "" && req.Store == "":
		return nil, at("store", fmt.Errorf("%w: the first message must name the store", backend.ErrRequest))
	case m.store == "":
		m.store = req.Store
	case req.Store != "" && req.Store != m.store:
		return nil, at("store", fmt.Errorf("%w: an import has one store, and this one began with %q", backend.ErrRequest, m.store))
	}
	var f faults
	tuples := make([]graph.Tuple, len(req.Tuples))
	first := make(map[tupleKey]int, len(req.Tuples))
	for i, message := range req.Tuples {
		path := indexed("tuples", m.place+i)
		tuple, err := tupleOf(path, message)
		if err == nil {
			key := keyOf(tuple)
			if j, ok := first[key]; ok {
				err = at(path, fmt.Errorf("%w: %s is tuples[%d] too; name each tuple once", ErrDuplicateOperation, key, m.place+j))
			}
			first[key] = i
		}
		f.add(err)
		tuples[i] = tuple
	}
	return tuples, f.err()
}

// write writes the tuples of a message.
func (m *importer) write(ctx context.Context, req *remitv1.ImportRequest, tuples []graph.Tuple, place int) error {
	if len(tuples) == 0 {
		// There must be the store nevertheless, and the caller must be one who may write to it.
		_, err := m.find(ctx, m.service.reader.Config.State.Current())
		return err
	}
	for len(tuples) > 0 {
		// A message may hold more than a command does. Names and contexts are most of both.
		n, size := 0, 0
		for n < len(tuples) && (n == 0 || size+tupleSize(req.Tuples[n]) <= maxImportBytes) {
			size += tupleSize(req.Tuples[n])
			n++
		}
		if err := m.writeSome(ctx, req, tuples[:n], place); err != nil {
			return err
		}
		req.Tuples, tuples, place = req.Tuples[n:], tuples[n:], place+n
	}
	return nil
}

// find finds the store. Once it has been found it stays the same: its name may be another
// store's before an import has ended.
func (m *importer) find(ctx context.Context, root *fsm.Root) (*fsm.Store, error) {
	if m.found.IsZero() {
		store, err := backend.FindStore(ctx, root, "store", m.store)
		if err == nil {
			err = backend.Unmanaged("store", store)
		}
		if err == nil {
			m.found = store.ID()
		}
		return store, err
	}
	store, err := backend.OpenStore(ctx, root, m.found)
	if errors.Is(err, backend.ErrStoreNotFound) {
		return nil, at("store", fmt.Errorf("%w: the store %s, to which the import began, has been deleted meanwhile", backend.ErrStoreNotFound, m.found))
	}
	return store, err
}

// maxImportBytes keeps a command below MaxCommandBytes, with room for its encoding.
const maxImportBytes = MaxCommandBytes * 3 / 4

func (m *importer) writeSome(ctx context.Context, req *remitv1.ImportRequest, tuples []graph.Tuple, place int) error {
	defer limit.Leave(ctx) // until there is something to plan again
	written := 0
	// So that it can be proposed again if its outcome is unknown.
	m.proposed++
	key := m.key + strconv.Itoa(m.proposed)
	var planned *fsm.Root
	result, err := m.service.writer.Do(ctx, func(root *fsm.Root) (*fsm.Command, error) {
		planned = root
		operations, scope, err := m.plan(ctx, root, tuples, place)
		if err != nil {
			return nil, err
		}
		written = len(operations)
		if written == 0 {
			return nil, nil
		}
		return &fsm.Command{
			Store: scope.store, Key: key, Reason: req.Reason,
			Requires: []fsm.ScopeVersion{scope.model}, Body: &fsm.Write{Operations: operations},
		}, nil
	})
	if err != nil {
		return err
	}
	revision := planned.Revision()
	if result != nil {
		revision = result.Revision
	}
	m.done.Written += uint64(written)
	m.done.Unchanged += uint64(len(tuples) - written)
	m.done.Token = m.service.reader.Token(revision)
	// What comes next is planned by what this has changed.
	return m.service.reader.WaitFor(ctx, revision)
}

// An importScope is what the operations of an import rest on.
type importScope struct {
	store fsm.StoreID
	model fsm.ScopeVersion
}

// plan makes the operations that write the tuples which are not there as they are.
func (m *importer) plan(ctx context.Context, root *fsm.Root, tuples []graph.Tuple, place int) ([]fsm.Operation, importScope, error) {
	store, err := m.find(ctx, root)
	if err != nil {
		return nil, importScope{}, err
	}
	scope := importScope{store.ID(), fsm.ScopeVersion{Scope: backend.ModelScope, Version: store.ScopeVersion(backend.ModelScope)}}
	head := backend.HeadOf(store)
	plan, err := m.service.reader.Plan(&head, "store", "")
	if err != nil {
		return nil, scope, err
	}
	var f faults
	operations := make([]fsm.Operation, 0, len(tuples))
	for i, tuple := range tuples {
		op, err := putOperation(plan.Plan, indexed("tuples", place+i), remitv1.Operation_KIND_TOUCH, tuple)
		f.add(err)
		if err != nil {
			continue
		}
		same, err := isThere(store, &op)
		if err != nil {
			return nil, scope, err
		}
		if !same {
			operations = append(operations, op)
		}
	}
	return operations, scope, f.err()
}

// isThere reports whether a store has a tuple just as an operation would put it.
func isThere(store *fsm.Store, op *fsm.Operation) (bool, error) {
	object, ok, err := store.Lookup(op.Tuple.Object.Type, op.Tuple.Object.Name)
	if err != nil || !ok {
		return false, err
	}
	subject, ok, err := store.Lookup(op.Tuple.Subject.Type, op.Tuple.Subject.Name)
	if err != nil || !ok {
		return false, err
	}
	edge, ok, err := store.Contains(
		graph.Userset{Object: object, Relation: op.Tuple.Relation},
		graph.Subject{ID: subject, Relation: op.Tuple.SubjectRelation},
	)
	if err != nil || !ok {
		return false, err
	}
	return edge.Condition == op.Condition && edge.Expires == op.Expires && bytes.Equal(encoded(edge.Context), op.Context), nil
}

func encoded(c *condition.Context) []byte {
	if c == nil {
		return nil
	}
	return c.Encoded()
}

// faults gathers what is wrong with the tuples of a message, so that a file is not mended
// one error at a time.
type faults struct {
	first error
	texts []string
	more  int
}

// maxFaults is how many faults an error tells.
const maxFaults = 5

func (f *faults) add(err error) {
	switch {
	case err == nil:
	case f.first == nil:
		f.first = err
	case len(f.texts) < maxFaults-1:
		f.texts = append(f.texts, err.Error())
	default:
		f.more++
	}
}

// err is the first fault, with the texts of the others.
func (f *faults) err() error {
	if f.first == nil || len(f.texts) == 0 {
		return f.first
	}
	others := strings.Join(f.texts, "; ")
	if f.more > 0 {
		others += fmt.Sprintf("; and %d more", f.more)
	}
	return fmt.Errorf("%w; %s", f.first, others)
}
