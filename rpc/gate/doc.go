// Package gate keeps strangers out: it asks every call who makes it, before any of its
// messages is read, and says what the call may do.
//
// What each procedure needs stands in one table. The gate fails closed: a procedure that
// the table does not know is refused, and a call that needs a permission on a store cannot
// answer anything before something was authorized. Streams are judged again while they
// last.
//
// No error of this package holds credentials, or a part of them.
package gate
