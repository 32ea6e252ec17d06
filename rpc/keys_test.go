package rpc

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

func TestKeyOpensWhatItIsFor(t *testing.T) {
	g := newGuarded(t, nil)
	shop, other := g.store("shop", acme...), g.store("other", acme...)
	key := g.as(g.key("shop-web", onStore("shop", toRead, toWrite)))
	question := &remitv1.Question{Object: "document:plan", Relation: "reader", Subject: "user:olga"}
	for _, name := range []string{shop, "shop"} {
		if res, err := key.access.Check(t.Context(), &remitv1.CheckRequest{Scope: scopeOf(name), Question: question}); err != nil || !res.Allowed {
			t.Errorf("Check in %s = %v, %v, want allowed", name, res, err)
		}
	}
	if _, err := key.tuples.Write(t.Context(), &remitv1.WriteRequest{Store: shop, Operations: touch(t, "document:plan#owner@user:bob")}); err != nil {
		t.Error(err)
	}

	// A store of others and one that does not exist cannot be told apart.
	texts := map[string]bool{}
	for _, name := range []string{other, "other", "nowhere", fsm.StoreID{1}.String(), backend.SystemStore.String()} {
		_, err := key.access.Check(t.Context(), &remitv1.CheckRequest{Scope: scopeOf(name), Question: question})
		texts[wantForbidden(t, "Check in "+name, err)] = true
	}
	if len(texts) != 1 {
		t.Errorf("stores that the caller may not know of are told apart: %v", texts)
	}
	_, err := key.models.WriteModel(t.Context(), &remitv1.WriteModelRequest{Store: shop, Source: dsl(testModel)})
	wantForbidden(t, "WriteModel with read and write", err)
	_, err = key.stores.DeleteStore(t.Context(), &remitv1.DeleteStoreRequest{StoreId: shop})
	wantForbidden(t, "DeleteStore with read and write", err)
	_, err = key.stores.CreateStore(t.Context(), &remitv1.CreateStoreRequest{Name: "mine"})
	wantForbidden(t, "CreateStore without cluster", err)

	list, err := key.stores.ListStores(t.Context(), &remitv1.ListStoresRequest{})
	if err != nil || len(list.Stores) != 1 || list.Stores[0].Id != shop {
		t.Errorf("ListStores = %v, %v, want the one that the key is for", list, err)
	}
	who, err := key.keys.WhoAmI(t.Context(), &remitv1.WhoAmIRequest{})
	want := &remitv1.WhoAmIResponse{Principal: "key:shop-web", Grants: []*remitv1.Grant{onStore(shop, toRead, toWrite)}}
	if err != nil || !proto.Equal(who, want) {
		t.Errorf("WhoAmI = %v, %v, want %v", who, err, want)
	}
}

// Who may write need not be one who may read, and the other way round.
func TestPermissionsAreApart(t *testing.T) {
	g := newGuarded(t, nil)
	shop := g.store("shop", acme...)
	ctx := t.Context()
	for _, tc := range []struct {
		name       string
		permission remitv1.Permission
		may        string // read, write, model, admin
	}{
		{"reader", toRead, "read"},
		{"writer", toWrite, "write"},
		{"modeller", toModel, "model"},
		{"administrator", toAdminister, "read write model admin"},
	} {
		key := g.as(g.key(tc.name, onStore(shop, tc.permission)))
		for what, call := range map[string]func() error{
			"read": func() error {
				_, err := key.tuples.Read(ctx, &remitv1.ReadRequest{Store: shop})
				return err
			},
			"write": func() error {
				_, err := key.tuples.Write(ctx, &remitv1.WriteRequest{Store: shop, Operations: touch(t, "document:plan#owner@user:bob")})
				return err
			},
			"model": func() error {
				_, err := key.models.WriteModel(ctx, &remitv1.WriteModelRequest{Store: shop, Source: dsl(testModel)})
				return err
			},
			"admin": func() error {
				_, err := key.stores.SetRetention(ctx, &remitv1.SetRetentionRequest{Store: shop, Retention: &remitv1.Retention{Kind: &remitv1.Retention_Forever{Forever: true}}})
				return err
			},
		} {
			err := call()
			if slices.Contains(strings.Fields(tc.may), what) {
				if err != nil {
					t.Errorf("%s cannot %s: %v", tc.name, what, err)
				}
				continue
			}
			wantForbidden(t, tc.name+" who wants to "+what, err)
		}
	}
}

func TestCredentialsThatAreNoneOfThisServer(t *testing.T) {
	c := &clock{now: time.Now()}
	g := newGuarded(t, c.Now)
	g.store("shop")
	good := g.key("good", onAll(toRead))
	_, err := g.as("").keys.WhoAmI(t.Context(), &remitv1.WhoAmIRequest{})
	if text := wantStranger(t, "no key", err); !strings.Contains(text, "no credentials") {
		t.Errorf("without a key: %s", text)
	}
	foreign := newGuarded(t, c.Now).key("good", onAll(toRead))
	for _, tc := range []struct{ name, key, says string }{
		{"a key of another cluster", foreign, "not known here, or was revoked"},
		{"a key with a letter changed", swap(good, 60), "checksum"},
		{"a key cut short", good[:len(good)-1], "copied whole"},
		{"a key with more behind it", good + "A", "copied whole"},
		{"an id with the secret of another", foreign[:32] + good[32:], "checksum"},
		{"a word", "hunter2", "none that this server knows"},
		{"two words", "a b", "must be: Bearer"},
		{"almost the root key", testRoot + "0", "none that this server knows"},
		{"half the root key", testRoot[:len(testRoot)-1], "none that this server knows"},
	} {
		_, err := g.as(tc.key).keys.WhoAmI(t.Context(), &remitv1.WhoAmIRequest{})
		text := wantStranger(t, tc.name, err)
		if !strings.Contains(text, tc.says) {
			t.Errorf("%s: %s, want it to say %q", tc.name, text, tc.says)
		}
		if strings.Contains(text, tc.key) || strings.Contains(text, good[33:]) {
			t.Errorf("%s: the error holds it: %s", tc.name, text)
		}
	}
	if who, err := g.root.keys.WhoAmI(t.Context(), &remitv1.WhoAmIRequest{}); err != nil || who.Principal != "root" || len(who.Grants) != 1 || !who.Grants[0].GetCluster() {
		t.Errorf("WhoAmI with the root key = %v, %v", who, err)
	}
}

// swap changes one character of a key to another of its alphabet.
func swap(key string, i int) string {
	b := []byte(key)
	if b[i] == 'Z' {
		b[i] = 'Y'
	} else {
		b[i] = 'Z'
	}
	return string(b)
}

func TestKeyExpires(t *testing.T) {
	c := &clock{now: time.Now()}
	g := newGuarded(t, c.Now)
	res, err := g.root.keys.CreateKey(t.Context(), &remitv1.CreateKeyRequest{
		Name: "guest", Grants: []*remitv1.Grant{onAll(toRead)}, ExpiresAt: timestamppb.New(c.Now().Add(time.Hour)),
	})
	if err != nil {
		t.Fatal(err)
	}
	guest := g.as(res.Secret)
	who, err := guest.keys.WhoAmI(t.Context(), &remitv1.WhoAmIRequest{})
	if err != nil || !who.ExpiresAt.AsTime().Equal(res.Key.ExpiresAt.AsTime()) {
		t.Errorf("WhoAmI = %v, %v", who, err)
	}
	c.Advance(time.Hour)
	_, err = guest.keys.WhoAmI(t.Context(), &remitv1.WhoAmIRequest{})
	text := wantReason(t, "an expired key", err, connect.CodeUnauthenticated, remitv1.ErrorReason_ERROR_REASON_CREDENTIALS_EXPIRED)
	if !strings.Contains(text, res.Key.ExpiresAt.AsTime().Format(time.RFC3339)) {
		t.Errorf("the error does not say when: %s", text)
	}
	list, err := g.root.keys.ListKeys(t.Context(), &remitv1.ListKeysRequest{Name: "guest"})
	if err != nil || len(list.Keys) != 1 || !list.Keys[0].Expired {
		t.Errorf("ListKeys = %v, %v, want one that has expired", list, err)
	}
	_, err = g.root.keys.CreateKey(t.Context(), &remitv1.CreateKeyRequest{Name: "late", Grants: []*remitv1.Grant{onAll(toRead)}, ExpiresAt: timestamppb.New(c.Now())})
	wantReason(t, "a key that has expired already", err, connect.CodeInvalidArgument, remitv1.ErrorReason_ERROR_REASON_INVALID_REQUEST)
}

func TestRotateAndRevoke(t *testing.T) {
	c := &clock{now: time.Now()}
	g := newGuarded(t, c.Now)
	valid := func(secret string) bool {
		t.Helper()
		_, err := g.as(secret).keys.WhoAmI(t.Context(), &remitv1.WhoAmIRequest{})
		if err != nil && asConnect(err).Code() != connect.CodeUnauthenticated {
			t.Fatal(err)
		}
		return err == nil
	}
	want := func(step string, secrets map[string]bool) {
		t.Helper()
		for secret, want := range secrets {
			if got := valid(secret); got != want {
				t.Errorf("%s: key %s valid = %v, want %v", step, secret[:33], got, want)
			}
		}
	}
	created, err := g.root.keys.CreateKey(t.Context(), &remitv1.CreateKeyRequest{
		Name: "job", Grants: []*remitv1.Grant{onAll(toRead)}, ExpiresAt: timestamppb.New(c.Now().Add(30 * 24 * time.Hour)),
	})
	if err != nil {
		t.Fatal(err)
	}
	first := created.Secret
	rotate := func(overlap *durationpb.Duration) *remitv1.RotateKeyResponse {
		t.Helper()
		res, err := g.root.keys.RotateKey(t.Context(), &remitv1.RotateKeyRequest{Name: "job", Overlap: overlap})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	c.Advance(10 * 24 * time.Hour)
	second := rotate(nil)
	if want := c.Now().Add(30 * 24 * time.Hour); second.Key.ExpiresAt.AsTime().Sub(want).Abs() > time.Second {
		t.Errorf("the rotated key expires at %s, want %s: as long as the first was given", second.Key.ExpiresAt.AsTime(), want)
	}
	want("after a rotation", map[string]bool{first: true, second.Secret: true})
	c.Advance(24*time.Hour - time.Minute)
	want("before the overlap ends", map[string]bool{first: true, second.Secret: true})
	c.Advance(time.Minute)
	want("after the overlap", map[string]bool{first: false, second.Secret: true})
	third := rotate(durationpb.New(0))
	want("after a rotation without overlap", map[string]bool{first: false, second.Secret: false, third.Secret: true})
	fourth := rotate(nil)
	res, err := g.root.keys.RevokeKey(t.Context(), &remitv1.RevokeKeyRequest{Which: &remitv1.RevokeKeyRequest_Id{Id: third.Key.Id}})
	if err != nil || !slices.Equal(res.Ids, []string{third.Key.Id}) {
		t.Errorf("RevokeKey(id) = %v, %v", res, err)
	}
	want("after one was revoked", map[string]bool{third.Secret: false, fourth.Secret: true})
	if list, err := g.root.keys.ListKeys(t.Context(), &remitv1.ListKeysRequest{}); err != nil || len(list.Keys) != 1 || list.Keys[0].Id != fourth.Key.Id {
		t.Errorf("ListKeys = %v, %v, want the one that is left", list, err)
	}
	if _, err := g.root.keys.RevokeKey(t.Context(), &remitv1.RevokeKeyRequest{Which: &remitv1.RevokeKeyRequest_Name{Name: "job"}}); err != nil {
		t.Error(err)
	}
	want("after the name was revoked", map[string]bool{fourth.Secret: false})
	_, err = g.root.keys.RevokeKey(t.Context(), &remitv1.RevokeKeyRequest{Which: &remitv1.RevokeKeyRequest_Name{Name: "job"}})
	wantReason(t, "revoking what is not there", err, connect.CodeNotFound, remitv1.ErrorReason_ERROR_REASON_KEY_NOT_FOUND)
	g.key("job", onAll(toRead)) // the name is free again
	_, err = g.root.keys.CreateKey(t.Context(), &remitv1.CreateKeyRequest{Name: "job", Grants: []*remitv1.Grant{onAll(toRead)}})
	wantReason(t, "a name that is taken", err, connect.CodeAlreadyExists, remitv1.ErrorReason_ERROR_REASON_KEY_EXISTS)
}

// A retry is told of the key of the first attempt, and not its secret.
func TestRetriesOfKeyChanges(t *testing.T) {
	g := newGuarded(t, nil)
	ctx := t.Context()
	create := &remitv1.CreateKeyRequest{Name: "job", Grants: []*remitv1.Grant{onAll(toRead)}, IdempotencyKey: "one"}
	first, err := g.root.keys.CreateKey(ctx, create)
	if err != nil || first.Secret == "" {
		t.Fatal(first, err)
	}
	again, err := g.root.keys.CreateKey(ctx, create)
	if err != nil || again.Secret != "" || again.Key.GetId() != first.Key.Id {
		t.Errorf("CreateKey again = %v, %v, want key %s without its secret", again, err, first.Key.Id)
	}
	other := proto.Clone(create).(*remitv1.CreateKeyRequest)
	other.Grants = []*remitv1.Grant{onCluster()}
	_, err = g.root.keys.CreateKey(ctx, other)
	wantReason(t, "another key under the same idempotency key", err, connect.CodeInvalidArgument, remitv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_CONFLICT)

	rotate := &remitv1.RotateKeyRequest{Name: "job", IdempotencyKey: "two"}
	rotated, err := g.root.keys.RotateKey(ctx, rotate)
	if err != nil || rotated.Secret == "" || rotated.Key.Id == first.Key.Id {
		t.Fatal(rotated, err)
	}
	if again, err := g.root.keys.RotateKey(ctx, rotate); err != nil || again.Secret != "" || again.Key.GetId() != rotated.Key.Id {
		t.Errorf("RotateKey again = %v, %v, want key %s without its secret", again, err, rotated.Key.Id)
	}
	list, err := g.root.keys.ListKeys(ctx, &remitv1.ListKeysRequest{})
	if err != nil || len(list.Keys) != 2 {
		t.Errorf("ListKeys = %v, %v, want two: retries make none", list, err)
	}
	zero := uint64(0)
	set := &remitv1.SetGrantsRequest{Principal: "oidc:anna", Grants: []*remitv1.Grant{onAll(toRead)}, Version: &zero, IdempotencyKey: "three"}
	for range 2 {
		if res, err := g.root.keys.SetGrants(ctx, set); err != nil || res.Granted.Version != 1 {
			t.Errorf("SetGrants = %v, %v, want version 1", res, err)
		}
	}
	revoke := &remitv1.RevokeKeyRequest{Which: &remitv1.RevokeKeyRequest_Name{Name: "job"}, IdempotencyKey: "four"}
	for i := range 2 {
		if res, err := g.root.keys.RevokeKey(ctx, revoke); err != nil || len(res.Ids) != 2-2*i {
			t.Errorf("RevokeKey, attempt %d = %v, %v", i+1, res, err)
		}
	}
	g.key("job", onAll(toRead))
	if _, err := g.root.keys.RevokeKey(ctx, revoke); err != nil {
		t.Error(err)
	}
	if list, err := g.root.keys.ListKeys(ctx, &remitv1.ListKeysRequest{}); err != nil || len(list.Keys) != 1 {
		t.Errorf("ListKeys = %v, %v, want the new key of that name: a retry revokes nothing", list, err)
	}
	_, err = g.root.keys.CreateKey(ctx, create)
	wantReason(t, "a retry whose key has gone", err, connect.CodeNotFound, remitv1.ErrorReason_ERROR_REASON_KEY_NOT_FOUND)
}

// Nobody gives what they do not administer, and nobody sees what others gave.
func TestAdministratorsOfAStore(t *testing.T) {
	g := newGuarded(t, nil)
	ctx := t.Context()
	g.store("a")
	g.store("b")
	g.key("wide", onAll(toRead))
	anna := g.as(g.key("anna", onStore("a", toAdminister)))
	ben := g.as(g.key("ben", onStore("b", toAdminister)))
	nobody := g.as(g.key("nobody", onStore("a", toRead, toWrite, toModel)))

	made, err := anna.keys.CreateKey(ctx, &remitv1.CreateKeyRequest{Name: "a-web", Grants: []*remitv1.Grant{onStore("a", toRead)}})
	if err != nil || made.Key.CreatedBy != "key:anna" {
		t.Fatal(made, err)
	}
	for _, tc := range []struct {
		who   string
		keys  caller
		grant *remitv1.Grant
	}{
		{"anna", anna, onStore("b", toRead)},
		{"anna", anna, onStore("nowhere", toRead)},
		{"anna", anna, onAll(toRead)},
		{"anna", anna, onCluster()},
		{"nobody", nobody, onStore("a", toRead)},
	} {
		_, err := tc.keys.keys.CreateKey(ctx, &remitv1.CreateKeyRequest{Name: "x", Grants: []*remitv1.Grant{tc.grant}})
		wantForbidden(t, fmt.Sprintf("%s who gives %v away", tc.who, tc.grant), err)
		_, err = tc.keys.keys.SetGrants(ctx, &remitv1.SetGrantsRequest{Principal: "oidc:x", Grants: []*remitv1.Grant{tc.grant}})
		wantForbidden(t, fmt.Sprintf("%s who grants %v", tc.who, tc.grant), err)
	}
	_, err = nobody.keys.SetGrants(ctx, &remitv1.SetGrantsRequest{Principal: "oidc:x"})
	wantForbidden(t, "nobody who takes away", err)
	for _, name := range []string{"wide", "ben", "a-web"} {
		by := map[string]caller{"wide": anna, "ben": anna, "a-web": ben}[name]
		_, err = by.keys.RevokeKey(ctx, &remitv1.RevokeKeyRequest{Which: &remitv1.RevokeKeyRequest_Name{Name: name}})
		wantReason(t, "revoking "+name, err, connect.CodeNotFound, remitv1.ErrorReason_ERROR_REASON_KEY_NOT_FOUND)
		_, err = by.keys.RotateKey(ctx, &remitv1.RotateKeyRequest{Name: name})
		wantReason(t, "rotating "+name, err, connect.CodeNotFound, remitv1.ErrorReason_ERROR_REASON_KEY_NOT_FOUND)
		_, err = by.keys.SetGrants(ctx, &remitv1.SetGrantsRequest{Principal: "key:" + name})
		wantReason(t, "grants of "+name, err, connect.CodeNotFound, remitv1.ErrorReason_ERROR_REASON_KEY_NOT_FOUND)
	}
	_, err = ben.keys.RevokeKey(ctx, &remitv1.RevokeKeyRequest{Which: &remitv1.RevokeKeyRequest_Id{Id: made.Key.Id}})
	wantReason(t, "revoking another's key by id", err, connect.CodeNotFound, remitv1.ErrorReason_ERROR_REASON_KEY_NOT_FOUND)

	names := func(c caller) (names []string) {
		t.Helper()
		list, err := c.keys.ListKeys(ctx, &remitv1.ListKeysRequest{})
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range list.Keys {
			names = append(names, key.Name)
		}
		return names
	}
	for _, tc := range []struct {
		who  string
		keys caller
		want []string
	}{
		{"root", g.root, []string{"wide", "anna", "ben", "nobody", "a-web"}},
		{"anna", anna, []string{"anna", "nobody", "a-web"}},
		{"ben", ben, []string{"ben"}},
		{"nobody", nobody, nil},
	} {
		if got := names(tc.keys); !slices.Equal(got, tc.want) {
			t.Errorf("%s sees the keys %q, want %q", tc.who, got, tc.want)
		}
	}

	// Each sets the share that they administer, and leaves the other's.
	set := func(c caller, grants ...*remitv1.Grant) *remitv1.PrincipalGrants {
		t.Helper()
		res, err := c.keys.SetGrants(ctx, &remitv1.SetGrantsRequest{Principal: "oidc:carl", Grants: grants})
		if err != nil {
			t.Fatal(err)
		}
		return res.Granted
	}
	set(g.root, onAll(toRead), onStore("a", toWrite))
	if got := set(ben, onStore("b", toModel)); len(got.Grants) != 1 {
		t.Errorf("ben sees %v, want his own share", got.Grants)
	}
	if got := set(anna); len(got.Grants) != 0 {
		t.Errorf("anna sees %v, want nothing", got.Grants)
	}
	all, err := g.root.keys.ListGrants(ctx, &remitv1.ListGrantsRequest{Principal: "oidc:carl"})
	if err != nil || len(all.Principals) != 1 || len(all.Principals[0].Grants) != 2 {
		t.Errorf("ListGrants = %v, %v, want read everywhere and model on b", all, err)
	}
}

// Several nodes make the system store at once, and changes of one principal wait for
// each other.
func TestKeysOfSeveralNodesAtOnce(t *testing.T) {
	r := newRig(t)
	const nodes, each = 4, 4
	var wg sync.WaitGroup
	for n := range nodes {
		keyring := backend.NewKeyring(backend.NewReader(r.config.backend()))
		wg.Go(func() {
			s := &identityService{reader: &reader{backend.NewReader(r.config.backend())}, keyring: keyring}
			for i := range each {
				_, err := s.CreateKey(t.Context(), &remitv1.CreateKeyRequest{Name: fmt.Sprintf("k%d-%d", n, i), Grants: []*remitv1.Grant{onAll(toRead)}})
				if err != nil {
					t.Errorf("CreateKey: %v", err)
				}
				_, err = s.CreateKey(t.Context(), &remitv1.CreateKeyRequest{Name: fmt.Sprintf("shared-%d", i), Grants: []*remitv1.Grant{onAll(toRead)}})
				if err != nil && !errors.Is(err, backend.ErrKeyExists) {
					t.Errorf("CreateKey of a name that others want: %v", err)
				}
			}
		})
	}
	wg.Wait()
	s := &identityService{reader: &reader{backend.NewReader(r.config.backend())}, keyring: backend.NewKeyring(backend.NewReader(r.config.backend()))}
	names := map[string]bool{}
	cursor := ""
	for {
		page, err := s.ListKeys(t.Context(), &remitv1.ListKeysRequest{PageSize: 3, Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range page.Keys {
			if names[key.Name] {
				t.Errorf("two keys have the name %s", key.Name)
			}
			names[key.Name] = true
		}
		if cursor = page.Cursor; cursor == "" {
			break
		}
	}
	if len(names) != nodes*each+each {
		t.Errorf("there are %d keys, want %d", len(names), nodes*each+each)
	}
	store, ok := r.config.State.Current().Store(backend.SystemStore)
	if !ok || store.Retention() != fsm.Forever || len(store.Models()) != 1 {
		t.Errorf("the system store has %d models and the retention %d", len(store.Models()), store.Retention())
	}
}
