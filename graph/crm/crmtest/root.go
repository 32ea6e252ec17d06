package crmtest

import "github.com/remit-authz/remit/graph/crm"

// RenameRoot gives the root role of an organisation another id. It is the one role that
// stays whatever else is changed, so an organisation can only become one with the same.
func RenameRoot(o *crm.Organisation, id string) {
	was := ""
	for i := range o.Roles {
		if o.Roles[i].Parent == "" {
			was = o.Roles[i].ID
		}
	}
	replace := func(of *string) {
		if *of == was {
			*of = id
		}
	}
	party := func(p *crm.Party) {
		if p.Kind == crm.HoldersOf || p.Kind == crm.RoleAndSubordinates {
			replace(&p.ID)
		}
	}
	for i := range o.Roles {
		replace(&o.Roles[i].ID)
		replace(&o.Roles[i].Parent)
	}
	for i := range o.Seats {
		replace(&o.Seats[i].Role)
	}
	for i := range o.Groups {
		for j := range o.Groups[i].Members {
			party(&o.Groups[i].Members[j])
		}
	}
	for i := range o.Rules {
		party(&o.Rules[i].Source)
		party(&o.Rules[i].Target)
	}
	for i := range o.Records {
		for j := range o.Records[i].Shares {
			party(&o.Records[i].Shares[j].To)
		}
	}
}
