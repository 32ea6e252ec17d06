package rpc

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/value"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// storeKinds are the kinds of changes in the changelog of a store.
var storeKinds = map[remitv1.AuditChange_Kind][]fsm.ChangeKind{
	remitv1.AuditChange_KIND_TUPLE_PUT:          {fsm.TuplePut},
	remitv1.AuditChange_KIND_TUPLE_DELETED:      {fsm.TupleDeleted},
	remitv1.AuditChange_KIND_TUPLE_EXPIRED:      {fsm.TupleExpired},
	remitv1.AuditChange_KIND_DOCUMENT_PUT:       {fsm.DocumentPut},
	remitv1.AuditChange_KIND_DOCUMENT_DELETED:   {fsm.DocumentDeleted},
	remitv1.AuditChange_KIND_MODEL_WRITTEN:      {fsm.ModelWritten},
	remitv1.AuditChange_KIND_ASSERTIONS_WRITTEN: {fsm.AssertionsWritten},
	remitv1.AuditChange_KIND_ASSERTIONS_REMOVED: {fsm.AssertionsRemoved},
	remitv1.AuditChange_KIND_RETENTION_SET:      {fsm.RetentionSet},
	remitv1.AuditChange_KIND_STORE_CREATED:      {fsm.StoreCreated},
	remitv1.AuditChange_KIND_ENTITY_ERASED:      {fsm.EntityErased},
	remitv1.AuditChange_KIND_CHANGE_ERASED:      {fsm.ChangeErased},
}

// groupKinds are those in the changelog of the group.
var groupKinds = map[remitv1.AuditChange_Kind][]fsm.ChangeKind{
	remitv1.AuditChange_KIND_STORE_CREATED:       {fsm.StoreAdded},
	remitv1.AuditChange_KIND_STORE_DELETED:       {fsm.StoreDeleted},
	remitv1.AuditChange_KIND_CLUSTER_VERSION_SET: {fsm.ClusterVersionSet},
	remitv1.AuditChange_KIND_EPOCH_SET:           {fsm.EpochSet},
}

// systemKinds are those in the changelog of the system store, by the documents that they
// are stored as.
var systemKinds = map[remitv1.AuditChange_Kind][]fsm.ChangeKind{
	remitv1.AuditChange_KIND_KEY_PUT:           {fsm.DocumentPut},
	remitv1.AuditChange_KIND_KEY_REVOKED:       {fsm.DocumentDeleted},
	remitv1.AuditChange_KIND_PRINCIPAL_PUT:     {fsm.DocumentPut},
	remitv1.AuditChange_KIND_PRINCIPAL_REMOVED: {fsm.DocumentDeleted},
	remitv1.AuditChange_KIND_MEMBERS_CHANGED:   {fsm.DocumentPut},
	remitv1.AuditChange_KIND_AUTOPILOT_SET:     {fsm.DocumentPut},
}

// kindOf is the name of a kind on the wire. One that has none is told all the same, by
// who made the change, when and why.
func kindOf(kinds map[remitv1.AuditChange_Kind][]fsm.ChangeKind, kind fsm.ChangeKind) remitv1.AuditChange_Kind {
	for name, stored := range kinds {
		for _, k := range stored {
			if k == kind {
				return name
			}
		}
	}
	return remitv1.AuditChange_KIND_UNSPECIFIED
}

// A storeAudit is the changelog of a store.
type storeAudit struct {
	reader *reader
	store  fsm.StoreID
}

func (a storeAudit) changes(q fsm.ChangeQuery) (*fsm.ChangePage, error) {
	return a.reader.Config.State.Changes(a.store, q)
}

func (a storeAudit) message(root *fsm.Root, c *fsm.Change) (*remitv1.AuditChange, error) {
	store, ok := root.Store(a.store)
	if !ok {
		return nil, fmt.Errorf("%w: %v", fsm.ErrStoreNotFound, a.store)
	}
	m := &remitv1.AuditChange{Kind: kindOf(storeKinds, c.Kind), StoreId: a.store.String()}
	var err error
	switch c.Kind {
	case fsm.TuplePut, fsm.TupleDeleted, fsm.TupleExpired:
		var t graph.Tuple
		if t, err = backend.RowTuple(store.Symbols(), store, &c.Tuple); err == nil {
			m.Tuple, err = tupleMessage(t)
		}
	case fsm.DocumentPut, fsm.DocumentDeleted:
		m.Version = c.Version
		var name graph.ObjectName
		if name, err = backend.ObjectName(store.Symbols(), store, c.Entity); err != nil {
			break
		}
		if m.Object = name.String(); c.Kind == fsm.DocumentPut {
			m.Fields, err = fieldsMessage(c.Fields)
		}
	case fsm.ModelWritten, fsm.AssertionsWritten, fsm.AssertionsRemoved:
		m.ModelId = c.Model.String()
	case fsm.StoreCreated:
		m.StoreName = c.Name
	case fsm.RetentionSet:
		period := c.Retention
		if period == 0 {
			period = fsm.DefaultRetention
		}
		m.Retention = retentionMessage(period)
	case fsm.EntityErased:
		m.Text = erasedText(store, c.Erased)
	}
	return m, err
}

// fieldsMessage is the content of a document.
func fieldsMessage(encoded []byte) (*structpb.Struct, error) {
	m, err := value.Decode(encoded)
	if err != nil {
		return nil, err
	}
	return structpb.NewStruct(m)
}

// erasedText says what an erasure did. Of whom it was only the type is left.
func erasedText(store *fsm.Store, e *fsm.Erased) string {
	what := "a name"
	if e.Type != 0 {
		what = "one entity of type " + store.Symbols().TypeName(e.Type)
	}
	return fmt.Sprintf("erasure %s: %s (tuples %d, documents %d, past versions %d, changes %d, texts %d, idempotency keys %d)",
		e.ID, what, e.Tuples, e.Documents, e.Versions, e.Changes, e.Texts, e.Keys)
}

// A groupAudit is the changelog of the group.
type groupAudit struct{ reader *reader }

func (a groupAudit) changes(q fsm.ChangeQuery) (*fsm.ChangePage, error) {
	return a.reader.Config.State.GroupChanges(q)
}

func (a groupAudit) message(_ *fsm.Root, c *fsm.Change) (*remitv1.AuditChange, error) {
	m := &remitv1.AuditChange{Kind: kindOf(groupKinds, c.Kind)}
	switch c.Kind {
	case fsm.StoreAdded, fsm.StoreDeleted:
		if c.Store == backend.SystemStore {
			return nil, nil //nolint:nilnil // the service's own store is shown to nobody
		}
		m.StoreId, m.StoreName, m.TupleCount = c.Store.String(), c.Name, c.Tuples
	case fsm.ClusterVersionSet:
		m.ClusterVersion = c.To
	}
	return m, nil
}

// A systemAudit is the changelog of the system store: keys, grants, members and autopilot,
// in words.
type systemAudit struct {
	reader *reader
	kinds  []remitv1.AuditChange_Kind // that are wanted; none: all
}

func (a systemAudit) changes(q fsm.ChangeQuery) (*fsm.ChangePage, error) {
	return a.reader.Config.State.Changes(backend.SystemStore, q)
}

func (a systemAudit) message(root *fsm.Root, c *fsm.Change) (*remitv1.AuditChange, error) {
	store, ok := root.Store(backend.SystemStore)
	if !ok {
		return nil, fmt.Errorf("%w: the system store", fsm.ErrStoreNotFound)
	}
	told, ok, err := backend.TellKeyring(store, c)
	if err != nil {
		return nil, err
	}
	if !ok {
		return a.ofCluster(store, c)
	}
	m := &remitv1.AuditChange{Subject: told.Principal, Text: told.Text}
	switch {
	case told.Key && told.Removed:
		m.Kind = remitv1.AuditChange_KIND_KEY_REVOKED
	case told.Key:
		m.Kind = remitv1.AuditChange_KIND_KEY_PUT
	case told.Removed:
		m.Kind = remitv1.AuditChange_KIND_PRINCIPAL_REMOVED
	default:
		m.Kind = remitv1.AuditChange_KIND_PRINCIPAL_PUT
	}
	return a.wanted(m)
}

// ofCluster tells a change of members or of autopilot; nil for any other.
func (a systemAudit) ofCluster(store *fsm.Store, c *fsm.Change) (*remitv1.AuditChange, error) {
	told, ok, err := backend.TellCluster(store, c)
	if err != nil || !ok {
		return nil, err
	}
	m := &remitv1.AuditChange{Kind: remitv1.AuditChange_KIND_MEMBERS_CHANGED, Subject: told.Node, Text: told.Text}
	if told.Autopilot {
		m.Kind = remitv1.AuditChange_KIND_AUTOPILOT_SET
	}
	return a.wanted(m)
}

// wanted drops a change of a kind that nobody asked for: one kind of change of the store
// stands for several.
func (a systemAudit) wanted(m *remitv1.AuditChange) (*remitv1.AuditChange, error) {
	if len(a.kinds) > 0 && !slices.Contains(a.kinds, m.Kind) {
		return nil, nil //nolint:nilnil // as any change that is not told
	}
	return m, nil
}
