package rpc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/model"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/limit"
)

const (
	// examinedForAuthors bounds the changes that are examined for the authors of all grounds.
	// The time of a tuple's last write says where to look, so only where very much was written
	// in one millisecond does it take more than one.
	examinedForAuthors = 50_000

	// groundFacts bounds the tuples of one ground whose time is looked up. Only lines of roles
	// and of managers are long, and of one that is longer it is not told since when it is so.
	groundFacts = 4000

	// anApplication stands for whoever is no seat, where seats are told who did something.
	anApplication = "an application"
)

// authors finds out who made grounds so. It belongs to one question.
type authors struct {
	question *question
	seat     bool // the answer is for a seat, which is not told the names of applications
	known    map[crm.Fact]*authorship
	examined int // changes
}

// An authorship is when a tuple was written, and in which change, as far as that is known.
type authorship struct {
	written int64 // milliseconds since 1970 UTC
	looked  bool  // for the change
	change  *fsm.Change
}

// grounds are messages of grounds, with who made them so.
func (a *authors) grounds(ctx context.Context, grounds []crm.Ground) ([]*remitv1.Ground, error) {
	messages := make([]*remitv1.Ground, len(grounds))
	for i := range grounds {
		if err := limit.Pace(ctx); err != nil {
			return nil, err
		}
		messages[i] = groundMessage(&grounds[i])
		if err := a.sign(ctx, messages[i], grounds[i].Facts); err != nil {
			return nil, fmt.Errorf("who made it so that %s: %w", grounds[i].Text, err)
		}
	}
	return messages, nil
}

// sign notes who wrote the last of the tuples that a ground rests on.
func (a *authors) sign(ctx context.Context, m *remitv1.Ground, facts []crm.Fact) error {
	if len(facts) > groundFacts {
		return nil
	}
	last := int64(0)
	for i, f := range facts {
		if i%100 == 99 {
			if err := limit.Pace(ctx); err != nil {
				return err
			}
		}
		w, err := a.written(f)
		if err != nil {
			return err
		}
		if w != nil {
			last = max(last, w.written)
		}
	}
	if last == 0 {
		return nil
	}
	// Of what was written at the same time, the changelog has the order.
	var made *fsm.Change
	for _, f := range facts {
		w := a.known[f]
		if w == nil || w.written != last {
			continue
		}
		if !w.looked {
			w.looked = true
			var err error
			if w.change, err = a.change(f, last); err != nil {
				return err
			}
		}
		if w.change != nil && (made == nil || w.change.Revision > made.Revision) {
			made = w.change
		}
	}
	m.By, m.Since = a.name(made), timestamppb.New(time.UnixMilli(last))
	return nil
}

// written finds when a tuple was written last, nil if it is not there.
func (a *authors) written(f crm.Fact) (*authorship, error) {
	if w, ok := a.known[f]; ok {
		return w, nil
	}
	// Behind whatever could stand just before it.
	before := graph.Row{Userset: f.Userset, Edge: graph.Edge{Subject: f.Subject}}
	before.Edge.Subject.ID--
	c := graph.RowCursor{From: f.Userset.Object, To: f.Userset.Object, After: before}
	if err := a.question.Base.Rows(&c); err != nil {
		return nil, err
	}
	var w *authorship
	if len(c.Rows) > 0 && c.Rows[0].Userset == f.Userset && c.Rows[0].Edge.Subject == f.Subject {
		w = &authorship{written: c.Rows[0].Written}
	}
	a.known[f] = w
	return w, nil
}

// change finds a change in which a tuple was written at an instant, or another of the same
// command; nil if the changelog does not tell any more.
func (a *authors) change(f crm.Fact, written int64) (*fsm.Change, error) {
	state, at := a.question.Reader.Config.State, time.UnixMilli(written)
	last, err := state.RevisionAt(at)
	if err != nil {
		return nil, forgotten(err)
	}
	q := fsm.ChangeQuery{Since: at, Until: min(last, a.question.Base.Revision()), Limit: 1}
	c, err := a.first(&q)
	if err != nil || c == nil || c.Time != written {
		return nil, err
	}
	if c.Revision == q.Until {
		return c, nil // as a rule there was one command at the instant, whatever it wrote
	}
	q.Filter = &fsm.ChangeFilter{
		Kinds: []fsm.ChangeKind{fsm.TuplePut}, From: written, To: written,
		Object: f.Userset.Object, Relations: []model.RelationID{f.Userset.Relation},
		Subject: f.Subject.ID, SubjectRelation: f.Subject.Relation,
	}
	return a.first(&q)
}

// first finds the first change that a query wants; nil if there is none, or if finding it
// takes too long.
func (a *authors) first(q *fsm.ChangeQuery) (*fsm.Change, error) {
	page := *q
	for a.examined < examinedForAuthors {
		found, err := a.question.Reader.Config.State.Changes(a.question.Head.ID(), page)
		if err != nil {
			return nil, forgotten(err)
		}
		a.examined += found.Examined
		if len(found.Changes) > 0 {
			return found.Changes[0], nil
		}
		if !found.More {
			break
		}
		page.After, page.Since = found.Next, time.Time{}
	}
	return nil, nil //nolint:nilnil // nobody knows it any more
}

// forgotten takes for an answer that something is no longer kept.
func forgotten(err error) error {
	if errors.Is(err, fsm.ErrRevisionGone) {
		return nil
	}
	return err
}

// name is who made a change, as the asker may know them; empty if it is not known.
func (a *authors) name(c *fsm.Change) string {
	switch {
	case c == nil:
		return ""
	case c.Actor == "" && !a.seat:
		return c.Principal
	case !a.seat || strings.HasPrefix(c.Actor, userText("")):
		return c.Actor
	default:
		return anApplication
	}
}
