package limit

import (
	"math"

	authzenv1 "github.com/openfga/api/proto/authzen/v1"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

// A kind is how much of the processors a procedure takes.
type kind int

const (
	short  kind = iota // as a rule a moment; what is not listed is
	long               // as much as it likes
	manual             // a stream that mostly waits: it asks for slots when it evaluates
	exempt             // it is answered whatever happens
)

var procedureKinds = map[string]kind{
	remitv1connect.AccessServiceListObjectsProcedure:    long,
	remitv1connect.AccessServiceStreamObjectsProcedure:  long,
	remitv1connect.AccessServiceListSubjectsProcedure:   long,
	remitv1connect.AccessServiceStreamSubjectsProcedure: long,
	remitv1connect.AccessServiceDiffAccessProcedure:     long,
	remitv1connect.ModelServiceWriteModelProcedure:      long,
	remitv1connect.ModelServiceValidateModelProcedure:   long,
	remitv1connect.ModelServiceDiffModelsProcedure:      long,
	"/remit.v1.TupleService/DeleteTuples":               long,
	remitv1connect.TransferServiceExportProcedure:       long,

	remitv1connect.AuditServiceListChangesProcedure:        long,
	remitv1connect.AuditServiceListClusterChangesProcedure: long,

	remitv1connect.TransferServiceImportProcedure: manual,
	remitv1connect.WatchServiceWatchProcedure:     manual,
	remitv1connect.EraseServiceEraseProcedure:     manual, // it waits for files to be rewritten
	remitv1connect.BackupServiceSaveProcedure:     manual, // it reads files, few at a time

	openfgav1.OpenFGAService_ListObjects_FullMethodName:             long,
	openfgav1.OpenFGAService_StreamedListObjects_FullMethodName:     long,
	openfgav1.OpenFGAService_ListUsers_FullMethodName:               long,
	openfgav1.OpenFGAService_WriteAuthorizationModel_FullMethodName: long,

	authzenv1.AuthZenService_SubjectSearch_FullMethodName:  long,
	authzenv1.AuthZenService_ResourceSearch_FullMethodName: long,
	authzenv1.AuthZenService_ActionSearch_FullMethodName:   long,

	// What tells whether the node is well, and by what name.
	"/grpc.health.v1.Health/Check":                           exempt,
	"/grpc.health.v1.Health/List":                            exempt,
	"/grpc.health.v1.Health/Watch":                           exempt,
	remitv1connect.NodeServiceGetNodeProcedure:               exempt,
	authzenv1.AuthZenService_GetConfiguration_FullMethodName: exempt,
}

// manyQuestions is from when on a call is long for what it holds.
const manyQuestions = 64

// countOf is how many calls a request stands for: no less than it would be if its parts
// came one by one.
func countOf(msg any) int {
	n := 1
	switch m := msg.(type) {
	case *remitv1.BatchCheckRequest:
		n = len(m.GetQuestions())
	case *remitv1.WriteRequest:
		n = len(m.GetOperations())
	case *remitv1.ImportRequest:
		n = len(m.GetTuples())
	case *openfgav1.BatchCheckRequest:
		n = len(m.GetChecks())
	case *openfgav1.WriteRequest:
		n = len(m.GetWrites().GetTupleKeys()) + len(m.GetDeletes().GetTupleKeys())
	case *authzenv1.EvaluationsRequest:
		n = len(m.GetEvaluations())
	}
	return min(max(1, n), math.MaxInt32)
}
