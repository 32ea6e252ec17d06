package backend

import (
	"context"
	"errors"
	"fmt"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/value"
)

// A MemberAction is what is asked for of a member of the cluster.
type MemberAction string

// The actions, as they are stored; never renamed.
const (
	AddMember          MemberAction = "add"
	RemoveMember       MemberAction = "remove"
	PromoteMember      MemberAction = "promote"
	DemoteMember       MemberAction = "demote"
	TransferLeadership MemberAction = "transfer"
)

// A MemberChange is one change of the cluster's members, or of who leads them. Raft keeps
// who the members are; what is recorded here is who asked for it, when and why.
type MemberChange struct {
	Action MemberAction
	Node   string // its id; empty if anybody may lead
	Addr   string // where others reach it, of one that is added
	// Failure is why it came to nothing. Empty: it is asked for.
	Failure string
}

// The fields of a document of a member, as they are stored; never renamed. Each change
// replaces it, and the changelog has them all.
const (
	fieldAction  = "action"
	fieldNode    = "node"
	fieldAddr    = "addr"
	fieldFailure = "failure"
)

// memberName is before a node's id in the name of its document.
const memberName = "node/"

// RecordMemberChange puts on record that a change is asked for, or that it came to nothing.
// It is called before the change is made: afterwards a node that is no member any more could
// record nothing.
func (k *Keyring) RecordMemberChange(ctx context.Context, reason string, c MemberChange) error {
	if err := k.prepare(ctx); err != nil {
		return err
	}
	id, err := k.reader.NewID()
	if err != nil {
		return err
	}
	req := KeyRequest{IdempotencyKey: "members/" + fsm.StoreID(id).String(), Reason: reason}
	h := NewContentHash("change members")
	for _, text := range []string{string(c.Action), c.Node, c.Addr, c.Failure} {
		h.String(text)
	}
	sum := h.Done()
	const attempts = 3
	for attempt := 1; ; attempt++ {
		_, err = k.commit(ctx, req, sum, typeMember, func(s *fsm.Store) ([]fsm.Operation, error) {
			put, err := putDocument(s, typeMember, memberName+c.Node, c.encode)
			return []fsm.Operation{put}, err
		})
		if !errors.Is(err, cluster.ErrUnknownOutcome) || attempt == attempts {
			return err
		}
	}
}

func (c *MemberChange) encode() ([]byte, error) {
	m := value.Map{fieldAction: string(c.Action), fieldNode: c.Node}
	if c.Addr != "" {
		m[fieldAddr] = c.Addr
	}
	if c.Failure != "" {
		m[fieldFailure] = c.Failure
	}
	return value.Encode(m)
}

// String is the change in words.
func (c *MemberChange) String() string {
	var text string
	switch c.Action {
	case AddMember:
		text = fmt.Sprintf("to be added at %s", c.Addr)
	case RemoveMember:
		text = "to be removed"
	case PromoteMember:
		text = "to be given a vote"
	case DemoteMember:
		text = "to lose its vote"
	case TransferLeadership:
		text = "to lead"
		if c.Node == "" {
			text = "another to lead"
		}
	default:
		text = string(c.Action)
	}
	if c.Failure != "" {
		text += ", which came to nothing: " + c.Failure
	}
	return text
}

// A ClusterChange is what was asked for of the cluster, in words.
type ClusterChange struct {
	Autopilot bool   // what the leader does by itself; else of a member
	Node      string // the member; empty if any
	Text      string
}

// TellCluster tells a change of the system store. It is false for one that is neither of
// members nor of autopilot.
func TellCluster(store *fsm.Store, c *fsm.Change) (told ClusterChange, ok bool, err error) {
	if c.Kind != fsm.DocumentPut {
		return told, false, nil // nothing removes them
	}
	name, err := ObjectName(store.Symbols(), store, c.Entity)
	if err != nil || name.Type != typeMember && name.Type != typeAutopilot {
		return told, false, err
	}
	d := graph.Document{Version: c.Version}
	if d.Fields, err = value.Decode(c.Fields); err != nil {
		return told, false, err
	}
	if name.Type == typeAutopilot {
		a, err := decodeAutopilot(d)
		return ClusterChange{Autopilot: true, Text: autopilotText(&a.Config)}, true, err
	}
	f := fields{of: d.Fields}
	change := MemberChange{
		Action: MemberAction(f.text(fieldAction)), Node: f.text(fieldNode), Addr: f.text(fieldAddr), Failure: f.text(fieldFailure),
	}
	return ClusterChange{Node: change.Node, Text: change.String()}, true, nil
}
