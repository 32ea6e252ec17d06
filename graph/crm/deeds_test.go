package crm

import (
	"errors"
	"strings"
	"testing"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

func exampleDeeds(t testing.TB) *Deeds {
	t.Helper()
	d, ok := DeedsOf(compiled(t, exampleModules()))
	if !ok {
		t.Fatal("the model is not that of an organisation")
	}
	return d
}

// String shows a demand for the table below.
func (d Demand) String() string {
	text := "nobody"
	if d.Relation != nil {
		text = d.Relation.Type.Name + ":" + d.ID + "#" + d.Relation.Name
	}
	if d.Also != nil {
		text += " and " + d.Also.Type.Name + ":" + d.AlsoID + "#" + d.Also.Name
	}
	return text
}

func TestWhatDecidesADeed(t *testing.T) {
	deeds := exampleDeeds(t)
	for _, tt := range []struct{ action, on, field, want string }{
		{"view", "deal:d1", "", "deal:d1#can_view"},
		{"transfer", "deal:a:b", "", "deal:a:b#can_transfer"},
		{"edit", "deal:d1", "iban", "deal:d1#can_edit and field:deal.iban#can_write"},
		{"view", "note:n1", "text", "note:n1#can_view and field:note.text#can_read"},
		{"export", "deal:d1", "", "deal:d1#can_view and tool:export#allowed"},
		{"add_note", "deal:d1", "", "deal:d1#can_add_note"},
		{"add_attachment", "account:a1", "", "nobody"},
		{"add_note", "note:n1", "", "nobody"},
		{"share", "forecast:f1", "", "nobody"},
		{"share", "note:n1", "", "nobody"},
		{"transfer", "note:n1", "", "nobody"},
		{"transfer", "forecast:f1", "", "forecast:f1#can_transfer"},
		{"create", "note", "", "module:note#can_create"},
		{"create", "import", "", "module:import#can_create"},
		{"import", "", "", "tool:import#allowed"},
		{"export", "", "", "tool:export#allowed"},
		{"manage_users", "", "", "setup:manage_users#allowed"},

		{"veiw", "deal:d1", "", `action: "veiw": there is no such action; of this record can be asked: view, edit, delete, share, transfer, export, add_attachment, add_note`},
		{"add_deal", "deal:d1", "", `action: "add_deal": there is no such action`},
		{"superior", "deal:d1", "", `action: "superior": there is no such action`},
		{"view", "lead:l1", "", `on: "lead": there is no such module; there are: account, attachment, deal, email, forecast, import, note`},
		{"view", "user:ann", "", `on: "user": there is no such module`},
		{"view", "deal", "", `on: "deal": view is asked of a record: write deal:id`},
		{"view", "", "", `on: "": view is asked of a record: write module:id`},
		{"view", "deal:", "", "object"},
		{"view", "deal:*", "", "object"},
		{"view", "deal:a b", "", "object"},
		{"share", "note:*", "", "object"},
		{"create", "deal:d1", "", `on: "deal:d1": create is asked of a module: write deal`},
		{"create", "", "", `on: "": create is asked of a module: account,`},
		{"create", "lead", "", `on: "lead": there is no such module`},
		{"edit_all", "deal", "", `action: "edit_all": in a module, only create can be asked`},
		{"manage_users", "deal:d1", "", `on: "deal:d1": manage_users is asked of nothing`},
		{"manage_cats", "", "", `action: "manage_cats": on nothing, only these can be asked: export, import,`},
		{"delete", "deal:d1", "iban", `field: "iban": delete is not asked of a field, but view and edit are`},
		{"add_note", "deal:d1", "iban", `field: "iban": add_note is not asked of a field`},
		{"create", "deal", "iban", `field: "iban": only records have fields`},
		{"import", "", "iban", `field: "iban": only records have fields`},
		{"view", "deal:d1", "i ban", `field: "i ban": it can be no field's id`},
	} {
		demand, err := deeds.Find(tt.action, tt.on, tt.field)
		got := demand.String()
		if e := (*DeedError)(nil); errors.As(err, &e) {
			got = e.Part + ": " + e.Error()
		} else if e := (*graph.TupleError)(nil); errors.As(err, &e) {
			got = e.Field
		}
		if got != tt.want && (err == nil || !strings.HasPrefix(got, tt.want)) {
			t.Errorf("Find(%q, %q, %q) = %s, want %s", tt.action, tt.on, tt.field, got, tt.want)
		}
		if err != nil && demand != (Demand{}) {
			t.Errorf("Find(%q, %q, %q) gives %s and an error", tt.action, tt.on, tt.field, demand)
		}
	}
}

// TestWhatIsAboutTheModuleAlone takes the relations of the model apart.
func TestWhatIsAboutTheModuleAlone(t *testing.T) {
	deeds := exampleDeeds(t)
	for _, tt := range []struct{ module, action, want string }{
		{"deal", "view", "rec_view p_view member"},
		{"deal", "delete", "rec_delete p_view p_delete member"},
		{"deal", "share", "base p_view p_share member"},
		{"deal", "export", "rec_view p_view member export"},
		{"deal", "add_note", "add_reach p_view add_note member"},
		{"note", "edit", "rec_edit p_view p_edit member"},
		{"forecast", "view", "viewer p_view member"},
		{"forecast", "edit", "owner p_view p_edit member"},
		{"forecast", "share", ""},
	} {
		l, err := deeds.Listing(tt.module, tt.action)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		if l.Whole != nil {
			got = append(got, l.Reach.Name)
		}
		for _, r := range l.Module {
			got = append(got, r.Name)
		}
		if l.Tool != "" {
			got = append(got, string(l.Tool))
		}
		if text := strings.Join(got, " "); text != tt.want {
			t.Errorf("Listing(%s, %s) = %s, want %s", tt.module, tt.action, text, tt.want)
		}
	}
	for _, tt := range []struct{ module, action, want string }{
		{"lead", "view", `module: "lead": there is no such module; there are: account,`},
		{"deal", "create", `action: "create": there is no such action; of these records can be asked: view, edit,`},
	} {
		_, err := deeds.Listing(tt.module, tt.action)
		if e := (*DeedError)(nil); !errors.As(err, &e) || !strings.HasPrefix(e.Part+": "+e.Error(), tt.want) {
			t.Errorf("Listing(%s, %s): %v, want %s", tt.module, tt.action, err, tt.want)
		}
	}
}

func TestOtherModelsHaveNoDeeds(t *testing.T) {
	for _, text := range []string{
		"model\n  schema 1.1\ntype user\n",
		strings.ReplaceAll(ModelText(nil), "can_create", "may_create"),
		strings.ReplaceAll(ModelText(nil), "roster", "rota"),
	} {
		m, err := model.ParseDSL("", text)
		if err != nil {
			t.Fatal(err)
		}
		table := model.NewTable()
		table.Define(m.Declarations())
		plan, err := m.Compile("", table)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := DeedsOf(plan); ok {
			t.Errorf("a model has deeds that is not an organisation's:\n%s", text)
		}
	}
}
