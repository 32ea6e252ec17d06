package orgfile

import (
	"maps"

	"github.com/remit-authz/remit/graph/crm"
)

// Schema is the JSON Schema of organisation files, for editors. It takes what Parse takes
// and nothing else, as far as a schema can say: that an id stands twice in one mapping, or
// a day in two ranges, it cannot.
func Schema() map[string]any {
	properties := object{}
	maps.Copy(properties, sectionSchemas(false))
	properties[testsKey] = array(reference("test"), "What is to be true of the organisation; remit org test asks it.")
	schema := mappingOf("An organisation and its tests.\n\nA section that is absent leaves that part of an organisation as it is; "+
		"one that is there is the whole of it.", properties)
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	schema["title"] = "Organisation file of Remit"
	schema["$defs"] = definitions()
	return schema
}

// object is a JSON object.
type object = map[string]any

// describe says what a schema is for.
func describe(s object, text string) object {
	described := maps.Clone(s)
	described["description"] = text
	return described
}

// scalar is a text, as the parser takes it: a number stands for its digits.
func scalar(text string) object {
	return object{"type": []string{"string", "number"}, "description": text}
}

func boolean(text string) object { return object{"type": "boolean", "description": text} }

func pattern(expression, text string) object {
	return object{"type": "string", "pattern": expression, "description": text}
}

func oneOfWords(text string, words ...string) object {
	return object{"enum": words, "description": text}
}

func array(items object, text string) object {
	return object{"type": "array", "items": items, "description": text}
}

func reference(name string) object { return object{"$ref": "#/$defs/" + name} }

// mappingOf is a mapping with certain keys, of which some are required.
func mappingOf(text string, properties object, required ...string) object {
	s := object{"type": "object", "description": text, "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		s["required"] = required
	}
	return s
}

// mappingBy is a mapping whose keys are the file's own.
func mappingBy(text string, value object) object {
	return object{"type": "object", "description": text, "additionalProperties": value}
}

// all of some words, or a list of them.
func wordsSchema(text string, words []string) object {
	return object{
		"description": text,
		"anyOf": []object{
			{"const": all},
			{"type": "array", "items": object{"enum": words}, "uniqueItems": true},
		},
	}
}

// some is one text or several.
func some(text string) object {
	return object{
		"description": text,
		"anyOf": []object{
			{"type": []string{"string", "number"}},
			{"type": "array", "items": scalar("One of them."), "minItems": 1},
		},
	}
}

const (
	partyPattern   = `^(everyone|(user|role|role-and-subordinates|group):[^\s#]+)$`
	refPattern     = `^[^:]+:(.|\n)+$`
	datePattern    = `^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$`
	instantPattern = `^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.,][0-9]+)?` +
		`(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$`
	dayPattern    = `^((mon|tues|wednes|thurs|fri|satur|sun)day|mon|tue|wed|thu|fri|sat|sun)(-((mon|tues|wednes|thurs|fri|satur|sun)day|mon|tue|wed|thu|fri|sat|sun))?$`
	clock         = `(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)`
	span          = clock + `-` + clock
	window        = `\s*` + span + `(\s+except(\s+` + span + `)+)?\s*`
	windowPattern = `^(\s*closed\s*|` + window + `(,` + window + `)*)$`
)

// sectionSchemas are the sections, or those of a change.
func sectionSchemas(change bool) object {
	// An entity in a change says what is other, or by null that it goes.
	by := func(what string) object {
		if change {
			return object{"anyOf": []object{reference(what + "-change"), {"type": "null"}}}
		}
		return reference(what)
	}
	organisation := "organisation"
	if change {
		organisation += "-change"
	}
	return object{
		string(Organisation): reference(organisation),
		string(Modules):      mappingBy("Kinds of records by id: words of lower-case letters and digits, joined by '_'.", by("module")),
		string(Profiles):     mappingBy("What people may do at all, by id.", by("profile")),
		string(Fields): mappingBy("Attributes of records, by module and then by id.",
			mappingBy("Fields of one module by id.", by("field"))),
		string(Roles):  mappingBy("The tree of roles, by id. Exactly one has no parent.", by("role")),
		string(Shifts): mappingBy("Working hours, by id.", by("shift")),
		string(Users):  mappingBy("People, by id.", by("user")),
		string(Groups): mappingBy("People by any mixture of names, by id.", by("group")),
		string(Teams):  mappingBy("People whose managers reach what they own, by id.", by("team")),
		string(Rules):  mappingBy("Sharing rules, by id.", by("rule")),
		string(Records): mappingBy("What people own, by module and then by id.",
			mappingBy("Records of one module by id.", by("record"))),
	}
}

// entitySchemas are the properties of entities and which of them are required.
func entitySchemas() map[string]object {
	name := scalar("What people call it. Unique among its like, whatever the case.")
	return map[string]object{
		"organisation": mappingOf("What the organisation decides as a whole.", object{
			"id":          scalar("Never changes."),
			"name":        scalar("What people call it."),
			"super_admin": scalar("The user who reaches secret records, and whom administrators cannot demote."),
			"hierarchy": oneOfWords("What makes a superior: a role above (role, the default) or the chain of managers (reporting).",
				hierarchies...),
			"non_reporting_by_role": boolean("With the reporting hierarchy, roles above reach what non-reporting people own. " +
				"By default only administrators do."),
			"adding_needs_edit": boolean("To add a note needs edit on the record. By default view is enough."),
			"keep_shares":       boolean("Shares stay when a record gets another owner. By default they are dropped."),
			"assign":            oneOfWords("To whom a record may be given. By default to anyone.", assignScopes...),
			"login_hours":       boolean("Who has a gated profile may do nothing outside working hours."),
			"max_shifts":        object{"type": "integer", "minimum": 0, "description": "How many shifts there may be, by default 30. Who runs the service raises it."},
			"business_hours": mappingOf("When the organisation works at all; shifts lie inside. Absent: always.", object{
				"first_day": oneOfWords("The first day of the week, by default sunday.",
					"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"),
				"hours": reference("hours"),
			}, "hours"),
		}, "id", "name", "super_admin"),
		"module": mappingOf("A kind of record.", object{
			"name":         name,
			"kind":         oneOfWords("How access comes about: by owner, rules and shares (standard, the default), by the record above (child), or closed to rules and shares.", kinds...),
			"parents":      array(scalar("A module."), "Modules whose records may stand above a record of this one."),
			"default":      oneOfWords("What everybody has on every record, by default none.", defaultLevels...),
			"no_hierarchy": boolean("Superiors do not reach what is owned below them."),
		}, "name"),
		"profile": mappingOf("What its holders may do at all. Which records they may do it to is decided elsewhere; both are needed.", object{
			"name":          name,
			"administrator": boolean("Reaches all records that are not secret, as far as the permissions let it."),
			"gated":         boolean("Closes outside working hours, if the organisation has login_hours."),
			"modules": mappingBy("Permissions by module. Nothing is possible without view.",
				wordsSchema("What may be done in the module.", crm.PermissionNames())),
			"tools": wordsSchema("What works on many records at once.", asTexts(crm.AllTools())),
			"setup": wordsSchema("What changes the organisation itself.", asTexts(crm.AllSetup())),
		}, "name"),
		"field": mappingOf("An attribute of a module's records.", object{
			"name":      name,
			"mandatory": boolean("It cannot be restricted."),
			"levels": mappingBy("Profiles that may do less than write. Who has several may do the most that one of them lets.",
				oneOfWords("What the profile may do with the field.", fieldLevels...)),
		}, "name"),
		"role": mappingOf("A place in the tree of roles. Who holds it reaches what is owned below.", object{
			"name":              name,
			"parent":            scalar("The role above. The root alone has none."),
			"peers":             oneOfWords("What holders of this same role have on each other's records, by default none.", defaultLevels...),
			"forecast_managers": array(scalar("A user."), "Who views what holders of this role own, forecasts included."),
		}, "name"),
		"shift": mappingOf("Hours that people work.", object{
			"name":       name,
			"zone":       scalar("Such as Europe/Paris, or UTC."),
			"hours":      reference("hours"),
			"holidays":   array(pattern(datePattern, "A date such as 2026-12-25."), "Dates on which nothing begins."),
			"exceptions": reference("exceptions"),
		}, "name", "zone", "hours"),
		"user": mappingOf("A person's seat.", object{
			"name":          scalar("What people call them."),
			"login":         scalar("Who sits here, as an identity provider names them."),
			"role":          scalar("The one role that they hold."),
			"profiles":      array(scalar("A profile."), "What they may do: the union of these."),
			"manager":       scalar("The user to whom they report, of a higher role."),
			"non_reporting": boolean("They report to nobody in the reporting hierarchy."),
			"suspended":     boolean("They may do nothing. What they own stays."),
			"shifts": array(object{"anyOf": []object{
				{"type": []string{"string", "number"}},
				mappingOf("A shift during a period.", object{
					"shift": scalar("The shift."), "from": reference("instant"), "until": reference("instant"),
				}, "shift"),
			}}, "What they work, one shift at a time; for ever, or from and until."),
			"leave": array(mappingOf("A period; without from, since ever; without until, for ever.", object{
				"from": reference("instant"), "until": reference("instant"),
			}), "When they are away."),
		}, "name", "role"),
		"group": mappingOf("People by any mixture of names. It owns nothing.", object{
			"name":    name,
			"members": array(reference("party"), "Who is in it, but not everyone."),
		}, "name"),
		"team": mappingOf("Its managers reach what its members own. To be a member gives nothing.", object{
			"name":     name,
			"managers": array(scalar("A user."), "Users."),
			"members":  array(scalar("A user."), "Users."),
		}, "name"),
		"rule": mappingOf("Shares what its source owns in one module with its target.", object{
			"name":      name,
			"module":    scalar("A standard one."),
			"source":    describe(reference("party"), "Whose records are shared; not everyone."),
			"target":    describe(reference("party"), "With whom."),
			"level":     oneOfWords("What they get.", ruleLevels...),
			"superiors": boolean("Who is superior to one of the target gets the same."),
			"disabled":  boolean("It shares nothing."),
		}, "name", "module", "source", "target", "level"),
		"record": mappingOf("One thing that people own.", object{
			"owner":           scalar("The user who owns it; of a child module's record, who wrote it."),
			"parents":         array(reference("record-id"), "The records above it. One of a child module has exactly one."),
			"confidentiality": oneOfWords("open by default; restricted leaves owner, superiors, administrators and shares; secret leaves owner, shares and super admin.", confidentialities...),
			"shares": object{
				"type": "object", "description": "Who else reaches it, by party.",
				"propertyNames": object{"pattern": partyPattern},
				"additionalProperties": object{"anyOf": []object{
					{"enum": shareLevels},
					mappingOf("A share that is not as usual.", object{
						"level":      oneOfWords("What they get; full is also to share it and give it away.", shareLevels...),
						"related":    boolean("The same on the records directly below."),
						"expires_at": reference("instant"),
						"reason":     scalar("Why, for people."),
						"granted_by": scalar("Who shared it."),
					}, "level"),
				}},
			},
			"fields": object{"type": "object", "description": "Its attributes."},
		}, "owner"),
	}
}

func asTexts[T ~string](list []T) []string {
	var texts []string
	for _, t := range list {
		texts = append(texts, string(t))
	}
	return texts
}

func definitions() object {
	defs := object{
		"party":     pattern(partyPattern, "user:ann, role:rep, role-and-subordinates:rep, group:emea or everyone."),
		"record-id": pattern(refPattern, "A record as its module and its id: deal:d1."),
		"instant":   pattern(instantPattern, "An instant such as 2026-12-24T08:00:00+01:00."),
		"windows":   pattern(windowPattern, "09:00-12:30, 13:30-18:00, or 22:00-06:00 except 02:00-02:30, or closed. What ends before it begins ends on the next day."),
		"hours": object{
			"type": "object", "description": "Hours by day, monday or mon, or by days in a row, mon-fri.",
			"propertyNames": object{"pattern": dayPattern}, "additionalProperties": reference("windows"),
		},
		"exceptions": object{
			"type": "object", "description": "Hours of single dates, in place of the week's.",
			"propertyNames": object{"pattern": datePattern}, "additionalProperties": reference("windows"),
		},
		"test": testSchema(),
		"change": mappingOf("What is other in this test: of what exists, what is not said stays; null takes it out.",
			sectionSchemas(true)),
	}
	for name, s := range entitySchemas() {
		defs[name] = s
		partial := maps.Clone(s)
		delete(partial, "required")
		defs[name+"-change"] = partial
	}
	return defs
}

func testSchema() object {
	at := describe(reference("instant"), "When; by default when the test runs.")
	action := oneOfWords("What is done to it, by default view.", listActions...)
	can := mappingOf("What users may do to records, in a module, or, without either, with tools and in the setup.", object{
		"user":    some("Users."),
		"record":  some("Records, deal:d1. To them: view, edit, delete, share, transfer, export, and add_note where note is a module below."),
		"module":  scalar("A module. In it: create."),
		"may":     some("What they may do."),
		"may_not": some("What they may not do."),
		"at":      at,
	}, "user")
	can["anyOf"] = []object{{"required": []string{"may"}}, {"required": []string{"may_not"}}}
	can["not"] = object{"required": []string{"record", "module"}}
	fields := mappingOf("Which fields of records users may read, and which write: these and no others.", object{
		"user":   some("Users."),
		"record": some("Records, deal:d1."),
		"read":   array(scalar("A field's id."), "Fields."),
		"write":  array(scalar("A field's id."), "Fields."),
		"at":     at,
	}, "user", "record")
	fields["anyOf"] = []object{{"required": []string{"read"}}, {"required": []string{"write"}}}
	return mappingOf("One thing that is to be true.", object{
		"name":        scalar("What is shown."),
		"description": scalar("More about it."),
		"at":          describe(reference("instant"), "When, for questions that do not say; by default when the test runs."),
		"change":      reference("change"),
		"can":         array(can, "What users may and may not do."),
		"list": array(mappingOf("Which records of a module users may do something to: these and no others.", object{
			"user":    some("Users."),
			"module":  scalar("The module."),
			"action":  action,
			"records": array(scalar("A record's id, without the module."), "Records."),
			"at":      at,
		}, "user", "module", "records"), "Which records users reach."),
		"who": array(mappingOf("Which users may do something to records: these and no others.", object{
			"record": some("Records, deal:d1."),
			"action": action,
			"users":  array(scalar("A user."), "Users."),
			"at":     at,
		}, "record", "users"), "Which users reach records."),
		"fields": array(fields, "Which fields users may read and write."),
		"on_duty": array(mappingOf("Who works a shift, or any: these and no others.", object{
			"shift": scalar("The shift; absent, any."),
			"users": array(scalar("A user."), "Users."),
			"at":    at,
		}, "users"), "Who works when."),
	}, "name")
}
