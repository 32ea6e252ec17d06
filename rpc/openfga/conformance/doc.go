// Package conformance compares Remit's OpenFGA face with OpenFGA itself.
//
// It starts a built remit as a process and OpenFGA v1.22.1 within the test binary, and
// asks both the same: OpenFGA's own test suites, raw HTTP requests, sessions of the
// unmodified SDKs, and random models with random questions. What differs by intent is
// listed in KNOWN.md, each entry with its smallest case.
//
// The module is nested, so that OpenFGA's several hundred dependencies stay out of
// Remit's. This package imports nothing of Remit: what a client cannot see is not compared.
//
// CONFORMANCE_TARGET=openfga puts a second OpenFGA in Remit's place. This control run
// must pass as well, or a test says nothing about Remit.
package conformance
