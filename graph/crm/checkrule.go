package crm

func (c *checker) ruleItself(before, r *Rule) {
	of := r.Key()
	c.name(of, typeRule, before.Name, r.Name)
	if r.Module == "" || r.Module != before.Module {
		if m := c.module(r.Module); m == nil {
			c.fault(of, "module %q does not exist", r.Module)
		} else if m.Kind != Standard {
			c.fault(of, "module %q is not a standard one: nothing of it can be shared", r.Module)
		}
	}
	if r.Source != before.Source || r.Source == (Party{}) {
		c.party(of, "the source", r.Source, false)
	}
	if r.Target != before.Target || r.Target == (Party{}) {
		c.party(of, "the target", r.Target, true)
	}
	if r.Level < LevelView || r.Level > LevelDelete {
		c.fault(of, "it cannot give %s: view, edit or delete", r.Level)
	}
}
