package limit

import (
	"math"

	authzenv1 "github.com/openfga/api/proto/authzen/v1"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

// A kind is how much of the processors a procedure takes.
type kind uint8

const (
	_      kind = iota
	short       // as a rule a moment
	long        // as much as it likes
	manual      // a stream that mostly waits: it asks for slots when it evaluates
	exempt      // it is answered whatever happens
)

// procedures is of which kind every procedure of every face is. Whoever adds a procedure
// adds its line here: one that is missing is taken for long.
var procedures = map[string]kind{
	remitv1connect.AccessServiceCheckProcedure:          short,
	remitv1connect.AccessServiceBatchCheckProcedure:     short, // unless it is large
	remitv1connect.AccessServiceListActionsProcedure:    short,
	remitv1connect.AccessServiceExpandProcedure:         short,
	remitv1connect.AccessServiceExplainProcedure:        short,
	remitv1connect.AccessServiceListObjectsProcedure:    long,
	remitv1connect.AccessServiceStreamObjectsProcedure:  long,
	remitv1connect.AccessServiceListSubjectsProcedure:   long,
	remitv1connect.AccessServiceStreamSubjectsProcedure: long,
	remitv1connect.AccessServiceDiffAccessProcedure:     long,

	remitv1connect.OrganisationServiceCanProcedure:                   short,
	remitv1connect.OrganisationServiceCanBatchProcedure:              short, // likewise
	remitv1connect.OrganisationServiceCanFieldsProcedure:             short,
	remitv1connect.OrganisationServiceActionsProcedure:               short,
	remitv1connect.OrganisationServiceWhyProcedure:                   short,
	remitv1connect.OrganisationServiceOnDutyProcedure:                short,
	remitv1connect.OrganisationServiceListRecordsProcedure:           long,
	remitv1connect.OrganisationServiceStreamRecordsProcedure:         long,
	remitv1connect.OrganisationServiceListUsersWithAccessProcedure:   long,
	remitv1connect.OrganisationServiceStreamUsersWithAccessProcedure: long,
	remitv1connect.OrganisationServiceCreateOrganisationProcedure:    long,  // it makes a model
	remitv1connect.OrganisationServiceChangeProcedure:                short, // likewise
	remitv1connect.OrganisationServicePlanChangeProcedure:            long,
	remitv1connect.OrganisationServiceAssignProcedure:                short,
	remitv1connect.OrganisationServiceGetEntityProcedure:             short,
	remitv1connect.OrganisationServiceListEntitiesProcedure:          short,
	remitv1connect.OrganisationServiceStreamEntitiesProcedure:        long,
	remitv1connect.OrganisationServiceListSeatsProcedure:             short,
	remitv1connect.OrganisationServiceWatchOwnedProcedure:            long,

	remitv1connect.StoreServiceCreateStoreProcedure:  short,
	remitv1connect.StoreServiceGetStoreProcedure:     short,
	remitv1connect.StoreServiceListStoresProcedure:   short,
	remitv1connect.StoreServiceSetRetentionProcedure: short,
	remitv1connect.StoreServiceDeleteStoreProcedure:  short,

	remitv1connect.ModelServiceWriteModelProcedure:    long,
	remitv1connect.ModelServiceValidateModelProcedure: long,
	remitv1connect.ModelServiceDiffModelsProcedure:    long,
	remitv1connect.ModelServiceGetModelProcedure:      short,
	remitv1connect.ModelServiceListModelsProcedure:    short,

	remitv1connect.TupleServiceWriteProcedure:        short, // likewise
	remitv1connect.TupleServiceReadProcedure:         short,
	remitv1connect.TupleServiceDeleteTuplesProcedure: long,

	remitv1connect.AuditServiceListChangesProcedure:        long,
	remitv1connect.AuditServiceListClusterChangesProcedure: long,

	// Who looks after a cluster that is overloaded is not kept waiting by it.
	remitv1connect.ClusterServiceGetClusterProcedure:         exempt,
	remitv1connect.ClusterServiceAddMemberProcedure:          exempt,
	remitv1connect.ClusterServiceRemoveMemberProcedure:       exempt,
	remitv1connect.ClusterServicePromoteMemberProcedure:      exempt,
	remitv1connect.ClusterServiceDemoteMemberProcedure:       exempt,
	remitv1connect.ClusterServiceTransferLeadershipProcedure: exempt,
	remitv1connect.ClusterServiceGetAutopilotProcedure:       exempt,
	remitv1connect.ClusterServiceSetAutopilotProcedure:       exempt,

	remitv1connect.TransferServiceExportProcedure: long,
	remitv1connect.TransferServiceImportProcedure: manual,
	remitv1connect.WatchServiceWatchProcedure:     manual,
	remitv1connect.EraseServiceEraseProcedure:     manual, // it waits for files to be rewritten
	remitv1connect.BackupServiceSaveProcedure:     manual, // it reads files, few at a time

	remitv1connect.IdentityServiceCreateKeyProcedure:  short,
	remitv1connect.IdentityServiceRotateKeyProcedure:  short,
	remitv1connect.IdentityServiceListKeysProcedure:   short,
	remitv1connect.IdentityServiceRevokeKeyProcedure:  short,
	remitv1connect.IdentityServiceSetGrantsProcedure:  short,
	remitv1connect.IdentityServiceListGrantsProcedure: short,
	remitv1connect.IdentityServiceWhoAmIProcedure:     short,

	openfgav1.OpenFGAService_Check_FullMethodName:               short,
	openfgav1.OpenFGAService_BatchCheck_FullMethodName:          short,
	openfgav1.OpenFGAService_Expand_FullMethodName:              short,
	openfgav1.OpenFGAService_ListObjects_FullMethodName:         long,
	openfgav1.OpenFGAService_StreamedListObjects_FullMethodName: long,
	openfgav1.OpenFGAService_ListUsers_FullMethodName:           long,

	openfgav1.OpenFGAService_Read_FullMethodName:        short,
	openfgav1.OpenFGAService_ReadChanges_FullMethodName: short,
	openfgav1.OpenFGAService_Write_FullMethodName:       short,

	openfgav1.OpenFGAService_ReadAuthorizationModel_FullMethodName:  short,
	openfgav1.OpenFGAService_ReadAuthorizationModels_FullMethodName: short,
	openfgav1.OpenFGAService_WriteAuthorizationModel_FullMethodName: long,
	openfgav1.OpenFGAService_ReadAssertions_FullMethodName:          short,
	openfgav1.OpenFGAService_WriteAssertions_FullMethodName:         short,

	openfgav1.OpenFGAService_CreateStore_FullMethodName: short,
	openfgav1.OpenFGAService_GetStore_FullMethodName:    short,
	openfgav1.OpenFGAService_ListStores_FullMethodName:  short,
	openfgav1.OpenFGAService_UpdateStore_FullMethodName: short,
	openfgav1.OpenFGAService_DeleteStore_FullMethodName: short,

	authzenv1.AuthZenService_Evaluation_FullMethodName:     short,
	authzenv1.AuthZenService_Evaluations_FullMethodName:    short, // likewise
	authzenv1.AuthZenService_SubjectSearch_FullMethodName:  long,
	authzenv1.AuthZenService_ResourceSearch_FullMethodName: long,
	authzenv1.AuthZenService_ActionSearch_FullMethodName:   long,

	// What tells whether the node is well, and by what name.
	healthpb.Health_Check_FullMethodName:                     exempt,
	healthpb.Health_List_FullMethodName:                      exempt,
	healthpb.Health_Watch_FullMethodName:                     exempt,
	remitv1connect.NodeServiceGetNodeProcedure:               exempt,
	authzenv1.AuthZenService_GetConfiguration_FullMethodName: exempt,
}

func kindOf(procedure string) kind {
	if k, ok := procedures[procedure]; ok {
		return k
	}
	return long
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
	case *remitv1.ListActionsRequest:
		n = len(m.GetRelations())
	case *remitv1.CanBatchRequest:
		n = len(m.GetDeeds())
	case *remitv1.CreateOrganisationRequest:
		n = len(m.GetModules())
	case *remitv1.AssignRequest:
		n = len(m.GetAmong())
	case *remitv1.ChangeRequest:
		n = countOfEdits(m.GetEdits())
	case *remitv1.PlanChangeRequest:
		n = countOfEdits(m.GetEdits())
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

// countOfEdits takes what is done to several records apart. What a transfer takes of all that
// somebody owns, nobody knows beforehand: the command that it becomes is bounded.
func countOfEdits(edits []*remitv1.Edit) int {
	n := 0
	for _, e := range edits {
		records := max(len(e.GetShare().GetRecords()), len(e.GetUnshare().GetRecords()), len(e.GetTransfer().GetRecords()), 1)
		n += records * max(len(e.GetShare().GetShares()), len(e.GetUnshare().GetFrom()), 1)
	}
	return n
}
