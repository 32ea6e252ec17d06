// Package limit keeps callers out of each other's way: it bounds how often a tenant may
// call, and shares the processors among those who ask at once.
//
// A tenant is a store, and within it a principal. Two bounds stand between the gate and
// the handlers of every face:
//
//   - Rates. A bucket of calls per store and one per principal. What a call asks for counts,
//     not that it is one: a batch as many as it has questions, a write as many as it has
//     operations, and whoever visits many edges pays for them while he does, so that his
//     bucket may be left in debt. A long call pays ahead what the last ones took, and gets the
//     rest back: of many that arrive together, no more are let in than there is room for.
//     Who comes too early waits for a while, for his turn or to be refused, so that nobody
//     gains by not waiting; what comes on a stream that has begun is not refused at all. A
//     large message is judged before it is decoded.
//   - Shares. So many questions are evaluated at once, others wait. Who is next is decided
//     by the time that each store, and in it each principal, has had, so that whoever asks
//     rarely or briefly goes before whoever asks much. What takes long, from the start or
//     as it turns out, has slots of its own: however much of it there is, one processor is
//     left for what is short.
//
// A slot is held while a question is evaluated: not while its request arrives, not while a
// state is waited for or a command replicated, and not while an answer is being taken. Reading
// and writing a large message takes one of those for what takes long.
package limit
