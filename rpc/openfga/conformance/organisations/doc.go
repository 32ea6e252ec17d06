// Package organisations shows that OpenFGA answers from the export of an organisation what
// the decision procedure says about the organisation itself.
//
// Random organisations are exported, and the models and tuples given to OpenFGA, under the
// limits that it has by default, and to Remit as an ordinary store. Both are asked
// everything there is to decide. This is the one package of the module that imports
// Remit: for the organisations, their export and the procedure.
package organisations
