package model

// An outline says where things stand in the text of a model. OpenFGA's parser keeps no
// places, so the text is read a second time for them; see outliner and jsonOutline.
// An outline may lack anything: what is not in it has no place.
type outline struct {
	files      []string // in the order of the model, for the order of faults
	header     place
	schema     place
	types      []*typeOutline
	conditions []*conditionOutline

	// module is the name in a module's first line, empty in a whole model.
	module string

	byName map[string][]*typeOutline
}

// A typeOutline is one `type` or `extend type` line and what belongs to it.
type typeOutline struct {
	name      string
	at        place
	extend    bool
	relations []*relationOutline
}

// A relationOutline is one `define` line.
type relationOutline struct {
	name string
	at   place
	refs []reference
}

// A reference is the mention of a name. The text of a type restriction is as written but
// for spaces, as in `group#member with in_hours`.
type reference struct {
	text string
	at   place
}

// A conditionOutline is one condition.
type conditionOutline struct {
	name       string
	at         place
	parameters []reference
	expression place
}

// typesNamed are the outlines of a type, extensions included, in the order of the text.
func (o *outline) typesNamed(name string) []*typeOutline {
	if o.byName == nil {
		o.byName = make(map[string][]*typeOutline, len(o.types))
		for _, t := range o.types {
			o.byName[t.name] = append(o.byName[t.name], t)
		}
	}
	return o.byName[name]
}
