// Package openfga speaks OpenFGA's protocol, so that clients of OpenFGA need not know
// that Remit answers them.
//
// A Face dispatches the procedures of openfga.v1.OpenFGAService to one set of handlers.
// gRPC, gRPC-Web and Connect arrive at its connect.Server from the ports of package rpc;
// OpenFGA's JSON interface is put before that same server. What must hold:
//
//   - Handlers know messages, not transports. They refuse with an *Error, which carries
//     OpenFGA's code and text. One interceptor turns errors into what each protocol
//     sends, and whatever no table foresaw into "Internal Server Error".
//   - Texts, codes, limits and orders of checks are OpenFGA's, also where others would
//     read better: clients match on them.
//   - Where OpenFGA cuts an answer short or guesses, so does the Face, unless the header
//     Remit-Exact asks for the whole answer or an error.
//
// Of several nodes each answers by what it shows, as OpenFGA's caches do with
// MINIMIZE_LATENCY, which is the default: a tuple that was written through one node is seen
// at once by questions to that node, and by those to another one some milliseconds later.
// HIGHER_CONSISTENCY sees every write that was acknowledged before, on every node, and so
// does a request whose Remit-Token is that of the write's answer. Stores and models are
// looked for in the newest state before they are said to be unknown. A write whose outcome
// is unknown, because the leader was lost while it was under way, is an error of gRPC's code
// Unavailable: OpenFGA's protocol has no key by which it could be repeated here.
package openfga
