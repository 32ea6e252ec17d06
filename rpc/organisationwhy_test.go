package rpc

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/remit-authz/remit/graph/crm"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// whyTeam is salesTeam with what makes grounds.
func whyTeam() *crm.Organisation {
	o := salesTeam()
	o.Rules = []crm.Rule{
		{
			ID: "r1", Name: "EMEA to Support", Module: "deal", Level: crm.LevelView,
			Source: crm.Party{Kind: crm.HoldersOf, ID: "rep"}, Target: crm.Party{Kind: crm.HoldersOf, ID: "agent"},
		},
		{
			ID: "r2", Name: "Off", Module: "account", Level: crm.LevelEdit, Disabled: true,
			Source: crm.Party{Kind: crm.HoldersOf, ID: "rep"}, Target: crm.Party{Kind: crm.Everyone},
		},
	}
	o.Records[1].Shares[0].GrantedBy, o.Records[1].Shares[0].Reason = "rob", "they asked"
	o.Records = append(o.Records, crm.Record{Module: "deal", ID: "s1", Owner: "rob", Confidentiality: crm.Secret})
	return o
}

// why asks one question, and shows the answer: each ground as its kind, its level and its
// sentence.
func (a *askedOrganisation) why(scope *remitv1.OrganisationScope, user, action, on, field string) (*remitv1.WhyResponse, []string, error) {
	res, err := a.org.Why(a.t.Context(), &remitv1.WhyRequest{Scope: scope, Deed: &remitv1.Deed{User: user, Action: action, On: on, Field: field}})
	var texts []string
	for _, g := range slices.Concat(res.GetGrounds(), res.GetMissing()) {
		level := strings.ToLower(strings.TrimPrefix(g.Level.String(), "LEVEL_"))
		if g.Level == 0 {
			level = "-"
		}
		texts = append(texts, fmt.Sprintf("%s %s %s", strings.TrimPrefix(g.Kind.String(), "KIND_"), level, g.Text))
	}
	return res, texts, err
}

// What an administrator, or the application itself, is told.
func TestWhy(t *testing.T) {
	a := newRig(t).organisation("acme", whyTeam(), noon)
	for _, tt := range []struct {
		deed    string
		allowed bool
		want    []string
	}{
		{"kim view deal:d1", true, []string{
			`SHARE edit deal:d1 is shared with role "Agent": edit, until 2026-06-10 13:00 UTC, granted by "Rob", because "they asked"`,
			`RULE view rule "EMEA to Support" shares deals owned by role "Rep" with role "Agent": view`,
			`SEAT - the seat of "Kim" is active`,
			`PROFILE - profile "Support" gives view on deals`,
		}},
		{"mia delete deal:d1", true, []string{
			`SUPERIOR full "Mia" is superior to the owner, "Rob": role "EMEA" stands above role "Rep"`,
			`SEAT - the seat of "Mia" is active`,
			`PROFILE - profile "Standard" gives view and delete on deals`,
		}},
		{"kim delete deal:d1", false, []string{
			`PROFILE - profile "Support" lacks delete on deals`,
			`RECORD edit "Kim" has only edit on deal:d1, and not delete: deal:d1 is shared with role "Agent": edit, until 2026-06-10 13:00 UTC, granted by "Rob", because "they asked"`,
		}},
		{"kim edit deal:s1", false, []string{
			`RECORD - nothing gives "Kim" edit on deal:s1, which belongs to "Rob", role "Rep"; who has full access can share it`,
		}},
		{"mia view deal:s1", false, []string{
			`CONFIDENTIAL full deal:s1 is secret; were it open, this would give full access: "Mia" is superior to the owner, "Rob": role "EMEA" stands above role "Rep"`,
			`RECORD - nothing gives "Mia" view on deal:s1, which belongs to "Rob", role "Rep"; who has full access can share it`,
		}},
		{"kim view account:a1", false, []string{
			`PROFILE - profile "Support" lacks view on accounts`,
			`RULE edit rule "Off" shares accounts owned by role "Rep" with everyone: edit, but it is disabled`,
			`RECORD - nothing gives "Kim" view on account:a1, which belongs to "Rob", role "Rep"; who has full access can share it, and a rule can share all that the owner has`,
		}},
		{"kim edit deal:d1 stage", false, []string{`FIELD - the field "Stage" of deals may only be read with profile "Support"`}},
		{"kim view deal:d1 margin", false, []string{`FIELD - the field "Margin" of deals is hidden from profile "Support"`}},
		{"rob edit note:n1", true, []string{
			`AUTHOR delete "Rob" wrote note:n1`,
			`PARENT edit note:n1 belongs to deal:d1, which "Rob" may edit: "Rob" owns deal:d1`,
			`PARENT view note:n1 belongs to deal:d1, which "Rob" may view: "Rob" owns deal:d1`,
			`SEAT - the seat of "Rob" is active`,
			`PROFILE - profile "Standard" gives view and edit on notes`,
			`PROFILE - profile "Standard" gives view and edit on deals`,
		}},
		{"joe manage_users", false, []string{`SEAT - the seat of "Joe" is suspended: who manages users can make it active again`}},
		{"uma manage_users", true, []string{`SEAT - the seat of "Uma" is active`, `PROFILE - profile "HR" gives the setup permission manage_users`}},
		{"rob export", false, []string{`PROFILE - profile "Standard" lacks the tool export`}},
		{"kim create deal", false, []string{`PROFILE - profile "Support" lacks create on deals`}},
		{"zoe view deal:d1", false, []string{`SEAT - no seat has the id "zoe"`}},
		{"rob view deal:d99", false, []string{`RECORD - there is no record deal:d99`}},
		{"rob share note:n1", false, []string{`RECORD - nobody may share notes`}},
		{"mia edit forecast:f1", false, []string{
			`RECORD view "Mia" has only view on forecast:f1, and not edit: "Mia" is superior to the owner, "Rob": role "EMEA" stands above role "Rep"`,
		}},
	} {
		words := append(strings.Fields(tt.deed), "", "")
		res, got, err := a.why(a.scope(), words[0], words[1], words[2], words[3])
		if err != nil {
			t.Errorf("Why(%s): %v", tt.deed, err)
			continue
		}
		if diff := cmp.Diff(tt.want, got); diff != "" || res.Allowed != tt.allowed || res.Redacted || res.Token == "" || !res.At.AsTime().Equal(noon) {
			t.Errorf("Why(%s) = %v, redacted %v, at %s (-want +got):\n%s", tt.deed, res.Allowed, res.Redacted, res.At.AsTime(), diff)
		}
	}
}

// What a seat is told: nothing of records that it may not view, nor of others' shares.
func TestWhyIsToldAsFarAsTheAskerMaySee(t *testing.T) {
	a := newRig(t).organisation("acme", whyTeam(), noon)
	for _, tt := range []struct {
		asker, deed string
		redacted    bool
		want        []string
	}{
		{"kim", "kim edit deal:d1", false, []string{
			`SHARE edit deal:d1 is shared with role "Agent": edit, until 2026-06-10 13:00 UTC, granted by "Rob", because "they asked"`,
			`RULE view rule "EMEA to Support" shares deals owned by role "Rep" with role "Agent": view`,
			`SEAT - the seat of "Kim" is active`, `PROFILE - profile "Support" gives view and edit on deals`,
		}},
		{"rob", "rob view deal:d2", true, []string{`RECORD - nothing gives "Rob" view on deal:d2, if there is such a record; more may not be told`}},
		{"rob", "rob view deal:d99", true, []string{`RECORD - nothing gives "Rob" view on deal:d99, if there is such a record; more may not be told`}},
		{"uma", "kim view deal:d1", true, []string{
			`RECORD view "Kim" has view on deal:d1; on what grounds may not be told`,
			`SEAT - the seat of "Kim" is active`, `PROFILE - profile "Support" gives view on deals`,
		}},
		{"uma", "mia view deal:s1", true, []string{`RECORD - nothing gives "Mia" view on deal:s1, if there is such a record; more may not be told`}},
		{"mia", "mia view deal:s1", true, []string{`RECORD - nothing gives "Mia" view on deal:s1, if there is such a record; more may not be told`}},
		{"mia", "rob view deal:d1", false, []string{
			`OWNER full "Rob" owns deal:d1`, `SEAT - the seat of "Rob" is active`, `PROFILE - profile "Standard" gives view on deals`,
		}},
		{"ada", "mia view deal:s1", false, []string{
			`CONFIDENTIAL full deal:s1 is secret; were it open, this would give full access: "Mia" is superior to the owner, "Rob": role "EMEA" stands above role "Rep"`,
			`RECORD - nothing gives "Mia" view on deal:s1, which belongs to "Rob", role "Rep"; who has full access can share it`,
		}},
		{"joe", "joe view deal:d1", true, []string{
			`SEAT - the seat of "Joe" is suspended: who manages users can make it active again`,
		}},
	} {
		words := append(strings.Fields(tt.deed), "")
		res, got, err := a.why(a.as(tt.asker), words[0], words[1], words[2], "")
		if err != nil {
			t.Errorf("%s: Why(%s): %v", tt.asker, tt.deed, err)
			continue
		}
		if diff := cmp.Diff(tt.want, got); diff != "" || res.Redacted != tt.redacted {
			t.Errorf("%s: Why(%s), redacted %v (-want +got):\n%s", tt.asker, tt.deed, res.Redacted, diff)
		}
	}
	for _, stranger := range []string{"rob", "kim", "dan", "joe"} {
		_, _, err := a.why(a.as(stranger), "mia", "view", "deal:d1", "")
		if err == nil {
			t.Errorf("%s is told why mia may view deal:d1", stranger)
			continue
		}
		if code, _, detail := detailOf(t, err); code != connect.CodePermissionDenied || detail.Field != "deed.user" {
			t.Errorf("%s: Why about mia: %v", stranger, err)
		}
	}
}
