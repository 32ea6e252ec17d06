package limit

import (
	"slices"
	"testing"
	"unsafe"

	authzenv1 "github.com/openfga/api/proto/authzen/v1"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// served are the packages of all faces.
var served = []protoreflect.FullName{
	remitv1.File_remit_v1_core_proto.Package(), openfgav1.File_openfga_v1_openfga_service_proto.Package(),
	authzenv1.File_authzen_v1_authzen_service_proto.Package(), healthpb.File_grpc_health_v1_health_proto.Package(),
}

// methods calls f with every procedure of every face.
func methods(f func(procedure string, m protoreflect.MethodDescriptor)) {
	for _, name := range served {
		protoregistry.GlobalFiles.RangeFilesByPackage(name, func(file protoreflect.FileDescriptor) bool {
			for i := range file.Services().Len() {
				s := file.Services().Get(i)
				for j := range s.Methods().Len() {
					m := s.Methods().Get(j)
					f("/"+string(s.FullName())+"/"+string(m.Name()), m)
				}
			}
			return true
		})
	}
}

// Every procedure of every face has its line, and there is no line in vain.
func TestEveryProcedureHasAKind(t *testing.T) {
	found := 0
	methods(func(procedure string, _ protoreflect.MethodDescriptor) {
		if _, ok := procedures[procedure]; !ok {
			t.Errorf("%s is not in the table of procedures", procedure)
			return
		}
		found++
	})
	if found != len(procedures) {
		t.Errorf("%d of %d lines are of procedures that there are", found, len(procedures))
	}
	if got := kindOf("/remit.v1.Nothing/Nothing"); got != long {
		t.Errorf("a procedure without a line is of kind %d, want %d", got, long)
	}
}

// free are the repeated fields of requests whose elements cost nothing by themselves.
var free = []protoreflect.FullName{
	"remit.v1.SaveRequest.have", "remit.v1.WatchRequest.stores", "remit.v1.WatchRequest.filters",
	"remit.v1.CreateKeyRequest.grants", "remit.v1.SetGrantsRequest.grants", "remit.v1.WriteRequest.preconditions",
	"remit.v1.Seat.profiles", "remit.v1.Seat.shifts", "remit.v1.Seat.leave",
	"remit.v1.Scope.contextual_tuples", "remit.v1.AuditFilter.kinds", "remit.v1.Modules.files",
	"openfga.v1.ContextualTupleKeys.tuple_keys", "openfga.v1.ListUsersRequest.contextual_tuples", "openfga.v1.ListUsersRequest.user_filters",
	"openfga.v1.WriteAuthorizationModelRequest.type_definitions", "openfga.v1.WriteAssertionsRequest.assertions",
}

// A request that asks for several things costs as many as it asks for.
func TestWhatIsRepeatedCounts(t *testing.T) {
	counted, unused := 0, slices.Clone(free)
	methods(func(procedure string, m protoreflect.MethodDescriptor) {
		kind, err := protoregistry.GlobalTypes.FindMessageByName(m.Input().FullName())
		if err != nil {
			t.Fatal(err)
		}
		lists(m.Input(), nil, func(path []protoreflect.FieldDescriptor) {
			field := path[len(path)-1]
			if slices.Contains(free, field.FullName()) {
				unused = slices.DeleteFunc(unused, func(name protoreflect.FullName) bool { return name == field.FullName() })
				return
			}
			counted++
			msg := kind.New()
			inner := msg
			for _, f := range path[:len(path)-1] {
				inner = inner.Mutable(f).Message()
			}
			list := inner.Mutable(field).List()
			for range 3 {
				list.Append(list.NewElement())
			}
			if got := countOf(msg.Interface()); got != 3 {
				t.Errorf("%s with three of %s counts as %d calls, want 3; or they are free", procedure, field.FullName(), got)
			}
		})
	})
	if len(unused) > 0 {
		t.Errorf("no request has %v", unused)
	}
	if counted < 8 {
		t.Errorf("only %d fields are looked at: the test does not reach what it is about", counted)
	}
	for _, msg := range []proto.Message{nil, &remitv1.BatchCheckRequest{}, &remitv1.CheckRequest{}, &openfgav1.WriteRequest{}} {
		if got := countOf(msg); got != 1 {
			t.Errorf("an empty %T counts as %d calls, want 1", msg, got)
		}
	}
}

// What an edit does to several records counts as so many.
func TestEditsCountTheirRecords(t *testing.T) {
	records, parties := make([]string, 10), make([]string, 3)
	share := &remitv1.Edit{Edit: &remitv1.Edit_Share{Share: &remitv1.ShareRecords{Records: records, Shares: make([]*remitv1.Share, 3)}}}
	for _, tc := range []struct {
		edits []*remitv1.Edit
		want  int
	}{
		{[]*remitv1.Edit{{}}, 1},
		{[]*remitv1.Edit{share}, 30},
		{[]*remitv1.Edit{{Edit: &remitv1.Edit_Unshare{Unshare: &remitv1.UnshareRecords{Records: records, From: parties}}}}, 30},
		{[]*remitv1.Edit{{Edit: &remitv1.Edit_Unshare{Unshare: &remitv1.UnshareRecords{Records: records}}}}, 10},
		{[]*remitv1.Edit{{Edit: &remitv1.Edit_Transfer{Transfer: &remitv1.TransferRecords{Records: records}}}}, 10},
		{[]*remitv1.Edit{{Edit: &remitv1.Edit_Put{Put: &remitv1.Put{}}}, share, {Edit: &remitv1.Edit_Delete{Delete: &remitv1.Delete{}}}}, 32},
	} {
		for _, msg := range []proto.Message{&remitv1.ChangeRequest{Edits: tc.edits}, &remitv1.PlanChangeRequest{Edits: tc.edits}} {
			if got := countOf(msg); got != tc.want {
				t.Errorf("%v counts as %d calls, want %d", msg, got, tc.want)
			}
		}
	}
}

// lists calls f with the path to every repeated field of a message of ours or OpenFGA's
// that is not within another one.
func lists(m protoreflect.MessageDescriptor, path []protoreflect.FieldDescriptor, f func(path []protoreflect.FieldDescriptor)) {
	for i := range m.Fields().Len() {
		field := m.Fields().Get(i)
		deeper := append(slices.Clone(path), field)
		switch {
		case field.IsMap():
		case field.IsList():
			f(deeper)
		case field.Message() != nil && slices.Contains(served, field.Message().ParentFile().Package()) && len(path) < 3:
			lists(field.Message(), deeper, f)
		}
	}
}

// A call that nobody gets in the way of allocates its ticket, and no more than this.
func TestTicketsAreSmall(t *testing.T) {
	if got := unsafe.Sizeof(ticket{}); unsafe.Sizeof(uintptr(0)) == 8 && got > 96 {
		t.Errorf("a ticket takes %d bytes, want at most the size class of 96", got)
	}
}
