// Package decision logs who was let in where, and who was not.
//
// Every decision of every face can become an event: a line of JSON in the shape of
// CloudEvents 1.0, on a file that is rotated or on standard output.
//
//   - A request never waits for the log. An event is handed to a bounded queue, and one
//     goroutine encodes and writes what has gathered there. What finds the queue full, or
//     cannot be written, is lost: it is counted, and an event of its own type says how many
//     are missing from when to when, so that whoever reads the log knows of the gap.
//   - An error is no denial: it is an outcome of its own. But nobody got access, so that
//     whatever selects denials selects errors too.
//   - A decision that is not wanted costs no allocation.
//   - Whatever a name holds, an event is one line of valid JSON.
//
// A list is an access decision about all that it names. Its event says what was asked, of
// which revision by which model, and how many elements the answer had: asked again of that
// revision, it gives the same elements.
package decision
