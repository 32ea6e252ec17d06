package backend

import (
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/condition"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/model"
)

// A Plan is a compiled model with what requests need to know of it.
type Plan struct {
	*model.Plan
	Source   *model.Model // what was compiled: it has the rewrites as they were written
	BindsNow bool         // a condition has a timestamp parameter now, which is the instant
	Deeds    *crm.Deeds   // what can be asked of an organisation; nil if it is not one's model
	Cache    *graph.Cache // of an organisation's structure; nil if it is not one's model
}

func (c *planCache) newPlan(source *model.Model, p *model.Plan) *Plan {
	plan := &Plan{Plan: p, Source: source, BindsNow: bindsNowAnywhere(p)}
	if deeds, ok := crm.DeedsOf(p); ok {
		plan.Deeds, plan.Cache = deeds, graph.NewCache(p, deeds.Structure(), c.share)
	}
	return plan
}

// share is how much of maxCache one organisation may take.
func (c *planCache) share() int64 { return maxCache / max(1, c.organisations.Load()) }

func bindsNowAnywhere(p *model.Plan) bool {
	for _, t := range p.Types() {
		for _, r := range t.Relations {
			for i := range r.Allowed {
				if bindsNow(r.Allowed[i].Condition) {
					return true
				}
			}
		}
	}
	return false
}

func bindsNow(c *condition.Condition) bool {
	if c == nil {
		return false
	}
	for _, p := range c.Parameters() {
		if p.Name == "now" && p.Type.Kind == condition.KindTimestamp {
			return true
		}
	}
	return false
}

// Plan finds a model of a store and compiles it, unless it was compiled before. An
// empty id is the newest of the snapshot; field names where the id stood.
func (r *Reader) Plan(s *Snapshot, field, id string) (*Plan, error) {
	m, err := FindModel(s, field, id)
	if err != nil {
		return nil, err
	}
	key := planKey{s.Head.ID(), m.ID}
	if p, ok := r.plans.get(key); ok {
		return p, nil
	}
	parsed, err := ParseStored(m)
	if err != nil {
		return nil, err
	}
	compiled, err := parsed.Compile(m.ID.String(), s.Symbols)
	if err != nil {
		return nil, fmt.Errorf("compile model %s of store %s: %w", m.ID, s.Head.ID(), err)
	}
	p := r.plans.newPlan(parsed, compiled)
	r.plans.put(key, p)
	return p, nil
}

// FindModel finds a version of a store's model; an empty id is the newest. A past state
// may be judged by any version; the newest is the newest then.
func FindModel(s *Snapshot, field, id string) (*fsm.Model, error) {
	if id == "" {
		if len(s.Models) == 0 {
			return nil, At(field, fmt.Errorf("%w: store %s has no model yet; write one first", ErrModelNotFound, s.Head.ID()))
		}
		return s.Models[len(s.Models)-1], nil
	}
	parsed, err := fsm.ParseModelID(id)
	if err == nil {
		if m, ok := s.Head.Model(parsed); ok {
			return m, nil
		}
	}
	return nil, At(field, fmt.Errorf("%w: store %s has no model %q", ErrModelNotFound, s.Head.ID(), id))
}

// ParseStored reads a model as it was stored.
func ParseStored(m *fsm.Model) (*model.Model, error) {
	parsed, err := model.ParseJSON("", m.Source)
	if err != nil {
		// It was valid when it was written; a client cannot mend it.
		return nil, fmt.Errorf("stored model %s: %v", m.ID, err) //nolint:errorlint // not the client's fault: see above
	}
	return parsed, nil
}

// A planCache keeps compiled models. Reading it takes no lock: it is on the path of
// every question.
type planCache struct {
	plans atomic.Pointer[map[planKey]*Plan]
	mu    sync.Mutex // held to put

	organisations atomic.Int64 // among the plans
}

type planKey struct {
	store fsm.StoreID
	model fsm.ModelID
}

func (c *planCache) get(key planKey) (*Plan, bool) {
	plans := c.plans.Load()
	if plans == nil {
		return nil, false
	}
	p, ok := (*plans)[key]
	return p, ok
}

// put keeps a plan. A full cache is emptied: that costs the models in use one more
// compilation each, once in as many models as the cache holds.
func (c *planCache) put(key planKey, p *Plan) {
	c.mu.Lock()
	defer c.mu.Unlock()
	plans := map[planKey]*Plan{}
	if old := c.plans.Load(); old != nil && len(*old) < maxPlans {
		plans = maps.Clone(*old)
	}
	plans[key] = p
	c.plans.Store(&plans)
	organisations := int64(0)
	for _, p := range plans {
		if p.Cache != nil {
			organisations++
		}
	}
	c.organisations.Store(organisations)
}
