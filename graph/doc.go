// Package graph says what access means: tuples, the views they are read through, and
// the questions that a model answers about them.
//
// A tuple object#relation@subject counts in a question if the model in use allows it
// as it stands (subject, wildcard and condition included), if it has not expired at the
// question's instant, and if its condition holds. Everything else follows from the
// model's rewrites over the tuples that count.
//
// Answers have three values. A condition that cannot be evaluated is neither true nor
// false; Kleene's logic carries it as far as it matters, and if it matters to the
// answer, the answer is its error. An error is never a denial. Cycles in data are legal
// and grant nothing by themselves; an answer that depends on its own negation is
// ErrUndefined. These are the well-founded semantics, with errors as what is
// undefined.
//
// Four rules keep the evaluator honest:
//
//   - Everything in evaluation is ids: no key is ever joined from strings.
//   - What was found out while a cycle was cut is believed only when the whole cycle
//     is known (see check.go). From one call to the next nothing is remembered but what a
//     Cache may, as long as no tuple changes that could matter to it.
//   - The type restrictions are looked at again for every tuple read, for it may have
//     been written under another model, or come with the request.
//   - Lists are Check: a shorter way to an answer may only be taken where nothing but
//     unions and tuples that surely count lie on it.
//
// The package touches neither disk nor network. Memory is a View in maps; Overlay lays
// edits of one request over any View.
package graph
