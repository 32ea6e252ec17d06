package crm

import (
	"fmt"
	"slices"
	"strings"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// A reach is how the user reaches one record.
type reach struct {
	key    graph.ObjectName
	id     graph.ID
	action Action
	need   Level
	owner  *belonging

	restricted, secret bool

	ways    []Ground // those that count
	closed  []Ground // those that would, were the record not confidential
	nearly  []Ground // those that would, were something else otherwise
	missing []Ground // why it is not reached

	leftOut bool // something nearly counts that may not be told
}

// A width is which records a ground reaches.
type width uint8

const (
	always    width = iota
	notSecret       // all that are not secret
	openOnly        // all that are not confidential
)

func (r *reach) add(to width, g Ground) {
	if to == notSecret && r.secret || to == openOnly && r.restricted {
		r.closed = append(r.closed, g)
		return
	}
	r.ways = append(r.ways, g)
}

// almost adds a ground that something else than confidentiality keeps from counting, if that
// alone does.
func (r *reach) almost(to width, g Ground) {
	if (to != notSecret || !r.secret) && (to != openOnly || !r.restricted) && g.Level >= r.need {
		r.nearly = append(r.nearly, g)
	}
}

// best is the strongest of some grounds; its level is none if there are none.
func best(grounds []Ground) Ground {
	var g Ground
	for i := range grounds {
		if i == 0 || stronger(grounds[i], g) < 0 {
			g = grounds[i]
		}
	}
	return g
}

// recordSteps are those about a record: what the profiles permit in its module, and whether it
// is reached.
func (w *why) recordSteps(key graph.ObjectName, action Action) {
	need, permissions := LevelView, []string{string(ActionView)}
	child, adds := strings.CutPrefix(string(action), prefixAdd)
	switch action {
	case ActionView, ActionExport:
	case ActionEdit:
		need = LevelEdit
	case ActionDelete:
		need = LevelDelete
	case ActionShare, ActionTransfer:
		need = LevelFull
	default:
		if !w.is(w.org, relViewersAdd) {
			need = LevelEdit
		}
	}
	if action != ActionView && action != ActionExport && !adds {
		permissions = append(permissions, string(action))
	}
	w.permissionStep(key.Type, permissions...)
	if adds {
		w.permissionStep(child, ActionCreate)
	}
	w.reachStep(key, action, need)
}

// reachStep is whether the record is reached.
func (w *why) reachStep(key graph.ObjectName, action Action, need Level) {
	r := &reach{key: key, id: w.find(key), action: action, need: need}
	exists := w.has(r.id, relModule, graph.Subject{ID: w.find(entity(typeModule, key.Type))})
	conditions := slices.Clone(w.conditions)
	switch {
	case !exists:
		r.missing = []Ground{{Kind: GroundRecord, Entity: key, Text: fmt.Sprintf("there is no record %s", key)}}
	case w.relation(r.id, relAuthor) != nil:
		w.child(r)
	case w.relation(r.id, "viewer") != nil:
		w.private(r)
		w.judge(r)
	default:
		w.standard(r)
		w.judge(r)
	}
	if !w.sees(key) {
		w.conditions = conditions
		w.unseen(r)
		return
	}
	w.reaches = append(w.reaches, r.ways...)
	w.missing = append(w.missing, r.missing...)
}

// unseen puts in general words how a record is reached that may not be told of, nor whether
// there is one.
func (w *why) unseen(r *reach) {
	if len(r.missing) > 0 {
		w.miss(Ground{
			Kind: GroundRecord, Entity: r.key, redacted: true, hidden: true,
			Text: fmt.Sprintf("nothing gives %s %s on %s, if there is such a record; more may not be told", w.name(w.id), gradeText(r.need), r.key),
		})
		return
	}
	w.reaches = append(w.reaches, Ground{
		Kind: GroundRecord, Level: r.need, Entity: r.key, redacted: true, hidden: true,
		Text: fmt.Sprintf("%s has %s on %s; on what grounds may not be told", w.name(w.id), gradeText(r.need), r.key),
	})
}

// judge says what is missing, if the grounds do not suffice.
func (w *why) judge(r *reach) {
	has := best(r.ways)
	if has.Level >= r.need {
		return
	}
	if hidden := best(r.closed); hidden.Level >= r.need {
		r.missing = append(r.missing, w.confidential(r, hidden))
	}
	w.leftOut = w.leftOut || r.leftOut
	slices.SortStableFunc(r.nearly, stronger)
	r.missing = append(r.missing, r.nearly...)
	if strings.HasPrefix(string(r.action), prefixAdd) && has.Level == LevelView {
		r.missing = append(r.missing, Ground{
			Kind: GroundSetting, Entity: w.key(w.org), Level: LevelView,
			Text: "the organisation lets only those add to a record who have edit on it",
		})
	}
	r.missing = append(r.missing, w.unreached(r, has))
}

// confidential is that something would give access, were the record open.
func (w *why) confidential(r *reach, hidden Ground) Ground {
	g := Ground{Kind: GroundConfidential, Level: hidden.Level, Entity: r.key, Facts: w.facts(r.id, relRestricted, w.everyone()), redacted: hidden.redacted}
	grade := "restricted"
	if r.secret {
		grade = "secret"
		g.Facts = append(g.Facts, w.facts(r.id, relSecret, w.everyone())...)
	}
	g.Text = fmt.Sprintf("%s is %s; were it open, this would give %s: %s", r.key, grade, gradeText(hidden.Level), hidden.Text)
	switch n := len(r.closed) - 1; {
	case n == 1:
		g.Text += " (1 other ground would count, too)"
	case n > 1:
		g.Text += fmt.Sprintf(" (%d other grounds would count, too)", n)
	}
	return g
}

// unreached says that a record is not reached, or not enough, and whose it is.
func (w *why) unreached(r *reach, has Ground) Ground {
	g := Ground{Kind: GroundRecord, Level: has.Level, Entity: r.key, Facts: w.facts(r.id, relOwner, graph.Subject{ID: r.owner.user})}
	user := w.name(w.id)
	if has.Level > LevelNone {
		g.redacted = has.redacted
		g.Text = fmt.Sprintf("%s has only %s on %s, and not %s: %s", user, has.Level, r.key, gradeText(r.need), has.Text)
		return g
	}
	g.Text = fmt.Sprintf("nothing gives %s %s on %s, which belongs to %s, %s", user, gradeText(r.need), r.key, w.name(r.owner.user), w.named(r.owner.role))
	switch {
	case w.relation(r.id, shareRelations[0].share) == nil:
		g.Text += fmt.Sprintf("; %s cannot be shared", w.module(r.key.Type))
	case r.need == LevelFull || r.restricted:
		g.Text += "; who has full access can share it"
	default:
		g.Text += "; who has full access can share it, and a rule can share all that the owner has"
	}
	return g
}

// standard finds the grounds on which a record is reached that has an owner and is shared.
func (w *why) standard(r *reach) {
	w.owned(r)
	r.secret = w.is(r.id, relSecret)
	r.restricted = r.secret || w.is(r.id, relRestricted)
	module := w.find(entity(typeModule, r.key.Type))
	user := w.name(w.id)

	if _, f, ok := w.fact(w.org, relSuperAdmin, graph.Subject{ID: w.id}); ok {
		r.add(always, Ground{Kind: GroundSuperAdmin, Level: LevelFull, Entity: w.user, Text: user + " is the super admin", Facts: []Fact{f}})
	}
	w.superiors(r, module)
	if _, f, ok := w.fact(w.org, relRootRole, graph.Subject{ID: w.self.role}); ok {
		r.add(notSecret, Ground{
			Kind: GroundRootRole, Level: LevelFull, Entity: w.key(w.self.role),
			Text:  fmt.Sprintf("%s holds %s, above all others", user, w.named(w.self.role)),
			Facts: append(w.self.toRole(w.self.role), f),
		})
	}
	w.administrator(r, LevelFull)
	w.shares(r)
	for _, parent := range w.subjects(r.id, relParent) {
		w.related(r, parent)
	}
	w.broad(r, module)
	w.rules(r)
}

// owned finds the record's owner, and whether that is the user.
func (w *why) owned(r *reach) {
	owner := w.first(r.id, relOwner)
	if r.owner = w.self; owner != w.id {
		r.owner = w.belongingOf(owner)
	}
	if owner == w.id {
		r.add(always, Ground{
			Kind: GroundOwner, Level: LevelFull, Entity: w.user,
			Text: fmt.Sprintf("%s owns %s", w.name(w.id), r.key), Facts: w.facts(r.id, relOwner, graph.Subject{ID: owner}),
		})
	}
}

// superiors are the ways in which the user is superior to the owner, who is somebody else.
func (w *why) superiors(r *reach, module graph.ID) {
	if r.owner == w.self {
		return
	}
	closed := module != 0 && w.is(module, relNoHier)
	for _, s := range w.superiorities(r.owner) {
		if !closed {
			r.add(notSecret, Ground{Kind: GroundSuperior, Level: LevelFull, Entity: w.key(s.entity), Text: s.text, Facts: s.facts})
			continue
		}
		r.almost(notSecret, Ground{
			Kind: GroundSetting, Level: LevelFull, Entity: w.key(module),
			Text: fmt.Sprintf("%s keep superiors out, and %s", w.module(r.key.Type), s.text), Facts: w.facts(module, relNoHier, w.everyone()),
		})
	}
}

func (w *why) administrator(r *reach, level Level) {
	if w.admin == 0 {
		return
	}
	r.add(notSecret, Ground{
		Kind: GroundAdministrator, Level: level, Entity: w.key(w.admin),
		Text:  fmt.Sprintf("%s makes %s an administrator", w.named(w.admin), w.name(w.id)),
		Facts: append(w.facts(w.admin, relAssignee, graph.Subject{ID: w.id}), w.facts(w.org, relAdminProfile, graph.Subject{ID: w.admin})...),
	})
}

// broad are the grounds that reach many records at once, but for rules.
func (w *why) broad(r *reach, module graph.ID) {
	records := w.module(r.key.Type)
	for level := LevelView; level <= LevelDelete; level++ {
		if _, f, ok := w.fact(module, defaultRelation[level], w.everyone()); ok {
			r.add(openOnly, Ground{
				Kind: GroundDefault, Level: level, Entity: w.key(module), Facts: []Fact{f},
				Text: fmt.Sprintf("everybody has %s on all %s", level, records),
			})
		}
	}
	for _, p := range w.profiles {
		if _, f, ok := w.fact(module, "p_view_all", w.subject(p, relAssignee)); ok {
			r.add(openOnly, Ground{
				Kind: GroundViewAll, Level: LevelView, Entity: w.key(p), Facts: append(w.facts(p, relAssignee, graph.Subject{ID: w.id}), f),
				Text: fmt.Sprintf("%s gives view on all %s", w.named(p), records),
			})
		}
	}
	if r.owner != w.self && r.owner.role == w.self.role {
		w.peers(r)
	}
	w.forecastManager(r)
}

func (w *why) peers(r *reach) {
	for level := LevelView; level <= LevelDelete; level++ {
		if _, f, ok := w.fact(r.owner.role, peersRelation[level], w.everyone()); ok {
			r.add(openOnly, Ground{
				Kind: GroundPeer, Level: level, Entity: w.key(r.owner.role), Facts: slices.Concat([]Fact{f}, w.self.line[:1], r.owner.line[:1]),
				Text: fmt.Sprintf("%s and the owner, %s, hold %s, whose holders share what they own: %s",
					w.name(w.id), w.name(r.owner.user), w.named(r.owner.role), level),
			})
		}
	}
}

func (w *why) forecastManager(r *reach) {
	if _, f, ok := w.fact(r.owner.role, relForecastManager, graph.Subject{ID: w.id}); ok {
		r.add(openOnly, Ground{
			Kind: GroundForecastManager, Level: LevelView, Entity: w.key(r.owner.role), Facts: append([]Fact{f}, r.owner.line[:1]...),
			Text: fmt.Sprintf("%s is a forecast manager of %s, which the owner, %s, holds", w.name(w.id), w.named(r.owner.role), w.name(r.owner.user)),
		})
	}
}

// private finds the grounds on which a record is reached that nothing opens.
func (w *why) private(r *reach) {
	w.owned(r)
	if r.owner != w.self {
		for _, s := range w.superiorities(r.owner) {
			r.add(always, Ground{Kind: GroundSuperior, Level: LevelView, Entity: w.key(s.entity), Text: s.text, Facts: s.facts})
		}
	}
	w.administrator(r, LevelView)
	// Its own definition says whether forecast managers count.
	if w.forecasts(r.id) {
		w.forecastManager(r)
	}
}

// forecasts reports whether forecast managers view records of the type.
func (w *why) forecasts(record graph.ID) bool {
	viewer := w.relation(record, "viewer")
	return slices.ContainsFunc(viewer.Rewrite.Children, func(c *model.Rewrite) bool {
		return slices.ContainsFunc(c.Computed, func(r *model.Relation) bool { return r.Name == "forecast_peer" })
	})
}

// child finds the grounds on which a record is reached through the one above.
func (w *why) child(r *reach) {
	parent, author := w.first(r.id, relParent), w.first(r.id, relAuthor)
	above := w.key(parent)
	user := w.name(w.id)
	ground := func(level Level, inner []Ground) Ground {
		by := best(inner)
		return Ground{
			Kind: GroundParent, Level: level, Entity: above, redacted: by.redacted,
			Facts: append(w.facts(r.id, relParent, graph.Subject{ID: parent}), by.Facts...),
			Text:  fmt.Sprintf("%s belongs to %s, which %s may %s: %s", r.key, above, user, level, by.Text),
		}
	}
	viewed, missing := w.inner(above, ActionView)
	if len(missing) > 0 {
		r.missing = append([]Ground{{
			Kind: GroundParent, Entity: above, Text: fmt.Sprintf("%s belongs to %s, which %s may not view", r.key, above, user),
		}}, missing...)
		return
	}
	r.ways = append(r.ways, ground(LevelView, viewed))
	if r.need == LevelView {
		return
	}
	wrote := author == w.id
	if wrote {
		r.ways = append(r.ways, Ground{
			Kind: GroundAuthor, Level: LevelDelete, Entity: w.user, Facts: w.facts(r.id, relAuthor, graph.Subject{ID: author}),
			Text: fmt.Sprintf("%s wrote %s", user, r.key),
		})
	}
	conditions := slices.Clone(w.conditions)
	changed, missing := w.inner(above, r.action)
	switch {
	case len(missing) == 0:
		r.ways = append(r.ways, ground(r.need, changed))
	case wrote:
		w.conditions = conditions
	default:
		r.missing = append([]Ground{{
			Kind: GroundParent, Level: LevelView, Entity: above,
			Text: fmt.Sprintf("%s belongs to %s, which %s may not %s, and was written by %s", r.key, above, user, r.action, w.name(author)),
		}}, missing...)
	}
}

// inner decides an action on another record, without the seat. What else it needs, and is
// there, is a condition of the whole.
func (w *why) inner(key graph.ObjectName, action Action) (grounds, missing []Ground) {
	reaches, before := w.reaches, w.missing
	w.reaches, w.missing = nil, nil
	w.recordSteps(key, action)
	grounds, missing = w.reaches, w.missing
	w.reaches, w.missing = reaches, before
	return grounds, missing
}
