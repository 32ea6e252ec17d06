// Package crm is an organisation: its roles, profiles, groups, sharing rules, records
// and shifts, and how they become an authorization model and tuples.
//
// It is pure. An Organisation is data; Validate reports everything that is wrong with
// it. Model makes the authorization model that its modules need, Encode its tuples and
// documents, Decode the organisation out of a view, and Difference what must be written
// to turn one encoding into another. Who may do what is then decided by package graph
// alone, as for any other model.
//
// What changes one thing need not hold all: a Reader reads one Entity of a view, and a
// Draft gathers edits and plans them, with all that the result rests on.
//
// Rules that hold:
//
//   - Ids are the caller's and never change. Names are labels: renaming writes no tuple.
//   - A valid organisation has exactly one encoding, and Decode(Encode(o)) is o in its
//     canonical order (see Organisation.Sort).
//   - Every edge that is walked in both directions is written in both; only this package
//     writes them.
//   - The model depends on the modules alone. A new module adds types and relations and
//     needs no other tuple than its own.
//   - A draft notes whatever it reads, so a plan is carried out on what it was made from,
//     or not at all.
//   - Names of types, relations and documents are as DESIGN.md lists them: stores hold
//     them for ever.
package crm
