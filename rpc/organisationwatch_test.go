package rpc

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
	"github.com/remit-authz/remit/rpc/identity"
)

// A listener is somebody who watches owned records, and what they were told.
type listener struct {
	t       testing.TB
	request *remitv1.WatchOwnedRequest
	got     []string // the notices, as kind owner record by: text
	beats   int
}

func (r *orgRig) listener(as, user string) *listener {
	return &listener{t: r.t, request: &remitv1.WatchOwnedRequest{Store: r.store, As: as, User: user}}
}

func (l *listener) open(ctx context.Context, c remitv1connect.OrganisationServiceClient) remitv1connect.OrganisationServiceWatchOwnedClientStream {
	l.t.Helper()
	stream, err := c.WatchOwned(ctx, l.request)
	if err != nil {
		l.t.Fatal(err)
	}
	return stream
}

func (l *listener) take(res *remitv1.WatchOwnedResponse) {
	for _, n := range res.Notices {
		l.got = append(l.got, said(n))
	}
	if len(res.Notices) == 0 {
		l.beats++
	}
	l.request.Token = res.Token
}

func said(n *remitv1.OwnerNotice) string {
	return fmt.Sprintf("%s %s %s %q: %s", n.Kind, n.Owner, n.Record, n.By, n.Text)
}

// until reads until there are so many notices.
func (l *listener) until(stream remitv1connect.OrganisationServiceWatchOwnedClientStream, n int) {
	l.t.Helper()
	for len(l.got) < n {
		res, err := stream.Receive()
		if err != nil {
			l.t.Fatalf("WatchOwned: %v; so far %q", err, l.got)
		}
		l.take(res)
	}
}

// wants reads as many notices as there are to be, and compares them.
func (l *listener) wants(r *orgRig, want ...string) {
	l.t.Helper()
	ctx, cancel := context.WithCancel(l.t.Context())
	defer cancel()
	stream := l.open(ctx, r.org)
	l.until(stream, len(want))
	if !slices.Equal(l.got, want) {
		l.t.Errorf("as %q of %q:\n got %q\nwant %q", l.request.As, l.request.User, l.got, want)
	}
}

// begun is a listener that has got a token.
func (r *orgRig) begun(as, user string) *listener {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	defer cancel()
	l := r.listener(as, user)
	res, err := l.open(ctx, r.org).Receive()
	if err != nil || res.Token == "" || len(res.Notices) > 0 {
		r.t.Fatalf("the first message is %v, %v", res, err)
	}
	l.take(res)
	return l
}

// transferring lets everybody do everything with deals.
func transferring() *remitv1.Edit {
	return putOf(aProfile(&remitv1.Profile{Id: "standard", Modules: map[string]*remitv1.Permissions{
		"deal": {Permissions: []string{"view", "create", "edit", "delete", "share", "transfer"}},
	}}), "modules.deal")
}

func sharing(to string, records ...string) *remitv1.Edit {
	return &remitv1.Edit{Edit: &remitv1.Edit_Share{Share: &remitv1.ShareRecords{Records: records, Shares: []*remitv1.Share{{To: to, Level: toView}}}}}
}

func unsharing(records ...string) *remitv1.Edit {
	return &remitv1.Edit{Edit: &remitv1.Edit_Unshare{Unshare: &remitv1.UnshareRecords{Records: records}}}
}

func transfers(to string, records ...string) *remitv1.Edit {
	return &remitv1.Edit{Edit: &remitv1.Edit_Transfer{Transfer: &remitv1.TransferRecords{Records: records, To: to}}}
}

func fieldsOf(t testing.TB, id, field string, v any) *remitv1.Edit {
	return putOf(aRecord(&remitv1.Record{Module: "deal", Id: id, Fields: someFields(t, map[string]any{field: v})}), "fields."+field)
}

func deals(owners ...string) (edits []*remitv1.Edit) {
	for i, owner := range owners {
		edits = append(edits, putOf(aRecord(&remitv1.Record{Module: "deal", Id: fmt.Sprint("w", i), Owner: owner})))
	}
	return edits
}

func TestOwnersAreTold(t *testing.T) {
	r := newWorld(t)
	r.change("", transferring())
	r.change("", deals("cid", "cid", "dot")...)
	cid, dot, all := r.begun("cid", ""), r.begun("", "dot"), r.begun("", "")

	r.change("cid", fieldsOf(t, "w0", "amount", 1.0)) // their own
	r.change("bob", fieldsOf(t, "w0", "amount", 2.0))
	r.change("", fieldsOf(t, "w0", "iban", "DE1"))                                                                      // which nobody of them may read
	r.change("", fieldsOf(t, "w0", "stage", "won"), fieldsOf(t, "w0", "iban", "DE2"), sharing("role:agent", "deal:w0")) // at once
	r.change("bob", sharing("role:agent", "deal:w0"), unsharing("deal:w0"))
	r.change("ann", putOf(aRecord(&remitv1.Record{Module: "deal", Id: "w0", Confidentiality: remitv1.Confidentiality_CONFIDENTIALITY_RESTRICTED}), "confidentiality"))
	r.change("", putOf(aRecord(&remitv1.Record{Module: "deal", Id: "w0", Parents: []string{"account:a1"}}), "parents"))
	r.change("", putOf(aRecord(&remitv1.Record{Module: "deal", Id: "w0", Confidentiality: remitv1.Confidentiality_CONFIDENTIALITY_OPEN}), "confidentiality"),
		sharing("user:fay", "deal:w0"), transfers("dot", "deal:w0"))
	r.change("dot", transfers("cid", "deal:w0")) // their own: only cid is told
	r.change("cid", transfers("dot", "deal:w1"))
	r.change("", deletes(ofRecord, "deal:w1", ""), deletes(ofRecord, "deal:w0", ""))
	r.change("", putOf(aRecord(&remitv1.Record{Module: "deal", Id: "new", Owner: "cid"}))) // made: nobody is told
	r.change("bob", deletes(ofRecord, "deal:new", ""))

	toCid := []string{
		`KIND_CHANGED cid deal:w0 "bob": bob changed deal:w0: amount`,
		`KIND_CHANGED cid deal:w0 "": an application changed deal:w0: stage`,
		`KIND_SHARED cid deal:w0 "": an application shared deal:w0 with role:agent (view)`,
		`KIND_UNSHARED cid deal:w0 "bob": bob no longer shares deal:w0 with role:agent`,
		`KIND_CONFIDENTIALITY cid deal:w0 "ann": ann made deal:w0 restricted`,
		`KIND_CHANGED cid deal:w0 "": an application changed deal:w0: the records above it`,
		`KIND_TRANSFERRED cid deal:w0 "": an application transferred deal:w0 from cid to dot`,
		`KIND_TRANSFERRED cid deal:w0 "dot": dot transferred deal:w0 from dot to cid`,
		`KIND_DELETED cid deal:w0 "": an application deleted deal:w0`,
		`KIND_DELETED cid deal:new "bob": bob deleted deal:new`,
	}
	toDot := []string{
		`KIND_TRANSFERRED dot deal:w0 "": an application transferred deal:w0 from cid to dot`,
		`KIND_TRANSFERRED dot deal:w1 "cid": cid transferred deal:w1 from cid to dot`,
		`KIND_DELETED dot deal:w1 "": an application deleted deal:w1`,
	}
	cid.wants(r, toCid...)
	dot.wants(r, toDot...)
	all.wants(r, slices.Concat(toCid[:7], toDot[:1], toCid[7:8], toDot[1:2], toCid[8:9], toDot[2:], toCid[9:])...)
}

// Who is suspended is not told, nor who can no longer view; who lost the record is, and who
// is outside their working hours.
func TestOwnersWhoAreNotTold(t *testing.T) {
	r := newWorld(t)
	r.change("", transferring())
	r.change("", deals("cid", "dot", "fay")...)
	all := r.begun("", "")
	r.change("", putOf(aSeat(&remitv1.Seat{Id: "cid", Suspended: true}), "suspended"))
	r.change("", fieldsOf(t, "w0", "amount", 1.0))
	r.change("", transfers("dot", "deal:w0"))
	r.change("", putOf(aSeat(&remitv1.Seat{Id: "dot", Profiles: []string{"groups"}}), "profiles"))
	r.change("", fieldsOf(t, "w1", "amount", 1.0))
	r.change("", deletes(ofRecord, "deal:w0", ""))
	r.change("", transfers("fay", "deal:w1"))
	r.change("", putOf(aSeat(&remitv1.Seat{Id: "dot", Profiles: []string{"standard"}}), "profiles"), fieldsOf(t, "w2", "amount", 1.0))

	// From now on fay may do something on one day of the week only.
	soon := time.Now().AddDate(0, 0, 2)
	r.change("", putOf(aProfile(&remitv1.Profile{Id: "standard", Gated: true}), "gated"), putOf(aSettings(&remitv1.Settings{LoginHours: true}), "login_hours"),
		putOf(aShift(&remitv1.Shift{Id: "rare", Name: "Rare", Hours: &remitv1.Hours{Zone: "UTC", Days: map[string]string{dayName(soon): "09:00-10:00"}}})),
		putOf(aSeat(&remitv1.Seat{Id: "fay", Shifts: []*remitv1.ShiftAssignment{{Shift: "rare"}}}), "shifts", "leave"))
	_, err := r.listener("fay", "").open(t.Context(), r.org).Receive()
	wantReason(t, "outside their hours", err, connect.CodePermissionDenied, remitv1.ErrorReason_ERROR_REASON_FORBIDDEN)
	r.change("", fieldsOf(t, "w2", "amount", 2.0))
	r.change("", fieldsOf(t, "w2", "iban", "FR1"))
	r.change("", deletes(ofRecord, "deal:w2", ""))
	all.wants(r,
		`KIND_TRANSFERRED dot deal:w0 "": an application transferred deal:w0 from cid to dot`,
		`KIND_TRANSFERRED dot deal:w1 "": an application transferred deal:w1 from dot to fay`,
		`KIND_TRANSFERRED fay deal:w1 "": an application transferred deal:w1 from dot to fay`,
		`KIND_CHANGED fay deal:w2 "": an application changed deal:w2: amount`,
		`KIND_CHANGED fay deal:w2 "": an application changed deal:w2: amount`,
		`KIND_DELETED fay deal:w2 "": an application deleted deal:w2`,
	)
}

func dayName(at time.Time) string {
	return [...]string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"}[at.UTC().Weekday()]
}

// What has been erased is told nobody, and what came after it is.
func TestOwnersAreNotToldOfWhatIsErased(t *testing.T) {
	r := newWorld(t)
	r.change("", transferring())
	r.change("", deals("cid", "cid")...)
	l := r.begun("", "cid")
	r.change("ann", fieldsOf(t, "w0", "amount", 7.0))
	r.change("ann", deletes(ofRecord, "deal:w0", ""))
	if err := r.eraser(nil, nil).erase(t.Context(), &remitv1.EraseRequest{Store: r.store, Entity: "deal:w0"}, &eraseLog{}); err != nil {
		t.Fatal(err)
	}
	r.change("ann", fieldsOf(t, "w1", "amount", 8.0))
	l.wants(r, `KIND_CHANGED cid deal:w1 "ann": ann changed deal:w1: amount`)
}

// What the edits of a busy organisation mean to owners is told, each of it once and in
// order, however often the reader is cut off.
func TestOwnersAreToldWhereTheyGoOn(t *testing.T) {
	const changes, kills, records = 400, 10, 12
	r := newWorld(t)
	people := []string{"bob", "cid", "dot", "fay"}
	owners := make([]string, records)
	for i := range owners {
		owners[i] = people[i%len(people)]
	}
	r.change("", transferring())
	r.change("", deals(owners...)...)

	rng := rand.New(rand.NewPCG(1, 9))
	kinds := map[string]bool{}
	var want []string // by the edits alone
	tell := func(kind, owner, by string, i int, text string) {
		if owner != by {
			kinds[kind] = true
			want = append(want, fmt.Sprintf("KIND_%s %s deal:w%d %q: %s", kind, owner, i, by, text))
		}
	}
	all, one := r.begun("", ""), r.begun("fay", "")
	var wg sync.WaitGroup
	begun, done := make(chan struct{}), make(chan struct{})
	wg.Go(func() {
		defer close(done)
		shared := make([]bool, records)
		for n := range changes {
			if n == changes/10 {
				close(begun)
			}
			// Whole messages of several records: some readers are cut off within them.
			var edits []*remitv1.Edit
			for _, i := range rng.Perm(records)[:1+rng.IntN(3)] {
				record := fmt.Sprint("deal:w", i)
				by := "ann"
				switch rng.IntN(3) {
				case 0:
					edits = append(edits, fieldsOf(t, fmt.Sprint("w", i), "amount", float64(n)))
					tell("CHANGED", owners[i], by, i, "ann changed "+record+": amount")
				case 1:
					if shared[i] {
						edits = append(edits, unsharing(record))
						tell("UNSHARED", owners[i], by, i, "ann no longer shares "+record+" with group:emea")
					} else {
						edits = append(edits, sharing("group:emea", record))
						tell("SHARED", owners[i], by, i, "ann shared "+record+" with group:emea (view)")
					}
					shared[i] = !shared[i]
				case 2:
					to := people[rng.IntN(len(people))]
					if to == owners[i] {
						continue
					}
					edits = append(edits, transfers(to, record))
					text := fmt.Sprintf("ann transferred %s from %s to %s", record, owners[i], to)
					if shared[i] {
						shared[i] = false
						if slices.Contains(viewers(owners[i], to), owners[i]) {
							tell("UNSHARED", owners[i], by, i, "ann no longer shares "+record+" with group:emea")
						}
					}
					tell("TRANSFERRED", owners[i], by, i, text)
					tell("TRANSFERRED", to, by, i, text)
					owners[i] = to
				}
			}
			if len(edits) == 0 {
				continue
			}
			if _, err := r.try("ann", edits...); err != nil {
				t.Errorf("Change: %v", err)
				return
			}
			if rng.IntN(4) == 0 { // and of an owner's own, which is told nobody
				i := rng.IntN(records)
				if _, err := r.try(owners[i], fieldsOf(t, fmt.Sprint("w", i), "stage", n)); err != nil {
					t.Errorf("Change: %v", err)
					return
				}
			}
		}
	})

	<-begun
	cutOff := errors.New("cut off")
	service := r.ownedBy(time.Minute, t.Context())
	for k, l := range []*listener{all, one} {
		wg.Go(func() {
			cut := rand.New(rand.NewPCG(2, uint64(k)))
			for range kills {
				left := 1 + cut.IntN(6)
				to := &ownedTo{}
				to.each = func(n int) error {
					if n < left {
						l.take(to.messages[n-1])
						return nil
					}
					return cutOff // and this one is lost on the way
				}
				if err := service.watchOwned(t.Context(), l.request, to, 5*time.Millisecond); !errors.Is(err, cutOff) {
					t.Errorf("cut off: %v", err)
				}
			}
		})
	}
	wg.Wait()
	<-done
	var toFay []string
	for _, text := range want {
		var kind, owner string
		if _, err := fmt.Sscan(text, &kind, &owner); err != nil {
			t.Fatal(err)
		}
		if owner == "fay" {
			toFay = append(toFay, text)
		}
	}
	if len(toFay) == 0 || len(kinds) < 4 {
		t.Fatalf("nothing to tell: %v", kinds)
	}
	for _, l := range []struct {
		*listener
		want []string
	}{{all, want}, {one, toFay}} {
		ctx, cancel := context.WithCancel(t.Context())
		l.until(l.open(ctx, r.org), len(l.want))
		cancel()
		// Of one change, what happens to several records comes in the changelog's order.
		for i := range records {
			of := func(list []string) []string {
				return slices.DeleteFunc(slices.Clone(list), func(text string) bool { return !strings.Contains(text, fmt.Sprintf(" deal:w%d \"", i)) })
			}
			if got, want := of(l.got), of(l.want); !slices.Equal(got, want) {
				t.Errorf("as %q:\n got %q\nwant %q", l.request.As, got, want)
			}
		}
		if len(l.got) != len(l.want) {
			t.Errorf("as %q: %d notices, want %d", l.request.As, len(l.got), len(l.want))
		}
	}
	t.Logf("%d notices, %d of them to one owner", len(want), len(toFay))
}

// viewers are those of two who view a deal that the second one owns and nobody shares.
func viewers(from, to string) []string {
	list := []string{to}
	if from == "bob" && to == "cid" { // who is above
		list = append(list, from)
	}
	if to == "cid" && (from == "dot" || from == "fay") { // by the rule from reps to agents
		list = append(list, from)
	}
	return list
}

// An ownedTo takes messages.
type ownedTo struct {
	messages []*remitv1.WatchOwnedResponse
	each     func(n int) error
}

func (o *ownedTo) Send(res *remitv1.WatchOwnedResponse) error {
	o.messages = append(o.messages, res)
	if o.each != nil {
		return o.each(len(o.messages))
	}
	return nil
}

func (r *orgRig) ownedBy(slow time.Duration, draining context.Context) *organisationService {
	own := &reader{backend.NewReader(r.config.backend())}
	return newOrganisationService(streamer{reader: own, slow: slow, draining: draining}, backend.NewWriter(own.Reader))
}

// A watch shows that it lives, is cut off if its reader is slow, and ends when the node is
// about to stop; where it goes on is told.
func TestWatchOwnedBoundsItsReader(t *testing.T) {
	r := newWorld(t)
	req := &remitv1.WatchOwnedRequest{Store: r.store}
	enough := errors.New("enough")
	to := &ownedTo{each: func(n int) error {
		if n == 4 {
			return enough
		}
		return nil
	}}
	if err := r.ownedBy(time.Minute, t.Context()).watchOwned(t.Context(), req, to, time.Millisecond); !errors.Is(err, enough) || len(to.messages) != 4 {
		t.Errorf("signs of life: %d, %v", len(to.messages), err)
	}
	if err := r.ownedBy(1, t.Context()).watchOwned(t.Context(), req, &ownedTo{}, time.Minute); !errors.Is(err, ErrSlowReader) {
		t.Errorf("a reader that takes longer than a nanosecond: %v", err)
	}
	ended := &ownedTo{}
	err := r.ownedBy(time.Minute, stopped(t)).watchOwned(t.Context(), req, ended, time.Minute)
	if at := (*streamError)(nil); !errors.Is(err, ErrDraining) || !errors.As(err, &at) || at.resume != ended.messages[0].Token {
		t.Errorf("on a node that is stopping: %v", err)
	}

	// A command of many records is told in several messages, and goes on within.
	const many = 2*ownedNotices + 100
	owners := make([]string, many)
	for i := range owners {
		owners[i] = "cid"
	}
	r.change("", transferring())
	r.change("", deals(owners...)...)
	l := r.begun("", "")
	r.change("", &remitv1.Edit{Edit: &remitv1.Edit_Transfer{Transfer: &remitv1.TransferRecords{OwnedBy: "cid", To: "dot"}}})
	seen := map[string]bool{}
	for len(seen) < 2*many {
		ctx, cancel := context.WithCancel(t.Context())
		stream := l.open(ctx, r.org)
		for told := false; !told; {
			res, err := stream.Receive()
			if err != nil {
				t.Fatal(err)
			}
			if len(res.Notices) > ownedNotices+2 {
				t.Errorf("a message has %d notices", len(res.Notices))
			}
			for _, n := range res.Notices {
				if seen[said(n)] {
					t.Errorf("told twice: %s", said(n))
				}
				seen[said(n)] = true
			}
			l.take(res)
			told = len(res.Notices) > 0
		}
		cancel()
	}
}

// A seat is told about its own records alone; a token is good for the request that it is of.
func TestWhoMayWatchOwned(t *testing.T) {
	r := newWorld(t)
	fails := func(what string, req *remitv1.WatchOwnedRequest, code connect.Code, reason remitv1.ErrorReason) {
		t.Helper()
		if req.Store == "" {
			req.Store = r.store
		}
		stream, err := r.org.WatchOwned(t.Context(), req)
		if err == nil {
			_, err = stream.Receive()
		}
		wantReason(t, what, err, code, reason)
	}
	forbidden := remitv1.ErrorReason_ERROR_REASON_FORBIDDEN
	fails("another's records", &remitv1.WatchOwnedRequest{As: "cid", User: "bob"}, connect.CodePermissionDenied, forbidden)
	fails("another's records, as a superior", &remitv1.WatchOwnedRequest{As: "bob", User: "cid"}, connect.CodePermissionDenied, forbidden)
	fails("one who is suspended", &remitv1.WatchOwnedRequest{As: "eve"}, connect.CodePermissionDenied, forbidden)
	fails("nobody's records", &remitv1.WatchOwnedRequest{User: "zoe"}, connect.CodeNotFound, remitv1.ErrorReason_ERROR_REASON_ENTITY_NOT_FOUND)
	fails("a seat that is not there", &remitv1.WatchOwnedRequest{As: "zoe"}, connect.CodeNotFound, remitv1.ErrorReason_ERROR_REASON_ENTITY_NOT_FOUND)
	fails("no store", &remitv1.WatchOwnedRequest{Store: "none"}, connect.CodeNotFound, remitv1.ErrorReason_ERROR_REASON_STORE_NOT_FOUND)
	fails("a made-up token", &remitv1.WatchOwnedRequest{Token: "x"}, connect.CodeInvalidArgument, remitv1.ErrorReason_ERROR_REASON_INVALID_CURSOR)
	cid := r.begun("cid", "")
	fails("the token of another owner", &remitv1.WatchOwnedRequest{Token: cid.request.Token}, connect.CodeInvalidArgument, remitv1.ErrorReason_ERROR_REASON_INVALID_CURSOR)

	// By a token of the identity provider it is one's own seat; and it ends with the seat.
	store, err := fsm.ParseStoreID(r.store)
	if err != nil {
		t.Fatal(err)
	}
	s := r.ownedBy(time.Minute, t.Context())
	by := identity.WithCall(t.Context(), &identity.Call{Need: identity.Read, Caller: &identity.Caller{
		Principal: "oidc:Bob@example.org", Grants: identity.Grants{Stores: map[identity.Store]identity.Permissions{store: identity.Read}},
	}})
	to := &ownedTo{each: func(n int) error {
		if n == 1 {
			r.change("", putOf(aRecord(&remitv1.Record{Module: "account", Id: "a1", Fields: someFields(t, map[string]any{"size": 1.0})}), "fields.size"))
		}
		if n == 2 {
			r.change("", putOf(aSeat(&remitv1.Seat{Id: "bob", Suspended: true}), "suspended"))
		}
		return nil
	}}
	err = s.watchOwned(by, &remitv1.WatchOwnedRequest{Store: r.store}, to, 10*time.Millisecond)
	if !errors.Is(err, identity.ErrForbidden) {
		t.Errorf("once the seat is suspended: %v", err)
	}
	told := slices.ContainsFunc(to.messages, func(m *remitv1.WatchOwnedResponse) bool {
		return len(m.Notices) == 1 && m.Notices[0].Owner == "bob" && m.Notices[0].At.AsTime().After(timestamppb.Now().AsTime().Add(-time.Hour))
	})
	if !told {
		t.Errorf("bob was told %v, %v", to.messages, err)
	}
}
