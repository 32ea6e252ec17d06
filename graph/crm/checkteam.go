package crm

func (c *checker) teamItself(before, t *Team) {
	of := t.Key()
	c.name(of, typeTeam, before.Name, t.Name)
	c.references(of, "manager", typeUser, before.Managers, t.Managers)
	c.references(of, "member", typeUser, before.Members, t.Members)
}
