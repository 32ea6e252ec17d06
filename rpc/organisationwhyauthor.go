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
	// authorPages bounds the pages of the changelog that are read for the author of one
	// tuple: the time of its last write says where to look, and only a very large change, or
	// many at the same time, is longer than that.
	authorPages = 3

	// groundFacts bounds the tuples of one ground whose time is looked up.
	groundFacts = 20

	// anApplication stands for whoever is no seat, where seats are told who did something.
	anApplication = "an application"
)

// authors finds out who made grounds so. It belongs to one question.
type authors struct {
	question *question
	seat     bool // the answer is for a seat, which is not told the names of applications
	known    map[crm.Fact]*authorship
}

// An authorship is when a tuple was written, and by whom, as far as that is known.
type authorship struct {
	written int64 // milliseconds since 1970 UTC
	by      string
	looked  bool // for whom
}

// grounds are messages of grounds, with who made them so.
func (a *authors) grounds(ctx context.Context, grounds []crm.Ground) ([]*remitv1.Ground, error) {
	messages := make([]*remitv1.Ground, len(grounds))
	for i := range grounds {
		if err := limit.Pace(ctx); err != nil {
			return nil, err
		}
		messages[i] = groundMessage(&grounds[i])
		if err := a.sign(messages[i], grounds[i].Facts); err != nil {
			return nil, fmt.Errorf("who made it so that %s: %w", grounds[i].Text, err)
		}
	}
	return messages, nil
}

// sign notes who wrote the last of the tuples that a ground rests on.
func (a *authors) sign(m *remitv1.Ground, facts []crm.Fact) error {
	var last *authorship
	var fact crm.Fact
	for _, f := range facts[:min(len(facts), groundFacts)] {
		w, err := a.written(f)
		if err != nil {
			return err
		}
		if w != nil && (last == nil || w.written > last.written) {
			last, fact = w, f
		}
	}
	if last == nil {
		return nil
	}
	if !last.looked {
		last.looked = true
		var err error
		if last.by, err = a.author(fact, last.written); err != nil {
			return err
		}
	}
	m.By, m.Since = last.by, timestamppb.New(time.UnixMilli(last.written))
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

// author finds who wrote a tuple at an instant; empty if the changelog does not tell any more.
func (a *authors) author(f crm.Fact, written int64) (string, error) {
	state := a.question.Reader.Config.State
	at := time.UnixMilli(written)
	last, err := state.RevisionAt(at)
	if errors.Is(err, fsm.ErrRevisionGone) {
		return "", nil
	} else if err != nil {
		return "", err
	}
	q := fsm.ChangeQuery{
		Since: at, Until: min(last, a.question.Base.Revision()), Kept: true, Limit: 1,
		Filter: &fsm.ChangeFilter{
			Kinds: []fsm.ChangeKind{fsm.TuplePut}, From: written, To: written,
			Object: f.Userset.Object, Relations: []model.RelationID{f.Userset.Relation},
			Subject: f.Subject.ID, SubjectRelation: f.Subject.Relation,
		},
	}
	for range authorPages {
		page, err := state.Changes(a.question.Head.ID(), q)
		switch {
		case errors.Is(err, fsm.ErrRevisionGone):
			return "", nil
		case err != nil:
			return "", err
		case len(page.Changes) > 0:
			return a.name(page.Changes[0]), nil
		case !page.More:
			return "", nil
		}
		q.After, q.Since = page.Next, time.Time{}
	}
	return "", nil
}

// name is who made a change, as the asker may know them.
func (a *authors) name(c *fsm.Change) string {
	switch {
	case c.Actor == "" && !a.seat:
		return c.Principal
	case !a.seat || strings.HasPrefix(c.Actor, userText("")):
		return c.Actor
	default:
		return anApplication
	}
}
