package fsm

import (
	"fmt"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// Limits of one command. They are part of what Apply does, so they are the same on
// every node and change only with the cluster version.
const (
	// MaxOperations is how many operations one write may have; preconditions and
	// scopes are bounded by the same number.
	MaxOperations = 10_000
	// MaxCommandSize bounds an encoded command.
	MaxCommandSize = 4 << 20
	// MaxNameSize bounds an entity's name, which stands in keys: OpenFGA's names have up
	// to 256 characters of four bytes.
	MaxNameSize = 1024
	// MaxTextSize bounds principals, idempotency keys, request ids, actors, reasons,
	// and the names of stores and scopes.
	MaxTextSize = 1024
	// MaxSymbolSize bounds the names of types, relations and conditions.
	// They have up to 254 characters.
	MaxSymbolSize = 1024
	// MaxAssertionsSize bounds the assertions of one model: they are kept in memory.
	MaxAssertionsSize = 1 << 20
)

// A Command is one atomic change of one store, or of the group.
type Command struct {
	// Store is the store that changes; zero for what concerns the group.
	Store StoreID

	// Principal and Key make a retry safe: for 24 hours of leader time the same key
	// with the same content gives the first answer. An empty Key is no such promise.
	Principal, Key string

	// Hash identifies the content for the comparison of retries. Encode computes it if
	// it is zero, over everything but generated ids, request id, actor and reason. A
	// caller whose retry may resolve or plan differently sets it to a hash of the
	// request as the client sent it.
	Hash [32]byte

	// RequestID, Actor and Reason go to the changelog.
	RequestID, Actor, Reason string

	Preconditions []Precondition
	Requires      []ScopeVersion // scopes that must be at a version
	Bumps         []string       // scopes whose version grows by one

	// Planned says that the planner of a managed store made the Write or the WriteModel. A
	// managed store takes no other, and a store that is not managed takes none of these:
	// ErrManaged.
	Planned bool

	Body Body
}

// A Body is what a command does: CreateStore, DeleteStore, WriteModel, WriteAssertions,
// Write, AdvanceExpiry, AdvanceHistory, SetRetention, Erase, SetClusterVersion, SetEpoch
// or HashCheck.
type Body interface{ kind() bodyKind }

type bodyKind byte

// The kinds of commands, as they stand in encoded commands; never renumbered.
const (
	kindCreateStore       bodyKind = 1
	kindDeleteStore       bodyKind = 2
	kindWriteModel        bodyKind = 3
	kindWrite             bodyKind = 4
	kindAdvanceExpiry     bodyKind = 5
	kindAdvanceHistory    bodyKind = 6
	kindSetClusterVersion bodyKind = 7
	kindSetEpoch          bodyKind = 8
	kindHashCheck         bodyKind = 9
	kindWriteAssertions   bodyKind = 10
	kindSetRetention      bodyKind = 11
	kindErase             bodyKind = 12
	kindEnd               bodyKind = 13
)

// CreateStore makes the command's store. The proposer generates the id; a name need
// not be unique.
type CreateStore struct {
	Name string

	// Managed keeps the store's tuples, documents and models for a planner, as long as the
	// store exists: whoever writes them must say that it is Planned.
	Managed bool
}

// DeleteStore removes the command's store with all its rows, its history included.
type DeleteStore struct{}

// WriteModel adds a version of the store's model, which becomes the newest. The state
// machine keeps the source as it is and gives ids to the names declared.
type WriteModel struct {
	ID           ModelID
	Source       []byte
	Declarations model.Declarations
}

// WriteAssertions replaces the assertions of one of the store's models, which the state
// machine keeps as they are, without a past. Empty content removes them; that there are
// none is as good.
type WriteAssertions struct {
	Model   ModelID
	Content []byte
}

// Write applies operations in their order.
type Write struct{ Operations []Operation }

// AdvanceExpiry removes the store's tuples that expired at or before Horizon, in
// milliseconds since 1970 UTC, and moves its expiry horizon. It stops after a bounded
// number of rows; Result.Remaining then says that the same command has more to do. A
// horizon before the store's own changes nothing.
type AdvanceExpiry struct{ Horizon int64 }

// AdvanceHistory gives up the store's revisions before Horizon, unless it keeps its past
// for ever. Their rows go in steps, a bounded number with the command itself;
// Result.Remaining says that there are more, which the same command, or one with an
// earlier horizon, carries on with.
type AdvanceHistory struct{ Horizon graph.Revision }

// ClusterVersion is the newest behaviour of Apply that this program knows. A release
// that changes what a command does, or its limits, raises it and keeps the old behaviour
// for clusters of a lower version, so that nodes of both releases agree.
const ClusterVersion = 2

// ManagedVersion is the cluster version from which on there are managed stores.
const ManagedVersion = 2

// SetClusterVersion raises the version that gates new behaviour of Apply, once every node
// knows it. It cannot be lowered.
type SetClusterVersion struct{ Version uint64 }

// SetEpoch gives the group its identity, if it still has the epoch From (0 at first).
type SetEpoch struct{ From, To uint64 }

// HashCheck states the hash that the proposer had at a revision. A node that remembers
// another hash has diverged and stops.
type HashCheck struct {
	Index graph.Revision
	Hash  [16]byte
}

func (*CreateStore) kind() bodyKind       { return kindCreateStore }
func (*DeleteStore) kind() bodyKind       { return kindDeleteStore }
func (*WriteModel) kind() bodyKind        { return kindWriteModel }
func (*WriteAssertions) kind() bodyKind   { return kindWriteAssertions }
func (*Write) kind() bodyKind             { return kindWrite }
func (*AdvanceExpiry) kind() bodyKind     { return kindAdvanceExpiry }
func (*AdvanceHistory) kind() bodyKind    { return kindAdvanceHistory }
func (*SetRetention) kind() bodyKind      { return kindSetRetention }
func (*SetClusterVersion) kind() bodyKind { return kindSetClusterVersion }
func (*SetEpoch) kind() bodyKind          { return kindSetEpoch }
func (*HashCheck) kind() bodyKind         { return kindHashCheck }

// An Entity is an entity by name. The name "*" is every entity of the type.
type Entity struct {
	Type model.TypeID
	Name string
}

// A TupleKey identifies a tuple: its ends by name, everything else by id.
type TupleKey struct {
	Object          Entity
	Relation        model.RelationID
	Subject         Entity
	SubjectRelation model.RelationID // 0: the subject is an entity or a wildcard
}

// An OperationKind is what an operation does.
type OperationKind byte

// The kinds of operations, as they stand in encoded commands.
const (
	CreateTuple    OperationKind = 1 // the tuple must not exist
	TouchTuple     OperationKind = 2 // the tuple is made or replaced
	DeleteTuple    OperationKind = 3 // the tuple is removed; absent is as good
	PutDocument    OperationKind = 4 // the document is made or replaced
	DeleteDocument OperationKind = 5 // the document is removed; absent is as good
	EnsureTuple    OperationKind = 6 // the tuple is made; an equal one is as good and stays as it is
	RemoveTuple    OperationKind = 7 // the tuple must exist, and is removed
)

// onTuple reports whether the operation is on a tuple.
func (k OperationKind) onTuple() bool {
	switch k {
	case CreateTuple, TouchTuple, EnsureTuple, DeleteTuple, RemoveTuple:
		return true
	}
	return false
}

// An Operation is one step of a Write.
type Operation struct {
	Kind OperationKind

	Tuple     TupleKey          // of tuples
	Condition model.ConditionID // 0: none
	Context   []byte            // what condition.Context.Encoded gives; empty: none
	Expires   int64             // milliseconds since 1970 UTC; 0: never

	Entity Entity // of documents
	Fields []byte // what value.Encode gives
}

// A PreconditionKind is what a precondition compares.
type PreconditionKind byte

// The kinds of preconditions, as they stand in encoded commands.
const (
	TuplePresent    PreconditionKind = 1 // and not expired
	TupleAbsent     PreconditionKind = 2 // or expired
	DocumentVersion PreconditionKind = 3 // exactly Version; 0 is absent
	TupleRevision   PreconditionKind = 4 // written by revision Version and not since, be it expired; 0 is absent
)

// A Precondition must hold, or the command is refused.
type Precondition struct {
	Kind    PreconditionKind
	Tuple   TupleKey
	Entity  Entity
	Version uint64
}

// A ScopeVersion requires a scope to be at a version; a scope begins at 0.
type ScopeVersion struct {
	Scope   string
	Version uint64
}

// validate checks what does not depend on the state.
func (c *Command) validate() error {
	for _, s := range []string{c.Principal, c.Key, c.RequestID, c.Actor, c.Reason} {
		if len(s) > MaxTextSize {
			return fmt.Errorf("%w: a text of %d bytes exceeds %d", ErrInvalid, len(s), MaxTextSize)
		}
	}
	if len(c.Preconditions) > MaxOperations || len(c.Requires) > MaxOperations || len(c.Bumps) > MaxOperations {
		return fmt.Errorf("%w: more than %d preconditions or scopes", ErrTooLarge, MaxOperations)
	}
	for i := range c.Preconditions {
		if err := c.Preconditions[i].validate(); err != nil {
			return fmt.Errorf("precondition %d: %w", i, err)
		}
	}
	for _, r := range c.Requires {
		if err := validateText("scope", r.Scope); err != nil {
			return err
		}
	}
	bumped := make(map[string]struct{}, len(c.Bumps))
	for _, b := range c.Bumps {
		if err := validateText("scope", b); err != nil {
			return err
		}
		if _, ok := bumped[b]; ok {
			return fmt.Errorf("%w: scope %q is bumped twice", ErrInvalid, b)
		}
		bumped[b] = struct{}{}
	}
	if err := c.validateBody(); err != nil {
		return err
	}
	switch c.Body.(type) {
	case *SetClusterVersion, *SetEpoch, *HashCheck:
		if !c.Store.IsZero() {
			return fmt.Errorf("%w: the command concerns no store", ErrInvalid)
		}
	default:
		if c.Store.IsZero() {
			return fmt.Errorf("%w: no store", ErrInvalid)
		}
	}
	_, write := c.Body.(*Write)
	_, models := c.Body.(*WriteModel)
	if !write && !models && c.Planned {
		return fmt.Errorf("%w: only a write of tuples or of a model is planned", ErrInvalid)
	}
	if !write && len(c.Preconditions) > 0 {
		return fmt.Errorf("%w: only a write has preconditions", ErrInvalid)
	}
	if !write && !models && len(c.Requires)+len(c.Bumps) > 0 {
		return fmt.Errorf("%w: only a write of tuples or of a model has scopes", ErrInvalid)
	}
	return nil
}

func (c *Command) validateBody() error {
	switch b := c.Body.(type) {
	case nil:
		return fmt.Errorf("%w: no body", ErrInvalid)
	case *CreateStore:
		return validateText("store name", b.Name)
	case *WriteModel:
		return b.validate()
	case *WriteAssertions:
		if b.Model.IsZero() {
			return fmt.Errorf("%w: no model id", ErrInvalid)
		}
		if n := len(b.Content); n > MaxAssertionsSize {
			return fmt.Errorf("%w: assertions of %d bytes exceed %d", ErrTooLarge, n, MaxAssertionsSize)
		}
	case *Erase:
		return b.validate(c)
	case *SetRetention:
		if b.Retention < Forever {
			return fmt.Errorf("%w: a retention of %d ms", ErrInvalid, b.Retention)
		}
	case *Write:
		if len(b.Operations) > MaxOperations {
			return fmt.Errorf("%w: %d operations exceed %d", ErrTooLarge, len(b.Operations), MaxOperations)
		}
		for i := range b.Operations {
			if err := b.Operations[i].validate(); err != nil {
				return fmt.Errorf("operation %d: %w", i, err)
			}
		}
	}
	return nil
}

func (b *WriteModel) validate() error {
	if b.ID.IsZero() {
		return fmt.Errorf("%w: no model id", ErrInvalid)
	}
	for _, t := range b.Declarations.Types {
		if err := validateSymbol("type", t.Name); err != nil {
			return err
		}
		for _, r := range t.Relations {
			if err := validateSymbol("relation", r); err != nil {
				return err
			}
		}
	}
	for _, c := range b.Declarations.Conditions {
		if err := validateSymbol("condition", c); err != nil {
			return err
		}
	}
	return nil
}

func (o *Operation) validate() error {
	switch {
	case o.Kind.onTuple():
		if o.Condition == 0 && len(o.Context) > 0 {
			return fmt.Errorf("%w: a context without a condition", ErrInvalid)
		}
		return o.Tuple.validate()
	case o.Kind == PutDocument, o.Kind == DeleteDocument:
		return o.Entity.validate(false)
	}
	return fmt.Errorf("%w: operation kind %d", ErrInvalid, o.Kind)
}

func (p *Precondition) validate() error {
	switch p.Kind {
	case TuplePresent, TupleAbsent, TupleRevision:
		return p.Tuple.validate()
	case DocumentVersion:
		return p.Entity.validate(false)
	}
	return fmt.Errorf("%w: precondition kind %d", ErrInvalid, p.Kind)
}

func (k *TupleKey) validate() error {
	if err := k.Object.validate(false); err != nil {
		return fmt.Errorf("object: %w", err)
	}
	if k.Relation == 0 {
		return fmt.Errorf("%w: no relation", ErrInvalid)
	}
	if err := k.Subject.validate(k.SubjectRelation == 0); err != nil {
		return fmt.Errorf("subject: %w", err)
	}
	return nil
}

func (e Entity) validate(wildcard bool) error {
	switch {
	case e.Type == 0 || e.Type > model.MaxTypeID:
		return fmt.Errorf("%w: type id %d", ErrInvalid, e.Type)
	case e.Name == "":
		return fmt.Errorf("%w: empty name", ErrInvalid)
	case len(e.Name) > MaxNameSize:
		return fmt.Errorf("%w: a name of %d bytes exceeds %d", ErrInvalid, len(e.Name), MaxNameSize)
	case e.Name == wildcardName && !wildcard:
		return fmt.Errorf("%w: a wildcard cannot stand here", ErrInvalid)
	}
	return nil
}

// wildcardName is the name of a type's wildcard, which is always known.
const wildcardName = "*"

func validateText(what, s string) error {
	if s == "" || len(s) > MaxTextSize {
		return fmt.Errorf("%w: %s must have 1 to %d bytes", ErrInvalid, what, MaxTextSize)
	}
	return nil
}

func validateSymbol(what, s string) error {
	if s == "" || len(s) > MaxSymbolSize {
		return fmt.Errorf("%w: the name of a %s must have 1 to %d bytes", ErrInvalid, what, MaxSymbolSize)
	}
	return nil
}
