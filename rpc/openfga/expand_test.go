package openfga

import (
	"testing"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
)

func TestExpand(t *testing.T) {
	r := newRig(t)
	store, model := acme(r)
	r.write(store, "document:plan#owner@user:anna", "document:plan#parent@folder:drafts")
	for _, tc := range []struct {
		name, object, relation string
		tuples                 []*openfgav1.TupleKey
		want                   string
	}{
		{
			name: "users in the order of their names", object: "document:plan", relation: "owner",
			want: `name:"document:plan#owner" leaf:{users:{users:"user:anna" users:"user:otto"}}`,
		},
		{
			name: "a user under a condition", object: "document:draft", relation: "guest",
			want: `name:"document:draft#guest" leaf:{users:{users:"user:gil"}}`,
		},
		{
			name: "a union", object: "document:plan", relation: "viewer",
			want: `name:"document:plan#viewer" union:{` +
				`nodes:{name:"document:plan#viewer" leaf:{users:{}}} ` +
				`nodes:{name:"document:plan#viewer" leaf:{computed:{userset:"document:plan#editor"}}} ` +
				`nodes:{name:"document:plan#viewer" leaf:{tuple_to_userset:{tupleset:"document:plan#parent" computed:{userset:"folder:plans#viewer"} computed:{userset:"folder:drafts#viewer"}}}}}`,
		},
		{
			name: "everybody, and usersets", object: "document:notice", relation: "viewer",
			tuples: r.tuples("document:notice#viewer@group:design#member", "document:notice#parent@folder:new", "document:notice#viewer@user:*"),
			want: `name:"document:notice#viewer" union:{` +
				`nodes:{name:"document:notice#viewer" leaf:{users:{users:"group:design#member" users:"user:*"}}} ` +
				`nodes:{name:"document:notice#viewer" leaf:{computed:{userset:"document:notice#editor"}}} ` +
				`nodes:{name:"document:notice#viewer" leaf:{tuple_to_userset:{tupleset:"document:notice#parent" computed:{userset:"folder:new#viewer"}}}}}`,
		},
		{
			name: "an intersection", object: "document:plan", relation: "signer",
			want: `name:"document:plan#signer" intersection:{` +
				`nodes:{name:"document:plan#signer" leaf:{computed:{userset:"document:plan#editor"}}} ` +
				`nodes:{name:"document:plan#signer" leaf:{computed:{userset:"document:plan#viewer"}}}}`,
		},
		{
			name: "a difference", object: "document:plan", relation: "reader",
			want: `name:"document:plan#reader" difference:{` +
				`base:{name:"document:plan#reader" leaf:{computed:{userset:"document:plan#viewer"}}} ` +
				`subtract:{name:"document:plan#reader" leaf:{computed:{userset:"document:plan#blocked"}}}}`,
		},
		{
			name: "what nobody knows", object: "document:nothing", relation: "owner",
			want: `name:"document:nothing#owner" leaf:{users:{}}`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			catch, of := header()
			res, err := r.Expand(t.Context(), &openfgav1.ExpandRequest{
				StoreId: store, TupleKey: &openfgav1.ExpandRequestTupleKey{Object: tc.object, Relation: tc.relation},
				ContextualTuples: contextual(tc.tuples...),
			}, catch)
			if err != nil {
				t.Fatal(err)
			}
			if got := spelled(res.Tree.Root); got != tc.want {
				t.Errorf("Expand(%s#%s):\n got %s\nwant %s", tc.object, tc.relation, got, tc.want)
			}
			if of(HeaderModelID) != model {
				t.Errorf("%s is %q, want %q", HeaderModelID, of(HeaderModelID), model)
			}
		})
	}
}

// The tree is the rewrite as it was written, not as it is evaluated.
func TestExpandKeepsNestedOperators(t *testing.T) {
	r := newRig(t)
	store, _ := r.store("model\n  schema 1.1\ntype user\ntype document\n  relations\n    define a: [user]\n    define b: [user]\n    define c: a or (a or b)\n")
	res, err := r.Expand(t.Context(), &openfgav1.ExpandRequest{
		StoreId: store, TupleKey: &openfgav1.ExpandRequestTupleKey{Object: "document:plan", Relation: "c"},
	})
	leaf := func(relation string) string {
		return `nodes:{name:"document:plan#c" leaf:{computed:{userset:"document:plan#` + relation + `"}}}`
	}
	want := `name:"document:plan#c" union:{` + leaf("a") + ` nodes:{name:"document:plan#c" union:{` + leaf("a") + ` ` + leaf("b") + `}}}`
	if got := spelled(res.GetTree().GetRoot()); err != nil || got != want {
		t.Errorf("Expand:\n got %s, %v\nwant %s", got, err, want)
	}
}

func TestExpandFaults(t *testing.T) {
	r := newRig(t)
	store, _ := acme(r)
	const nowhere = "01HVMMBCMGZNTGTTYYYYYYYYYY"
	for _, tc := range []struct {
		name, store, model, object, relation string
		tuples                               []*openfgav1.TupleKey
		code                                 Code
		text                                 string
	}{
		{name: "no such store", store: nowhere, object: "document:plan", relation: "viewer", code: 2020, text: "No authorization models found for store '" + nowhere + "'"},
		{name: "no such model", model: nowhere, object: "document:plan", relation: "viewer", code: 2001, text: "Authorization Model '" + nowhere + "' not found"},
		{name: "no object", relation: "viewer", code: 2010, text: "Invalid input. Make sure you provide an object and a relation"},
		{name: "no relation", object: "document:plan", code: 2010, text: "Invalid input. Make sure you provide an object and a relation"},
		{name: "no such type", object: "report:plan", relation: "viewer", code: 2000, text: "type 'report' not found"},
		{name: "no such relation", object: "document:plan", relation: "printer", code: 2000, text: "relation 'document#printer' not found"},
		{name: "an object without an id", object: "document:", relation: "viewer", code: 2000, text: "invalid 'object' field format"},
		{name: "everything", object: "document:*", relation: "viewer", code: 2000, text: "the 'object' field cannot reference a typed wildcard"},
		{
			name: "a contextual tuple without its condition", object: "document:plan", relation: "viewer",
			tuples: []*openfgav1.TupleKey{{Object: "document:plan", Relation: "guest", User: "user:nina"}},
			code:   2000, text: "Invalid tuple 'document:plan#guest@user:nina'. Reason: condition is missing",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req := &openfgav1.ExpandRequest{
				StoreId: store, AuthorizationModelId: tc.model, ContextualTuples: contextual(tc.tuples...),
				TupleKey: &openfgav1.ExpandRequestTupleKey{Object: tc.object, Relation: tc.relation},
			}
			if tc.store != "" {
				req.StoreId = tc.store
			}
			_, err := r.Expand(t.Context(), req)
			wantError(t, err, tc.code, tc.text)
		})
	}
}
