package openfga

import (
	"strings"
	"testing"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
)

func TestFormsOfNames(t *testing.T) {
	for _, test := range []struct {
		text             string
		form             userForm
		object, relation bool
	}{
		{text: "", form: userMalformed},
		{text: "anna", form: userBare, relation: true},
		{text: "*", form: userBare, relation: true},
		{text: "a@b", form: userBare},
		{text: "user:anna", form: userObject, object: true},
		{text: "user:*", form: userObject, object: true},
		{text: "*:*", form: userObject, object: true},
		{text: "user:a@b|c/d", form: userObject, object: true},
		{text: "user:\u00a0", form: userObject, object: true},
		{text: "group:eng#member", form: userSet},
		{text: "group:a@b#member", form: userSet},
		{text: "*:eng#member", form: userSet},
		{text: ":", form: userMalformed},
		{text: "user:", form: userMalformed},
		{text: ":anna", form: userMalformed},
		{text: "user:a:b", form: userMalformed},
		{text: "user:a b", form: userMalformed},
		{text: "user:a\tb", form: userMalformed},
		{text: "user:a\u0085", form: userMalformed},
		{text: "eng#member", form: userMalformed},
		{text: "group:#member", form: userMalformed},
		{text: "group:eng#", form: userMalformed},
		{text: "group:eng#a#b", form: userMalformed},
		{text: "group:eng#a:b", form: userMalformed},
		{text: "group:eng:x#a", form: userMalformed},
		{text: "group:*#member", form: userMalformed},
		{text: "group:eng#*", form: userMalformed},
	} {
		if got := formOf(test.text); got != test.form {
			t.Errorf("formOf(%q) = %d, want %d", test.text, got, test.form)
		}
		if got := isObject(test.text); got != test.object {
			t.Errorf("isObject(%q) = %t", test.text, got)
		}
		if got := isRelation(test.text); got != test.relation {
			t.Errorf("isRelation(%q) = %t", test.text, got)
		}
		if got := subjectName(test.text); test.form == userSet && got.String() != test.text {
			t.Errorf("subjectName(%q) = %v", test.text, got)
		}
	}
}

// OpenFGA counts the names of objects in characters and those of users in bytes. What it
// takes has to come back from the disk.
func TestTheLongestNames(t *testing.T) {
	const four = "\U0001d4b3" // a letter of four bytes
	typ, relation := strings.Repeat(four, 200), strings.Repeat(four, 50)
	object := typ + ":" + strings.Repeat(four, 55)
	user := "user:" + strings.Repeat(four, 126) + "abc"
	r := newRig(t)
	store, _ := r.store("")
	request := &openfgav1.WriteAuthorizationModelRequest{
		StoreId: store, SchemaVersion: "1.1",
		TypeDefinitions: modelOfJSON(t, typeDef("user")+","+typeDef(typ, [3]string{relation, this, anyUser}), "").GetTypeDefinitions(),
	}
	if _, err := r.WriteAuthorizationModel(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	if len([]rune(object)) != 256 || len(user) != 512 {
		t.Fatalf("the object has %d characters, the user %d bytes", len([]rune(object)), len(user))
	}
	key := &openfgav1.TupleKey{Object: object, Relation: relation, User: user}
	if err := r.tryWrite(writes(store, key)); err != nil {
		t.Fatal(err)
	}
	check, err := r.Check(t.Context(), &openfgav1.CheckRequest{
		StoreId: store, TupleKey: &openfgav1.CheckRequestTupleKey{Object: object, Relation: relation, User: user},
	})
	if err != nil || !check.GetAllowed() {
		t.Errorf("Check = %v, %v, want allowed", check, err)
	}
	objects, err := r.ListObjects(t.Context(), &openfgav1.ListObjectsRequest{StoreId: store, Type: typ, Relation: relation, User: user})
	if err != nil || len(objects.GetObjects()) != 1 || objects.GetObjects()[0] != object {
		t.Errorf("ListObjects = %v, %v", objects, err)
	}
	read, err := r.Read(t.Context(), &openfgav1.ReadRequest{StoreId: store})
	if err != nil || len(read.GetTuples()) != 1 || read.GetTuples()[0].GetKey().GetUser() != user {
		t.Errorf("Read = %v, %v", read, err)
	}

	r.model(store, "model\n  schema 1.1\ntype user\ntype d\n  relations\n    define viewer: [user]\n")
	r.write(store, "d:"+strings.Repeat(four, 254)+"#viewer@user:anna")
}
