// Package graphtest holds evaluators of access graphs to the letter of the model.
//
// It has three parts. A Reference answers by grounding the whole model over all
// objects and solving the equations; it is slow and short, and shares no code with
// plans, ids, indexes, overlays, schedules or the condition language. A generator makes
// random models, tuples and questions, the nastier the better. Run asks both the
// reference and the real evaluator, over whatever View a backend builds, and when they
// differ shrinks the case to one that a person can read.
package graphtest
