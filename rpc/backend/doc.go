// Package backend is what every face of the service stands on: it finds the store, the
// state, the model and the instant that a question is about, and carries changes out.
//
// A Reader opens what is there and a Writer changes it; both are safe for concurrent
// use. They know neither messages nor codes: a face reads its own protocol, asks here,
// and writes the answer or the error in its own terms. Which part of a request is at
// fault travels as a FieldError, with the name that the face gave.
package backend
