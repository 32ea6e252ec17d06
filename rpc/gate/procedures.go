package gate

import (
	authzenv1 "github.com/openfga/api/proto/authzen/v1"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
	"github.com/remit-authz/remit/rpc/identity"
)

// A kind is what a procedure asks of its caller.
type kind uint8

// The kinds. The zero value is none, so that a rule that was forgotten permits nothing.
const (
	_       kind = iota
	public       // nothing
	anybody      // an identity; what it shows is judged where it is made
	onStore      // the permission on every store that it opens, and it opens one
	cluster      // the grant cluster
)

// A rule is what a procedure needs.
type rule struct {
	kind kind
	need identity.Permissions
	// literal says that the message itself holds the id of the store, so that it is judged
	// when it is received.
	literal bool
}

// everyStore is the permission with which a procedure for the whole cluster opens stores.
const everyStore = identity.Admin

// inside is what keys and grants need: an identity, and what it administers is judged with
// each of them. The stores that it names in a grant it must administer.
var inside = rule{kind: anybody, need: identity.Admin}

func on(need identity.Permissions) rule      { return rule{kind: onStore, need: need} }
func literal(need identity.Permissions) rule { return rule{kind: onStore, need: need, literal: true} }

// procedures is what every procedure of every face needs. Whoever adds a procedure adds its
// line here: one that is missing cannot be called.
var procedures = map[string]rule{
	healthpb.Health_Check_FullMethodName: {kind: public},
	healthpb.Health_Watch_FullMethodName: {kind: public},

	remitv1connect.StoreServiceCreateStoreProcedure:  {kind: cluster, need: everyStore},
	remitv1connect.StoreServiceGetStoreProcedure:     on(identity.Read),
	remitv1connect.StoreServiceListStoresProcedure:   {kind: anybody},
	remitv1connect.StoreServiceSetRetentionProcedure: on(identity.Admin),
	remitv1connect.StoreServiceDeleteStoreProcedure:  on(identity.Admin),

	remitv1connect.ModelServiceWriteModelProcedure:    on(identity.Model),
	remitv1connect.ModelServiceValidateModelProcedure: {kind: anybody}, // it reads no store
	remitv1connect.ModelServiceGetModelProcedure:      on(identity.Read),
	remitv1connect.ModelServiceListModelsProcedure:    on(identity.Read),
	remitv1connect.ModelServiceDiffModelsProcedure:    on(identity.Read),

	remitv1connect.TupleServiceWriteProcedure:        on(identity.Write),
	remitv1connect.TupleServiceReadProcedure:         on(identity.Read),
	remitv1connect.TupleServiceDeleteTuplesProcedure: on(identity.Write), // a preview shows tuples only to who may read, too

	remitv1connect.EraseServiceEraseProcedure: on(identity.Admin),

	remitv1connect.AccessServiceCheckProcedure:          on(identity.Read),
	remitv1connect.AccessServiceBatchCheckProcedure:     on(identity.Read),
	remitv1connect.AccessServiceListObjectsProcedure:    on(identity.Read),
	remitv1connect.AccessServiceStreamObjectsProcedure:  on(identity.Read),
	remitv1connect.AccessServiceListSubjectsProcedure:   on(identity.Read),
	remitv1connect.AccessServiceStreamSubjectsProcedure: on(identity.Read),
	remitv1connect.AccessServiceListActionsProcedure:    on(identity.Read),
	remitv1connect.AccessServiceExpandProcedure:         on(identity.Read),
	remitv1connect.AccessServiceExplainProcedure:        on(identity.Read),
	remitv1connect.AccessServiceDiffAccessProcedure:     on(identity.Read),

	remitv1connect.OrganisationServiceCreateOrganisationProcedure:    {kind: cluster, need: everyStore},
	remitv1connect.OrganisationServiceChangeProcedure:                on(identity.Write), // of a caller who acts for no seat, identity.Admin
	remitv1connect.OrganisationServicePlanChangeProcedure:            on(identity.Read | identity.Write),
	remitv1connect.OrganisationServiceAssignProcedure:                on(identity.Write),
	remitv1connect.OrganisationServiceGetEntityProcedure:             on(identity.Read),
	remitv1connect.OrganisationServiceListEntitiesProcedure:          on(identity.Read),
	remitv1connect.OrganisationServiceStreamEntitiesProcedure:        on(identity.Read),
	remitv1connect.OrganisationServiceCanProcedure:                   on(identity.Read),
	remitv1connect.OrganisationServiceCanBatchProcedure:              on(identity.Read),
	remitv1connect.OrganisationServiceCanFieldsProcedure:             on(identity.Read),
	remitv1connect.OrganisationServiceActionsProcedure:               on(identity.Read),
	remitv1connect.OrganisationServiceListRecordsProcedure:           on(identity.Read),
	remitv1connect.OrganisationServiceStreamRecordsProcedure:         on(identity.Read),
	remitv1connect.OrganisationServiceListUsersWithAccessProcedure:   on(identity.Read),
	remitv1connect.OrganisationServiceStreamUsersWithAccessProcedure: on(identity.Read),
	remitv1connect.OrganisationServiceWhyProcedure:                   on(identity.Read),
	remitv1connect.OrganisationServiceOnDutyProcedure:                on(identity.Read),
	remitv1connect.OrganisationServiceWatchOwnedProcedure:            on(identity.Read),
	// Of the stores it shows those that the caller may read.
	remitv1connect.OrganisationServiceListSeatsProcedure: {kind: anybody, need: identity.Read},

	remitv1connect.WatchServiceWatchProcedure:         on(identity.Read),
	remitv1connect.TransferServiceExportProcedure:     on(identity.Read),
	remitv1connect.TransferServiceImportProcedure:     on(identity.Write),
	remitv1connect.BackupServiceSaveProcedure:         {kind: cluster, need: everyStore},
	remitv1connect.IdentityServiceCreateKeyProcedure:  inside,
	remitv1connect.IdentityServiceRotateKeyProcedure:  inside,
	remitv1connect.IdentityServiceListKeysProcedure:   inside,
	remitv1connect.IdentityServiceRevokeKeyProcedure:  inside,
	remitv1connect.IdentityServiceSetGrantsProcedure:  inside,
	remitv1connect.IdentityServiceListGrantsProcedure: inside,
	remitv1connect.IdentityServiceWhoAmIProcedure:     inside,

	remitv1connect.AuditServiceListChangesProcedure:        on(identity.Admin),
	remitv1connect.AuditServiceListClusterChangesProcedure: {kind: cluster, need: everyStore},

	remitv1connect.NodeServiceGetNodeProcedure: {kind: anybody},

	remitv1connect.ClusterServiceGetClusterProcedure:         {kind: cluster, need: everyStore},
	remitv1connect.ClusterServiceAddMemberProcedure:          {kind: cluster, need: everyStore},
	remitv1connect.ClusterServiceRemoveMemberProcedure:       {kind: cluster, need: everyStore},
	remitv1connect.ClusterServicePromoteMemberProcedure:      {kind: cluster, need: everyStore},
	remitv1connect.ClusterServiceDemoteMemberProcedure:       {kind: cluster, need: everyStore},
	remitv1connect.ClusterServiceTransferLeadershipProcedure: {kind: cluster, need: everyStore},
	remitv1connect.ClusterServiceGetAutopilotProcedure:       {kind: cluster, need: everyStore},
	remitv1connect.ClusterServiceSetAutopilotProcedure:       {kind: cluster, need: everyStore},

	openfgav1.OpenFGAService_Check_FullMethodName:               literal(identity.Read),
	openfgav1.OpenFGAService_BatchCheck_FullMethodName:          literal(identity.Read),
	openfgav1.OpenFGAService_ListObjects_FullMethodName:         literal(identity.Read),
	openfgav1.OpenFGAService_StreamedListObjects_FullMethodName: literal(identity.Read),
	openfgav1.OpenFGAService_ListUsers_FullMethodName:           literal(identity.Read),
	openfgav1.OpenFGAService_Expand_FullMethodName:              literal(identity.Read),
	openfgav1.OpenFGAService_Read_FullMethodName:                literal(identity.Read),
	openfgav1.OpenFGAService_ReadChanges_FullMethodName:         literal(identity.Read),
	openfgav1.OpenFGAService_Write_FullMethodName:               literal(identity.Write),

	openfgav1.OpenFGAService_ReadAuthorizationModel_FullMethodName:  literal(identity.Read),
	openfgav1.OpenFGAService_ReadAuthorizationModels_FullMethodName: literal(identity.Read),
	openfgav1.OpenFGAService_WriteAuthorizationModel_FullMethodName: literal(identity.Model),
	openfgav1.OpenFGAService_ReadAssertions_FullMethodName:          literal(identity.Read),
	openfgav1.OpenFGAService_WriteAssertions_FullMethodName:         literal(identity.Model),

	openfgav1.OpenFGAService_CreateStore_FullMethodName: {kind: cluster, need: everyStore},
	openfgav1.OpenFGAService_GetStore_FullMethodName:    literal(identity.Read),
	openfgav1.OpenFGAService_ListStores_FullMethodName:  {kind: anybody},
	openfgav1.OpenFGAService_UpdateStore_FullMethodName: literal(identity.Admin),
	openfgav1.OpenFGAService_DeleteStore_FullMethodName: literal(identity.Admin),

	authzenv1.AuthZenService_Evaluation_FullMethodName:       literal(identity.Read),
	authzenv1.AuthZenService_Evaluations_FullMethodName:      literal(identity.Read),
	authzenv1.AuthZenService_SubjectSearch_FullMethodName:    literal(identity.Read),
	authzenv1.AuthZenService_ResourceSearch_FullMethodName:   literal(identity.Read),
	authzenv1.AuthZenService_ActionSearch_FullMethodName:     literal(identity.Read),
	authzenv1.AuthZenService_GetConfiguration_FullMethodName: {kind: anybody}, // it opens no store
}
