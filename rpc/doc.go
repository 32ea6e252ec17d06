// Package rpc is what clients see: the remit.v1 services, over Connect, gRPC,
// gRPC-Web and JSON on one port and over grpc-go's own transport on another.
//
// A request passes four places, each of which owns one idea:
//
//   - the transports (http.go, grpc.go) turn bytes into calls of one connect.Server;
//   - the interceptors check a request against its schema and turn errors into codes,
//     by one table (errors.go);
//   - the reader (reader.go) finds the store, the model, the revision and the instant
//     that a question is about, and hands them to package graph; plans.go keeps the
//     compiled models;
//   - the Writer (writer.go) turns a change into a command, proposes it, and plans it
//     anew when others changed what it rests on. Beside the clients', the housekeeper's
//     changes (housekeeping.go) go this way.
//
// Three rules hold for every answer. It belongs to one revision, which its token names.
// A limit or a fault is an error, never a "no". A refused write has written nothing.
package rpc
