package rpc

import (
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph/condition"
	"github.com/remit-authz/remit/graph/model"
)

// A plan is a compiled model with what requests need to know of it.
type plan struct {
	*model.Plan
	bindsNow bool // a condition has a timestamp parameter now, which is the instant
}

func newPlan(p *model.Plan) *plan {
	for _, t := range p.Types() {
		for _, r := range t.Relations {
			for i := range r.Allowed {
				if bindsNow(r.Allowed[i].Condition) {
					return &plan{p, true}
				}
			}
		}
	}
	return &plan{p, false}
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

// plan finds a model of a store and compiles it, unless it was compiled before. An
// empty id is the newest of the snapshot.
func (r *reader) plan(s *snapshot, field, id string) (*plan, error) {
	m, err := findModel(s, field, id)
	if err != nil {
		return nil, err
	}
	key := planKey{s.head.ID(), m.ID}
	if p, ok := r.plans.get(key); ok {
		return p, nil
	}
	parsed, err := parseStored(m)
	if err != nil {
		return nil, err
	}
	compiled, err := parsed.Compile(m.ID.String(), s.symbols)
	if err != nil {
		return nil, fmt.Errorf("compile model %s of store %s: %w", m.ID, s.head.ID(), err)
	}
	p := newPlan(compiled)
	r.plans.put(key, p)
	return p, nil
}

// findModel finds a version of a store's model. A past state may be judged by any
// version; the newest is the newest then.
func findModel(s *snapshot, field, id string) (*fsm.Model, error) {
	if id == "" {
		if len(s.models) == 0 {
			return nil, at(field, fmt.Errorf("%w: store %s has no model yet; write one first", ErrModelNotFound, s.head.ID()))
		}
		return s.models[len(s.models)-1], nil
	}
	parsed, err := fsm.ParseModelID(id)
	if err == nil {
		if m, ok := s.head.Model(parsed); ok {
			return m, nil
		}
	}
	return nil, at(field, fmt.Errorf("%w: store %s has no model %q", ErrModelNotFound, s.head.ID(), id))
}

// parseStored reads a model as the Writer stored it.
func parseStored(m *fsm.Model) (*model.Model, error) {
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
	plans atomic.Pointer[map[planKey]*plan]
	mu    sync.Mutex // held to put
}

type planKey struct {
	store fsm.StoreID
	model fsm.ModelID
}

func (c *planCache) get(key planKey) (*plan, bool) {
	plans := c.plans.Load()
	if plans == nil {
		return nil, false
	}
	p, ok := (*plans)[key]
	return p, ok
}

// put keeps a plan. A full cache is emptied: that costs the models in use one more
// compilation each, once in as many models as the cache holds.
func (c *planCache) put(key planKey, p *plan) {
	c.mu.Lock()
	defer c.mu.Unlock()
	plans := map[planKey]*plan{}
	if old := c.plans.Load(); old != nil && len(*old) < maxPlans {
		plans = maps.Clone(*old)
	}
	plans[key] = p
	c.plans.Store(&plans)
}
